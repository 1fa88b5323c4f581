//! `fulcrum check`.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::config::{self, Parsed, Subject, Warning};
use crate::model::count;
use crate::net::Net;

/// Validates the file at `path`. An interface that this machine lacks is a warning only: files are checked on other
/// machines too.
pub(super) async fn run(path: &Path) -> Result<ExitCode> {
    let parsed = config::load(path)?;
    for warning in parsed.warnings.iter().chain(&missing_interfaces(&parsed).await) {
        eprintln!("{}", warning.render(super::colors(&io::stderr())));
    }
    let services = &parsed.config.services;
    let backends: usize = services.iter().map(|s| s.backends.len()).sum();
    super::print(&format!(
        "{}: ok: {}, {}\n",
        path.display(),
        count(services.len(), "service"),
        count(backends, "backend")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A warning for each interface that is not here; none when the kernel does not say.
async fn missing_interfaces(parsed: &Parsed) -> Vec<Warning> {
    let Ok(net) = Net::here() else { return Vec::new() };
    let Ok(links) = net.links().await else {
        return Vec::new();
    };
    let missing = parsed
        .config
        .node
        .interfaces
        .iter()
        .filter(|&name| !links.iter().any(|l| l.name == *name));
    let warning = |name: &String| {
        let message = format!("this machine has no interface `{name}`");
        parsed.warning_at(&Subject::Interface(name.clone()), message, "`fulcrum run` needs it")
    };
    missing.map(warning).collect()
}
