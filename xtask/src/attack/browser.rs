//! What people send: the fields of the browsers and programs that they use, in the order in which these send them, over
//! HTTP/1.1 and HTTP/2. The shares are rough; what matters is that there are many kinds and that none is most of it.

use archipel_testkit::chance::Chance;
use archipel_testkit::hpack;

use super::wire;

/// A field, whatever it says for this request; some are only there for some requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum F {
    Host,
    Connection,
    Agent,
    Accept,
    Language,
    Encoding,
    Cookie,
    Referer,
    Upgrade,
    Site,
    Mode,
    User,
    Dest,
    Hints,
    Mobile,
    Platform,
    Origin,
    Type,
    Length,
    Token,
    Te,
    Priority,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A page.
    Page,
    /// A script, a style, a picture.
    Asset,
    /// Data for a script.
    Data,
    /// A log-in.
    Login,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What it is for.
    pub what: For,
    /// Path and query.
    pub path: String,
    /// The body; empty for none, which makes it a GET.
    pub body: String,
}

impl Ask {
    /// A GET.
    #[must_use]
    pub fn get(what: For, path: impl Into<String>) -> Self {
        Self { what, path: path.into(), body: String::new() }
    }
}

/// What a client is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It shows pages with all that belongs to them.
    Browse,
    /// It fetches data.
    Fetch,
    /// It looks for news now and then.
    Follow,
}

/// A kind of client.
#[derive(Debug)]
pub struct Client {
    /// Of a thousand sessions, so many.
    pub share: u64,
    /// What it is there for.
    pub does: Does,
    /// Of a hundred sessions, so many over HTTP/2.
    pub http2_percent: u64,
    agents: &'static [&'static str],
    hints: &'static str,
    platform: &'static str,
    mobile: bool,
    order: &'static [F],
    /// SETTINGS, and the window of the connection.
    settings: &'static [(u16, u32)],
    window: u32,
    /// Order of the pseudo fields: method, authority, scheme, path.
    pseudo: &'static [u8; 4],
}

/// Who sends a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Which of [`CLIENTS`].
    pub client: usize,
    /// Which of its user agents.
    pub agent: usize,
    /// Which language.
    pub language: usize,
    /// The session's cookie, once it has one.
    pub cookie: Option<u64>,
}

/// The host that everybody asks for.
pub const HOST: &str = "shop.test";

const LANGUAGES: &[&str] =
    &["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr-FR,fr;q=0.9,en-US;q=0.8", "es-ES,es;q=0.9", "en-GB,en;q=0.8"];

use F::{
    Accept, Agent, Connection, Cookie, Dest, Encoding, Hints, Host, Language, Length, Mobile, Mode, Origin, Platform,
    Priority, Referer, Site, Te, Token, Type, Upgrade, User,
};

const CHROMIUM: &[F] = &[
    Host, Connection, Length, Hints, Type, Mobile, Platform, Upgrade, Origin, Agent, Accept, Site, Mode, User, Dest,
    Referer, Encoding, Language, Cookie,
];
const FIREFOX: &[F] = &[
    Host, Agent, Accept, Language, Encoding, Type, Length, Origin, Connection, Referer, Cookie, Upgrade, Dest, Mode,
    Site, User, Priority, Te,
];
const SAFARI: &[F] =
    &[Host, Type, Origin, Cookie, Accept, Agent, Length, Site, Dest, Language, Mode, Referer, Encoding, Connection];
const WEBVIEW: &[F] = &[Host, Connection, Upgrade, Agent, Type, Length, Accept, Referer, Encoding, Language, Cookie];
const APP: &[F] = &[Token, Accept, Language, Type, Length, Host, Connection, Encoding, Agent];
const READER: &[F] = &[Host, Agent, Accept, Encoding, Connection];

const CHROMIUM_SETTINGS: &[(u16, u32)] = &[(1, 65_536), (2, 0), (4, 6_291_456), (6, 262_144)];
const FIREFOX_SETTINGS: &[(u16, u32)] = &[(1, 65_536), (2, 0), (4, 131_072), (5, 16_384)];
const SAFARI_SETTINGS: &[(u16, u32)] = &[(2, 0), (3, 100), (4, 2_097_152), (9, 1)];
const APP_SETTINGS: &[(u16, u32)] = &[(4, 16_777_216)];

