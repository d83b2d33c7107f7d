//! Transformations: what a value goes through before an operator sees it.
//!
//! They mean what libmodsecurity means by them. Where its versions differ, what stands in ModSecurity 2 and in most releases
//! of 3 is done:
//!
//! - `htmlEntityDecode` reads any number of digits and keeps the lowest byte; 3.0.13 alone reads two or three digits, which
//!   leading zeros evade (CVE-2025-27110). Names are compared whole.
//! - `hexDecode` drops the last byte of an odd number; 3.0.13 reads past the end for a single byte.
//! - `compressWhitespace` leaves byte A0 alone, as 3 does; 2 takes it for white space. `removeWhitespace` takes A0 and C2 away
//!   in both.
//! - `base64Decode` of what is not base64 is empty, as in 3; 2 keeps what came before the first wrong byte.

mod base64;
mod decode;
mod encode;
mod path;
#[cfg(test)]
mod tests;
mod text;

use md5::Digest as _;

use crate::byte_set::ByteSet;

/// The map of a Unicode code page to single bytes, as `SecUnicodeMapFile` names one.
#[derive(Debug, Clone)]
pub struct UnicodeMap {
    /// One entry a code point of the Basic Multilingual Plane: the byte, or -1.
    bytes: Box<[i16]>,
}

impl UnicodeMap {
    /// Reads `text`, the contents of a `unicode.mapping` file: lines of `point:byte` pairs in hexadecimal, each set after a line
    /// that begins with the number of its code page. `None` where the file has no such code page.
    #[must_use]
    pub fn parse(text: &[u8], code_page: u32) -> Option<Self> {
        let mut bytes = vec![-1i16; 0x1_0000].into_boxed_slice();
        let mut inside = false;
        let mut found = false;
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            for word in line.split(u8::is_ascii_whitespace) {
                let word = std::str::from_utf8(word).ok()?;
                if let Some((point, byte)) = word.split_once(':') {
                    if inside {
                        let point = usize::from_str_radix(point, 16).ok().filter(|&point| point < bytes.len())?;
                        bytes[point] = i16::from(u8::from_str_radix(byte, 16).ok()?);
                    }
                } else if let Some(number) = word.parse::<u32>().ok().filter(|_| line.starts_with(word.as_bytes())) {
                    inside = number == code_page;
                    found |= inside;
                }
            }
        }
        found.then_some(Self { bytes })
    }

    /// The byte for the code point `point`.
    #[must_use]
    pub fn get(&self, point: u16) -> Option<u8> {
        u8::try_from(self.bytes[usize::from(point)]).ok()
    }
}

macro_rules! transformations {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal $(| $other:literal)*,)*) => {
        /// A transformation, by its name in the `t:` action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Transformation {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Transformation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The transformation called `name`, whatever its case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($name) $(|| name.eq_ignore_ascii_case($other))* {
                    return Some(Self::$variant);
                })*
                None
            }

            /// The name as the reference manual spells it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

