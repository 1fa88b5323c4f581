//! What others do to a daemon that runs: everything is put right, and said in the status, in a metric and in the log.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use lb_common::backend::Member;
use lb_common::id::MemberIndex;
use lb_common::limits::{MEMBERS, RING_BLOCKS, SERVICE_BUCKETS};
use lb_common::ring::{RingBlock, Slot};
use lb_common::service::{BucketV4, Decision};
use lb_tests::gate::{self, Gate};
use lb_tests::node::Node;
use lb_tests::pinned::Pinned;
use lb_tests::toml::service;
use lb_tests::two_nics::TwoNics;
use lb_user::api::types::{Health, Status};
use lb_user::net::Net;
use nix::sys::signal::Signal;

/// Longer than a daemon takes to read its maps back, which it does every 30 s.
const RESYNC: Duration = Duration::from_secs(60);

/// The value of a sample of `/metrics`.
fn metric(node: &Node, sample: &str) -> u64 {
    let mut curl = Command::new("curl");
    node.namespace.confine(&mut curl);
    let output = curl.args(["-sS", "http://127.0.0.1:9465/metrics"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(sample));
    let value = value.unwrap_or_else(|| panic!("no {sample} in:\n{text}"));
    value.trim().parse().unwrap()
}

fn said(node: &Node) -> String {
    String::from_utf8(node.run("status").stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_put_right_and_said() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let web = service("web", "dsr", &["10.9.0.100:80"]).unprobed();
    let web = web.backends(["10.9.0.11:80", "10.9.0.12:80"]);
    node.configure(&format!("{}{web}", node.head("eth0")));
    let daemon = node.start().await;
    let whole = |s: &Status| {
        let vip = s.services[0].vips.iter().all(|vip| vip.exclusive);
        s.fault.is_none() && vip && s.services[0].backends.iter().all(|backend| backend.slots > 8000)
    };
    let status = node.until("everything serves", whole).await;
    assert!(status.repairs.values().all(|&count| count == 0), "{:?}", status.repairs);
    assert!(!said(&node).contains("REPAIRED"));

    let pins = node.path("bpf");
    let buckets: Pinned<BucketV4> = Pinned::open(&pins, "SERVICES_V4", SERVICE_BUCKETS).unwrap();
    let ring: Pinned<RingBlock> = Pinned::open(&pins, "RING", RING_BLOCKS).unwrap();
    let members: Pinned<Member> = Pinned::open(&pins, "BACKENDS", MEMBERS).unwrap();
    let entries = || buckets.all().flat_map(|(_, bucket)| bucket.entries);
    let block = entries()
        .map(|entry| entry.decision.unmarked())
        .find(|decision| decision.is_service());
    let block = block.unwrap().ring_block();
    let is_vip = |bucket: &BucketV4| bucket.entries.iter().any(|entry| entry.decision.unmarked().is_vip());
    let (index, bucket) = buckets.all().find(|(_, bucket)| is_vip(bucket)).unwrap();
    let (id, member) = members.all().find(|(_, member)| member.exists()).unwrap();
    let slots = ring.get(block);

    // The program goes with its pin; a VIP and its entry, two slots and a member.
    fs::remove_file(pins.join("links/eth0-native")).unwrap();
    let net = Net::inside(&node.namespace).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    net.remove_vip(eth0, "10.9.0.100".parse().unwrap()).await.unwrap();
    let mut edited = bucket;
    let vips = edited
        .entries
        .iter_mut()
        .filter(|entry| entry.decision.unmarked().is_vip());
    vips.for_each(|entry| entry.decision = Decision::NONE);
    let mut others = slots;
    others.slots[7] = Slot::stable(MemberIndex::NONE);
    others.slots[8] = Slot::stable(MemberIndex::NONE);
    buckets.set(index, edited);
    ring.set(block, others);
    members.set(id, Member { weight: 77, ..member });

    let all = |s: &Status| s.repairs.values().all(|&count| count > 0) && whole(s);
    let status = node.until_within(RESYNC, "all of it is put right", all).await;
    let counts = [("address", 1), ("entry", 1), ("member", 1), ("program", 1), ("slot", 2)];
    let counts: BTreeMap<String, u64> = counts.map(|(kind, count)| (kind.to_owned(), count)).into();
    assert_eq!(status.repairs, counts);
    for (kind, count) in &counts {
        assert_eq!(
            metric(&node, &format!("fulcrum_repairs_total{{kind=\"{kind}\"}}")),
            *count
        );
    }
    let text = said(&node);
    assert!(
        text.contains("REPAIRED what somebody else has changed: address 1, entry 1, member 1, program 1, slot 2\n"),
        "{text}"
    );
    for line in [
        "somebody else has changed the maps",
        "somebody else has taken the program off",
        "somebody else has taken the VIP off the node",
    ] {
        assert!(node.log().contains(line), "{}", node.log());
    }
    assert!(pins.join("links/eth0-native").exists());
    assert_eq!((members.get(id), ring.get(block).slots), (member, slots.slots));
    assert!(buckets.all().any(|(_, bucket)| is_vip(&bucket)));
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_full_is_said_and_stops_nothing_else() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let web = service("web", "dsr", &["10.9.0.100:80"])
        .unprobed()
        .backend("10.9.0.11:80");
    // With fifteen of them there is a sixteenth of RING left, and the first service lies in it.
    let large = |number: u8| {
        let service = service(
            &format!("large{number}"),
            "dsr",
            &[format!("10.9.0.{}:80", 101 + number)],
        );
        let service = service.unprobed().with("table-size = 1048576");
        service.backend_with("10.9.0.12:80", "state = \"disabled\"").to_string()
    };
    let head = node.head("eth0");
    let file = |web: &str, others: u8| format!("{head}{web}{}", (0..others).map(large).collect::<String>());
    let (small, grown) = (web.to_string(), web.with("table-size = 1048576").to_string());
    node.configure(&file(&small, 15));
    // It answers once all rings are written, which takes long where the daemon is not optimised.
    let path = node.path("fulcrum.toml");
    let daemon = node.spawn(&mut node.command(&["run", "-c", &path.to_string_lossy()]));
    let serves = |s: &Status| s.services[0].backends[0].slots == 16384;
    node.until_within(RESYNC, "it serves", |s| serves(s) && s.fault.is_none())
        .await;
    node.configure(&file(&grown, 15));
    let full = |s: &Status| {
        s.fault
            .as_ref()
            .is_some_and(|fault| fault.contains("no room for a ring of 1048576 slots"))
    };
    let status = node.until_within(RESYNC, "it is said", full).await;
    assert!(serves(&status), "as it did before");
    assert_eq!(metric(&node, "fulcrum_fault"), 1);
    assert!(said(&node).contains("FAULT: the configuration does not fit: no room for a ring"));
    assert!(
        node.log().contains("the data plane is not as desired; trying again"),
        "{}",
        node.log()
    );
    node.configure(&file(&grown, 14));
    let grows = |s: &Status| s.fault.is_none() && s.services[0].backends[0].slots == 1 << 20;
    node.until_within(RESYNC, "there is room", grows).await;
    assert_eq!(metric(&node, "fulcrum_fault"), 0);
    assert!(
        node.log().contains("the data plane is as desired again"),
        "{}",
        node.log()
    );
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_goes_down_and_up_is_followed() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let nics = TwoNics::new().await;
    nics.configure("");
    let daemon = nics.node.start().await;
    nics.until_served().await;
    nics.requests();
    let eth1 = nics.at_node.index("eth1").await.unwrap();
    nics.at_node.set_down(eth1).await.unwrap();
    let status = nics
        .node
        .until("its backend is out of reach", |s| {
            s.services[0].backends[0].slots == 0 && s.services[0].backends[0].next_hop.is_none()
        })
        .await;
    assert!(status.unattached_interfaces.is_empty(), "the program stays where it is");
    let resolved = "fulcrum_backend_next_hop_resolved{service=\"web\",backend=\"web\"}";
    assert_eq!(metric(&nics.node, resolved), 0);
    nics.node
        .until("probes say so too", |s| {
            s.services[0].backends[0].health == Health::Down
        })
        .await;
    assert!(
        nics.node.log().contains("backend health changed"),
        "{}",
        nics.node.log()
    );
    nics.at_node.set_up(eth1).await.unwrap();
    nics.until_served().await;
    nics.requests_in_the_end().await;
    assert_eq!(metric(&nics.node, resolved), 1);
    assert!(
        nics.node
            .client()
            .status()
            .await
            .unwrap()
            .repairs
            .values()
            .all(|&count| count == 0)
    );
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
