//! `fulcrum check`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::acme;
use crate::api::token;
use crate::config::{self, Parsed, Subject, Warning};
use crate::model::{Config, count};
use crate::net::Net;
use crate::process::{self, User};
use crate::proxy::tls::{self, Dates};

/// Validates the file at `path`, the files of TLS and the token that it names, and the user of its programs. Interfaces that this machine lacks are
/// warnings only: files are checked on other machines too.
pub(super) async fn run(path: &Path) -> Result<ExitCode> {
    let parsed = config::load(path)?;
    let judged =
        token::read(&parsed).and_then(|(_, warning)| Ok((warning, tls::judge(&parsed, tls::now(), Dates::Refused)?)));
    let judged = judged.and_then(|judged| acme::judge(&parsed).map(|()| judged));
    let judged = judged.and_then(|judged| User::of(&parsed).map(|_| judged));
    let mut open = config::open_secrets(&parsed);
    open.extend(process::warnings(&parsed));
    let missing = missing_interfaces(&parsed).await;
    let of_files = judged
        .iter()
        .flat_map(|(of_token, of_tls)| of_token.iter().chain(of_tls));
    for warning in parsed.warnings.iter().chain(&missing).chain(&open).chain(of_files) {
        eprintln!("{}", warning.render(super::colors(&io::stderr())));
    }
    judged?;
    let services = &parsed.config.services;
    let backends: usize = services.iter().map(|s| s.backends.len()).sum();
    let pools = services.iter().filter(|service| service.is_pool()).count();
    let among = match pools {
        0 => String::new(),
        pools => format!("{}, ", count(pools, "pool")),
    };
    super::print(&format!(
        "{}: ok: {}, {among}{}\n",
        path.display(),
        count(services.len() - pools, "service"),
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
    let Config { node, routers, .. } = &parsed.config;
    let own = node
        .interfaces
        .iter()
        .map(|name| (name.as_str(), Subject::Interface(name.clone())));
    let of_routers = routers
        .iter()
        .map(|router| (&*router.interface, Subject::VrrpInterface(router.name.to_string())));
    // Once for each, where it stands first.
    let mut seen = BTreeSet::new();
    let missing = own
        .chain(of_routers)
        .filter(|(name, _)| !links.iter().any(|l| l.name == *name) && seen.insert(*name));
    let warning = |(name, subject): (&str, Subject)| {
        let message = format!("this machine has no interface `{name}`");
        parsed.warning_at(&subject, message, "`fulcrum run` needs it")
    };
    missing.map(warning).collect()
}
