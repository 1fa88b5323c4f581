//! Domain types: what the file says, what health found, what the data plane shall do. No tokio, aya or serde.

pub mod acme;
pub mod backend;
mod balance;
mod chain;
pub mod config;
mod count;
pub mod date;
pub mod denied;
pub mod drops;
pub mod explanation;
pub mod frame;
pub mod fsm;
#[cfg(test)]
pub(crate) mod golden;
pub mod health;
pub mod hex;
mod hidden;
pub mod http_status;
pub mod interface;
pub mod judgement;
pub mod next_hop;
pub mod peers;
pub mod prefix;
pub mod preview;
pub mod probe;
pub mod protection;
pub mod proxy;
mod quoted;
pub mod refused;
pub mod rights;
pub mod status;
pub mod tally;
pub mod trace;
pub mod traffic;
pub mod vip;
pub mod vrrp;

pub use backend::{AdminState, Backend, NamedBackend, Role};
pub use balance::{Balance, RingSize};
pub use chain::chain;
pub use config::{
    Admin, Config, HealthCheck, Mode, Nat, NatSource, Node, PortRange, Protocol, Service, Tunnel, Undeclared, XdpMode,
};
pub use count::count;
pub use health::{Health, MemberKey, ProbeCounts, Probes, Verdict};
pub use hidden::Hidden;
pub use interface::Interface;
pub use next_hop::{NextHop, NextHopState, ServicePath};
pub use prefix::Prefix;
pub use probe::{
    DnsProbe, ExpectBody, HealthKind, HttpProbe, MysqlLogin, MysqlProbe, MysqlRole, Pattern, RecordType, ScriptProbe,
    Statuses, TlsCheck, UdpProbe, Via,
};
pub use protection::{Enforcement, Limit, Limits, Lists, Protection, ServiceProtection, SynCookies};
pub use quoted::quoted;
pub use vip::{Ports, Vip};
