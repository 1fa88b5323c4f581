//! Families of what is kept from services. Where nothing protects them there are no series.
//!
//! The label `service` is empty for packets to VIPs that were for no service.

use std::fmt;

use super::{Family, Kind, Put, Source, Value, truth};
use crate::model::refused::{Refused, RefusedFor};
use crate::model::status::Status;
use crate::model::{Enforcement, Mode};

const SERVICE: &[&str] = &["service"];
const REASON: &[&str] = &["service", "reason"];

/// See the module.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "fulcrum_protection_enforced",
        kind: Kind::Gauge,
        unit: None,
        labels: SERVICE,
        help: "Whether what is refused to the service is dropped (1), or only counted; service is empty for packets that are \
               for none, here and in what follows; missing where nothing protects the service",
        source: Source::Own(|status, put| {
            let enforced = |enforcement| truth(enforcement == Enforcement::Enforce);
            if let Some(protection) = &status.protection {
                put(&[""], enforced(protection.enforcement))?;
            }
            status
                .services
                .iter()
                .try_for_each(|service| match &service.protection {
                    Some(protection) => put(&[&service.name], enforced(protection.enforcement)),
                    None => Ok(()),
                })
        }),
    },
    Family {
        name: "fulcrum_protection_prefixes",
        kind: Kind::Gauge,
        unit: None,
        labels: &[],
        help: "Prefixes in all lists, those that are denied at run time included; missing where nothing protects services",
        source: Source::Own(|status, put| match &status.protection {
            Some(protection) => put(&[], Value::Whole(protection.prefixes as u64)),
            None => Ok(()),
        }),
    },
    Family {
        name: "fulcrum_protection_refused_packets_total",
        kind: Kind::Counter,
        unit: None,
        labels: REASON,
        help: "Packets that were refused and dropped since the maps were made, by reason, zeros included",
        source: Source::Own(|status, put| reasons(status, put, |each| each.dropped)),
    },
    Family {
        name: "fulcrum_protection_observed_packets_total",
        kind: Kind::Counter,
        unit: None,
        labels: REASON,
        help: "Packets that would have been refused while that was only observed, since the maps were made, by reason, zeros \
               included",
        source: Source::Own(|status, put| reasons(status, put, |each| each.observed)),
    },
    Family {
        name: "fulcrum_protection_syn_cookies_sent_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "SYNs that were answered with a cookie since the maps were made; proxy only",
        source: Source::Own(|status, put| cookies(status, put, |refused| refused.answered)),
    },
    Family {
        name: "fulcrum_protection_syn_cookies_accepted_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Connections that a cookie has opened since the maps were made; proxy only",
        source: Source::Own(|status, put| cookies(status, put, |refused| refused.accepted)),
    },
    Family {
        name: "fulcrum_protection_sources_evicted_total",
        kind: Kind::Counter,
        unit: None,
        labels: SERVICE,
        help: "Times that a source that had sent much was forgotten for want of room since the maps were made: limits let more \
               in than they say",
        source: Source::Own(|status, put| {
            each(status, |service, _, refused| {
                put(&[service], Value::Whole(refused.evicted))
            })
        }),
    },
];

fn reasons(status: &Status, put: &mut Put<'_>, count: fn(&RefusedFor) -> u64) -> fmt::Result {
    each(status, |service, _, refused| {
        let mut reasons = refused.reasons.iter();
        reasons.try_for_each(|reason| put(&[service, reason.reason.label()], Value::Whole(count(reason))))
    })
}

fn cookies(status: &Status, put: &mut Put<'_>, count: fn(&Refused) -> u64) -> fmt::Result {
    each(status, |service, mode, refused| match mode {
        Some(Mode::Proxy) => put(&[service], Value::Whole(count(refused))),
        _ => Ok(()),
    })
}

/// What was for no service, and every service that something protects.
fn each(status: &Status, mut put: impl FnMut(&str, Option<Mode>, &Refused) -> fmt::Result) -> fmt::Result {
    if let Some(protection) = &status.protection {
        put("", None, &protection.addresses)?;
    }
    status
        .services
        .iter()
        .try_for_each(|service| match &service.protection {
            Some(protection) => put(&service.name, Some(service.mode), &protection.refused),
            None => Ok(()),
        })
}
