//! What protection says of flows, and of what it has refused.

use std::str::FromStr as _;

use lb_common::protect::{ADDRESSES, Refusals, place};
use lb_common::stats::DropReason;

use super::*;
use crate::model::Enforcement;
use crate::model::judgement::{Judgement, List, Quota, Rule};
use crate::model::protection::Deny;
use crate::model::status::Explained;

const ALL: &str = r#"
[protection]
bogons = true
allow = ["203.0.113.128/25"]
deny = ["203.0.113.0/24"]
exempt = ["198.51.100.64/26"]
connections-per-second = { limit = 1000, burst = 2000 }
packets-per-second = { limit = 50000, per = "/24" }
"#;

const OWN: &str = r#"
[service.protection]
deny = ["203.0.113.192/26", "198.51.100.0/26"]
connections-per-second = { limit = 20, per-ipv6 = "/48" }
"#;

/// [`ONE`], protected so, with a service beside it that has nothing of its own.
fn toml(all: &str, own: &str) -> String {
    let (head, service) = ONE.split_once("[[service.backend]]").unwrap();
    let plain = "[[service]]\nname = \"plain\"\naddress = \"192.0.2.30:53\"\nprotocol = \"udp\"\nmode = \"dsr\"\n";
    format!("{head}{own}[[service.backend]]{service}{plain}{all}")
}

async fn running(toml: &str) -> Reconciler<Fake, Node> {
    let mut reconciler = attached(Fake::default(), Node::default(), well(toml), SEED);
    assert!(reconciler.converge().await);
    reconciler
}

