//! What the embedding program tells of the connection, the request's head and the response's head.

use std::net::IpAddr;

use crate::body::{self, BodyError};
use crate::program::{Mode, Processor, RuleSet, Store, scalar};

use super::state::State;
use super::{Connection, Transaction};

impl Transaction {
    /// Says what connection the request came on.
    pub fn connection(&mut self, connection: &Connection) {
        let state = &mut self.state;
        let mut address = |places: &[u8], address: IpAddr| {
            let text = address.to_string();
            places.iter().for_each(|place| state.set_scalar(*place, text.as_bytes()));
        };
        address(&[scalar::REMOTE_ADDR, scalar::REMOTE_HOST], connection.client);
        address(&[scalar::SERVER_ADDR], connection.server);
        state.set_number(scalar::REMOTE_PORT, u64::from(connection.client_port));
        state.set_number(scalar::SERVER_PORT, u64::from(connection.server_port));
    }

    /// Gives the transaction its `UNIQUE_ID`, which sampling also draws lots with: it should be random.
    pub fn unique_id(&mut self, id: &[u8]) {
        self.state.set_scalar(scalar::UNIQUE_ID, id);
    }

    /// Says where the client is, for `GEO`: `COUNTRY_CODE`, `COUNTRY_NAME` and the like.
    pub fn geo(&mut self, name: &str, value: &[u8]) {
        self.state.add(Store::Geo, name.as_bytes(), value);
    }

    /// Gives the parts of the request line as they came: `GET`, `/path?query`, `HTTP/1.1`.
    pub fn request_line(&mut self, method: &[u8], target: &[u8], protocol: &[u8]) {
        if self.state.mode != Mode::Off {
            self.state.request_line(&self.rules, method, target, protocol);
        }
    }

    /// Gives a header line of the request, in the order in which they came.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        if self.state.mode != Mode::Off {
            self.state.request_header(&self.rules, name, value);
        }
    }

    /// Gives the status code and the protocol (`HTTP/1.1`) of the response.
    pub fn response_status(&mut self, status: u16, protocol: &[u8]) {
        let state = &mut self.state;
        state.set_number(scalar::RESPONSE_STATUS, u64::from(status));
        state.set_number(scalar::STATUS, u64::from(status));
        state.set_scalar(scalar::RESPONSE_PROTOCOL, protocol);
        state.touch();
    }

    /// Gives a header line of the response.
    pub fn response_header(&mut self, name: &[u8], value: &[u8]) {
        if self.state.mode == Mode::Off {
            return;
        }
        self.state.add(Store::ResponseHeaders, name, value);
        if name.eq_ignore_ascii_case(b"content-type") {
            let end = memchr::memchr(b';', value).unwrap_or(value.len());
            self.state.set_scalar(scalar::RESPONSE_CONTENT_TYPE, &value[..end]);
        }
        self.state.touch();
    }
}

impl State {
    fn request_line(&mut self, set: &RuleSet, method: &[u8], target: &[u8], protocol: &[u8]) {
        self.set_scalar(scalar::REQUEST_METHOD, method);
        self.set_scalar(scalar::REQUEST_PROTOCOL, protocol);
        self.set_scalar(scalar::REQUEST_LINE, &[method, b" ", target, b" ", protocol].concat());
        self.set_scalar(scalar::REQUEST_URI_RAW, target);
        // A fragment stays in the raw forms only.
        let end = memchr::memchr(b'#', target).unwrap_or(target.len());
        let target = &target[..end];
        let (path, query) = match memchr::memchr(b'?', target) {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        let path = percent_decoded(path);
        self.set_scalar(scalar::REQUEST_FILENAME, &path);
        self.set_scalar(scalar::PATH_INFO, &path);
        let name = path.iter().rposition(|b| matches!(b, b'/' | b'\\')).map_or(&[][..], |at| &path[at + 1..]);
        self.set_scalar(scalar::REQUEST_BASENAME, name);
        let decoded = percent_decoded(target);
        self.set_scalar(scalar::REQUEST_URI, without_authority(&decoded));
        if let Some(query) = query {
            self.set_scalar(scalar::QUERY_STRING, query);
            self.query(set, query);
        }
        self.touch();
    }

    fn query(&mut self, set: &RuleSet, query: &[u8]) {
        let limits = self.body_limits(set);
        let separator = set.settings.argument_separator;
        let read = body::query(query, separator, &limits, &mut self.sink());
        self.set_flag(scalar::URLENCODED_ERROR, *read.as_ref().unwrap_or(&true));
        // As ModSecurity 2 has it, `REQBODY_ERROR` also tells of a query with too many arguments.
        self.head_error = read.err();
        self.query_arguments = self.list(Store::Arguments).len();
        self.form_arguments = self.query_arguments;
    }

    fn request_header(&mut self, set: &RuleSet, name: &[u8], value: &[u8]) {
        self.add(Store::RequestHeaders, name, value);
        if name.eq_ignore_ascii_case(b"cookie") {
            self.cookies(set, value);
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let begins =
                |prefix: &[u8]| value.len() >= prefix.len() && value[..prefix.len()].eq_ignore_ascii_case(prefix);
            if begins(b"multipart/form-data") {
                self.choose(Processor::Multipart);
            } else if begins(b"application/x-www-form-urlencoded") {
                self.choose(Processor::Urlencoded);
            }
        } else if name.eq_ignore_ascii_case(b"authorization") {
            let end = memchr::memchr(b' ', value).unwrap_or(value.len());
            self.set_scalar(scalar::AUTH_TYPE, &value[..end]);
        } else if name.eq_ignore_ascii_case(b"host") {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            self.set_scalar(scalar::SERVER_NAME, &value[..end]);
        }
        self.touch();
    }

    fn cookies(&mut self, set: &RuleSet, field: &[u8]) {
        let cookies_max = self.body_limits(set).arguments_max;
        let left = cookies_max.saturating_sub(self.list(Store::RequestCookies).len());
        if !body::cookies(field, left, |name, value| self.add(Store::RequestCookies, name, value)) {
            self.head_error.get_or_insert(BodyError::Cookies(cookies_max));
        }
    }

    fn choose(&mut self, processor: Processor) {
        self.processor = Some(processor);
        self.set_scalar(scalar::REQBODY_PROCESSOR, processor.name());
    }
}

/// `%XX` decoded; what is not that stays.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16)).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The path of `scheme://authority/path`, or the target where it is not that.
fn without_authority(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(colon) = memchr::memchr(b':', target) else { return target };
    let Some(rest) = target[colon + 1..].strip_prefix(b"//") else { return target };
    memchr::memchr(b'/', rest).map_or(target, |at| &rest[at..])
}
