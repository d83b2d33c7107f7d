//! The request's body as rules see it: its beginning, read before the origin is asked, and only where a rule reads it.

use std::cell::OnceCell;

use archipel_rules::{Array, Field, Value};
use archipel_transport::body::Peeked;

use super::multipart::{self, Part};
use super::pairs::Pairs;

/// What is known of the beginning of a body.
pub(super) struct BodyFields<'a> {
    peeked: &'a Peeked,
    content_type: &'a [u8],
    form: OnceCell<Pairs<'a>>,
    parts: OnceCell<Vec<Part<'a>>>,
    named: OnceCell<Pairs<'a>>,
}

impl<'a> BodyFields<'a> {
    pub(super) fn new(peeked: &'a Peeked, content_type: Option<&'a [u8]>) -> Self {
        let content_type = content_type.unwrap_or_default();
        Self { peeked, content_type, form: OnceCell::new(), parts: OnceCell::new(), named: OnceCell::new() }
    }

    pub(super) fn raw(&self) -> &'a [u8] {
        &self.peeked.content
    }

    pub(super) fn truncated(&self) -> bool {
        self.peeked.truncated || self.parts().len() >= multipart::PARTS_MAX
    }

    fn media_type(&self) -> &'a [u8] {
        self.content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
    }

    /// The fields of a URL-encoded form; none of any other content.
    pub(super) fn form(&self) -> &Pairs<'a> {
        self.form.get_or_init(|| {
            let is_form = self.media_type().eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
            if is_form { Pairs::form(self.raw()) } else { Pairs::default() }
        })
    }

    fn parts(&self) -> &[Part<'a>] {
        self.parts.get_or_init(|| multipart::parts(self.content_type, self.raw()))
    }

    /// The values of a multipart body by the names of its parts.
    pub(super) fn multipart(&self) -> &Pairs<'a> {
        self.named.get_or_init(|| {
            Pairs::of(
                self.parts()
                    .iter()
                    .flat_map(|part| part.names.iter().map(|name| (name.clone(), part.content)))
                    .collect(),
            )
        })
    }

    /// A field about each part of a multipart body.
    pub(super) fn part_field(&self, field: Field) -> Value<'_> {
        match field {
            Field::HttpRequestBodyMultipartValues => Value::texts(self.parts().iter().map(|part| part.content)),
            Field::HttpRequestBodyMultipartNames => {
                self.of_each(|part| part.names.iter().map(|name| &**name).collect())
            }
            Field::HttpRequestBodyMultipartFilenames => {
                self.of_each(|part| part.filenames.iter().map(|name| &**name).collect())
            }
            Field::HttpRequestBodyMultipartContentTypes => self.of_each(|part| part.content_types.clone()),
            Field::HttpRequestBodyMultipartContentDispositions => self.of_each(|part| part.dispositions.clone()),
            Field::HttpRequestBodyMultipartContentTransferEncodings => self.of_each(|part| part.encodings.clone()),
            _ => Value::Nil,
        }
    }

    fn of_each<'b>(&'b self, texts: impl Fn(&'b Part<'a>) -> Vec<&'b [u8]>) -> Value<'b> {
        Value::Array(Array::Values(self.parts().iter().map(|part| Value::texts(texts(part))).collect()))
    }

    /// The type that the content looks like by its first bytes; nothing where they say nothing.
    pub(super) fn mime(&self) -> &'static str {
        /// Signatures at the beginning of files (the MIME Sniffing standard, section 6, and what people upload).
        const SIGNATURES: &[(&[u8], &str)] = &[
            (b"%PDF-", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xd8\xff", "image/jpeg"),
            (b"GIF87a", "image/gif"),
            (b"GIF89a", "image/gif"),
            (b"PK\x03\x04", "application/zip"),
            (b"\x1f\x8b\x08", "application/gzip"),
            (b"Rar!\x1a\x07", "application/x-rar-compressed"),
            (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
            (b"\x7fELF", "application/x-elf"),
            (b"MZ", "application/x-msdownload"),
            (b"%!PS-Adobe-", "application/postscript"),
            (b"<?xml", "text/xml"),
            (b"<!DOCTYPE html", "text/html"),
            (b"<!doctype html", "text/html"),
            (b"<html", "text/html"),
        ];
        let raw = self.raw();
        SIGNATURES.iter().find(|(signature, _)| raw.starts_with(signature)).map_or("", |(_, mime)| mime)
    }
}
