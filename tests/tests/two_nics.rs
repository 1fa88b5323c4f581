//! VIP traffic on one NIC, backends on another: real requests, redirected.
//!
//! ```text
//!  client eth0 ── eth0 node eth1 ── eth0 web
//!    10.1.0.2    10.1.0.1  10.2.0.1   10.2.0.2
//!         eth1 ───────────────────── eth1          the way back: answers do not pass the node
//!    10.3.0.2                         10.3.0.1
//! ```

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::netns::TestNamespace;
use lb_tests::node::Node;
use lb_user::dataplane::kernel::{Lock, attach_pass};
use lb_user::net::{Net, wire};
use nix::sys::signal::Signal;

/// Gives an interface an address, and switches it on.
async fn set(net: &Net, interface: &str, address: &str, prefix: u8) {
    let index = net.index(interface).await.unwrap();
    net.add_address(index, address.parse().unwrap(), prefix).await.unwrap();
    net.set_up(index).await.unwrap();
}

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Requests to the VIP, each over a connection of its own, all answered by the server.
fn curl(client: &TestNamespace) {
    for _ in 0..20 {
        let mut curl = std::process::Command::new("curl");
        client.confine(&mut curl).args(["-sS", "-m", "5", "http://10.1.0.100/"]);
        let output = curl.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let wanted = said.starts_with("web saw client 10.1.0.2:") && said.ends_with(" for 10.1.0.100:80\n");
        assert!(wanted, "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_come_in_on_one_nic_and_leave_by_another() {
    if gate::root() == Gate::Skip {
        return;
    }
    // `node.outside` is the client's side of 10.9.0.0/24, which is not used here; its eth0 is.
    let node = Node::new().await;
    let (client, web) = (&node.outside, TestNamespace::new("web"));
    let nets = (
        Net::inside(&node.namespace).unwrap(),
        Net::inside(client).unwrap(),
        Net::inside(&web).unwrap(),
    );
    nets.0.add_veth("eth1", "eth0", &web).await.unwrap();
    nets.1.add_veth("eth1", "eth1", &web).await.unwrap();
    for namespace in [client, &web] {
        wire::sysctl(namespace, "ipv4/conf/all/rp_filter", "0").unwrap();
    }
    set(&nets.0, "eth0", "10.1.0.1", 24).await;
    set(&nets.0, "eth1", "10.2.0.1", 24).await;
    set(&nets.1, "eth0", "10.1.0.2", 24).await;
    set(&nets.1, "eth1", "10.3.0.2", 24).await;
    set(&nets.2, "eth0", "10.2.0.2", 24).await;
    set(&nets.2, "eth1", "10.3.0.1", 24).await;
    set(&nets.2, "lo", "10.1.0.100", 32).await;
    nets.2
        .add_route("10.1.0.2".parse().unwrap(), 32, "10.3.0.2".parse().unwrap())
        .await
        .unwrap();
    // What veth wants: whole checksums from the client, and a program where redirected packets arrive.
    wire::set_tx_checksum(client, "eth0", false).unwrap();
    drop(Lock::take(&node.path("bpf")).unwrap());
    let pass = node.path("bpf/pass");
    web.run_inside(|| attach_pass("eth0", &pass).unwrap()).unwrap();

    let mut serve = fulcrum();
    web.confine(&mut serve).args([
        "lab",
        "serve",
        "--name",
        "web",
        "--listen",
        "10.2.0.2:80",
        "--listen",
        "10.1.0.100:80",
    ]);
    let mut server = Server(serve.stdout(Stdio::piped()).spawn().unwrap());
    let mut ready = String::new();
    BufReader::new(server.0.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();

    let service = "[[service]]\nname = \"web\"\naddress = \"10.1.0.100:80\"\nmode = \"dsr\"\n\
        [[service.backend]]\nname = \"web\"\naddress = \"10.2.0.2:80\"\n";
    for mode in ["native", "generic"] {
        let head = node
            .head("eth0")
            .replace("[\"eth0\"]", &format!("[\"eth0\", \"eth1\"]\nxdp-mode = \"{mode}\""));
        node.configure(&format!("{head}{service}"));
        let daemon = node.start().await;
        let status = node
            .until("the backend serves", |s| {
                s.services[0].backends[0].slots == 16384 && s.services[0].backends[0].next_hop.is_some()
            })
            .await;
        assert_eq!(
            status.services[0].backends[0].next_hop.as_ref().unwrap().interface,
            "eth1"
        );
        curl(client);
        let status = node.client().status().await.unwrap();
        assert_eq!(status.drops["no_egress"], 0);
        assert!(status.services[0].backends[0].new_flows >= 20);
        assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    }
    std::fs::remove_file(pass).unwrap();
}
