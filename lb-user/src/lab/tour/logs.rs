//! Servers' access logs, as a step has changed them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use regex::bytes::Regex;

use super::Tour;
use crate::lab::file::action::{Action, Logs};
use crate::lab::file::raw::Step;
use crate::lab::report;
use crate::lab::state::Lab;

/// How long files were when a step began, in bytes.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<PathBuf, usize>);

impl Ends {
    /// Of the files that the step will look at.
    pub(super) fn now(lab: &Lab, step: &Step) -> Self {
        let logs = step.actions.iter().filter_map(|action| match action {
            Action::Logs(logs) => Some(logs),
            _ => None,
        });
        let files = logs.flat_map(|logs| logs.spread.keys().map(|host| lab.host(host).join(&logs.file)));
        Self(
            files
                .map(|file| {
                    (
                        file.clone(),
                        fs::metadata(&file).map_or(0, |found| found.len() as usize),
                    )
                })
                .collect(),
        )
    }
}

impl Tour<'_> {
    pub(super) fn logs(&mut self, logs: &Logs) -> anyhow::Result<()> {
        let like = logs.like.as_ref().map(|like| Regex::new(like.get_ref())).transpose()?;
        let mut lines = BTreeMap::new();
        self.say(&format!("   Lines that {} has got in this step:", logs.file));
        for host in logs.spread.keys() {
            let file = self.lab.host(host).join(&logs.file);
            // One that is not there yet has no lines.
            let text = fs::read(&file).unwrap_or_default();
            let from = self.log_ends.0.get(&file).copied().unwrap_or(0).min(text.len());
            let new = text[from..]
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty());
            let counted = new.filter(|line| like.as_ref().is_none_or(|like| like.is_match(line)));
            lines.insert(host.clone(), counted.count() as u64);
        }
        self.say(&report::spread(&lines, Some(&logs.spread)));
        for why in report::implausible(&lines, &logs.spread, logs.off_by) {
            self.expect(false, || format!("{}: {why}", logs.file));
        }
        Ok(())
    }
}
