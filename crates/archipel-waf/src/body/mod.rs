//! Parsers of request bodies, fed as a stream and bounded: form fields, multipart, JSON and XML; with them the parsers of
//! query strings and of the `Cookie` field, which split in the same way.
//!
//! A [`Parser`] takes chunks as they come and tells a [`Sink`] whole values. How a body is cut into chunks changes nothing:
//! the events, their order and the error are the same. The first error ends it: later chunks are not looked at and give
//! the same error again. What was told before an error was read soundly. A body that is not fed to its end ends with
//! [`Parser::cut`], as ModSecurity's `SecRequestBodyLimitAction ProcessPartial` means it: that it is cut is no error.
//!
//! The meaning is ModSecurity 3's wherever a rule could tell the difference. Where it looks away (it gives up the fields of
//! a multipart body whose last boundary is missing, it loses line ends within a field), this looks on.

mod arguments;
mod cookie;
mod error;
mod json;
mod multipart;
mod parser;
mod urlencoded;
mod xml;

pub use cookie::cookies;
pub use error::{BodyError, JsonError, MultipartError, XmlError};
pub use multipart::{MultipartFlags, UnmatchedBoundary};
pub use parser::Parser;
pub use urlencoded::{Decoded, query};

/// What a parser tells of a body: whole values, in the order in which they ended.
pub trait Sink {
    /// An argument: a form field, a field of a multipart form that is no file, or a value within JSON
    /// (`json.key`, `json.array_0`).
    fn argument(&mut self, name: &[u8], value: &[u8]);

    /// A file of a multipart form (`FILES`, `FILES_NAMES`, `FILES_SIZES`, `FILES_TMP_CONTENT`).
    fn file(&mut self, file: &FilePart<'_>);

    /// A header line of a part, unfolded and without its line end (`MULTIPART_PART_HEADERS:part`). The name of the part is
    /// empty where the part has none.
    fn part_header(&mut self, part: &[u8], line: &[u8]);

    /// The `name` of a `Content-Disposition`, also of one that is refused afterwards (`MULTIPART_NAME` is the last one).
    fn multipart_name(&mut self, name: &[u8]);

    /// The `filename` of a `Content-Disposition`, likewise (`MULTIPART_FILENAME`).
    fn multipart_filename(&mut self, filename: &[u8]);

    /// All character data of an XML document, once, at its end or where an error ended it (`XML:/*`).
    fn xml_text(&mut self, text: &[u8]);

    /// The value of an attribute that is not a namespace declaration (`XML://@*`).
    fn xml_attribute(&mut self, value: &[u8]);
}

/// A file within a multipart form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilePart<'a> {
    /// The form's field.
    pub name: &'a [u8],
    /// The name that the client gave the file.
    pub filename: &'a [u8],
    /// The length of the whole file.
    pub bytes: u64,
    /// Its first bytes, at most [`BodyLimits::file_bytes_kept_max`].
    pub content: &'a [u8],
}

/// Bounds of what a parser keeps and tells. The numbers of arguments, names, attributes, parts and files are no errors where a body
/// has more: those over them are told together, or without their names ([`Parser::left_out`]). Each of the others exceeded is an error of its own
/// ([`BodyError::limit`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyLimits {
    /// Arguments of one body, or of one query string (`SecArgumentsLimit`); of a query string more are an error.
    pub arguments_max: usize,
    /// Bytes of a JSON path; of an XML element's or attribute's name. A form's names are bounded as its values are.
    pub name_bytes_max: usize,
    /// Bytes of all names that are told of a JSON body: each repeats the names of what it is in, so that few bytes could make many.
    pub names_bytes_max: usize,
    /// Bytes of an argument's value, or of a form field's name, as sent; of one XML tag; of all character data of an XML document.
    pub value_bytes_max: usize,
    /// Containers within each other in JSON (`SecRequestBodyJsonDepthLimit`), elements in XML.
    pub depth_max: usize,
    /// Attributes of an XML document.
    pub attributes_max: usize,
    /// Parts of a multipart body.
    pub parts_max: usize,
    /// Files among them (`SecUploadFileLimit`); one more also sets `MULTIPART_FILE_LIMIT_EXCEEDED`.
    pub files_max: usize,
    /// Headers of one part. Each is compared with those before it.
    pub part_headers_max: usize,
    /// Bytes of the headers of one part, with their line ends. A single line must be shorter than 4,096 bytes whatever this says.
    pub part_header_bytes_max: usize,
    /// Bytes of each file that are kept for `FILES_TMP_CONTENT`; the rest is counted and forgotten. Exceeding it is no error.
    pub file_bytes_kept_max: usize,
}

impl Default for BodyLimits {
    /// ModSecurity's recommended values where it has one (1,000 arguments, depth 512, 100 files), 128 bytes a name on average, and no
    /// content of files.
    fn default() -> Self {
        Self {
            arguments_max: 1000,
            name_bytes_max: 4 << 10,
            names_bytes_max: 128 << 10,
            value_bytes_max: 1 << 20,
            depth_max: 512,
            attributes_max: 10_000,
            parts_max: 1000,
            files_max: 100,
            part_headers_max: 32,
            part_header_bytes_max: 16 << 10,
            file_bytes_kept_max: 0,
        }
    }
}

#[cfg(test)]
mod cookie_tests;
#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod multipart_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod urlencoded_tests;
#[cfg(test)]
mod xml_tests;
