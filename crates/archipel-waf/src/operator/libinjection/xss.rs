//! Whether tokens of HTML do something.

use std::sync::LazyLock;

use super::html::{Context, Kind, Reader};

/// Tags that are never harmless, beside all that begin with SVG or XSL.
const TAGS: [&[u8]; 20] = [
    b"APPLET",
    b"BASE",
    b"COMMENT",
    b"EMBED",
    b"FRAME",
    b"FRAMESET",
    b"HANDLER",
    b"IFRAME",
    b"IMPORT",
    b"ISINDEX",
    b"LINK",
    b"LISTENER",
    b"META",
    b"NOSCRIPT",
    b"OBJECT",
    b"SCRIPT",
    b"STYLE",
    b"VMLFRAME",
    b"XML",
    b"XSS",
];

/// Attributes, and what their value does.
const ATTRIBUTES: [(&[u8], Attribute); 20] = [
    (b"ACTION", Attribute::Url),
    (b"ATTRIBUTENAME", Attribute::Name),
    (b"BY", Attribute::Url),
    (b"BACKGROUND", Attribute::Url),
    (b"DATAFORMATAS", Attribute::Banned),
    (b"DATASRC", Attribute::Banned),
    (b"DYNSRC", Attribute::Url),
    (b"FILTER", Attribute::Banned),
    (b"FORMACTION", Attribute::Url),
    (b"FOLDER", Attribute::Url),
    (b"FROM", Attribute::Url),
    (b"HANDLER", Attribute::Url),
    (b"HREF", Attribute::Url),
    (b"LOWSRC", Attribute::Url),
    (b"POSTER", Attribute::Url),
    (b"SRC", Attribute::Url),
    (b"STYLE", Attribute::Banned),
    (b"TO", Attribute::Url),
    (b"VALUES", Attribute::Url),
    (b"XLINK:HREF", Attribute::Url),
];

