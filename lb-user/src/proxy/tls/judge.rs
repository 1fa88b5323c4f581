//! Whether the files that a configuration names for TLS are good, told at their places in it.

use std::time::SystemTime;

use super::server::DAY;
use super::{Part, Unusable, client, server};
use crate::config::{ConfigError, Parsed, Subject, Warning};
use crate::model::proxy::HttpVersion;

/// A certificate that ends within this many days is warned of.
const SOON: u64 = 14;

/// What becomes of a certificate whose time it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// It is refused: there is something better than a configuration with it, the one that runs.
    Refused,
    /// It is warned of: at the start, other services would have to do without this node for its sake.
    Warned,
}

/// Reads everything that `parsed` names for TLS; `now` is in seconds since 1970.
///
/// # Errors
/// The first file that cannot be used.
pub fn judge(parsed: &Parsed, now: u64, dates: Dates) -> Result<Vec<Warning>, ConfigError> {
    let mut warnings = Vec::new();
    for service in &parsed.config.services {
        let Some(proxy) = &service.proxy else { continue };
        let place = |unusable: &Unusable| (subject(&service.name, unusable.part), unusable.to_string());
        let refused = |unusable: Unusable| {
            let (subject, message) = place(&unusable);
            parsed.error_at(&subject, message, unusable.fault.hint())
        };
        if let Some(tls) = &proxy.tls {
            let loaded = server(tls).map_err(refused)?;
            match (loaded.in_date(now), dates) {
                (Ok(()), _) => {}
                (Err(unusable), Dates::Refused) => return Err(refused(unusable)),
                (Err(unusable), Dates::Warned) => {
                    let (subject, message) = place(&unusable);
                    warnings.push(parsed.warning_at(&subject, message, unusable.fault.hint()));
                }
            }
            for (index, certificate) in loaded.certificates.iter().enumerate() {
                let Some(days) = certificate.not_after.checked_sub(now).map(|left| left / DAY) else {
                    continue;
                };
                if days < SOON {
                    let message = format!(
                        "{}: the certificate ends {}",
                        certificate.file.display(),
                        super::ahead(days)
                    );
                    let subject = subject(&service.name, Part::Certificate(index));
                    warnings.push(parsed.warning_at(&subject, message, "renew it"));
                }
            }
        }
        if let Some(tls) = &proxy.upstream.tls {
            client(tls, proxy.upstream.version == HttpVersion::H2).map_err(refused)?;
        }
    }
    Ok(warnings)
}

/// Seconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "certificates and tickets end by it")]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn subject(service: &str, part: Part) -> Subject {
    let name = service.to_owned();
    match part {
        Part::Certificate(index) => Subject::Certificate(name, index),
        Part::Key(index) => Subject::CertificateKey(name, index),
        Part::ClientCa => Subject::ClientCa(name),
        Part::BackendCa => Subject::UpstreamCa(name),
    }
}
