//! The three proxies, and what they have in common: one thread, the same certificate, the same backends with connections
//! kept open to them, and the same duties: a line of log for each request, and backends are told of the client and given
//! a name for the request. Timeouts are the same, too. What is not said is each one's default.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::process::Process;
use super::world::{BACKEND, PORTS, SITE, World};
use super::{client, find};
use crate::node::Node;

/// Longest wait for a proxy to serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Fulcrum,
    HaProxy,
    Nginx,
}

impl Subject {
    pub(super) const ALL: [Self; 3] = [Self::Fulcrum, Self::HaProxy, Self::Nginx];

    /// As in rows.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fulcrum => "fulcrum",
            Self::HaProxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Where it serves, with TLS on port 443 and without on port 80. An address of each one's own: Fulcrum drops what
    /// comes for its addresses to ports that it does not know.
    pub(super) const fn address(self) -> IpAddr {
        let last = match self {
            Self::Fulcrum => 1,
            Self::HaProxy => 2,
            Self::Nginx => 3,
        };
        IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, last))
    }

    /// Where it logs requests.
    const fn logs(self) -> &'static [&'static str] {
        match self {
            Self::Fulcrum => &["tls-access.log", "plain-access.log"],
            // Its standard output, which it writes to without anybody between.
            Self::HaProxy => &["haproxy.log"],
            Self::Nginx => &["nginx-access.log"],
        }
    }
}

/// A proxy that serves.
pub(super) struct Running {
    pub(super) subject: Subject,
    pub(super) process: Process,
}

