use super::*;

const FILE: &str = r#"
[node]
interfaces = ["eth0"]
[[service]]
name = "dsr"
address = ["192.0.2.10:80", "[2001:db8::10]:80"]
mode = "dsr"
[[service.backend]]
name = "web1"
address = "10.0.0.6:80"
[[service]]
name = "tunnel"
address = "192.0.2.11:80"
mode = "tunnel"
[service.health]
kind = "tcp"
via = "service"
[[service.backend]]
name = "web1"
address = "10.0.0.6:80"
[[service]]
name = "nat"
address = "192.0.2.12:80"
mode = "nat"
[[service.backend]]
name = "web1"
address = "10.0.0.6:80"
"#;

fn asked(service: &str, direct: Outcome, vips: &[(&str, Outcome)]) -> Asked {
    Asked {
        service: service.into(),
        backend: "web1".into(),
        address: "10.0.0.6:80".parse().unwrap(),
        tunnelled: service == "tunnel",
        direct,
        vips: vips
            .iter()
            .map(|(vip, seen)| (vip.parse().unwrap(), seen.clone()))
            .collect(),
    }
}

/// The finding about one backend, of which nothing more is known; cause and remedy in one.
fn found(asked: Asked) -> Option<String> {
    let config = crate::config::parse("test.toml", FILE).unwrap().config;
    let findings = all(&config, None, &[asked], 0);
    assert!(findings.len() <= 1, "{findings:?}");
    let finding = findings.into_iter().next()?;
    assert_eq!(
        finding.level,
        if finding.subject == "paths" {
            Level::Note
        } else {
            Level::Failure
        }
    );
    assert!(!finding.cause.contains('\n') && !finding.remedy.contains('\n'));
    Some(format!("{}: {} / {}", finding.subject, finding.cause, finding.remedy))
}

#[test]
fn causes_follow_from_what_answers() {
    use Outcome::{Answers, HandedOn, NotAsked, Refused, Silent, Unknown};
    let (v4, v6, tunnel) = ("192.0.2.10:80", "[2001:db8::10]:80", "192.0.2.11:80");
    let wrong = |text: &str| Outcome::Wrong(text.to_owned());
    for (asked, expected) in [
        (asked("dsr", Answers, &[(v4, Answers), (v6, Answers)]), ""),
        (
            asked("dsr", Answers, &[(v4, Silent), (v6, Answers)]),
            "dsr/web1: it answers at 10.0.0.6:80, and no answer comes from 192.0.2.10:80: is 192.0.2.10 missing on it? / on \
             it: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; ip addr add 192.0.2.10/32 dev lo",
        ),
        (
            asked("dsr", Answers, &[(v4, Answers), (v6, Silent)]),
            "dsr/web1: it answers at 10.0.0.6:80, and no answer comes from [2001:db8::10]:80: is 2001:db8::10 missing on \
             it? / on it: ip addr add 2001:db8::10/128 dev lo",
        ),
        (
            asked("dsr", Answers, &[(v4, HandedOn), (v6, Answers)]),
            "dsr/web1: it does not hold 192.0.2.10: it hands on what comes for it / on it: sysctl -w \
             net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; ip addr add 192.0.2.10/32 dev lo",
        ),
        (
            asked("dsr", Answers, &[(v4, Refused), (v6, Answers)]),
            "dsr/web1: packets to 192.0.2.10:80 reach it, and nobody listens there / let its server listen on \
             192.0.2.10:80, or on all addresses",
        ),
        (
            asked("dsr", Refused, &[(v4, Silent), (v6, Silent)]),
            "dsr/web1: it is there at 10.0.0.6:80, and no answer comes from 192.0.2.10:80: is 192.0.2.10 missing on it? / on \
             it: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2; ip addr add 192.0.2.10/32 dev lo",
        ),
        (
            asked("dsr", Silent, &[(v4, Silent), (v6, Silent)]),
            "dsr/web1: nothing comes from 10.0.0.6:80 / see whether 10.0.0.6 is on, and whether a firewall drops what this \
             node sends",
        ),
        (
            asked("dsr", Silent, &[(v4, Answers), (v6, Answers)]),
            "dsr/web1: it answers through the service, and not at 10.0.0.6:80, where it is probed / set via = \"service\" \
             in [service.health], or let it listen there too",
        ),
        (
            asked("dsr", Answers, &[(v4, wrong("status 404")), (v6, Answers)]),
            "dsr/web1: what answers at 192.0.2.10:80 is not as wanted: status 404 / look at what its server does for \
             192.0.2.10:80",
        ),
        // Its probes say so.
        (asked("dsr", wrong("status 404"), &[(v4, wrong("status 404"))]), ""),
        (asked("dsr", Unknown, &[(v4, Unknown), (v6, Unknown)]), ""),
        (
            asked(
                "dsr",
                Answers,
                &[(v4, Answers), (v6, NotAsked("no IPv6 here".to_owned()))],
            ),
            "paths: 1 backend could not be asked through the service: no IPv6 here / ",
        ),
        (asked("tunnel", Answers, &[(tunnel, Answers)]), ""),
        // Clients are served, and its probes go where they do.
        (asked("tunnel", Refused, &[(tunnel, Answers)]), ""),
        (
            asked("tunnel", Answers, &[(tunnel, Silent)]),
            "tunnel/web1: it answers at 10.0.0.6:80, and no answer comes from 192.0.2.11:80 through the tunnel / on it: \
             fulcrum decap -i IFACE, or a tunnel device; and ip addr add 192.0.2.11/32 dev lo",
        ),
        (
            asked("tunnel", Answers, &[(tunnel, Refused)]),
            "tunnel/web1: packets to 192.0.2.11:80 reach it, and nobody listens there / let its server listen on \
             192.0.2.11:80, or on all addresses",
        ),
        (asked("nat", Answers, &[]), ""),
        (
            asked("nat", Refused, &[]),
            "nat/web1: nobody listens on 10.0.0.6:80 / start its server, or correct the port",
        ),
        (
            asked("nat", Silent, &[]),
            "nat/web1: nothing comes from 10.0.0.6:80 / see whether 10.0.0.6 is on, and whether a firewall drops what this \
             node sends",
        ),
        (asked("gone", Silent, &[]), ""),
    ] {
        let text = format!("{asked:?}");
        assert_eq!(found(asked).unwrap_or_default(), expected, "{text}");
    }
}

#[test]
fn who_was_not_asked_is_counted() {
    let config = crate::config::parse("test.toml", FILE).unwrap().config;
    let unasked = |service| {
        asked(
            service,
            Outcome::Answers,
            &[("192.0.2.9:80", Outcome::NotAsked("why".to_owned()))],
        )
    };
    let causes: Vec<_> = all(&config, None, &[unasked("dsr"), unasked("tunnel")], 7)
        .into_iter()
        .map(|finding| (finding.level, finding.cause))
        .collect();
    let expected = [
        "2 backends could not be asked through the service: why",
        "there was no time to ask 7 more backends",
    ];
    assert_eq!(causes, expected.map(|cause| (Level::Note, cause.to_owned())));
}
