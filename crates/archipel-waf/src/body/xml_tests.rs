use super::tests::{Case, check, small};
use super::{BodyLimits, Parser};

#[test]
fn text_and_attributes() {
    let limits = BodyLimits::default();
    let cases: &[Case<'_>] = &[
        (b"<a/>", &["text "], ""),
        (b"<a>x</a>", &["text x"], ""),
        (b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c -->\n<a>x<b>y</b>z</a>\n<!-- d -->\n", &["text xyz"], ""),
        (b"<a b='1' c = \"2\"\n d='>'/>", &["attribute 1", "attribute 2", "attribute >", "text "], ""),
        (b"<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#x20ac;</a>", &[r#"text <>&\"\'AB\xe2\x82\xac"#], ""),
        (b"<a b='&lt;&#x41;\n'/>", &["attribute <A ", "text "], ""),
        (b"<a>x<![CDATA[<b>&amp;]]]></a>", &["text x<b>&amp;]"], ""),
        (b"<a><![CDATA[]] >]]]]>y</a>", &["text ]] >]]y"], ""),
        (b"<a>x<!-- <b> -->y<?p q?>z</a >", &["text xyz"], ""),
        // Namespace declarations are no attributes.
        (b"<x:a xmlns='u' xmlns:x=\"v\" x:b='w'></x:a>", &["attribute w", "text "], ""),
        (b"\xef\xbb\xbf<?xml version='1.0'?><a>x</a>", &["text x"], ""),
        (b"<?xml version='1.0' encoding = 'iso-8859-1'?><a>\xe9</a>", &[r"text \xe9"], ""),
        (b"<!DOCTYPE a PUBLIC \"-//X//Y>\" 'u'><a>x</a>", &["text x"], ""),
        (b"<a><a>x</a></a>", &["text x"], ""),
        ("<\u{e9}>x</\u{e9}>".as_bytes(), &["text x"], ""),
    ];
    check(|| Parser::xml(&limits), cases);
}

#[test]
fn what_is_refused() {
    let limits = BodyLimits::default();
    let dtd = "XML: a document type with declarations is refused";
    let encoding = "XML: the encoding is refused";
    let entity = "XML: a reference to an unknown entity";
    let cases: &[Case<'_>] = &[
        (b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", &["text "], dtd),
        (b"<!DOCTYPE a SYSTEM 'x' [\n<!ENTITY % b SYSTEM \"file:///etc/passwd\"> %b; ]>", &["text "], dtd),
        (b"<a>x&b;</a>", &["text x&b"], entity),
        (b"<a>x&#xFFFFFFFF;</a>", &["text x&#xFFFFFFFF"], entity),
        (b"<a>x&#xd800;</a>", &["text x&#xd800"], entity),
        (b"<a>x&#0;</a>", &["text x&#0"], entity),
        (b"<a>x&#-1;</a>", &["text x&#"], entity),
        (b"<a>x & y</a>", &["text x &"], entity),
        (b"<a>x&amp", &["text x&amp"], "XML: the document ends too early"),
        (b"<a b='x&y;z'/>", &["attribute x&y;z", "text "], entity),
        (b"\xff\xfe<\0a\0/\0>\0", &["text "], encoding),
        (b"\xfe\xff\0<\0a\0/\0>", &["text "], encoding),
        (b"\0<\0a\0/\0>", &["text "], encoding),
        (b"<\0a\0/\0>\0", &["text "], "XML: a malformed tag"),
        (b"<?xml version='1.0' encoding='UTF-7'?><a/>", &["text "], encoding),
        (b"<?xml version='1.0' encoding='utf-16'?><a/>", &["text "], encoding),
        (b"\xef\xbb<a/>", &["text "], encoding),
    ];
    check(|| Parser::xml(&limits), cases);
}

#[test]
fn malformed_documents() {
    let limits = BodyLimits::default();
    let early = "XML: the document ends too early";
    let tag = "XML: a malformed tag";
    let end_tag = "XML: an end tag without its start tag";
    let outside = "XML: content outside of the root element";
    let markup = "XML: malformed markup";
    let character = "XML: a forbidden character";
    let cases: &[Case<'_>] = &[
        (b" ", &["text "], early),
        (b"x", &["text "], outside),
        (b"<a>x", &["text x"], early),
        (b"<a", &["text "], early),
        (b"<a b='", &["text "], early),
        (b"<!-- x", &["text "], early),
        (b"<a><![CDATA[x", &["text x"], early),
        (b"<a>x</b>", &["text x"], end_tag),
        (b"</a>", &["text "], end_tag),
        (b"<a/></a>", &["text "], end_tag),
        (b"<a/>x", &["text "], outside),
        (b"<a/><b/>", &["text "], outside),
        (b"<a/><![CDATA[x]]>", &["text "], outside),
        (b"<a/>&lt;", &["text "], outside),
        (b"<a b></a>", &["text "], tag),
        (b"<a b=c></a>", &["text "], tag),
        (b"<a b='c'd='e'></a>", &["attribute c", "text "], tag),
        (b"<a b='<script>'></a>", &["attribute <script>", "text "], tag),
        (b"<a <b></a>", &["text "], tag),
        (b"<a'b'></a>", &["text "], tag),
        (b"< a/>", &["text "], tag),
        (b"<1/>", &["text "], tag),
        (b"<a/ >", &["text "], tag),
        (b"<!ELEMENT a>", &["text "], markup),
        (b"<a><!x></a>", &["text "], markup),
        (b"<a><!-- x -- y --></a>", &["text "], markup),
        (b"<a/><!DOCTYPE a>", &["text "], markup),
        (b"<!DOCTYPE a><!DOCTYPE a><a/>", &["text "], markup),
        (b" <?xml version='1.0'?><a/>", &["text "], markup),
        (b"<a><?xml version='1.0'?></a>", &["text "], markup),
        (b"<?XML version='1.0'?><a/>", &["text "], markup),
        (b"<? a?><a/>", &["text "], markup),
        (b"<a>x\x01y</a>", &["text x"], character),
        (b"<a>x\0y</a>", &["text x"], character),
        (b"<a><![CDATA[x\0y]]></a>", &["text x"], character),
        (b"<a b='\x01'/>", &[r"attribute \x01", "text "], character),
        (b"<a\x01/>", &["text "], tag),
    ];
    check(|| Parser::xml(&limits), cases);
}

#[test]
fn xml_limits() {
    let limits = small();
    let cases: &[Case<'_>] = &[
        (b"<a><a><a/></a></a>", &["text "], ""),
        (b"<a><a><a><a></a></a></a></a>", &["text "], "nested deeper than 3"),
        (b"<a>0123456789<b/>abcdefghijklmn</a>", &["text 0123456789abcdefghijklmn"], ""),
        (
            b"<a>0123456789ab&lt;<b/>abcdefghijklmn</a>",
            &["text 0123456789ab<abcdefghijk"],
            "a value of more than 24 bytes",
        ),
        (b"<a0123456789abcdef/>", &["text "], "a name of more than 16 bytes"),
        (b"<a b='0123456789abcdefghijklmn", &["text "], "a value of more than 24 bytes"),
        (
            b"<a b='' c='' d=''><b e=''/></a>",
            &["attribute ", "attribute ", "attribute ", "text "],
            "more than 3 attributes",
        ),
        (b"<!DOCTYPE a 0123456789abcdefghijklmn>", &["text "], "a value of more than 24 bytes"),
    ];
    check(|| Parser::xml(&limits), cases);
}

#[test]
fn a_declaration_must_be_short() {
    let body = [&b"<?xml version='1.0'"[..], &[b' '; 300], b" encoding='utf-16'?><a/>"].concat();
    check(|| Parser::xml(&BodyLimits::default()), &[(&body, &["text "], "XML: the encoding is refused")]);
}
