use lb_common::addr::Mac;

use super::super::listener::Listener;
use super::super::paths::{Asked, Outcome};
use super::*;
use crate::api::types::ProxyStatus;
use crate::model::Protocol;
use crate::net::Link;

pub(super) const FILE: &str = r#"
[node]
interfaces = ["eth0", "eth1"]
[[service]]
name = "web"
address = ["192.0.2.10:80", "[2001:db8::10]:80"]
mode = "tunnel"
[[service.backend]]
name = "web1"
address = "10.0.0.6:80"
[[service.backend]]
name = "web2"
address = "[2001:db8::6]:80"
"#;

fn config() -> Config {
    crate::config::parse("test.toml", FILE).unwrap().config
}

/// What a daemon says while all is well.
fn status() -> Status {
    let backend = |name: &str, address: &str| {
        format!(
            r#"{{"name": "{name}", "address": "{address}", "weight": 1, "weight_in_file": null, "state": "active",
            "state_in_file": null, "health": "up", "health_reason": "connected", "next_hop": {{"mac": "02:00:00:00:00:06",
            "interface": "eth0"}}, "next_hop_reason": null, "slots": 8192, "packets": 0, "bytes": 0, "new_flows": 0,
            "reply_packets": 0, "reply_bytes": 0, "leaving": false, "known_flows": 0, "cut_flows": 0, "moving_slots": 0,
            "drained": false, "host": null, "slow_start_tenths": null, "role": "primary", "certificate_not_after": null, "nat": null}}"#
        )
    };
    let table = r#"{"entries": 0, "capacity": 1024, "written": 0, "no_room": 0}"#;
    let text = format!(
        r#"{{"node": "lb1", "version": "1", "interfaces": [{{"name": "eth0", "mode": "native"}}, {{"name": "eth1",
        "mode": "native"}}], "unattached_interfaces": [], "services": [{{"name": "web", "vips": [], "protocol": "tcp",
        "mode": "tunnel", "balance": "maglev", "table_size": 16384, "healthy": true, "ready": 2, "quorum": 1, "slot_states": {{"stable": 16384, "moving": 0,
        "settled": 0}}, "backends": [{}, {}], "unresolved": []}}], "flows": {{"flows": {table}, "tracked": {table}}}, "drops": {{}},
        "refused_reload": null, "unread_file": null, "fault": null,
        "overrides_fault": null}}"#,
        backend("web1", "10.0.0.6:80"),
        backend("web2", "[2001:db8::6]:80")
    );
    serde_json::from_str(&text).unwrap()
}

fn seen(index: u32, name: &str) -> Seen {
    Seen {
        link: Link {
            index,
            name: name.to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 1540,
            up: true,
            running: true,
            master: None,
            xdp: Some(7),
        },
        lro: false,
        rp_filter: Some(0),
    }
}

pub(super) fn facts() -> Facts {
    let interfaces = [(2, "eth0"), (3, "eth1")];
    Facts {
        release: "6.18.44-lab".to_owned(),
        privileges: None,
        synchronized: Some(true),
        interfaces: interfaces
            .map(|(index, name)| (name.to_owned(), Some(seen(index, name))))
            .into(),
        addresses: Vec::new(),
        listeners: Vec::new(),
        now: DAY,
        daemon: Ok(status()),
        asked: Vec::new(),
        late: 0,
    }
}

/// What is neither fine nor known to everybody.
fn wrong(facts: &Facts) -> Vec<(Level, String, String)> {
    let findings = all(&config(), facts).into_iter();
    let wrong = findings.filter(|f| f.level > Level::Fine && f.subject != "tests");
    wrong
        .map(|finding| {
            assert!(
                !finding.cause.is_empty() && !finding.cause.contains('\n'),
                "{finding:?}"
            );
            (finding.level, finding.subject, finding.cause + " / " + &finding.remedy)
        })
        .collect()
}

/// Changes what is well, and expects one finding.
#[track_caller]
fn finds(level: Level, subject: &str, text: &str, change: impl FnOnce(&mut Facts)) {
    let mut facts = facts();
    change(&mut facts);
    let wrong = wrong(&facts);
    let expected = wrong
        .iter()
        .any(|(l, s, t)| (*l, s.as_str()) == (level, subject) && t.contains(text));
    assert!(expected && wrong.len() == 1, "{level:?} {subject} {text}: {wrong:#?}");
}

fn eth1(facts: &mut Facts) -> &mut Seen {
    facts.interfaces[1].1.as_mut().unwrap()
}

fn web1(facts: &mut Facts) -> &mut BackendStatus {
    &mut facts.daemon.as_mut().unwrap().services[0].backends[0]
}

