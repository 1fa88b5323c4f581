//! A real authority on a segment: pebble, with a name server to which every name leads to the VIP.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::authority::Authority;
use crate::backing::VIPS;
use crate::netns::TestNamespace;
use crate::node::Node;
use crate::peers::{output, until_open};
use crate::segment::{Process, plug, v4};

/// Programs that it needs.
pub const PROGRAMS: [&str; 4] = ["pebble", "pebble-challtestsrv", "curl", "nft"];

const HOST: u8 = 20;
const ACME: SocketAddr = SocketAddr::new(v4(HOST), 14_000);
const MANAGEMENT: SocketAddr = SocketAddr::new(v4(HOST), 15_000);
const NAMES: SocketAddr = SocketAddr::new(v4(HOST), 8_055);

/// See the module.
pub struct Pebble {
    /// Where it runs.
    pub host: TestNamespace,
    folder: PathBuf,
    /// PEM of who signs the directory's own certificate.
    pub ca: PathBuf,
    nonces: u8,
    validity: u32,
    _names: Process,
    server: Option<Process>,
}

impl Pebble {
    /// One whose certificates live for so many seconds, and which rejects so many of a hundred good nonces.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(node: &Node, validity: u32, nonces: u8) -> Self {
        let host = plug(node, "pebble", HOST).await;
        let folder = node.path("pebble");
        fs::create_dir_all(&folder).expect("a folder");
        let authority = Authority::new(&folder, "directory");
        authority.issue("pebble.pem", &[&v4(HOST).to_string()]);
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv4", &VIPS[0].to_string(), "-defaultIPv6", ""]);
        names.args([
            "-dns01",
            "127.0.0.1:8053",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]);
        names.args(["-management", &NAMES.to_string()]).stderr(Stdio::null());
        let mut names = Process::start(&host, &mut names);
        until_open(&host, NAMES, &mut names);
        drain(&mut names);
        let mut pebble = Self {
            ca: authority.file.clone(),
            host,
            folder,
            nonces,
            validity,
            _names: names,
            server: None,
        };
        pebble.serve();
        pebble
    }

    /// Starts it, or starts it anew: then it knows nobody any more.
    ///
    /// # Panics
    /// When it does not start.
    pub fn serve(&mut self) {
        self.server = None;
        let pem = self.folder.join("pebble.pem");
        let config = serde_json::json!({ "pebble": {
            "listenAddress": ACME, "managementListenAddress": MANAGEMENT,
            "certificate": pem, "privateKey": pem,
            "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "domainBlocklist": ["blocked-domain.example"], "certificateValidityPeriod": self.validity,
        }});
        let file = self.folder.join("pebble.json");
        fs::write(&file, config.to_string()).expect("a file");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("a log");
        let mut server = Command::new("pebble");
        server
            .arg("-config")
            .arg(&file)
            .args(["-strict", "-dnsserver", "127.0.0.1:8053"]);
        server.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        server
            .env("PEBBLE_WFE_NONCEREJECT", self.nonces.to_string())
            .stderr(log);
        let mut server = Process::start(&self.host, &mut server);
        until_open(&self.host, ACME, &mut server);
        until_open(&self.host, MANAGEMENT, &mut server);
        // It tells much, and a pipe that is full would hold it up.
        let out = self.folder.join("out");
        let mut from = server.take_output();
        std::thread::spawn(move || std::io::copy(&mut from, &mut fs::File::create(out).expect("a file")));
        self.server = Some(server);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// What it has told.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("out")).unwrap_or_default()
    }

    /// `acme` of a service for these names, with more keys as they stand in an inline table.
    #[must_use]
    pub fn acme(&self, domains: &[&str], more: &str) -> String {
        format!(
            "acme = {{ domains = {domains:?}, directory = \"https://{ACME}/dir\", ca = \"{}\"{more} }}",
            self.ca.display()
        )
    }

    /// PEM of who signs what is issued.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let file = self.folder.join("root.pem");
        fs::write(&file, self.ask(&format!("https://{MANAGEMENT}/roots/0"))).expect("a file");
        file
    }

    /// `Valid` or `Revoked`, of the certificate with this number, in hexadecimal digits.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn status_of(&self, serial: &str) -> String {
        let told = self.ask(&format!("https://{MANAGEMENT}/cert-status-by-serial/{serial}"));
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        told["Status"].as_str().expect("a status").to_owned()
    }

    fn ask(&self, url: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "-m", "10", "--cacert"])
            .arg(&self.ca)
            .arg(url);
        output(&self.host, &mut curl)
    }

    /// From now on so many of a hundred connections with which it checks names are refused: the first, and then every 20th where
    /// it is 5, so that of two tries one after the other only one fails. (pebble itself only refuses nonces by chance.)
    ///
    /// # Panics
    /// When they cannot be.
    pub fn refuse(&self, of_hundred: u8) {
        let which = match of_hundred {
            0 => return self.rule(""),
            100 => String::new(),
            of_hundred => format!("numgen inc mod {} 0", 100 / of_hundred),
        };
        self.rule(&format!("tcp flags syn {which} reject with tcp reset"));
    }

    /// From now on connections with which it checks names hang, until it [refuses](Self::refuse) fewer. It waits for some seconds.
    ///
    /// # Panics
    /// When they cannot be made to.
    pub fn hang(&self) {
        self.rule("drop");
    }

    /// What becomes of packets with which it checks names.
    fn rule(&self, verdict: &str) {
        let rule = format!("ip daddr {} tcp dport {{ 80, 443 }} {verdict}", VIPS[0]);
        let rules = format!(
            "table ip acme\ndelete table ip acme\ntable ip acme {{\nchain out {{\ntype filter hook output priority 0\n{}\n}}\n}}\n",
            if verdict.is_empty() { "" } else { &rule }
        );
        let file = self.folder.join("rules.nft");
        fs::write(&file, rules).expect("a file");
        let mut nft = Command::new("nft");
        output(&self.host, nft.arg("-f").arg(file));
    }
}

/// Lets a process tell what it likes.
fn drain(process: &mut Process) {
    let mut from = process.take_output();
    std::thread::spawn(move || std::io::copy(&mut from, &mut std::io::sink()));
}
