//! The class of a visitor's device, for cache keys.
//!
//! Owns one small, stable classification. Must never grow into the recognition of products: three classes, from two fields.

use http::header::{self, HeaderMap};

/// `Sec-CH-UA-Mobile`
const SEC_CH_UA_MOBILE: &str = "sec-ch-ua-mobile";

/// `User-Agent` is looked at up to this many bytes.
pub const USER_AGENT_BYTES_MAX: usize = 1024;

/// The class of a device.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// Everything that is nothing else, programs included.
    Desktop,
    /// A telephone.
    Mobile,
    /// A tablet.
    Tablet,
}

impl Device {
    /// A stable word: part of cache keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Device::Desktop => "desktop",
            Device::Mobile => "mobile",
            Device::Tablet => "tablet",
        }
    }
}

/// The class of the device that a request comes from.
///
/// 1. `Sec-CH-UA-Mobile: ?1` is a telephone.
/// 2. `User-Agent` with `iPad`, `Tablet`, `Kindle`, `PlayBook` or `Silk/`, or with `Android` but without `Mobile`: a tablet.
/// 3. `User-Agent` with `iPhone`, `iPod`, `Windows Phone`, `IEMobile`, `BlackBerry`, `BB10`, `Opera Mini`, `Opera Mobi` or
///    `Mobile`: a telephone.
/// 4. Everything else is a desktop. An iPad whose browser asks for desktop pages calls itself a Macintosh, and is one here.
pub fn classify(headers: &HeaderMap) -> Device {
    if headers.get(SEC_CH_UA_MOBILE).is_some_and(|value| value.as_bytes().trim_ascii() == b"?1") {
        return Device::Mobile;
    }
    let Some(agent) = headers.get(header::USER_AGENT) else {
        return Device::Desktop;
    };
    let agent = agent.as_bytes().get(..USER_AGENT_BYTES_MAX).unwrap_or(agent.as_bytes());
    let (mut tablet, mut phone, mut android, mut mobile) = (false, false, false, false);
    // One pass, as it is made for each request: the words are told apart by their first byte.
    for (at, first) in agent.iter().enumerate() {
        let begins =
            |words: &[&[u8]]| agent.get(at..).is_some_and(|rest| words.iter().any(|word| rest.starts_with(word)));
        match first {
            b'A' => android |= begins(&[b"Android"]),
            b'M' => mobile |= begins(&[b"Mobile"]),
            b'i' => {
                tablet |= begins(&[b"iPad"]);
                phone |= begins(&[b"iPhone", b"iPod"]);
            }
            b'T' | b'K' | b'P' | b'S' => tablet |= begins(&[b"Tablet", b"Kindle", b"PlayBook", b"Silk/"]),
            b'W' | b'I' | b'B' => phone |= begins(&[b"Windows Phone", b"IEMobile", b"BlackBerry", b"BB10"]),
            b'O' => phone |= begins(&[b"Opera Mini", b"Opera Mobi"]),
            _ => {}
        }
    }
    if tablet || (android && !mobile) {
        Device::Tablet
    } else if phone || mobile {
        Device::Mobile
    } else {
        Device::Desktop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(agent: &str, hint: &str, expected: Device) {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, agent.parse().unwrap());
        if !hint.is_empty() {
            headers.insert(SEC_CH_UA_MOBILE, hint.parse().unwrap());
        }
        assert_eq!(classify(&headers), expected, "{agent} {hint}");
    }

    #[test]
    fn classes() {
        use Device as D;
        let chrome = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0";
        check(&format!("{chrome} Mobile Safari/537.36"), "?1", D::Mobile);
        check(&format!("{chrome} Safari/537.36"), "?0", D::Tablet);
        check("Mozilla/5.0 (X11; Linux x86_64) Chrome/124.0.0.0 Safari/537.36", "?0", D::Desktop);
        check("Mozilla/5.0 (X11; Linux x86_64) Chrome/124.0.0.0 Safari/537.36", "?1", D::Mobile);
        check("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Version/17.4 Mobile/15E148", "", D::Mobile);
        check("Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) Version/12.1 Mobile/15E148", "", D::Tablet);
        check("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.4 Safari/605.1.15", "", D::Desktop);
        check("Mozilla/5.0 (Android 14; Tablet; rv:125.0) Gecko/125.0 Firefox/125.0", "", D::Tablet);
        check("Mozilla/5.0 (Android 14; Mobile; rv:125.0) Gecko/125.0 Firefox/125.0", "", D::Mobile);
        check("curl/8.5.0", "", D::Desktop);
        check("", "", D::Desktop);
        assert_eq!(classify(&HeaderMap::new()), D::Desktop);
    }
}
