//! Interfaces that go, come back, change and refuse while the daemon runs: real requests over two NICs.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::process::Output;
use std::time::{Duration, Instant};

use lb_common::addr::Mac;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Daemon};
use lb_tests::pinned::Pinned;
use lb_tests::two_nics::{TwoNics, VIP};
use lb_user::api::types::{Status, XdpMode};
use lb_user::dataplane::kernel::attach_pass;
use lb_user::net::{LOOPBACK, wire};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

/// Two NICs, the daemon on both, and requests that are answered.
async fn served(more: &str) -> (TwoNics, Daemon) {
    let nics = TwoNics::new().await;
    nics.configure(more);
    let daemon = nics.node.start().await;
    nics.until_served().await;
    nics.requests();
    (nics, daemon)
}

fn unattached(status: &Status) -> Vec<&str> {
    status.unattached_interfaces.iter().map(|i| i.name.as_str()).collect()
}

fn attached(status: &Status) -> Vec<&str> {
    status.interfaces.iter().map(|i| i.name.as_str()).collect()
}

/// Waits until the program is on both interfaces, and all is well.
async fn until_whole(nics: &TwoNics) -> Status {
    nics.node
        .until("it is attached again", |s| {
            attached(s) == ["eth0", "eth1"] && s.fault.is_none()
        })
        .await
}

