//! What the settings of a zone's rules mean together: rules that lack something, that can never act, that name what does not exist.

use std::collections::HashMap;

use archipel_rules::{Field, Phase};

use crate::compile::Part;
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::firewall::{AccessAction, FirewallAction, FirewallMode, Skip};
use crate::kind::characteristic::By;
use crate::kind::expression::{Condition, ValueExpression};
use crate::lists::{self, ListKind, Lists, missing};
use crate::node::NodeConfig;
use crate::phases::{HeaderChange, HeaderOperation};
use crate::rate_limits::RateLimitAction;
use crate::redirect_list;
use crate::zone::ZoneConfig;

/// What checking the rules of one zone needs.
struct Check<'a> {
    zone: &'a Part<ZoneConfig>,
    node: &'a Part<NodeConfig>,
    lists: &'a Lists,
    out: &'a mut Diagnostics,
}

pub(crate) fn check_rules(zone: &Part<ZoneConfig>, node: &Part<NodeConfig>, lists: &Lists, out: &mut Diagnostics) {
    let mut check = Check { zone, node, lists, out };
    check.ids();
    check.access();
    check.firewall();
    check.rate_limits();
    check.settings();
    check.redirects();
    check.rewrites();
    check.routes();
    check.replies();
    check.expressions();
}

