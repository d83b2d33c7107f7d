//! Rules that change requests and replies: what each phase of a zone has, compiled, and what they came to for one exchange.
//!
//! - [`settings`]: settings for one request, before all else;
//! - [`redirect`]: answers with another URL, after the firewall;
//! - [`rewrite`]: path, query and fields of the request, before the cache key;
//! - [`routing`]: another origin, which is part of the cache key;
//! - [`response`]: error replies and fields of replies, at delivery;
//! - [`encode`]: texts that rules make.
//!
//! A zone without rules of a phase pays one branch for it.

pub(crate) mod encode;
pub(crate) mod redirect;
pub(crate) mod response;
pub(crate) mod rewrite;
pub(crate) mod routing;
mod rule;
pub(crate) mod settings;

use std::sync::Arc;
use std::time::Duration;

use archipel_config::{FirewallMode, Skip, Zone, ZoneOrigin};
use archipel_transport::body::Peeked;
use http::HeaderName;
use smallvec::SmallVec;

use crate::exchange::Exchange;
use crate::live::LiveOrigin;

pub(crate) use rule::{Made, RuleSet};

/// The rules of a zone, by phase.
pub(crate) struct Phases {
    pub(crate) settings: Option<settings::Settings>,
    pub(crate) redirects: Option<redirect::Redirects>,
    pub(crate) rewrites: Option<rewrite::Rewrites>,
    pub(crate) routes: Option<routing::Routes>,
    pub(crate) response: Option<response::Response>,
    /// Whether a rule of any phase, or of the firewall, looks at the request's body.
    pub(crate) reads_body: bool,
}

impl Phases {
    /// Compiles the rules of a zone; `origin` makes the origins of routes ready.
    ///
    /// # Errors
    /// What `origin` gives.
    pub(crate) fn new<E>(zone: &Zone, origin: impl FnMut(&ZoneOrigin) -> Result<LiveOrigin, E>) -> Result<Self, E> {
        let (redirects, rewrites) = (redirect::Redirects::new(zone), rewrite::Rewrites::new(zone));
        let (routes, response) = (routing::Routes::new(zone, origin)?, response::Response::new(zone));
        let reads_body = redirects.as_ref().is_some_and(|rules| rules.reads_body)
            || rewrites.as_ref().is_some_and(|rules| rules.reads_body)
            || routes.as_ref().is_some_and(|rules| rules.reads_body)
            || response.as_ref().is_some_and(|rules| rules.reads_body);
        Ok(Self { settings: settings::Settings::new(zone), redirects, rewrites, routes, response, reads_body })
    }
}

/// What rules came to for one exchange. There only where one holds, or where a rule looks at the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// Set of [`Skip`]s.
    pub(crate) skip: u16,
    /// Settings in place of the zone's.
    pub(crate) settings: Overrides,
    /// Origin in place of the zone's.
    pub(crate) route: Option<Arc<LiveOrigin>>,
    /// Fields that rules set: they reach the origin whatever they are called.
    pub(crate) set_fields: SmallVec<[HeaderName; 4]>,
    /// The beginning of the body, where a rule reads it.
    pub(crate) body: Option<Peeked>,
    /// The rule that answered.
    pub(crate) rule: Option<Box<str>>,
}

/// Settings for one request; what is absent is the zone's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    pub(crate) firewall_mode: Option<FirewallMode>,
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) upgrades: Option<bool>,
    pub(crate) server_timing: Option<bool>,
    pub(crate) compression: Option<bool>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) between_bytes_timeout: Option<Duration>,
}

impl Decided {
    /// What of it holds for a request that is made anew in the background.
    pub(crate) fn for_background(&self) -> Self {
        Self { body: None, rule: None, ..self.clone() }
    }
}

impl Exchange {
    /// What rules came to, to add to it.
    pub(crate) fn decided(&mut self) -> &mut Decided {
        self.rules.get_or_insert_default()
    }

    /// Whether a rule has passed something over.
    pub(crate) fn skips(&self, what: Skip) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.skip & what.bit() != 0)
    }

    /// Whether a rule has set this field of the request.
    pub(crate) fn sets_field(&self, name: &HeaderName) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.set_fields.contains(name))
    }

    /// Settings that rules put in place of the zone's.
    pub(crate) fn overrides(&self) -> Overrides {
        self.rules.as_ref().map_or_else(Overrides::default, |rules| rules.settings)
    }
}

/// The id of a rule in events and explanations.
pub(crate) fn rule_id(id: Option<&str>, table: &str, at: usize) -> Box<str> {
    id.map_or_else(|| format!("{table}[{at}]").into(), Into::into)
}
