//! Interfaces that go and come under a reconciler that runs: the program, the VIPs and the backends behind them.

use super::*;

const VIP: &str = "192.0.2.10";

/// An interface whose subnet holds the VIPs.
fn with_subnet(name: &str, index: u32) -> Interface {
    Interface {
        running: true,
        addresses: [([192, 0, 2, 1].into(), 24)].into(),
        ..interface(name, index)
    }
}

fn subnet(index: u32) -> Address {
    Address {
        prefix: 24,
        ..held([192, 0, 2, 1].into(), index)
    }
}

/// Indices of the interfaces that the program is on.
fn program_on(reconciler: &Reconciler<Fake, Node>) -> Vec<u32> {
    reconciler.dataplane.attached.iter().map(|i| i.index).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_served_again() {
    let node = Node::default();
    node.put(subnet(3));
    let mut reconciler = Reconciler::new(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    reconciler.attach(vec![with_subnet("eth0", 3)]).unwrap();
    assert!(reconciler.converge().await);
    assert_eq!((node.on(VIP), slots(&reconciler).iter().sum()), (vec![3], 256));
    // It goes, with all that is on it: nobody is sent to a node that is on no wire.
    node.present.lock().unwrap().clear();
    reconciler.follow(Vec::new());
    assert!(reconciler.converge().await, "that is no fault of the data plane's");
    assert!(reconciler.status().interfaces[0].attached.is_err() && !node.has(VIP));
    assert_eq!(slots(&reconciler), [0, 0, 0], "no way leads to the backends");
    assert!(program_on(&reconciler).is_empty());
    // Another one comes, without addresses at first.
    reconciler.follow(vec![interface("eth0", 7)]);
    assert!(reconciler.converge().await);
    assert_eq!((program_on(&reconciler), node.on(VIP)), (vec![7], vec![LOOPBACK]));
    node.put(subnet(7));
    reconciler.follow(vec![with_subnet("eth0", 7)]);
    for last in 1..=3 {
        reconciler.facts.route([10, 0, 0, last].into(), hop(last, 7));
    }
    assert!(reconciler.converge().await);
    assert_eq!((node.on(VIP), slots(&reconciler).iter().sum()), (vec![7], 256));
    assert!(reconciler.status().services[0].vips.iter().all(|vip| vip.exclusive));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vip_that_cannot_move_is_said_and_stays() {
    let node = Node::default();
    let mut reconciler = attached(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    assert_eq!(node.on(VIP), [LOOPBACK]);
    node.put(subnet(3));
    reconciler.addresses.broken = true;
    assert!(!reconciler.converge().await);
    let fault = reconciler.status().fault.unwrap();
    assert!(fault.starts_with("cannot put 192.0.2.10 on the node"), "{fault}");
    assert_eq!(node.on(VIP), [LOOPBACK]);
    reconciler.addresses.broken = false;
    assert!(reconciler.converge().await);
    assert_eq!(node.on(VIP), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_refused_where_an_interface_refuses() {
    let node = Node::default();
    let mut dataplane = Fake::default();
    dataplane.refuse = Box::new(|name| name == "eth0");
    let mut reconciler = Reconciler::new(dataplane, node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    let refused = reconciler.attach(vec![interface("eth0", 3)]).unwrap_err();
    assert!(refused.to_string().contains("eth0") && !node.has(VIP));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_refuses_is_asked_again_and_stops_no_other() {
    let node = Node::default();
    let mut reconciler = attached(Fake::default(), node.clone(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    reconciler.dataplane.refuse = Box::new(|name| name == "eth0");
    reconciler.follow(vec![interface("eth0", 7), interface("eth1", 8)]);
    assert!(!reconciler.converge().await);
    assert_eq!(program_on(&reconciler), [8]);
    let status = reconciler.status();
    let fault = status.fault.as_deref();
    assert_eq!(fault, Some("cannot attach to eth0 in native mode: it is busy"));
    assert_eq!(status.interfaces[0].attached.as_ref().err().map(String::as_str), fault);
    reconciler.dataplane.refuse = Box::new(|_| false);
    assert!(reconciler.converge().await);
    assert_eq!((program_on(&reconciler), reconciler.status().fault), (vec![7, 8], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_is_attached_also_when_maps_cannot_be_written() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    reconciler.dataplane.fault = Box::new(|_| true);
    reconciler.follow(vec![interface("eth0", 7)]);
    assert!(!reconciler.converge().await);
    assert_eq!(program_on(&reconciler), [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_reconciler_follows() {
    let reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    let running = Running::start(reconciler, ONE);
    let attached = |s: &Status| s.interfaces[0].attached.is_ok();
    running.interfaces.send_replace(Vec::new());
    running.until("it is gone", |s| !attached(s)).await;
    running.interfaces.send_replace(vec![interface("eth0", 7)]);
    running.until("it is back", attached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_somebody_takes_off_is_attached_again() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    reconciler.resync_every(std::time::Duration::from_millis(20));
    let (attached, mut attachments) = mpsc::unbounded_channel();
    reconciler.dataplane.refuse = Box::new(move |name| attached.send(name.to_owned()).is_err());
    let _running = Running::start(reconciler, ONE);
    let again = tokio::time::timeout(std::time::Duration::from_secs(20), attachments.recv());
    assert_eq!(again.await.unwrap().unwrap(), "eth0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_tried_again_without_being_asked() {
    let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
    assert!(reconciler.converge().await);
    let refusals = Arc::new(Mutex::new(2));
    let left = Arc::clone(&refusals);
    reconciler.dataplane.refuse = Box::new(move |_| {
        let mut left = left.lock().unwrap();
        let refused = *left > 0;
        *left -= i32::from(refused);
        refused
    });
    let running = Running::start(reconciler, ONE);
    running.interfaces.send_replace(vec![interface("eth0", 7)]);
    let well = |s: &Status| s.interfaces[0].attached.is_ok() && s.fault.is_none();
    running
        .until("attached in the end", |s| *refusals.lock().unwrap() == 0 && well(s))
        .await;
}