impl Check<'_> {
    fn report(&mut self, path: &str, problem: Problem) {
        self.zone.report(self.out, path, problem);
    }

    fn missing(&mut self, path: &str, key: &str) {
        missing(self.zone, path, key, self.out);
    }

    fn no_effect(&mut self, path: &str, why: &str) {
        if self.zone.given(path) {
            self.report(path, Problem::warning(Code::NoEffect, format!("`{path}` has no effect: {why}")));
        }
    }

    /// Says so unless exactly one of the settings is there, or at most one where none is allowed.
    fn one_of(&mut self, path: &str, keys: &[&str], none_is_wrong: bool) {
        let given: Vec<&&str> = keys.iter().filter(|key| self.zone.given(&format!("{path}.{key}"))).collect();
        match given.as_slice() {
            [] if none_is_wrong => {
                let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                let problem = Problem::error(Code::Missing, format!("`{path}` has none of {}", names.join(", ")));
                self.report(path, problem.help("give one of them"));
            }
            [_, second, ..] => {
                let message = format!("`{path}` has both `{}` and `{second}`", given[0]);
                let problem = Problem::error(Code::Contradiction, message).help("keep one of them");
                let at = format!("{path}.{second}");
                self.report(&at, problem);
            }
            _ => {}
        }
    }

    /// Ids are how events and `skip_rules` name a rule: each once.
    fn ids(&mut self) {
        let firewall = &self.zone.config.firewall;
        let access = firewall.access.iter().enumerate().map(|(at, rule)| ("firewall.access", at, &rule.id));
        let rules = firewall.rules.iter().enumerate().map(|(at, rule)| ("firewall.rules", at, &rule.id));
        let limits = self.zone.config.rate_limits.iter().enumerate();
        let limits = limits.map(|(at, rule)| ("rate_limits", at, &rule.id));
        let mut seen: HashMap<&str, String> = HashMap::new();
        let mut problems = Vec::new();
        for (table, at, id) in access.chain(rules).chain(limits) {
            let path = format!("{table}[{at}].id");
            let Some(id) = id else { continue };
            if let Some(first) = seen.insert(id, path.clone()) {
                let related = self.zone.source.related(self.zone.span(&first), "the first is here");
                let problem = Problem::error(Code::Duplicate, format!("two rules have the id `{id}`")).related(related);
                problems.push((path, problem));
            }
        }
        for (path, problem) in problems {
            self.report(&path, problem);
        }
    }

    fn access(&mut self) {
        for (at, rule) in self.zone.config.firewall.access.iter().enumerate() {
            let path = format!("firewall.access[{at}]");
            self.missing(&path, "action");
            let who = ["ip", "list", "country", "asn"];
            if !who.iter().any(|key| self.zone.given(&format!("{path}.{key}"))) {
                let problem = Problem::error(Code::Missing, format!("`{path}` says nobody"))
                    .help("name addresses (`ip`, `list`), a `country` or an `asn`; everybody is 0.0.0.0/0 and ::/0");
                self.report(&path, problem);
            }
            if let Some(list) = &rule.list {
                self.list(&format!("{path}.list"), list, ListKind::Ip);
            }
            let geo = &self.node.config.geo;
            if rule.country.is_some() && geo.database.is_none() {
                self.without_geo(&format!("{path}.country"), "geo.database", "every country is unknown (\"XX\")");
            }
            if rule.asn.is_some() && geo.asn_database.is_none() {
                self.without_geo(&format!("{path}.asn"), "geo.asn_database", "no network is known");
            }
            if rule.action == Some(AccessAction::Allow)
                && rule.ip.as_ref().is_some_and(|ip| ip.iter().any(|cidr| cidr.prefix() == 0))
            {
                let problem = Problem::warning(Code::Exposed, format!("`{path}` lets everybody pass by the firewall"))
                    .help("to switch the firewall off, set `firewall.mode = \"off\"`");
                self.report(&format!("{path}.ip"), problem);
            }
        }
    }

    fn without_geo(&mut self, path: &str, setting: &str, what: &str) {
        let problem = Problem::warning(Code::NoEffect, format!("`{path}`: {what}, as `{setting}` is not set"))
            .help(format!("name a database in the MaxMind DB format with `{setting}` in node.toml"));
        self.report(path, problem);
    }

    fn list(&mut self, path: &str, name: &str, kind: ListKind) {
        if let Err(problem) = lists::find(self.lists, path, name, kind) {
            self.report(path, problem);
        }
    }

    fn firewall(&mut self) {
        let firewall = &self.zone.config.firewall;
        let ids: Vec<&str> = firewall.rules.iter().filter_map(|rule| rule.id.as_deref()).collect();
        let any = !firewall.rules.is_empty() || !firewall.access.is_empty();
        let switched_on = self
            .zone
            .config
            .settings_rules
            .iter()
            .any(|rule| !matches!(rule.firewall_mode, None | Some(FirewallMode::Off)));
        if firewall.mode == FirewallMode::Off && any && !switched_on {
            self.no_effect("firewall.mode", "the rules of the firewall are not evaluated");
        }
        for (at, rule) in firewall.rules.iter().enumerate() {
            let path = format!("firewall.rules[{at}]");
            self.missing(&path, "expression");
            self.missing(&path, "action");
            let Some(action) = rule.action else { continue };
            if action != FirewallAction::Block {
                for key in ["status", "content_type", "body"] {
                    self.no_effect(&format!("{path}.{key}"), "the rule's action is not \"block\"");
                }
            } else if rule.body.is_none() {
                self.no_effect(&format!("{path}.content_type"), "the rule has no `body`");
            }
            if action == FirewallAction::Skip {
                if rule.skip.is_none() && rule.skip_rules.is_none() {
                    let problem = Problem::error(Code::Missing, format!("`{path}` does not say what it passes over"))
                        .help("name it in `skip`, such as [\"rules\"], or rules in `skip_rules`");
                    self.report(&path, problem);
                }
                self.skipped(&path, at, rule.skip_rules.as_deref().unwrap_or_default(), &ids);
                let whole = rule.skip.as_ref().is_some_and(|skip| skip.contains(&Skip::Rules));
                if whole {
                    self.no_effect(&format!("{path}.skip_rules"), "`skip` passes over all rules after this one");
                }
            } else {
                for key in ["skip", "skip_rules"] {
                    self.no_effect(&format!("{path}.{key}"), "the rule's action is not \"skip\"");
                }
            }
        }
    }

    fn skipped(&mut self, path: &str, at: usize, skipped: &[Box<str>], ids: &[&str]) {
        for id in skipped {
            let rules = &self.zone.config.firewall.rules;
            let place = format!("{path}.skip_rules");
            let problem = match rules.iter().position(|rule| rule.id.as_deref() == Some(id)) {
                Some(found) if found > at => continue,
                Some(_) => Problem::warning(
                    Code::NoEffect,
                    format!("`{place}` names `{id}`, which is evaluated before this rule"),
                ),
                None => {
                    let problem =
                        Problem::error(Code::UnknownWord, format!("`{place}` names `{id}`, which no rule has as `id`"));
                    match crate::suggest::nearest(id, ids.iter().copied()) {
                        Some(known) => problem.help(format!("did you mean `{known}`?")),
                        None => problem,
                    }
                }
            };
            self.report(&place, problem);
        }
    }

    fn rate_limits(&mut self) {
        for (at, rule) in self.zone.config.rate_limits.iter().enumerate() {
            let path = format!("rate_limits[{at}]");
            self.missing(&path, "expression");
            self.missing(&path, "requests");
            if rule.action != RateLimitAction::Block {
                for key in ["status", "content_type", "body"] {
                    self.no_effect(&format!("{path}.{key}"), "the rule's action is not \"block\"");
                }
            } else if rule.body.is_none() {
                self.no_effect(&format!("{path}.content_type"), "the rule has no `body`");
            }
        }
    }

    fn settings(&mut self) {
        const KEYS: [&str; 7] = [
            "firewall_mode",
            "body_bytes_max",
            "upgrades",
            "server_timing",
            "compression",
            "first_byte_timeout",
            "between_bytes_timeout",
        ];
        for at in 0..self.zone.config.settings_rules.len() {
            let path = format!("settings_rules[{at}]");
            self.missing(&path, "expression");
            if !KEYS.iter().any(|key| self.zone.given(&format!("{path}.{key}"))) {
                self.report(&path, Problem::warning(Code::NoEffect, format!("`{path}` sets nothing")));
            }
        }
    }

    fn redirects(&mut self) {
        for (at, rule) in self.zone.config.redirects.iter().enumerate() {
            let path = format!("redirects[{at}]");
            self.one_of(&path, &["target", "target_expression", "list"], true);
            match &rule.list {
                Some(list) => self.list(&format!("{path}.list"), list, ListKind::Redirect),
                None => self.missing(&path, "expression"),
            }
            if let Some(Err((what, help))) = rule.target.as_deref().map(redirect_list::check_target) {
                let problem = Problem::error(Code::Malformed, format!("`{path}.target` {what}")).help(help);
                self.report(&format!("{path}.target"), problem);
            }
        }
    }

    fn rewrites(&mut self) {
        for (at, rule) in self.zone.config.rewrites.iter().enumerate() {
            let path = format!("rewrites[{at}]");
            self.missing(&path, "expression");
            self.one_of(&path, &["path", "path_expression"], false);
            self.one_of(&path, &["query", "query_expression"], false);
            let changes = ["path", "path_expression", "query", "query_expression", "headers"];
            if !changes.iter().any(|key| self.zone.given(&format!("{path}.{key}"))) {
                self.report(&path, Problem::warning(Code::NoEffect, format!("`{path}` changes nothing")));
            }
            let canonical = rule.path.as_deref().map(|path| archipel_http::target::canonical_path(path.as_bytes()));
            let problem = match canonical {
                Some(Ok(canonical)) if rule.path.as_deref() != Some(&*canonical) => {
                    Some(format!("is not in canonical form; did you mean \"{canonical}\"?"))
                }
                Some(Err(error)) => Some(format!("is no path: {error}")),
                _ => None,
            };
            if let Some(what) = problem {
                let place = format!("{path}.path");
                self.report(&place, Problem::error(Code::Malformed, format!("`{place}` {what}")));
            }
            if let Some(Err(error)) =
                rule.query.as_deref().map(|query| archipel_http::target::check_query(query.as_bytes()).map(drop))
            {
                let place = format!("{path}.query");
                self.report(&place, Problem::error(Code::Malformed, format!("`{place}` is no query: {error}")));
            }
            self.headers(&path, &rule.headers, true);
        }
    }

    fn headers(&mut self, path: &str, changes: &[HeaderChange], of_request: bool) {
        for (at, change) in changes.iter().enumerate() {
            let path = format!("{path}.headers[{at}]");
            self.missing(&path, "name");
            let fields = change.value_expression.iter().flat_map(ValueExpression::fields);
            let too_early = fields.copied().find(|field| of_request && field.spec().phase == Phase::Response);
            if let Some(field) = too_early {
                let place = format!("{path}.value_expression");
                let message = format!("`{place}` reads `{}`, but there is no reply yet", field.name());
                self.report(&place, Problem::error(Code::Expression, message));
            }
            if change.operation == HeaderOperation::Remove {
                for key in ["value", "value_expression"] {
                    self.no_effect(&format!("{path}.{key}"), "the operation is \"remove\"");
                }
            } else {
                self.one_of(&path, &["value", "value_expression"], true);
            }
        }
    }

    fn routes(&mut self) {
        for (at, rule) in self.zone.config.routes.iter().enumerate() {
            let path = format!("routes[{at}]");
            self.missing(&path, "expression");
            self.missing(&path, "url");
            if rule.url.as_ref().is_some_and(|url| !url.is_https()) {
                self.no_effect(&format!("{path}.tls_server_name"), "the rule's URL is http");
            }
        }
    }

    fn replies(&mut self) {
        for (at, rule) in self.zone.config.response_headers.iter().enumerate() {
            let path = format!("response_headers[{at}]");
            self.missing(&path, "expression");
            if rule.headers.is_empty() {
                self.report(&path, Problem::warning(Code::NoEffect, format!("`{path}` changes nothing")));
            }
            self.headers(&path, &rule.headers, false);
        }
        for at in 0..self.zone.config.custom_errors.len() {
            let path = format!("custom_errors[{at}]");
            self.missing(&path, "expression");
            self.one_of(&path, &["body", "file"], true);
        }
    }

    /// Compiles all expressions, now that the lists are known.
    fn expressions(&mut self) {
        let named = lists::named(self.lists);
        for (path, expression) in expressions(&self.zone.config) {
            let (compiled, fields) = match expression {
                Either::Condition(condition) => (condition.compile(&named), condition.fields()),
                Either::Value(value) => (value.compile(&named), value.fields()),
            };
            if let Err(mut problem) = compiled {
                problem.message = format!("`{path}` {}", problem.message);
                self.report(&path, problem);
            }
            self.unknowable(&path, fields);
        }
    }

    /// Says so where an expression reads what this node never knows.
    fn unknowable(&mut self, path: &str, fields: &[Field]) {
        let geo = &self.node.config.geo;
        for field in fields {
            let name = field.name();
            let without = match name {
                "ip.src.asnum" => geo.asn_database.is_none().then_some("geo.asn_database"),
                "ip.src" => None,
                _ if name.starts_with("ip.src.") => geo.database.is_none().then_some("geo.database"),
                _ => None,
            };
            if let Some(setting) = without {
                let message = format!("`{path}` reads `{name}`, which is unknown as `{setting}` is not set");
                let help = format!("name a database in the MaxMind DB format with `{setting}` in node.toml");
                self.report(path, Problem::warning(Code::NoEffect, message).help(help));
            } else if !field.spec().edge {
                let message = format!(
                    "`{path}` reads `{name}`, which an edge like this does not know: it always has its default"
                );
                self.report(path, Problem::warning(Code::NoEffect, message));
            }
        }
    }
}

