use std::path::PathBuf;

use super::super::tests::{FILE, facts};
use super::*;
use crate::api::types::Protection as Shown;
use crate::model::peers::{Peer, Peers};

fn parsed(protection: &str) -> Config {
    let parsed = crate::config::parse("test.toml", &format!("{FILE}{protection}"));
    parsed.unwrap_or_else(|error| panic!("{error}")).config
}

/// What is found of a node that has 10.0.0.1.
fn found(config: &Config) -> Vec<(Level, String)> {
    let mut facts = facts();
    facts.addresses = ["10.0.0.1", "fe80::1"].map(|ip| ip.parse().unwrap()).into();
    let findings = all(config, &facts).into_iter();
    findings.map(|finding| (finding.level, finding.cause)).collect()
}

#[test]
fn whoever_belongs_to_the_network_is_named_with_the_prefix() {
    let note = |text: &str| (Level::Note, text.to_owned());
    assert_eq!(found(&parsed("")), []);
    let elsewhere = "[protection]\nbogons = true\ndeny = [\"198.51.100.0/24\"]\n";
    assert_eq!(found(&parsed(elsewhere)), []);
    assert_eq!(
        found(&parsed("[protection]\nallow = [\"10.0.0.0/28\"]\ndeny = [\"all\"]\n")),
        [note(
            "web/web2 cannot be a client of a VIP: ::/0 in `deny` of [protection] holds 2001:db8::6"
        )]
    );
    let mut config = parsed("[protection]\ndeny = [\"10.0.0.0/8\", \"::/0\"]\n");
    config.peers = Some(Peers {
        own: "10.0.0.1:8473".parse().unwrap(),
        others: vec![Peer {
            name: "lb2".into(),
            address: "10.0.0.2:8473".parse().unwrap(),
        }],
        key_file: PathBuf::new(),
    });
    assert_eq!(
        found(&config),
        [
            (
                Level::Warning,
                "the node's own network is refused: 10.0.0.0/8 in `deny` of [protection] holds 10.0.0.1; so are routers \
                 there that say that packets are too big"
                    .to_owned()
            ),
            note("web/web1 and 1 more cannot be a client of a VIP: 10.0.0.0/8 in `deny` of [protection] holds 10.0.0.6"),
            note("peer lb2 cannot be a client of a VIP: 10.0.0.0/8 in `deny` of [protection] holds 10.0.0.2"),
        ]
    );
    // Its lists are of one service alone.
    assert_eq!(found(&parsed("[service.protection]\ndeny = [\"all\"]\n")), []);
}

#[test]
fn whoever_only_observes_is_told_so() {
    for (protection, who) in [
        (
            "[protection]\nenforcement = \"observe\"\n",
            "[protection] only observes",
        ),
        (
            "[service.protection]\nenforcement = \"observe\"\n",
            "protection of 1 service only observes",
        ),
    ] {
        let expected = format!("{who}: nothing is dropped, it is counted");
        assert_eq!(found(&parsed(protection)), [(Level::Note, expected)]);
    }
}

#[test]
fn limits_that_had_no_room_are_told() {
    let mut facts = facts();
    let refused = Refused {
        dropped: [].into(),
        observed: [].into(),
        cookies_answered: 0,
        cookies_accepted: 0,
        sources_evicted: 3,
    };
    let status = facts.daemon.as_mut().unwrap();
    status.services[0].protection = Some(crate::api::types::ServiceProtection {
        enforcement: "enforce".to_owned(),
        refused: refused.clone(),
    });
    status.protection = Some(Shown {
        enforcement: "enforce".to_owned(),
        prefixes: 0,
        addresses: refused,
    });
    let findings = all(&parsed("[protection]\n"), &facts);
    assert_eq!((findings.len(), findings[0].level), (1, Level::Warning));
    assert!(findings[0].cause.starts_with("6 times a source"), "{findings:?}");
}
