//! What both sides of the model test are given: requests, what the origin does, purges, all drawn from a seed.

use archipel_http::UnixSeconds;

pub type Fields = Vec<(String, String)>;

/// When the clock starts.
pub const BEGINNING: i64 = 1_800_000_000;
/// Zones by number.
pub const ZONES: [&str; 3] = ["edge", "plain", "kind"];

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether one of `n` comes up.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The settings of a zone, as the reference understands them.
#[derive(Clone, Debug)]
pub struct Settings {
    pub honours_requests: bool,
    pub stores_cookies: bool,
    pub default_ttl: i64,
    pub stale_while_revalidate: i64,
    pub stale_if_error: i64,
    pub stale_if_unreachable: i64,
    pub stale_beside_s_maxage: bool,
}

impl Settings {
    pub fn of(zone: usize) -> Self {
        let edge = Self {
            honours_requests: false,
            stores_cookies: false,
            default_ttl: 0,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            stale_if_unreachable: 86_400,
            stale_beside_s_maxage: true,
        };
        match zone {
            0 => edge,
            1 => Self {
                honours_requests: true,
                stores_cookies: true,
                stale_if_unreachable: i64::MAX,
                stale_beside_s_maxage: false,
                ..edge
            },
            _ => Self { default_ttl: 60, stale_while_revalidate: 20, stale_if_error: 30, ..edge },
        }
    }

    /// The same in a zone's document.
    pub fn document(zone: usize) -> String {
        let cache = match zone {
            0 => "",
            1 => "honour_request_directives = true\nset_cookie = \"store\"\n",
            _ => "default_ttl = \"60s\"\nstale_while_revalidate = \"20s\"\nstale_if_error = \"30s\"\n",
        };
        let hosts = format!("hosts = [\"a.{0}.test\", \"b.{0}.test\"]", ZONES[zone]);
        format!("{hosts}\n[origin]\nurl = \"http://127.0.0.1:9\"\n[cache]\n{cache}")
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub zone: usize,
    pub https: bool,
    pub host: String,
    pub method: String,
    pub target: String,
    pub fields: Fields,
}

impl Asked {
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    pub fn key_of(&self, target: &str) -> String {
        format!("{}://{}{target}", self.scheme(), self.host)
    }

    pub fn key(&self) -> String {
        self.key_of(&self.target)
    }
}

/// What a purge covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeWhat {
    Key(String),
    Host(String),
    /// A host and whole segments of a path.
    Prefix(String),
    Zone(usize),
    /// A tag of a zone's responses.
    Tag(usize, String),
    /// A cache group of an origin: scheme and host, and its name (RFC 9875).
    Group(String, String),
    Everything,
}

/// How a body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In memory with its head.
    Whole,
    /// In pieces.
    Stream,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub fields: Fields,
    pub version: u32,
    pub bytes: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Answer {
    Reply(Reply),
    Unreachable,
}

/// What the origin says to a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirms {
    No,
    /// 304 with the entity tag that was asked about.
    Same,
    /// 304 with another entity tag.
    Other,
    /// 304 without one.
    Untagged,
}

/// What the origin does when it is asked next.
#[derive(Clone, Debug)]
pub struct Draw {
    reply: Option<Reply>,
    confirms: Confirms,
    update: Fields,
    /// A purge that comes while the request is on its way: soft or hard, and what.
    pub purge: Option<(bool, PurgeWhat)>,
}

impl Draw {
    pub fn answer(&self, if_none_match: Option<&str>, if_modified_since: bool, now: i64) -> Answer {
        let Some(reply) = &self.reply else { return Answer::Unreachable };
        if self.confirms == Confirms::No || (if_none_match.is_none() && !if_modified_since) {
            return Answer::Reply(reply.clone());
        }
        let mut fields = self.update.clone();
        match (self.confirms, if_none_match) {
            (Confirms::Same, Some(tag)) => fields.push(("etag".to_owned(), tag.to_owned())),
            (Confirms::Other, _) => fields.push(("etag".to_owned(), format!("\"other-{now}\""))),
            _ => {}
        }
        Answer::Reply(Reply { status: 304, fields, bytes: 0, kind: Kind::Whole, ..reply.clone() })
    }
}

/// The body of a version.
pub fn body(version: u32) -> String {
    format!("{version}:{}", "x".repeat(version as usize % 3))
}

