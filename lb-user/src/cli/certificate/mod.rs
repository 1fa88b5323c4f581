//! `fulcrum certificate list`, `renew`, `revoke` and `import`.

mod args;
mod import;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use super::args::Asked;
use super::status::client;
use super::table::columns;
use crate::api::types::OrderedCertificate;
use crate::config::duration;
use crate::model::date;
pub(super) use args::Certificate;
use args::{Certificate as Args, CertificateImport, CertificateRenew, CertificateRevoke};

/// Between two looks at an order that was begun.
const LOOK: Duration = Duration::from_millis(500);

/// Longer than an order takes at most.
const PATIENCE: Duration = Duration::from_secs(6 * 60);

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    match args {
        Args::List(args) => list(args).await,
        Args::Renew(args) => renew(args).await,
        Args::Revoke(args) => revoke(args).await,
        Args::Import(args) => import(args).await,
    }
}

async fn list(args: &Asked) -> Result<ExitCode> {
    let all = client(&args.daemon)?.certificates().await?;
    super::show(args.json, &all, |all| listed(&all.certificates, now()))?;
    Ok(ExitCode::SUCCESS)
}

async fn renew(args: &CertificateRenew) -> Result<ExitCode> {
    let client = client(&args.asked.daemon)?;
    let service = &args.service;
    if args.account_key {
        let done = client.roll_account_key(service).await?;
        let said = format!("{service}: the account with {} has another key\n", done.directory);
        return shown(args.asked.json, &done, said);
    }
    let begun = client.renew_certificate(service).await?;
    let end = Instant::now() + PATIENCE;
    let done = loop {
        let all = client.certificates().await?.certificates;
        let Some(one) = all.into_iter().find(|one| one.service == *service) else {
            bail!("{service}: the file does not order its certificate any more");
        };
        if one.attempts > begun.attempts {
            break one;
        }
        if one.doing == "elsewhere" {
            bail!("{service}: another node orders its certificate now: ask there");
        }
        if Instant::now() >= end {
            bail!("{service}: the order has not come to an end; `fulcrum certificate list` says what becomes of it");
        }
        sleep(LOOK).await;
    };
    if let Some(error) = &done.last_error {
        let serves = if done.origin == "issued" {
            "the last one serves on"
        } else {
            "a stand-in serves"
        };
        bail!("no new certificate, {serves}: {error}");
    }
    let said = format!("{service}: {}\n", serves(&done, now()));
    shown(args.asked.json, &done, said)
}

async fn revoke(args: &CertificateRevoke) -> Result<ExitCode> {
    let done = client(&args.asked.daemon)?
        .revoke_certificate(&args.service, &args.reason)
        .await?;
    let said = format!(
        "{}: its certificate is taken back; another one is being ordered\n",
        args.service
    );
    shown(args.asked.json, &done, said)
}

async fn import(args: &CertificateImport) -> Result<ExitCode> {
    let client = client(&args.asked.daemon)?;
    let all = client.certificates().await?.certificates;
    let domains = all
        .iter()
        .find(|one| one.service == args.service)
        .map(|one| &*one.domains);
    let pem = import::read(&args.from, args.key.as_deref(), domains.unwrap_or_default())?;
    let done = client.import_certificate(&args.service, &pem).await?;
    let said = format!("{}: {}\n", args.service, serves(&done, now()));
    shown(args.asked.json, &done, said)
}

fn shown(json: bool, done: &OrderedCertificate, said: String) -> Result<ExitCode> {
    super::show(json, done, |_| said)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(all: &[OrderedCertificate], now: u64) -> String {
    if all.is_empty() {
        return "no certificate is ordered: `acme` in [service.tls] does so\n".to_owned();
    }
    let head = ["SERVICE", "DOMAINS", "SERVES", "NEXT"].map(str::to_owned).to_vec();
    let row = |one: &OrderedCertificate| {
        vec![
            one.service.clone(),
            one.domains.join(", "),
            serves(one, now),
            upcoming(one, now),
        ]
    };
    let mut rows = vec![head];
    rows.extend(all.iter().map(row));
    let mut text = columns(&rows, &[]);
    for one in all {
        if let Some(error) = &one.last_error {
            text += &format!("{}: NO NEW CERTIFICATE: {error}\n", one.service);
        }
    }
    text
}

/// What clients get.
pub(super) fn serves(one: &OrderedCertificate, now: u64) -> String {
    match one.not_after {
        None => "a stand-in, which nobody believes".to_owned(),
        Some(end) if end < now => format!("one that has EXPIRED, at {}", time(end)),
        Some(end) => format!("until {}, {}", time(end), left(end, now)),
    }
}

/// What comes next.
pub(super) fn upcoming(one: &OrderedCertificate, now: u64) -> String {
    match (one.doing.as_str(), one.renew_at) {
        ("ordering", _) => "is being ordered".to_owned(),
        ("elsewhere", _) | (_, None) => "another node orders".to_owned(),
        (_, Some(at)) if at <= now => "is due".to_owned(),
        (_, Some(at)) if one.failures > 0 => format!("tried again {}", left(at, now)),
        (_, Some(at)) => format!("renewed {}", left(at, now)),
    }
}

fn left(at: u64, now: u64) -> String {
    let left = at.saturating_sub(now);
    // Nobody counts seconds of days.
    let rough = match left {
        0..3_600 => left,
        3_600..172_800 => left / 60 * 60,
        _ => left / 3_600 * 3_600,
    };
    format!("in {}", duration::format(Duration::from_secs(rough)))
}

fn time(second: u64) -> String {
    date::rfc3339(UNIX_EPOCH + Duration::from_secs(second))
}

#[expect(clippy::disallowed_methods, reason = "what is left is only shown")]
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acme::CertificateStatus;

    #[test]
    fn a_list_says_what_serves_and_what_comes() {
        let one = OrderedCertificate::from(CertificateStatus::example());
        let stand_in = OrderedCertificate {
            service: "api".to_owned(),
            domains: vec!["api.example".to_owned()],
            not_after: None,
            doing: "ordering".to_owned(),
            last_error: None,
            ..one.clone()
        };
        assert_eq!(
            listed(&[one, stand_in], 1_795_184_000 - 90_000),
            "SERVICE  DOMAINS                         SERVES                               NEXT\n\
             web      shop.example, www.shop.example  until 2026-12-20T14:13:20Z, in 745h  tried again in 25h\n\
             api      api.example                     a stand-in, which nobody believes    is being ordered\n\
             web: NO NEW CERTIFICATE: shop.example, step challenge: connection refused (connection)\n"
        );
        assert!(listed(&[], 0).starts_with("no certificate is ordered"));
    }

    #[test]
    fn what_has_expired_is_said() {
        let one = OrderedCertificate::from(CertificateStatus::example());
        assert_eq!(
            serves(&one, 1_797_776_001),
            "one that has EXPIRED, at 2026-12-20T14:13:20Z"
        );
        let elsewhere = OrderedCertificate {
            renew_at: None,
            doing: "elsewhere".to_owned(),
            ..one
        };
        assert_eq!(upcoming(&elsewhere, 0), "another node orders");
    }
}