transformations! {
    /// Decodes base64 up to the first NUL; what is not base64 becomes empty.
    Base64Decode = "base64Decode",
    /// Decodes base64 and passes over what is not of its alphabet.
    Base64DecodeExt = "base64DecodeExt",
    /// Encodes as base64 with padding.
    Base64Encode = "base64Encode",
    /// Undoes what command lines are obfuscated with: quotes, carets, backslashes, separators, case.
    CmdLine = "cmdLine",
    /// Makes each run of white space one space.
    CompressWhitespace = "compressWhitespace",
    /// Decodes the escapes of CSS 2.
    CssDecode = "cssDecode",
    /// Decodes the escapes of ANSI C.
    EscapeSeqDecode = "escapeSeqDecode",
    /// Decodes pairs of hexadecimal digits.
    HexDecode = "hexDecode",
    /// Encodes each byte as two hexadecimal digits.
    HexEncode = "hexEncode",
    /// Decodes numeric character references and quot, amp, lt, gt, nbsp.
    HtmlEntityDecode = "htmlEntityDecode",
    /// Decodes the escapes of JavaScript.
    JsDecode = "jsDecode",
    /// The length in bytes, in decimal digits.
    Length = "length",
    /// ASCII letters in lower case.
    Lowercase = "lowercase",
    /// The MD5 digest, 16 bytes.
    Md5 = "md5",
    /// Nothing; in a rule it empties the list of transformations.
    None = "none",
    /// Removes repeated slashes, self-references and back-references.
    NormalisePath = "normalisePath" | "normalizePath",
    /// As `normalisePath`, after turning backslashes into slashes.
    NormalisePathWin = "normalisePathWin" | "normalizePathWin",
    /// Sets the eighth bit so that parity is even.
    ParityEven7bit = "parityEven7bit",
    /// Sets the eighth bit so that parity is odd.
    ParityOdd7bit = "parityOdd7bit",
    /// Clears the eighth bit.
    ParityZero7bit = "parityZero7bit",
    /// Removes comments of C, HTML and SQL with what is in them.
    RemoveComments = "removeComments",
    /// Removes the marks of comments, not what is in them.
    RemoveCommentsChar = "removeCommentsChar",
    /// Removes NUL bytes.
    RemoveNulls = "removeNulls",
    /// Removes white space and bytes A0 and C2.
    RemoveWhitespace = "removeWhitespace",
    /// Makes each comment of C one space.
    ReplaceComments = "replaceComments",
    /// Makes NUL bytes spaces.
    ReplaceNulls = "replaceNulls",
    /// The SHA-1 digest, 20 bytes.
    Sha1 = "sha1",
    /// Decodes the hexadecimal literals of SQL (0x414243).
    SqlHexDecode = "sqlHexDecode",
    /// Of what has control characters, as binary formats do, the runs of twelve and more characters of text, a space between them;
    /// what has none stays as it is. Archipel's own.
    TextRuns = "textRuns",
    /// Removes white space at both ends.
    Trim = "trim",
    /// Removes white space at the beginning.
    TrimLeft = "trimLeft",
    /// Removes white space at the end.
    TrimRight = "trimRight",
    /// ASCII letters in upper case.
    Uppercase = "uppercase",
    /// Decodes percent-encoding and plus.
    UrlDecode = "urlDecode",
    /// Decodes percent-encoding, plus and the %uHHHH of IIS.
    UrlDecodeUni = "urlDecodeUni",
    /// Percent-encodes all but letters, digits and the asterisk.
    UrlEncode = "urlEncode",
    /// Turns UTF-8 sequences of several bytes into %uHHHH.
    Utf8ToUnicode = "utf8toUnicode",
}

impl Transformation {
    /// Writes what becomes of `input` into `out`, whose contents are replaced, and tells whether it differs from `input`.
    pub fn apply(self, input: &[u8], out: &mut Vec<u8>) -> bool {
        self.apply_mapped(input, out, Option::None)
    }

