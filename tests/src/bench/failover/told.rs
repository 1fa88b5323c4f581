//! Two nodes that tell each other of flows, while many are new: how far behind the one is that does not have the clients.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_user::api::types::Status;
use lb_user::net::Net;
use tokio::time::sleep;

use super::report::{FULCRUM, Report};
use crate::bench::Sampling;
use crate::knock::knock;
use crate::node::{DEADLINE, Node};
use crate::segment::{Segment, v4};
use crate::toml::service;

/// As in rows.
pub(super) const NAME: &str = "peer is behind, 10,000 new flows a second";

/// New flows in a second, through `nat`.
const RATE: u32 = 10_000;

/// For so many seconds; one where nothing but that it works is asked.
const SECONDS: u32 = 10;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

const NODES: [IpAddr; 2] = [v4(1), v4(2)];
const CLIENTS: [IpAddr; 2] = [v4(10), v4(20)];
const SOURCE: IpAddr = v4(99);

/// Backends on one machine: each has ports for 10,000 flows.
const BACKENDS: u16 = 16;

/// A round with machines of its own.
pub(super) async fn run(sampling: &Sampling, report: &mut Report) -> Result<()> {
    for _ in 0..sampling.rounds() {
        let flows = if sampling.quick { RATE } else { RATE * SECONDS };
        let told = tell(flows).await?;
        ensure!(
            sampling.quick || told.syncs == 1,
            "the peer did not keep up: it was told everything {} times",
            told.syncs
        );
        for lag in told.lags {
            report.add(NAME, FULCRUM, lag);
        }
    }
    Ok(())
}

/// What was seen.
#[derive(Debug)]
pub struct Told {
    /// How far behind the peer was at each look.
    pub lags: Vec<Duration>,
    /// How often it was told everything: more than once when it did not keep up.
    pub syncs: u64,
}

/// Has so many flows come to one of two nodes, 10,000 in a second, and waits until the other one knows all of them.
///
/// # Errors
/// When it does not.
///
/// # Panics
/// When there are no machines, or no daemons.
pub async fn tell(flows: u32) -> Result<Told> {
    let segment = Segment::new(1).await;
    let net = Net::inside(&segment.client)?;
    net.add_address(net.index("eth0").await?, CLIENTS[1], 24).await?;
    let (first, second) = (&segment.node, segment.another_node(2).await);
    let vip = SocketAddr::new(v4(100), 53);
    let backends = (0..BACKENDS).map(|number| SocketAddr::new(v4(11), 9_000 + number));
    let source = format!("source = [\"{SOURCE}\"]");
    let service = service("dns", "nat", &[vip])
        .udp()
        .table("nat", source)
        .backends(backends);
    let router = format!(
        "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = {{ lb1 = 110, lb2 = 100 }}\n\
         addresses = [\"{}\", \"{SOURCE}\"]\n",
        vip.ip()
    );
    for (node, name) in [(first, "lb1"), (&second, "lb2")] {
        let head = node.head_with_peers("eth0", name, NODES);
        node.configure(&format!("{head}{service}{router}"));
    }
    let _daemons = (first.start().await, second.start().await);
    let master = |status: &Status| {
        let router = status.virtual_routers.first();
        router.is_some_and(|router| router.role == "master") && agree(status)
    };
    first.until("it is master, and heard", master).await;
    second.until("it is heard", agree).await;

    let mut lags = Vec::new();
    std::thread::scope(|scope| {
        let client = &segment.client;
        let knocks = scope.spawn(move || knock(client, &CLIENTS, vip, flows, RATE));
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                while !knocks.is_finished() {
                    lags.push(lag(first).await?);
                    sleep(LOOK).await;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
    })?;
    all_taken(&second, u64::from(flows)).await?;
    let syncs = first.client().status().await?.peers[0].syncs;
    Ok(Told { lags, syncs })
}

fn agree(status: &Status) -> bool {
    !status.peers.is_empty() && status.peers.iter().all(|peer| peer.connected && peer.heard)
}

async fn lag(node: &Node) -> Result<Duration> {
    let status = node.client().status().await?;
    Ok(Duration::from_millis(status.peers[0].lag_ms))
}

async fn all_taken(node: &Node, flows: u64) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let peer = node.client().status().await?.peers[0].clone();
        if peer.taken >= flows {
            ensure!(
                (peer.foreign, peer.no_room) == (0, 0),
                "not all could be taken: {peer:?}"
            );
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "of {flows} flows {} were told", peer.taken);
        sleep(LOOK).await;
    }
}
