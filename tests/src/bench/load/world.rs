//! A server that is asked: nginx in a namespace of its own, on one processor; clients have the second.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::bench::proxy::{Core, Process, certificate, nginx, nginx_file};
use crate::node::Node;

/// Where it is, as clients see it.
const ADDRESS: &str = "10.9.0.1";

/// Longest wait for it to serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module. The server ends before its namespace does.
pub(super) struct World {
    _server: Process,
    node: Node,
    clients: Core,
}

impl World {
    pub(super) async fn new() -> Result<Self> {
        let (servers, clients) = Core::two()?;
        let node = Node::new().await;
        for (key, value) in [
            ("ipv4/ip_local_port_range", "1024 65535"),
            ("ipv4/tcp_tw_reuse", "1"),
            ("ipv4/tcp_max_tw_buckets", "1000"),
        ] {
            lb_user::net::wire::sysctl(&node.outside, key, value)?;
        }
        certificate(&node)?;
        let site = node.path("site");
        fs::create_dir(&site)?;
        fs::write(site.join("small"), [b'x'; 100])?;
        let text = format!(
            "access_log off; sendfile on; tcp_nopush on; open_file_cache max=10;\n    server {{ \
             listen {ADDRESS}:80; listen {ADDRESS}:443 ssl http2; root {site}; ssl_certificate {certificate}; \
             ssl_certificate_key {certificate}; ssl_protocols TLSv1.2 TLSv1.3; keepalive_timeout 300s; \
             keepalive_requests 100000000; }}",
            site = site.display(),
            certificate = node.path("certificate.pem").display(),
        );
        let mut command = nginx(&node, "nginx", &nginx_file(&node, "nginx", 1000, &text))?;
        let command = servers.confine(node.namespace.confine(&mut command));
        let mut server = Process::start(command, node.path("nginx.log"))?;
        let deadline = Instant::now() + PATIENCE;
        let serves = || std::net::TcpStream::connect((ADDRESS, 443));
        while node.outside.run_inside(serves)?.is_err() {
            server.expect_alive()?;
            ensure!(Instant::now() < deadline, "it does not serve:\n{}", server.log());
        }
        Ok(Self {
            _server: server,
            node,
            clients,
        })
    }

    pub(super) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{ADDRESS}/small")
    }

    /// Makes `command` start where clients are, on their processor.
    pub(super) fn confine_client<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        self.clients.confine(self.node.outside.confine(command))
    }
}