    /// As [`apply`](Self::apply), with the map that `urlDecodeUni` asks first what a code point is.
    pub fn apply_mapped(self, input: &[u8], out: &mut Vec<u8>, map: Option<&UnicodeMap>) -> bool {
        out.clear();
        match self {
            Self::None => out.extend_from_slice(input),
            Self::Base64Decode => base64::decode(input, out),
            Self::Base64DecodeExt => base64::decode_forgiving(input, out),
            Self::Base64Encode => base64::encode(input, out),
            Self::CmdLine => text::command_line(input, out),
            Self::CompressWhitespace => text::compress_whitespace(input, out),
            Self::CssDecode => decode::css(input, out),
            Self::EscapeSeqDecode => decode::escape_sequences(input, out),
            Self::HexDecode => decode::hex(input, out),
            Self::HexEncode => encode::hex(input, out),
            Self::HtmlEntityDecode => decode::html_entities(input, out),
            Self::JsDecode => decode::javascript(input, out),
            Self::Length => encode::decimal(input.len(), out),
            Self::Lowercase => {
                out.extend_from_slice(input);
                out.make_ascii_lowercase();
            }
            Self::Uppercase => {
                out.extend_from_slice(input);
                out.make_ascii_uppercase();
            }
            Self::Md5 => out.extend_from_slice(&md5::Md5::digest(input)),
            Self::Sha1 => out.extend_from_slice(&sha1::Sha1::digest(input)),
            Self::NormalisePath => path::normalise(input, false, out),
            Self::NormalisePathWin => path::normalise(input, true, out),
            Self::ParityEven7bit => out.extend(input.iter().map(|byte| byte & 0x7f | (odd_bits(*byte) << 7))),
            Self::ParityOdd7bit => out.extend(input.iter().map(|byte| byte & 0x7f | ((odd_bits(*byte) ^ 1) << 7))),
            Self::ParityZero7bit => out.extend(input.iter().map(|byte| byte & 0x7f)),
            Self::RemoveComments => text::remove_comments(input, out),
            Self::RemoveCommentsChar => text::remove_comment_marks(input, out),
            Self::RemoveNulls => out.extend(input.iter().filter(|&&byte| byte != 0)),
            Self::RemoveWhitespace => {
                out.extend(input.iter().filter(|&&byte| !is_space(byte) && byte != 0xa0 && byte != 0xc2))
            }
            Self::ReplaceComments => text::replace_comments(input, out),
            Self::ReplaceNulls => out.extend(input.iter().map(|&byte| if byte == 0 { b' ' } else { byte })),
            Self::SqlHexDecode => decode::sql_hex(input, out),
            Self::TextRuns => text::runs(input, out),
            Self::Trim => out.extend_from_slice(trim_left(trim_right(input))),
            Self::TrimLeft => out.extend_from_slice(trim_left(input)),
            Self::TrimRight => out.extend_from_slice(trim_right(input)),
            Self::UrlDecode => decode::url(input, out),
            Self::UrlDecodeUni => decode::url_unicode(input, map, out),
            Self::UrlEncode => encode::url(input, out),
            Self::Utf8ToUnicode => encode::utf8_to_unicode(input, out),
        }
        out.as_slice() != input
    }

    /// The bytes of which a value must have one to be changed; `None` where that tells nothing. A value without any of them is
    /// what it was: the engine asks this of the set of bytes that it keeps for each value.
    #[must_use]
    pub const fn trigger(self) -> Option<ByteSet> {
        const UPPER: ByteSet = ByteSet::range(b'A', b'Z');
        const SPACES: ByteSet = ByteSet::from_members(b" \t\n\x0b\x0c\r");
        const CONTROLS: ByteSet = ByteSet::range(0, 8).union(ByteSet::range(0x0e, 0x1f)).with(0x7f);
        const HIGH: ByteSet = ByteSet::range(0x80, 0xff);
        const UNRESERVED: ByteSet =
            ByteSet::range(b'0', b'9').union(UPPER).union(ByteSet::range(b'a', b'z')).with(b'*');
        Some(match self {
            Self::None => ByteSet::EMPTY,
            Self::CmdLine => UPPER.union(ByteSet::from_members(b"\"'\\^ ,;\t\r\n")),
            Self::CompressWhitespace | Self::Trim | Self::TrimLeft | Self::TrimRight => SPACES,
            Self::CssDecode | Self::EscapeSeqDecode | Self::JsDecode => ByteSet::from_members(b"\\"),
            Self::HtmlEntityDecode => ByteSet::from_members(b"&"),
            Self::Lowercase => UPPER,
            Self::Uppercase => ByteSet::range(b'a', b'z'),
            Self::NormalisePath => ByteSet::from_members(b"/."),
            Self::NormalisePathWin => ByteSet::from_members(b"/.\\"),
            Self::ParityZero7bit => HIGH,
            Self::RemoveComments => ByteSet::from_members(b"/-#<"),
            Self::RemoveCommentsChar => ByteSet::from_members(b"/*-#<"),
            Self::RemoveNulls | Self::ReplaceNulls => ByteSet::from_members(b"\0"),
            Self::RemoveWhitespace => SPACES.with(0xa0).with(0xc2),
            Self::ReplaceComments => ByteSet::from_members(b"/"),
            Self::SqlHexDecode => ByteSet::from_members(b"xX"),
            Self::TextRuns => CONTROLS,
            Self::UrlDecode | Self::UrlDecodeUni => ByteSet::from_members(b"%+"),
            Self::UrlEncode => UNRESERVED.complement(),
            Self::Utf8ToUnicode => HIGH.with(0),
            Self::Base64Decode
            | Self::Base64DecodeExt
            | Self::Base64Encode
            | Self::HexDecode
            | Self::HexEncode
            | Self::Length
            | Self::Md5
            | Self::ParityEven7bit
            | Self::ParityOdd7bit
            | Self::Sha1 => return Option::None,
        })
    }

