//! Virtual routers: what their keys come to, and any of them, for the property tests.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{NODE, SERVICE, read};
use crate::model::vrrp::{Occasion, Program, Script, Track, Tracked, VirtualRouter, VrrpVersion};
use crate::model::{Config, Service};

/// What the node says where there are virtual routers.
pub(super) const SEED: &str = "hash-seed-file = \"/etc/fulcrum/seed\"\n";

/// The least that a virtual router says: six lines.
pub(super) const ROUTER: &str = "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 41\npriority = 100\n\
    addresses = [\"192.0.2.10\"]\n";

fn routers(text: &str) -> Vec<VirtualRouter> {
    let text = format!("{NODE}{SEED}{SERVICE}{text}");
    let parsed = read(&text).unwrap_or_else(|error| panic!("{error}"));
    parsed.config.routers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn program(words: &[&str]) -> Program {
    Program {
        path: words[0].into(),
        arguments: words[1..].iter().map(|&word| word.to_owned()).collect(),
    }
}

#[test]
fn defaults() {
    let expected = VirtualRouter {
        name: "VI_1".into(),
        interface: "eth0".into(),
        id: NonZeroU8::new(41).unwrap(),
        version: VrrpVersion::V3,
        priority: NonZeroU8::new(100).unwrap(),
        interval: Duration::from_secs(1),
        peers: vec![],
        source: None,
        addresses: vec![ip("192.0.2.10")],
        preempt: true,
        preempt_delay: Duration::ZERO,
        start_delay: Duration::ZERO,
        sync_group: None,
        notify: BTreeMap::new(),
        tracks: vec![],
    };
    assert_eq!(routers(ROUTER), [expected]);
    let tracks = routers(&format!("{ROUTER}[[vrrp.track]]\nscript = \"pidof nginx\"\n"))
        .remove(0)
        .tracks;
    let script = Script {
        program: program(&["pidof", "nginx"]),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        rise: NonZeroU32::MIN,
        fall: NonZeroU32::MIN,
    };
    let subject = Tracked::Script(script);
    assert_eq!(tracks, [Track { subject, weight: 0 }]);
}

#[test]
fn everything() {
    let text = "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 255\nversion = 2\n\
        priority = { host = 110, lb2 = 100, \"lb3.example\" = 90 }\nadvertisement-interval = \"4m15s\"\n\
        peers = [\"10.0.0.3\", \"10.0.0.2\"]\nsource-address = \"10.0.0.2\"\n\
        addresses = [\"192.0.2.11/24\", \"192.0.2.10\"]\npreempt = false\nstart-delay = \"1000s\"\n\
        sync-group = \"edge\"\n\
        notify = { master = \"/x/take  eip\", backup = [\"logger\", \"a b\"], fault = \"y\", stop = [\"z\", \"\"] }\n\
        [[vrrp.track]]\nscript = [\"/bin/sh\", \"-c\", \"exit 1 | true\"]\ninterval = \"1s\"\ntimeout = \"100ms\"\n\
        rise = 3\nfall = 2\nweight = -253\n\
        [[vrrp.track]]\ninterface = \"eth1\"\nweight = 253\n\
        [[vrrp.track]]\nservice = \"web\"\n\
        [[vrrp.track]]\nfile = \"/etc/fulcrum/maintenance\"\n\
        [[vrrp]]\nname = \"VI_2\"\ninterface = \"eth0\"\nrouter-id = 255\npriority = 255\n\
        advertisement-interval = \"40s950ms\"\nsync-group = \"edge\"\naddresses = [\"fe80::51/64\", \"2001:DB8::10/64\"]\n\
        peers = [\"2001:db8::3\"]\npreempt-delay = \"5m\"\n";
    let [one, two] = &routers(text)[..] else { panic!() };
    assert_eq!(
        (one.id.get(), one.version, one.priority.get(), one.interval),
        (255, VrrpVersion::V2, 110, Duration::from_secs(255))
    );
    assert_eq!((one.is_v6(), two.is_v6()), (false, true));
    assert_eq!(one.peers, [ip("10.0.0.3"), ip("10.0.0.2")]);
    assert_eq!(
        one.source,
        Some(ip("10.0.0.2")),
        "a file for every node names it among the peers, too"
    );
    assert_eq!(
        one.addresses,
        [ip("192.0.2.11"), ip("192.0.2.10")],
        "as the advertisement has them"
    );
    assert!(!one.preempt && one.start_delay == Duration::from_secs(1_000));
    assert_eq!(one.sync_group.as_deref(), Some("edge"));
    let notify: Vec<(Occasion, &Program)> = one.notify.iter().map(|(&occasion, p)| (occasion, &**p)).collect();
    assert_eq!(
        notify,
        [
            (Occasion::Master, &program(&["/x/take", "eip"])),
            (Occasion::Backup, &program(&["logger", "a b"])),
            (Occasion::Fault, &program(&["y"])),
            (Occasion::Stop, &program(&["z", ""])),
        ]
    );
    let script = Script {
        program: program(&["/bin/sh", "-c", "exit 1 | true"]),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(100),
        rise: NonZeroU32::new(3).unwrap(),
        fall: NonZeroU32::new(2).unwrap(),
    };
    let track = |subject, weight| Track { subject, weight };
    assert_eq!(
        one.tracks,
        [
            track(Tracked::Script(script), -253),
            track(Tracked::Interface("eth1".into()), 253),
            track(Tracked::Service("web".into()), 0),
            track(Tracked::File("/etc/fulcrum/maintenance".into()), 0),
        ]
    );
    assert_eq!((two.priority.get(), two.interval), (255, Duration::from_millis(40_950)));
    assert_eq!(
        (&two.addresses[..], two.preempt_delay),
        (&[ip("fe80::51"), ip("2001:db8::10")][..], Duration::from_secs(300))
    );
}

/// Addresses that no service has, a tracked service of the proxy, a master's address where others are told from `[::]`.
#[test]
fn what_is_allowed_beside() {
    let other = ROUTER.replace("VI_1", "VI_2").replace("192.0.2.10", "10.0.0.1");
    let proxy = SERVICE
        .replace("dsr", "proxy")
        .replace("web", "site")
        .replace(":80", ":8080");
    for text in [
        // The same VRID on another interface, in another family, with other ways to write the same.
        format!("{SERVICE}{ROUTER}{}", other.replace("eth0", "eth1")),
        format!("{SERVICE}{ROUTER}{}", other.replace("10.0.0.1", "2001:db8::1")),
        format!("{SERVICE}{ROUTER}{}", other.replace("41", "42")),
        format!("{SERVICE}{proxy}{ROUTER}[[vrrp.track]]\nservice = \"site\"\n"),
        format!("[admin]\nlisten = \"0.0.0.0:9465\"\n{SERVICE}{ROUTER}"),
        format!("[admin]\nlisten = \"\"\n{SERVICE}{ROUTER}"),
        // A source that moves with the VIP.
        format!(
            "{}[service.nat]\nsource = \"192.0.2.10\"\n{ROUTER}",
            SERVICE.replace("dsr", "nat")
        ),
        ROUTER.to_owned(),
    ] {
        read(&format!("{NODE}{SEED}{text}")).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Not of any backend, and of no node.
fn virtual_address(v6: bool, host: u16) -> IpAddr {
    if v6 {
        // A link-local one now and then.
        let net = if host.is_multiple_of(7) {
            [0xfe80, 0, 0]
        } else {
            [0x2001, 0xdb8, 0xfffe]
        };
        [net[0], net[1], net[2], 0, 0, 0, 0, host].into()
    } else {
        [198, 18, (host >> 8) as u8, host as u8].into()
    }
}

fn node_address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, host.into()].into()
    } else {
        [172, 31, 0, host].into()
    }
}

