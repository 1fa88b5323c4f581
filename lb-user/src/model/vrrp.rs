//! Virtual routers: addresses that several nodes stand ready for, and one holds (RFC 9568, RFC 3768).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[[vrrp]]`: a virtual router, as this node takes part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualRouter {
    /// Unique.
    pub name: Arc<str>,
    /// Where it is talked of, and where its addresses go.
    pub interface: Arc<str>,
    /// VRID, unique for an interface, a family and a way to talk.
    pub id: NonZeroU8,
    /// The protocol that is spoken.
    pub version: VrrpVersion,
    /// This node's; the highest among those that are up becomes master. 255 is for whoever owns the addresses.
    pub priority: NonZeroU8,
    /// Between two advertisements of a master: whole centiseconds up to 40.95 s in version 3, whole seconds up to 255 s in
    /// version 2.
    pub interval: Duration,
    /// Whom to send to; where there is nobody, to the protocol's multicast group. The node's own addresses may be among
    /// them.
    pub peers: Vec<IpAddr>,
    /// Where advertisements come from; `None`: the interface's first address of the family, for multicast over IPv6 the
    /// link-local one.
    pub source: Option<IpAddr>,
    /// What the master holds: at least one, all of one family, none twice. Their order is that of the advertisement.
    pub addresses: Vec<IpAddr>,
    /// Does a node with a higher priority take over from a master that works?
    pub preempt: bool,
    /// For so long it lets such a master be.
    pub preempt_delay: Duration,
    /// For so long after its start a daemon only listens.
    pub start_delay: Duration,
    /// Those with the same are master together or not at all.
    pub sync_group: Option<Arc<str>>,
    /// What is run when the role changes.
    pub notify: BTreeMap<Occasion, Arc<Program>>,
    /// What lowers or raises the priority, or takes the node out.
    pub tracks: Vec<Track>,
}

impl VirtualRouter {
    /// Is it one of IPv6?
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.addresses.first().is_some_and(IpAddr::is_ipv6)
    }
}

/// The protocol between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VrrpVersion {
    /// RFC 3768: IPv4 and whole seconds, for peers that know no better.
    V2,
    /// RFC 9568.
    #[default]
    V3,
}

impl VrrpVersion {
    /// As in the packet.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// When a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// This node holds the addresses from now on.
    Master,
    /// Another one may.
    Backup,
    /// This node cannot.
    Fault,
    /// The daemon ends, or the virtual router leaves the file.
    Stop,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Master, Self::Backup, Self::Fault, Self::Stop];

    /// As in the file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Backup => "backup",
            Self::Fault => "fault",
            Self::Stop => "stop",
        }
    }
}

/// A program with its arguments, to be run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Behind its name.
    pub arguments: Vec<String>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// `[[vrrp.track]]`: something that the priority depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What is looked at.
    pub subject: Tracked,
    /// Added to the priority: one below 0 while it is down, one above 0 while it is up. 0: while it is down, the node takes
    /// no part.
    pub weight: i16,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// Up while it exits with 0.
    Script(Script),
    /// Up while it is switched on and has a carrier.
    Interface(Arc<str>),
    /// Up while it has its quorum of backends.
    Service(Arc<str>),
    /// Up while it is not there: who makes it takes the node out for maintenance.
    File(PathBuf),
}

impl fmt::Display for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Script(script) => write!(f, "script {}", script.program),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Service(name) => write!(f, "service {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// A program that is run again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What is run.
    pub program: Program,
    /// From one start to the next.
    pub interval: Duration,
    /// One that takes longer is killed, and has failed.
    pub timeout: Duration,
    /// So many successes in a row bring it up.
    pub rise: NonZeroU32,
    /// So many failures in a row take it down.
    pub fall: NonZeroU32,
}

/// What a node is in a virtual router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It only listens, as it has just started.
    #[default]
    Waiting,
    /// Another node is master, or may be.
    Backup,
    /// It holds the addresses.
    Master,
    /// It takes no part.
    Fault,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Backup, Self::Master, Self::Fault];

    /// One word.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Backup => "backup",
            Self::Master => "master",
            Self::Fault => "fault",
        }
    }
}

/// What this node does for high availability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HaStatus {
    /// In file order.
    pub routers: Vec<VrrpStatus>,
    /// Advertisements that were not taken, by interface and cause; every cause of every interface.
    pub refused: Vec<(Arc<str>, &'static str, u64)>,
    /// VIPs that a routing daemon announces, in file order.
    pub announcements: Vec<Announcement>,
}

impl HaStatus {
    /// The addresses that clients reach this node by: those of which it is master, and those that are announced.
    pub fn held(&self) -> impl Iterator<Item = IpAddr> {
        let masters = self.routers.iter().filter(|router| router.role == Role::Master);
        let announced = self.announcements.iter().filter(|vip| vip.announced);
        let of_masters = masters.flat_map(|router| router.addresses.iter().copied());
        of_masters.chain(announced.map(|vip| vip.address))
    }
}

/// What becomes of a VIP of `[bgp]` on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The VIP.
    pub address: IpAddr,
    /// It is on `lo`, where the routing daemon finds it.
    pub announced: bool,
    /// Why, for people.
    pub reason: String,
}

/// The state of a virtual router on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpStatus {
    /// Of the virtual router.
    pub name: Arc<str>,
    /// Where it is talked of.
    pub interface: Arc<str>,
    /// VRID.
    pub id: u8,
    /// The protocol.
    pub version: VrrpVersion,
    /// What this node is.
    pub role: Role,
    /// Why, for people.
    pub reason: String,
    /// With all that is tracked; what advertisements say.
    pub priority: u8,
    /// That of the file.
    pub base_priority: u8,
    /// What the master holds.
    pub addresses: Vec<IpAddr>,
    /// Who was last heard as master, with its priority.
    pub master: Option<(IpAddr, u8)>,
    /// Another one says that it is master too.
    pub rival: bool,
    /// What is tracked and down.
    pub down: Vec<String>,
    /// How often this node became master.
    pub transitions: u64,
    /// Advertisements that were sent.
    pub sent: u64,
    /// Those that were taken.
    pub received: u64,
    /// What the last program that ended badly said, while it is tried again.
    pub notify_fault: Option<String>,
}

#[cfg(test)]
impl HaStatus {
    /// A backup with something to say of everything.
    pub(crate) fn example() -> Self {
        Self {
            routers: vec![VrrpStatus {
                name: "VI_1".into(),
                interface: "eth0".into(),
                id: 41,
                version: VrrpVersion::V3,
                role: Role::Backup,
                reason: "10.0.0.2 goes before it, with priority 110".to_owned(),
                priority: 70,
                base_priority: 100,
                addresses: vec!["192.0.2.10".parse().unwrap()],
                master: Some(("10.0.0.2".parse().unwrap(), 110)),
                rival: false,
                down: vec!["script pidof nginx".to_owned()],
                transitions: 2,
                sent: 12,
                received: 345,
                notify_fault: None,
            }],
            refused: vec![("eth0".into(), "checksum", 3)],
            announcements: vec![
                Announcement {
                    address: "198.51.100.10".parse().unwrap(),
                    announced: true,
                    reason: "its services have their quorum".to_owned(),
                },
                Announcement {
                    address: "2001:db8::10".parse().unwrap(),
                    announced: false,
                    reason: "web has no quorum".to_owned(),
                },
            ],
        }
    }
}
