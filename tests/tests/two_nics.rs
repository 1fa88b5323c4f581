//! VIP traffic on one NIC, backends on another: real requests, redirected.

use lb_tests::gate::{self, Gate};
use lb_tests::two_nics::TwoNics;
use nix::sys::signal::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_in_on_one_nic_and_leave_by_another() {
    if gate::root() == Gate::Skip {
        return;
    }
    let nics = TwoNics::new().await;
    for mode in ["native", "generic"] {
        nics.configure(&format!("xdp-mode = \"{mode}\""));
        let daemon = nics.node.start().await;
        let status = nics.until_served().await;
        let next_hop = status.services[0].backends[0].next_hop.as_ref();
        assert_eq!(next_hop.map(|hop| hop.interface.as_str()), Some("eth1"));
        nics.requests();
        let status = nics.node.client().status().await.unwrap();
        assert_eq!(status.drops["no_egress"], 0);
        assert!(status.services[0].backends[0].new_flows >= 20);
        assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    }
}
