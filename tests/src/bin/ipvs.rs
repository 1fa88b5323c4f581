//! What a packet costs the balancer: Fulcrum in `dsr`, natively and generically attached, against the kernel's own IPVS
//! with direct routing; and what it costs a router, which balances nothing. For `cargo xtask vm --ipvs`, since kernels of containers seldom have IPVS.
//!
//! ```text
//!   client      native     generic     ipvs      router      web1, web2
//!      └──────────┴───────────┴──────────┴─────────┴── switch ──┘
//! ```
//!
//! Four nodes on one switch, each with a VIP of its own for the same two backends. The client sends the same packets to
//! one node after the other, in turns. What counts is the run time of the thread that polls the node's only interface
//! (threaded NAPI): taking a packet off the wire, deciding, and putting it on the wire again. Client, switch and backends
//! run in other threads. The backends do not have the VIP, so they drop what arrives, and nothing comes back.
//!
//! A sample in which not every packet has arrived is an error. `ipvs [ROUNDS] [PACKETS]`, as root.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::fulcrum;
use lb_tests::netns::TestNamespace;
use lb_tests::packet::{self, ACK, FIN, SYN};
use lb_tests::segment::{Segment, plug, prepare, v4};
use lb_user::api::Client;
use lb_user::net::{LOOPBACK, Namespace, Net, wire};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

/// How often each kind of packet goes to each node, unless told.
const ROUNDS: usize = 5;

/// Packets of a sample, unless told.
const PACKETS: u32 = 4096;

/// Packets that are sent at once: fewer than a veth's ring of 256 holds.
const BURST: usize = 64;

/// Longest wait for packets to arrive, or for a node to be ready.
const DEADLINE: Duration = Duration::from_secs(120);

/// Ports of the services.
const UDP: u16 = 9000;
const TCP: u16 = 8000;

/// The reference.
const IPVS: &str = "ipvs";

/// The node that balances nothing.
const ROUTER: &str = "router";

/// The addresses of the backends of a segment.
const BACKENDS: [IpAddr; 2] = [v4(11), v4(12)];

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Datagrams of 64 flows that are known by now.
    KnownFlows,
    /// Datagrams, each of a flow of its own.
    NewFlows,
    /// TCP connections as a balancer sees them that answers pass by: SYN, ACK, data, FIN.
    Connections,
}

impl Load {
    const ALL: [(Self, &'static str); 3] = [
        (Self::KnownFlows, "UDP, 64 known flows"),
        (Self::NewFlows, "UDP, each packet a new flow"),
        (Self::Connections, "TCP, connections of 4 packets"),
    ];

    /// Packets to a VIP. `serial` tells this sample's flows from all others'.
    fn packets(self, vip: Ipv4Addr, count: u32, serial: u32) -> Vec<Vec<u8>> {
        let from = |flow: u32| {
            // 10.128.0.0/9 is nobody's here.
            let host = 0x0a80_0000 | (serial & 0x7f) << 16 | flow >> 8;
            SocketAddr::new(Ipv4Addr::from_bits(host).into(), 20_000 + (flow & 0xff) as u16)
        };
        let to = |port| SocketAddr::new(vip.into(), port);
        let payload = [0; 18];
        (0..count)
            .map(|number| match self {
                Self::KnownFlows => packet::udp(
                    SocketAddr::new(v4(10), 20_000 + (number % 64) as u16),
                    to(UDP),
                    &payload,
                ),
                Self::NewFlows => packet::udp(from(number), to(UDP), &payload),
                Self::Connections => {
                    let (flags, data) = match number % 4 {
                        0 => (SYN, &payload[..0]),
                        1 => (ACK, &payload[..0]),
                        2 => (ACK, &payload[..]),
                        _ => (FIN | ACK, &payload[..0]),
                    };
                    packet::tcp(from(number / 4), to(TCP), flags, data)
                }
            })
            .collect()
    }
}

/// A node: what balances on it, its VIP, and the threads that work for its interface.
struct Balancer {
    name: &'static str,
    vip: Ipv4Addr,
    threads: Vec<PathBuf>,
    _namespace: TestNamespace,
    _daemon: Option<Daemon>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let packets = arguments.next().map_or(Ok(PACKETS), |text| text.parse())?;
    let segment = Segment::new(2).await;
    let mut balancers = Vec::new();
    for (number, name) in (20u8..).zip(["native", "generic", IPVS, ROUTER]) {
        balancers.push(balancer(&segment, name, number).await.context(name)?);
    }
    let client = segment.client.run_inside(|| {
        socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )
    })??;
    for balancer in &balancers {
        until_it_balances(&segment, &client, balancer)?;
    }
    let mut serial = 0;
    println!(
        "{:30} {:8} {:>10} {:>10} {:>8}",
        "packets", "balancer", "minimum", "median", "ratio"
    );
    for (load, title) in Load::ALL {
        let mut samples = vec![Vec::new(); balancers.len()];
        for round in 0..=rounds {
            for (balancer, samples) in balancers.iter().zip(&mut samples) {
                serial += 1;
                let frames = load.packets(balancer.vip, packets, serial);
                let cost = sample(&segment, &client, balancer, &frames).context(balancer.name)?;
                // The first warms up what has to be warm.
                if round > 0 {
                    samples.push(cost / u64::from(packets));
                }
            }
        }
        for samples in &mut samples {
            samples.sort_unstable();
        }
        let ipvs = balancers.iter().position(|balancer| balancer.name == IPVS);
        let reference = ipvs
            .and_then(|ipvs| samples[ipvs].first())
            .copied()
            .context("no samples")?;
        for (balancer, samples) in balancers.iter().zip(&samples) {
            let (minimum, median) = (samples[0], samples[samples.len() / 2]);
            println!(
                "{title:30} {:8} {minimum:>10} {median:>10} {:>8.2}",
                balancer.name,
                minimum as f64 / reference as f64
            );
        }
    }
    println!(
        "ns of run time per packet of the thread that polls the node's interface, of {rounds} samples of {packets}"
    );
    println!("packets; ratio of the minimum to that of ipvs");
    Ok(())
}

