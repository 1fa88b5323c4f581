//! Certificates of two nodes that stand in for each other: one orders, both answer authorities, both serve the same; also when
//! the master is killed in the middle of an order, and when they share a folder instead of a feed.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::path::Path;

use lb_tests::backing::VIPS;
use lb_tests::node::Node;
use lb_tests::ordered::{PATIENCE, Place, SHOP, missing};
use lb_tests::segment::v4;
use lb_user::api::types::{OrderedCertificate, Status};
use nix::sys::signal::Signal;

const NODES: [std::net::IpAddr; 2] = [v4(1), v4(2)];

fn vrrp() -> String {
    format!(
        "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 41\npriority = {{ lb1 = 110, lb2 = 100 }}\n\
         advertisement-interval = \"100ms\"\naddresses = [\"{}\"]\n",
        VIPS[0]
    )
}

fn certificate(status: &Status) -> Option<&OrderedCertificate> {
    status.certificates.first()
}

fn is(role: &'static str) -> impl Fn(&Status) -> bool {
    move |status| status.virtual_routers.first().is_some_and(|router| router.role == role)
}

fn kept(folder: &Path) -> String {
    fs::read_to_string(folder.join("certificates/web.pem")).unwrap_or_default()
}

async fn issued(node: &Node) -> OrderedCertificate {
    let wanted = |status: &Status| certificate(status).is_some_and(|one| one.origin == "issued");
    let status = node.until_within(PATIENCE, "a certificate is issued", wanted).await;
    certificate(&status).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_killed_in_the_middle_of_an_order_leaves_one_certificate_on_both() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    let first = &place.segment.node;
    let second = place.segment.another_node(2).await;
    let services = format!("{}{}", place.services(&place.pebble.acme(&[SHOP], "")), vrrp());
    for (node, name) in [(first, "lb1"), (&second, "lb2")] {
        node.configure(&format!("{}{services}", node.head_with_peers("eth0", name, NODES)));
    }
    // The authority gets through to nobody, so orders are begun and do not end well.
    place.pebble.refuse(100);
    let master = first.start().await;
    let _backup = second.start().await;
    first.until("it is master", is("master")).await;
    second.until("it is backup", is("backup")).await;
    let elsewhere = |status: &Status| certificate(status).is_some_and(|one| one.doing == "elsewhere");
    second.until("the other one orders", elsewhere).await;
    let tried = |status: &Status| certificate(status).is_some_and(|one| one.failures > 0);
    first.until_within(PATIENCE, "it was tried", tried).await;
    let ordering = |status: &Status| certificate(status).is_some_and(|one| one.doing == "ordering");
    first.until_within(PATIENCE, "it is being ordered", ordering).await;
    let _ = master.end(Signal::SIGKILL);
    place.pebble.refuse(0);
    second.until("it is master", is("master")).await;
    issued(&second).await;

    // The other one comes back, and has the same, without an order.
    let orders = place.pebble.log().matches("Added order").count();
    let _master = first.start().await;
    issued(first).await;
    let one = kept(&second.path("state/acme"));
    let same = |_: &Status| kept(&first.path("state/acme")) == one;
    first.until("both keep the same", same).await;
    assert!(!one.is_empty());
    first.until("it is master again", is("master")).await;
    assert_eq!(place.ask(SHOP), "hello\n");
    assert_eq!(place.pebble.log().matches("Added order").count(), orders);
    // It orders with the account that the other one has made.
    let said = place.done(&["certificate", "renew", "web"]);
    assert!(said.contains("until "), "{said}");
    let [mine, others] = [first, &second].map(|node| fs::read_dir(node.path("state/acme/accounts")).unwrap().count());
    assert_eq!((mine, others), (1, 1));
    let renewed = kept(&first.path("state/acme"));
    assert_ne!(renewed, one);
    let same = |_: &Status| kept(&second.path("state/acme")) == renewed;
    second.until("the other one has it", same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_folder_order_once_and_either_answers() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    let first = &place.segment.node;
    let second = place.segment.another_node(2).await;
    let shared = first.path("shared");
    let more = format!(", storage = \"{}\"", shared.display());
    let services = place.services(&place.pebble.acme(&[SHOP], &more));
    // The VIP is the first one's, and the second one, which authorities do not reach, comes first and so orders.
    second.configure(&format!("{}{services}", second.head("eth0").replacen("lb1", "lb2", 1)));
    place.pebble.refuse(100);
    let _second = second.start().await;
    let ordering =
        |status: &Status| certificate(status).is_some_and(|one| one.doing != "elsewhere" && one.failures > 0);
    second.until_within(PATIENCE, "it orders", ordering).await;
    let _first = place.segment.start(&services).await;
    let elsewhere = |status: &Status| certificate(status).is_some_and(|one| one.doing == "elsewhere");
    first.until("the other one orders", elsewhere).await;
    assert!(
        place
            .refused(&["certificate", "renew", "web"])
            .contains("another node orders")
    );
    place.pebble.refuse(0);
    let [one, other] = [issued(&second).await, issued(first).await];
    assert_eq!(one.not_after, other.not_after);
    assert_eq!(place.ask(SHOP), "hello\n");
}