fn query(source: &str, destination: &str) -> FlowQuery {
    let source = IpAddr::from_str(source).unwrap();
    let destination: std::net::SocketAddr = destination.parse().unwrap();
    FlowQuery {
        protocol: if destination.port() == 53 {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
        source: (source, 40000).into(),
        destination,
    }
}

fn rule(list: List, service: Option<&str>, prefix: &str) -> Rule {
    Rule {
        list,
        service: service.map(Into::into),
        prefix: prefix.parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_that_decides_is_named() {
    let mut reconciler = running(&toml(ALL, OWN)).await;
    let deny = |prefix: &str, service: Option<&str>| Deny {
        prefix: prefix.parse().unwrap(),
        service: service.map(Into::into),
        until: None,
    };
    let denies = [deny("203.0.113.200/32", None), deny("198.51.100.200/32", Some("plain"))];
    reconciler.denies = denies.into_iter().collect();
    reconciler.installed = None;
    assert!(reconciler.converge().await);
    let (web, plain, undeclared) = ("192.0.2.10:80", "192.0.2.30:53", "192.0.2.10:81");
    let (denied, bogon) = (Some(DropReason::Denied), Some(DropReason::Bogon));
    for (source, destination, refused, by) in [
        ("198.51.100.100", web, None, None),
        (
            "203.0.113.1",
            web,
            denied,
            Some(rule(List::Deny, None, "203.0.113.0/24")),
        ),
        (
            "203.0.113.130",
            web,
            None,
            Some(rule(List::Allow, None, "203.0.113.128/25")),
        ),
        // What is allowed to all is denied by one.
        (
            "203.0.113.193",
            web,
            denied,
            Some(rule(List::Deny, Some("web"), "203.0.113.192/26")),
        ),
        (
            "203.0.113.193",
            plain,
            None,
            Some(rule(List::Allow, None, "203.0.113.128/25")),
        ),
        (
            "198.51.100.1",
            web,
            denied,
            Some(rule(List::Deny, Some("web"), "198.51.100.0/26")),
        ),
        ("198.51.100.1", plain, None, None),
        // At run time what the file allows is denied, to all or to one.
        (
            "203.0.113.200",
            plain,
            denied,
            Some(rule(List::RunTime, None, "203.0.113.200/32")),
        ),
        (
            "198.51.100.200",
            plain,
            denied,
            Some(rule(List::RunTime, Some("plain"), "198.51.100.200/32")),
        ),
        ("198.51.100.200", web, None, None),
        ("127.0.0.1", plain, bogon, Some(rule(List::Bogons, None, "127.0.0.0/8"))),
        // Where no service is, the lists of all decide.
        (
            "203.0.113.1",
            undeclared,
            denied,
            Some(rule(List::Deny, None, "203.0.113.0/24")),
        ),
        ("198.51.100.1", undeclared, None, None),
        // From where it is sent to.
        ("192.0.2.10", web, Some(DropReason::Land), None),
        ("192.0.2.10", undeclared, None, None),
    ] {
        let Explained { explanation, judgement } = reconciler.explained(&query(source, destination));
        let judgement = judgement.unwrap();
        assert_eq!(
            (judgement.refused, judgement.by),
            (refused, by),
            "{source} to {destination}"
        );
        let service = [(web, "web"), (plain, "plain")]
            .into_iter()
            .find(|(vip, _)| *vip == destination);
        match refused {
            Some(reason) => assert_eq!(
                explanation,
                Explanation::Refused {
                    service: service.map(|(_, name)| name.into()),
                    reason
                }
            ),
            None => assert!(!matches!(explanation, Explanation::Refused { .. }), "{explanation:?}"),
        }
    }
    // Nobody judges what is for no VIP.
    assert_eq!(
        reconciler.explained(&query("203.0.113.1", "192.0.2.99:80")).judgement,
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_that_count_the_source() {
    let reconciler = running(&toml(ALL, OWN)).await;
    let judged = |source, destination| reconciler.explained(&query(source, destination)).judgement.unwrap();
    let packets = |service: Option<&str>| Quota {
        rate: 50_000,
        burst: 50_000,
        length: 24,
        service: service.map(Into::into),
    };
    assert_eq!(
        judged("198.51.100.200", "192.0.2.10:80"),
        Judgement {
            enforcement: Enforcement::Enforce,
            refused: None,
            by: None,
            exempt: None,
            connections: Some(Quota {
                rate: 20,
                burst: 20,
                length: 32,
                service: Some("web".into()),
            }),
            packets: Some(packets(None)),
            syn_cookies: None,
        }
    );
    let udp = judged("198.51.100.200", "192.0.2.30:53");
    assert_eq!((udp.connections, udp.packets), (None, Some(packets(None))));
    let exempt = judged("198.51.100.100", "192.0.2.10:80");
    assert_eq!((exempt.connections, exempt.packets), (None, None));
    assert_eq!(exempt.exempt, Some(rule(List::Exempt, None, "198.51.100.64/26")));
    // Who is refused is not counted.
    let refused = judged("203.0.113.1", "192.0.2.10:80");
    assert_eq!((refused.connections, refused.packets), (None, None));
    let undeclared = judged("198.51.100.200", "192.0.2.10:81");
    assert_eq!((undeclared.connections, undeclared.packets), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_observed_goes_on() {
    let observed = ALL.replace("bogons", "enforcement = \"observe\"\nbogons");
    let own = OWN.replace("deny", "enforcement = \"enforce\"\ndeny");
    let reconciler = running(&toml(&observed, &own)).await;
    let Explained { explanation, judgement } = reconciler.explained(&query("203.0.113.1", "192.0.2.30:53"));
    let judgement = judgement.unwrap();
    assert_eq!(
        (judgement.enforcement, judgement.refused),
        (Enforcement::Observe, Some(DropReason::Denied))
    );
    assert!(!matches!(explanation, Explanation::Refused { .. }), "{explanation:?}");
    let undeclared = reconciler.explained(&query("203.0.113.1", "192.0.2.10:81"));
    assert_eq!(undeclared.explanation, Explanation::Undeclared { dropped: true });
    assert_eq!(undeclared.judgement.unwrap().enforcement, Enforcement::Observe);
    let web = reconciler.explained(&query("203.0.113.1", "192.0.2.10:80"));
    assert!(matches!(web.explanation, Explanation::Refused { .. }), "{web:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_that_are_protected_have_numbers() {
    let counted = |reconciler: &Reconciler<Fake, Node>| {
        let services = reconciler.status().services.into_iter();
        let each = services.map(|service| service.protection.map(|p| (p.enforcement, p.refused.dropped())));
        each.collect::<Vec<_>>()
    };
    let mut reconciler = running(&toml("", OWN)).await;
    let web = reconciler.carried.placement.decisions[0].unwrap();
    let refused = Refusals {
        refused: [1, 0, 0, 5, 0, 0, 0, 0],
        ..Refusals::default()
    };
    reconciler.dataplane.refusals.insert(place(web), refused);
    reconciler.dataplane.refusals.insert(ADDRESSES, refused);
    assert_eq!(counted(&reconciler), [Some((Enforcement::Enforce, 6)), None]);
    let all = reconciler.status().protection.unwrap();
    assert_eq!(
        (all.enforcement, all.prefixes, all.addresses.dropped()),
        (Enforcement::Enforce, 2, 6)
    );

    let observed = ALL.replace("bogons", "enforcement = \"observe\"\nbogons");
    reconciler.facts.reconfigure(config(&toml(&observed, OWN)));
    assert!(reconciler.converge().await);
    let observes = |packets| Some((Enforcement::Observe, packets));
    assert_eq!(counted(&reconciler), [observes(6), observes(0)]);
    reconciler.facts.reconfigure(config(&toml("", "")));
    assert!(reconciler.converge().await);
    assert_eq!(counted(&reconciler), [None, None]);
    assert!(reconciler.status().protection.is_none());
}
