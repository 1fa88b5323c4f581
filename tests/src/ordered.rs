//! A segment whose balancer orders certificates from pebble.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use lb_user::api::types::{OrderedCertificate, Status};

use crate::backing::VIPS;
use crate::gate::{self, Gate};
use crate::pebble::{PROGRAMS, Pebble};
use crate::peers::{nginx, output};
use crate::proxied::vip;
use crate::segment::{Process, Segment, v4};
use crate::toml::{Service, service};

/// The backend.
pub const WEB: SocketAddr = SocketAddr::new(v4(11), 8080);

/// A name of the service.
pub const SHOP: &str = "shop.example";
/// Another one.
pub const WWW: &str = "www.shop.example";

/// An order, and those after it that fail by chance.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// See the module.
pub struct Place {
    /// With one backend.
    pub segment: Segment,
    /// The authority.
    pub pebble: Pebble,
    _server: Process,
}

impl Place {
    /// With an authority as of [`Pebble::start`].
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new(validity: u32, nonces: u8) -> Self {
        let segment = Segment::new(1).await;
        let http = format!("server {{ listen {WEB}; location / {{ return 200 \"hello\\n\"; }} }}");
        let server = nginx(&segment.backends[0], &segment.node.path("nginx"), http, WEB);
        let pebble = Pebble::start(&segment.node, validity, nonces).await;
        Self {
            segment,
            pebble,
            _server: server,
        }
    }

    /// Ports 443, with what it orders, and 80.
    #[must_use]
    pub fn services(&self, acme: &str) -> String {
        let tls = web("web", 443).table("tls", acme);
        format!("{tls}{}", web("plain", 80))
    }

    /// Waits until the first certificate is as wanted.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until(&self, what: &str, wanted: impl Fn(&OrderedCertificate) -> bool) -> OrderedCertificate {
        let wanted = |status: &Status| status.certificates.first().is_some_and(&wanted);
        let status = self.segment.node.until_within(PATIENCE, what, wanted).await;
        status.certificates.into_iter().next().expect("an answer")
    }

    /// Waits until it is one of the authority.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn issued(&self) -> OrderedCertificate {
        self.until("a certificate is issued", |one| one.origin == "issued")
            .await
    }

    /// curl of the client for a name, which believes what pebble issues.
    #[must_use]
    pub fn curl(&self, name: &str, more: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "-m",
            "10",
            "--fail",
            "--resolve",
            &format!("{name}:443:{}", VIPS[0]),
            "--cacert",
        ]);
        curl.arg(self.pebble.root()).args(more).arg(format!("https://{name}/"));
        curl
    }

    /// What the client gets for a name.
    ///
    /// # Panics
    /// When it gets nothing.
    #[must_use]
    pub fn ask(&self, name: &str) -> String {
        output(&self.segment.client, &mut self.curl(name, &[]))
    }

    /// The number of the certificate that clients get, in hexadecimal digits.
    ///
    /// # Panics
    /// When they get none.
    #[must_use]
    pub fn serial(&self) -> String {
        let script = format!(
            "openssl s_client -connect {} -servername {SHOP} </dev/null 2>/dev/null | openssl x509 -noout -serial",
            vip(443)
        );
        let told = output(&self.segment.client, Command::new("sh").args(["-c", &script]));
        told.trim()
            .strip_prefix("serial=")
            .expect("an answer")
            .to_ascii_lowercase()
    }

    fn fulcrum(&self, arguments: &[&str]) -> Output {
        let socket = self.segment.node.path("socket").display().to_string();
        self.segment
            .node
            .command(&[arguments, &["--socket", &socket]].concat())
            .output()
            .expect("an answer")
    }

    /// What a command prints that has to end well.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn done(&self, arguments: &[&str]) -> String {
        let ended = self.fulcrum(arguments);
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            ended.status.success(),
            "{arguments:?}: {error}\n{}",
            self.segment.node.log()
        );
        String::from_utf8(ended.stdout).expect("an answer")
    }

    /// What a command says that has to be refused.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.fulcrum(arguments);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {ended:?}");
        String::from_utf8(ended.stderr).expect("an answer")
    }
}

/// A service of the proxy at this port of the VIP.
pub fn web(name: &str, port: u16) -> Service {
    service(name, "proxy", &[vip(port)]).unprobed().backend(WEB)
}

/// Are programs missing, so that a test is skipped?
///
/// # Panics
/// As [`gate::root_with`].
#[must_use]
pub fn missing() -> bool {
    gate::root_with(&[&PROGRAMS[..], &["nginx", "openssl"]].concat()) == Gate::Skip
}
