//! A shared cache so simple that it is right: a list of stored responses, searched from its end; every purge ever made is
//! compared with every response on every use. Written from RFC 9111 and docs/caching.md, with nothing of the cache's own code.

use super::script::{
    Answer, Asked, Draw, Fields, Kind, PurgeWhat, Reply, Settings, body, date, read_date, value, values,
};

/// A stored response.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    host: String,
    zone: usize,
    pub version: u32,
    status: u16,
    /// Without `Age`.
    fields: Fields,
    /// `Age` as received.
    age: Option<i64>,
    response_time: i64,
    /// Names in `Vary` with the values of the request.
    variant: Vec<(String, Option<String>)>,
    /// Number of the last purge when its fetch began.
    stamp: u64,
    /// In lower case: their case does not count.
    tags: Vec<String>,
    /// Cache groups (RFC 9875): their case counts.
    groups: Vec<String>,
}

/// What a visitor sees, as far as a cache decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    pub version: Option<u32>,
    pub age: Option<i64>,
    pub hit: bool,
}

/// What the origin sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    pub method: String,
    pub target: String,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
}

#[derive(Default)]
pub struct Reference {
    entries: Vec<Entry>,
    purges: Vec<(u64, bool, PurgeWhat)>,
    pub forwarded: Vec<Forwarded>,
    pub now: i64,
}

/// A directive: absent, without a value, or with a number.
fn directive(fields: &Fields, name: &str) -> Option<Option<i64>> {
    let name_of_lines = if is_targeted(fields) { "cdn-cache-control" } else { "cache-control" };
    let lines = values(fields, name_of_lines);
    lines.iter().flat_map(|line| line.split(',')).map(str::trim).find_map(|member| match member.split_once('=') {
        Some((found, number)) if found == name => Some(number.parse().ok()),
        None if member == name => Some(None),
        _ => None,
    })
}

/// A targeted field that says something takes the place of Cache-Control (RFC 9213 section 2.1).
fn is_targeted(fields: &Fields) -> bool {
    value(fields, "cdn-cache-control").is_some_and(|targeted| !targeted.is_empty())
}

fn has(fields: &Fields, name: &str) -> bool {
    directive(fields, name).is_some()
}

fn number(fields: &Fields, name: &str) -> Option<i64> {
    directive(fields, name).flatten()
}

fn field(fields: &Fields, name: &str) -> Option<String> {
    value(fields, name).map(str::to_owned)
}

/// RFC 9110 section 15.1.
fn heuristically_cacheable(status: u16) -> bool {
    [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status)
}

/// Who states a lifetime.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stated {
    Response,
    Zone,
    Nobody,
}

impl Entry {
    fn date(&self) -> i64 {
        value(&self.fields, "date").map_or(self.response_time, read_date)
    }

    /// RFC 9111 section 4.2.1: who stated it, and seconds.
    fn lifetime(&self, settings: &Settings) -> (Stated, i64) {
        if let Some(seconds) = number(&self.fields, "s-maxage").or(number(&self.fields, "max-age")) {
            return (Stated::Response, seconds);
        }
        if let Some(expires) = value(&self.fields, "expires").filter(|_| !is_targeted(&self.fields)) {
            return (Stated::Response, (read_date(expires) - self.date()).max(0));
        }
        if settings.default_ttl > 0 && [200, 203, 204, 206, 300, 301, 308].contains(&self.status) {
            return (Stated::Zone, settings.default_ttl);
        }
        let may_guess = heuristically_cacheable(self.status) || has(&self.fields, "public");
        match value(&self.fields, "last-modified").filter(|_| may_guess) {
            Some(modified) => (Stated::Nobody, ((self.date() - read_date(modified)).max(0) / 10).min(86_400)),
            None => (Stated::Nobody, 0),
        }
    }

    /// RFC 9111 section 4.2.3, with no delay of the response.
    fn age(&self, now: i64) -> i64 {
        let apparent = (self.response_time - self.date()).max(0);
        apparent.max(self.age.unwrap_or(0)) + (now - self.response_time)
    }

    /// RFC 9111 section 4.2.4.
    fn forbids_stale(&self, settings: &Settings) -> bool {
        let states_stale = has(&self.fields, "stale-while-revalidate") || has(&self.fields, "stale-if-error");
        let s_maxage = has(&self.fields, "s-maxage") && !(settings.stale_beside_s_maxage && states_stale);
        ["no-cache", "must-revalidate", "proxy-revalidate"].iter().any(|name| has(&self.fields, name)) || s_maxage
    }