const CHROME_WINDOWS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
];
const CHROME_MAC: &[&str] = &[
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
];
const CHROME_ANDROID: &[&str] = &[
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Mobile Safari/537.36",
];
const EDGE: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
];
const SAFARI_PHONE: &[&str] = &[
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1",
];
const SAFARI_MAC: &[&str] = &[
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
];
const FIREFOX_WINDOWS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
];
const FIREFOX_LINUX: &[&str] = &["Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"];
const IN_APP: &[&str] = &[
    "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36 Instagram/400.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 FBAN/FBIOS",
];
const SHOP_APP: &[&str] = &["ShopApp/5.12.1 (Android 15) okhttp/4.12.0", "ShopApp/5.11.0 (Android 14) okhttp/4.12.0"];
const FEEDS: &[&str] = &["Feedly/1.0 (+http://www.feedly.com/fetcher.html)", "Mozilla/5.0 (compatible; Miniflux/2.2)"];

/// The kinds of clients.
pub const CLIENTS: &[Client] = &[
    chromium(230, CHROME_WINDOWS, "\"Windows\"", false),
    chromium(210, CHROME_ANDROID, "\"Android\"", true),
    chromium(90, CHROME_MAC, "\"macOS\"", false),
    chromium(70, EDGE, "\"Windows\"", false),
    browser(160, SAFARI_PHONE, SAFARI, SAFARI_SETTINGS, 10_420_225, b"mspa"),
    browser(60, SAFARI_MAC, SAFARI, SAFARI_SETTINGS, 10_420_225, b"mspa"),
    browser(60, FIREFOX_WINDOWS, FIREFOX, FIREFOX_SETTINGS, 12_517_377, b"mpas"),
    browser(20, FIREFOX_LINUX, FIREFOX, FIREFOX_SETTINGS, 12_517_377, b"mpas"),
    Client { http2_percent: 0, ..browser(40, IN_APP, WEBVIEW, &[], 0, b"masp") },
    Client { does: Does::Fetch, ..browser(50, SHOP_APP, APP, APP_SETTINGS, 16_711_681, b"mpas") },
    Client { does: Does::Follow, http2_percent: 0, ..browser(10, FEEDS, READER, &[], 0, b"masp") },
];

const fn browser(
    share: u64,
    agents: &'static [&'static str],
    order: &'static [F],
    settings: &'static [(u16, u32)],
    window: u32,
    pseudo: &'static [u8; 4],
) -> Client {
    Client {
        share,
        does: Does::Browse,
        http2_percent: 60,
        agents,
        hints: "",
        platform: "",
        mobile: false,
        order,
        settings,
        window,
        pseudo,
    }
}

const fn chromium(share: u64, agents: &'static [&'static str], platform: &'static str, mobile: bool) -> Client {
    let hints = "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"";
    Client { hints, platform, mobile, ..browser(share, agents, CHROMIUM, CHROMIUM_SETTINGS, 15_663_105, b"masp") }
}

impl Identity {
    /// Somebody new.
    #[must_use]
    pub fn draw(chance: &mut Chance) -> Self {
        let all = CLIENTS.iter().map(|client| client.share).sum();
        let mut left = chance.below(all);
        let mut client = 0;
        for (place, candidate) in CLIENTS.iter().enumerate() {
            client = place;
            if left < candidate.share {
                break;
            }
            left -= candidate.share;
        }
        let agent = usize::try_from(chance.below(CLIENTS[client].agents.len() as u64)).unwrap_or_default();
        let language = usize::try_from(chance.below(LANGUAGES.len() as u64)).unwrap_or_default();
        Self { client, agent, language, cookie: None }
    }