impl Running {
    /// Starts it, and waits until it serves.
    pub(super) fn start(world: &World, subject: Subject) -> Result<Self> {
        let node = &world.node;
        let mut command = match subject {
            Subject::Fulcrum => {
                node.configure(&fulcrum(world));
                node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()])
            }
            Subject::HaProxy => {
                let file = node.path("haproxy.cfg");
                fs::write(&file, haproxy(world))?;
                let mut command = Command::new(find("haproxy").context("no haproxy")?);
                node.namespace.confine(&mut command).args(["-db", "-f"]).arg(file);
                command
            }
            Subject::Nginx => {
                let mut command = nginx(node, "nginx", &as_proxy(world))?;
                node.namespace.confine(&mut command);
                command
            }
        };
        let log = world.log(&format!("{}.log", subject.name()));
        let process = Process::start(world.proxies.confine(&mut command), log)?;
        let mut running = Self { subject, process };
        running.wait(world)?;
        Ok(running)
    }

    fn wait(&mut self, world: &World) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match world.as_client(client::idle(self.subject.address(), 1))? {
                Ok(()) => return Ok(()),
                Err(error) => ensure!(
                    Instant::now() < deadline,
                    "it does not serve: {error:?}\n{}",
                    self.log()
                ),
            }
            self.process.expect_alive().context(self.subject.name())?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lines of its access log.
    pub(super) fn requests_logged(&self, world: &World) -> Result<u64> {
        let mut lines = 0;
        for name in self.subject.logs() {
            lines += count_lines(&world.log(name))?;
        }
        Ok(lines)
    }

    /// Waits until there are so many lines: not every proxy writes each of them at once.
    pub(super) fn expect_logged(&self, world: &World, expected: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.requests_logged(world)?;
            if lines >= expected {
                return Ok(());
            }
            let subject = self.subject.name();
            ensure!(
                Instant::now() < deadline,
                "{subject} has logged {lines} of {expected} requests"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Its name, and what it has said last.
    pub(super) fn log(&self) -> String {
        format!("{}:\n{}", self.subject.name(), self.process.log())
    }
}

fn fulcrum(world: &World) -> String {
    let node = &world.node;
    let address = Subject::Fulcrum.address();
    let certificate = world.certificate().display().to_string();
    let mut text = node.head("eth0").replacen("[admin]", "proxy-threads = 1\n[admin]", 1);
    for (name, port) in [("tls", 443), ("plain", 80)] {
        let log = world.log(&format!("{name}-access.log")).display().to_string();
        let _ = write!(
            text,
            "[[service]]\nname = \"{name}\"\naddress = \"{address}:{port}\"\nmode = \"proxy\"\n"
        );
        if port == 443 {
            let _ = writeln!(text, "[service.tls]\ncertificates = [\"{certificate}\"]");
        }
        let _ = writeln!(
            text,
            "[service.http]\naccess-log = {{ format = \"combined\", path = \"{log}\" }}\n\
             limits = {{ connections = {} }}",
            world.connections
        );
        for port in PORTS {
            let _ = writeln!(text, "[[service.backend]]\naddress = \"{BACKEND}:{port}\"");
        }
    }
    text
}

fn haproxy(world: &World) -> String {
    let address = Subject::HaProxy.address();
    let certificate = world.certificate().display().to_string();
    let mut text = format!(
        r#"global
    nbthread 1
    maxconn {connections}
    log stdout format raw local0

defaults
    mode http
    log global
    option httplog
    timeout connect 2s
    timeout client 60s
    timeout server 30s
    timeout http-request 10s
    timeout http-keep-alive 60s

frontend clients
    bind {address}:443 ssl crt {certificate} alpn h2,http/1.1
    bind {address}:80
    maxconn {connections}
    option forwardfor
    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    unique-id-format %{{+X}}o\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Request-Id
    default_backend backends

backend backends
    balance roundrobin
    http-reuse always
"#,
        connections = world.connections,
    );
    for port in PORTS {
        let _ = writeln!(text, "    server b{port} {BACKEND}:{port}");
    }
    text
}

fn as_proxy(world: &World) -> String {
    let node = &world.node;
    let address = Subject::Nginx.address();
    let certificate = world.certificate().display().to_string();
    let log = world.log("nginx-access.log").display().to_string();
    let servers: String = PORTS.map(|port| format!("server {BACKEND}:{port}; ")).concat();
    nginx_file(
        node,
        "nginx",
        2 * world.connections + 500,
        &format!(
            r#"access_log {log} combined;
    upstream backends {{ {servers}keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {address}:443 ssl http2;
        listen {address}:80;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_protocols TLSv1.2 TLSv1.3;
        keepalive_timeout 60s;
        keepalive_requests 1000000;
        client_header_timeout 10s;
        location / {{
            proxy_pass http://backends;
            proxy_http_version 1.1;
            proxy_connect_timeout 2s;
            proxy_read_timeout 30s;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}"#
        ),
    )
}

/// Of a file; none of one that is not there yet.
fn count_lines(path: &Path) -> Result<u64> {
    let mut file = match File::open(path) {
        Err(absent) if absent.kind() == ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let (mut lines, mut block) = (0, vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut block)?;
        if length == 0 {
            return Ok(lines);
        }
        lines += block[..length].iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
}

/// What backends are: files, and no log.
pub(super) fn backends(node: &Node, connections: u64) -> String {
    let listens: String = PORTS.map(|port| format!("listen {BACKEND}:{port}; ")).concat();
    nginx_file(
        node,
        "backends",
        connections + 500,
        &format!(
            "access_log off; sendfile on; tcp_nopush on; open_file_cache max=10;\n    \
             server {{ {listens}root {}; keepalive_timeout 300s; keepalive_requests 1000000; }}",
            node.path(SITE).display()
        ),
    )
}

/// A configuration of nginx that has its files below the node's folder.
pub(in crate::bench) fn nginx_file(node: &Node, name: &str, connections: u64, http: &str) -> String {
    let folder = node.path(name).display().to_string();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind}; "))
        .concat();
    format!(
        "daemon off; worker_processes 1; user root; pid {folder}/pid; error_log stderr warn;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n    {temporary}\n    {http}\n}}\n"
    )
}

/// nginx with this configuration; not yet in any namespace.
pub(in crate::bench) fn nginx(node: &Node, name: &str, text: &str) -> Result<Command> {
    let folder = node.path(name);
    fs::create_dir_all(&folder)?;
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(find("nginx").context("no nginx")?);
    command
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(file)
        .args(["-e", "stderr"]);
    Ok(command)
}