#[test]
fn hosts_without_an_address_are_named() {
    let file = FILE.replace("[2001:db8::6]:80", "web2.example:80");
    let config = crate::config::parse("test.toml", &file).unwrap().config;
    let findings = all(&config, &facts());
    let found = findings
        .iter()
        .find(|finding| finding.subject.contains("web2"))
        .unwrap();
    assert_eq!(
        (found.level, found.cause.as_str()),
        (Level::Warning, "not looked up yet")
    );
}

#[test]
fn nothing_is_wrong_where_all_is_well() {
    assert_eq!(wrong(&facts()), []);
    let fine: Vec<_> = all(&config(), &facts())
        .into_iter()
        .map(|f| (f.level, f.subject))
        .collect();
    let expected = ["kernel", "eth0", "eth1", "web"].map(|subject| (Level::Fine, subject.to_owned()));
    assert_eq!(fine[..4], expected);
}

#[test]
fn what_is_wrong_with_the_node() {
    use Level::{Failure, Note, Warning};
    finds(Failure, "kernel", "5.15.0-generic lacks", |f| {
        f.release = "5.15.0-generic".to_owned();
    });
    finds(Warning, "kernel", "never tried", |f| f.release = "5.19.1".to_owned());
    finds(Warning, "clock", "chrony", |f| f.synchronized = Some(false));
    finds(Note, "privileges", "missing CAP_BPF", |f| {
        f.privileges = Some("missing CAP_BPF".to_owned());
    });
    finds(Failure, "eth1", "no interface of this name", |f| {
        f.interfaces[1].1 = None;
    });
    finds(Failure, "eth1", "no Ethernet", |f| eth1(f).link.mac = None);
    finds(Failure, "eth1", "ip link set eth1 up", |f| eth1(f).link.up = false);
    finds(Failure, "eth1", "no carrier", |f| eth1(f).link.running = false);
    finds(Warning, "eth1", "ethtool -K eth1 lro off", |f| eth1(f).lro = true);
    finds(Warning, "eth1", "a bridge or a bond", |f| eth1(f).link.master = Some(9));
    finds(Warning, "eth1", "net.ipv4.conf.eth1.rp_filter=2", |f| {
        eth1(f).rp_filter = Some(1);
    });
    finds(Warning, "eth1", "leaves 1460 bytes to packets in tunnels", |f| {
        eth1(f).link.mtu = 1500;
    });
    finds(Failure, "daemon", "no daemon answers", |f| {
        f.daemon = Err("no daemon answers".to_owned());
        f.interfaces
            .iter_mut()
            .for_each(|(_, seen)| seen.as_mut().unwrap().link.xdp = None);
    });
    let mut left = facts();
    left.daemon = Err("no daemon answers".to_owned());
    assert_eq!(
        wrong(&left).iter().filter(|(level, ..)| *level == Note).count(),
        2,
        "programs that are left"
    );
}

#[test]
fn programs_beside_it_are_named() {
    let listens = |address: &str, protocol| Listener {
        protocol,
        address: address.parse().unwrap(),
    };
    for address in ["0.0.0.0:80", "[::]:80", "192.0.2.10:80", "[2001:db8::10]:80"] {
        finds(Level::Note, "web", address, |f| {
            f.listeners.push(listens(address, Protocol::Tcp));
        });
    }
    let mut others = facts();
    others.listeners.push(listens("0.0.0.0:80", Protocol::Udp));
    others.listeners.push(listens("0.0.0.0:81", Protocol::Tcp));
    others.listeners.push(listens("127.0.0.1:80", Protocol::Tcp));
    assert_eq!(wrong(&others), []);
}

#[test]
fn what_the_daemon_knows_is_said() {
    use Level::{Failure, Warning};
    fn daemon(facts: &mut Facts) -> &mut Status {
        facts.daemon.as_mut().unwrap()
    }
    finds(Warning, "eth0", "attached generically", |f| {
        daemon(f).interfaces[0].mode = XdpMode::Generic;
    });
    finds(Failure, "daemon", "a map is full", |f| {
        daemon(f).fault = Some("a map is full".to_owned());
    });
    finds(Warning, "daemon", "in force: error: x /", |f| {
        daemon(f).refused_reload = Some("error: x\n --> y".to_owned());
    });
    finds(Warning, "daemon", "state-dir", |f| {
        daemon(f).overrides_fault = Some("disk full".to_owned());
    });
    finds(Warning, "nat_ports", "3 since", |f| {
        daemon(f).drops.insert("nat_ports".to_owned(), 3);
    });
    finds(Warning, "daemon", "has changed", |f| {
        daemon(f).unread_file = Some("it has changed".to_owned());
    });
    finds(Warning, "web/web1", "has expired", |f| {
        web1(f).certificate_not_after = Some(DAY - 1);
    });
    finds(Warning, "web/web1", "expires in 13 days", |f| {
        web1(f).certificate_not_after = Some(15 * DAY - 1);
    });
    finds(Warning, "flows", "2 flows found no room", |f| {
        daemon(f).flows.tracked.no_room = 2;
    });
    finds(Warning, "web/web1", "is down: refused", |f| {
        web1(f).health = Health::Down;
        web1(f).health_reason = "refused".to_owned();
    });
    finds(Failure, "web/web1", "no way to 10.0.0.6: no answer", |f| {
        web1(f).next_hop = None;
        web1(f).next_hop_reason = Some("no answer".to_owned());
    });
    finds(Failure, "web", "nobody serves", |f| {
        daemon(f).services[0].backends.iter_mut().for_each(|b| b.slots = 0);
    });
    let mut later = facts();
    web1(&mut later).certificate_not_after = Some(16 * DAY);
    assert_eq!(wrong(&later), []);
    // Whoever is out of service on purpose is no finding.
    let mut drained = facts();
    web1(&mut drained).state = AdminState::Drain;
    web1(&mut drained).health = Health::Down;
    assert_eq!(wrong(&drained), []);
    for (reason, ..) in DROPS {
        let known = lb_common::stats::DropReason::ALL
            .iter()
            .any(|known| known.label() == reason);
        assert!(known, "{reason}");
    }
}

