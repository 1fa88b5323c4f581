//! What comes out of good files.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::schema;
use super::super::{load, parse, parse_with};
use super::{NODE, SERVICE, read};
use crate::model::{
    Admin, AdminState, Backend, Balance, Config, HealthCheck, HealthKind, HttpProbe, Mode, Nat, NatSource, Node,
    PortRange, Protocol, RingSize, Role, Service, Tunnel, Undeclared, Via, Vip, XdpMode,
};

#[test]
fn defaults() {
    let text = format!("{NODE}{SERVICE}[[service.backend]]\naddress = \"10.0.0.6:80\"\n");
    let expected = Config {
        node: Node {
            flow_table_size: lb_common::limits::FLOW_TABLE,
            proxy_threads: None,
            script_user: None,
            name: "host".to_owned(),
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Auto,
            hash_seed_file: None,
            state_dir: "/var/lib/fulcrum".into(),
            pin_dir: "/sys/fs/bpf/fulcrum".into(),
        },
        admin: Admin {
            socket: "/run/fulcrum/fulcrum.sock".into(),
            listen: Some("127.0.0.1:9465".parse().unwrap()),
            token_file: None,
        },
        routers: Vec::new(),
        announced: Vec::new(),
        peers: None,
        protection: None,
        services: vec![Service {
            nat: Nat::default(),
            idle_timeout: Protocol::Tcp.idle_timeout(),
            tunnel: Tunnel {
                source_v4: ([172, 16, 0, 0].into(), 16),
                source_v6: ("100::".parse().unwrap(), 32),
            },
            drain_timeout: Some(Duration::from_secs(300)),
            track: true,
            protection: None,
            name: "web".into(),
            vips: vec!["192.0.2.10:80".parse().unwrap()],
            protocol: Protocol::Tcp,
            named: Vec::new(),
            mode: Mode::Dsr,
            balance: Balance::Maglev,
            table_size: RingSize::DEFAULT,
            undeclared: None,
            proxy: None,
            health: HealthCheck {
                via: Via::Address,
                kind: HealthKind::Tcp,
                interval: Duration::from_secs(2),
                timeout: Duration::from_secs(1),
                rise: NonZeroU32::new(2).unwrap(),
                fall: NonZeroU32::new(3).unwrap(),
                slow_start: None,
                quorum: NonZeroU32::MIN,
            },
            backends: vec![Backend {
                name: "10.0.0.6:80".into(),
                address: "10.0.0.6:80".parse().unwrap(),
                host: None,
                weight: 1,
                state: AdminState::Active,
                role: Role::Primary,
                leaving: false,
            }],
        }],
    };
    assert_eq!(read(&text).unwrap().config, expected);
}

#[test]
fn a_short_interval_shortens_the_default_timeout() {
    let config = read(&format!("{NODE}{SERVICE}[service.health]\ninterval = \"300ms\"\n"))
        .unwrap()
        .config;
    assert_eq!(config.services[0].health.timeout, Duration::from_millis(300));
}

#[test]
fn services_may_share_an_address() {
    let web = SERVICE;
    let secure = SERVICE.replace("web", "secure").replace(":80", ":443");
    let quic = SERVICE.replace("web", "quic").replace(":80", ":443") + "protocol = \"udp\"\nundeclared = \"drop\"\n";
    let config = read(&format!("{NODE}{web}{secure}{quic}")).unwrap().config;
    let shared: Vec<Option<Undeclared>> = config.services.iter().map(|s| s.undeclared).collect();
    assert_eq!(shared, [None, None, Some(Undeclared::Drop)]);
}

#[test]
fn how_long_a_flow_may_be_silent() {
    let idle = |text: &str| read(&format!("{NODE}{SERVICE}{text}")).unwrap().config.services[0].idle_timeout;
    assert_eq!(idle(""), Duration::from_secs(8_100));
    assert_eq!(idle("protocol = \"udp\"\n"), Duration::from_secs(120));
    assert_eq!(idle("idle-timeout = \"5s\"\n"), Duration::from_secs(5));
    assert_eq!(
        idle("protocol = \"udp\"\nidle-timeout = \"720h\"\n"),
        Duration::from_secs(2_592_000)
    );
}

