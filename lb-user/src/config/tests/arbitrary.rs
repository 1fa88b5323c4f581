//! Properties: what can be written reads back the same, and no input panics.
//!
//! Past 500 lines: a strategy for each part of the file, and what they are put together to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::load;
use super::{peers, protection, read, vrrp, written};
use crate::model::{
    Admin, AdminState, Backend, Balance, Config, HealthCheck, HealthKind, Mode, Nat, NatSource, Node, PortRange, Ports,
    Protocol, RingSize, Role, Service, Tunnel, Undeclared, Via, Vip, XdpMode,
};

const EXAMPLE: &str = include_str!("../../../../docs/example.toml");

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
}

fn path() -> impl Strategy<Value = String> {
    "(/[ -~äß]{1,10}){1,8}"
}

fn node() -> impl Strategy<Value = Node> {
    let interfaces = prop::collection::btree_set("[!-.0-9;-~]{3,15}", 1..5);
    let modes = select(vec![XdpMode::Auto, XdpMode::Native, XdpMode::Generic]);
    let flows = lb_common::limits::FLOW_TABLE_RANGE.0..=lb_common::limits::FLOW_TABLE_RANGE.1;
    (
        name(),
        interfaces,
        modes,
        prop::option::of(path()),
        path(),
        path(),
        flows,
        prop::option::of(1u16..=256),
        prop::option::of("[a-z_][-a-z0-9_.]{0,31}"),
    )
        .prop_map(
            |(name, interfaces, xdp_mode, seed, state_dir, pin_dir, flow_table_size, threads, script_user)| Node {
                name,
                interfaces: interfaces.into_iter().collect(),
                xdp_mode,
                hash_seed_file: seed.map(Into::into),
                state_dir: state_dir.into(),
                pin_dir: pin_dir.into(),
                flow_table_size,
                proxy_threads: threads.and_then(NonZeroU16::new),
                script_user: script_user.map(Into::into),
            },
        )
}

fn health() -> impl Strategy<Value = HealthCheck> {
    let kind = super::probes::kind();
    let streak = || (1u32..=1000).prop_map(|n| NonZeroU32::new(n).unwrap());
    let times = (
        10u64..=86_400_000,
        any::<Index>(),
        prop::option::of(1_000u64..=86_400_000),
    );
    let quorum = (1u32..=65_534).prop_map(|n| NonZeroU32::new(n).unwrap());
    let via = any::<bool>();
    (kind, via, times, streak(), streak(), quorum).prop_map(
        |(kind, via, (interval, timeout, slow_start), rise, fall, quorum)| {
            let goes = !matches!(kind, HealthKind::Script(_) | HealthKind::None);
            HealthCheck {
                kind,
                via: if via && goes { Via::Service } else { Via::Address },
                interval: Duration::from_millis(interval),
                timeout: Duration::from_millis(timeout.index(interval as usize) as u64 + 1),
                rise,
                fall,
                slow_start: slow_start.map(Duration::from_millis),
                quorum,
            }
        },
    )
}

/// What a service says of translation.
#[derive(Clone, Debug)]
struct Translation {
    mode: Mode,
    /// In `nat`, all is of one family: IPv6?
    v6: bool,
    /// Which kind of source, and for floating ones, of which families.
    source: u8,
    /// Which of [`POOLS`].
    pool: usize,
}

fn translation() -> impl Strategy<Value = Translation> {
    let mode = select(vec![Mode::Dsr, Mode::Nat, Mode::Tunnel]);
    (mode, any::<bool>(), 0u8..5, 0..POOLS.len()).prop_map(|(mode, v6, source, pool)| Translation {
        mode,
        v6,
        source,
        pool,
    })
}

/// Ranges for `nat`, which must not overlap.
const POOLS: [PortRange; 3] = [
    PortRange::DEFAULT,
    PortRange::new(30_000, 30_000).unwrap(),
    PortRange::new(30_001, 65_535).unwrap(),
];

/// A port that no pool has, out of any.
pub(super) fn outside_pools(port: u16) -> u16 {
    if POOLS.iter().any(|pool| pool.contains(port)) {
        port % 19_999 + 1
    } else {
        port.max(1)
    }
}

/// What a service says of flows, of ports and of packets that go through a tunnel.
#[derive(Clone, Debug)]
struct Flows {
    balance: Balance,
    track: bool,
    drain_timeout: Option<Duration>,
    tunnel: Tunnel,
    /// Single ports, ranges, or all ports and ranges.
    ports: u8,
    steers: bool,
}

