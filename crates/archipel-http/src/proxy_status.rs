//! The `Proxy-Status` field and the error types of RFC 9209.
//!
//! Owns the words for what can go wrong between edge and origin, with status, fault and whether a retry helps. Must never
//! decide what happened.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::status::StatusCode;

use crate::structured::ItemWriter;

/// `Proxy-Status`
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Whose fault an error is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The visitor's request.
    Client,
    /// This node.
    Edge,
    /// The origin, or the way to it.
    Origin,
    /// The configuration.
    Operator,
}

impl Fault {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Edge => "edge",
            Fault::Origin => "origin",
            Fault::Operator => "operator",
        }
    }
}

macro_rules! proxy_errors {
    ($($(#[$doc:meta])* $name:ident $word:literal $status:literal $fault:ident $retry:literal;)*) => {
        /// The proxy error types (RFC 9209 section 2.3).
        #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
        pub enum ProxyError {
            $($(#[$doc])* $name,)*
        }

        impl ProxyError {
            /// All of them, in the order of the RFC.
            pub const ALL: &[ProxyError] = &[$(ProxyError::$name,)*];

            /// The word of RFC 9209, also for logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ProxyError::$name => $word,)*
                }
            }

            /// The status that the RFC recommends for the reply; where it leaves the choice, the one that this edge uses.
            pub fn status(self) -> StatusCode {
                let code = match self {
                    $(ProxyError::$name => $status,)*
                };
                StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY)
            }

            /// Whose fault it is.
            pub fn fault(self) -> Fault {
                match self {
                    $(ProxyError::$name => Fault::$fault,)*
                }
            }

            /// Whether the same request may well succeed a moment later or elsewhere. Whether it is safe to send it again is
            /// another question.
            pub fn retry_helps(self) -> bool {
                match self {
                    $(ProxyError::$name => $retry,)*
                }
            }
        }
    };
}

proxy_errors! {
    /// No answer of the name servers in time
    DnsTimeout "dns_timeout" 504 Origin true;
    /// The name servers answered with an error
    DnsError "dns_error" 502 Origin false;
    /// No origin is configured for the request
    DestinationNotFound "destination_not_found" 500 Operator false;
    /// The origin is known to be unavailable
    DestinationUnavailable "destination_unavailable" 503 Origin true;
    /// The origin's address is one that may not be connected to
    DestinationIpProhibited "destination_ip_prohibited" 502 Operator false;
    /// There is no route to the origin's address
    DestinationIpUnroutable "destination_ip_unroutable" 502 Origin true;
    /// The connection was refused
    ConnectionRefused "connection_refused" 502 Origin true;
    /// The connection was closed before the reply was complete
    ConnectionTerminated "connection_terminated" 502 Origin true;
    /// The connection was not made in time
    ConnectionTimeout "connection_timeout" 504 Origin true;
    /// Nothing came in time on an open connection
    ConnectionReadTimeout "connection_read_timeout" 504 Origin true;
    /// Nothing could be written in time on an open connection
    ConnectionWriteTimeout "connection_write_timeout" 504 Origin true;
    /// This node's limit of connections to the origin is reached
    ConnectionLimitReached "connection_limit_reached" 503 Edge true;
    /// The TLS handshake failed
    TlsProtocolError "tls_protocol_error" 502 Origin false;
    /// The origin's certificate is not valid for it
    TlsCertificateError "tls_certificate_error" 502 Origin false;
    /// The origin sent a TLS alert
    TlsAlertReceived "tls_alert_received" 502 Origin false;
    /// The client's request is malformed
    HttpRequestError "http_request_error" 400 Client false;
    /// The request is refused by rule
    HttpRequestDenied "http_request_denied" 403 Client false;
    /// The reply ended early
    HttpResponseIncomplete "http_response_incomplete" 502 Origin true;
    /// The reply's header section is too large
    HttpResponseHeaderSectionSize "http_response_header_section_size" 502 Origin false;
    /// A field of the reply is too large
    HttpResponseHeaderSize "http_response_header_size" 502 Origin false;
    /// The reply's content is too large
    HttpResponseBodySize "http_response_body_size" 502 Origin false;
    /// The reply's trailer section is too large
    HttpResponseTrailerSectionSize "http_response_trailer_section_size" 502 Origin false;
    /// A trailer field of the reply is too large
    HttpResponseTrailerSize "http_response_trailer_size" 502 Origin false;
    /// The reply's transfer coding could not be decoded
    HttpResponseTransferCoding "http_response_transfer_coding" 502 Origin false;
    /// The reply's content coding could not be decoded
    HttpResponseContentCoding "http_response_content_coding" 502 Origin false;
    /// No complete reply in time
    HttpResponseTimeout "http_response_timeout" 504 Origin true;
    /// The upgrade of the connection failed
    HttpUpgradeFailed "http_upgrade_failed" 502 Origin false;
    /// The origin does not speak HTTP as it should
    HttpProtocolError "http_protocol_error" 502 Origin false;
    /// The proxy made this reply itself, and it is no error
    ProxyInternalResponse "proxy_internal_response" 200 Edge false;
    /// The proxy failed
    ProxyInternalError "proxy_internal_error" 500 Edge true;
    /// The configuration is wrong
    ProxyConfigurationError "proxy_configuration_error" 500 Operator false;
    /// The request came back to this proxy
    ProxyLoopDetected "proxy_loop_detected" 502 Operator false;
}

/// What this proxy has to say about a reply: one member of the field.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatus<'a> {
    /// The proxy's name.
    pub proxy: &'a str,
    /// What went wrong, if anything.
    pub error: Option<ProxyError>,
    /// The origin's name or address, where the zone shows it.
    pub next_hop: Option<&'a str>,
    /// The protocol spoken with the origin: an ALPN identifier.
    pub next_protocol: Option<&'a str>,
    /// The status that the origin sent.
    pub received_status: Option<u16>,
    /// More, for people.
    pub details: Option<&'a str>,
    /// A DNS response code in words, for [`ProxyError::DnsError`].
    pub rcode: Option<&'a str>,
    /// A TLS alert's number, for [`ProxyError::TlsAlertReceived`].
    pub alert_id: Option<u8>,
}