    /// Whether `input` certainly stays as it is. Cheaper than [`apply`](Self::apply); false where it is not worth knowing.
    #[must_use]
    pub fn is_noop(self, input: &[u8]) -> bool {
        match self {
            Self::None => true,
            Self::CssDecode | Self::EscapeSeqDecode | Self::JsDecode => memchr::memchr(b'\\', input).is_none(),
            Self::HtmlEntityDecode => memchr::memchr(b'&', input).is_none(),
            Self::RemoveNulls | Self::ReplaceNulls => memchr::memchr(0, input).is_none(),
            Self::UrlDecode | Self::UrlDecodeUni => memchr::memchr2(b'%', b'+', input).is_none(),
            Self::ParityZero7bit => input.is_ascii(),
            Self::Utf8ToUnicode => input.is_ascii() && memchr::memchr(0, input).is_none(),
            Self::Trim => trim_left(trim_right(input)).len() == input.len(),
            Self::TrimLeft => trim_left(input).len() == input.len(),
            Self::TrimRight => trim_right(input).len() == input.len(),
            Self::Lowercase => !input.iter().any(u8::is_ascii_uppercase),
            Self::Uppercase => !input.iter().any(u8::is_ascii_lowercase),
            Self::CmdLine => text::is_plain_command(input),
            Self::CompressWhitespace => text::has_single_spaces(input),
            Self::NormalisePath | Self::NormalisePathWin => path::is_normal(input, self == Self::NormalisePathWin),
            Self::RemoveComments => text::has_no_comment(input),
            Self::RemoveCommentsChar => text::has_no_comment(input) && !has_pair(input, b'*', b'/'),
            Self::ReplaceComments => !has_pair(input, b'/', b'*'),
            Self::SqlHexDecode => !has_pair(input, b'0', b'x') && !has_pair(input, b'0', b'X'),
            _ => match self.trigger() {
                Some(trigger) => !input.iter().any(|&byte| trigger.contains(byte)),
                Option::None => false,
            },
        }
    }
}

/// What C's `isspace` says in the C locale.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// 1 where the number of one bits is odd.
fn odd_bits(byte: u8) -> u8 {
    (byte.count_ones() & 1) as u8
}

fn trim_left(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|&byte| !is_space(byte)).unwrap_or(input.len());
    &input[start..]
}

fn trim_right(input: &[u8]) -> &[u8] {
    let end = input.iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
    &input[..end]
}

/// Whether `first` is followed by `second` somewhere.
fn has_pair(input: &[u8], first: u8, second: u8) -> bool {
    memchr::memchr_iter(first, input).any(|at| input.get(at + 1) == Some(&second))
}