fn flows() -> impl Strategy<Value = Flows> {
    let balance = select(vec![
        Balance::Maglev,
        Balance::SourceHash,
        Balance::RoundRobin,
        Balance::LeastConnections,
    ]);
    let drain = prop::option::of((1_000u64..=2_592_000_000).prop_map(Duration::from_millis));
    let source_v4 = (any::<u32>(), 0u8..=24).prop_map(|(bits, varied)| {
        let ip = 10 << 24 | bits & 0x00ff_ffff;
        (Ipv4Addr::from(ip >> varied << varied), varied)
    });
    let source_v6 = (any::<u128>(), 0u8..=32).prop_map(|(bits, varied)| {
        let ip = 0x2001_0db8 << 96 | bits >> 32;
        (Ipv6Addr::from(ip >> varied << varied), varied)
    });
    (
        balance,
        any::<bool>(),
        drain,
        source_v4,
        source_v6,
        0u8..3,
        any::<bool>(),
    )
        .prop_map(
            |(balance, track, drain_timeout, source_v4, source_v6, ports, steers)| Flows {
                balance,
                track,
                drain_timeout,
                tunnel: Tunnel { source_v4, source_v6 },
                ports,
                steers,
            },
        )
}

/// A range below all pools.
fn below_pools(port: u16) -> PortRange {
    let first = port % 10_000 + 1;
    PortRange::new(first, first + port % 7_919).unwrap()
}

/// Services on all ports are in the way of `nat` that has any source: they get fewer.
fn make_room(mut services: Vec<Service>) -> Vec<Service> {
    let auto = |service: &Service| service.mode == Mode::Nat && service.nat.source == NatSource::Auto;
    if services.iter().any(auto) {
        for vip in services.iter_mut().flat_map(|service| &mut service.vips) {
            if vip.ports == Ports::All {
                vip.ports = Ports::Range(PortRange::new(1, 19_999).unwrap());
            }
        }
    }
    services
}

/// Addresses of a service: VIPs from `index` on, so that services never share one; backends out of two prefixes.
fn services() -> impl Strategy<Value = Vec<Service>> {
    let state = select(AdminState::ALL.to_vec());
    let role = select(Role::ALL.to_vec());
    let backends = prop::collection::btree_map(
        any::<(bool, u16)>(),
        (any::<bool>(), 0u16.., state, role, 1u16..),
        0..12,
    );
    let policy = select(vec![None, Some(Undeclared::Drop), Some(Undeclared::Pass)]);
    let service = (
        name(),
        1u16..,
        1u16..4,
        select(vec![Protocol::Tcp, Protocol::Udp]),
        6u32..=12,
        policy,
        health(),
        backends,
        translation(),
        (5_000u64..=2_592_000_000, flows()),
    );
    prop::collection::vec(service, 0..6)
        .prop_map(|services| {
            let mut names = BTreeSet::new();
            let unique = services.into_iter().filter(|service| names.insert(service.0.clone()));
            unique
                .enumerate()
                .map(
                    |(
                        index,
                        (name, port, vips, protocol, log2, undeclared, health, backends, translation, (idle, flows)),
                    )| {
                        let Translation { mode, v6, source, pool } = translation;
                        let steers = flows.steers && flows.ports == 0 && protocol == Protocol::Tcp;
                        let port = if steers { 80 } else { port };
                        let nat = mode == Mode::Nat;
                        let ip = |v6: bool, net: u16, host: u16| -> IpAddr {
                            if v6 {
                                [0x2001, 0xdb8, net, 0, 0, 0, 0, host].into()
                            } else {
                                [10, net as u8, (host >> 8) as u8, host as u8].into()
                            }
                        };
                        let vips = (0..vips)
                            .map(|i| {
                                let ports = match flows.ports {
                                    0 if nat => Ports::One(outside_pools(port.wrapping_add(i))),
                                    0 => Ports::One(outside_pools(port)),
                                    2 if i == 0 => Ports::All,
                                    _ => Ports::Range(below_pools(port.wrapping_add(i))),
                                };
                                let v6 = if nat { v6 } else { i % 2 == 1 };
                                Vip {
                                    ip: ip(v6, 1 + index as u16, i),
                                    ports,
                                }
                            })
                            .collect::<Vec<_>>();
                        let backends = backends
                            .into_iter()
                            .filter(|((own, _), _)| match mode {
                                Mode::Nat => *own == v6,
                                Mode::Dsr => vips.len() > 1 || !own,
                                Mode::Tunnel | Mode::Proxy => true,
                            })
                            .map(|((v6, host), (named, weight, state, role, own))| {
                                let free = nat && flows.ports == 0;
                                let address =
                                    SocketAddr::new(ip(v6, 0, host), if free { own } else { vips[0].ports.first() });
                                let name = if named {
                                    format!("b{}-{host}", u8::from(v6))
                                } else {
                                    address.to_string()
                                };
                                Backend {
                                    name: name.into(),
                                    address,
                                    host: None,
                                    weight,
                                    state,
                                    role,
                                    leaving: false,
                                }
                            })
                            .collect();
                        let floating = |v6| ip(v6, 100 + index as u16, 1);
                        let source = match source {
                            0 => NatSource::Auto,
                            1 => NatSource::Client,
                            2 => NatSource::Floating(vec![floating(v6)]),
                            _ => NatSource::Floating(vec![floating(source == 3), floating(source != 3)]),
                        };
                        let by_turns = matches!(flows.balance, Balance::RoundRobin | Balance::LeastConnections);
                        Service {
                            nat: Nat {
                                source,
                                ports: POOLS[pool],
                            },
                            idle_timeout: Duration::from_millis(idle),
                            tunnel: flows.tunnel,
                            drain_timeout: flows.drain_timeout,
                            track: flows.track || protocol == Protocol::Tcp || by_turns,
                            name: name.into(),
                            vips,
                            protocol,
                            named: Vec::new(),
                            mode,
                            balance: flows.balance,
                            table_size: RingSize::new(1 << log2).unwrap(),
                            undeclared,
                            proxy: steers.then(Arc::default),
                            protection: None,
                            health,
                            backends,
                        }
                    },
                )
                .collect()
        })
        .prop_map(make_room)
}

