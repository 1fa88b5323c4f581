//! `[service.health]`: what all kinds of check have, and which keys belong to which kind.

mod dns;
mod http;
mod mysql;
mod script;
mod tls;
mod udp;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lb_common::id::MemberIndex;

use super::fault::{Checked, Fault, Span, fault};
use super::raw::{Table, Value};
use super::schema::Shape;
use super::{Reader, Subject};
use crate::model::{HealthCheck, HealthKind, Mode, Protocol, Via};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const RISE: NonZeroU32 = NonZeroU32::new(2).expect("not 0");
const FALL: NonZeroU32 = NonZeroU32::new(3).expect("not 0");

/// Shorter ones would be a flood, longer ones never end.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Limits of `slow-start`: a round of the reconciler is nothing to it, and nobody waits for longer.
const SLOW_START: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// The quorum where the file does not say.
const QUORUM: NonZeroU32 = NonZeroU32::MIN;

/// Most successes or failures in a row that can be asked for.
pub(super) const MAX_STREAK: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Tls,
    Udp,
    Dns,
    Mysql,
    Script,
    None,
}

const KINDS: [(&str, Kind); 9] = [
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("tls", Kind::Tls),
    ("udp", Kind::Udp),
    ("dns", Kind::Dns),
    ("mysql", Kind::Mysql),
    ("script", Kind::Script),
    ("none", Kind::None),
];

/// Keys that all kinds have.
const OF_ALL: &[&str] = &[
    "kind",
    "via",
    "interval",
    "timeout",
    "rise",
    "fall",
    "slow-start",
    "quorum",
];

/// Keys that only some kinds have.
const OF_KINDS: [(&[&str], &[Kind]); 6] = [
    (http::KEYS, &[Kind::Http, Kind::Https]),
    (tls::KEYS, &[Kind::Https, Kind::Tls, Kind::Mysql]),
    (udp::KEYS, &[Kind::Udp]),
    (dns::KEYS, &[Kind::Dns]),
    (mysql::KEYS, &[Kind::Mysql]),
    (script::KEYS, &[Kind::Script]),
];

/// Every key of the table.
pub(super) const KEYS: [&str; count()] = {
    let mut keys = [""; count()];
    let (mut at, mut list) = (0, 0);
    while list <= OF_KINDS.len() {
        let some = if list == 0 { OF_ALL } else { OF_KINDS[list - 1].0 };
        let (_, rest) = keys.split_at_mut(at);
        rest.split_at_mut(some.len()).0.copy_from_slice(some);
        (at, list) = (at + some.len(), list + 1);
    }
    keys
};

const fn count() -> usize {
    let (mut count, mut list) = (OF_ALL.len(), 0);
    while list < OF_KINDS.len() {
        (count, list) = (count + OF_KINDS[list].0.len(), list + 1);
    }
    count
}

impl Kind {
    fn label(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(word, _)| word)
    }

    /// What it goes over, for kinds that send packets to the backend's port.
    fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp | Self::Http | Self::Https | Self::Tls | Self::Mysql => Some(Protocol::Tcp),
            Self::Udp | Self::Dns => Some(Protocol::Udp),
            Self::Script | Self::None => None,
        }
    }
}

/// The service or pool whose backends are probed.
pub(super) struct Asker<'a> {
    pub(super) mode: Mode,
    pub(super) protocol: Protocol,
    /// The table that says how.
    pub(super) shape: &'static Shape,
    /// Where one without the table is to be marked.
    pub(super) header: &'a Span,
}

impl Reader {
    pub(super) fn health(&mut self, health: Option<Value<'_>>, asker: &Asker<'_>) -> Checked<HealthCheck> {
        let protocol = asker.protocol;
        let Some(health) = health else {
            return Ok(HealthCheck {
                kind: self.default_kind(protocol, asker.header),
                via: Via::default(),
                interval: INTERVAL,
                timeout: TIMEOUT,
                rise: RISE,
                fall: FALL,
                slow_start: None,
                quorum: QUORUM,
            });
        };
        let health = health.table(asker.shape)?;
        let kind = self.kind(&health, protocol)?;
        let via = via(&health, &kind, asker.mode)?;
        let interval = match health.get("interval") {
            Some(interval) => interval.duration(MIN_INTERVAL..=MAX_INTERVAL)?,
            None => INTERVAL,
        };
        let timeout = match health.get("timeout") {
            Some(value) => {
                let timeout = value.duration(MIN_TIMEOUT..=MAX_INTERVAL)?;
                if timeout > interval {
                    let fault = value.fault("`timeout` is longer than `interval`");
                    let fault = match health.get("interval") {
                        Some(interval) => fault.other(interval.span(), "the interval"),
                        None => fault,
                    };
                    return Err(fault.hint("a probe ends before the next one begins"));
                }
                timeout
            }
            None => TIMEOUT.min(interval),
        };
        let slow_start = match health.get("slow-start") {
            Some(value) => Some(value.duration(SLOW_START)?),
            None => None,
        };
        Ok(HealthCheck {
            kind,
            via,
            interval,
            timeout,
            rise: count_of(&health, "rise", RISE, MAX_STREAK)?,
            fall: count_of(&health, "fall", FALL, MAX_STREAK)?,
            slow_start,
            quorum: count_of(&health, "quorum", QUORUM, MemberIndex::MAX.0.into())?,
        })
    }

