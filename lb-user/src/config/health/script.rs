//! `kind = "script"`.

use super::super::fault::{Checked, fault};
use super::super::raw::Table;
use crate::model::ScriptProbe;

pub(super) const KEYS: &[&str] = &["command", "dynamic-weight"];

pub(super) fn probe(health: &Table<'_>) -> Checked<ScriptProbe> {
    let command = health.require("command", "[\"/usr/local/bin/check\"]")?;
    let words = command.strings()?;
    if let Some((span, _)) = words.iter().find(|(_, word)| word.contains('\0')) {
        return Err(fault(span.clone(), "a word of a command contains a zero byte"));
    }
    let Some(((span, program), arguments)) = words.split_first() else {
        return Err(command
            .fault("no command is named")
            .hint("such as [\"/usr/local/bin/check\"]"));
    };
    if !program.starts_with('/') {
        let message = "the program of a command must be an absolute path";
        let hint = "no shell reads it; to have one, write [\"/bin/sh\", \"-c\", \"...\"]";
        return Err(fault(span.clone(), message).hint(hint));
    }
    let dynamic_weight = health.get("dynamic-weight");
    Ok(ScriptProbe {
        program: program.into(),
        arguments: arguments.iter().map(|(_, word)| (*word).to_owned()).collect(),
        dynamic_weight: dynamic_weight.map_or(Ok(false), |value| value.boolean())?,
    })
}