fn config() -> impl Strategy<Value = Config> {
    let listen = prop::option::of((any::<bool>(), 1..=u16::MAX)).prop_map(|listen| {
        let ip = |everywhere| {
            if everywhere {
                [0; 8].into()
            } else {
                IpAddr::from([127, 0, 0, 1])
            }
        };
        listen.map(|(everywhere, port)| SocketAddr::new(ip(everywhere), outside_pools(port)))
    });
    let token = prop::option::of("(/[a-z]{1,10}){1,9}");
    let parts = (node(), "(/[a-z]{1,10}){1,9}", listen, token, services());
    let plain = parts.prop_map(|(node, socket, listen, token, services)| Config {
        routers: Vec::new(),
        announced: Vec::new(),
        peers: None,
        protection: None,
        node,
        admin: Admin {
            socket: socket.into(),
            listen,
            token_file: token.map(Into::into),
        },
        services,
    });
    let parts = (
        plain,
        vrrp::any_routers(),
        prop::option::of(any::<u64>()),
        peers::any_peers(),
        protection::any_protection(),
    );
    parts.prop_map(|(config, routers, announced, peers, protection)| {
        let config = peers::with(announcing(vrrp::with(config, routers), announced), peers);
        protection::with(config, protection)
    })
}

/// The configuration with some of its VIPs announced, by the bits of `which`.
fn announcing(mut config: Config, which: Option<u64>) -> Config {
    let held: BTreeSet<IpAddr> = config.virtual_addresses().collect();
    let listen = config.admin.listen.map(|listen| listen.ip());
    let vips = config.services.iter().flat_map(crate::model::Service::vip_addresses);
    let vips: BTreeSet<IpAddr> = vips.filter(|vip| !held.contains(vip) && listen != Some(*vip)).collect();
    let is_meant = |place: usize| which.is_some_and(|which| which >> (place % 64) & 1 == 1);
    let vips = vips.into_iter().enumerate();
    config.announced = vips.filter(|(place, _)| is_meant(*place)).map(|(_, vip)| vip).collect();
    if !config.announced.is_empty() && config.node.hash_seed_file.is_none() {
        config.node.hash_seed_file = Some("/etc/fulcrum/seed".into());
    }
    config
}