/// With what the names of handlers go on behind `on`; of names of which one begins another, the shorter.
const EVENTS: &str = "
    ABORT ACTIVATE ACTIVE ADDSOURCEBUFFER ADDSTREAM ADDTRACK AFTERPRINT ANIMATIONCANCEL ANIMATIONEND
    ANIMATIONITERATION ANIMATIONSTART AUDIOEND AUDIOPROCESS AUDIOSTART AUTOCOMPLETE BEFOREACTIVATE BEFORECOPY
    BEFORECUT BEFOREINPUT BEFORELOAD BEFOREPASTE BEFOREPRINT BEFOREUNLOAD BEGINEVENT BLOCKED BLUR BOUNDARY
    BUFFEREDAMOUNTLOW CACHED CANCEL CANPLAY CHANGE CHARGINGCHANGE CHARGINGTIMECHANGE CHECKING CLICK CLOSE COMPLETE
    COMPOSITIONEND COMPOSITIONSTART COMPOSITIONUPDATE CONNECT CONTEXTMENU CONTROLLERCHANGE COPY CUECHANGE CUT
    DATAAVAILABLE DATACHANNEL DBLCLICK DEVICECHANGE DEVICEMOTION DEVICEORIENTATION DISCHARGINGTIMECHANGE DISCONNECT
    DOMACTIVATE DOMCHARACTERDATAMODIFIED DOMCONTENTLOADED DOMFOCUSIN DOMFOCUSOUT DOMNODEINSERTED DOMNODEREMOVED
    DOMSUBTREEMODIFIED DOWNLOADING DRAG DROP DURATIONCHANGE EMPTIED ENCRYPTED END ENTER ERROR EXIT FETCH FINISH
    FOCUS FORMCHANGE FORMINPUT GAMEPADCONNECTED GAMEPADDISCONNECTED GESTURECHANGE GESTUREEND GESTURESCROLLEND
    GESTURESCROLLSTART GESTURESCROLLUPDATE GESTURESTART GESTURETAP GOTPOINTERCAPTURE HASHCHANGE ICECANDIDATE
    ICECONNECTIONSTATECHANGE ICEGATHERINGSTATECHANGE INACTIVE INPUT INSTALL INVALID KEYDOWN KEYPRESS
    KEYSTATUSESCHANGE KEYUP LANGUAGECHANGE LEAVEPICTUREINPICTURE LEVELCHANGE LOAD LOSTPOINTERCAPTURE MARK
    MERCHANTVALIDATION MESSAGE MOUSEDOWN MOUSEENTER MOUSELEAVE MOUSEMOVE MOUSEOUT MOUSEOVER MOUSEUP MOUSEWHEEL MUTE
    NEGOTIATIONNEEDED NEXTTRACK NOMATCH NOUPDATE OBSOLETE OFFLINE ONLINE OPEN ORIENTATIONCHANGE OVERCONSTRAINED
    OVERFLOWCHANGED PAGEHIDE PAGESHOW PASTE PAUSE PAYERDETAILCHANGE PAYMENTAUTHORIZED PAYMENTMETHODCHANGE
    PAYMENTMETHODSELECTED PLAY POINTERCANCEL POINTERDOWN POINTERENTER POINTERLEAVE POINTERLOCKCHANGE
    POINTERLOCKERROR POINTERMOVE POINTEROUT POINTEROVER POINTERUP POPSTATE PREVIOUSTRACK PROCESSORERROR PROGRESS
    PROPERTYCHANGE RATECHANGE READYSTATECHANGE REJECTIONHANDLED REMOVE RESET RESIZE RESOURCETIMINGBUFFERFULL RESULT
    RESUME SCROLL SEARCH SECURITYPOLICYVIOLATION SEEKED SEEKING SELECT SHIPPINGADDRESSCHANGE SHIPPINGCONTACTSELECTED
    SHIPPINGMETHODSELECTED SHIPPINGOPTIONCHANGE SHOW SIGNALINGSTATECHANGE SLOTCHANGE SOUNDEND SOUNDSTART SOURCECLOSE
    SOURCEENDED SOURCEOPEN SPEECHEND SPEECHSTART SQUEEZE STALLED START STATECHANGE STOP STORAGE SUBMIT SUCCESS
    SUSPEND TEXTINPUT TIMEOUT TIMEUPDATE TOGGLE TONECHANGE TOUCHCANCEL TOUCHEND TOUCHFORCECHANGE TOUCHMOVE
    TOUCHSTART TRACK TRANSITIONCANCEL TRANSITIONEND TRANSITIONRUN TRANSITIONSTART UNCAPTUREDERROR UNHANDLEDREJECTION
    UNLOAD UNMUTE UPDATE UPGRADENEEDED VALIDATEMERCHANT VERSIONCHANGE VISIBILITYCHANGE VOLUMECHANGE WAITING
    WEBGLCONTEXTCHANGED WEBGLCONTEXTCREATIONERROR WEBGLCONTEXTLOST WEBGLCONTEXTRESTORED WEBKITANIMATIONEND
    WEBKITANIMATIONITERATION WEBKITANIMATIONSTART WEBKITBEFORETEXTINSERTED WEBKITBEGINFULLSCREEN
    WEBKITCURRENTPLAYBACKTARGETISWIRELESSCHANGED WEBKITENDFULLSCREEN WEBKITFULLSCREENCHANGE WEBKITFULLSCREENERROR
    WEBKITKEYADDED WEBKITKEYERROR WEBKITKEYMESSAGE WEBKITMOUSEFORCECHANGED WEBKITMOUSEFORCEDOWN WEBKITMOUSEFORCEUP
    WEBKITMOUSEFORCEWILLBEGIN WEBKITNEEDKEY WEBKITNETWORKINFOCHANGE WEBKITPLAYBACKTARGETAVAILABILITYCHANGED
    WEBKITPRESENTATIONMODECHANGED WEBKITREGIONOVERSETCHANGE WEBKITREMOVESOURCEBUFFER WEBKITSOURCECLOSE
    WEBKITSOURCEENDED WEBKITSOURCEOPEN WEBKITSPEECHCHANGE WEBKITTRANSITIONEND WEBKITWILLREVEALBOTTOM
    WEBKITWILLREVEALLEFT WEBKITWILLREVEALRIGHT WEBKITWILLREVEALTOP WHEEL WRITE ZOOM";

/// Schemes of URLs that run or hold script. JAVA begins JAVASCRIPT too.
const SCHEMES: [&[u8]; 4] = [b"DATA", b"VIEW-SOURCE", b"JAVA", b"VBSCRIPT"];

/// What an attribute's value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Harmless,
    /// Whatever it is, it may run.
    Banned,
    /// It is a URL.
    Url,
    /// It names another attribute.
    Name,
}

/// Whether `value` reads as script in some place of an HTML document: in text, or in an attribute's value with or without quotes.
#[must_use]
pub fn detect_xss(value: &[u8]) -> bool {
    if memchr::memchr2(b'<', b'=', value).is_none() {
        return false;
    }
    // Without a tag text does nothing, and what does not leave the quotes it stands in is a value of nothing.
    let has = |byte| memchr::memchr(byte, value).is_some();
    (has(b'<') && runs(value, Context::Text))
        || runs(value, Context::Attribute)
        || (has(b'\'') && runs(value, Context::SingleQuoted))
        || (has(b'"') && runs(value, Context::DoubleQuoted))
        || (has(b'`') && runs(value, Context::BackQuoted))
}

