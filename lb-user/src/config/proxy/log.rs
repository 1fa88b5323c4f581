//! `access-log`.

use std::ops::RangeInclusive;

use super::super::fault::{Checked, Span};
use super::super::raw::Value;
use super::super::size::size;
use super::schema;
use crate::model::proxy::{AccessLog, LogFormat};

/// How many older files are kept where the file does not say.
const KEEP: u16 = 5;

/// Most older files: each turn renames them all.
const MAX_KEEP: u32 = 1_000;

/// Limits of `max-size`: a file that is full with a few lines would be turned all the time.
const MAX_SIZE: RangeInclusive<u64> = 4 << 10..=1 << 40;

/// With the place of its path.
pub(super) fn access_log(value: &Value<'_>) -> Checked<(Span, AccessLog)> {
    if !value.is_table() {
        let log = AccessLog {
            format: LogFormat::default(),
            path: value.path()?,
            max_size: None,
            keep: KEEP,
        };
        return Ok((value.span(), log));
    }
    let table = value.table(&schema::ACCESS_LOG)?;
    let path = table.require("path", "\"/var/log/fulcrum/web.log\"")?;
    let formats = [
        ("common", LogFormat::Common),
        ("combined", LogFormat::Combined),
        ("json", LogFormat::Json),
    ];
    let max_size = table.get("max-size").map(|value| size(&value, MAX_SIZE)).transpose()?;
    let keep = match table.get("keep") {
        Some(value) => {
            let keep = value.whole(1..=MAX_KEEP)? as u16;
            if max_size.is_none() {
                let message = "`keep` is about older files, and no file ever becomes one";
                return Err(value.fault(message).hint("add: max-size = \"100MiB\""));
            }
            keep
        }
        None => KEEP,
    };
    let log = AccessLog {
        format: match table.get("format") {
            Some(value) => value.choice(&formats)?,
            None => LogFormat::default(),
        },
        path: path.path()?,
        max_size,
        keep,
    };
    Ok((path.span(), log))
}