pub fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

pub fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

pub fn date(seconds: i64) -> String {
    String::from_utf8_lossy(&UnixSeconds(seconds).format()).into_owned()
}

/// Reads a date that [`date`] wrote: days by counting, as nothing here may be the code under test.
pub fn read_date(text: &str) -> i64 {
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let number = |at: usize| parts[at].parse::<i64>().unwrap_or_default();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| *month == parts[2]).unwrap_or_default();
    let (year, leap) = (number(3), |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let days = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = years + days[..month].iter().sum::<i64>() + number(1) - 1;
    days * 86_400 + number(4) * 3_600 + number(5) * 60 + number(6)
}

/// Draws everything.
pub struct Script {
    pub random: Random,
    versions: u32,
    tags: Vec<String>,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), versions: 0, tags: Vec::new() }
    }

    pub fn pause(&mut self) -> i64 {
        self.random.pick(&[0, 0, 1, 1, 2, 5, 9, 10, 11, 30, 70, 400])
    }

    fn target(&mut self) -> String {
        self.random.pick(&["/x", "/x", "/x?q", "/x/z", "/y"]).to_owned()
    }

    pub fn asked(&mut self) -> Asked {
        let random = &mut self.random;
        let zone = random.below(ZONES.len());
        let host = format!("{}.{}.test", random.pick(&["a", "a", "b"]), ZONES[zone]);
        let method = random
            .pick(&["GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "M-SEARCH", "OPTIONS"]);
        let mut fields = Fields::new();
        let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
        if random.one_in(3) {
            add("x-a", random.pick(&["1", "2"]));
        }
        if random.one_in(3) {
            add("accept-language", random.pick(&["en", "de, en", "en,de", "DE ,en"]));
        }
        if random.one_in(8) {
            add("authorization", "Basic eA==");
        }
        if random.one_in(5) {
            add(
                "cache-control",
                random.pick(&[
                    "no-cache",
                    "no-store",
                    "max-age=0",
                    "max-age=5",
                    "max-stale=20",
                    "min-fresh=8",
                    "only-if-cached",
                    "max-stale=5, only-if-cached",
                ]),
            );
        }
        if random.one_in(6) && matches!(method, "GET" | "HEAD") {
            let tag = match self.tags.len() {
                0 => "\"nothing\"".to_owned(),
                many => self.tags[many - 1 - random.below(many.min(4))].clone(),
            };
            add("if-none-match", &tag);
        }
        let https = random.one_in(3);
        let target = self.target();
        Asked { zone, https, host, method: method.to_owned(), target, fields }
    }

    pub fn purge_what(&mut self, near: &Asked) -> PurgeWhat {
        match self.random.below(10) {
            0 => PurgeWhat::Everything,
            3 => PurgeWhat::Prefix(format!("{}{}", near.host, self.random.pick(&["/x", "/y/", "/"]))),
            4 | 5 => PurgeWhat::Tag(near.zone, self.random.pick(&["one", "Two"]).to_owned()),
            1 => PurgeWhat::Zone(near.zone),
            2 => PurgeWhat::Host(near.host.clone()),
            _ => {
                let target = self.target();
                PurgeWhat::Key(near.key_of(&target))
            }
        }
    }

    /// What the origin does about a request, at most three times.
    pub fn draws(&mut self, asked: &Asked, now: i64) -> Vec<Draw> {
        (0..3).map(|_| self.draw(asked, now)).collect()
    }

    fn draw(&mut self, asked: &Asked, now: i64) -> Draw {
        let purge = self.random.one_in(12).then(|| (self.random.one_in(3), self.purge_what(asked)));
        let confirms = match self.random.below(10) {
            0..4 => Confirms::No,
            4..8 => Confirms::Same,
            8 => Confirms::Untagged,
            _ => Confirms::Other,
        };
        let reply = (!self.random.one_in(10)).then(|| self.reply(asked, now));
        let mut update = self.control(now);
        if self.random.one_in(5) {
            update.push(("x-a-new".to_owned(), now.to_string()));
        }
        Draw { reply, confirms, update, purge }
    }

    fn reply(&mut self, asked: &Asked, now: i64) -> Reply {
        self.versions += 1;
        let version = self.versions;
        let safe = matches!(asked.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let status = match safe {
            true => self.random.pick(&[200, 200, 200, 200, 200, 200, 404, 301, 302, 500, 503, 502]),
            false => self.random.pick(&[200, 200, 201, 204, 303, 404, 500]),
        };
        let mut fields = self.control(now);
        let random = &mut self.random;
        let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
        if random.one_in(2) {
            let weak = if random.one_in(3) { "W/" } else { "" };
            let tag = format!("{weak}\"v{version}\"");
            self.tags.push(tag.clone());
            add("etag", tag);
        }
        if random.one_in(3) {
            add("last-modified", date(now - random.pick(&[10, 200, 4_000, 2_000_000])));
        }
        if !safe && random.one_in(4) {
            add("cache-group-invalidation", random.pick(&["\"g\"", "\"g\", \"h\"", "\"G\""]).to_owned());
        }
        if !safe && random.one_in(3) {
            add("location", random.pick(&["/x", "/y"]).to_owned());
        }
        if asked.method == "POST" && random.one_in(2) {
            add("content-location", asked.target.clone());
        }
        let bytes = if status == 204 { 0 } else { body(version).len() };
        let kind = if random.one_in(4) && bytes > 0 { Kind::Stream } else { Kind::Whole };
        Reply { status, fields, version, bytes, kind }
    }

    /// The fields that control caching.
    fn control(&mut self, now: i64) -> Fields {
        let random = &mut self.random;
        let mut fields = Fields::new();
        let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
        if !random.one_in(6) {
            add("date", date(now - random.pick(&[0, 0, 0, 0, 7, -7])));
        }
        let mut directives = directives(random);
        if random.one_in(8) {
            add("cdn-cache-control", std::mem::take(&mut directives).join(", "));
            directives = self::directives(random);
        }
        match directives.len() {
            0 => {}
            // Several lines are one list (RFC 9110 section 5.3).
            many if many > 1 && random.one_in(4) => {
                let (one, other) = directives.split_at(many / 2);
                add("cache-control", one.join(","));
                add("cache-control", other.join(" , "));
            }
            _ => add("cache-control", directives.join(", ")),
        }
        if random.one_in(6) {
            add("expires", date(now + random.pick(&[-10, 0, 5, 50])));
        }
        if random.one_in(8) {
            add("age", random.pick(&["1", "6", "40"]).to_owned());
        }
        if random.one_in(5) {
            add("surrogate-key", random.pick(&["one", "ONE  two", "three"]).to_owned());
        }
        if random.one_in(8) {
            add("cache-tag", random.pick(&["two", "one,three"]).to_owned());
        }
        if random.one_in(5) {
            add("cache-groups", random.pick(&["\"g\"", "\"h\", \"g\""]).to_owned());
        }
        if random.one_in(10) {
            add("set-cookie", "a=b".to_owned());
        }
        match random.below(12) {
            0 => add("vary", "X-A".to_owned()),
            1 => add("vary", "accept-language".to_owned()),
            2 => add("vary", "x-a, Accept-Language".to_owned()),
            3 if random.one_in(3) => add("vary", "*".to_owned()),
            _ => {}
        }
        fields
    }
}

fn directives(random: &mut Random) -> Vec<String> {
    let mut directives = Vec::new();
    let mut add = |directive: String| directives.push(directive);
    match random.below(8) {
        0..4 => add(format!("max-age={}", random.pick(&[0, 1, 5, 10, 60, 300]))),
        4 => add(format!("s-maxage={}", random.pick(&[0, 5, 30]))),
        5 => {
            add(format!("max-age={}", random.pick(&[0, 100])));
            add(format!("s-maxage={}", random.pick(&[1, 20])));
        }
        _ => {}
    }
    if random.one_in(5) {
        add(format!("stale-while-revalidate={}", random.pick(&[0, 5, 60])));
    }
    if random.one_in(5) {
        add(format!("stale-if-error={}", random.pick(&[0, 5, 60])));
    }
    for (directive, rarity) in [
        ("no-cache", 12),
        ("no-store", 14),
        ("private", 14),
        ("public", 6),
        ("must-revalidate", 12),
        ("proxy-revalidate", 16),
        ("immutable", 12),
    ] {
        if random.one_in(rarity) {
            add(directive.to_owned());
        }
    }
    directives
}
