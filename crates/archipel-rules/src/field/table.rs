//! The table of fields: every documented one, with its type, the phase in which it exists, whether an edge can know it, and
//! the number that stands where nothing is known. It is the only place where a field is named.

use super::{FieldSpec, Phase, kinds::*};

macro_rules! fields {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal, $kind:ident, $phase:ident, $edge:literal, $default:literal;)+) => {
        /// A field of the language. Its documentation is the summary in the reference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Field {
            $(#[doc = $doc] $variant,)+
        }

        /// Every field, in the order of [`Field`].
        pub(super) static TABLE: &[FieldSpec] = &[$(FieldSpec {
            id: Field::$variant,
            name: $name,
            kind: $kind,
            phase: Phase::$phase,
            edge: $edge,
            default: $default,
            summary: $doc.trim_ascii(),
        }),+];
    };
}

fields! {
    /// The whole Cookie header.
    HttpCookie = "http.cookie", TEXT, Request, true, 0;
    /// Host name of the request, from the URI or the Host header.
    HttpHost = "http.host", TEXT, Request, true, 0;
    /// The Referer header.
    HttpReferer = "http.referer", TEXT, Request, true, 0;
    /// The User-Agent header.
    HttpUserAgent = "http.user_agent", TEXT, Request, true, 0;
    /// The whole X-Forwarded-For header, as the client sent it.
    HttpXForwardedFor = "http.x_forwarded_for", TEXT, Request, true, 0;
    /// Scheme, host, path and query of the request.
    HttpRequestFullUri = "http.request.full_uri", TEXT, Request, true, 0;
    /// The method, such as GET.
    HttpRequestMethod = "http.request.method", TEXT, Request, true, 0;
    /// Cookies by name (names URL-decoded).
    HttpRequestCookies = "http.request.cookies", TEXTS_BY_NAME, Request, true, 0;
    /// When the request came, UNIX time in seconds.
    HttpRequestTimestampSec = "http.request.timestamp.sec", INT, Request, true, 0;
    /// The milliseconds of that moment, 0 to 999.
    HttpRequestTimestampMsec = "http.request.timestamp.msec", INT, Request, true, 0;
    /// Path and query of the request.
    HttpRequestUri = "http.request.uri", TEXT, Request, true, 0;
    /// Path of the request.
    HttpRequestUriPath = "http.request.uri.path", TEXT, Request, true, 0;
    /// Lower-case file extension of the path, without its dot.
    HttpRequestUriPathExtension = "http.request.uri.path.extension", TEXT, Request, true, 0;
    /// Query string, without the question mark.
    HttpRequestUriQuery = "http.request.uri.query", TEXT, Request, true, 0;
    /// Protocol version, such as HTTP/2.
    HttpRequestVersion = "http.request.version", TEXT, Request, true, 0;
    /// Arguments of the query string by name, not decoded.
    HttpRequestUriArgs = "http.request.uri.args", TEXTS_BY_NAME, Request, true, 0;
    /// Names of the arguments, in order.
    HttpRequestUriArgsNames = "http.request.uri.args.names", TEXTS, Request, true, 0;
    /// Values of the arguments, in order.
    HttpRequestUriArgsValues = "http.request.uri.args.values", TEXTS, Request, true, 0;
    /// Request headers by lower-case name.
    HttpRequestHeaders = "http.request.headers", TEXTS_BY_NAME, Request, true, 0;
    /// Names of the request headers, as sent.
    HttpRequestHeadersNames = "http.request.headers.names", TEXTS, Request, true, 0;
    /// Values of the request headers, in the order of their names.
    HttpRequestHeadersValues = "http.request.headers.values", TEXTS, Request, true, 0;
    /// Whether there were more headers than are kept.
    HttpRequestHeadersTruncated = "http.request.headers.truncated", BOOL, Request, true, 0;
    /// Language tags of Accept-Language, best first.
    HttpRequestAcceptedLanguages = "http.request.accepted_languages", TEXTS, Request, true, 0;
    /// The request body, as far as it is kept.
    HttpRequestBodyRaw = "http.request.body.raw", TEXT, Request, true, 0;
    /// Whether the body is longer than what is kept.
    HttpRequestBodyTruncated = "http.request.body.truncated", BOOL, Request, true, 0;
    /// Size of the request body in bytes.
    HttpRequestBodySize = "http.request.body.size", INT, Request, true, 0;
    /// Fields of a URL-encoded form by name, not decoded.
    HttpRequestBodyForm = "http.request.body.form", TEXTS_BY_NAME, Request, true, 0;
    /// Names of the form's fields, in order.
    HttpRequestBodyFormNames = "http.request.body.form.names", TEXTS, Request, true, 0;
    /// Values of the form's fields, in order.
    HttpRequestBodyFormValues = "http.request.body.form.values", TEXTS, Request, true, 0;
    /// MIME type that the body looks like.
    HttpRequestBodyMime = "http.request.body.mime", TEXT, Request, true, 0;
    /// Values of a multipart body by part name.
    HttpRequestBodyMultipart = "http.request.body.multipart", TEXTS_BY_NAME, Request, true, 0;
    /// Names of each part.
    HttpRequestBodyMultipartNames = "http.request.body.multipart.names", TEXT_LISTS, Request, true, 0;
    /// Content of each part.
    HttpRequestBodyMultipartValues = "http.request.body.multipart.values", TEXTS, Request, true, 0;
    /// Content-Type of each part.
    HttpRequestBodyMultipartContentTypes = "http.request.body.multipart.content_types", TEXT_LISTS, Request, true, 0;
    /// Content-Disposition of each part.
    HttpRequestBodyMultipartContentDispositions = "http.request.body.multipart.content_dispositions", TEXT_LISTS, Request, true, 0;
    /// Content-Transfer-Encoding of each part.
    HttpRequestBodyMultipartContentTransferEncodings = "http.request.body.multipart.content_transfer_encodings", TEXT_LISTS, Request, true, 0;
    /// File names of each part.
    HttpRequestBodyMultipartFilenames = "http.request.body.multipart.filenames", TEXT_LISTS, Request, true, 0;
    /// Audience of a JSON Web Token, by token configuration.
    HttpRequestJwtClaimsAud = "http.request.jwt.claims.aud", TEXTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave an audience.
    HttpRequestJwtClaimsAudNames = "http.request.jwt.claims.aud.names", TEXTS, Request, false, 0;
    /// Audiences, in the order of their names.
    HttpRequestJwtClaimsAudValues = "http.request.jwt.claims.aud.values", TEXTS, Request, false, 0;
    /// When a token was issued, by token configuration.
    HttpRequestJwtClaimsIatSec = "http.request.jwt.claims.iat.sec", INTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave a time of issue.
    HttpRequestJwtClaimsIatSecNames = "http.request.jwt.claims.iat.sec.names", TEXTS, Request, false, 0;
    /// Times of issue, in the order of their names.
    HttpRequestJwtClaimsIatSecValues = "http.request.jwt.claims.iat.sec.values", INTS, Request, false, 0;
    /// Issuer of a token, by token configuration.
    HttpRequestJwtClaimsIss = "http.request.jwt.claims.iss", TEXTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave an issuer.
    HttpRequestJwtClaimsIssNames = "http.request.jwt.claims.iss.names", TEXTS, Request, false, 0;
    /// Issuers, in the order of their names.
    HttpRequestJwtClaimsIssValues = "http.request.jwt.claims.iss.values", TEXTS, Request, false, 0;
    /// Identifier of a token, by token configuration.
    HttpRequestJwtClaimsJti = "http.request.jwt.claims.jti", TEXTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave an identifier.
    HttpRequestJwtClaimsJtiNames = "http.request.jwt.claims.jti.names", TEXTS, Request, false, 0;
    /// Identifiers, in the order of their names.
    HttpRequestJwtClaimsJtiValues = "http.request.jwt.claims.jti.values", TEXTS, Request, false, 0;
    /// When a token begins to hold, by token configuration.
    HttpRequestJwtClaimsNbfSec = "http.request.jwt.claims.nbf.sec", INTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave a beginning.
    HttpRequestJwtClaimsNbfSecNames = "http.request.jwt.claims.nbf.sec.names", TEXTS, Request, false, 0;
    /// Beginnings, in the order of their names.
    HttpRequestJwtClaimsNbfSecValues = "http.request.jwt.claims.nbf.sec.values", INTS, Request, false, 0;
    /// Subject of a token, by token configuration.
    HttpRequestJwtClaimsSub = "http.request.jwt.claims.sub", TEXTS_BY_NAME, Request, false, 0;
    /// Token configurations that gave a subject.
    HttpRequestJwtClaimsSubNames = "http.request.jwt.claims.sub.names", TEXTS, Request, false, 0;
    /// Subjects, in the order of their names.
    HttpRequestJwtClaimsSubValues = "http.request.jwt.claims.sub.values", TEXTS, Request, false, 0;
    /// The full URI before any rewrite.
    RawHttpRequestFullUri = "raw.http.request.full_uri", TEXT, Request, true, 0;
    /// Path and query before any rewrite.
    RawHttpRequestUri = "raw.http.request.uri", TEXT, Request, true, 0;
    /// Path before any rewrite.
    RawHttpRequestUriPath = "raw.http.request.uri.path", TEXT, Request, true, 0;
    /// File extension before any rewrite, in its own case.
    RawHttpRequestUriPathExtension = "raw.http.request.uri.path.extension", TEXT, Request, true, 0;
    /// Query string before any rewrite.
    RawHttpRequestUriQuery = "raw.http.request.uri.query", TEXT, Request, true, 0;
    /// Arguments by name before any rewrite.
    RawHttpRequestUriArgs = "raw.http.request.uri.args", TEXTS_BY_NAME, Request, true, 0;
    /// Names of the arguments before any rewrite.
    RawHttpRequestUriArgsNames = "raw.http.request.uri.args.names", TEXTS, Request, true, 0;
    /// Values of the arguments before any rewrite.
    RawHttpRequestUriArgsValues = "raw.http.request.uri.args.values", TEXTS, Request, true, 0;
    /// The client's address.
    IpSrc = "ip.src", ADDRESS, Request, true, 0;
    /// Latitude of the client's address.
    IpSrcLat = "ip.src.lat", TEXT, Request, true, 0;
    /// Longitude of the client's address.
    IpSrcLon = "ip.src.lon", TEXT, Request, true, 0;
    /// City of the client's address.
    IpSrcCity = "ip.src.city", TEXT, Request, true, 0;
    /// Postal code of the client's address.
    IpSrcPostalCode = "ip.src.postal_code", TEXT, Request, true, 0;
    /// Metro code (DMA) of the client's address.
    IpSrcMetroCode = "ip.src.metro_code", TEXT, Request, true, 0;
    /// Name of the region of the client's address.
    IpSrcRegion = "ip.src.region", TEXT, Request, true, 0;
    /// Code of the region of the client's address.
    IpSrcRegionCode = "ip.src.region_code", TEXT, Request, true, 0;
    /// Time zone of the client's address.
    IpSrcTimezoneName = "ip.src.timezone.name", TEXT, Request, true, 0;
    /// Autonomous system number of the client's address.
    IpSrcAsnum = "ip.src.asnum", INT, Request, true, 0;
    /// Continent code of the client's address; T1 is Tor.
    IpSrcContinent = "ip.src.continent", TEXT, Request, true, 0;
    /// Two-letter country code (ISO 3166-1) of the client's address.
    IpSrcCountry = "ip.src.country", TEXT, Request, true, 0;
    /// First-level subdivision (ISO 3166-2) of the client's address.
    IpSrcSubdivision1IsoCode = "ip.src.subdivision_1_iso_code", TEXT, Request, true, 0;
    /// Second-level subdivision (ISO 3166-2) of the client's address.
    IpSrcSubdivision2IsoCode = "ip.src.subdivision_2_iso_code", TEXT, Request, true, 0;
    /// Whether the client's country is in the European Union.
    IpSrcIsInEuropeanUnion = "ip.src.is_in_european_union", BOOL, Request, true, 0;
    /// Whether the client's connection is encrypted.
    Ssl = "ssl", BOOL, Request, true, 0;
    /// Whether a session identifier of API Shield was there.
    CfApiGatewayAuthIdPresent = "cf.api_gateway.auth_id_present", BOOL, Request, false, 0;
    /// Whether the request breaks the schema of its endpoint.
    CfApiGatewayRequestViolatesSchema = "cf.api_gateway.request_violates_schema", BOOL, Request, false, 0;
    /// Whether the request matched no saved endpoint.
    CfApiGatewayFallthroughDetected = "cf.api_gateway.fallthrough_detected", BOOL, Request, false, 0;
    /// Whether the request breaks the learned profile.
    CfSchemaValidationLearnedViolated = "cf.schema_validation.learned.violated", BOOL, Request, false, 0;
    /// Whether the request breaks the uploaded schema.
    CfSchemaValidationUploadedViolated = "cf.schema_validation.uploaded.violated", BOOL, Request, false, 0;
    /// What kind of verified bot sent the request.
    CfVerifiedBotCategory = "cf.verified_bot_category", TEXT, Request, false, 0;
    /// Whether a verified bot sent the request.
    CfClientBot = "cf.client.bot", BOOL, Request, false, 0;
    /// Whether a verified bot sent the request.
    CfBotManagementVerifiedBot = "cf.bot_management.verified_bot", BOOL, Request, false, 0;
    /// 1 (surely a bot) to 99 (surely a person); 99 where nothing computes it, so that a rule against bots refuses nobody.
    CfBotManagementScore = "cf.bot_management.score", INT, Request, false, 99;
    /// Whether the request is for a static resource.
    CfBotManagementStaticResource = "cf.bot_management.static_resource", BOOL, Request, false, 0;
    /// JA3 fingerprint of the TLS client.
    CfBotManagementJa3Hash = "cf.bot_management.ja3_hash", TEXT, Request, false, 0;
    /// JA4 fingerprint of the TLS client.
    CfBotManagementJa4 = "cf.bot_management.ja4", TEXT, Request, true, 0;
    /// Whether the visitor passed a JavaScript detection.
    CfBotManagementJsDetectionPassed = "cf.bot_management.js_detection.passed", BOOL, Request, false, 0;
    /// Numbers of the detections that fired.
    CfBotManagementDetectionIds = "cf.bot_management.detection_ids", INTS, Request, false, 0;
    /// Whether the request comes from a known corporate proxy.
    CfBotManagementCorporateProxy = "cf.bot_management.corporate_proxy", BOOL, Request, false, 0;
    /// Whether an agent that signs its requests (Web Bot Auth) sent it.
    CfBotManagementSignedAgent = "cf.bot_management.signed_agent", BOOL, Request, false, 0;
    /// The edge's address that the request came to.
    CfEdgeServerIp = "cf.edge.server_ip", ADDRESS, Request, true, 0;
    /// The edge's port that the request came to.
    CfEdgeServerPort = "cf.edge.server_port", INT, Request, true, 0;
    /// Whether the request came over TCP.
    CfEdgeClientTcp = "cf.edge.client_tcp", BOOL, Request, true, 0;
    /// Latest delivery rate of the connection in bytes a second; 0 when unknown.
    CfEdgeL4DeliveryRate = "cf.edge.l4.delivery_rate", INT, Request, false, 0;
    /// Custom metadata of the host name, a JSON document.
    CfHostnameMetadata = "cf.hostname.metadata", TEXT, Request, false, 0;
    /// Random bytes of this request, for uuidv4().
    CfRandomSeed = "cf.random_seed", TEXT, Request, true, 0;
    /// Identifier of the request.
    CfRayId = "cf.ray_id", TEXT, Request, true, 0;
    /// Always 0.
    CfThreatScore = "cf.threat_score", INT, Request, false, 0;
    /// Smoothed TCP round-trip time to the client in milliseconds.
    CfTimingsClientTcpRttMsec = "cf.timings.client_tcp_rtt_msec", INT, Request, false, 0;
    /// Smoothed QUIC round-trip time to the client in milliseconds.
    CfTimingsClientQuicRttMsec = "cf.timings.client_quic_rtt_msec", INT, Request, false, 0;
    /// Time spent in the edge in milliseconds.
    CfTimingsEdgeMsec = "cf.timings.edge_msec", INT, Request, true, 0;
    /// Time to the origin's first byte in milliseconds; 0 without an origin.
    CfTimingsOriginTtfbMsec = "cf.timings.origin_ttfb_msec", INT, Request, true, 0;
    /// Time spent in a Worker in milliseconds.
    CfTimingsWorkerMsec = "cf.timings.worker_msec", INT, Request, false, 0;
    /// Cipher suite of the client's connection.
    CfTlsCipher = "cf.tls_cipher", TEXT, Request, true, 0;
    /// TLS version of the client's connection, such as TLSv1.3.
    CfTlsVersion = "cf.tls_version", TEXT, Request, true, 0;
    /// SHA-1 of the client's cipher list, Base64.
    CfTlsCiphersSha1 = "cf.tls_ciphers_sha1", TEXT, Request, false, 0;
    /// SHA-1 of the client's extensions (big-endian), Base64.
    CfTlsClientExtensionsSha1 = "cf.tls_client_extensions_sha1", TEXT, Request, false, 0;
    /// SHA-1 of the client's extensions (little-endian), Base64.
    CfTlsClientExtensionsSha1Le = "cf.tls_client_extensions_sha1_le", TEXT, Request, false, 0;
    /// Length of the ClientHello message in bytes.
    CfTlsClientHelloLength = "cf.tls_client_hello_length", INT, Request, false, 0;
    /// The client's 32 random bytes, Base64.
    CfTlsClientRandom = "cf.tls_client_random", TEXT, Request, false, 0;
    /// Whether the client showed a certificate.
    CfTlsClientAuthCertPresented = "cf.tls_client_auth.cert_presented", BOOL, Request, false, 0;
    /// Whether the client's certificate is valid.
    CfTlsClientAuthCertVerified = "cf.tls_client_auth.cert_verified", BOOL, Request, false, 0;
    /// Whether the client's certificate is valid but revoked.
    CfTlsClientAuthCertRevoked = "cf.tls_client_auth.cert_revoked", BOOL, Request, false, 0;
    /// Distinguished name of the certificate's issuer.
    CfTlsClientAuthCertIssuerDn = "cf.tls_client_auth.cert_issuer_dn", TEXT, Request, false, 0;
    /// Distinguished name of the certificate's owner.
    CfTlsClientAuthCertSubjectDn = "cf.tls_client_auth.cert_subject_dn", TEXT, Request, false, 0;
    /// Issuer's distinguished name in the form of RFC 2253.
    CfTlsClientAuthCertIssuerDnRfc2253 = "cf.tls_client_auth.cert_issuer_dn_rfc2253", TEXT, Request, false, 0;
    /// Owner's distinguished name in the form of RFC 2253.
    CfTlsClientAuthCertSubjectDnRfc2253 = "cf.tls_client_auth.cert_subject_dn_rfc2253", TEXT, Request, false, 0;
    /// Issuer's distinguished name in the old form.
    CfTlsClientAuthCertIssuerDnLegacy = "cf.tls_client_auth.cert_issuer_dn_legacy", TEXT, Request, false, 0;
    /// Owner's distinguished name in the old form.
    CfTlsClientAuthCertSubjectDnLegacy = "cf.tls_client_auth.cert_subject_dn_legacy", TEXT, Request, false, 0;
    /// Serial number of the certificate.
    CfTlsClientAuthCertSerial = "cf.tls_client_auth.cert_serial", TEXT, Request, false, 0;
    /// Serial number of the issuer's certificate.
    CfTlsClientAuthCertIssuerSerial = "cf.tls_client_auth.cert_issuer_serial", TEXT, Request, false, 0;
    /// SHA-256 fingerprint of the certificate.
    CfTlsClientAuthCertFingerprintSha256 = "cf.tls_client_auth.cert_fingerprint_sha256", TEXT, Request, false, 0;
    /// SHA-1 fingerprint of the certificate.
    CfTlsClientAuthCertFingerprintSha1 = "cf.tls_client_auth.cert_fingerprint_sha1", TEXT, Request, false, 0;
    /// Date from which the certificate holds.
    CfTlsClientAuthCertNotBefore = "cf.tls_client_auth.cert_not_before", TEXT, Request, false, 0;
    /// Date until which the certificate holds.
    CfTlsClientAuthCertNotAfter = "cf.tls_client_auth.cert_not_after", TEXT, Request, false, 0;
    /// Subject key identifier of the certificate.
    CfTlsClientAuthCertSki = "cf.tls_client_auth.cert_ski", TEXT, Request, false, 0;
    /// Subject key identifier of the issuer's certificate.
    CfTlsClientAuthCertIssuerSki = "cf.tls_client_auth.cert_issuer_ski", TEXT, Request, false, 0;
    /// The certificate in the form of RFC 9440.
    CfTlsClientAuthCertRfc9440 = "cf.tls_client_auth.cert_rfc9440", TEXT, Request, false, 0;
    /// Whether that form is over 10 KiB.
    CfTlsClientAuthCertRfc9440TooLarge = "cf.tls_client_auth.cert_rfc9440_too_large", BOOL, Request, false, 0;
    /// The certificate's chain in the form of RFC 9440.
    CfTlsClientAuthCertChainRfc9440 = "cf.tls_client_auth.cert_chain_rfc9440", TEXT, Request, false, 0;
    /// Whether that form is over 16 KiB.
    CfTlsClientAuthCertChainRfc9440TooLarge = "cf.tls_client_auth.cert_chain_rfc9440_too_large", BOOL, Request, false, 0;
    /// Whether the request holds a content object.
    CfWafContentScanHasObj = "cf.waf.content_scan.has_obj", BOOL, Request, false, 0;
    /// Whether the request holds a malicious content object.
    CfWafContentScanHasMaliciousObj = "cf.waf.content_scan.has_malicious_obj", BOOL, Request, false, 0;
    /// How many malicious content objects were found.
    CfWafContentScanNumMaliciousObj = "cf.waf.content_scan.num_malicious_obj", INT, Request, false, 0;
    /// Whether a content object could not be scanned.
    CfWafContentScanHasFailed = "cf.waf.content_scan.has_failed", BOOL, Request, false, 0;
    /// How many content objects were found.
    CfWafContentScanNumObj = "cf.waf.content_scan.num_obj", INT, Request, false, 0;
    /// Sizes of the content objects in bytes.
    CfWafContentScanObjSizes = "cf.waf.content_scan.obj_sizes", INTS, Request, false, 0;
    /// Types of the content objects.
    CfWafContentScanObjTypes = "cf.waf.content_scan.obj_types", TEXTS, Request, false, 0;
    /// Scan results of the content objects.
    CfWafContentScanObjResults = "cf.waf.content_scan.obj_results", TEXTS, Request, false, 0;
    /// 1 (surely an attack) to 99 (surely clean); 100 when it was not scored.
    CfWafScore = "cf.waf.score", INT, Request, false, 100;
    /// The same for SQL injection.
    CfWafScoreSqli = "cf.waf.score.sqli", INT, Request, false, 100;
    /// The same for cross-site scripting.
    CfWafScoreXss = "cf.waf.score.xss", INT, Request, false, 100;
    /// The same for remote code execution.
    CfWafScoreRce = "cf.waf.score.rce", INT, Request, false, 100;
    /// Attack, likely_attack, likely_clean or clean.
    CfWafScoreClass = "cf.waf.score.class", TEXT, Request, false, 0;
    /// Whether the request holds credentials.
    CfWafAuthDetected = "cf.waf.auth_detected", BOOL, Request, false, 0;
    /// Whether the password is known to have leaked.
    CfWafCredentialCheckPasswordLeaked = "cf.waf.credential_check.password_leaked", BOOL, Request, false, 0;
    /// Whether the user name is known to have leaked.
    CfWafCredentialCheckUsernameLeaked = "cf.waf.credential_check.username_leaked", BOOL, Request, false, 0;
    /// Whether the pair is known to have leaked.
    CfWafCredentialCheckUsernameAndPasswordLeaked = "cf.waf.credential_check.username_and_password_leaked", BOOL, Request, false, 0;
    /// Whether a similar pair is known to have leaked.
    CfWafCredentialCheckUsernamePasswordSimilar = "cf.waf.credential_check.username_password_similar", BOOL, Request, false, 0;
    /// Whether the request holds a prompt for a language model.
    CfLlmPromptDetected = "cf.llm.prompt.detected", BOOL, Request, false, 0;
    /// Whether the prompt holds personal data.
    CfLlmPromptPiiDetected = "cf.llm.prompt.pii_detected", BOOL, Request, false, 0;
    /// Kinds of personal data in the prompt.
    CfLlmPromptPiiCategories = "cf.llm.prompt.pii_categories", TEXTS, Request, false, 0;
    /// Whether the prompt is about an unsafe topic.
    CfLlmPromptUnsafeTopicDetected = "cf.llm.prompt.unsafe_topic_detected", BOOL, Request, false, 0;
    /// Unsafe topics of the prompt.
    CfLlmPromptUnsafeTopicCategories = "cf.llm.prompt.unsafe_topic_categories", TEXTS, Request, false, 0;
    /// 1 (surely an injection) to 99; 100 when it was not scored.
    CfLlmPromptInjectionScore = "cf.llm.prompt.injection_score", INT, Request, false, 100;
    /// Estimated tokens of the prompt.
    CfLlmPromptTokenCount = "cf.llm.prompt.token_count", INT, Request, false, 0;
    /// Relevance (1 is most) of each custom topic.
    CfLlmPromptCustomTopicCategories = "cf.llm.prompt.custom_topic_categories", INT_BY_NAME, Request, false, 0;
    /// Zone of the Worker that sent the request; empty for visitors.
    CfWorkerUpstreamZone = "cf.worker.upstream_zone", TEXT, Request, false, 0;
    /// Status code of the response.
    HttpResponseCode = "http.response.code", INT, Response, true, 0;
    /// Response headers by lower-case name.
    HttpResponseHeaders = "http.response.headers", TEXTS_BY_NAME, Response, true, 0;
    /// Names of the response headers.
    HttpResponseHeadersNames = "http.response.headers.names", TEXTS, Response, true, 0;
    /// Values of the response headers, in the order of their names.
    HttpResponseHeadersValues = "http.response.headers.values", TEXTS, Response, true, 0;
    /// Lower-case media type of the response, without parameters.
    HttpResponseContentTypeMediaType = "http.response.content_type.media_type", TEXT, Response, true, 0;
    /// Response headers by name before any change.
    RawHttpResponseHeaders = "raw.http.response.headers", TEXTS_BY_NAME, Response, true, 0;
    /// Names of the response headers before any change.
    RawHttpResponseHeadersNames = "raw.http.response.headers.names", TEXTS, Response, true, 0;
    /// Values of the response headers before any change.
    RawHttpResponseHeadersValues = "raw.http.response.headers.values", TEXTS, Response, true, 0;
    /// Number of the edge's own error (1000 to 1999); 0 without one.
    CfResponse1xxxCode = "cf.response.1xxx_code", INT, Response, false, 0;
    /// Kind of error that the response tells; empty without one.
    CfResponseErrorType = "cf.response.error_type", TEXT, Response, true, 0;
}