/// Reads, and renders whatever comes of it.
fn survives(text: &str) {
    match read(text) {
        Ok(parsed) => parsed.warnings.iter().for_each(|warning| drop(warning.to_string())),
        Err(error) => {
            assert!(error.line().is_some() && error.column().is_some());
            assert!(!error.message().contains('\n'), "{error}");
            assert!(
                error.to_string().len() < 4_000 && !error.render(true).is_empty(),
                "{error}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_reads_back_the_same(config in config()) {
        let text = written::config(&config);
        let parsed = read(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parsed.config, config);
        parsed.warnings.iter().for_each(|warning| drop(warning.to_string()));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_toml_panics(tokens in prop::collection::vec(select(TOKENS.to_vec()), 0..60)) {
        survives(&tokens.concat());
    }

    #[test]
    fn no_cut_or_paste_panics(from in any::<Index>(), to in any::<Index>(), at in any::<Index>(), paste in any::<bool>()) {
        let places: Vec<usize> = EXAMPLE.char_indices().map(|(i, _)| i).collect();
        let (from, to, at) = (*from.get(&places), *to.get(&places), *at.get(&places));
        let (from, to) = (from.min(to), from.max(to));
        let mut text = EXAMPLE.to_owned();
        if paste {
            text.insert_str(at, &EXAMPLE[from..to]);
        } else {
            text.replace_range(from..to, "");
        }
        survives(&text);
    }

    #[test]
    fn no_replaced_value_panics(line in any::<Index>(), value in select(VALUES.to_vec())) {
        let lines: Vec<&str> = EXAMPLE.lines().collect();
        let line = line.index(lines.len());
        let replaced = lines[line].split_once(" = ").map(|(key, _)| format!("{key} = {value}"));
        let text: Vec<&str> = lines.iter().enumerate().map(|(i, old)| match &replaced {
            Some(new) if i == line => new.as_str(),
            _ => old,
        }).collect();
        survives(&text.join("\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), at in any::<Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        let mut content = EXAMPLE.as_bytes().to_vec();
        let at = at.index(content.len());
        content.splice(at..at, bytes);
        std::fs::write(&path, content).unwrap();
        if let Err(error) = load(&path) {
            prop_assert!(error.line().is_some() && error.to_string().len() < 4_000);
        }
    }
}

const TOKENS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    " = ",
    ".",
    ",",
    "\n",
    "\r\n",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "-",
    "node",
    "admin",
    "service",
    "health",
    "backend",
    "name",
    "address",
    "interfaces",
    "\"eth0\"",
    "\"192.0.2.1:80\"",
    "1",
    "0x",
    "1e9",
    "inf",
    "1979-05-27",
    "true",
    "\u{feff}",
    "ö",
    "\u{202e}",
    "\t",
    "\0",
    "[[service]]\n",
    "[node]\n",
    "mode = \"dsr\"\n",
    "mode = \"nat\"\n",
    "mode = \"tunnel\"\n",
    "tunnel",
    "track",
    "drain-timeout",
    "\"192.0.2.1:80-90\"",
    "\"192.0.2.1:*\"",
    "\"10.0.0.0/8\"",
    "nat",
    "source",
    "ports",
    "vrrp",
    "priority",
    "addresses",
    "peers",
    "notify",
    "[[vrrp]]\n",
    "[[vrrp.track]]\n",
    "[peers]\n",
    "nodes",
    "key-file = \"/key\"\n",
    "hash-seed-file = \"/seed\"\n",
    "interface = \"eth0\"\n",
    "router-id = 1\n",
    "[protection]\n",
    "[service.protection]\n",
    "allow",
    "deny = [\"all\"]\n",
    "\"file:/etc/hosts\"",
    "packets-per-second = { limit = 1 }\n",
    "per",
    "syn-cookies",
    "above",
];

const VALUES: &[&str] = &[
    "1",
    "-1",
    "0",
    "1.5",
    "nan",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "[[]]",
    "{}",
    "[\"\"]",
    "[1]",
    "{a = 1}",
    "[{}]",
    "1979-05-27",
    "99999999999999999999999999999999999999999",
    "\"0s\"",
    "\"192.0.2.10:443\"",
    "\"\\u0000\"",
    "\"[::ffff:1.2.3.4]:80\"",
    "\"9-1\"",
    "\"-\"",
    "\"70000-80000\"",
    "\"nat\"",
    "\"tunnel\"",
    "\"never\"",
    "\"0.0.0.0/0\"",
    "\"::/0\"",
    "\"10.0.0.0/33\"",
    "\"192.0.2.10:*\"",
    "\"[2001:db8::10]:1-65535\"",
    "\"192.0.2.10:9-8\"",
    "\"fe80::1%2\"",
    "[\"10.0.0.250\", \"10.0.0.251\"]",
    "0xffffffff",
    "0b1",
    "'''\na\nb'''",
    "{ lb1 = 110 }",
    "{ lb1.example = 110 }",
    "{ master = \"\" }",
    "{ stop = [\"x\"] }",
    "[\"192.0.2.10/24\", \"192.0.2.10/\"]",
    "-253",
    "\"all\"",
    "[\"all\", \"0.0.0.0/0\"]",
    "\"file:\"",
    "[\"file:/etc/passwd\"]",
    "{ limit = 0 }",
    "{ limit = 1, per = \"/33\" }",
    "\"ööööööööööööööööööööööööööööööööööööö\"",
    "",
    "x",
];
