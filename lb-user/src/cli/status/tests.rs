use super::*;
use crate::api::types::{FlowTables, InterfaceStatus, NextHop, ProxyStatus, Refused, Reloads, ServiceProtection};
use crate::model::acme::CertificateStatus;
use crate::model::peers::PeersStatus;
use std::collections::BTreeMap;

#[test]
fn the_days_of_a_certificate_are_counted() {
    let day = 24 * 3600;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * day);
    for (not_after, expected) in [
        (0, "certificate has expired"),
        (1000 * day - 1, "certificate has expired"),
        (1001 * day - 1, "certificate ends in less than a day"),
        (1002 * day - 1, "certificate ends in 1 day"),
        (1090 * day + 5, "certificate ends in 90 days"),
    ] {
        assert_eq!(certificate(not_after, now), expected);
    }
    assert!(certificate(u64::MAX, now).starts_with("certificate ends in "));
}

#[test]
fn bytes_are_short() {
    let texts = [0, 999, 1000, 99_940, 99_960, 999_600, 123_456_789_012, u64::MAX].map(bytes);
    assert_eq!(
        texts,
        [
            "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "1.0 MB", "123 GB", "18.4 EB"
        ]
    );
}

fn backend(name: &str, health: Health, reason: &str, reached: bool) -> BackendStatus {
    BackendStatus {
        name: name.to_owned(),
        address: "10.0.0.6:80".parse().unwrap(),
        weight: 1,
        weight_in_file: None,
        slow_start_tenths: None,
        host: None,
        role: Role::Primary,
        state: AdminState::Active,
        state_in_file: None,
        health,
        health_reason: reason.to_owned(),
        probe_microseconds: None,
        certificate_not_after: None,
        next_hop: reached.then(|| NextHop {
            mac: "02:00:00:00:00:06".to_owned(),
            interface: "eth0".to_owned(),
        }),
        next_hop_reason: (!reached).then(|| "no route to 10.0.0.6".to_owned()),
        slots: 8192,
        moving_slots: 0,
        drained: false,
        packets: 5,
        bytes: 500,
        new_flows: 2,
        reply_packets: 0,
        reply_bytes: 0,
        leaving: false,
        known_flows: 0,
        cut_flows: 0,
        nat: None,
        proxy: None,
    }
}

fn service(name: &str, mode: &str, backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        vips: Vec::new(),
        protocol: Protocol::Tcp,
        mode: mode.to_owned(),
        balance: "maglev".to_owned(),
        table_size: 16384,
        slot_states: SlotStates {
            stable: 0,
            moving: 0,
            settled: 0,
        },
        healthy: true,
        ready: 2,
        quorum: 1,
        backends,
        certificates: Vec::new(),
        protection: None,
        http: None,
        unresolved: Vec::new(),
    }
}

#[test]
fn services_of_the_proxy_show_requests() {
    let proxied = |name: &str, proxy: ProxyStatus| BackendStatus {
        slots: 0,
        next_hop: None,
        proxy: Some(proxy),
        ..backend(name, Health::Up, "200 in 1 ms", true)
    };
    let busy = ProxyStatus {
        serves: true,
        ejected: false,
        active: 3,
        connections: 8,
        requests: 12_345,
        failures: 2,
        received: 7_654_321,
        sent: 4_200,
    };
    let aside = ProxyStatus {
        ejected: true,
        ..ProxyStatus::default()
    };
    let standby = BackendStatus {
        role: Role::Backup,
        ..proxied("web3", ProxyStatus::default())
    };
    let mut shop = service(
        "shop",
        "proxy",
        vec![proxied("web1", busy), proxied("web2", aside), standby],
    );
    shop.vips = vec![VipStatus {
        address: "192.0.2.10:443".parse().unwrap(),
        exclusive: true,
    }];
    let drained = BackendStatus {
        state: AdminState::Drain,
        cut_flows: 4,
        ..proxied("web4", ProxyStatus::default())
    };
    let mut pool = service("api", "proxy", vec![drained]);
    pool.balance = "peak-ewma".to_owned();
    (pool.healthy, pool.ready) = (false, 0);
    let mut steered = service("plain", "dsr", vec![proxied("web1", busy)]);
    steered.slot_states.moving = 16;
    let text = service_text(&steered);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[1],
        "  new connections are the proxy's, since an authority may come"
    );
    assert!(
        lines[2].contains("16 slots are moving") && lines[4].contains("up: 200"),
        "{text}"
    );
    let expected = "\
shop  tcp 192.0.2.10:443  proxy maglev
  BACKEND  ADDRESS      WEIGHT  ACTIVE  REQUESTS  FAILED  RECEIVED    SENT  HEALTH
  web1     10.0.0.6:80       1       3     12345       2    7.7 MB  4.2 kB  up: 200 in 1 ms
  web2     10.0.0.6:80       1       0         0       0       0 B     0 B  up: 200 in 1 ms; set aside for what it did to requests
  web3     10.0.0.6:80       1       0         0       0       0 B     0 B  standby; up: 200 in 1 ms

