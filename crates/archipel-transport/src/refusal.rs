//! Why a connection or a message was refused before it became a request. Each has a status, a name and a sentence.

use http::StatusCode;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $word:literal, $text:literal;)*) => {
        /// A refusal by the transport.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// All of them, for the metrics table and the docs.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];
            /// The status of the reply.
            pub fn status(self) -> StatusCode {
                match self { $(Refusal::$name => StatusCode::$status,)* }
            }
            /// The name in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Refusal::$name => $word,)* }
            }
            /// One sentence for the person who made the request.
            pub fn message(self) -> &'static str {
                match self { $(Refusal::$name => $text,)* }
            }
        }
    };
}

refusals! {
    /// The head is not HTTP.
    MalformedHead = BAD_REQUEST, "malformed_head", "The request head is not valid HTTP.";
    /// A line ended in LF without CR (RFC 9112 section 2.2 lets a server refuse).
    BareLineFeed = BAD_REQUEST, "bare_line_feed", "A line of the request head ends in LF without CR.";
    /// A version other than 1.0 and 1.1.
    UnsupportedVersion = HTTP_VERSION_NOT_SUPPORTED, "unsupported_version", "This HTTP version is not spoken here.";
    /// `uri_bytes_max`.
    UriTooLong = URI_TOO_LONG, "uri_too_long", "The request target is longer than this edge allows.";
    /// `header_bytes_max`.
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "The request head is larger than this edge allows.";
    /// `header_count_max`.
    TooManyFields = REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_fields", "The request has more header fields than this edge allows.";
    /// Missing, repeated or empty Host on HTTP/1.1 (RFC 9112 section 3.2), or one that contradicts the target.
    BadHost = BAD_REQUEST, "bad_host", "The Host field is missing, repeated, empty, or contradicts the request target.";
    /// Content-Length that is not one decimal number.
    BadContentLength = BAD_REQUEST, "bad_content_length", "The Content-Length field is not one decimal number.";
    /// Transfer-Encoding other than exactly `chunked`, or on HTTP/1.0.
    BadTransferEncoding = BAD_REQUEST, "bad_transfer_encoding", "The Transfer-Encoding field must be exactly \"chunked\", once, on HTTP/1.1.";
    /// Transfer-Encoding and Content-Length together (RFC 9112 section 6.1): request smuggling.
    ConflictingFraming = BAD_REQUEST, "conflicting_framing", "Transfer-Encoding and Content-Length contradict each other.";
    /// A chunk header or trailer that is not to the letter.
    MalformedChunk = BAD_REQUEST, "malformed_chunk", "The chunked body is malformed.";
    /// An expectation other than 100-continue.
    BadExpectation = EXPECTATION_FAILED, "bad_expectation", "Only the expectation \"100-continue\" is understood.";
    /// The head did not arrive within `request_head`.
    HeadTimeout = REQUEST_TIMEOUT, "head_timeout", "The request head did not arrive in time.";
    /// Plain HTTP on a TLS port.
    PlainOnTls = BAD_REQUEST, "plain_on_tls", "This port speaks TLS: use https:// here.";
    /// A field that HTTP/2 forbids, or pseudo-fields that contradict each other.
    MalformedFields = BAD_REQUEST, "malformed_fields", "The request has fields that this HTTP version forbids.";
}
