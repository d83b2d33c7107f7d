//! What can be wrong with a body. The texts become `REQBODY_ERROR_MSG`.

/// Why a body could not be read on. It is the client's fault, and the same body gives the same error again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than `arguments_max` arguments.
    #[error("more than {0} arguments")]
    Arguments(usize),
    /// More cookies in a request than arguments in a body.
    #[error("more than {0} cookies")]
    Cookies(usize),
    /// A name longer than `name_bytes_max`.
    #[error("a name of more than {0} bytes")]
    Name(usize),
    /// All names of a JSON body together longer than `names_bytes_max`.
    #[error("names of more than {0} bytes in all")]
    Names(usize),
    /// A value longer than `value_bytes_max`.
    #[error("a value of more than {0} bytes")]
    Value(usize),
    /// Nested deeper than `depth_max`.
    #[error("nested deeper than {0}")]
    Depth(usize),
    /// More than `attributes_max` attributes.
    #[error("more than {0} attributes")]
    Attributes(usize),
    /// More than `parts_max` parts.
    #[error("more than {0} parts")]
    Parts(usize),
    /// More than `files_max` files.
    #[error("more than {0} files")]
    Files(usize),
    /// A part has more headers than `part_headers_max`.
    #[error("more than {0} headers in a part")]
    PartHeaderLines(usize),
    /// The headers of a part are longer than `part_header_bytes_max`, or one of their lines than a line may be.
    #[error("part headers of more than {0} bytes")]
    PartHeaders(usize),
    /// The body is no sound multipart form.
    #[error("multipart: {0}")]
    Multipart(#[from] MultipartError),
    /// The body is no JSON (RFC 8259).
    #[error("JSON: {0}")]
    Json(#[from] JsonError),
    /// The body is no well-formed XML, or has what is refused.
    #[error("XML: {0}")]
    Xml(#[from] XmlError),
}

impl BodyError {
    /// The name of the limit in [`BodyLimits`](super::BodyLimits) that was exceeded, where that is what happened.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        Some(match self {
            Self::Arguments(_) | Self::Cookies(_) => "arguments_max",
            Self::Name(_) => "name_bytes_max",
            Self::Names(_) => "names_bytes_max",
            Self::Value(_) => "value_bytes_max",
            Self::Depth(_) => "depth_max",
            Self::Attributes(_) => "attributes_max",
            Self::Parts(_) => "parts_max",
            Self::Files(_) => "files_max",
            Self::PartHeaderLines(_) => "part_headers_max",
            Self::PartHeaders(_) => "part_header_bytes_max",
            Self::Multipart(_) | Self::Json(_) | Self::Xml(_) => return None,
        })
    }
}

/// What is wrong with a multipart body (RFC 7578, RFC 2046 section 5.1), as ModSecurity judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The `Content-Type` is longer than 1,024 bytes.
    #[error("the Content-Type is too long")]
    ContentTypeLength,
    /// The `Content-Type` is not `multipart/form-data`.
    #[error("the Content-Type is not multipart/form-data")]
    ContentType,
    /// `boundary` stands more than once in the `Content-Type`.
    #[error("the Content-Type has several boundaries")]
    SeveralBoundaries,
    /// There is no `boundary` in the `Content-Type`.
    #[error("the Content-Type has no boundary")]
    NoBoundary,
    /// `boundary` is not written in small letters.
    #[error("the Content-Type's boundary is not in small letters")]
    BoundaryCase,
    /// Something other than one semicolon stands before `boundary`, or something other than space after it.
    #[error("the Content-Type's boundary is malformed")]
    BoundaryMalformed,
    /// A quote on one side only.
    #[error("the Content-Type's boundary is half quoted")]
    BoundaryQuote,
    /// An empty boundary, or a character that RFC 2046 does not allow in one.
    #[error("the Content-Type's boundary has characters that it must not have")]
    BoundaryCharacters,
    /// A line begins with the boundary and goes on with something else.
    #[error("something follows a boundary")]
    AfterBoundary,
    /// A line has the boundary in quotes.
    #[error("a boundary in quotes")]
    BoundaryLineQuoted,
    /// A line has space before the boundary.
    #[error("space before a boundary")]
    BoundaryLineSpace,
    /// The body has no boundary.
    #[error("no boundary in the body")]
    NoBoundaryInBody,
    /// The body ends without its final boundary.
    #[error("the final boundary is missing")]
    FinalBoundaryMissing,
    /// A zero byte in a part's headers.
    #[error("a zero byte in the headers of a part")]
    HeaderZero,
    /// A part's header continues nothing.
    #[error("a part begins with a folded header")]
    HeaderFolding,
    /// A part's header without a colon.
    #[error("a part's header without a colon")]
    HeaderColon,
    /// A part's header without a name, or with a character that a name must not have.
    #[error("a part's header without a sound name")]
    HeaderName,
    /// A part has a header twice.
    #[error("a part has a header twice")]
    HeaderTwice,
    /// A part has no `Content-Disposition`.
    #[error("a part without Content-Disposition")]
    NoDisposition,
    /// A part's `Content-Disposition` cannot be read, or names a parameter other than `name`, `filename` and `filename*`.
    #[error("a part with an invalid Content-Disposition")]
    Disposition,
    /// A part's `Content-Disposition` has no `name`.
    #[error("a part without a name")]
    NoName,
}

/// What is wrong with a JSON body (RFC 8259).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// A byte that cannot stand there.
    #[error("unexpected byte 0x{0:02x}")]
    Unexpected(u8),
    /// A word other than `true`, `false` and `null`, or a malformed number.
    #[error("neither a number nor true, false or null")]
    Word,
    /// A control character within a string.
    #[error("a control character in a string")]
    Control,
    /// An escape that JSON does not know.
    #[error("an invalid escape in a string")]
    Escape,
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    Utf8,
    /// The body ends within a value.
    #[error("the text ends too early")]
    End,
}

/// What is wrong with an XML body (XML 1.0), or why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// A document type with declarations of its own: entities could expand without end, or name files.
    #[error("a document type with declarations is refused")]
    Dtd,
    /// An encoding in which markup has other bytes than in ASCII (UTF-16, UTF-7, EBCDIC).
    #[error("the encoding is refused")]
    Encoding,
    /// A reference to an entity that XML does not define itself.
    #[error("a reference to an unknown entity")]
    Entity,
    /// A malformed tag.
    #[error("a malformed tag")]
    Tag,
    /// An end tag without its start tag.
    #[error("an end tag without its start tag")]
    EndTag,
    /// `<!` or `<?` with something unknown behind it, or where it cannot stand.
    #[error("malformed markup")]
    Markup,
    /// Text or an element outside of the root element.
    #[error("content outside of the root element")]
    OutsideRoot,
    /// A character that no document may have.
    #[error("a forbidden character")]
    Character,
    /// The document ends too early.
    #[error("the document ends too early")]
    End,
}
