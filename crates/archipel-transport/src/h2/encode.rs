//! Field sections of replies: HPACK (RFC 7541), written without a dynamic table, as nginx and HAProxy do. Nothing is kept
//! a connection, and the fields of a stored response are encoded once for all connections ([`FrozenFields`]).

use archipel_http::fields::Fields as _;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::huffman;
use crate::message::{FrozenFields, Reply, ReplyFields};

/// Tells the peer that the dynamic table is not used (section 6.3). Stands once at the start of the first section.
pub(crate) const NO_TABLE: u8 = 0x20;
/// A literal that no table takes up (section 6.2.2).
const LITERAL: u8 = 0x00;
/// The same for whoever encodes it again on its way (section 6.2.3).
const NEVER_INDEXED: u8 = 0x10;

/// Index of a name in the static table (appendix A), of those that replies have.
fn static_index(name: &HeaderName) -> Option<u8> {
    Some(match *name {
        header::ACCEPT_RANGES => 18,
        header::ACCESS_CONTROL_ALLOW_ORIGIN => 20,
        header::AGE => 21,
        header::ALLOW => 22,
        header::CACHE_CONTROL => 24,
        header::CONTENT_DISPOSITION => 25,
        header::CONTENT_ENCODING => 26,
        header::CONTENT_LANGUAGE => 27,
        header::CONTENT_LENGTH => 28,
        header::CONTENT_LOCATION => 29,
        header::CONTENT_RANGE => 30,
        header::CONTENT_TYPE => 31,
        header::DATE => 33,
        header::ETAG => 34,
        header::EXPIRES => 36,
        header::LAST_MODIFIED => 44,
        header::LINK => 45,
        header::LOCATION => 46,
        header::PROXY_AUTHENTICATE => 48,
        header::REFRESH => 52,
        header::RETRY_AFTER => 53,
        header::SERVER => 54,
        header::SET_COOKIE => 55,
        header::STRICT_TRANSPORT_SECURITY => 56,
        header::VARY => 59,
        header::VIA => 60,
        header::WWW_AUTHENTICATE => 61,
        _ => return None,
    })
}

/// Whether HTTP/2 has a place for a field (RFC 9113 section 8.2.2). `Content-Length` is the writer's of the head.
pub(crate) fn is_written(name: &HeaderName) -> bool {
    !matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::CONTENT_LENGTH)
        && name != "keep-alive"
        && name != "proxy-connection"
}

/// Section 5.1.
fn write_integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn write_plain(out: &mut Vec<u8>, text: &[u8]) {
    write_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

fn write_shorter(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        write_integer(out, 0x80, 7, coded);
        huffman::encode(text, out);
    } else {
        write_plain(out, text);
    }
}

fn write_name(out: &mut Vec<u8>, name: &HeaderName, kind: u8, write: fn(&mut Vec<u8>, &[u8])) {
    match static_index(name) {
        Some(index) => write_integer(out, kind, 4, usize::from(index)),
        None => {
            out.push(kind);
            write(out, name.as_str().as_bytes());
        }
    }
}

/// A field that is written many times, or long: as short as it can be.
fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let kind = if *name == header::SET_COOKIE || value.is_sensitive() { NEVER_INDEXED } else { LITERAL };
    write_name(out, name, kind, write_shorter);
    write_shorter(out, value.as_bytes());
}

/// A short field that is written once: what Huffman code would save is not worth its time.
fn write_once(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    write_name(out, name, LITERAL, write_plain);
    write_plain(out, value);
}

fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            write_integer(out, LITERAL, 4, 8);
            write_plain(out, status.as_str().as_bytes());
            return;
        }
    };
    out.push(0x80 | index);
}

/// The fields of a map that HTTP/2 has a place for.
pub(crate) fn write_map(out: &mut Vec<u8>, map: &HeaderMap) {
    for (name, value) in map {
        if is_written(name) {
            write_field(out, name, value);
        }
    }
}

/// The field section of an interim response.
pub(crate) fn write_interim(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    write_status(out, status);
    write_map(out, fields);
}

/// The fields of a stored response as they are sent.
#[derive(Debug)]
pub(crate) struct Block {
    section: Box<[u8]>,
    has_date: bool,
}

impl Block {
    pub(crate) fn new(fields: &FrozenFields) -> Self {
        let mut section = Vec::with_capacity(fields.lines().len());
        write_map(&mut section, &fields.to_map());
        Self { section: section.into_boxed_slice(), has_date: fields.has(&header::DATE) }
    }
}