fn runs(value: &[u8], context: Context) -> bool {
    let mut reader = Reader::new(value, context);
    let mut attribute = Attribute::Harmless;
    while let Some(token) = reader.next() {
        match token.kind {
            Kind::Doctype => return true,
            Kind::TagName if is_banned_tag(token.text) => return true,
            Kind::Comment if is_banned_comment(token.text) => return true,
            Kind::AttributeName => {
                attribute = classify(token.text);
                continue;
            }
            Kind::AttributeValue => match attribute {
                Attribute::Banned => return true,
                Attribute::Url if is_banned_url(token.text) => return true,
                Attribute::Name if classify(token.text) != Attribute::Harmless => return true,
                _ => {}
            },
            _ => {}
        }
        attribute = Attribute::Harmless;
    }
    false
}

/// Whether `text` is `name`, which is in upper case, but for case and NULs.
fn is_name(name: &[u8], text: &[u8]) -> bool {
    text.len() >= name.len()
        && text.iter().filter(|&&byte| byte != 0).map(u8::to_ascii_uppercase).eq(name.iter().copied())
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_banned_tag(text: &[u8]) -> bool {
    text.len() >= 3
        && (TAGS.iter().any(|tag| is_name(tag, text)) || starts_with(text, b"SVG") || starts_with(text, b"XSL"))
}

fn is_banned_comment(text: &[u8]) -> bool {
    memchr::memchr(b'`', text).is_some()
        || (text.len() > 3 && (starts_with(text, b"[IF") || starts_with(text, b"XML")))
        || (text.len() > 5 && (starts_with(text, b"IMPORT") || starts_with(text, b"ENTITY")))
}

fn classify(name: &[u8]) -> Attribute {
    if name.len() < 2 {
        return Attribute::Harmless;
    }
    if name.len() >= 5
        && ((starts_with(name, b"ON") && is_event(&name[2..]))
            || starts_with(name, b"XMLNS")
            || starts_with(name, b"XLINK"))
    {
        return Attribute::Banned;
    }
    ATTRIBUTES.iter().find(|(known, _)| is_name(known, name)).map_or(Attribute::Harmless, |&(_, attribute)| attribute)
}

/// Whether `name` begins with the name of an event.
fn is_event(name: &[u8]) -> bool {
    static SORTED: LazyLock<Vec<&'static [u8]>> = LazyLock::new(|| {
        let mut events: Vec<&[u8]> = EVENTS.split_ascii_whitespace().map(str::as_bytes).collect();
        events.sort_unstable();
        events
    });
    const NAME_MAX: usize = 64;
    let mut upper = [0; NAME_MAX];
    let length = name.len().min(NAME_MAX);
    upper[..length].copy_from_slice(&name[..length]);
    upper.make_ascii_uppercase();
    let name = &upper[..length];
    // None of them begins another, so the one that begins `name` is the last that is not greater.
    let after = SORTED.partition_point(|event| *event <= name);
    after > 0 && name.starts_with(SORTED[after - 1])
}

fn is_banned_url(text: &[u8]) -> bool {
    let start = text.iter().position(|byte| (b'!'..=b'~').contains(byte)).unwrap_or(text.len());
    SCHEMES.iter().any(|scheme| decodes_to(&text[start..], scheme))
}

/// Whether `text`, with its character references decoded, begins with `prefix`, which is in upper case. White space and controls at
/// the beginning, NULs and line feeds are passed over.
fn decodes_to(mut text: &[u8], prefix: &[u8]) -> bool {
    let mut wanted = prefix.iter();
    let mut is_first = true;
    while wanted.len() > 0 {
        if text.is_empty() {
            return false;
        }
        let (point, length) = decode(text);
        text = &text[length..];
        if (is_first && point <= 32) || point == 0 || point == 10 {
            continue;
        }
        is_first = false;
        let point = if (97..=122).contains(&point) { point - 32 } else { point };
        // The C code compares the lowest byte.
        if wanted.next() != Some(&(point as u8)) {
            return false;
        }
    }
    true
}

/// The character at the beginning of `text`, perhaps by a numeric reference, and how many bytes it takes.
fn decode(text: &[u8]) -> (u32, usize) {
    const POINT_MAX: u32 = 0x10_00ff;
    let (radix, start) = match *text {
        [b'&', b'#', b'x' | b'X', ..] => (16, 3),
        [b'&', b'#', ..] => (10, 2),
        [byte, ..] => return (u32::from(byte), 1),
        [] => return (0, 0),
    };
    let mut point = 0;
    let mut at = start;
    while let Some(digit) = text.get(at).and_then(|&byte| char::from(byte).to_digit(radix)) {
        point = point * radix + digit;
        at += 1;
        if point > POINT_MAX {
            return (u32::from(b'&'), 1);
        }
    }
    if at == start {
        return (u32::from(b'&'), 1);
    }
    (point, at + usize::from(text.get(at) == Some(&b';')))
}