fn any_program() -> impl Strategy<Value = Program> {
    let path = prop_oneof!["(/[ -~äß]{1,10}){1,4}", "[a-z$ ]{1,10}"];
    (path, prop::collection::vec("[ -~ä\n]{0,20}", 0..4)).prop_map(|(path, arguments)| Program {
        path: path.into(),
        arguments,
    })
}

/// What is tracked; a service by an index that is yet to be one of those that there are.
fn any_track() -> impl Strategy<Value = (Track, Index)> {
    let streak = || 1u32..=1_000;
    let script = (any_program(), 100u64..=86_400_000, any::<Index>(), streak(), streak()).prop_map(
        |(program, interval, timeout, rise, fall)| Script {
            program,
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(100 + timeout.index(interval as usize - 99) as u64),
            rise: NonZeroU32::new(rise).unwrap(),
            fall: NonZeroU32::new(fall).unwrap(),
        },
    );
    let subject = prop_oneof![
        script.prop_map(Tracked::Script),
        "[!-.0-9;-~]{3,15}".prop_map(|name| Tracked::Interface(name.into())),
        Just(Tracked::Service("".into())),
        "(/[ -~äß]{1,10}){1,4}".prop_map(|path| Tracked::File(path.into())),
    ];
    (subject, -253i16..=253, any::<Index>()).prop_map(|(subject, weight, index)| (Track { subject, weight }, index))
}

/// What a router says that contradicts nobody.
type Own = (
    bool,
    bool,
    Duration,
    Duration,
    Option<Arc<str>>,
    BTreeMap<Occasion, Arc<Program>>,
);

