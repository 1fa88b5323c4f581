//! `[protection]` and `[service.protection]` as text.

use std::fmt::Write as _;

use crate::model::{Enforcement, Limit, Limits, Lists, Prefix, Protection, ServiceProtection, SynCookies};

pub(super) fn node(text: &mut String, protection: &Protection) {
    let Protection {
        enforcement,
        malformed,
        bogons,
        lists,
        limits,
        icmp,
        syn_cookies,
    } = protection;
    writeln!(text, "[protection]\nmalformed = {malformed}\nbogons = {bogons}").unwrap();
    limit(text, "icmp-per-second", *icmp);
    rest(text, Some(*enforcement), lists, *limits, *syn_cookies);
}

pub(super) fn service(text: &mut String, protection: &ServiceProtection) {
    let ServiceProtection {
        enforcement,
        lists,
        limits,
        syn_cookies,
    } = protection;
    writeln!(text, "[service.protection]").unwrap();
    rest(text, *enforcement, lists, *limits, *syn_cookies);
}

fn rest(
    text: &mut String,
    enforcement: Option<Enforcement>,
    lists: &Lists,
    limits: Limits,
    cookies: Option<SynCookies>,
) {
    if let Some(enforcement) = enforcement {
        writeln!(text, "enforcement = \"{}\"", enforcement.label()).unwrap();
    }
    list(text, "allow", &lists.allow);
    list(text, "deny", &lists.deny);
    list(text, "exempt", &lists.exempt);
    limit(text, "connections-per-second", limits.connections);
    limit(text, "packets-per-second", limits.packets);
    if let Some(SynCookies { above }) = cookies {
        writeln!(text, "syn-cookies = {{ above = {above} }}").unwrap();
    }
}

fn list(text: &mut String, key: &str, prefixes: &[Prefix]) {
    let prefixes: Vec<String> = prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect();
    writeln!(text, "{key} = [{}]", prefixes.join(", ")).unwrap();
}

fn limit(text: &mut String, key: &str, limit: Option<Limit>) {
    let Some(limit) = limit else { return };
    let Limit {
        rate,
        burst,
        per_v4,
        per_v6,
    } = limit;
    let per = format!("per = \"/{per_v4}\", per-ipv6 = \"/{per_v6}\"");
    writeln!(text, "{key} = {{ limit = {rate}, burst = {burst}, {per} }}").unwrap();
}
