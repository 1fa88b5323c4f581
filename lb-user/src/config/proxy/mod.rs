//! What a service of `mode = "proxy"` says of TLS, HTTP and its backends; and `[[pool]]`, whose backends several such
//! services share.
//!
//! Names of files are taken as they stand: what is in them is for others, who find their places by
//! [`Subject`](super::Subject).

mod acme;
mod ejection;
mod forwarded;
mod headers;
mod http;
mod limits;
mod log;
mod names;
mod pool;
mod route;
pub(super) mod schema;
mod tls;
mod upstream;
mod whole;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Reader;
use super::fault::{Checked, Fault, Span};
use super::raw::{Table, Value};
use crate::model::Mode;
use crate::model::proxy::Proxy;

/// Places that other services and pools may contradict.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Of every route: the table, and its `pool`.
    routes: Vec<(Span, Span)>,
    /// Of the `directory` of `acme`.
    acme: Option<Span>,
    hash_on: Option<Span>,
    access_log: Option<Span>,
}

/// Tables that no other mode has.
const TABLES: [&str; 4] = ["tls", "http", "upstream", "route"];

/// How to write them.
const fn written(key: &str) -> &'static str {
    match key.as_bytes() {
        b"tls" => schema::TLS.name,
        b"http" => schema::HTTP.name,
        b"upstream" => schema::UPSTREAM.name,
        _ => schema::ROUTE.name,
    }
}

impl Reader {
    /// What `service`, which has this name, says of it; nothing in other modes, where it must not.
    /// `steers`: though the mode is another one, the proxy has connections of the service at times, as it has those of a service
    /// that says nothing of HTTP.
    pub(super) fn proxy(
        &mut self,
        service: &Table<'_>,
        name: &str,
        mode: Mode,
        steers: bool,
    ) -> Checked<(Option<Arc<Proxy>>, Places)> {
        if mode != Mode::Proxy {
            refuse(service)?;
            if !steers {
                return Ok((None, Places::default()));
            }
        }
        let mut places = Places::default();
        let tls = match service.get("tls") {
            Some(value) => Some(self.tls(&value.table(&schema::TLS)?, name, &mut places)?),
            None => None,
        };
        let http = self.http(service, name, &mut places)?;
        let upstream = self.upstream(service, name, &upstream::OF_SERVICE)?;
        let routes = self.routes(service, &mut places)?;
        let proxy = Proxy {
            tls,
            http,
            upstream,
            routes,
        };
        Ok((Some(Arc::new(proxy)), places))
    }
}

/// Refuses the first table that is for the proxy.
fn refuse(service: &Table<'_>) -> Checked<()> {
    let tables = TABLES.into_iter().filter_map(|key| Some((key, service.get(key)?)));
    let place = |value: &Value<'_>| value.list().first().map_or_else(|| value.span(), Value::span);
    let first = tables.map(|(key, value)| (key, place(&value)));
    let Some((key, span)) = first.min_by_key(|(_, span)| span.start) else {
        return Ok(());
    };
    let table = written(key);
    let fault = super::fault::fault(span, format!("{table} is for mode = \"proxy\""));
    let fault = match service.get("mode") {
        Some(mode) => fault.other(mode.span(), "the mode"),
        None => fault,
    };
    Err(fault.hint(format!(
        "the other modes pass packets and see nothing of HTTP: set mode = \"proxy\", or remove {table}"
    )))
}

/// A key that says nothing beside another one, or against it.
fn contradiction(value: &Value<'_>, message: impl Into<String>, other: &Value<'_>, label: &str) -> Box<Fault> {
    value.fault(message).other(other.span(), label)
}

/// A duration in whole seconds.
fn seconds(value: &Value<'_>, limits: RangeInclusive<Duration>) -> Checked<Duration> {
    let duration = value.duration(limits)?;
    if duration.subsec_nanos() != 0 {
        let message = format!("`{}` is in whole seconds", value.key());
        return Err(value
            .fault(message)
            .hint("that is how HTTP says it to clients: leave out the milliseconds"));
    }
    Ok(duration)
}

/// A whole number above 0.
fn count(value: &Value<'_>, most: u32) -> Checked<std::num::NonZeroU32> {
    let number = value.whole(1..=most)?;
    std::num::NonZeroU32::new(number).ok_or_else(|| value.fault(format!("`{}` is 0", value.key())))
}