fn own() -> impl Strategy<Value = Own> {
    let delay = || (0u64..=1_000_000).prop_map(Duration::from_millis);
    let group = prop::option::of(select(vec!["edge", "core"]).prop_map(Arc::from));
    let programs = prop::collection::btree_map(select(Occasion::ALL.to_vec()), any_program().prop_map(Arc::new), 0..5);
    (any::<bool>(), any::<bool>(), delay(), delay(), group, programs)
}

/// Any router; its addresses are VIPs where the flag says so and there are any.
#[derive(Clone, Debug)]
pub(super) struct Any {
    router: VirtualRouter,
    v6: bool,
    addresses: Vec<(bool, u16)>,
    tracks: Vec<(Track, Index)>,
}

fn any_router() -> impl Strategy<Value = Any> {
    let names = (
        "[A-Za-z0-9_][A-Za-z0-9._-]{0,63}",
        prop_oneof!["eth[0-2]", "[!-.0-9;-~]{3,15}"],
    );
    let priority = (1u8..=255).prop_map(|number| NonZeroU8::new(number).unwrap());
    let id = prop_oneof![1u8..4, 1u8..=255].prop_map(|number| NonZeroU8::new(number).unwrap());
    let nodes = (prop::collection::vec(any::<u8>(), 0..4), prop::option::of(any::<u8>()));
    let addresses = prop::collection::vec((any::<bool>(), any::<u16>()), 1..6);
    let tracks = prop::collection::vec(any_track(), 0..4);
    (
        names,
        id,
        priority,
        any::<bool>(),
        1u64..=4_095,
        nodes,
        addresses,
        tracks,
        own(),
    )
        .prop_map(
            |((name, interface), id, priority, v6, interval, (peers, source), addresses, tracks, own)| {
                let (old, preempt, preempt_delay, start_delay, sync_group, notify) = own;
                let (version, interval) = if old && !v6 {
                    (VrrpVersion::V2, Duration::from_secs(interval % 255 + 1))
                } else {
                    (VrrpVersion::V3, Duration::from_millis(interval * 10))
                };
                let mut known = HashSet::new();
                let router = VirtualRouter {
                    name: name.into(),
                    interface: interface.into(),
                    id,
                    version,
                    priority,
                    interval,
                    peers: peers
                        .into_iter()
                        .filter(|host| known.insert(*host))
                        .map(|host| node_address(v6, host))
                        .collect(),
                    source: source.map(|host| node_address(v6, host)),
                    addresses: vec![],
                    preempt,
                    preempt_delay,
                    start_delay,
                    sync_group,
                    notify,
                    tracks: vec![],
                };
                Any {
                    router,
                    v6,
                    addresses,
                    tracks,
                }
            },
        )
}

/// Up to four, for [`with`].
pub(super) fn any_routers() -> impl Strategy<Value = Vec<Any>> {
    prop::collection::vec(any_router(), 0..4)
}

/// The configuration with those of the routers, and of their addresses, that contradict nothing.
pub(super) fn with(mut config: Config, routers: Vec<Any>) -> Config {
    let (mut names, mut ids, mut held) = (HashSet::new(), HashSet::new(), HashSet::new());
    let services: Vec<&Service> = config.services.iter().collect();
    for Any {
        mut router,
        v6,
        addresses,
        tracks,
    } in routers
    {
        let vips = services.iter().flat_map(|service| &service.vips).map(|vip| vip.ip);
        let vips: Vec<IpAddr> = vips.filter(|ip| ip.is_ipv6() == v6).collect();
        let addresses = addresses.into_iter().map(|(vip, host)| match vips.len() {
            1.. if vip => vips[usize::from(host) % vips.len()],
            _ => virtual_address(v6, host),
        });
        let id = (router.interface.clone(), router.id, v6);
        if names.contains(&router.name) || ids.contains(&id) {
            continue;
        }
        router.addresses = addresses.filter(|ip| held.insert(*ip)).collect();
        if router.addresses.is_empty() {
            continue;
        }
        names.insert(router.name.clone());
        ids.insert(id);
        router.tracks = tracks
            .into_iter()
            .filter_map(|(track, index)| match &track.subject {
                Tracked::Service(_) if services.is_empty() => None,
                Tracked::Service(_) => Some(Track {
                    subject: Tracked::Service(index.get(&services).name.clone()),
                    ..track
                }),
                Tracked::Script(_) | Tracked::Interface(_) | Tracked::File(_) => Some(track),
            })
            .collect();
        config.routers.push(router);
    }
    if !config.routers.is_empty() && config.node.hash_seed_file.is_none() {
        config.node.hash_seed_file = Some("/etc/fulcrum/seed".into());
    }
    config
}
