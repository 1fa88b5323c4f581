//! `[service.health]`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::fault::{Checked, Span, fault};
use super::raw::{Table, Value, excerpt};
use super::{Reader, schema};
use crate::model::{HealthCheck, HealthKind, HttpProbe, Protocol};

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const RISE: NonZeroU32 = NonZeroU32::new(2).expect("not 0");
const FALL: NonZeroU32 = NonZeroU32::new(3).expect("not 0");

/// Shorter ones would be a flood, longer ones never end.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Most successes or failures in a row that can be asked for.
const MAX_STREAK: u32 = 1_000;

/// Longest path of a probe, in bytes.
const MAX_PATH: usize = 1_024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    None,
}

impl Reader {
    /// `header` is where a service without the table is to be marked.
    pub(super) fn health(
        &mut self,
        health: Option<Value<'_>>,
        protocol: Protocol,
        header: &Span,
    ) -> Checked<HealthCheck> {
        let Some(health) = health else {
            return Ok(HealthCheck {
                kind: self.default_kind(protocol, header),
                interval: INTERVAL,
                timeout: TIMEOUT,
                rise: RISE,
                fall: FALL,
            });
        };
        let health = health.table(&schema::HEALTH)?;
        let kind = self.kind(&health, protocol)?;
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
        Ok(HealthCheck {
            kind,
            interval,
            timeout,
            rise: streak(&health, "rise", RISE)?,
            fall: streak(&health, "fall", FALL)?,
        })
    }

    fn kind(&mut self, health: &Table<'_>, protocol: Protocol) -> Checked<HealthKind> {
        let kinds = [("tcp", Kind::Tcp), ("http", Kind::Http), ("none", Kind::None)];
        let later = ["https", "tls", "udp", "dns", "mysql", "script"];
        let value = health.get("kind");
        let kind = value.as_ref().map(|value| value.choice(&kinds, &later)).transpose()?;
        let path = match health.get("path") {
            Some(path) if kind.is_none() || kind == Some(Kind::Tcp) => {
                let fault = path
                    .fault("`path` is for HTTP probes")
                    .hint("set kind = \"http\", or remove the path");
                return Err(match value {
                    Some(kind) => fault.other(kind.span(), "the kind"),
                    None => fault,
                });
            }
            Some(path) => http_path(&path)?,
            None => "/".to_owned(),
        };
        if let (Protocol::Udp, Some(Kind::Tcp | Kind::Http), Some(value)) = (protocol, kind, &value) {
            let message = "a UDP service is probed over TCP here";
            let hint = "backends must answer on the same port over TCP; kind = \"none\" sends no probes";
            self.warnings.push(value.fault(message).hint(hint));
        }
        Ok(match kind {
            Some(Kind::Tcp) => HealthKind::Tcp,
            Some(Kind::Http) => HealthKind::Http(HttpProbe { path }),
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
                let hint = "write kind = \"none\" in [service.health] if that is meant, or kind = \"tcp\" where the \
                    backends also listen on the same port over TCP";
                self.warnings.push(fault(span.clone(), message).hint(hint));
                HealthKind::None
            }
        }
    }
}

fn streak(health: &Table<'_>, key: &'static str, default: NonZeroU32) -> Checked<NonZeroU32> {
    let Some(value) = health.get(key) else {
        return Ok(default);
    };
    let number = value.whole(1..=MAX_STREAK)?;
    NonZeroU32::new(number).ok_or_else(|| value.fault(format!("`{key}` is 0")))
}

fn http_path(value: &Value<'_>) -> Checked<String> {
    let path = value.string()?;
    if !path.starts_with('/') {
        let hint = format!("write \"/{}\"", excerpt(path));
        return Err(value.fault("the path of a probe begins with a slash").hint(hint));
    }
    if path.len() > MAX_PATH {
        return Err(value.fault(format!("the path of a probe has at most {MAX_PATH} bytes")));
    }
    if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic()) {
        let message = format!("the path of a probe contains '{}'", c.escape_debug());
        return Err(value.fault(message).hint("percent-encode it, as in %20 for a blank"));
    }
    Ok(path.to_owned())
}
