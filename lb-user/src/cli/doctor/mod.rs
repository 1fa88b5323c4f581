//! `fulcrum doctor`: what is wrong here, why, and what to do about it.

mod facts;
mod judge;
mod listener;
mod paths;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use super::args::Doctor as Args;
use crate::config;
use crate::net::hosts::look_up;
use facts::Facts;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// As it should be.
    Fine,
    /// Good to know.
    Note,
    /// Works, but not as it should, or not for long.
    Warning,
    /// Traffic is lost, or would be.
    Failure,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// What it is about: an interface, a service, a backend.
    subject: String,
    /// What is so, and why.
    cause: String,
    /// What to do about it; empty where nothing is to be done.
    remedy: String,
}

impl Finding {
    fn new(level: Level, subject: impl Into<String>, cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at the node, and says what it has found: worst last, where the eye is. Exit code 1 when traffic is lost.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let parsed = config::load(&args.file.config)?;
    let file = Arc::new(parsed.config);
    let hosts = look_up(config::hosts::names(&file)).await;
    let config = config::hosts::resolve(&file, &hosts, &file);
    let facts = Facts::gather(&config).await?;
    let mut findings = judge::all(&config, &facts);
    findings.sort_by_key(|finding| finding.level);
    super::show(args.json, &findings, |findings| text(findings))?;
    let lost = findings.iter().any(|finding| finding.level == Level::Failure);
    Ok(if lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line of cause, and one of remedy.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding {
        level,
        subject,
        cause,
        remedy,
    } in findings
    {
        let label = match level {
            Level::Fine => "ok   ",
            Level::Note => "note ",
            Level::Warning => "warn ",
            Level::Failure => "FAIL ",
        };
        let _ = writeln!(text, "{label} {subject}: {cause}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "       {remedy}");
        }
    }
    let count = |wanted| findings.iter().filter(|finding| finding.level == wanted).count();
    let (failures, warnings) = (count(Level::Failure), count(Level::Warning));
    let _ = match (failures, warnings) {
        (0, 0) => writeln!(text, "\nNothing is wrong."),
        (0, warnings) => writeln!(text, "\nNo traffic is lost; {warnings} to be looked at."),
        (failures, _) => writeln!(
            text,
            "\n{failures} that traffic is lost for, {warnings} more to be looked at."
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines() {
        let findings = [
            Finding::new(Level::Fine, "kernel", "Linux 6.18", ""),
            Finding::new(
                Level::Failure,
                "eth1",
                "there is no such interface",
                "name one that `ip link` shows",
            ),
        ];
        let expected = "ok    kernel: Linux 6.18\nFAIL  eth1: there is no such interface\n       name one that `ip link` \
                        shows\n\n1 that traffic is lost for, 0 more to be looked at.\n";
        assert_eq!(text(&findings), expected);
        assert!(text(&findings[..1]).ends_with("\nNothing is wrong.\n"));
    }
}