/// Indices of the node's interfaces that have the VIP.
async fn vip_on(nics: &TwoNics) -> Vec<u32> {
    let addresses = nics.at_node.addresses().await.unwrap();
    addresses
        .iter()
        .filter(|a| a.ip.to_string() == VIP)
        .map(|a| a.interface)
        .collect()
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

/// The metric that says whether the program is on an interface.
fn metric(nics: &TwoNics, interface: &str) -> bool {
    let mut curl = std::process::Command::new("curl");
    nics.node.namespace.confine(&mut curl);
    let metrics = text(curl.args(["-sS", "http://127.0.0.1:9465/metrics"]).output().unwrap());
    let line = |value| format!("fulcrum_interface_attached{{interface=\"{interface}\"}} {value}\n");
    assert!(metrics.contains(&line(0)) || metrics.contains(&line(1)), "{metrics}");
    metrics.contains(&line(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nic_of_the_vip_goes_and_comes_back() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let first = nics.at_node.index("eth0").await.unwrap();
    assert_eq!(vip_on(&nics).await, [first]);
    nics.at_node.remove_link(first).await.unwrap();
    let status = nics
        .node
        .until("eth0 is said to be gone", |s| unattached(s) == ["eth0"])
        .await;
    assert_eq!((attached(&status), &status.fault), (vec!["eth1"], &None));
    let said = text(nics.node.run("status"));
    assert!(
        said.contains("attached to eth1 (native)\nNOT ATTACHED to eth0: there is no interface"),
        "{said}"
    );
    assert!(!metric(&nics, "eth0") && metric(&nics, "eth1"));
    assert!(nics.node.log().contains("the interface is gone"), "{}", nics.node.log());
    assert_eq!(status.services[0].backends[0].slots, 16384, "the other one works on");

    // Another one of that name comes, bare; its addresses follow.
    let client = &nics.node.outside;
    nics.at_node.add_veth("eth0", "eth0", client).await.unwrap();
    until_whole(&nics).await;
    nics.set_client_wire("eth0").await;
    let second = nics.at_node.index("eth0").await.unwrap();
    assert_ne!(first, second);
    let deadline = Instant::now() + DEADLINE;
    while vip_on(&nics).await != [second] {
        assert!(Instant::now() < deadline, "{:?}", vip_on(&nics).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(second != LOOPBACK && metric(&nics, "eth0"));
    nics.requests_in_the_end().await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// What came there meanwhile has left no stamps (`lb_common::protect::kept`), so none are believed for a while.
#[tokio::test(flavor = "multi_thread")]
async fn stamps_are_believed_anew_where_a_nic_comes_back() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (nics, _daemon) = served("").await;
    let file = fs::read_to_string(nics.node.path("fulcrum.toml")).unwrap();
    let protected = format!("{file}[service.protection]\ndeny = [\"203.0.113.0/24\"]\n");
    nics.node.configure(&protected);
    assert!(nics.node.run("reload").status.success());
    let from = Pinned::<u64>::open(&nics.node.path("bpf"), "COOKIES", 1).unwrap();
    from.set(0, 1);
    nics.at_node
        .remove_link(nics.at_node.index("eth0").await.unwrap())
        .await
        .unwrap();
    nics.node
        .until("eth0 is said to be gone", |s| unattached(s) == ["eth0"])
        .await;
    assert_eq!(from.get(0), 1);
    nics.at_node.add_veth("eth0", "eth0", &nics.node.outside).await.unwrap();
    until_whole(&nics).await;
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
    assert!(u128::from(from.get(0)) > now.as_nanos());
}

/// Waits until nothing comes for the backend any more, which has heard the end of every connection to the VIP then.
async fn until_silent(nics: &TwoNics) {
    // The address as /proc has it; a connection of which all has come is in TIME_WAIT, or is not there.
    let (vip, time_wait) = ("6400010A:", "06");
    let is_over = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        !fields[1].starts_with(vip) || fields[3] == time_wait
    };
    let table = || fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let is_silent = async || nics.web.run_inside(table).unwrap().lines().all(is_over);
    nics.node.until_so("every connection is over", is_silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nic_of_the_backends_goes_and_comes_back() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let first = nics.at_node.link("eth1").await.unwrap().unwrap();
    until_silent(&nics).await;
    nics.at_node.remove_link(first.index).await.unwrap();
    let status = nics
        .node
        .until("its backend is out of reach", |s| {
            unattached(s) == ["eth1"] && s.services[0].backends[0].slots == 0
        })
        .await;
    assert!(status.services[0].backends[0].next_hop.is_none());
    // With the MAC that it had, and under its name when all is done.
    nics.at_node.add_veth("later", "eth0", &nics.web).await.unwrap();
    let second = nics.at_node.index("later").await.unwrap();
    nics.at_node.set_mac(second, first.mac.unwrap()).await.unwrap();
    nics.attach_pass();
    nics.at_node.rename(second, "eth1").await.unwrap();
    nics.set_web_wire("eth1").await;
    until_whole(&nics).await;
    nics.until_served().await;
    nics.requests();
    assert_eq!(nics.node.client().status().await.unwrap().drops["no_egress"], 0);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_that_changes_is_followed() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let peers = [("eth0", &nics.at_client, VIP), ("eth1", &nics.at_web, "10.2.0.1")];
    for (last, (name, peer, ip)) in (1..).zip(peers) {
        let (index, mac) = (nics.at_node.index(name).await.unwrap(), Mac([2, 0, 0, 0, 9, last]));
        nics.at_node.set_mac(index, mac).await.unwrap();
        // What its neighbours would find out within seconds.
        let neighbours = peer.handle().neighbours();
        let entry = neighbours.add(peer.index("eth0").await.unwrap(), ip.parse().unwrap());
        let entry = entry.link_layer_address(&mac.0).replace();
        entry.execute().await.unwrap();
        nics.requests_in_the_end().await;
    }
    until_whole(&nics).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_what_counts() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let index = nics.at_node.index("eth1").await.unwrap();
    let rename = async |index, name: &str| {
        nics.at_node.set_down(index).await.unwrap();
        nics.at_node.rename(index, name).await.unwrap();
        nics.at_node.set_up(index).await.unwrap();
    };
    rename(index, "eth9").await;
    nics.node
        .until("eth1 is said to be gone", |s| unattached(s) == ["eth1"])
        .await;
    // Another one gets the name, and the program; the one that had it is free for others.
    nics.at_node.add_veth("eth1", "spare", &nics.web).await.unwrap();
    until_whole(&nics).await;
    is_free(&nics, "eth9");
    // They change places.
    let other = nics.at_node.index("eth1").await.unwrap();
    rename(other, "eth8").await;
    rename(index, "eth1").await;
    until_whole(&nics).await;
    nics.until_served().await;
    nics.requests_in_the_end().await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    // And back, while nobody looks: what is pinned for eth1 is on another one.
    rename(index, "eth9").await;
    rename(other, "eth1").await;
    let daemon = nics.node.start().await;
    is_free(&nics, "eth9");
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// There is no program on an interface of the node.
fn is_free(nics: &TwoNics, interface: &str) {
    let theirs = nics.node.path("bpf/theirs");
    let attach = || attach_pass(interface, &theirs).unwrap();
    nics.node.namespace.run_inside(attach).unwrap();
    fs::remove_file(&theirs).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nic_with_a_program_is_asked_again_until_it_is_free() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let index = nics.at_node.index("eth1").await.unwrap();
    nics.at_node.remove_link(index).await.unwrap();
    nics.at_node.add_veth("later", "eth0", &nics.web).await.unwrap();
    let theirs = nics.node.path("bpf/theirs");
    nics.node
        .namespace
        .run_inside(|| attach_pass("later", &theirs).unwrap())
        .unwrap();
    nics.attach_pass();
    let index = nics.at_node.index("later").await.unwrap();
    nics.at_node.rename(index, "eth1").await.unwrap();
    nics.set_web_wire("eth1").await;
    let status = nics
        .node
        .until("the refusal is said", |s| {
            s.fault
                .as_ref()
                .is_some_and(|fault| fault.contains("another XDP program is attached"))
        })
        .await;
    assert_eq!((attached(&status), unattached(&status)), (vec!["eth0"], vec!["eth1"]));
    assert!(status.unattached_interfaces[0].reason.contains("cannot attach to eth1"));
    fs::remove_file(&theirs).unwrap();
    until_whole(&nics).await;
    nics.until_served().await;
    nics.requests_in_the_end().await;
    // Ours is taken off as theirs was. That is seen when the interfaces are looked at next, here for a new address.
    fs::remove_file(nics.node.path("bpf/links/eth0-native")).unwrap();
    let index = nics.at_node.index("eth0").await.unwrap();
    nics.at_node
        .add_address(index, "10.4.0.1".parse().unwrap(), 24)
        .await
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !nics.node.path("bpf/links/eth0-native").exists() {
        assert!(Instant::now() < deadline, "{}", nics.node.log());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    nics.requests_in_the_end().await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_without_native_xdp_takes_the_others_along() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (nics, daemon) = served("").await;
    let index = nics.at_node.index("eth1").await.unwrap();
    nics.at_node.remove_link(index).await.unwrap();
    nics.at_node.add_veth("later", "eth0", &nics.web).await.unwrap();
    // More queues than the node's end has to receive from: veth refuses native XDP there.
    wire::set_channels(&nics.web, "eth0", 1, 2).unwrap();
    let index = nics.at_node.index("later").await.unwrap();
    nics.at_node.rename(index, "eth1").await.unwrap();
    nics.set_web_wire("eth1").await;
    nics.node
        .until("both are generic", |s| {
            attached(s) == ["eth0", "eth1"] && s.interfaces.iter().all(|i| i.mode == XdpMode::Generic)
        })
        .await;
    nics.until_served().await;
    nics.requests_in_the_end().await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}
