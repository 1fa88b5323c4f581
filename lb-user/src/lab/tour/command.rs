//! Command lines of a step, on hosts of the lab.

use std::time::{Duration, Instant};

use anyhow::Context;
use regex::Regex;
use tokio::time::sleep;

use super::{Tour, quoted};
use crate::lab::file::action::Run;
use crate::lab::start;

/// 100 ms between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Lines of what it prints that are shown.
const LINES: usize = 40;

/// Letters of it in a time line.
const LETTERS: usize = 48;

impl Tour<'_> {
    pub(super) async fn command(&mut self, run: &Run) -> anyhow::Result<()> {
        let host = self.host(run.on.get_ref())?;
        let pattern =
            |text: &Option<toml::Spanned<String>>| text.as_ref().map(|text| Regex::new(text.get_ref())).transpose();
        let (expect, never) = (pattern(&run.expect)?, pattern(&run.never)?);
        if !run.silent {
            self.say(&format!("   {}$ {}", &**run.on.get_ref(), run.shell.trim()));
        }
        // What is not shown has no place on a time line either.
        if self.stream.is_some() && !run.silent {
            self.mark(short(run.shell.trim()));
        }
        let begun = Instant::now();
        let deadline = begun + run.within.map_or(Duration::ZERO, |within| within.0);
        let (said, wrong) = loop {
            let mut command = tokio::process::Command::from(start::shell(&host, &run.shell)?);
            let output = command.kill_on_drop(true).output().await.context("running sh")?;
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            let said = said.trim_end().to_owned();
            let wrong = if !output.status.success() && !run.may_fail {
                Some(format!("ends with {}", output.status))
            } else if let Some(expect) = expect.as_ref().filter(|expect| !expect.is_match(&said)) {
                Some(format!("does not say {expect}"))
            } else {
                let said_it = never.as_ref().filter(|never| never.is_match(&said));
                said_it.map(|never| format!("says {never}"))
            };
            if wrong.is_none() || Instant::now() >= deadline {
                break (said, wrong);
            }
            sleep(PAUSE).await;
        };
        if !run.silent || wrong.is_some() {
            let lines: Vec<&str> = said.lines().take(LINES).collect();
            if !lines.is_empty() {
                self.say(&quoted(&lines.join("\n")));
            }
        }
        if !run.silent && run.within.is_some() && wrong.is_none() {
            self.say(&format!("   (after {:.1} s)", begun.elapsed().as_secs_f64()));
        }
        self.expect(wrong.is_none(), || {
            format!(
                "{}$ {} {}",
                &**run.on.get_ref(),
                run.shell.trim(),
                wrong.unwrap_or_default()
            )
        });
        Ok(())
    }
}

/// A command's name in a time line.
fn short(shell: &str) -> String {
    let line = shell.lines().next().unwrap_or("");
    match line.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
