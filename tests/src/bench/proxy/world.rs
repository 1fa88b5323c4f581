//! A machine that the three proxies run on, their clients, and their backends.
//!
//! ```text
//!   outside: clients 10.9.0.11 ───── eth0 10.9.0.1 to .3 ── node ── eth1 10.10.0.1 ───── 10.10.0.11 outside: backends
//! ```
//!
//! Proxies have one processor, all others the second. The XDP program is on `eth0` whoever is asked, and backends are
//! reached by a wire of their own, without it.

use std::fs;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use lb_user::net::{Net, wire};
use rcgen::{CertificateParams, KeyPair};

use super::process::{Core, Process};
use super::subject::{self, Subject};
use crate::node::Node;

/// Whom the certificate is for.
pub(super) const NAME: &str = "bench.test";

/// Where backends are.
pub(super) const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 11);

/// Of the backends: listeners of one nginx.
pub(super) const PORTS: [u16; 2] = [8001, 8002];

/// The files that backends serve, and how long they are.
const FILES: [(&str, usize); 2] = [("small", 100), ("large", 1_000_000)];

/// The folder of what backends serve.
pub(super) const SITE: &str = "site";

/// The folder of all logs. The daemon watches the one that its configuration and certificates are in, and each line that
/// anybody writes there would cost all of them dearly.
const LOGS: &str = "logs";

/// What a client needs that opens many connections, one after the other.
const CLIENT_SYSCTLS: [(&str, &str); 3] = [
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/tcp_max_tw_buckets", "1000"),
];

/// See the module. Processes end before the node does.
pub(super) struct World {
    _backends: Process,
    pub(super) node: Node,
    /// Where proxies run.
    pub(super) proxies: Core,
    others: Core,
    /// Clients' and backends' connections that each proxy has to be able to hold.
    pub(super) connections: u64,
}

impl World {
    pub(super) async fn new(connections: u64) -> Result<Self> {
        let (proxies, others) = Core::two()?;
        let node = Node::new().await;
        wires(&node).await?;
        for (key, value) in CLIENT_SYSCTLS {
            wire::sysctl(&node.outside, key, value)?;
        }
        // Proxies are clients, too.
        wire::sysctl(&node.namespace, CLIENT_SYSCTLS[0].0, CLIENT_SYSCTLS[0].1)?;
        certificate(&node)?;
        for folder in [LOGS, SITE] {
            fs::create_dir(node.path(folder))?;
        }
        for (name, length) in FILES {
            fs::write(node.path(SITE).join(name), vec![b'x'; length])?;
        }
        let mut command = subject::nginx(&node, "backends", &subject::backends(&node, connections))?;
        let command = others.confine(node.outside.confine(&mut command));
        let backends = Process::start(command, node.path(LOGS).join("backends.log"))?;
        Ok(Self {
            _backends: backends,
            node,
            proxies,
            others,
            connections,
        })
    }

    /// Makes `command` start where clients are, on their processor.
    pub(super) fn confine_client<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        self.others.confine(self.node.outside.confine(command))
    }

    /// Runs a client of our own where clients are, on their processor.
    pub(super) fn as_client<T: Send>(&self, work: impl Future<Output = T> + Send) -> Result<T> {
        let run = || {
            self.others.take()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            anyhow::Ok(runtime.block_on(work))
        };
        self.node.outside.run_inside(run)?
    }

    /// Where something is logged.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.node.path(LOGS).join(name)
    }

    /// The certificate with its chain and, in the same file, its key.
    pub(super) fn certificate(&self) -> PathBuf {
        self.node.path("certificate.pem")
    }
}

async fn wires(node: &Node) -> Result<()> {
    let (inside, outside) = (Net::inside(&node.namespace)?, Net::inside(&node.outside)?);
    inside.add_veth("eth1", "eth1", &node.outside).await?;
    for (net, address) in [(&inside, Ipv4Addr::new(10, 10, 0, 1)), (&outside, BACKEND)] {
        let eth1 = net.index("eth1").await?;
        net.add_address(eth1, address.into(), 24).await?;
        net.set_up(eth1).await?;
    }
    let eth0 = inside.index("eth0").await?;
    for subject in Subject::ALL {
        if subject.address() != IpAddr::from([10, 9, 0, 1]) {
            inside.add_address(eth0, subject.address(), 24).await?;
        }
    }
    Ok(())
}

/// ECDSA on P-256, of nobody's authority.
pub(in crate::bench) fn certificate(node: &Node) -> Result<()> {
    let key = KeyPair::generate().context("a key")?;
    let certificate = CertificateParams::new(vec![NAME.to_owned()])?.self_signed(&key)?;
    fs::write(node.path("certificate.pem"), certificate.pem() + &key.serialize_pem())?;
    Ok(())
}