/// The field section of a reply.
pub(crate) fn write_head(out: &mut Vec<u8>, reply: &Reply) {
    // RFC 8441 section 5: a tunnel is accepted by 200, not by 101.
    let tunnel = reply.status == StatusCode::SWITCHING_PROTOCOLS;
    write_status(out, if tunnel { StatusCode::OK } else { reply.status });
    let mut has_date = match &reply.fields {
        ReplyFields::Owned(_) | ReplyFields::Received(_) => {
            let map = reply.headers();
            write_map(out, &map);
            map.contains_key(header::DATE)
        }
        ReplyFields::Frozen(frozen) => {
            let block = frozen.block();
            out.extend_from_slice(&block.section);
            block.has_date
        }
    };
    for (name, value) in &reply.added {
        if is_written(name) {
            has_date |= *name == header::DATE;
            write_once(out, name, value.as_bytes());
        }
    }
    if !has_date {
        write_once(out, &header::DATE, &crate::date::now());
    }
    let bodiless = tunnel || reply.status == StatusCode::NO_CONTENT;
    if let Some(length) = reply.body.len()
        && !bodiless
        && (length > 0 || reply.status != StatusCode::NOT_MODIFIED)
    {
        write_once(out, &header::CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::h2::hpack::{Decoder, Field, STATIC};
    use crate::message::ReplyBody;

    #[test]
    fn indices_are_those_of_the_static_table() {
        let mut known = 0;
        for (i, field) in STATIC.iter().enumerate() {
            let Field::Plain(name, _) = field else { continue };
            if let Some(index) = static_index(name) {
                assert_eq!(usize::from(index), i + 1, "{name}");
                known += 1;
            }
        }
        assert_eq!(known, 27);
        assert_eq!(static_index(&HeaderName::from_static("x-request-id")), None);
    }

    /// What a section says, but for its status (which no request has, so that the decoder calls it bad).
    fn read(section: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let each = |field| {
            if let Field::Plain(name, value) = field {
                lines.push(format!("{name}: {}", value.to_str().expect("text")));
            }
            true
        };
        Decoder::default().decode(section, each).expect("a section");
        lines
    }

    fn reply(status: u16, body: ReplyBody) -> Reply {
        let mut reply = Reply::new(StatusCode::from_u16(status).expect("a status"));
        let map = reply.headers_mut();
        for (name, value) in [
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("x-long", &"a b;c=".repeat(100)),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("content-length", "7"),
        ] {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect(name),
            );
        }
        reply.add(header::AGE, HeaderValue::from_static("3"));
        reply.body = body;
        reply
    }

    #[track_caller]
    fn check(mut reply: Reply, first: &[u8], length: Option<&str>) {
        let long = format!("x-long: {}", "a b;c=".repeat(100));
        let mut expected =
            vec!["date: Mon, 21 Oct 2013 20:13:21 GMT", &long, "set-cookie: a=1", "set-cookie: b=2", "age: 3"];
        expected.extend(length);
        // Once with fields of its own, once with the same ones as the store has them.
        for _ in 0..2 {
            let mut section = Vec::new();
            write_head(&mut section, &reply);
            assert!(section.starts_with(first), "{:x?}", &section[..6]);
            assert_eq!(read(&section), expected);
            reply.fields = ReplyFields::Frozen(std::sync::Arc::new(FrozenFields::new(&reply.headers())));
        }
    }

    #[test]
    fn heads_of_replies() {
        check(reply(200, ReplyBody::Full(Bytes::from_static(b"abc"))), &[0x88], Some("content-length: 3"));
        check(reply(200, ReplyBody::Empty), &[0x88], Some("content-length: 0"));
        check(reply(204, ReplyBody::Empty), &[0x89], None);
        check(reply(304, ReplyBody::Empty), &[0x8b], None);
        check(reply(200, ReplyBody::Omitted { len: None }), &[0x88], None);
        check(reply(101, ReplyBody::Empty), &[0x88], None);
        check(reply(503, ReplyBody::Empty), &[0x08, 3, b'5', b'0', b'3'], Some("content-length: 0"));
    }

    #[test]
    fn a_date_is_added_where_there_is_none() {
        let mut section = Vec::new();
        write_head(&mut section, &Reply::new(StatusCode::OK));
        assert!(read(&section)[0].starts_with("date: "));
    }
}