/// An expression of a zone.
enum Either<'a> {
    Condition(&'a Condition),
    Value(&'a ValueExpression),
}

/// All expressions of a zone with their places.
fn expressions(zone: &ZoneConfig) -> Vec<(String, Either<'_>)> {
    let mut all = All(Vec::new());
    for (at, rule) in zone.cache.rules.iter().enumerate() {
        all.condition("cache.rules", at, "when.expression", rule.when.expression.as_ref());
    }
    for (at, rule) in zone.firewall.rules.iter().enumerate() {
        all.condition("firewall.rules", at, "expression", rule.expression.as_ref());
    }
    for (at, rule) in zone.rate_limits.iter().enumerate() {
        all.condition("rate_limits", at, "expression", rule.expression.as_ref());
        all.condition("rate_limits", at, "counting_expression", rule.counting_expression.as_ref());
        for (number, characteristic) in rule.characteristics.iter().enumerate() {
            if let By::Value(value) = characteristic.by() {
                all.value("rate_limits", at, &format!("characteristics[{number}]"), Some(value));
            }
        }
    }
    for (at, rule) in zone.settings_rules.iter().enumerate() {
        all.condition("settings_rules", at, "expression", rule.expression.as_ref());
    }
    for (at, rule) in zone.redirects.iter().enumerate() {
        all.condition("redirects", at, "expression", rule.expression.as_ref());
        all.value("redirects", at, "target_expression", rule.target_expression.as_ref());
    }
    for (at, rule) in zone.rewrites.iter().enumerate() {
        all.condition("rewrites", at, "expression", rule.expression.as_ref());
        all.value("rewrites", at, "path_expression", rule.path_expression.as_ref());
        all.value("rewrites", at, "query_expression", rule.query_expression.as_ref());
        all.headers("rewrites", at, &rule.headers);
    }
    for (at, rule) in zone.routes.iter().enumerate() {
        all.condition("routes", at, "expression", rule.expression.as_ref());
    }
    for (at, rule) in zone.response_headers.iter().enumerate() {
        all.condition("response_headers", at, "expression", rule.expression.as_ref());
        all.headers("response_headers", at, &rule.headers);
    }
    for (at, rule) in zone.custom_errors.iter().enumerate() {
        all.condition("custom_errors", at, "expression", rule.expression.as_ref());
    }
    all.0
}

struct All<'a>(Vec<(String, Either<'a>)>);

impl<'a> All<'a> {
    fn condition(&mut self, table: &str, at: usize, key: &str, condition: Option<&'a Condition>) {
        self.0.extend(condition.map(|condition| (format!("{table}[{at}].{key}"), Either::Condition(condition))));
    }

    fn value(&mut self, table: &str, at: usize, key: &str, value: Option<&'a ValueExpression>) {
        self.0.extend(value.map(|value| (format!("{table}[{at}].{key}"), Either::Value(value))));
    }

    fn headers(&mut self, table: &str, at: usize, changes: &'a [HeaderChange]) {
        for (number, change) in changes.iter().enumerate() {
            self.value(table, at, &format!("headers[{number}].value_expression"), change.value_expression.as_ref());
        }
    }
}
