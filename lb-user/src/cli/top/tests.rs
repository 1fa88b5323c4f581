use std::net::SocketAddr;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::rates::{Between, Rates, short};
use super::state::{Mode, Sort, Target, Top, Wish};
use super::view;
use crate::api::types::{
    AdminState, Protection, ProxyStatus, Refused, Role, ServiceProtection, ServiceStatus, Status, UnresolvedBackend,
};
use crate::model::golden;

/// A node with two services, after `seconds` of traffic.
fn status(seconds: u64) -> Status {
    let backend = |name: &str, last: u8, state: &str, health: &str, packets: u64| {
        serde_json::json!({
            "name": name, "address": format!("10.0.0.{last}:80"), "weight": 1, "state": state, "health": health,
            "health_reason": if health == "down" { "connection refused" } else { "connected in 0.3 ms" },
            "next_hop": { "mac": "02:00:00:00:00:06", "interface": "eth0" },
            "slots": if health == "up" { 8192 } else { 0 },
            "packets": packets * seconds, "bytes": packets * seconds * 1000, "new_flows": packets * seconds / 10,
            "reply_packets": 0, "reply_bytes": 0, "leaving": false, "known_flows": last, "cut_flows": 0,
            "moving_slots": 0, "drained": false, "host": null, "slow_start_tenths": null, "role": "primary",
        })
    };
    let service = |name: &str, last: u8, backends: Vec<serde_json::Value>| {
        serde_json::json!({
            "name": name, "vips": [{ "address": format!("192.0.2.{last}:80"), "exclusive": true }], "protocol": "tcp",
            "mode": "dsr", "balance": "maglev", "table_size": 16384, "healthy": true, "ready": 2, "quorum": 1,
            "slot_states": { "stable": 16384, "moving": 0, "settled": 0 }, "backends": backends, "unresolved": [],
        })
    };
    let router = |name: &str, role: &str, reason: &str| {
        serde_json::json!({
            "name": name, "interface": "eth0", "router_id": 41, "version": 3, "role": role, "reason": reason, "priority": 100,
            "priority_in_file": 100, "addresses": ["192.0.2.10"], "master": null, "master_priority": null, "rival": false,
            "down": [], "transitions": 1, "sent": 10, "received": 20, "notify_fault": null,
        })
    };
    let table = serde_json::json!({ "entries": 0, "capacity": 262144, "written": 0, "no_room": 0 });
    serde_json::from_value(serde_json::json!({
        "node": "lb1", "version": "0.1.0", "interfaces": [{ "name": "eth0", "mode": "native" }],
        "unattached_interfaces": [],
        "virtual_routers": [router("VI_1", "master", "no master was heard for 3.61 s"),
            router("VI_2", "backup", "192.0.2.2 goes before it, with priority 110")],
        "services": [
            service("web", 10, vec![
                backend("web1", 6, "active", "up", 120),
                backend("web2", 7, "active", "down", 0),
                backend("web3", 8, "drain", "up", 1500),
            ]),
            service("mail", 20, vec![backend("mx1", 9, "active", "up", 250_000), backend("mx2", 10, "disabled", "unknown", 0)]),
        ],
        "flows": { "flows": table, "tracked": table },
        "drops": { "undeclared": 30 * seconds, "fragment": 2, "checksum": 0 },
    }))
    .unwrap()
}

fn seen(times: std::ops::Range<u64>) -> Top {
    let mut top = Top::default();
    for second in times {
        // It grows, so that the curve does.
        top.answered(Ok(status(second * second)), Duration::from_secs(second));
    }
    top
}

