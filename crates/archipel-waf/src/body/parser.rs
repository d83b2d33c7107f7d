//! The parser that a request's body processor chooses.

use super::json::Json;
use super::multipart::{Multipart, MultipartFlags};
use super::urlencoded::Urlencoded;
use super::xml::Xml;
use super::{BodyError, BodyLimits, Sink};

/// A body processor that is being fed.
#[derive(Debug)]
pub struct Parser {
    kind: Kind,
    /// The error that ended it.
    failed: Option<BodyError>,
}

#[derive(Debug)]
enum Kind {
    Urlencoded(Urlencoded),
    Multipart(Box<Multipart>),
    Json(Box<Json>),
    Xml(Box<Xml>),
}

impl Parser {
    /// `URLENCODED`: pairs between `separator` (`SecArgumentSeparator`, usually `&`).
    #[must_use]
    pub fn urlencoded(separator: u8, limits: &BodyLimits) -> Self {
        Self::new(Kind::Urlencoded(Urlencoded::new(separator, limits)))
    }

    /// `MULTIPART`, with the value of the `Content-Type` field. What is wrong with that is the answer to the first chunk.
    #[must_use]
    pub fn multipart(content_type: &[u8], limits: &BodyLimits) -> Self {
        Self::new(Kind::Multipart(Box::new(Multipart::new(content_type, limits))))
    }

    /// `JSON`.
    #[must_use]
    pub fn json(limits: &BodyLimits) -> Self {
        Self::new(Kind::Json(Box::new(Json::new(limits))))
    }

    /// `XML`.
    #[must_use]
    pub fn xml(limits: &BodyLimits) -> Self {
        Self::new(Kind::Xml(Box::new(Xml::new(limits))))
    }

    fn new(kind: Kind) -> Self {
        Self { kind, failed: None }
    }

    /// Reads the next piece of the body.
    ///
    /// # Errors
    /// The first that was found; and the same one again for each further chunk, which is not looked at.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let read = match &mut self.kind {
            Kind::Urlencoded(parser) => parser.push(chunk, sink),
            Kind::Multipart(parser) => parser.push(chunk, sink),
            Kind::Json(parser) => parser.push(chunk, sink),
            Kind::Xml(parser) => parser.push(chunk, sink),
        };
        self.keep(read)
    }

    /// Says that the body has ended. An empty body is sound in every format, a `Content-Type` without a boundary is not.
    ///
    /// # Errors
    /// The one that was found earlier, or what the end itself is missing.
    pub fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let read = match &mut self.kind {
            Kind::Urlencoded(parser) => parser.finish(sink),
            Kind::Multipart(parser) => parser.finish(sink),
            Kind::Json(parser) => parser.finish(sink),
            Kind::Xml(parser) => parser.finish(sink),
        };
        self.keep(read)
    }

    /// Says that the body goes on and that no more of it will be fed: what was fed is told as far as it goes, and that it ends too
    /// early is no error.
    ///
    /// # Errors
    /// The one that was found earlier.
    pub fn cut(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let read = match &mut self.kind {
            Kind::Urlencoded(parser) => parser.cut(sink),
            Kind::Multipart(parser) => parser.cut(sink),
            Kind::Json(parser) => parser.cut(sink),
            Kind::Xml(parser) => parser.cut(sink),
        };
        self.keep(read)
    }

    /// The first number of arguments, names, files, parts or attributes that was exceeded: those over it are not told one by one.
    #[must_use]
    pub fn left_out(&self) -> Option<&BodyError> {
        match &self.kind {
            Kind::Urlencoded(parser) => parser.left_out(),
            Kind::Multipart(parser) => parser.left_out(),
            Kind::Json(parser) => parser.left_out(),
            Kind::Xml(parser) => parser.left_out(),
        }
    }

    fn keep(&mut self, read: Result<(), BodyError>) -> Result<(), BodyError> {
        if let Err(error) = &read {
            self.failed = Some(error.clone());
        }
        read
    }

    /// What was seen of a multipart body so far (`MULTIPART_*`); complete after [`finish`](Self::finish).
    #[must_use]
    pub fn multipart_flags(&self) -> Option<&MultipartFlags> {
        match &self.kind {
            Kind::Multipart(parser) => Some(parser.flags()),
            _ => None,
        }
    }

    /// True when a form had a `%` that is not followed by two hexadecimal digits (`URLENCODED_ERROR`).
    #[must_use]
    pub fn percent_invalid(&self) -> bool {
        matches!(&self.kind, Kind::Urlencoded(parser) if parser.percent_invalid())
    }
}