#[test]
fn how_a_backend_is_chosen_and_left() {
    let service = |text: &str| {
        read(&format!("{NODE}{SERVICE}{text}"))
            .unwrap()
            .config
            .services
            .remove(0)
    };
    for balance in [
        Balance::Maglev,
        Balance::SourceHash,
        Balance::RoundRobin,
        Balance::LeastConnections,
    ] {
        assert_eq!(
            service(&format!("balance = \"{}\"\n", balance.label())).balance,
            balance
        );
    }
    let drain = |text: &str| service(&format!("drain-timeout = \"{text}\"\n")).drain_timeout;
    assert_eq!(drain("never"), None);
    assert_eq!(drain("1m30s"), Some(Duration::from_secs(90)));
    let track = |text: &str| service(&format!("protocol = \"udp\"\n{text}")).track;
    assert!(track("") && track("track = true\n") && !track("track = false\n"));
    assert!(!track("balance = \"source-hash\"\ntrack = false\n"));
    assert!(track("balance = \"round-robin\"\ntrack = true\n"));
}

#[test]
fn sources_of_tunnels() {
    let tunnel = |source: &str| {
        let text = format!("{NODE}{SERVICE}[service.tunnel]\nsource = {source}\n");
        read(&text).unwrap_or_else(|error| panic!("{error}")).config.services[0].tunnel
    };
    let v4 = |source: &str| tunnel(&format!("\"{source}\"")).source_v4;
    let v6 = |source: &str| tunnel(&format!("\"{source}\"")).source_v6;
    assert_eq!(v4("10.0.0.7/32"), ([10, 0, 0, 7].into(), 0));
    assert_eq!(v4("10.0.0.0/8"), ([10, 0, 0, 0].into(), 24));
    assert_eq!(v4("10.0.0.6/31"), ([10, 0, 0, 6].into(), 1));
    assert_eq!(v6("2001:db8::/96"), ("2001:db8::".parse().unwrap(), 32));
    assert_eq!(v6("2001:db8::7/128"), ("2001:db8::7".parse().unwrap(), 0));
    // The other family keeps its own.
    assert_eq!(v4("2001:db8::/96"), Tunnel::default().source_v4);
    assert_eq!(v6("10.0.0.0/8"), Tunnel::default().source_v6);
    let both = tunnel("[\"2001:db8::/112\", \"10.1.0.0/16\"]");
    assert_eq!(both.source_v4, ([10, 1, 0, 0].into(), 16));
    assert_eq!(both.source_v6, ("2001:db8::".parse().unwrap(), 16));
}

#[test]
fn tunnels_lead_to_either_family() {
    let tunnel = SERVICE.replace("dsr", "tunnel");
    let backend = |address: &str| format!("[[service.backend]]\naddress = \"{address}\"\n");
    let backends = backend("10.0.0.6:80") + &backend("[2001:db8::6]:80");
    for vips in [
        "\"192.0.2.10:80\"",
        "\"[2001:db8::10]:80\"",
        "[\"192.0.2.10:80\", \"[2001:db8::10]:80\"]",
    ] {
        let text = format!("{NODE}{}{backends}", tunnel.replace("\"192.0.2.10:80\"", vips));
        let config = read(&text).unwrap_or_else(|error| panic!("{error}")).config;
        assert_eq!(
            (config.services[0].mode, config.services[0].backends.len()),
            (Mode::Tunnel, 2)
        );
    }
}

#[test]
fn ports_of_vips() {
    let vips = |address: &str| -> Vec<String> {
        let text = format!("{NODE}{}", SERVICE.replace("\"192.0.2.10:80\"", address));
        let config = read(&text).unwrap_or_else(|error| panic!("{error}")).config;
        config.services[0].vips.iter().map(Vip::to_string).collect()
    };
    assert_eq!(vips("\"192.0.2.10:8000-8999\""), ["192.0.2.10:8000-8999"]);
    assert_eq!(vips("\"[2001:DB8:0::10]:80-80\""), ["[2001:db8::10]:80-80"]);
    assert_eq!(
        vips("[\"192.0.2.10:*\", \"[2001:db8::10]:1-65535\"]"),
        ["192.0.2.10:*", "[2001:db8::10]:1-65535"]
    );
}