fn press(top: &mut Top, keys: &str) -> Option<Wish> {
    let codes = keys.chars().map(|key| match key {
        '\n' => KeyCode::Enter,
        '\u{1b}' => KeyCode::Esc,
        '<' => KeyCode::Backspace,
        '^' => KeyCode::Up,
        'v' => KeyCode::Down,
        key => KeyCode::Char(key),
    });
    let mut wish = None;
    for code in codes {
        wish = top.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

fn picture(top: &Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view::draw(top, "/run/fulcrum/fulcrum.sock", frame))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn check(top: &Top, width: u16, height: u16, file: &str) {
    golden::check(&format!("src/cli/top/tests/{file}"), &picture(top, width, height));
}

#[test]
fn the_usual_terminal_has_room_for_what_matters() {
    let mut top = seen(1..40);
    press(&mut top, "vvv");
    check(&top, 80, 24, "80x24.txt");
}

#[test]
fn a_wide_one_shows_addresses_and_reasons() {
    check(&seen(1..60), 130, 20, "130x20.txt");
}

#[test]
fn what_is_wrong_stands_above_the_table() {
    let mut top = seen(1..3);
    let mut bad = status(20);
    bad.fault = Some("map RING is full".to_owned());
    bad.refused_reload = Some("error: ...".to_owned());
    bad.virtual_routers[0].rival = true;
    bad.virtual_routers[1].role = "fault".to_owned();
    top.answered(Ok(bad), Duration::from_secs(4));
    top.answered(
        Err("no daemon answers on /run/x.sock".to_owned()),
        Duration::from_secs(5),
    );
    check(&top, 80, 24, "wrong.txt");
    // It comes back.
    top.answered(Ok(status(40)), Duration::from_secs(6));
    let text = picture(&top, 80, 24);
    assert!(!text.contains("no answer") && !text.contains("fault"), "{text}");
    let text = picture(&Top::default(), 80, 24);
    assert!(text.contains("asking /run/fulcrum/fulcrum.sock"), "{text}");
}

/// Requests and their bytes stand where packets have no say.
#[test]
fn services_of_the_proxy_have_requests() {
    let proxied = |requests: u64| {
        let mut status = status(1);
        let [web, mail] = &mut status.services[..] else {
            panic!()
        };
        mail.vips.clear();
        for service in [web, mail] {
            service.mode = "proxy".to_owned();
            for backend in &mut service.backends {
                (backend.next_hop, backend.slots, backend.known_flows) = (None, 0, 0);
                (backend.packets, backend.bytes, backend.new_flows) = (0, 0, 0);
                backend.proxy = Some(ProxyStatus {
                    serves: true,
                    active: 42,
                    requests,
                    received: requests * 900,
                    sent: requests * 100,
                    ..ProxyStatus::default()
                });
            }
        }
        let aside = status.services[1].backends[0].proxy.as_mut().unwrap();
        aside.ejected = true;
        status
    };
    let mut top = Top::default();
    top.answered(Ok(proxied(0)), Duration::from_secs(1));
    top.answered(Ok(proxied(1000)), Duration::from_secs(3));
    let text = picture(&top, 130, 20);
    let line = |name: &str| {
        let line = text.lines().find(|line| line.contains(name));
        line.unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(
        line("web1")[..7],
        ["web1", "up", "-", "0", "4.0M", "500", "42"],
        "{text}"
    );
    assert_eq!(line("mail")[..3], ["mail", "2", "backends"], "{text}");
    assert!(line("mail").contains(&"pool"), "{text}");
    assert!(text.contains("set aside") && !text.contains("unreachable"), "{text}");
}

/// As [`status`], with one service that is protected, and one that is only observed.
fn attacked(packets: u64) -> Status {
    let mut status = status(1);
    let refused = |dropped: u64, observed: u64| Refused {
        dropped: [("denied".to_owned(), dropped), ("packet_rate".to_owned(), dropped)].into(),
        observed: [("denied".to_owned(), observed)].into(),
        cookies_answered: 0,
        cookies_accepted: 0,
        sources_evicted: 0,
    };
    let protected = |enforcement: &str, refused| ServiceProtection {
        enforcement: enforcement.to_owned(),
        refused,
    };
    status.services[0].protection = Some(protected("enforce", refused(packets, 0)));
    status.services[1].protection = Some(protected("observe", refused(7, 3 * packets)));
    status.services.push(ServiceStatus {
        name: "bare".to_owned(),
        protection: None,
        ..status.services[1].clone()
    });
    status.protection = Some(Protection {
        enforcement: "enforce".to_owned(),
        prefixes: 3,
        addresses: refused(packets / 2, 0),
    });
    status
}

#[test]
fn what_is_refused_has_a_column_where_something_is_protected() {
    let mut top = Top::default();
    top.answered(Ok(attacked(1_000)), Duration::from_secs(1));
    top.answered(Ok(attacked(5_000)), Duration::from_secs(3));
    check(&top, 80, 24, "refused.txt");
    let wide = picture(&top, 130, 20);
    assert!(
        wide.contains("REFUSED  ADDRESS") || wide.contains("REFUSED ADDRESS"),
        "{wide}"
    );
    // Nobody who reads it thinks that something is dropped.
    let mut observed = attacked(5_000);
    observed.protection.as_mut().unwrap().enforcement = "observe".to_owned();
    top.answered(Ok(observed), Duration::from_secs(4));
    let text = picture(&top, 80, 24);
    assert!(text.contains("protection only observes"), "{text}");
}

#[test]
fn what_is_neither_up_nor_down_has_words() {
    let mut odd = status(1);
    let [web, mail] = &mut odd.services[..] else { panic!() };
    web.healthy = false;
    web.backends[0].slow_start_tenths = Some(3);
    let backup = &mut web.backends[2];
    (backup.role, backup.state, backup.slots) = (Role::Backup, AdminState::Active, 0);
    mail.unresolved.push(UnresolvedBackend {
        name: "mx3".to_owned(),
        host: "mx3.example".to_owned(),
        port: 25,
        reason: "mx3.example has no address".to_owned(),
    });
    let mut top = Top::default();
    top.answered(Ok(odd), Duration::from_secs(1));
    let text = picture(&top, 80, 24);
    for words in ["NO QUORUM", "up, 30%", "standby", "1 unresolved"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn every_size_can_be_drawn() {
    let top = seen(1..5);
    for (width, height) in [(1, 1), (10, 3), (79, 6), (300, 100)] {
        picture(&top, width, height);
        picture(&Top::default(), width, height);
    }
}

fn names(top: &Top) -> Vec<String> {
    let text = picture(top, 80, 24);
    let lines = text.lines().filter_map(|line| line.split_whitespace().next());
    let known = |name: &&str| ["web", "mail"].contains(name) || name.starts_with("web") || name.starts_with("mx");
    lines.filter(known).map(str::to_owned).collect()
}

#[test]
fn rows_are_sorted_and_filtered() {
    let mut top = seen(1..4);
    let file = ["web", "web1", "web2", "web3", "mail", "mx1", "mx2"];
    assert_eq!(names(&top), file);
    press(&mut top, "s");
    assert_eq!(top.sort, Sort::Packets);
    assert_eq!(names(&top), ["mail", "mx1", "mx2", "web", "web3", "web1", "web2"]);
    press(&mut top, "ssss");
    assert_eq!(top.sort, Sort::Health);
    assert_eq!(names(&top), ["web", "web2", "web1", "web3", "mail", "mx1", "mx2"]);
    press(&mut top, "s");
    assert_eq!(names(&top), file);
    // By name of a backend, by address, by name of a service.
    press(&mut top, "/WEB2\n");
    assert_eq!(names(&top), ["web", "web2"]);
    press(&mut top, "/<<<<0.9:\n");
    assert_eq!(names(&top), ["mail", "mx1"]);
    press(&mut top, "/\u{1b}/mail\n");
    assert_eq!(names(&top), ["mail", "mx1", "mx2"]);
    press(&mut top, "\u{1b}");
    assert_eq!(names(&top), file);
    // While it is typed, keys are letters.
    assert_eq!(press(&mut top, "/q"), None);
    assert_eq!((top.filter.as_str(), &top.mode), ("q", &Mode::Filter));
}

#[test]
fn nothing_is_done_without_a_yes() {
    let mut top = seen(1..3);
    press(&mut top, "d");
    assert_eq!(top.mode, Mode::Table, "a service is no backend");
    assert!(picture(&top, 80, 24).contains("select a backend first"));
    press(&mut top, "vvd");
    let web1 = || Target {
        service: "web".to_owned(),
        address: SocketAddr::from(([10, 0, 0, 6], 80)),
        name: "web1".to_owned(),
    };
    assert_eq!(top.mode, Mode::Confirm(web1(), AdminState::Drain));
    assert!(picture(&top, 80, 24).contains("drain web/web1: it gets no new flows. y does it"));
    assert_eq!(press(&mut top, "n"), None);
    assert_eq!(top.mode, Mode::Table);
    assert_eq!(press(&mut top, "dy"), Some(Wish::Set(web1(), AdminState::Drain)));
    assert_eq!(press(&mut top, "ey"), Some(Wish::Set(web1(), AdminState::Active)));
    // It stays selected when rows move.
    press(&mut top, "ssssss");
    assert_eq!(press(&mut top, "sdy"), Some(Wish::Set(web1(), AdminState::Drain)));
    assert_eq!(press(&mut top, "q"), Some(Wish::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    press(&mut top, "/");
    assert_eq!(top.key(control_c), Some(Wish::Quit));
}

#[test]
fn rates_are_differences() {
    let (old, new) = (status(10), status(14));
    let between = Between::new(&old, &new, Duration::from_secs(2));
    let expected = Rates {
        packets: 240.0,
        bits: 240.0 * 8000.0,
        flows: 24.0,
    };
    assert_eq!(between.of("web", SocketAddr::from(([10, 0, 0, 6], 80))), expected);
    assert_eq!(between.drops["undeclared"], 60.0);
    assert_eq!(between.total.packets, 2.0 * (120.0 + 1500.0 + 250_000.0));
    // The maps were made anew meanwhile: counters begin at 0. No time has passed: nothing is known.
    let between = Between::new(&new, &status(1), Duration::from_secs(1));
    assert_eq!(between.of("web", SocketAddr::from(([10, 0, 0, 6], 80))).packets, 120.0);
    assert_eq!(Between::new(&old, &new, Duration::ZERO), Between::default());
}

#[test]
fn numbers_are_short() {
    let shorts = [
        0.0, 0.04, 7.46, 9.96, 980.4, 999.6, 1234.0, 99_960.0, 4.56e6, 1e17, 1e18,
    ];
    let shorts = shorts.map(short);
    let expected = [
        "0", "0", "7.5", "10", "980", "1.0k", "1.2k", "100k", "4.6M", "100P", "lots",
    ];
    assert_eq!(shorts, expected);
}