impl ProxyStatus<'_> {
    /// The member as a field value. What a string cannot hold is replaced, so it is always valid.
    pub fn to_header_value(&self) -> HeaderValue {
        let mut item = ItemWriter::new(self.proxy);
        if let Some(error) = self.error {
            item.token("error", error.as_str());
        }
        item.string("rcode", self.rcode);
        item.integer("alert-id", self.alert_id.map(i64::from));
        item.token_or_string("next-hop", self.next_hop);
        item.token_or_string("next-protocol", self.next_protocol);
        item.integer("received-status", self.received_status.map(i64::from));
        item.string("details", self.details);
        item.finish()
    }

    /// Adds the member behind those of proxies nearer to the origin (RFC 9209 section 2).
    pub fn append_to(&self, headers: &mut HeaderMap) {
        headers.append(PROXY_STATUS, self.to_header_value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: ProxyStatus<'_>, expected: &str) {
        let value = status.to_header_value();
        assert_eq!(value, expected);
        let list: sfv::List = sfv::Parser::new(value.as_bytes()).parse().unwrap();
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn members() {
        let base = ProxyStatus { proxy: "Archipel", ..ProxyStatus::default() };
        check(base, "Archipel");
        check(ProxyStatus { error: Some(ProxyError::ConnectionTimeout), ..base }, "Archipel; error=connection_timeout");
        check(
            ProxyStatus {
                error: Some(ProxyError::DnsError),
                rcode: Some("NXDOMAIN"),
                details: Some("no \"such\" name"),
                ..base
            },
            "Archipel; error=dns_error; rcode=\"NXDOMAIN\"; details=\"no \\\"such\\\" name\"",
        );
        check(
            ProxyStatus {
                next_hop: Some("origin.example"),
                next_protocol: Some("h2"),
                received_status: Some(503),
                ..base
            },
            "Archipel; next-hop=origin.example; next-protocol=h2; received-status=503",
        );
        check(
            ProxyStatus {
                error: Some(ProxyError::TlsAlertReceived),
                alert_id: Some(40),
                next_hop: Some("[2001:db8::1]:443"),
                ..base
            },
            "Archipel; error=tls_alert_received; alert-id=40; next-hop=\"[2001:db8::1]:443\"",
        );
    }

    #[test]
    fn all_types_have_a_word_and_an_error_status() {
        assert_eq!(ProxyError::ALL.len(), 32);
        let mut words: Vec<_> = ProxyError::ALL.iter().map(|error| error.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ProxyError::ALL.len());
        for error in ProxyError::ALL {
            let is_error = error.status().is_client_error() || error.status().is_server_error();
            assert!(is_error || *error == ProxyError::ProxyInternalResponse, "{error:?}");
            assert!(!error.fault().as_str().is_empty());
            assert!(!(error.retry_helps() && error.fault() == Fault::Client), "{error:?}");
        }
    }
}
