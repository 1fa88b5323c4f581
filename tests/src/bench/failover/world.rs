//! One segment with a client, two machines of each kind that stand in for each other, and whoever answers.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use lb_user::net::{Namespace, Net, wire};

use super::case::Case;
use super::pair::{Member, Pair, Program};
use crate::backing::hold;
use crate::node::Node;
use crate::segment::{Segment, plug, v4};

/// Of the echo.
const PORT: u16 = 7;

/// Bounds how long the end of an echo goes unseen.
const LOOK: Duration = Duration::from_millis(20);

/// See the module. Pairs end before their machines do.
pub(super) struct World {
    pub(super) pairs: Vec<Pair>,
    pub(super) segment: Segment,
    /// Where the wires of all of them end.
    pub(super) switch: Net,
    _echoes: Vec<Echo>,
}

impl World {
    /// Both members of each pair are started.
    pub(super) async fn new(case: &Case, with_keepalived: bool) -> Result<Self> {
        let segment = Segment::new(1).await;
        let switch = Net::inside(&segment.node.outside)?;
        let mut echoes = Vec::new();
        let mut pairs = vec![fulcrum(&segment, &switch, case, &mut echoes).await?];
        if with_keepalived {
            pairs.push(keepalived(&segment, &switch, case, &mut echoes).await?);
        }
        for pair in &mut pairs {
            for place in [0, 1] {
                pair.start(place).await?;
            }
        }
        Ok(Self {
            pairs,
            segment,
            switch,
            _echoes: echoes,
        })
    }
}

/// Two balancers, which lead to a backend by direct return.
async fn fulcrum(segment: &Segment, switch: &Net, case: &Case, echoes: &mut Vec<Echo>) -> Result<Pair> {
    let address = SocketAddr::new(v4(100), PORT);
    let backend = &segment.backends[0];
    hold(backend, &[address.ip()]).await;
    echoes.push(Echo::start(backend, address)?);
    let members = [
        member("lb2", segment.another_node(2).await, switch).await?,
        member("lb3", segment.another_node(3).await, switch).await?,
    ];
    let program = Program::Fulcrum {
        backend: SocketAddr::new(v4(11), PORT),
    };
    Ok(Pair::new(program, members, address, case.interval))
}

/// Two machines that answer by themselves.
async fn keepalived(segment: &Segment, switch: &Net, case: &Case, echoes: &mut Vec<Echo>) -> Result<Pair> {
    let address = SocketAddr::new(v4(200), PORT);
    let mut members = Vec::new();
    for number in [4, 5] {
        let name = format!("ka{number}");
        let host = plug(&segment.node, &name, number).await;
        // Whether the address is there yet or not.
        wire::sysctl(&host, "ipv4/ip_nonlocal_bind", "1")?;
        echoes.push(Echo::start(&host, address)?);
        members.push(member(&name, Node::of(host), switch).await?);
    }
    let Ok(members) = members.try_into() else {
        anyhow::bail!("a pair has two members")
    };
    Ok(Pair::new(Program::Keepalived, members, address, case.interval))
}

async fn member(port: &str, node: Node, switch: &Net) -> Result<Member> {
    Ok(Member::new(node, switch.index(port).await?))
}

/// Sends back whatever comes, until it is dropped.
struct Echo(Arc<AtomicBool>);

impl Echo {
    fn start(host: &Namespace, address: SocketAddr) -> Result<Self> {
        let socket = host.run_inside(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(LOOK))?;
        let ended = Arc::new(AtomicBool::new(false));
        let echo = Self(Arc::clone(&ended));
        std::thread::spawn(move || {
            let mut question = [0; 16];
            while !ended.load(Relaxed) {
                // What a pulled wire makes of it is not the echo's concern.
                if let Ok((length, from)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(&question[..length], from);
                }
            }
        });
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