    fn while_revalidate(&self, settings: &Settings) -> i64 {
        number(&self.fields, "stale-while-revalidate").unwrap_or(settings.stale_while_revalidate)
    }

    fn if_error(&self, settings: &Settings) -> Option<i64> {
        number(&self.fields, "stale-if-error").or((settings.stale_if_error > 0).then_some(settings.stale_if_error))
    }

    /// Whether a host and whole segments of a path cover it.
    fn is_below(&self, prefix: &str) -> bool {
        let target = self.key.split_once("://").map_or("", |(_, rest)| rest);
        let path = target.split('?').next().unwrap_or_default();
        let prefix = prefix.trim_end_matches('/');
        path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    }

    fn has_validator(&self) -> bool {
        value(&self.fields, "etag").is_some() || value(&self.fields, "last-modified").is_some()
    }
}

/// What the cache means to do with a stored response.
enum Use {
    Fresh,
    Stale { refresh: bool },
    Ask,
    Refuse,
}

/// Order, case and spaces of a list of languages do not matter.
fn normal(value: Option<&str>) -> Option<String> {
    let mut members: Vec<String> = value?.split(',').map(|member| member.trim().to_lowercase()).collect();
    members.sort();
    Some(members.join(","))
}

fn tags(fields: &Fields) -> Vec<String> {
    let words = values(fields, "surrogate-key").into_iter().flat_map(|line| line.split(' '));
    let members = values(fields, "cache-tag").into_iter().flat_map(|line| line.split(','));
    words.chain(members).map(|tag| tag.trim().to_lowercase()).filter(|tag| !tag.is_empty()).collect()
}

fn groups(fields: &Fields, name: &str) -> Vec<String> {
    let members = values(fields, name).into_iter().flat_map(|line| line.split(','));
    members.map(|group| group.trim().trim_matches('"').to_owned()).collect()
}

fn selecting(fields: &Fields, asked: &Asked) -> Vec<(String, Option<String>)> {
    let mut names: Vec<String> =
        values(fields, "vary").iter().flat_map(|line| line.split(',')).map(|name| name.trim().to_lowercase()).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| (name.clone(), normal(value(&asked.fields, &name)))).collect()
}

impl Reference {
    pub fn purge(&mut self, soft: bool, what: PurgeWhat) {
        let sequence = self.sequence() + 1;
        self.purges.push((sequence, soft, what));
    }

    fn sequence(&self) -> u64 {
        self.purges.last().map_or(0, |(sequence, _, _)| *sequence)
    }

    /// `Some(true)` where softly purged, `Some(false)` where gone.
    fn purged(&self, entry: &Entry) -> Option<bool> {
        let after = self.purges.iter().filter(|(sequence, _, _)| *sequence > entry.stamp);
        let covering = after.filter(|(_, _, what)| match what {
            PurgeWhat::Key(key) => *key == entry.key,
            PurgeWhat::Host(host) => *host == entry.host,
            PurgeWhat::Zone(zone) => *zone == entry.zone,
            PurgeWhat::Prefix(prefix) => entry.is_below(prefix),
            PurgeWhat::Tag(zone, tag) => *zone == entry.zone && entry.tags.contains(&tag.to_lowercase()),
            PurgeWhat::Group(origin, group) => entry.key.starts_with(origin) && entry.groups.contains(group),
            PurgeWhat::Everything => true,
        });
        // The hard ones win.
        covering.map(|(_, soft, _)| *soft).min()
    }

    /// Everything that may still be used, by key and version.
    pub fn alive(&self) -> Vec<(String, u32)> {
        let alive = self.entries.iter().filter(|entry| self.purged(entry) != Some(false));
        let mut alive: Vec<_> = alive.map(|entry| (entry.key.clone(), entry.version)).collect();
        alive.sort();
        alive
    }

    fn find(&self, asked: &Asked) -> Option<usize> {
        self.entries.iter().rposition(|entry| {
            entry.key == asked.key()
                && self.purged(entry) != Some(false)
                && entry.variant.iter().all(|(name, stored)| normal(value(&asked.fields, name)) == *stored)
        })
    }

