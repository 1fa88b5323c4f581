//! Two members of a virtual router, one of which is master.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_user::net::Net;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use super::case::PRIORITIES;
use super::report::{FULCRUM, KEEPALIVED};
use crate::bench::proxy::find;
use crate::node::{DEADLINE, Daemon, Node};
use crate::pair::keepalived;
use crate::segment::Process;
use crate::toml::service;

/// See the module.
pub(super) struct Pair {
    program: Program,
    members: [Member; 2],
    address: SocketAddr,
    interval: Duration,
}

/// What its members run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Program {
    /// A balancer before this backend.
    Fulcrum {
        backend: SocketAddr,
    },
    Keepalived,
}

/// A machine. What runs ends before it.
pub(super) struct Member {
    running: Option<Running>,
    node: Node,
    /// The other end of its wire.
    port: u32,
}

enum Running {
    Fulcrum(Daemon),
    Keepalived(Process),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Master,
    Backup,
    Other,
}

impl Member {
    pub(super) fn new(node: Node, port: u32) -> Self {
        Self {
            running: None,
            node,
            port,
        }
    }

    fn log(&self) -> String {
        self.node.log()
    }
}

impl Pair {
    /// Nobody runs yet.
    pub(super) fn new(program: Program, members: [Member; 2], address: SocketAddr, interval: Duration) -> Self {
        Self {
            program,
            members,
            address,
            interval,
        }
    }

    /// As in rows.
    pub(super) fn subject(&self) -> &'static str {
        match self.program {
            Program::Fulcrum { .. } => FULCRUM,
            Program::Keepalived => KEEPALIVED,
        }
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The other end of a member's wire.
    pub(super) fn port(&self, place: usize) -> u32 {
        self.members[place].port
    }

    /// What both have said.
    pub(super) fn logs(&self) -> String {
        self.members.each_ref().map(Member::log).join("\n")
    }

    /// Starts a member.
    pub(super) async fn start(&mut self, place: usize) -> Result<()> {
        let (vip, priority) = (self.address.ip(), PRIORITIES[place]);
        let member = &mut self.members[place];
        let node = &member.node;
        member.running = Some(match self.program {
            Program::Fulcrum { backend } => {
                let web = service("echo", "dsr", &[self.address]).udp().backend(backend);
                node.configure(&format!(
                    "{}[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = {priority}\n\
                     advertisement-interval = \"{}ms\"\naddresses = [\"{vip}\"]\npreempt = false\n{web}",
                    node.head_with_seed("eth0"),
                    self.interval.as_millis(),
                ));
                Running::Fulcrum(node.start().await)
            }
            Program::Keepalived => {
                let conf = format!(
                    "vrrp_instance VI_1 {{\nstate BACKUP\ninterface eth0\nvirtual_router_id 2\nversion 3\n\
                     priority {priority}\nadvert_int {}\nnopreempt\nvirtual_ipaddress {{\n{vip}\n}}\n}}\n",
                    self.interval.as_secs_f64(),
                );
                let file = node.path("keepalived.conf");
                fs::write(&file, conf)?;
                let mut command = keepalived(&find("keepalived").context("no keepalived")?, node);
                command.stderr(fs::File::create(node.path("log"))?);
                Running::Keepalived(Process::start(&node.namespace, &mut command))
            }
        });
        Ok(())
    }

    async fn role(&self, place: usize) -> Role {
        let member = &self.members[place];
        match self.program {
            Program::Fulcrum { .. } => {
                let status = member.node.client().status().await;
                let role = status
                    .ok()
                    .and_then(|status| Some(status.virtual_routers.first()?.role.clone()));
                match role.as_deref() {
                    Some("master") => Role::Master,
                    Some("backup") => Role::Backup,
                    _ => Role::Other,
                }
            }
            Program::Keepalived => {
                let log = member.log();
                let last = log.lines().rev().find_map(|line| line.split_once("Entering "));
                match last {
                    Some((_, "MASTER STATE")) => Role::Master,
                    Some((_, state)) if state.starts_with("BACKUP STATE") => Role::Backup,
                    _ => Role::Other,
                }
            }
        }
    }

    /// Waits until one is master and the other stands ready, and says which one is.
    pub(super) async fn until_ready(&self) -> Result<usize> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match [self.role(0).await, self.role(1).await] {
                [Role::Master, Role::Backup] => return Ok(0),
                [Role::Backup, Role::Master] => return Ok(1),
                roles => ensure!(Instant::now() < deadline, "{roles:?}\n{}", self.logs()),
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until this one is master.
    pub(super) async fn until_master(&self, place: usize) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while self.role(place).await != Role::Master {
            ensure!(Instant::now() < deadline, "nobody takes over\n{}", self.logs());
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Kills a member's program: from here on it says nothing.
    pub(super) fn kill(&self, place: usize) -> Result<()> {
        let Member { node, running, .. } = &self.members[place];
        match running {
            Some(Running::Fulcrum(daemon)) => daemon.signal(Signal::SIGKILL),
            Some(Running::Keepalived(parent)) => {
                // The one that speaks first: were it told of its parent's end, it would give the address away.
                let child: i32 = fs::read_to_string(node.path("vrrp.pid"))?.trim().parse()?;
                let [child, parent] = [child, parent.child.id().cast_signed()].map(Pid::from_raw);
                // A parent that is stopped does not tidy up after its child in the meantime.
                kill(parent, Signal::SIGSTOP)?;
                for pid in [child, parent] {
                    kill(pid, Signal::SIGKILL)?;
                }
            }
            None => bail!("it does not run"),
        }
        Ok(())
    }

    /// Waits for the end of one that was killed, and takes its address off where the kernel would keep it for ever.
    pub(super) async fn bury(&mut self, place: usize) -> Result<()> {
        let member = &mut self.members[place];
        match member.running.take() {
            Some(Running::Fulcrum(daemon)) => _ = daemon.wait(),
            Some(Running::Keepalived(parent)) => {
                drop(parent);
                // The next one would take it for alive.
                for file in ["keepalived.pid", "vrrp.pid"] {
                    fs::remove_file(member.node.path(file))?;
                }
                let net = Net::inside(&member.node.namespace)?;
                for address in net.addresses().await? {
                    if address.ip == self.address.ip() {
                        net.remove_vip(address.interface, address.ip).await?;
                    }
                }
            }
            None => {}
        }
        Ok(())
    }
}