#[test]
fn sources_and_ports_of_nat() {
    let nat = |text: &str| {
        read(&format!("{NODE}{SERVICE}[service.nat]\n{text}"))
            .unwrap()
            .config
            .services[0]
            .nat
            .clone()
    };
    assert_eq!(nat(""), Nat::default());
    assert_eq!(nat("source = \"auto\"\n"), Nat::default());
    assert_eq!(nat("source = \"client\"\n").source, NatSource::Client);
    let floating = |ips: &[&str]| NatSource::Floating(ips.iter().map(|ip| ip.parse().unwrap()).collect());
    assert_eq!(nat("source = \"10.0.0.250\"\n").source, floating(&["10.0.0.250"]));
    assert_eq!(
        nat("source = [\"2001:db8::250\", \"10.0.0.250\"]\n").source,
        floating(&["2001:db8::250", "10.0.0.250"])
    );
    assert_eq!(nat("ports = \"1-65535\"\n").ports, PortRange::new(1, 65_535).unwrap());
    assert_eq!(nat("ports = \"7-7\"\n").ports, PortRange::new(7, 7).unwrap());
}

/// Whatever `[service.nat]` contradicts is asked only where it is in force.
#[test]
fn one_word_switches_between_modes() {
    let text = format!(
        "{NODE}{SERVICE}[service.nat]\nsource = \"10.0.0.250\"\nports = \"1-1000\"\n\
        [[service.backend]]\naddress = \"10.0.0.6:80\"\n{}",
        SERVICE.replace("web", "other").replace(".10:80", ".11:90")
    );
    for modes in [
        ["dsr", "dsr"],
        ["dsr", "nat"],
        ["nat", "dsr"],
        ["tunnel", "nat"],
        ["nat", "tunnel"],
    ] {
        let mut parts = text.splitn(3, "\"dsr\"");
        let text = format!(
            "{}\"{}\"{}\"{}\"{}",
            parts.next().unwrap(),
            modes[0],
            parts.next().unwrap(),
            modes[1],
            parts.next().unwrap()
        );
        let config = read(&text).unwrap_or_else(|error| panic!("{error}")).config;
        let read: Vec<&str> = config.services.iter().map(|s| s.mode.label()).collect();
        assert_eq!(read, modes);
        assert_eq!(config.services[0].nat.ports.last(), 1_000);
    }
}

