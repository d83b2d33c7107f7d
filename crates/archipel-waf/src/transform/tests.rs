use super::{Transformation, UnicodeMap};
use crate::byte_set::ByteSet;
use crate::random::Random;

/// A transformation, values, and what becomes of them.
type Case = (&'static str, &'static [(&'static [u8], &'static [u8])]);

const CASES: &[Case] = &[
    (
        "base64Decode",
        &[
            (b"QUJD", b"ABC"),
            (b"QQ==", b"A"),
            (b"QUI=", b"AB"),
            (b"QUJD\r\nQQ==", b"ABCA"),
            (b"QUJD \n", b"ABC"),
            (b"QUJDQ", b"ABC"),
            (b"QU JD", b""),
            (b"QUJD!", b""),
            (b"Q===", b""),
            (b"QQ==QQ==", b""),
            (b"QUJD\0!!", b"ABC"),
            (b"", b""),
        ],
    ),
    (
        "base64DecodeExt",
        &[
            (b"Q!U J@D", b"ABC"),
            (b"QUI", b"AB"),
            (b"QUJD=QUJD", b"ABCABC"),
            (b"Q=UJD", b""),
            (b"Q==", b""),
            (b"PHNjcmlwdD4=", b"<script>"),
        ],
    ),
    ("base64Encode", &[(b"", b""), (b"A", b"QQ=="), (b"AB", b"QUI="), (b"ABC", b"QUJD"), (b"\xff\xfe", b"//4=")]),
    (
        "cmdLine",
        &[
            (b"C^OMMAND /C DIR", b"command/c dir"),
            (b"\"command\" /c", b"command/c"),
            (b"c\\at , ;\t/etc", b"cat/etc"),
            (b"ls ( a )", b"ls( a )"),
            (b"a,b;c", b"a b c"),
        ],
    ),
    ("compressWhitespace", &[(b" a\t\n b\x0b\x0cc ", b" a b c "), (b"a\xa0b", b"a\xa0b"), (b"\t", b" ")]),
    (
        "cssDecode",
        &[
            (b"test\\a\\b", b"test\x0a\x0b"),
            (b"\\41 b", b"Ab"),
            (b"\\0041 b", b"Ab"),
            (b"\\ff41x", b"ax"),
            (b"\\00ff41", b"a"),
            (b"\\01ff41", b"A"),
            (b"\\zx\\", b"zx"),
            (b"a\\\nb", b"ab"),
            (b"\\1ff41", b"A"),
            (b"\\12345678", b"\x5678"),
        ],
    ),
    (
        "escapeSeqDecode",
        &[
            (b"\\a\\b\\f\\n\\r\\t\\v", b"\x07\x08\x0c\n\r\t\x0b"),
            (b"\\\\\\?\\'\\\"", b"\\?'\""),
            (b"\\x41\\X42\\x4", b"ABx4"),
            (b"\\0\\12\\101\\777", b"\0\nA\xff"),
            (b"\\8\\q", b"8q"),
            (b"\\", b"\\"),
        ],
    ),
    ("hexDecode", &[(b"414243", b"ABC"), (b"4a4B4", b"JK"), (b"4", b""), (b"zz", b"\x53")]),
    ("hexEncode", &[(b"ABC\xff\0", b"414243ff00"), (b"", b"")]),
    (
        "htmlEntityDecode",
        &[
            (b"&quot;&amp;&lt;&gt;&nbsp;", b"\"&<>\xa0"),
            (b"&LT&GtX;", b"<&GtX;"),
            (b"&#65;&#x41;&#X41", b"AAA"),
            (b"&#0000065;&#x00000041;", b"AA"),
            (b"&#321;", b"A"),
            (b"&#99999999999999999999;", b"\xff"),
            (b"&#;&#x;&;&", b"&#;&#x;&;&"),
            (b"&unknown;&amp", b"&unknown;&"),
        ],
    ),
    (
        "jsDecode",
        &[
            (b"\\u0041\\uff41\\x41\\101", b"AaAA"),
            (b"\\477\\8\\n", b"'78\n"),
            (b"\\u00g1\\x4\\q", b"u00g1x4q"),
            (b"a\\", b"a\\"),
            (b"\\u004", b"u004"),
        ],
    ),
    ("length", &[(b"", b"0"), (b"0123456789", b"10")]),
    ("lowercase", &[(b"AbC\xc4", b"abc\xc4")]),
    ("uppercase", &[(b"aBc\xe4", b"ABC\xe4")]),
    ("md5", &[(b"", b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e")]),
    ("sha1", &[(b"abc", b"\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9d")]),
    ("none", &[(b"aB ", b"aB ")]),
    (
        "normalisePath",
        &[
            (b"/dir/foo//bar", b"/dir/foo/bar"),
            (b"dir/foo/../bar", b"dir/bar"),
            (b"/dir/foo/../../bar", b"/bar"),
            (b"/../../etc", b"/etc"),
            (b"../../etc", b"../../etc"),
            (b"a/../../b", b"../b"),
            (b"./foo/./bar/.", b"foo/bar"),
            (b"/foo/..", b""),
            (b"/foo/../", b"/"),
            (b"..", b".."),
            (b"a.", b"a."),
            // Two dots at the end of a segment are a back-reference, whatever is before them.
            (b"/..a/b..", b"/..a"),
            (b"//", b"/"),
            (b"", b""),
        ],
    ),
    (
        "normalisePathWin",
        &[
            (b"\\dir\\foo\\..\\bar", b"/dir/bar"),
            (b"a\\..\\..\\b", b"../b"),
            (b"C:\\x\\.\\y", b"C:/x/y"),
            // The last backslash of a longer run stays one.
            (b"a\\\\\\b", b"a\\b"),
        ],
    ),
    ("parityEven7bit", &[(b"ABCa\xff", b"AB\xc3\xe1\x7f")]),
    ("parityOdd7bit", &[(b"ABCa\xff", b"\xc1\xc2Ca\xff")]),
    ("parityZero7bit", &[(b"\xc1\xc2Ca\xff", b"ABCa\x7f")]),
    (
        "removeComments",
        &[
            (b"a/* b */c", b"ac"),
            (b"a<!-- b -->c", b"ac"),
            (b"a-- b", b"a"),
            (b"a# b", b"a"),
            (b"a/* b", b"a "),
            (b"a/**/", b"a\0"),
            (b"a/* */# b", b"a# b"),
        ],
    ),
    ("removeCommentsChar", &[(b"a/*b*/c<!--d-->e--f#g", b"abcdefg"), (b"<!-", b"<!-"), (b"/", b"/")]),
    ("removeNulls", &[(b"\0a\0\0b", b"ab")]),
    ("replaceNulls", &[(b"\0a\0b", b" a b")]),
    ("removeWhitespace", &[(b" a\tb\n\x0b\x0c\rc\xa0\xc2d", b"abcd")]),
    ("replaceComments", &[(b"a/* b */c", b"a c"), (b"a/*b", b"a "), (b"/*/", b" "), (b"*/a", b"*/a")]),
    (
        "sqlHexDecode",
        &[
            (b"0x414243", b"ABC"),
            (b"a0X41 0x4", b"aA 0x4"),
            (b"0x41424", b"AB4"),
            (b"00x41", b"0A"),
            (b"0x0x41", b"0xA"),
        ],
    ),
    (
        "textRuns",
        &[
            (b"caf\xc3\xa9 <b>\t\r\n", b"caf\xc3\xa9 <b>\t\r\n"),
            (b"\0\x01<script>a()</script>\xff12345678901\x02123456789012\x7f", b"<script>a()</script> 123456789012"),
            (b"\0", b""),
        ],
    ),
    ("trim", &[(b" \t\n a b\x0b\x0c\r ", b"a b"), (b"  ", b"")]),
    ("trimLeft", &[(b" a ", b"a ")]),
    ("trimRight", &[(b" a ", b" a")]),
    ("urlDecode", &[(b"a%20b+c%2", b"a b c%2"), (b"%zz%u0041%", b"%zz%u0041%"), (b"%252f", b"%2f")]),
    (
        "urlDecodeUni",
        &[
            (b"%u0041%uff41%U00e9+", b"Aa\xe9 "),
            (b"%u00zz%u1", b"%u00zz%u1"),
            (b"%41%4", b"A%4"),
            (b"%%41", b"%A"),
            (b"%u%41", b"%uA"),
        ],
    ),
    ("urlEncode", &[(b"a b*/\xff", b"a+b*%2f%ff")]),
    (
        "utf8toUnicode",
        &[
            (b"a\xc3\xa9b", b"a%u00e9b"),
            (b"\xe2\x82\xac\xf0\x9f\x98\x80", b"%u20ac%u1f600"),
            (b"\xc0\xaf", b"%u002f\xc0"),
            (b"\xed\xa0\x80", b"%ud800\xed"),
            (b"\xe9l\xc3", b"l"),
            (b"\x80\xff", b"\x80\xff"),
            (b"\0a\0", b"a\0"),
            (b"\xf5\x80\x80\x80", b"\xf5%u140000"),
        ],
    ),
];

#[test]
fn transforms() {
    let mut out = Vec::new();
    let mut wrong = Vec::new();
    for (name, cases) in CASES {
        let transformation = Transformation::from_name(name).expect(name);
        for (input, expected) in *cases {
            let differs = transformation.apply(input, &mut out);
            let (input, expected) = (*input, *expected);
            if out != expected || differs != (input != expected) {
                wrong.push(format!(
                    "{name} of {}: {}, not {}",
                    input.escape_ascii(),
                    out.escape_ascii(),
                    expected.escape_ascii()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for transformation in Transformation::ALL {
        assert!(CASES.iter().any(|(name, _)| *name == transformation.name()), "{} has no case", transformation.name());
    }
}

#[test]
fn finds_names_whatever_their_case() {
    assert_eq!(Transformation::from_name("URLDECODEUNI"), Some(Transformation::UrlDecodeUni));
    assert_eq!(Transformation::from_name("normalizepathwin"), Some(Transformation::NormalisePathWin));
    assert_eq!(Transformation::from_name("urlDecode2"), None);
    for &transformation in Transformation::ALL {
        assert_eq!(Transformation::from_name(transformation.name()), Some(transformation));
    }
}

#[test]
fn maps_code_points() {
    let map = UnicodeMap::parse(b"1250 (ANSI)\n00e9:65 \n\n20127 (US-ASCII)\n00e9:45 2019:27\n\n20261 (T.61)\n", 20127);
    let map = map.expect("the code page is there");
    let mut out = Vec::new();
    Transformation::UrlDecodeUni.apply_mapped(b"%u00e9%u2019%u0041%uff41", &mut out, Some(&map));
    assert_eq!(out, b"E'Aa");
    assert!(UnicodeMap::parse(b"1250\n00e9:65\n", 20127).is_none());
    assert!(UnicodeMap::parse(b"20127\n00e9:zz\n", 20127).is_none());
}

/// Pieces of which most transformations make something.
const PIECES: &[&[u8]] = &[
    b"a",
    b"A",
    b"7",
    b" ",
    b"\t",
    b"\n",
    b"\0",
    b"\\",
    b"\\u00",
    b"\\x4",
    b"\\41",
    b"&",
    b"&#",
    b"&#x",
    b";",
    b"lt",
    b"%",
    b"%u",
    b"%41",
    b"+",
    b"/",
    b"..",
    b".",
    b"/*",
    b"*/",
    b"--",
    b"#",
    b"<!--",
    b"-->",
    b"0x",
    b"=",
    b"QUJD",
    b"\xc3",
    b"\xa9",
    b"\xe2\x82\xac",
    b"\xed\xa0\x80",
    b"\xf0",
    b"\xa0",
    b"\xff",
    b"'",
    b"\"",
    b"^",
    b",",
    b"(",
];

#[test]
fn never_panics_and_says_what_stays() {
    let mut random = Random::new(0x7a5f);
    let mut out = Vec::new();
    for _ in 0..20_000 {
        let value = random.value(PIECES, 12);
        let present = ByteSet::of(&value);
        for &transformation in Transformation::ALL {
            let differs = transformation.apply(&value, &mut out);
            assert_eq!(differs, out != value);
            let name = transformation.name();
            let text = value.escape_ascii();
            assert!(!(differs && transformation.is_noop(&value)), "{name} changes {text}");
            if let Some(trigger) = transformation.trigger() {
                assert!(!differs || trigger.intersects(&present), "{name} changes {text} without a trigger");
            }
            assert!(out.len() <= value.len() * 4 + 40, "{name} makes {text} too long");
        }
    }
}

#[test]
fn encodes_what_it_decodes() {
    let mut random = Random::new(0x11);
    let (mut encoded, mut decoded) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let value = random.value(PIECES, 8);
        for (encode, decode) in [
            (Transformation::Base64Encode, Transformation::Base64Decode),
            (Transformation::Base64Encode, Transformation::Base64DecodeExt),
            (Transformation::HexEncode, Transformation::HexDecode),
            (Transformation::UrlEncode, Transformation::UrlDecode),
        ] {
            encode.apply(&value, &mut encoded);
            decode.apply(&encoded, &mut decoded);
            assert_eq!(decoded, value);
        }
    }
}
