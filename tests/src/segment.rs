//! A switch with a balancer, a client and backends on it: what real traffic takes.
//!
//! ```text
//!   client           node             web1 ...
//!  10.8.0.10       10.8.0.1         10.8.0.11         and the same in fd08::/64
//!      └──────── switch ┴──────────────┘
//! ```

use std::fmt::Display;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use lb_user::api::types::Status;
use lb_user::dataplane::kernel::{Lock, attach_pass};
use lb_user::net::{LOOPBACK, Namespace, Net, wire};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::lab::fulcrum;
use crate::netns::TestNamespace;
use crate::node::{Daemon, Node};

/// Host `number` of the segment's IPv4.
#[must_use]
pub const fn v4(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 8, 0, number))
}

/// Host `number` of the segment's IPv6, where 10 is fd08::10, as people write it.
#[must_use]
pub const fn v6(number: u16) -> IpAddr {
    let digits = number / 100 * 0x100 + number / 10 % 10 * 0x10 + number % 10;
    IpAddr::V6(Ipv6Addr::new(0xfd08, 0, 0, 0, 0, 0, 0, digits))
}

/// The segment.
pub struct Segment {
    /// The balancer; its `eth0` is on the switch, which is `node.outside`.
    pub node: Node,
    /// 10.8.0.10 and fd08::10.
    pub client: TestNamespace,
    /// 10.8.0.11 and fd08::11 onwards.
    pub backends: Vec<TestNamespace>,
}

impl Segment {
    /// Starts the daemon with these services, which are the proxy's, and waits until every backend serves.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn start(&self, services: impl Display) -> Daemon {
        let node = &self.node;
        node.configure(&format!("{}{services}", node.head("eth0")));
        let daemon = node.start().await;
        let serves = |status: &Status| {
            let mut all = status.services.iter().flat_map(|service| &service.backends);
            all.all(|backend| backend.proxy.is_some_and(|proxy| proxy.serves))
        };
        node.until("every backend serves", serves).await;
        daemon
    }

    /// A segment with so many backends, which know of nothing: no VIP, no sysctls, no routes.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new(backends: u8) -> Self {
        let node = Node::new().await;
        let net = Net::inside(&node.namespace).expect("netlink");
        let eth0 = net.index("eth0").await.expect("eth0");
        for (ip, prefix) in [(v4(1), 24), (v6(1), 64)] {
            net.add_address(eth0, ip, prefix).await.expect("an address");
        }
        // The switch speaks no IP of its own; the addresses that a `Node` has outside are not used.
        let net = Net::inside(&node.outside).expect("netlink");
        wire::sysctl(&node.outside, "ipv6/conf/all/disable_ipv6", "1").expect("a sysctl");
        let bridge = net.add_bridge("br0").await.expect("a bridge");
        net.set_up(bridge).await.expect("a bridge");
        let port = net.index("eth0").await.expect("a port");
        net.set_master(port, bridge).await.expect("a port");
        prepare(&node.outside, "eth0", &node);
        let client = plug(&node, "client", 10).await;
        let mut all = Vec::new();
        for number in 1..=backends {
            all.push(plug(&node, &format!("web{number}"), 10 + number).await);
        }
        Self {
            node,
            client,
            backends: all,
        }
    }

    /// Another balancer on the switch, host `number`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn another_node(&self, number: u8) -> Node {
        let name = format!("lb{number}");
        let node = Node::of(plug(&self.node, &name, number).await);
        prepare(&self.node.outside, &name, &self.node);
        node
    }

    /// Starts `fulcrum lab serve` as `web1` on the first backend, and so on.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn serve(&self, index: usize, listen: &[String]) -> Process {
        serve(&self.backends[index], &format!("web{}", index + 1), listen)
    }

    /// Runs curl on the client to its end, which has to be a good one; returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn curl(&self, arguments: &[&str]) -> String {
        let mut curl = Command::new("curl");
        self.client
            .confine(&mut curl)
            .args(["-sS", "-m", "10", "--fail-early"])
            .args(arguments);
        let output = curl.output().expect("curl");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.node.log()
        );
        said
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // What `prepare` has pinned there is not the node's to remove.
        let _ = fs::remove_dir_all(self.node.path("bpf/ports"));
    }
}

/// Makes a host, and plugs it into the segment's switch.
///
/// # Panics
/// When that fails.
pub async fn plug(node: &Node, name: &str, number: u8) -> TestNamespace {
    let host = TestNamespace::new(name);
    wire::sysctl(&host, "ipv6/conf/default/accept_dad", "0").expect("a sysctl");
    let net = Net::inside(&host).expect("netlink");
    let switch = Net::inside(&node.outside).expect("netlink");
    net.add_veth("eth0", name, &node.outside).await.expect("a wire");
    let port = switch.index(name).await.expect("a port");
    let bridge = switch.index("br0").await.expect("a bridge");
    switch.set_master(port, bridge).await.expect("a port");
    switch.set_up(port).await.expect("a port");
    net.set_up(LOOPBACK).await.expect("lo");
    let eth0 = net.index("eth0").await.expect("eth0");
    net.set_up(eth0).await.expect("eth0");
    for (ip, prefix) in [(v4(number), 24), (v6(number.into()), 64)] {
        net.add_address(eth0, ip, prefix).await.expect("an address");
    }
    host
}

/// Makes the far end of one of the node's wires take what XDP sends, and send what XDP can rewrite.
///
/// # Panics
/// When that fails.
pub fn prepare(namespace: &Namespace, interface: &str, node: &Node) {
    wire::set_tx_checksum(namespace, interface, false).expect("a setting");
    drop(Lock::take(&node.path("bpf")).expect("a bpffs"));
    let folder = node.path("bpf/ports");
    fs::create_dir_all(&folder).expect("a folder");
    pass(namespace, interface, &folder);
}

fn pass(namespace: &Namespace, interface: &str, folder: &Path) {
    // Every host calls its end eth0.
    let count = fs::read_dir(folder).expect("a folder").count();
    let pin = folder.join(format!("{count}-{interface}"));
    let attached = namespace.run_inside(|| attach_pass(interface, &pin));
    attached.expect("a namespace").expect("a program");
}

/// Starts `fulcrum lab serve` in a namespace, and waits until it serves.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn serve(namespace: &Namespace, name: &str, listen: &[String]) -> Process {
    let mut command = fulcrum();
    command.args(["lab", "serve", "--name", name]);
    command.args(listen.iter().flat_map(|address| ["--listen", address]));
    let mut server = Process::start(namespace, &mut command);
    let ready = server.line();
    assert!(ready.starts_with("ready "), "{ready:?}");
    server
}

/// A process in a namespace, killed on drop, and with the thread that has started it.
pub struct Process {
    /// The process.
    pub child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it. Its standard output is to be read.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn start(namespace: &Namespace, command: &mut Command) -> Self {
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let command = namespace.confine(command);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// The next line of its output; empty at its end.
    ///
    /// # Panics
    /// When it is no text.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let output = self.output.as_mut().expect("nobody has taken it");
        output.read_line(&mut line).expect("text");
        line
    }

    /// Waits for the next bytes of its output, as many as there is room for.
    ///
    /// # Panics
    /// When it ends before.
    pub fn take_output_into(&mut self, bytes: &mut [u8]) {
        let output = self.output.as_mut().expect("nobody has taken it");
        std::io::Read::read_exact(output, bytes).expect("more output");
    }

    /// What is left of its output.
    ///
    /// # Panics
    /// When somebody has taken it already.
    pub fn take_output(&mut self) -> BufReader<ChildStdout> {
        self.output.take().expect("nobody has taken it")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
