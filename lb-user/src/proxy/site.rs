//! A service as one thread of the proxy serves it: what the file says, in the form in which requests need it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use lb_common::hash::Seed;
use tokio_rustls::rustls::ServerConfig;

use super::client::Client;
use super::http1::{Bounds, Field, RequestHead};
use super::shared::Common;
use super::snapshot::Front;
use super::upstream::Pool;
use super::worker::Served;
use crate::model::proxy::{Direction, Forwarded, HeaderAction, HeaderName, HeaderRule, Proxy, Route};
use crate::model::traffic::ServiceTraffic;

/// RFC 6797 §6.1
const HSTS: &str = "strict-transport-security";

/// See the module.
#[derive(Debug)]
pub(super) struct Site {
    /// Of the service.
    pub name: Arc<str>,
    /// What the file says.
    pub proxy: Arc<Proxy>,
    /// Of heads.
    pub bounds: Bounds,
    /// The service's own backends.
    pub pool: Rc<Pool>,
    /// Each with whom it leads to.
    pub routes: Vec<(Route, Rc<Pool>)>,
    /// What rules do to requests.
    pub request_rules: Rules,
    /// What rules do to responses.
    pub response_rules: Rules,
    /// What backends are told of the client, as far as rules leave it.
    pub forwarded: Vec<Forwarded>,
    /// `None`: it is plain.
    pub tls: Option<Arc<ServerConfig>>,
    /// Error pages of the file, by status.
    pub pages: Arc<BTreeMap<u16, Arc<[u8]>>>,
    /// Its counters.
    pub traffic: Arc<ServiceTraffic>,
    /// Of the fleet.
    pub seed: Seed,
}

impl Site {
    /// Puts together what the file says and who serves: the service's own backends, and those of its routes.
    #[must_use]
    pub(super) fn new(
        name: Arc<str>,
        proxy: Arc<Proxy>,
        (pool, routes): (Rc<Pool>, Vec<(Route, Rc<Pool>)>),
        front: &Front,
        common: &Common,
    ) -> Self {
        let http = &proxy.http;
        let bounds = Bounds {
            bytes: http.limits.header as usize,
            fields: http.limits.header_count.into(),
            target: http.limits.uri as usize,
        };
        let request_rules = Rules::of(&http.headers, Direction::Request);
        let response_rules = Rules::of_responses(&proxy);
        let by_rules = |forwarded: &&Forwarded| !request_rules.drops(forwarded.label().as_bytes());
        let forwarded = http.forwarded.iter().filter(by_rules).copied().collect();
        let traffic = common.traffic.service(&name);
        Self {
            name,
            bounds,
            pool,
            routes,
            request_rules,
            response_rules,
            forwarded,
            pages: Arc::clone(&front.pages),
            tls: front.tls.clone(),
            traffic,
            seed: common.seed,
            proxy,
        }
    }

    /// Where a request goes: by the first route that matches, or to the service's own backends.
    #[must_use]
    pub(super) fn route(&self, head: &[u8], request: &RequestHead) -> (Option<&Route>, &Rc<Pool>) {
        let matching = self.routes.iter().find(|(route, _)| matches(route, head, request));
        matching.map_or((None, &self.pool), |(route, pool)| (Some(route), pool))
    }

    /// The name of a request: the one that a proxy has given it which is believed, or a new one.
    #[must_use]
    pub(super) fn request_id(
        &self,
        client: &Client,
        head: &[u8],
        request: &RequestHead,
        served: &Served,
    ) -> Option<Arc<str>> {
        let name = self.proxy.http.request_id.as_ref()?;
        let given = if client.trusted {
            request.fields.value(head, name.as_str())
        } else {
            None
        };
        let given = given
            .and_then(|given| std::str::from_utf8(given).ok())
            .filter(|given| !given.is_empty());
        Some(given.map_or_else(
            || {
                let (process, number) = served.number();
                format!("{process:016x}{number:016x}").into()
            },
            Arc::from,
        ))
    }
}

fn matches(route: &Route, head: &[u8], request: &RequestHead) -> bool {
    let host = || {
        let host = request.host.of(head);
        // A port has digits alone, and the colons of IPv6 stand in brackets.
        let port = host
            .iter()
            .rposition(|byte| !byte.is_ascii_digit())
            .filter(|&at| host[at] == b':');
        &host[..port.unwrap_or(host.len())]
    };
    route
        .host
        .as_ref()
        .is_none_or(|wanted| is_host(wanted.as_bytes(), host()))
        && route
            .path_prefix
            .as_ref()
            .is_none_or(|prefix| begins(request.path_alone(head), prefix.as_bytes()))
        && route.header.as_ref().is_none_or(|(name, value)| {
            let named = |field: &&Field| field.name.of(head).eq_ignore_ascii_case(name.as_str().as_bytes());
            let mut fields = request.fields.all().iter().filter(named);
            fields.any(|field| field.value.of(head) == value.as_bytes())
        })
}