/// A backend that has lost its VIP loses traffic while it serves; one that is down does not, and its probes say no more.
#[test]
fn a_lost_vip_is_worse_while_its_backend_serves() {
    let lost = |facts: &mut Facts| {
        facts.asked = vec![Asked {
            service: "web".into(),
            backend: "web1".into(),
            address: "10.0.0.6:80".parse().unwrap(),
            tunnelled: true,
            direct: Outcome::Answers,
            vips: vec![("192.0.2.10:80".parse().unwrap(), Outcome::Silent)],
        }];
    };
    finds(Level::Failure, "web/web1", "fulcrum decap", lost);
    finds(Level::Warning, "web/web1", "fulcrum decap", |f| {
        lost(f);
        web1(f).slots = 0;
        web1(f).health = Health::Down;
    });
    let mut drains = facts();
    lost(&mut drains);
    web1(&mut drains).state = AdminState::Drain;
    assert_eq!(wrong(&drains), []);
    finds(Level::Failure, "web/web1", "there is no way to", |f| {
        lost(f);
        web1(f).next_hop = None;
    });
}

/// Answers of `nat` that do not come by are seen in its counters alone.
#[test]
fn answers_that_go_elsewhere_are_found() {
    let file = FILE.replace("\"tunnel\"", "\"nat\"\n[service.nat]\nsource = \"client\"\n");
    let file = file
        .replace(", \"[2001:db8::10]:80\"", "")
        .replace("[2001:db8::6]", "10.0.0.7");
    let config = crate::config::parse("test.toml", &file).unwrap().config;
    let mut facts = facts();
    let of = |facts: &Facts| {
        let findings = all(&config, facts).into_iter();
        findings
            .filter(|f| f.level == Level::Failure)
            .map(|f| f.subject)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&facts), [""; 0]);
    web1(&mut facts).packets = 3;
    assert_eq!(of(&facts), ["web/web1"]);
    web1(&mut facts).reply_packets = 2;
    assert_eq!(of(&facts), [""; 0]);
}

/// The proxy's backends need no way on the wire, and the daemon itself listens where it serves.
#[test]
fn a_service_of_the_proxy_needs_nothing_but_backends_that_answer() {
    let mut config = config();
    config.services[0].mode = crate::model::Mode::Proxy;
    config.services[0].proxy = Some(std::sync::Arc::default());
    let mut seen = facts();
    seen.listeners = vec![Listener {
        protocol: Protocol::Tcp,
        address: "192.0.2.10:80".parse().unwrap(),
    }];
    let service = &mut seen.daemon.as_mut().unwrap().services[0];
    service.mode = "proxy".to_owned();
    for backend in &mut service.backends {
        (backend.next_hop, backend.slots) = (None, 0);
        backend.proxy = Some(ProxyStatus {
            serves: true,
            ..ProxyStatus::default()
        });
    }
    let findings = all(&config, &seen);
    let of_service = |f: &&Finding| f.subject.starts_with("web");
    let about: Vec<_> = findings
        .iter()
        .filter(of_service)
        .map(|f| (f.level, f.cause.as_str()))
        .collect();
    assert_eq!(about, [(Level::Fine, "2 of 2 backends serve")]);
    seen.asked = vec![Asked {
        service: "web".into(),
        backend: "web1".into(),
        address: "10.0.0.6:80".parse().unwrap(),
        tunnelled: false,
        direct: Outcome::Refused,
        vips: Vec::new(),
    }];
    let findings = all(&config, &seen);
    let refused = findings.iter().find(|f| f.subject == "web/web1").unwrap();
    assert_eq!(
        (refused.level, &*refused.cause),
        (Level::Failure, "nobody listens on 10.0.0.6:80")
    );
}
