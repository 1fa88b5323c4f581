//! `timeouts` and `limits`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::fault::Checked;
use super::super::raw::{Table, Value};
use super::super::size::size;
use super::{contradiction, count, schema};
use crate::model::proxy::{Limits, Timeouts};

const HOUR: Duration = Duration::from_secs(3_600);

/// Limits of most timeouts: a shorter one would end what is well, a longer one never ends.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3_600);

/// Limits of `tunnel`: a websocket may be silent for days.
const TUNNEL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(720 * 3_600);

/// Limits of `shutdown`, which somebody waits for.
const SHUTDOWN: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// Limits of `header`: what every browser sends, and what a connection may cost.
const HEADER: RangeInclusive<u64> = 1 << 10..=1 << 20;

/// Least of `uri`; it is not longer than the head that it stands in.
const LEAST_URI: u64 = 64;

/// Limits of `body`.
const BODY: RangeInclusive<u64> = 0..=1 << 50;

const MAX_HEADER_COUNT: u32 = 10_000;
const MAX_STREAMS: u32 = 10_000;
const MAX_CONNECTIONS: u32 = 10_000_000;

pub(super) fn timeouts(value: &Value<'_>) -> Checked<Timeouts> {
    let table = value.table(&schema::TIMEOUTS)?;
    let default = Timeouts::default();
    let timeout = |key: &'static str, limits: RangeInclusive<Duration>, default: Duration| {
        table.get(key).map_or(Ok(default), |value| value.duration(limits))
    };
    Ok(Timeouts {
        client_header: timeout("client-header", TIMEOUT, default.client_header)?,
        client_body: timeout("client-body", TIMEOUT, default.client_body)?,
        connect: timeout("connect", TIMEOUT, default.connect)?,
        response: timeout("response", TIMEOUT, default.response)?,
        idle: timeout("idle", TIMEOUT, default.idle)?,
        tunnel: timeout("tunnel", TUNNEL, default.tunnel)?,
        shutdown: timeout("shutdown", SHUTDOWN, default.shutdown)?,
    })
}

pub(super) fn limits(value: &Value<'_>) -> Checked<Limits> {
    let table = value.table(&schema::LIMITS)?;
    let default = Limits::default();
    let header = match table.get("header") {
        Some(value) => size(&value, HEADER)? as u32,
        None => default.header,
    };
    Ok(Limits {
        header,
        header_count: match table.get("header-count") {
            Some(value) => value.whole(1..=MAX_HEADER_COUNT)? as u16,
            None => default.header_count,
        },
        uri: uri(&table, header)?.unwrap_or(default.uri.min(header)),
        body: match table.get("body") {
            Some(value) => Some(size(&value, BODY)?),
            None => default.body,
        },
        streams: match table.get("streams") {
            Some(value) => count(&value, MAX_STREAMS)?,
            None => default.streams,
        },
        connections: match table.get("connections") {
            Some(value) => count(&value, MAX_CONNECTIONS)?,
            None => default.connections,
        },
    })
}

fn uri(table: &Table<'_>, header: u32) -> Checked<Option<u32>> {
    let Some(value) = table.get("uri") else {
        return Ok(None);
    };
    let uri = size(&value, LEAST_URI..=*HEADER.end())? as u32;
    if uri > header {
        let message = format!("`uri` is longer than the head that it stands in, of {header} bytes");
        let hint = "raise `header`, or lower `uri`";
        return Err(match table.get("header") {
            Some(header) => contradiction(&value, message, &header, "the head"),
            None => value.fault(message),
        }
        .hint(hint));
    }
    Ok(Some(uri))
}
