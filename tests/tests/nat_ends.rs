//! When flows of `nat` end: the time that they may be silent, the sweep, and entries that have lost each other. Time passes
//! by making entries older.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use lb_common::nat::{Phase, Stamp, Ticks, Translation};
use lb_common::stats::DropReason;
use lb_tests::gate::{self, Gate};
use lb_tests::nat::{DNS, Node, TCP_IDLE, WEB, WEB6, now, with_ports};
use lb_tests::packet::{ACK, SYN};
use lb_tests::rig::CLIENT;

/// Ticks that may pass while a test looks. Where exactly a flow is over is a matter of `lb_common`'s tests.
const MARGIN: Ticks = 10;

/// A flow that is over is over for its own packets, too: it begins anew, or is the kernel's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_does_not_go_on() {
    if gate::root() == Gate::Skip {
        return;
    }
    let tcp = [
        (Phase::Closed, 56 - MARGIN, 57),
        (Phase::Opening, 56 - MARGIN, 57),
        (Phase::HalfClosed, 112 - MARGIN, 113),
        (Phase::Established, TCP_IDLE - MARGIN, TCP_IDLE + 1),
    ];
    for flow in [WEB, WEB6] {
        for (phase, young, old) in tcp {
            let mut node = Node::with(with_ports(100)).await;
            let there = node.forwards(flow(1), SYN, b"");
            node.bring(flow(1), there, phase);
            node.ages(there, young);
            assert_eq!(node.kernel().run_sweep(&[there.reversed().key()]).unwrap(), 0);
            assert_eq!(node.forwards(flow(1), ACK, b""), there, "{phase:?}: still young");
            let stamp = node.lease(there).unwrap().stamp;
            assert!(stamp.age(now()) <= MARGIN, "{phase:?}: the lease has been told");
            node.ages(there, old);
            node.passes(&flow(1).frame(CLIENT, ACK, b""));
            assert_eq!(node.flows(), 0);
            let again = node.forwards(flow(1), SYN, b"");
            assert_ne!(again, there);
            node.ages(again, old.max(57));
            assert_ne!(node.forwards(flow(1), SYN, b""), again);
            assert_eq!(node.flows(), 1);
        }
    }
    let mut node = Node::with(with_ports(100)).await;
    let there = node.forwards(DNS(1), 0, b"");
    node.ages(there, 29);
    assert_ne!(node.forwards(DNS(1), 0, b""), there);
    assert_eq!(node.flows(), 1);
}

/// The backend's packets alone keep a flow alive.
#[tokio::test(flavor = "multi_thread")]
async fn answers_keep_a_flow_alive() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(1)).await;
    let there = node.forwards(WEB(1), SYN, b"");
    node.bring(WEB(1), there, Phase::Established);
    for _ in 0..3 {
        node.ages(there, TCP_IDLE - MARGIN);
        node.answers(there, WEB(1), ACK, b"");
        assert!(node.lease(there).unwrap().stamp.age(now()) <= MARGIN);
    }
    // The client's entry is older than that, and asks the lease.
    assert_eq!(node.forwards(WEB(1), ACK, b""), there);
}

/// An entry whose lease is another's, or gone, is of no use, and goes.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_its_lease_goes() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(1)).await;
    for taken in [false, true] {
        let there = node.forwards(WEB(1), SYN, b"");
        node.bring(WEB(1), there, Phase::Established);
        let orphan = node.flow(WEB(1)).unwrap();
        node.ages(there, TCP_IDLE + 1);
        if taken {
            assert_eq!(node.forwards(WEB(2), SYN, b""), there);
        } else {
            assert_eq!(node.kernel().run_sweep(&[there.reversed().key()]).unwrap(), 1);
        }
        assert_eq!(node.flow(WEB(1)), None);
        // As another CPU might have left it; old, so that it asks.
        let old = Translation {
            stamp: Stamp(orphan.stamp.0.wrapping_sub(3 << 32)),
            ..orphan
        };
        node.kernel().put_flow(&WEB(1).key(), Some(&old)).unwrap();
        node.passes(&WEB(1).frame(CLIENT, ACK, b""));
        assert_eq!(node.flow(WEB(1)), None);
        if taken {
            node.answers(there, WEB(2), SYN | ACK, b"");
            node.drops(&WEB(1).frame(CLIENT, SYN, b""), DropReason::NatPorts);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_ends_what_is_over() {
    if gate::root() == Gate::Skip {
        return;
    }
    let mut node = Node::with(with_ports(1000)).await;
    let mut over = Vec::new();
    let mut list = Vec::new();
    for port in 0..30 {
        for flow in [WEB, WEB6, DNS] {
            let there = node.forwards(flow(1000 + port), SYN, b"");
            list.push(there.reversed().key());
            if port % 3 == 0 {
                node.ages(there, 58);
                over.push(flow(1000 + port));
            }
        }
    }
    // Keys of no lease are no matter.
    list.insert(5, WEB(7).key());
    let ended: u32 = list.chunks(80).map(|part| node.kernel().run_sweep(part).unwrap()).sum();
    assert_eq!(ended as usize, over.len());
    assert_eq!(node.flows(), 90 - over.len());
    for flow in over {
        assert_eq!(node.flow(flow), None);
    }
    let again: u32 = list.chunks(80).map(|part| node.kernel().run_sweep(part).unwrap()).sum();
    assert_eq!(again, 0);
}