/// Plugs in a node and lets it balance.
async fn balancer(segment: &Segment, name: &'static str, number: u8) -> Result<Balancer> {
    let namespace = plug(&segment.node, name, number).await;
    // The same for all: native XDP needs it to send, and the others send to the same kind of neighbour.
    prepare(&segment.node.outside, name, &segment.node);
    run(namespace.confine(Command::new("ethtool").args(["-K", "eth0", "gro", "on"])))?;
    let vip = Ipv4Addr::new(10, 8, 0, 100 + number);
    let net = Net::inside(&namespace)?;
    let mut daemon = None;
    if name == ROUTER {
        wire::sysctl(&namespace, "ipv4/ip_forward", "1")?;
        // Its way in is its way out, of which it would tell the client.
        wire::sysctl(&namespace, "ipv4/conf/all/send_redirects", "0")?;
        wire::sysctl(&namespace, "ipv4/conf/eth0/send_redirects", "0")?;
        net.add_route(vip.into(), 32, BACKENDS[0]).await?;
        let client = Net::inside(&segment.client)?;
        client.add_route(vip.into(), 32, v4(number)).await?;
    } else if name == IPVS {
        net.add_address(LOOPBACK, vip.into(), 32).await?;
        for (kind, port) in [("-u", UDP), ("-t", TCP)] {
            let service = format!("{vip}:{port}");
            run(namespace.confine(Command::new("ipvsadm").args(["-A", kind, &service, "-s", "rr"])))?;
            for backend in BACKENDS {
                let real = format!("{backend}:{port}");
                run(namespace.confine(Command::new("ipvsadm").args(["-a", kind, &service, "-r", &real, "-g"])))?;
            }
        }
    } else {
        daemon = Some(Daemon::start(segment, &namespace, name, vip).await?);
    }
    let threads = threaded(&namespace, "eth0")?;
    threaded(&segment.node.outside, name)?;
    Ok(Balancer {
        name,
        vip,
        threads,
        _namespace: namespace,
        _daemon: daemon,
    })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// A `fulcrum run`, killed on drop, and its program with it.
struct Daemon {
    child: Child,
    detach: Command,
}

impl Daemon {
    /// Starts it in a node, and waits until it has attached its program.
    async fn start(segment: &Segment, namespace: &Namespace, mode: &str, vip: Ipv4Addr) -> Result<Self> {
        let folder = segment.node.path(mode);
        fs::create_dir_all(&folder)?;
        let path = |name: &str| folder.join(name).display().to_string();
        let mut toml = format!(
            "[node]\nname = \"{mode}\"\ninterfaces = [\"eth0\"]\nxdp-mode = \"{mode}\"\nstate-dir = \"{}\"\n\
             pin-dir = \"{}\"\n[admin]\nsocket = \"{}\"\n",
            path("state"),
            path("bpf"),
            path("socket")
        );
        for (protocol, port) in [("udp", UDP), ("tcp", TCP)] {
            toml.push_str(&format!(
                "[[service]]\nname = \"{protocol}\"\naddress = \"{vip}:{port}\"\nprotocol = \"{protocol}\"\n\
                 mode = \"dsr\"\nhealth.kind = \"none\"\n"
            ));
            for backend in BACKENDS {
                toml.push_str(&format!("[[service.backend]]\naddress = \"{backend}:{port}\"\n"));
            }
        }
        fs::write(folder.join("fulcrum.toml"), toml)?;
        let mut daemon = fulcrum();
        daemon
            .args(["run", "-c", &path("fulcrum.toml")])
            .env("FULCRUM_LOG", "warn");
        // SAFETY: between fork and exec the closure makes one system call, and neither allocates nor locks.
        unsafe { daemon.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
        let child = namespace.confine(&mut daemon).spawn().context("fulcrum run")?;
        let mut detach = fulcrum();
        namespace.confine(detach.args(["detach", "--pin-dir", &path("bpf")]));
        let daemon = Self { child, detach };
        let client = Client::new(folder.join("socket"));
        let deadline = Instant::now() + DEADLINE;
        loop {
            match client.status().await {
                Ok(status) if !status.interfaces.is_empty() => return Ok(daemon),
                other => ensure!(Instant::now() < deadline, "the daemon is not ready: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.detach.stdout(Stdio::null()).status();
    }
}

/// Lets threads poll an interface, and returns them by their folders in /proc.
fn threaded(namespace: &Namespace, interface: &str) -> Result<Vec<PathBuf>> {
    let before = polling_threads()?;
    // A sysfs shows the interfaces of the namespace that has mounted it.
    let place = tempfile::tempdir()?;
    namespace.run_inside(|| -> Result<()> {
        mount(
            Some("sysfs"),
            place.path(),
            Some("sysfs"),
            MsFlags::empty(),
            None::<&str>,
        )?;
        let file = place.path().join("class/net").join(interface).join("threaded");
        let written = fs::write(&file, "1").with_context(|| file.display().to_string());
        umount2(place.path(), MntFlags::MNT_DETACH)?;
        written
    })??;
    let threads: Vec<_> = polling_threads()?.difference(&before).cloned().collect();
    ensure!(!threads.is_empty(), "no thread polls {interface}");
    Ok(threads)
}

fn polling_threads() -> Result<BTreeSet<PathBuf>> {
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_poller =
        |folder: &PathBuf| fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with("napi/"));
    Ok(processes.filter(is_poller).collect())
}

/// ns that these threads have run, by the first number of /proc/PID/schedstat.
fn run_time(threads: &[PathBuf]) -> Result<u64> {
    let mut sum = 0;
    for thread in threads {
        let text = fs::read_to_string(thread.join("schedstat")).context("a kernel without schedstat")?;
        sum += text.split(' ').next().context("no number")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// Packets that the backends have received.
fn arrived(segment: &Segment) -> Result<u64> {
    let mut sum = 0;
    for backend in &segment.backends {
        let text = backend.run_inside(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        let packets = line.and_then(|line| line.split_whitespace().nth(1));
        sum += packets.context("no counter of eth0")?.parse::<u64>()?;
    }
    Ok(sum)
}

fn send(client: &OwnedFd, vip: Ipv4Addr, packet: &[u8]) -> Result<()> {
    let to = SockaddrIn::from(SocketAddrV4::new(vip, 0));
    sendto(client.as_raw_fd(), packet, &to, MsgFlags::empty()).context("sending")?;
    Ok(())
}

/// Sends packets until one comes through: VIP and next hops are known then. Each is a known flow's, so that all become so.
fn until_it_balances(segment: &Segment, client: &OwnedFd, balancer: &Balancer) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let packets = Load::KnownFlows.packets(balancer.vip, 64, 0);
    loop {
        let before = arrived(segment)?;
        for packet in &packets {
            send(client, balancer.vip, packet)?;
        }
        sleep(Duration::from_millis(100));
        if arrived(segment)? >= before + packets.len() as u64 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{}: nothing comes through", balancer.name);
    }
}

/// Sends packets in bursts, each of which has to arrive; returns the ns that the node's threads have run.
fn sample(segment: &Segment, client: &OwnedFd, balancer: &Balancer, packets: &[Vec<u8>]) -> Result<u64> {
    let mut expected = arrived(segment)?;
    let before = run_time(&balancer.threads)?;
    for burst in packets.chunks(BURST) {
        for packet in burst {
            send(client, balancer.vip, packet)?;
        }
        expected += burst.len() as u64;
        let deadline = Instant::now() + DEADLINE;
        loop {
            // What the hosts themselves have to say to each other may be there, too.
            let there = arrived(segment)?;
            if there >= expected {
                expected = there;
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{} packets of a burst are lost",
                expected - there
            );
            sleep(Duration::from_millis(1));
        }
    }
    Ok(run_time(&balancer.threads)? - before)
}
