//! Families of certificates that are ordered.

use std::time::SystemTime;

use super::{Family, Kind, Put, Source, Value, truth};
use crate::model::acme::{CertificateStatus, Origin, Step};
use crate::model::status::Status;

const SERVICE: &[&str] = &["service"];

/// See the module.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "fulcrum_acme_issued",
        kind: Kind::Gauge,
        unit: None,
        labels: &["service", "name"],
        help: "Whether an authority has signed the certificate that a service shows and that the node orders (1), or a stand-in \
               serves that the node has signed itself (0), by the first name of the file",
        source: Source::Own(|status, put| {
            each(status, |certificate| {
                let name = certificate.domains.first().map_or("", |domain| &**domain);
                put(
                    &[&certificate.service, name],
                    truth(certificate.origin == Origin::Issued),
                )
            })
        }),
    },
    Family {
        name: "fulcrum_acme_start_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: SERVICE,
        help: "From when it is valid, in seconds since 1970; missing for a stand-in",
        source: Source::Own(|status, put| each(status, |certificate| time(certificate, certificate.not_before, put))),
    },
    Family {
        name: "fulcrum_acme_expiry_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: SERVICE,
        help: "Until when it is valid, in seconds since 1970; missing for a stand-in",
        source: Source::Own(|status, put| each(status, |certificate| time(certificate, certificate.not_after, put))),
    },
    Family {
        name: "fulcrum_acme_renewal_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: SERVICE,
        help: "When this node orders the next one, in seconds since 1970; missing where another node does",
        source: Source::Own(|status, put| each(status, |certificate| time(certificate, certificate.renew_at, put))),
    },
    Family {
        name: "fulcrum_acme_last_attempt_timestamp_seconds",
        kind: Kind::Gauge,
        unit: Some("seconds"),
        labels: SERVICE,
        help: "When this node last tried to get one, in seconds since 1970; missing where it never has",
        source: Source::Own(|status, put| each(status, |certificate| time(certificate, certificate.last_attempt, put))),
    },
    Family {
        name: "fulcrum_acme_failures",
        kind: Kind::Gauge,
        unit: None,
        labels: SERVICE,
        help: "Tries in a row that failed; 0 after one that went well",
        source: Source::Own(|status, put| {
            each(status, |certificate| {
                put(&[&certificate.service], Value::Whole(certificate.failures.into()))
            })
        }),
    },
    Family {
        name: "fulcrum_acme_orders_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Certificates that this node got",
        source: Source::Own(|status, put| {
            each(status, |certificate| {
                put(&[&certificate.service], Value::Whole(certificate.issued))
            })
        }),
    },
    Family {
        name: "fulcrum_acme_errors_total",
        kind: Kind::Counter,
        unit: None,
        labels: &["service", "step"],
        help: "Tries that failed, by the step that did: storage, directory, account, order, challenge, finalise, certificate, or \
               revocation",
        source: Source::Own(|status, put| {
            each(status, |certificate| {
                Step::ALL.iter().try_for_each(|step| {
                    let count = certificate.failed.get(step).copied().unwrap_or_default();
                    put(&[&certificate.service, step.label()], Value::Whole(count))
                })
            })
        }),
    },
];

fn each(status: &Status, put: impl FnMut(&CertificateStatus) -> std::fmt::Result) -> std::fmt::Result {
    status.certificates.iter().try_for_each(put)
}

fn time(certificate: &CertificateStatus, at: Option<SystemTime>, put: &mut Put<'_>) -> std::fmt::Result {
    let second = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    second.map_or(Ok(()), |second| {
        put(&[&certificate.service], Value::Whole(second.as_secs()))
    })
}