    /// What it comes with.
    #[must_use]
    pub fn client(&self) -> &'static Client {
        &CLIENTS[self.client]
    }

    /// Calls `put` for each field, in order.
    fn fields(&self, ask: &Ask, mut put: impl FnMut(&'static str, &str)) {
        let client = self.client();
        let page = matches!(ask.what, For::Page | For::Login);
        let posts = !ask.body.is_empty();
        for field in client.order {
            match field {
                F::Host => put("Host", HOST),
                F::Connection => put("Connection", "keep-alive"),
                F::Agent => put("User-Agent", client.agents[self.agent]),
                F::Accept => put("Accept", accept(ask.what)),
                F::Language => put("Accept-Language", LANGUAGES[self.language]),
                F::Encoding => put("Accept-Encoding", "gzip, deflate, br"),
                F::Upgrade if page => put("Upgrade-Insecure-Requests", "1"),
                F::Site => put("Sec-Fetch-Site", "same-origin"),
                F::Mode => put("Sec-Fetch-Mode", if page { "navigate" } else { "no-cors" }),
                F::User if page => put("Sec-Fetch-User", "?1"),
                F::Dest => put("Sec-Fetch-Dest", if page { "document" } else { "empty" }),
                F::Hints => put("sec-ch-ua", client.hints),
                F::Mobile => put("sec-ch-ua-mobile", if client.mobile { "?1" } else { "?0" }),
                F::Platform => put("sec-ch-ua-platform", client.platform),
                F::Referer if !page => put("Referer", "http://shop.test/"),
                F::Origin if posts => put("Origin", "http://shop.test"),
                F::Type if posts => put("Content-Type", "application/x-www-form-urlencoded"),
                F::Length if posts => put("Content-Length", &ask.body.len().to_string()),
                F::Te if page => put("TE", "trailers"),
                F::Priority if page => put("Priority", "u=0, i"),
                F::Token => put("Authorization", "Bearer 5f1e0c2ab7"),
                F::Cookie => {
                    if let Some(cookie) = self.cookie {
                        put("Cookie", &format!("sid={cookie:016x}; consent=1"));
                    }
                }
                _ => {}
            }
        }
    }

    /// Writes a request of HTTP/1.1.
    pub fn write_http1(&self, ask: &Ask, out: &mut Vec<u8>) {
        let method: &[u8] = if ask.body.is_empty() { b"GET " } else { b"POST " };
        for part in [method, ask.path.as_bytes(), b" HTTP/1.1\r\n"] {
            out.extend_from_slice(part);
        }
        self.fields(ask, |name, value| {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        });
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(ask.body.as_bytes());
    }

    /// Writes the beginning of a connection of HTTP/2.
    pub fn write_preface(&self, out: &mut Vec<u8>) {
        let client = self.client();
        out.extend_from_slice(wire::PREFACE);
        let pairs =
            client.settings.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat());
        wire::put_frame(out, 4, 0, 0, &pairs.collect::<Vec<u8>>());
        if client.window > 0 {
            wire::put_frame(out, 8, 0, 0, &client.window.to_be_bytes());
        }
    }

    /// Writes a request of HTTP/2.
    pub fn write_http2(&self, ask: &Ask, stream: u32, out: &mut Vec<u8>) {
        let method = if ask.body.is_empty() { "GET" } else { "POST" };
        let mut fields: Vec<(String, String)> = Vec::with_capacity(24);
        for pseudo in self.client().pseudo {
            let (name, value) = match pseudo {
                b'm' => (":method", method),
                b'a' => (":authority", HOST),
                b's' => (":scheme", "http"),
                _ => (":path", ask.path.as_str()),
            };
            fields.push((name.to_owned(), value.to_owned()));
        }
        self.fields(ask, |name, value| {
            if !matches!(name, "Host" | "Connection") {
                fields.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        });
        const END_HEADERS: u8 = 4;
        let end_stream = u8::from(ask.body.is_empty());
        wire::put_frame(out, 1, END_HEADERS | end_stream, stream, &hpack::encode(&fields));
        if !ask.body.is_empty() {
            wire::put_frame(out, 0, 1, stream, ask.body.as_bytes());
        }
    }
}

fn accept(what: For) -> &'static str {
    match what {
        For::Page | For::Login => {
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
        }
        For::Asset => "*/*",
        For::Data => "application/json",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use archipel_testkit::chance::Chance;

    use super::{Ask, CLIENTS, For, Identity};

    #[test]
    fn the_shares_are_of_a_thousand() {
        assert_eq!(CLIENTS.iter().map(|client| client.share).sum::<u64>(), 1000);
        let mut chance = Chance::new(3);
        let drawn: HashSet<_> = (0..2_000).map(|_| Identity::draw(&mut chance).client).collect();
        assert_eq!(drawn.len(), CLIENTS.len());
    }

    #[test]
    fn requests_are_whole() {
        let who = Identity { client: 0, agent: 0, language: 0, cookie: Some(5) };
        let mut text = Vec::new();
        let ask = Ask { what: For::Login, path: "/login".to_owned(), body: "user=a&password=b".to_owned() };
        who.write_http1(&ask, &mut text);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("POST /login HTTP/1.1\r\nHost: shop.test\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 17\r\n") && text.ends_with("\r\n\r\nuser=a&password=b"), "{text}");
        assert!(text.contains("\r\nCookie: sid=0000000000000005; consent=1\r\n"), "{text}");
        let mut bytes = Vec::new();
        who.write_http2(&ask, 1, &mut bytes);
        let (head, length) = super::wire::first_frame(&bytes).expect("a frame");
        let fields = archipel_testkit::hpack::decode(head.payload).expect("fields");
        assert_eq!(fields[0], (":method".to_owned(), "POST".to_owned()));
        assert!(fields.iter().all(|(name, _)| *name == name.to_lowercase() && name != "host"));
        let (body, _) = super::wire::first_frame(&bytes[length..]).expect("a frame");
        assert_eq!((body.kind, body.flags, body.payload.len()), (0, 1, 17));
    }
}