    fn usable(&self, entry: &Entry, asked: &Asked, settings: &Settings) -> Use {
        let request = if settings.honours_requests { asked.fields.clone() } else { Fields::new() };
        let ask = if has(&request, "only-if-cached") { Use::Refuse } else { Use::Ask };
        if self.purged(entry) == Some(true) || has(&entry.fields, "no-cache") || has(&request, "no-cache") {
            return ask;
        }
        let age = entry.age(self.now);
        let fresh_for = entry.lifetime(settings).1 - age;
        let fresh = fresh_for > 0;
        if let Some(most) = number(&request, "max-age") {
            // RFC 8246 section 2.
            let reload_of_immutable = most == 0 && fresh && has(&entry.fields, "immutable");
            if (age > most || most == 0) && !reload_of_immutable {
                return ask;
            }
        }
        let least = number(&request, "min-fresh");
        if fresh {
            return if least.is_some_and(|least| fresh_for < least) { ask } else { Use::Fresh };
        }
        if !entry.forbids_stale(settings) && least.is_none() {
            if -fresh_for < entry.while_revalidate(settings) {
                return Use::Stale { refresh: true };
            }
            if number(&request, "max-stale").is_some_and(|most| -fresh_for <= most) {
                return Use::Stale { refresh: false };
            }
        }
        ask
    }

    /// Answers a request; `draws` are what the origin does, in the order in which it is asked.
    pub fn ask(&mut self, asked: &Asked, settings: &Settings, draws: &mut Vec<Draw>) -> Seen {
        const NOTHING: Seen = Seen { status: 504, version: None, age: None, hit: false };
        if !matches!(asked.method.as_str(), "GET" | "HEAD") {
            return self.forward(asked, settings, None, draws, false);
        }
        let Some(at) = self.find(asked) else {
            if settings.honours_requests && has(&asked.fields, "only-if-cached") {
                return NOTHING;
            }
            return self.forward(asked, settings, None, draws, false);
        };
        let entry = self.entries[at].clone();
        match self.usable(&entry, asked, settings) {
            Use::Fresh | Use::Stale { refresh: false } => self.serve(&entry, asked, true),
            Use::Stale { refresh: true } => {
                let seen = self.serve(&entry, asked, true);
                let background = Asked { method: "GET".to_owned(), ..asked.clone() };
                self.forward(&background, settings, Some(entry), draws, true);
                seen
            }
            Use::Ask => self.forward(asked, settings, Some(entry), draws, false),
            Use::Refuse => NOTHING,
        }
    }

    /// A reply made from a stored response: 304 where the visitor has it (RFC 9111 section 4.3.2).
    fn serve(&self, entry: &Entry, asked: &Asked, hit: bool) -> Seen {
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
        let etag = value(&entry.fields, "etag").map(opaque);
        let known = value(&asked.fields, "if-none-match").is_some_and(|tag| Some(opaque(tag)) == etag);
        let not_modified = known && entry.status == 200;
        let version = (!not_modified && asked.method != "HEAD").then_some(entry.version);
        let status = if not_modified { 304 } else { entry.status };
        Seen { status, version, age: Some(entry.age(self.now)), hit }
    }

    /// RFC 9111 section 4.2.4, RFC 5861 section 4.
    fn stands_in(&self, entry: &Entry, asked: &Asked, settings: &Settings, unreachable: bool) -> bool {
        if entry.forbids_stale(settings) || (settings.honours_requests && has(&asked.fields, "no-cache")) {
            return false;
        }
        let disconnected = unreachable.then_some(settings.stale_if_unreachable);
        let stale_for = (entry.age(self.now) - entry.lifetime(settings).1).max(0);
        entry.if_error(settings).into_iter().chain(disconnected).max().is_some_and(|most| stale_for <= most)
    }

    fn forward(
        &mut self,
        asked: &Asked,
        settings: &Settings,
        stored: Option<Entry>,
        draws: &mut Vec<Draw>,
        background: bool,
    ) -> Seen {
        const BAD_GATEWAY: Seen = Seen { status: 502, version: None, age: None, hit: false };
        let validates = stored.as_ref().filter(|entry| entry.has_validator());
        // A GET is turned into one for the whole response; what nothing is stored for goes as the visitor asked it.
        let as_asked = asked.method != "GET" && stored.is_none();
        let conditions = match validates {
            Some(entry) => (field(&entry.fields, "etag"), field(&entry.fields, "last-modified")),
            None if as_asked => (field(&asked.fields, "if-none-match"), None),
            None => (None, None),
        };
        let validates = validates.is_some();
        let stamp = self.sequence();
        let Answer::Reply(reply) = self.send(asked, conditions, &draws.remove(0)) else {
            let stale = stored.filter(|entry| self.stands_in(entry, asked, settings, true));
            return stale.map_or(BAD_GATEWAY, |entry| self.serve(&entry, asked, false));
        };
        self.invalidate(asked, &reply);
        if reply.status != 304 || !validates {
            return self.receive(asked, settings, reply, stored, stamp, background);
        }
        if let Some(entry) = stored.filter(|entry| confirms(&reply, entry)) {
            return self.freshen_and_serve(&entry, &reply, asked, settings, stamp);
        }
        // It speaks of another response: once more, without a condition.
        match self.send(asked, (None, None), &draws.remove(0)) {
            Answer::Reply(reply) => self.receive(asked, settings, reply, None, stamp, background),
            Answer::Unreachable => BAD_GATEWAY,
        }
    }

