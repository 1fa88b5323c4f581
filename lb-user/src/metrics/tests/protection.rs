//! What is kept from services.

use super::*;
use crate::model::Enforcement;
use crate::model::refused::{ProtectionStatus, Refused, ServiceProtectionStatus};

pub(super) fn protected(mut service: ServiceStatus, enforcement: Enforcement) -> ServiceStatus {
    service.protection = Some(ServiceProtectionStatus {
        enforcement,
        refused: Refused::example(),
    });
    service
}

pub(super) fn all() -> ProtectionStatus {
    ProtectionStatus {
        enforcement: Enforcement::Enforce,
        prefixes: 1_000_003,
        addresses: Refused::example(),
    }
}

#[test]
fn only_what_is_protected_has_series() {
    let lines = |status: Status| -> Vec<String> {
        let text = encoded(status, Format::Text);
        let own = text.lines().filter(|line| line.starts_with("fulcrum_protection_"));
        own.map(str::to_owned).collect()
    };
    let bare = || service("bare", Vec::new());
    assert_eq!(lines(status(vec![bare()])), Vec::<String>::new());

    let proxied = ServiceStatus {
        mode: Mode::Proxy,
        ..service("shop", Vec::new())
    };
    let services = vec![
        protected(service("web", Vec::new()), Enforcement::Observe),
        bare(),
        protected(proxied, Enforcement::Enforce),
    ];
    let made = lines(Status {
        protection: Some(all()),
        ..status(services)
    });
    let reasons = [
        "tcp_flags",
        "land",
        "bogon",
        "denied",
        "connection_rate",
        "packet_rate",
        "icmp_rate",
        "syn_cookie",
    ];
    let mut expected: Vec<String> = [("", 1), ("web", 0), ("shop", 1)]
        .map(|(service, is)| format!("fulcrum_protection_enforced{{service=\"{service}\"}} {is}"))
        .into();
    expected.push("fulcrum_protection_prefixes 1000003".to_owned());
    for (family, first, step) in [("refused", 0, 10), ("observed", 7, -1)] {
        for service in ["", "web", "shop"] {
            expected.extend(reasons.iter().zip(0..).map(|(reason, place)| {
                let count = first + step * place;
                format!(
                    "fulcrum_protection_{family}_packets_total{{service=\"{service}\",reason=\"{reason}\"}} {count}"
                )
            }));
        }
    }
    for (what, count) in [("sent", 1_000), ("accepted", 300)] {
        expected.push(format!(
            "fulcrum_protection_syn_cookies_{what}_total{{service=\"shop\"}} {count}"
        ));
    }
    expected.extend(
        ["", "web", "shop"]
            .map(|service| format!("fulcrum_protection_sources_evicted_total{{service=\"{service}\"}} 12")),
    );
    assert_eq!(made, expected);
}
