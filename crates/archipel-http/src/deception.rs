//! Cache deception: whether a reply's content type fits the extension that its path ends with.
//!
//! `/account/x.css`, where the origin ignores the end of the path, is the account page under the name of a style sheet: rules
//! and habits that keep style sheets would keep it for everybody. Owns the table of extensions. Must never look at content.

use http::header::{self, HeaderMap};

/// What an extension promises.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Promise {
    /// A type of this beginning.
    Family(&'static [u8]),
    /// One of these types.
    Types(&'static [&'static [u8]]),
}

const IMAGE: Promise = Promise::Family(b"image/");
const AUDIO_VIDEO: Promise =
    Promise::Types(&[b"audio/", b"video/", b"application/ogg", b"application/mp4", b"application/x-matroska"]);
const SCRIPT: Promise = Promise::Types(&[
    b"text/javascript",
    b"application/javascript",
    b"application/x-javascript",
    b"application/ecmascript",
    b"text/ecmascript",
]);
const FONT: Promise = Promise::Types(&[
    b"font/",
    b"application/font",
    b"application/x-font",
    b"application/vnd.ms-fontobject",
    b"application/vnd.ms-opentype",
]);
const ARCHIVE: Promise = Promise::Types(&[
    b"application/zip",
    b"application/gzip",
    b"application/zstd",
    b"application/x-",
    b"application/java-archive",
    b"application/vnd.",
    b"application/epub+zip",
]);
const OFFICE: Promise =
    Promise::Types(&[b"application/vnd.", b"application/ms", b"application/x-", b"application/zip"]);

/// Extensions in lower case, sorted, with what they promise. Names of pages (`html`, `php`, `aspx`) and of data that is often made
/// for one visitor (`json`, `xml`, `csv`, `txt`) promise nothing here.
const EXTENSIONS: &[(&str, Promise)] = &[
    ("7z", ARCHIVE),
    ("aac", AUDIO_VIDEO),
    ("apk", ARCHIVE),
    ("apng", IMAGE),
    ("avi", AUDIO_VIDEO),
    ("avif", IMAGE),
    ("bin", Promise::Types(&[b"application/macbinary", b"application/x-binary"])),
    ("bmp", IMAGE),
    ("br", ARCHIVE),
    ("bz2", ARCHIVE),
    ("class", Promise::Types(&[b"application/java", b"application/x-java"])),
    ("css", Promise::Types(&[b"text/css"])),
    ("dmg", ARCHIVE),
    ("doc", OFFICE),
    ("docx", OFFICE),
    ("eot", FONT),
    ("eps", Promise::Types(&[b"application/postscript", b"application/eps", b"image/"])),
    ("exe", Promise::Types(&[b"application/x-", b"application/vnd.microsoft"])),
    ("flac", AUDIO_VIDEO),
    ("gif", IMAGE),
    ("gz", ARCHIVE),
    ("heic", IMAGE),
    ("ico", IMAGE),
    ("iso", ARCHIVE),
    ("jar", ARCHIVE),
    ("jpeg", IMAGE),
    ("jpg", IMAGE),
    ("js", SCRIPT),
    ("jxl", IMAGE),
    ("m4a", AUDIO_VIDEO),
    ("m4s", AUDIO_VIDEO),
    ("map", Promise::Types(&[b"application/json", b"application/x-", b"text/plain", b"text/javascript"])),
    ("mid", AUDIO_VIDEO),
    ("midi", AUDIO_VIDEO),
    ("mjs", SCRIPT),
    ("mkv", AUDIO_VIDEO),
    ("mov", AUDIO_VIDEO),
    ("mp3", AUDIO_VIDEO),
    ("mp4", AUDIO_VIDEO),
    ("ogg", AUDIO_VIDEO),
    ("opus", AUDIO_VIDEO),
    ("otf", FONT),
    ("pdf", Promise::Types(&[b"application/pdf", b"application/x-pdf"])),
    ("png", IMAGE),
    ("ppt", OFFICE),
    ("pptx", OFFICE),
    ("ps", Promise::Types(&[b"application/postscript"])),
    ("rar", ARCHIVE),
    ("svg", IMAGE),
    ("svgz", IMAGE),
    ("swf", Promise::Types(&[b"application/x-shockwave-flash", b"application/vnd.adobe.flash"])),
    ("tar", ARCHIVE),
    ("tgz", ARCHIVE),
    ("tif", IMAGE),
    ("tiff", IMAGE),
    ("ts", Promise::Types(&[b"video/", b"text/vnd.trolltech.linguist", b"text/typescript", b"text/javascript"])),
    ("ttf", FONT),
    ("wasm", Promise::Types(&[b"application/wasm"])),
    ("wav", AUDIO_VIDEO),
    ("webm", AUDIO_VIDEO),
    ("webp", IMAGE),
    ("woff", FONT),
    ("woff2", FONT),
    ("xls", OFFICE),
    ("xlsx", OFFICE),
    ("xz", ARCHIVE),
    ("zip", ARCHIVE),
    ("zst", ARCHIVE),
];