api  pool  peak-ewma
  NO QUORUM: 0 backends can take new requests, it needs 1
  BACKEND  ADDRESS      WEIGHT  ACTIVE  REQUESTS  FAILED  RECEIVED  SENT  HEALTH
  web4     10.0.0.6:80       1       0         0       0       0 B   0 B  draining; up: 200 in 1 ms; 4 requests were cut
";
    assert_eq!(format!("{}\n{}", service_text(&shop), service_text(&pool)), expected);
}

#[test]
fn people_see_what_matters() {
    let refused = Refused {
        dropped: BTreeMap::from([("denied".to_owned(), 0)]),
        observed: BTreeMap::from([("denied".to_owned(), 5)]),
        cookies_answered: 0,
        cookies_accepted: 0,
        sources_evicted: 1,
    };
    let status = Status {
        node: "lb1".to_owned(),
        version: "0.1.0".to_owned(),
        interfaces: vec![InterfaceStatus {
            name: "eth0".to_owned(),
            mode: XdpMode::Native,
        }],
        unattached_interfaces: vec![UnattachedInterface {
            name: "eth1".to_owned(),
            reason: "there is no interface of this name".to_owned(),
        }],
        virtual_routers: vec![VirtualRouter {
            name: "VI_1".to_owned(),
            interface: "eth0".to_owned(),
            router_id: 41,
            version: 3,
            role: "backup".to_owned(),
            reason: "10.0.0.2 goes before it, with priority 110".to_owned(),
            priority: 70,
            priority_in_file: 100,
            addresses: vec!["192.0.2.10".parse().unwrap()],
            master: Some("10.0.0.2".parse().unwrap()),
            master_priority: Some(110),
            rival: false,
            down: vec!["script pidof nginx".to_owned()],
            transitions: 2,
            sent: 12,
            received: 345,
            notify_fault: Some("/etc/fulcrum/on-backup: exit code 1".to_owned()),
        }],
        announcements: [(true, "its services have their quorum"), (false, "web has no quorum")]
            .into_iter()
            .zip(["192.0.2.10", "2001:db8::10"])
            .map(|((announced, reason), address)| Announcement {
                address: address.parse().unwrap(),
                announced,
                reason: reason.to_owned(),
            })
            .collect(),
        draining: true,
        certificates: vec![CertificateStatus::example().into()],
        peers: PeersStatus::example().peers.into_iter().map(Into::into).collect(),
        services: vec![ServiceStatus {
            name: "web".to_owned(),
            vips: vec![VipStatus {
                address: "192.0.2.10:80".parse().unwrap(),
                exclusive: false,
            }],
            protocol: Protocol::Tcp,
            mode: "dsr".to_owned(),
            balance: "maglev".to_owned(),
            table_size: 16384,
            slot_states: SlotStates {
                stable: 16100,
                moving: 280,
                settled: 4,
            },
            healthy: false,
            ready: 2,
            quorum: 3,
            backends: vec![
                backend("web1", Health::Up, "connected in 0.3 ms", true),
                backend("web2", Health::Down, "connection refused", true),
                backend("web3", Health::Up, "connected in 0.3 ms", false),
                BackendStatus {
                    weight: 4,
                    weight_in_file: Some(1),
                    state: AdminState::Drain,
                    state_in_file: Some(AdminState::Active),
                    ..backend("web4", Health::Up, "connected in 0.3 ms", true)
                },
                BackendStatus {
                    leaving: true,
                    state: AdminState::Drain,
                    known_flows: 12,
                    cut_flows: 7,
                    ..backend("web0", Health::Up, "connected in 0.3 ms", true)
                },
                BackendStatus {
                    state: AdminState::Disabled,
                    ..backend("web5", Health::Unknown, "not probed while disabled", true)
                },
                BackendStatus {
                    state_in_file: Some(AdminState::Disabled),
                    ..backend("web6", Health::Up, "connected in 0.3 ms", true)
                },
                BackendStatus {
                    slow_start_tenths: Some(3),
                    ..backend("web7", Health::Up, "connected in 0.3 ms", true)
                },
                BackendStatus {
                    role: Role::Backup,
                    slots: 0,
                    ..backend("web8", Health::Up, "connected in 0.3 ms", true)
                },
                BackendStatus {
                    role: Role::Backup,
                    ..backend("web9", Health::Up, "connected in 0.3 ms", true)
                },
            ],
            certificates: Vec::new(),
            protection: Some(ServiceProtection {
                enforcement: "observe".to_owned(),
                refused: Refused {
                    sources_evicted: 0,
                    ..refused.clone()
                },
            }),
            http: None,
            unresolved: vec![UnresolvedBackend {
                name: "web10".to_owned(),
                host: "web10.lan".to_owned(),
                port: 80,
                reason: "web10.lan has no address".to_owned(),
            }],
        }],
        flows: FlowTables {
            flows: FlowTable {
                entries: 12,
                capacity: 262_144,
                written: 90,
                no_room: 3,
            },
            tracked: FlowTable::default(),
        },
        protection: Some(Protection {
            enforcement: "observe".to_owned(),
            prefixes: 1_000_003,
            addresses: refused,
        }),
        drops: [("undeclared".to_owned(), 3), ("fragment".to_owned(), 0)].into(),
        repairs: BTreeMap::from([("slot".to_owned(), 3), ("entry".to_owned(), 0)]),
        started: 0,
        reloads: Reloads::default(),
        refused_reload: None,
        unread_file: Some("/etc/x has changed since it was read".to_owned()),
        fault: Some("map RING is full".to_owned()),
        overrides_fault: Some("they would be forgotten".to_owned()),
    };
    let expected = "\
lb1: attached to eth0 (native)
DRAINING: clients go to other nodes; `fulcrum node enable` ends that
OBSERVING: [protection] drops nothing, it only counts; `enforcement = \"enforce\"` ends that
NOT ATTACHED to eth1: there is no interface of this name
FAULT: map RING is full
REPAIRED what somebody else has changed: slot 3
FILE: /etc/x has changed since it was read
OVERRIDES: they would be forgotten

VI_1  192.0.2.10  router-id 41 on eth0
  BACKUP: 10.0.0.2 goes before it, with priority 110; priority 70 (100 in the file)
  master is 10.0.0.2, with priority 110
  down: script pidof nginx
  NOTIFY: /etc/fulcrum/on-backup: exit code 1

bgp
  192.0.2.10    announced: its services have their quorum
  2001:db8::10  NOT ANNOUNCED: web has no quorum

peer lb2  10.0.0.2:8473  told of 1234 flows, 12 ms behind; tells of 567 flows, and of 8 that this node has no such backend for, and of 9 without room
peer lb3  10.0.0.3:8473  NOT TOLD of flows: it does not answer; does NOT TELL, and of 8 that this node has no such backend for, and of 9 without room

web  tcp 192.0.2.10:80 (shared)  dsr maglev over 16384 slots
  NO QUORUM: 2 backends can take new flows, it needs 3
  OBSERVING: what would be refused goes on to the service, and is counted
  would have been refused: denied 5
  280 slots are moving, 4 are settled
  BACKEND  ADDRESS           WEIGHT  SHARE  PACKETS  NEW FLOWS  KNOWN  HEALTH
  web1     10.0.0.6:80            1  50.0%        5          2      0  up: connected in 0.3 ms
  web2     10.0.0.6:80            1  50.0%        5          2      0  DOWN: connection refused
  web3     10.0.0.6:80            1  50.0%        5          2      0  up, but no route to 10.0.0.6
  web4     10.0.0.6:80  4 (file: 1)  50.0%        5          2      0  draining (file: active); up: connected in 0.3 ms
  web0     10.0.0.6:80            1  50.0%        5          2     12  leaving: draining; up: connected in 0.3 ms; 7 flows were cut
  web5     10.0.0.6:80            1  50.0%        5          2      0  disabled
  web6     10.0.0.6:80            1  50.0%        5          2      0  active (file: disabled); up: connected in 0.3 ms
  web7     10.0.0.6:80            1  50.0%        5          2      0  up: connected in 0.3 ms; slow start, 30% of its weight
  web8     10.0.0.6:80            1   0.0%        5          2      0  standby; up: connected in 0.3 ms
  web9     10.0.0.6:80            1  50.0%        5          2      0  backup in service; up: connected in 0.3 ms
  NO ADDRESS for web10: web10.lan has no address

certificates
  web  shop.example www.shop.example  until 2026-12-20T14:13:20Z  next at 2026-11-20T14:13:20Z
  NO NEW CERTIFICATE for web: shop.example, step challenge: connection refused (connection)

known flows: 12 of 262144; 3 times there was no room

protection: 1000003 prefixes
  for no service, would have been refused: denied 5
  for no service, 1 time a source that had sent much was forgotten for want of room: limits let more in than they say

dropped: undeclared 3
";
    assert_eq!(text(&status), expected);
}
