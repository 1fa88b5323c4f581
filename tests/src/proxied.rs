//! A segment whose balancer has services of the proxy, with an authority for their certificates.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::authority::Authority;
use crate::backing::VIPS;
use crate::peers::{ended, output};
use crate::segment::Segment;

/// The segment.
pub struct Proxied {
    /// With its client and backends.
    pub segment: Segment,
    /// Whom the client believes.
    pub authority: Authority,
}

/// The VIP of IPv4, with a port.
#[must_use]
pub const fn vip(port: u16) -> SocketAddr {
    SocketAddr::new(VIPS[0], port)
}

/// Inodes of the sockets that listen at a port of IPv4 in the namespace of a process (proc_net(5)).
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn listening(pid: u32, port: u16) -> BTreeSet<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a process");
    let fields = table
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let port = format!(":{port:04X}");
    let listening = fields.filter(|fields| fields[1].ends_with(&port) && fields[3] == "0A");
    listening.map(|fields| fields[9].to_owned()).collect()
}

impl Proxied {
    /// With so many backends, where nothing runs.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new(backends: u8) -> Self {
        let segment = Segment::new(backends).await;
        let authority = Authority::new(&segment.node.path(""), "authority");
        Self { segment, authority }
    }

    /// `certificates` for the VIP, as a line of `[service.tls]`.
    #[must_use]
    pub fn certificates(&self) -> String {
        let file = self.authority.issue("vip.pem", &[&VIPS[0].to_string()]);
        format!("certificates = [\"{}\"]", file.display())
    }

    /// curl of the client, which believes the authority.
    #[must_use]
    pub fn curl(&self, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "30", "--cacert"]).arg(&self.authority.file);
        curl.args(arguments);
        curl
    }

    /// What such a curl prints, which has to end well.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> String {
        output(&self.segment.client, &mut self.curl(arguments))
    }

    /// How such a curl fails: its exit code.
    ///
    /// # Panics
    /// When it does not fail.
    #[must_use]
    pub fn fails(&self, arguments: &[&str]) -> i32 {
        let ended = ended(&self.segment.client, &mut self.curl(arguments));
        assert!(!ended.status.success(), "{arguments:?}: {ended:?}");
        ended.status.code().unwrap_or(-1)
    }
}
