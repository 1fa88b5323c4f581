//! A segment whose balancer has services of the proxy, with an authority for their certificates.

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