    fn kind(&mut self, health: &Table<'_>, protocol: Protocol) -> Checked<HealthKind> {
        let value = health.get("kind");
        let kind = value.as_ref().map(|value| value.choice(&KINDS)).transpose()?;
        belong(health, kind, value.as_ref())?;
        if let (Some(over), Some(value)) = (kind.and_then(Kind::protocol), &value)
            && over != protocol
        {
            let [own, over] = [protocol, over].map(|protocol| protocol.label().to_uppercase());
            let message = format!("a {own} service is probed over {over} here");
            let hint = format!("backends must answer on the same port over {over}; kind = \"none\" sends no probes");
            self.warnings.push(value.fault(message).hint(hint));
        }
        Ok(match kind {
            Some(Kind::Tcp) => HealthKind::Tcp,
            Some(Kind::Http) => HealthKind::Http(Arc::new(http::probe(health, None)?)),
            Some(Kind::Https) => HealthKind::Http(Arc::new(http::probe(health, Some(tls::terms(health)?))?)),
            Some(Kind::Tls) => HealthKind::Tls(Arc::new(tls::terms(health)?)),
            Some(Kind::Udp) => HealthKind::Udp(Arc::new(udp::probe(health)?)),
            Some(Kind::Dns) => HealthKind::Dns(Arc::new(dns::probe(health)?)),
            Some(Kind::Mysql) => {
                let probe = mysql::probe(health)?;
                let password = probe.login.as_ref().and_then(|login| login.password_file.clone());
                if let (Some(path), Some(value)) = (password, health.get("password-file")) {
                    self.places.entry(Subject::PasswordFile(path)).or_insert(value.span());
                }
                HealthKind::Mysql(Arc::new(probe))
            }
            Some(Kind::Script) => {
                let probe = script::probe(health)?;
                if let Some(command) = health.get("command") {
                    self.runs(&probe.program, command.span());
                }
                HealthKind::Script(Arc::new(probe))
            }
            Some(Kind::None) => HealthKind::None,
            None => self.default_kind(protocol, &health.span),
        })
    }

    /// A TCP probe says nothing about a UDP port, so nobody gets one without asking.
    fn default_kind(&mut self, protocol: Protocol, span: &Span) -> HealthKind {
        match protocol {
            Protocol::Tcp => HealthKind::Tcp,
            Protocol::Udp => {
                let message = "the backends of this UDP service are not probed: one that dies keeps its share";
                let hint = "set kind = \"udp\" or \"dns\" in [service.health], or \"tcp\" where the backends also listen \
                    on the same port over TCP; or \"none\" if that is meant";
                self.warnings.push(fault(span.clone(), message).hint(hint));
                HealthKind::None
            }
        }
    }
}

/// Which way probes go, for kinds that send packets.
fn via(health: &Table<'_>, kind: &HealthKind, mode: Mode) -> Checked<Via> {
    let Some(value) = health.get("via") else {
        return Ok(Via::default());
    };
    let via = value.choice(&Via::ALL.map(|via| (via.label(), via)))?;
    let (message, hint) = match kind {
        HealthKind::Script(_) => (
            "`via` is for probes that send packets, and a script goes its own way",
            "remove `via`, or choose another kind",
        ),
        HealthKind::None => (
            "`via` is for probes that send packets, and here none is sent",
            "remove `via`, or set another kind",
        ),
        _ if (mode, via) == (Mode::Proxy, Via::Service) => {
            let message =
                "via = \"service\" is the way of packets to a VIP, and the proxy sends to the backend's own address";
            return Err(value.fault(message).hint("remove `via`: probes go where requests go"));
        }
        _ => return Ok(via),
    };
    let fault = value.fault(message);
    let fault = match health.get("kind") {
        Some(kind) => fault.other(kind.span(), "the kind"),
        None => fault,
    };
    Err(fault.hint(hint))
}

/// Refuses the first key that is for other kinds.
fn belong(health: &Table<'_>, kind: Option<Kind>, value: Option<&Value<'_>>) -> Checked<()> {
    let strangers = OF_KINDS
        .iter()
        .filter(|(_, kinds)| kind.is_none_or(|kind| !kinds.contains(&kind)))
        .flat_map(|(keys, kinds)| keys.iter().map(move |key| (*key, *kinds)))
        .filter_map(|(key, kinds)| Some((key, kinds, health.get(key)?)));
    let Some((key, kinds, first)) = strangers.min_by_key(|(.., stranger)| stranger.span().start) else {
        return Ok(());
    };
    let words: Vec<String> = kinds.iter().map(|kind| format!("\"{}\"", kind.label())).collect();
    let words = words.join(" or ");
    let fault = first
        .fault(format!("`{key}` is for kind = {words}"))
        .hint(format!("set kind = {words}, or remove `{key}`"));
    Err(match value {
        Some(kind) => fault.other(kind.span(), "the kind"),
        None => fault,
    })
}

/// A key that says nothing without another one, or against it.
fn contradiction(value: &Value<'_>, message: impl Into<String>, other: &Value<'_>, label: &str) -> Box<Fault> {
    value.fault(message).other(other.span(), label)
}

pub(super) fn count_of(health: &Table<'_>, key: &'static str, default: NonZeroU32, most: u32) -> Checked<NonZeroU32> {
    let Some(value) = health.get(key) else {
        return Ok(default);
    };
    let number = value.whole(1..=most)?;
    NonZeroU32::new(number).ok_or_else(|| value.fault(format!("`{key}` is 0")))
}
