//! What is said before a reload is what the reload does then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::model::preview::{BackendPreview, Change, Flows, Preview, ServicePreview};
use crate::model::status::NatFlows;
use crate::model::{AdminState, Vip};

/// Where a slot leads.
type Leads = Option<SocketAddr>;

type Tester = Reconciler<Fake, Node>;

async fn started(toml: &str) -> (Tester, Node) {
    let node = Node::default();
    let mut reconciler = attached(Fake::default(), node.clone(), well(toml), SEED);
    assert!(reconciler.converge().await);
    (reconciler, node)
}

/// What each service's slots lead to, by its first VIP.
fn rings(reconciler: &Tester) -> BTreeMap<Vip, Vec<Leads>> {
    let target = &reconciler.carried.placement.target;
    let ring = |(decision, service): (Decision, &crate::model::Service)| {
        let slots = target.rings[&decision.ring_block()].slots.iter();
        let address = |slot: &Slot| {
            let member = target.members.get(&decision.member(slot.current()))?;
            Some((member.address.to_ip(), member.port.host()).into())
        };
        (service.vips[0], slots.map(address).collect())
    };
    reconciler.carried.services().map(ring).collect()
}

/// Takes the file, and everybody who is new comes up at once.
async fn reload(reconciler: &mut Tester, toml: &str) {
    reconciler.facts.reconfigure(config(toml));
    let file = reconciler.facts.file.clone();
    for service in &file.services {
        for backend in &service.backends {
            let IpAddr::V4(ip) = backend.address.ip() else {
                panic!("IPv4")
            };
            let last = ip.octets()[3];
            reconciler.facts.route(ip.into(), hop(last, 3));
            reconciler.facts.judge(Verdict {
                member: MemberKey {
                    service: service.name.clone(),
                    backend: backend.address,
                },
                ..verdict(last, Health::Up)
            });
        }
    }
    assert!(reconciler.converge().await);
}