#[test]
fn what_nat_allows() {
    let nat = SERVICE.replace("dsr", "nat");
    let two_ports = nat.replace("\"192.0.2.10:80\"", "[\"192.0.2.10:80\", \"192.0.2.10:8080\"]");
    let other = |vip: &str, rest: &str| nat.replace("web", "other").replace("192.0.2.10:80", vip) + rest;
    for text in [
        // Another port behind each of two VIP ports.
        format!("{two_ports}[[service.backend]]\naddress = \"10.0.0.6:3000\"\n"),
        // One pool for two services, and a range that touches it.
        format!(
            "{nat}{}{}",
            other("192.0.2.10:81", ""),
            other("192.0.2.10:82", "[service.nat]\nports = \"30000-30001\"\n").replace("other", "third")
        ),
        // A VIP within the range: of another protocol, of another family, of a client's, at another floating source.
        format!(
            "{nat}{}",
            other(
                "192.0.2.10:20000",
                "protocol = \"udp\"\n[service.nat]\nports = \"1-9\"\n"
            )
        ),
        format!("{nat}{}", other("[2001:db8::1]:20000", "").replace("nat", "dsr")),
        format!(
            "{nat}[service.nat]\nsource = \"client\"\n{}",
            SERVICE.replace("web", "x").replace(":80", ":20000")
        ),
        format!(
            "{nat}[service.nat]\nsource = \"192.0.2.99\"\n{}",
            SERVICE.replace("web", "x").replace(":80", ":20000")
        ),
        // A client's ports are not the node's, so nobody compares them.
        format!(
            "{nat}{}",
            other(
                "192.0.2.10:81",
                "[service.nat]\nsource = \"client\"\nports = \"1-65535\"\n"
            )
        ),
        // A floating source may be a VIP, also the service's own.
        format!("{nat}[service.nat]\nsource = \"192.0.2.10\"\n"),
        format!("[admin]\nlisten = \"127.0.0.1:20000\"\n{nat}"),
        format!("[admin]\nlisten = \"192.0.2.1:20000\"\n{nat}[service.nat]\nsource = \"192.0.2.10\"\n"),
        format!("[admin]\nlisten = \"[::]:20000\"\n{nat}protocol = \"udp\"\n"),
    ] {
        read(&format!("{NODE}{text}")).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn other_ways_to_write_the_same() {
    let inline = "node = { interfaces = ['eth0'] }\nservice = [{ name = 'web', address = ['192.0.2.10:80'], \
        mode = 'dsr', health.kind = 'http', backend = [{ address = '10.0.0.6:80', weight = 0x10 }] }]\n";
    let tables = format!(
        "\u{feff}{NODE}{SERVICE}[[service.backend]]\naddress = \"10.0.0.6:80\"\nweight = 16\n\
        [service.health]\nkind = \"http\"\n"
    );
    let config = read(inline).unwrap().config;
    assert_eq!(config, read(&tables).unwrap().config);
    assert_eq!(config, read(&tables.replace('\n', "\r\n")).unwrap().config);
    let probe = HttpProbe::default();
    assert_eq!(config.services[0].health.kind, HealthKind::Http(probe.into()));
}

#[test]
fn the_host_names_a_node_without_a_name() {
    let name = parse("x", NODE).unwrap().config.node.name;
    let named = read(&format!("{NODE}name = \"{name}\"\n")).unwrap();
    assert_eq!(named.config.node.name, name, "a host's name is a valid name");
}

#[test]
fn the_example_is_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example.toml");
    let parsed = load(path.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    if let Some(warning) = parsed.warnings.first() {
        panic!("{warning}");
    }
    let text = std::fs::read_to_string(path).unwrap();
    for key in schema::ALL
        .iter()
        .flat_map(|shape| shape.keys)
        .filter(|&&key| key != "undeclared")
    {
        assert!(text.contains(key), "docs/example.toml does not show `{key}`");
    }
}

#[test]
fn every_key_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    // Tables of pools have the keys of those of services, which come first.
    let mut seen: Vec<&[&str]> = Vec::new();
    for shape in schema::ALL {
        if seen.contains(&shape.keys) {
            continue;
        }
        seen.push(shape.keys);
        let Some(section) = section(&text, shape.name) else {
            assert_eq!(shape.name, schema::ROOT.name, "no section about {}", shape.name);
            continue;
        };
        for key in shape
            .keys
            .iter()
            .filter(|&&key| !(shape.name == "[[service]]" && TABLES.contains(&key)))
        {
            assert!(
                section.contains(&format!("\n| `{key}` |")),
                "`{key}` of {} is not documented",
                shape.name
            );
        }
    }
}

/// Keys of a service that have sections of their own.
const TABLES: [&str; 9] = [
    "health",
    "nat",
    "tunnel",
    "protection",
    "tls",
    "http",
    "upstream",
    "route",
    "backend",
];

/// What the documentation says of a table: its section with those below it, or its part of a section.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let within = |mark: &str| {
        text.split(mark)
            .find(|section| section.starts_with(&format!("`{name}`")))
    };
    within("\n## ").or_else(|| within("\n### "))
}

#[test]
fn files_in_the_documentation_are_good() {
    for page in ["configuration.md", "high-availability.md"] {
        let text = std::fs::read_to_string(format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let examples = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap());
        let mut files = 0;
        for example in examples.filter(|example| example.contains("[node]")) {
            parse_with(page, example, || "lb1".to_owned()).unwrap_or_else(|error| panic!("{error}"));
            files += 1;
        }
        assert!(files > 0, "{page}");
    }
}
