//! `[[vrrp.track]]`, and programs that virtual routers run.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use std::num::NonZeroU32;

use super::super::fault::{Checked, Span, fault};
use super::super::health::{MAX_STREAK, count_of};
use super::super::raw::{Table, Value, excerpt};
use crate::model::vrrp::{Occasion, Program, Script, Track, Tracked};

/// Limits of `interval` and `timeout` of a script.
const SCRIPT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

/// Largest change of a priority.
const MAX_WEIGHT: i16 = 253;

/// What means something to a shell, and nothing to whoever splits a line at its blanks.
const OF_SHELLS: [char; 10] = ['\'', '"', '\\', '`', '$', '|', '&', ';', '<', '>'];

pub(super) fn occasions(value: &Value<'_>) -> Checked<BTreeMap<Occasion, Arc<Program>>> {
    let mut programs = BTreeMap::new();
    for (span, word, value) in value.entries("notify = { master = \"/etc/fulcrum/on-master\" }")? {
        let Some(occasion) = Occasion::ALL.into_iter().find(|occasion| occasion.label() == word) else {
            let message = format!("unknown key `{}` in notify", excerpt(word));
            return Err(fault(span, message).hint("notify takes: master, backup, fault, stop"));
        };
        programs.insert(occasion, Arc::new(program(&value)?));
    }
    Ok(programs)
}

/// A line of words, or a list of them.
fn program(value: &Value<'_>) -> Checked<Program> {
    let words: Vec<(Span, &str)> = match value.text() {
        Some(line) => {
            if let Some(c) = line.chars().find(|c| OF_SHELLS.contains(c)) {
                let message = format!("no shell reads this line, and `{c}` is for shells");
                let hint = "write a list of words, or start a shell: [\"/bin/sh\", \"-c\", \"...\"]";
                return Err(value.fault(message).hint(hint));
            }
            line.split_whitespace().map(|word| (value.span(), word)).collect()
        }
        None => value.string_or_strings()?,
    };
    if let Some((span, _)) = words.iter().find(|(_, word)| word.contains('\0')) {
        return Err(fault(span.clone(), "a word of a command contains a zero byte"));
    }
    let Some(((span, path), arguments)) = words.split_first().filter(|((_, path), _)| !path.is_empty()) else {
        return Err(value
            .fault("no program is named")
            .hint("such as \"pidof nginx\" or [\"pidof\", \"nginx\"]"));
    };
    if path.contains('/') && !path.starts_with('/') {
        let hint = "begin with a slash; a name without any is looked for in the system's folders";
        return Err(fault(span.clone(), "the path of a program must be absolute").hint(hint));
    }
    Ok(Program {
        path: path.into(),
        arguments: arguments.iter().map(|(_, word)| (*word).to_owned()).collect(),
    })
}

/// With the place of what is tracked.
pub(super) fn track(table: &Table<'_>) -> Checked<(Span, Track)> {
    const KINDS: [&str; 4] = ["script", "interface", "service", "file"];
    let mut said: Vec<Value<'_>> = KINDS.iter().filter_map(|&kind| table.get(kind)).collect();
    said.sort_by_key(|value| value.span().start);
    let value = match &said[..] {
        [value] => value,
        [] => {
            let message = "[[vrrp.track]] does not say what is tracked";
            return Err(fault(table.span.clone(), message).hint("add one of: script, interface, service, file"));
        }
        [first, second, ..] => {
            let message = format!("`{}` and `{}` stand in one [[vrrp.track]]", first.key(), second.key());
            return Err(second
                .fault(message)
                .other(first.span(), "tracked, too")
                .hint("write a [[vrrp.track]] for each"));
        }
    };
    let kind = value.key();
    if kind != "script" {
        let of_scripts = ["interval", "timeout", "rise", "fall"]
            .into_iter()
            .filter_map(|key| table.get(key));
        if let Some(value) = of_scripts.min_by_key(|value| value.span().start) {
            let message = format!("`{}` is for `script`, and this tracks `{kind}`", value.key());
            return Err(value
                .fault(message)
                .hint("remove it: what is no script is watched all the time"));
        }
    }
    let weight = match table.get("weight") {
        Some(weight) => weight.signed(-MAX_WEIGHT..=MAX_WEIGHT)?,
        None => 0,
    };
    let subject = match kind {
        "script" => Tracked::Script(script(table, value)?),
        "interface" => Tracked::Interface(super::interface(value)?),
        "service" => Tracked::Service(value.name()?.into()),
        _ => Tracked::File(value.path()?),
    };
    Ok((value.span(), Track { subject, weight }))
}

fn script(table: &Table<'_>, command: &Value<'_>) -> Checked<Script> {
    let interval = match table.get("interval") {
        Some(interval) => interval.duration(SCRIPT)?,
        None => Duration::from_secs(5),
    };
    let timeout = match table.get("timeout") {
        Some(timeout) => {
            let limit = timeout.duration(SCRIPT)?;
            if limit > interval {
                return Err(timeout.fault("`timeout` must not be longer than `interval`"));
            }
            limit
        }
        None => interval,
    };
    Ok(Script {
        program: program(command)?,
        interval,
        timeout,
        rise: count_of(table, "rise", NonZeroU32::MIN, MAX_STREAK)?,
        fall: count_of(table, "fall", NonZeroU32::MIN, MAX_STREAK)?,
    })
}