/// The longest extension of the table, in bytes.
const EXTENSION_BYTES_MAX: usize = 5;

/// Whether a reply is something else than its path's extension promises. A reply without `Content-Type`, or with
/// `application/octet-stream`, is anything; an extension that is not in the table promises nothing.
pub fn deceives(path: &str, headers: &HeaderMap) -> bool {
    let Some(promise) = promise(path) else {
        return false;
    };
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let begins = |with: &[u8]| essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let anything = [&b"application/octet-stream"[..], b"binary/octet-stream", b"application/binary"];
    let fits = match promise {
        Promise::Family(family) => begins(family),
        Promise::Types(types) => types.iter().any(|known| begins(known)),
    };
    !fits && !anything.iter().any(|any| essence.eq_ignore_ascii_case(any))
}

fn promise(path: &str) -> Option<Promise> {
    let name = path.rsplit('/').next()?;
    let (_, extension) = name.rsplit_once('.')?;
    let mut lower = [0; EXTENSION_BYTES_MAX];
    let slot = lower.get_mut(..extension.len())?;
    slot.copy_from_slice(extension.as_bytes());
    slot.make_ascii_lowercase();
    let extension = std::str::from_utf8(slot).ok()?;
    let at = EXTENSIONS.binary_search_by(|(known, _)| known.cmp(&extension)).ok()?;
    EXTENSIONS.get(at).map(|(_, promise)| *promise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, content_type: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        assert_eq!(deceives(path, &headers), expected, "{path} {content_type}");
    }

    #[test]
    fn the_table_is_sorted_and_within_its_bound() {
        assert!(EXTENSIONS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            EXTENSIONS.iter().all(|(known, _)| known.len() <= EXTENSION_BYTES_MAX && *known == known.to_lowercase())
        );
    }

    #[test]
    fn what_fits() {
        for (path, content_type) in [
            ("/a.css", "text/css; charset=utf-8"),
            ("/a.CSS", "TEXT/CSS"),
            ("/a.js", "application/javascript"),
            ("/a.jpg", "image/webp"),
            ("/a.woff2", "font/woff2"),
            ("/a.woff", "application/x-font-woff"),
            ("/a.mp4", "video/mp4"),
            ("/a.tar.gz", "application/x-gzip"),
            ("/a.js.map", "application/json"),
            ("/a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ("/a.css", ""),
            ("/a.css", "application/octet-stream"),
            ("/a", "text/html"),
            ("/a.html", "text/html"),
            ("/a.json", "text/html"),
            ("/v1.2", "text/html"),
            ("/a.css/", "text/html"),
            ("/x.css/page", "text/html"),
        ] {
            check(path, content_type, false);
        }
    }

    #[test]
    fn what_deceives() {
        for (path, content_type) in [
            ("/account/x.css", "text/html"),
            ("/account/x.css", "application/json"),
            ("/account/x.js", "text/plain"),
            ("/account%2Fx.png", "text/html; charset=utf-8"),
            ("/account;x.jpg", "application/xhtml+xml"),
            ("/account/.svg", "text/html"),
            ("/account/x.pdf", "text/html"),
            ("/account/x.zip", "application/json"),
            ("/account/x.woff2", "text/html"),
            ("/account/x.mp4", "image/png"),
        ] {
            check(path, content_type, true);
        }
    }
}
