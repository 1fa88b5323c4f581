//! VIP traffic on one NIC of a node, the backend on another, and real requests.
//!
//! ```text
//!  client eth0 ── eth0 node eth1 ── eth0 web
//!    10.1.0.2    10.1.0.1  10.2.0.1   10.2.0.2
//!         eth1 ───────────────────── eth1          the way back: answers do not pass the node
//!    10.3.0.2                         10.3.0.1
//! ```

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lb_user::dataplane::kernel::{Lock, attach_pass};
use lb_user::net::{Net, wire};

use crate::lab::fulcrum;
use crate::netns::TestNamespace;
use crate::node::{DEADLINE, Node};

/// The VIP.
pub const VIP: &str = "10.1.0.100";

/// The three machines. The client is `node.outside`, whose side of 10.9.0.0/24 is not used here; its eth0 is.
pub struct TwoNics {
    /// Where the daemon runs.
    pub node: Node,
    /// The backend.
    pub web: TestNamespace,
    /// In the node's namespace.
    pub at_node: Net,
    /// In the client's.
    pub at_client: Net,
    /// In the backend's.
    pub at_web: Net,
    _server: Server,
}

impl TwoNics {
    /// Everything but the daemon; the server serves.
    ///
    /// # Panics
    /// When that fails.
    pub async fn new() -> Self {
        let (node, web) = (Node::new().await, TestNamespace::new("web"));
        let at_node = Net::inside(&node.namespace).unwrap();
        let at_client = Net::inside(&node.outside).unwrap();
        let at_web = Net::inside(&web).unwrap();
        at_client.add_veth("eth1", "eth1", &web).await.unwrap();
        for namespace in [&node.outside, &web] {
            wire::sysctl(namespace, "ipv4/conf/all/rp_filter", "0").unwrap();
        }
        set(&at_client, "eth1", "10.3.0.2", 24).await;
        set(&at_web, "eth1", "10.3.0.1", 24).await;
        set(&at_web, "lo", VIP, 32).await;
        at_web
            .add_route("10.1.0.2".parse().unwrap(), 32, "10.3.0.2".parse().unwrap())
            .await
            .unwrap();
        drop(Lock::take(&node.path("bpf")).unwrap());
        let server = Server::start(&web);
        let this = Self {
            node,
            web,
            at_node,
            at_client,
            at_web,
            _server: server,
        };
        this.set_client_wire("eth0").await;
        this.at_node.add_veth("eth1", "eth0", &this.web).await.unwrap();
        this.set_web_wire("eth1").await;
        this.attach_pass();
        this
    }

    /// Sets up the wire to the client, whose end at the node is called `name`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn set_client_wire(&self, name: &str) {
        // What veth wants: whole checksums from the client.
        wire::set_tx_checksum(&self.node.outside, "eth0", false).unwrap();
        set(&self.at_client, "eth0", "10.1.0.2", 24).await;
        set(&self.at_node, name, "10.1.0.1", 24).await;
    }

    /// Sets up the wire to the backend, whose end at the node is called `name`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn set_web_wire(&self, name: &str) {
        set(&self.at_web, "eth0", "10.2.0.2", 24).await;
        set(&self.at_node, name, "10.2.0.1", 24).await;
    }

    /// What native XDP on veth wants: a program where redirected packets arrive.
    ///
    /// # Panics
    /// When that fails.
    pub fn attach_pass(&self) {
        let pin = self.node.path("bpf/pass");
        // Of an interface that is gone.
        let _ = std::fs::remove_file(&pin);
        self.web.run_inside(|| attach_pass("eth0", &pin).unwrap()).unwrap();
    }

    /// Writes the configuration of the service, with `more` in `[node]`.
    pub fn configure(&self, more: &str) {
        let head = self.node.head("eth0");
        let head = head.replace("[\"eth0\"]", &format!("[\"eth0\", \"eth1\"]\n{more}"));
        let service = format!(
            "[[service]]\nname = \"web\"\naddress = \"{VIP}:80\"\nmode = \"dsr\"\n\
             [service.health]\ninterval = \"200ms\"\n\
             [[service.backend]]\nname = \"web\"\naddress = \"10.2.0.2:80\"\n"
        );
        self.node.configure(&format!("{head}{service}"));
    }

    /// Waits until the backend serves, and is reached.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until_served(&self) -> lb_user::api::types::Status {
        self.node
            .until("the backend serves", |s| {
                s.services[0].backends[0].slots == 16384 && s.services[0].backends[0].next_hop.is_some()
            })
            .await
    }

    /// Requests to the VIP, each over a connection of its own, all answered by the server.
    ///
    /// # Panics
    /// When one is not.
    pub fn requests(&self) {
        for _ in 0..20 {
            if let Err(said) = self.request(30) {
                panic!("{said}\n{}", self.node.log());
            }
        }
    }

    /// Waits until the client's neighbours and everybody else have got used to a change, and makes [`Self::requests`].
    ///
    /// # Panics
    /// When they do not, or a later one is not answered.
    pub async fn requests_in_the_end(&self) {
        let deadline = Instant::now() + DEADLINE;
        while let Err(said) = self.request(5) {
            assert!(Instant::now() < deadline, "{said}\n{}", self.node.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.requests();
    }

    /// A request that may take so many seconds.
    fn request(&self, seconds: u8) -> Result<(), String> {
        let mut curl = Command::new("curl");
        self.node.outside.confine(&mut curl);
        let most = seconds.to_string();
        let output = curl.args(["-sS", "-m", &most, "http://10.1.0.100/"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let facts = said.lines().next().unwrap_or_default();
        let wanted = facts.starts_with("web saw client 10.1.0.2:") && facts.ends_with(" for 10.1.0.100:80");
        wanted
            .then_some(())
            .ok_or_else(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for TwoNics {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.node.path("bpf/pass"));
    }
}

/// Gives an interface an address, and switches it on.
async fn set(net: &Net, interface: &str, address: &str, prefix: u8) {
    let index = net.index(interface).await.unwrap();
    net.add_address(index, address.parse().unwrap(), prefix).await.unwrap();
    net.set_up(index).await.unwrap();
}

/// A process that ends with the test.
struct Server(Child);

impl Server {
    /// Serves the backend's address and the VIP.
    fn start(web: &TestNamespace) -> Self {
        let mut serve = fulcrum();
        web.confine(&mut serve);
        // The backend's address has yet to come.
        serve.args(["lab", "serve", "--name", "web", "--listen", "0.0.0.0:80"]);
        let mut server = Self(serve.stdout(Stdio::piped()).spawn().unwrap());
        let mut ready = String::new();
        BufReader::new(server.0.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