    fn send(&mut self, asked: &Asked, conditions: (Option<String>, Option<String>), draw: &Draw) -> Answer {
        let answer = draw.answer(conditions.0.as_deref(), conditions.1.is_some(), self.now);
        self.forwarded.push(Forwarded {
            method: asked.method.clone(),
            target: asked.target.clone(),
            if_none_match: conditions.0,
            if_modified_since: conditions.1,
        });
        if let Some((soft, what)) = draw.purge.clone() {
            self.purge(soft, what);
        }
        answer
    }

    /// RFC 9111 section 4.4.
    fn invalidate(&mut self, asked: &Asked, reply: &Reply) {
        let safe = matches!(asked.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        if safe || !(200..400).contains(&reply.status) {
            return;
        }
        self.purge(false, PurgeWhat::Key(asked.key()));
        for name in ["location", "content-location"] {
            if let Some(target) = value(&reply.fields, name) {
                self.purge(false, PurgeWhat::Key(asked.key_of(target)));
            }
        }
        for group in groups(&reply.fields, "cache-group-invalidation") {
            self.purge(false, PurgeWhat::Group(asked.key_of("/"), group));
        }
    }

    /// A reply that is no confirmation.
    fn receive(
        &mut self,
        asked: &Asked,
        settings: &Settings,
        reply: Reply,
        stored: Option<Entry>,
        stamp: u64,
        background: bool,
    ) -> Seen {
        if [500, 502, 503, 504].contains(&reply.status)
            && let Some(entry) = stored.as_ref().filter(|entry| self.stands_in(entry, asked, settings, false))
        {
            return self.serve(entry, asked, false);
        }
        // RFC 9110 section 9.3.3; a body that still streams is not stored.
        let post = asked.method == "POST"
            && (200..300).contains(&reply.status)
            && value(&reply.fields, "content-location") == Some(asked.target.as_str())
            && reply.kind != Kind::Stream;
        let entry = Entry {
            key: asked.key(),
            host: asked.host.clone(),
            zone: asked.zone,
            version: reply.version,
            status: reply.status,
            age: value(&reply.fields, "age").and_then(|age| age.parse().ok()),
            response_time: self.now,
            variant: selecting(&reply.fields, asked),
            tags: tags(&reply.fields),
            groups: groups(&reply.fields, "cache-groups"),
            fields: dated(reply.fields, self.now),
            // What a POST makes invalid is older than its reply.
            stamp: if post { self.sequence() } else { stamp },
        };
        if (asked.method == "GET" || post) && storable(&entry, asked, settings, post) {
            self.store(entry.clone());
            return self.serve(&entry, asked, false);
        }
        if asked.method == "HEAD"
            && let Some(stored) = stored.filter(|_| !background)
        {
            self.head_effect(&stored, &entry, reply.bytes, settings, asked, stamp);
        }
        let version = (asked.method != "HEAD" && entry.status != 304).then_some(entry.version);
        Seen { status: entry.status, version, age: entry.age, hit: false }
    }

    fn store(&mut self, entry: Entry) {
        if self.purged(&entry) == Some(false) {
            return;
        }
        self.entries.retain(|other| other.key != entry.key || other.variant != entry.variant);
        self.entries.push(entry);
    }

    fn forget(&mut self, version: u32) {
        self.entries.retain(|entry| entry.version != version);
    }

    /// RFC 9111 section 3.2.
    fn updated(&self, old: &Entry, update: &Fields, age: Option<i64>, asked: &Asked, stamp: u64) -> Entry {
        let update = dated(update.clone(), self.now);
        let mut fresh = old.clone();
        fresh.fields.retain(|(name, _)| value(&update, name).is_none());
        fresh.fields.extend(update);
        (fresh.age, fresh.response_time, fresh.stamp) = (age, self.now, stamp);
        fresh.variant = selecting(&fresh.fields, asked);
        // A confirmation need not repeat what a purge may name it by.
        fresh.tags.extend(tags(&fresh.fields));
        fresh.groups.extend(groups(&fresh.fields, "cache-groups"));
        fresh
    }

    /// RFC 9111 section 4.3.4.
    fn freshen_and_serve(
        &mut self,
        old: &Entry,
        reply: &Reply,
        asked: &Asked,
        settings: &Settings,
        stamp: u64,
    ) -> Seen {
        let age = value(&reply.fields, "age").and_then(|age| age.parse().ok());
        let fresh = self.updated(old, &reply.fields, age, asked, stamp);
        if !may_freshen(&reply.fields, settings) {
            // Its fields are for this visitor alone.
            self.forget(old.version);
            return self.serve(&fresh, asked, false);
        }
        if self.purged(&fresh) == Some(false) {
            return self.serve(old, asked, false);
        }
        self.forget(old.version);
        self.store(fresh.clone());
        self.serve(&fresh, asked, false)
    }

    /// RFC 9111 section 4.3.5.
    fn head_effect(
        &mut self,
        old: &Entry,
        reply: &Entry,
        bytes: usize,
        settings: &Settings,
        asked: &Asked,
        stamp: u64,
    ) {
        if old.status != 200 || reply.status != 200 {
            return;
        }
        let same =
            |name: &str| value(&reply.fields, name).is_none() || field(&reply.fields, name) == field(&old.fields, name);
        let alike = same("etag") && same("last-modified") && bytes == body(old.version).len();
        if !alike || !may_freshen(&reply.fields, settings) {
            return self.forget(old.version);
        }
        let fresh = self.updated(old, &reply.fields, reply.age, asked, stamp);
        if self.purged(&fresh) != Some(false) {
            self.forget(old.version);
            self.store(fresh);
        }
    }
}

/// The fields to store: a response without `Date` gets the time of its receipt (RFC 9110 section 6.6.1).
fn dated(fields: Fields, now: i64) -> Fields {
    let mut fields: Fields = fields.into_iter().filter(|(name, _)| name != "age").collect();
    if value(&fields, "date").is_none() {
        fields.push(("date".to_owned(), date(now)));
    }
    fields
}

fn may_freshen(update: &Fields, settings: &Settings) -> bool {
    let cookie = value(update, "set-cookie").is_some() && !settings.stores_cookies;
    !has(update, "no-store") && !has(update, "private") && !cookie && value(update, "vary") != Some("*")
}

/// Whether a 304 speaks about a stored response (RFC 9111 section 4.3.4).
fn confirms(reply: &Reply, entry: &Entry) -> bool {
    match (value(&reply.fields, "etag"), value(&entry.fields, "etag")) {
        (Some(new), Some(old)) if new.starts_with('"') => new == old,
        (Some(new), Some(old)) => new.trim_start_matches("W/") == old.trim_start_matches("W/"),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// RFC 9111 section 3.
fn storable(entry: &Entry, asked: &Asked, settings: &Settings, post: bool) -> bool {
    let fields = &entry.fields;
    let (stated, lifetime) = entry.lifetime(settings);
    let shared = ["public", "s-maxage", "must-revalidate"].iter().any(|name| has(fields, name));
    let forbidden = entry.status == 304
        || has(fields, "no-store")
        || has(fields, "private")
        || (value(&asked.fields, "authorization").is_some() && !shared)
        || (value(fields, "set-cookie").is_some() && !settings.stores_cookies)
        || value(fields, "vary") == Some("*")
        || (settings.honours_requests && has(&asked.fields, "no-store"));
    // The reply to a POST has to say it itself.
    let allowed = match post {
        true => stated == Stated::Response,
        false => stated != Stated::Nobody || has(fields, "public") || heuristically_cacheable(entry.status),
    };
    // What could never be used is not kept.
    let ever_fresh = !has(fields, "no-cache") && lifetime > entry.age(entry.response_time);
    let ever_stale = !entry.forbids_stale(settings)
        && (entry.while_revalidate(settings) > 0 || entry.if_error(settings).is_some_and(|seconds| seconds > 0));
    !forbidden && allowed && (ever_fresh || ever_stale || entry.has_validator())
}