/// `*.` stands for one or more labels.
fn is_host(wanted: &[u8], host: &[u8]) -> bool {
    match wanted.strip_prefix(b"*") {
        None => wanted.eq_ignore_ascii_case(host),
        Some(end) => host.len() > end.len() && host[host.len() - end.len()..].eq_ignore_ascii_case(end),
    }
}

/// By whole segments.
fn begins(path: &[u8], prefix: &[u8]) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || prefix.ends_with(b"/") || rest[0] == b'/')
}

/// Rules for heads, all of one direction taken together.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Fields that go no further.
    drop: Vec<HeaderName>,
    /// Lines that are added, each with its end.
    pub add: Vec<u8>,
    /// The same, of the proxy's own.
    pub own: Vec<u8>,
}

impl Rules {
    /// Each rule applies to what those before it left, so of what they add only the last word counts.
    fn of(rules: &[HeaderRule], on: Direction) -> Self {
        let mut drop: Vec<HeaderName> = Vec::new();
        let mut add: Vec<(&HeaderName, &str)> = Vec::new();
        for rule in rules.iter().filter(|rule| rule.on == on) {
            match &rule.action {
                HeaderAction::Add(name, value) => add.push((name, value)),
                HeaderAction::Set(name, _) | HeaderAction::Remove(name) => {
                    add.retain(|(other, _)| *other != name);
                    if !drop.contains(name) {
                        drop.push(name.clone());
                    }
                    if let HeaderAction::Set(name, value) = &rule.action {
                        add.push((name, value));
                    }
                }
            }
        }
        let mut text = String::new();
        for (name, value) in add {
            // It is memory, which takes everything.
            let _ = write!(text, "{}: {value}\r\n", name.as_str());
        }
        Self {
            drop,
            add: text.into_bytes(),
            own: Vec::new(),
        }
    }

    /// Those of responses, and what the service says of TLS.
    fn of_responses(proxy: &Proxy) -> Self {
        let mut rules = Self::of(&proxy.http.headers, Direction::Response);
        // A rule of the file for the same field is the later word.
        let said = rules.drops(HSTS.as_bytes());
        if let Some(hsts) = proxy.tls.as_ref().and_then(|tls| tls.hsts).filter(|_| !said) {
            let also = |set, word| if set { word } else { "" };
            let line = format!(
                "{HSTS}: max-age={}{}{}\r\n",
                hsts.max_age.as_secs(),
                also(hsts.include_subdomains, "; includeSubDomains"),
                also(hsts.preload, "; preload")
            );
            rules.own = line.into_bytes();
            rules.drop.extend(HeaderName::new(HSTS));
        }
        rules
    }

    /// Does a field of this name go no further?
    #[inline]
    #[must_use]
    pub(super) fn drops(&self, name: &[u8]) -> bool {
        self.drop
            .iter()
            .any(|dropped| dropped.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::proxy::{Hsts, Tls, TlsVersion};

    fn proxy(max_age: u64, (include_subdomains, preload): (bool, bool), headers: Vec<HeaderRule>) -> Proxy {
        let hsts = Hsts {
            max_age: Duration::from_secs(max_age),
            include_subdomains,
            preload,
        };
        let tls = Tls {
            certificates: Vec::new(),
            acme: None,
            client_ca: None,
            client_optional: false,
            min_version: TlsVersion::default(),
            ciphers: Vec::new(),
            alpn: Vec::new(),
            hsts: Some(hsts),
        };
        let mut proxy = Proxy {
            tls: Some(tls),
            ..Proxy::default()
        };
        proxy.http.headers = headers;
        proxy
    }

    #[test]
    fn the_service_says_how_long_browsers_come_by_tls() {
        let line =
            |max_age, also| String::from_utf8(Rules::of_responses(&proxy(max_age, also, Vec::new())).own).unwrap();
        assert_eq!(line(60, (false, false)), "strict-transport-security: max-age=60\r\n");
        let all = "strict-transport-security: max-age=0; includeSubDomains; preload\r\n";
        assert_eq!(line(0, (true, true)), all);
        let rules = Rules::of_responses(&proxy(60, (false, false), Vec::new()));
        assert!(
            rules.drops(b"Strict-Transport-Security"),
            "what backends say of it goes no further"
        );
        assert!(Rules::of_responses(&Proxy::default()).own.is_empty());
    }

    #[test]
    fn a_rule_of_the_file_is_the_later_word() {
        let name = HeaderName::new("Strict-Transport-Security").unwrap();
        let set = HeaderRule {
            on: Direction::Response,
            action: HeaderAction::Set(name, "max-age=1".into()),
        };
        let rules = Rules::of_responses(&proxy(60, (false, false), vec![set]));
        assert!(rules.own.is_empty());
        assert_eq!(rules.add, b"strict-transport-security: max-age=1\r\n");
    }
}