/// The changes that are tried: what they are called, and the file afterwards.
fn changes() -> Vec<(&'static str, String)> {
    let web1 = "name = \"web1\"";
    let backend = |n: u8| format!("[[service.backend]]\nname = \"web{n}\"\naddress = \"10.0.0.{n}:80\"\n");
    let other = "[[service]]\nname = \"other\"\naddress = \"192.0.2.30:80\"\nmode = \"dsr\"\ntable-size = 128\n";
    vec![
        ("a backend comes", ONE.to_owned() + &backend(4)),
        ("a backend leaves", ONE.replace(&backend(2), "")),
        (
            "one takes the place of another",
            ONE.replace("10.0.0.2:80", "10.0.0.4:80"),
        ),
        ("weight", ONE.replace(web1, &format!("{web1}\nweight = 5"))),
        ("drain", ONE.replace(web1, &format!("{web1}\nstate = \"drain\""))),
        ("disabled", ONE.replace(web1, &format!("{web1}\nstate = \"disabled\""))),
        (
            "twice the slots",
            ONE.replace("= 256", "= 512\n")
                .replace(web1, &format!("{web1}\nweight = 5")),
        ),
        (
            "balance",
            ONE.replace("table-size", "balance = \"round-robin\"\ntable-size"),
        ),
        ("tunnel", ONE.replace("\"dsr\"", "\"tunnel\"")),
        ("nat", ONE.replace("\"dsr\"", "\"nat\"")),
        ("a service comes", format!("{ONE}{other}{}", backend(5))),
        (
            "the service goes",
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n".to_owned(),
        ),
        ("another name", ONE.replace("\"web\"", "\"www\"")),
        ("a VIP less", ONE.replace(", \"192.0.2.20:80\"", "")),
        ("another VIP", ONE.replace("192.0.2.20:80", "192.0.2.40:80")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_the_reload_then_does() {
    for (name, toml) in changes() {
        let (mut reconciler, node) = started(ONE).await;
        reconciler.dataplane.log.clear();
        let (before, vips) = (rings(&reconciler), node.present.lock().unwrap().clone());
        let preview = reconciler.preview(config(&toml)).await.unwrap();
        assert_eq!(reconciler.dataplane.log, [], "{name}: nothing is written");
        assert_eq!(rings(&reconciler), before, "{name}");
        assert_eq!(*node.present.lock().unwrap(), vips, "{name}");
        assert!(!preview.is_empty() && preview.fault.is_none(), "{name}");

        reload(&mut reconciler, &toml).await;
        let after = rings(&reconciler);
        for service in preview.services.iter().filter(|s| s.heir.is_none()) {
            let vip = |config: &Config| {
                config
                    .services
                    .iter()
                    .find(|s| s.name == service.name)
                    .map(|s| s.vips[0])
            };
            let vip = vip(&reconciler.facts.file).unwrap_or_else(|| "192.0.2.10:80".parse().unwrap());
            compare(name, service, before.get(&vip), after.get(&vip));
        }
        let now = node.present.lock().unwrap().clone();
        let changed: BTreeSet<(IpAddr, bool)> = preview.addresses.iter().map(|a| (a.address, a.added)).collect();
        let expected = now
            .symmetric_difference(&vips)
            .map(|a| (a.ip, now.contains(a)))
            .collect();
        assert_eq!(changed, expected, "{name}");
        // And now the file is what runs.
        let again = reconciler.preview(config(&toml)).await.unwrap();
        assert_eq!(again, Preview::default(), "{name}");
    }
}

fn compare(name: &str, said: &ServicePreview, before: Option<&Vec<Leads>>, after: Option<&Vec<Leads>>) {
    let slots = before.iter().chain(&after).map(|ring| ring.len()).max().unwrap();
    assert_eq!(said.slots as usize, slots, "{name}");
    let at = |ring: Option<&Vec<Leads>>, i: usize| ring.and_then(|ring| ring[i % ring.len()]);
    let pairs: Vec<_> = (0..slots).map(|i| (at(before, i), at(after, i))).collect();
    let count = |wanted: &dyn Fn(&(Leads, Leads)) -> bool| {
        u32::try_from(pairs.iter().filter(|pair| wanted(pair)).count()).unwrap()
    };
    assert_eq!(said.moved, count(&|(a, b)| a != b), "{name}");
    for BackendPreview {
        address, share, keys, ..
    } in &said.backends
    {
        if keys.iter().any(|change| change.key == "address") {
            continue;
        }
        let it = Some(*address);
        assert_eq!(share.before, count(&|(a, _)| *a == it), "{name}: {address}");
        assert_eq!(share.after, count(&|(_, b)| *b == it), "{name}: {address}");
        assert_eq!(share.gains, count(&|&(a, b)| a != it && b == it), "{name}: {address}");
        assert_eq!(share.loses, count(&|&(a, b)| a == it && b != it), "{name}: {address}");
    }
}

/// What becomes of flows on `web1` to `web3`, and the keys of the service that change.
async fn fates(toml: &str) -> (Vec<(String, Flows)>, Vec<&'static str>) {
    fates_of(ONE, toml).await
}

/// The same, of another file than [`ONE`].
async fn fates_of(before: &str, toml: &str) -> (Vec<(String, Flows)>, Vec<&'static str>) {
    let (mut reconciler, _) = started(before).await;
    let mut preview = reconciler.preview(config(toml)).await.unwrap();
    let service = preview.services.remove(0);
    let fates = service.backends.iter().filter(|b| b.flows != Flows::Kept);
    let fates = fates.map(|b| (b.name.to_string(), b.flows)).collect();
    (fates, service.keys.iter().map(|change| change.key).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_stay_drain_are_reassigned_or_cut() {
    let all = |flows| ["web1", "web2", "web3"].map(|name| (name.to_owned(), flows)).to_vec();
    let one = |name: &str, flows| vec![(name.to_owned(), flows)];
    let web1 = "name = \"web1\"";
    let changed: BTreeMap<_, _> = changes().into_iter().collect();
    let cases = [
        ("a backend comes", vec![]),
        ("a backend leaves", one("web2", Flows::Draining)),
        ("one takes the place of another", one("web2", Flows::Draining)),
        ("weight", vec![]),
        ("drain", one("web1", Flows::Draining)),
        ("disabled", one("web1", Flows::Cut)),
        ("twice the slots", vec![]),
        ("balance", all(Flows::Reassigned)),
        ("tunnel", vec![]),
        ("nat", all(Flows::Cut)),
        ("the service goes", all(Flows::Cut)),
        ("a VIP less", vec![]),
    ];
    for (name, expected) in cases {
        assert_eq!(fates(&changed[name]).await.0, expected, "{name}");
    }
    assert_eq!(fates(&changed["nat"]).await.1, ["mode"]);
    let (_, keys) = fates(&ONE.replace(
        "table-size",
        "drain-timeout = \"never\"\nhealth = { kind = \"http\", rise = 9 }\ntable-size",
    ))
    .await;
    let of_http = ["health.method", "health.path", "health.expect-status"];
    assert_eq!(keys[..3], ["drain-timeout", "health.kind", "health.rise"]);
    assert_eq!(keys[3..], of_http);
    let via = ONE.replace(
        "table-size",
        "health = { kind = \"tcp\", via = \"service\" }\ntable-size",
    );
    assert_eq!(fates(&via).await.1, ["health.via"]);
    // What nobody is to see is a change all the same.
    let secret = |value: &str| {
        ONE.replace(
            "table-size",
            &format!("health = {{ kind = \"http\", headers = {{ x-key = \"{value}\" }} }}\ntable-size"),
        )
    };
    let (_, keys) = fates_of(&secret("a"), &secret("b")).await;
    assert_eq!(keys, ["health.headers"]);
    // Of a service that does not keep flows where they are.
    let udp = ONE.replace("table-size", "protocol = \"udp\"\ntrack = false\ntable-size");
    let (mut reconciler, _) = started(&udp).await;
    let drained = udp.replace(web1, &format!("{web1}\nstate = \"drain\""));
    let preview = reconciler.preview(config(&drained)).await.unwrap();
    assert_eq!(preview.services[0].backends[0].flows, Flows::Reassigned);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_nobody_has_any_more_are_named() {
    let changed: BTreeMap<_, _> = changes().into_iter().collect();
    let (mut reconciler, _) = started(ONE).await;
    let closed = |preview: &Preview| {
        preview
            .services
            .iter()
            .flat_map(|s| s.closed.clone())
            .collect::<Vec<_>>()
    };
    let less = reconciler.preview(config(&changed["a VIP less"])).await.unwrap();
    assert_eq!(closed(&less), ["192.0.2.20:80".parse().unwrap()]);
    let renamed = reconciler.preview(config(&changed["another name"])).await.unwrap();
    assert!(closed(&renamed).is_empty());
    let [new, old] = &renamed.services[..] else {
        panic!("{renamed:?}")
    };
    assert_eq!((new.change, new.moved), (Change::Added, 0));
    assert_eq!((old.change, old.heir.as_deref()), (Change::Removed, Some("www")));
    assert!(old.backends.iter().all(|b| b.flows == Flows::Kept), "{old:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_that_are_known_are_counted() {
    let nat = ONE.replace("\"dsr\"", "\"nat\"");
    let (mut reconciler, _) = started(&nat).await;
    let id = reconciler.carried.placement.members[0][&"10.0.0.2:80".parse().unwrap()];
    let flows = NatFlows {
        established: 12,
        half_closed: 2,
        closed: 5,
        ..NatFlows::default()
    };
    reconciler.dataplane.usage.flows.insert(id, flows);
    reconciler.sweep();
    let less = nat.replace("[[service.backend]]\nname = \"web2\"\naddress = \"10.0.0.2:80\"\n", "");
    let preview = reconciler.preview(config(&less)).await.unwrap();
    let web2 = preview.services[0]
        .backends
        .iter()
        .find(|b| &*b.name == "web2")
        .unwrap();
    assert_eq!(
        (web2.change, web2.flows, web2.known_flows),
        (Change::Removed, Flows::Draining, 14)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_today_counts() {
    let (mut reconciler, _) = started(ONE).await;
    let member = |last: u8| verdict(last, Health::Up).member;
    reconciler.facts.judge(verdict(3, Health::Down));
    let four = Override {
        state: None,
        weight: Some(4),
    };
    reconciler.facts.command(&member(1), four).unwrap();
    assert!(reconciler.converge().await);
    // The file says another weight of the one, and the others' is as it was: what the command has said stays.
    let web1 = "name = \"web1\"";
    let two = ONE.replace(web1, &format!("{web1}\nweight = 2"));
    let preview = reconciler.preview(config(&two)).await.unwrap();
    let web1s = &preview.services[0].backends[0];
    assert_eq!((web1s.weight_in_force, preview.services[0].moved), (Some(4), 0));
    assert!(preview.overrides.is_empty() && preview.services[0].backends.len() == 1);
    // It says the same: no slot moves, and the command's word ends.
    let four = ONE.replace(web1, &format!("{web1}\nweight = 4"));
    let preview = reconciler.preview(config(&four)).await.unwrap();
    assert_eq!(preview.overrides, [("web".into(), member(1).backend)]);
    assert_eq!(
        (
            preview.services[0].moved,
            preview.services[0].backends[0].weight_in_force
        ),
        (0, None)
    );
    // Who is down takes nothing over.
    let five = ONE.replace("name = \"web3\"", "name = \"web3\"\nweight = 5");
    let preview = reconciler.preview(config(&five)).await.unwrap();
    assert_eq!(preview.services[0].moved, 0);
    // Who is new is supposed to come up, and only that one.
    let more = ONE.to_owned() + "[[service.backend]]\naddress = \"10.0.0.4:80\"\n";
    let preview = reconciler.preview(config(&more)).await.unwrap();
    let backends = &preview.services[0].backends;
    let supposed: Vec<&str> = backends.iter().filter(|b| b.supposed).map(|b| &*b.name).collect();
    assert_eq!(supposed, ["10.0.0.4:80"]);
    assert!(backends.iter().all(|b| &*b.name != "web3"), "{backends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_said() {
    let (mut reconciler, _) = started(ONE).await;
    let small = reconciler.preview(config(&ONE.replace("= 256", "= 128"))).await;
    let fault = small.unwrap().fault.unwrap();
    assert!(fault.contains("keeps its 256 slots"), "{fault}");
    reload(&mut reconciler, ONE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_is_said_when_no_flow_can_be_left() {
    let drain = Override {
        state: Some(AdminState::Drain),
        weight: None,
    };
    let member = verdict(1, Health::Up).member;
    let short = ONE.replace("table-size", "idle-timeout = \"5s\"\ntable-size");
    for (mode, remembers) in [("dsr", true), ("nat", false)] {
        let (mut reconciler, _) = started(&short.replace("dsr", mode)).await;
        let look = |reconciler: &Tester| {
            let backend = reconciler.status().services[0].backends[0].clone();
            (backend.drained, backend.moving_slots > 0)
        };
        reconciler.sweep();
        assert_eq!(look(&reconciler), (false, false), "{mode}: it serves");
        let id = reconciler.carried.placement.members[0][&member.backend];
        let flows = NatFlows {
            opening: 1,
            ..NatFlows::default()
        };
        reconciler.dataplane.usage.flows.insert(id, flows);
        reconciler.ahead += Duration::from_secs(1);
        reconciler.facts.command(&member, drain).unwrap();
        assert!(reconciler.converge().await);
        assert_eq!(
            look(&reconciler),
            (false, remembers),
            "{mode}: nobody has counted since"
        );
        reconciler.sweep();
        assert_eq!(
            look(&reconciler),
            (false, remembers),
            "{mode}: one flow, or more that are silent"
        );
        reconciler.dataplane.usage.flows.clear();
        reconciler.sweep();
        assert_eq!(look(&reconciler), (!remembers, remembers), "{mode}");
        reconciler.ahead += Duration::from_secs(5);
        reconciler.sweep();
        assert_eq!(
            look(&reconciler),
            (true, false),
            "{mode}: who speaks in time would be known"
        );
    }
}
