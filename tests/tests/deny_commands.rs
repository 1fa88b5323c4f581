//! `fulcrum deny add`, `remove` and `list` against a daemon that runs, or does not for a while: a client that is cut off, and
//! comes back.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Daemon, Node, refused};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::{Denied, Denies, Undenied};
use nix::sys::signal::Signal;

/// Of the services `one` and `two`, and of the backend's servers.
const PORTS: [u16; 2] = [5001, 5002];

/// The client's address.
const CLIENT: &str = "10.8.0.10";

/// A client that sends datagrams to two services, and the servers behind them.
struct Stage {
    segment: Segment,
    client: UdpSocket,
    servers: [UdpSocket; 2],
    /// Datagrams that have been dropped since they were denied.
    dropped: u64,
}

impl Stage {
    async fn new() -> (Self, Daemon) {
        let segment = Segment::new(1).await;
        let bound = |address: SocketAddr| UdpSocket::bind(address);
        let client = segment.client.run_inside(|| bound((v4(10), 4000).into()));
        let servers = PORTS.map(|port| {
            let server = segment.backends[0].run_inside(|| bound((v4(11), port).into()));
            let server = server.unwrap().unwrap();
            server.set_read_timeout(Some(DEADLINE)).unwrap();
            server
        });
        let node = &segment.node;
        let udp = |name: &str, port: u16| {
            let vip = SocketAddr::new(VIPS[0], port);
            service(name, "nat", &[vip])
                .udp()
                .backend(SocketAddr::new(v4(11), port))
        };
        node.configure(&format!(
            "{}{}{}",
            node.head("eth0"),
            udp("one", PORTS[0]),
            udp("two", PORTS[1])
        ));
        let daemon = node.start().await;
        let serves = |status: &lb_user::api::types::Status| {
            let mut all = status.services.iter().flat_map(|service| &service.backends);
            status.fault.is_none() && all.all(|backend| backend.slots > 0)
        };
        node.until("both serve", serves).await;
        let client = client.unwrap().unwrap();
        let stage = Self {
            segment,
            client,
            servers,
            dropped: 0,
        };
        (stage, daemon)
    }

    fn node(&self) -> &Node {
        &self.segment.node
    }

    fn send(&self, service: usize, text: &str) {
        let vip = SocketAddr::new(VIPS[0], PORTS[service]);
        self.client.send_to(text.as_bytes(), vip).unwrap();
    }

    fn received(&self, service: usize) -> String {
        let mut bytes = [0; 64];
        let length = self.servers[service].recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// What is sent now comes, and nothing that was sent before is on its way still.
    fn comes(&self, service: usize, text: &str) {
        self.send(service, text);
        assert_eq!(self.received(service), text);
    }

    /// What is sent now is dropped since its sender is denied.
    async fn is_dropped(&mut self, service: usize, text: &str) {
        self.send(service, text);
        self.dropped += 1;
        let all = |status: &lb_user::api::types::Status| status.drops["denied"] == self.dropped;
        self.node().until("it is dropped", all).await;
    }

    /// `fulcrum deny ARGUMENTS` with the daemon's socket.
    fn deny(&self, arguments: &[&str]) -> Command {
        let mut command = self.node().command(&["deny"]);
        command.args(arguments).arg("--socket").arg(self.node().path("socket"));
        command
    }

    /// What such a command says, which has to succeed without a warning.
    fn said(&self, arguments: &[&str]) -> String {
        let output = self.deny(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.node().path("state/denies.json")).unwrap()
    }
}

const NOTHING: &str = "nothing is denied at run time\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_cut_off_when_the_command_returns_and_comes_back() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (mut stage, _daemon) = Stage::new().await;
    assert_eq!(stage.said(&["list"]), NOTHING);
    stage.comes(0, "before");
    let said = stage.said(&["add", CLIENT]);
    assert_eq!(said, "10.8.0.10/32: denied by all services for ever\n");
    stage.is_dropped(0, "denied").await;
    stage.is_dropped(1, "denied").await;
    let said = stage.said(&["remove", CLIENT]);
    assert_eq!(said, "10.8.0.10/32: no longer denied by all services\n");
    stage.comes(0, "after");
    stage.comes(1, "after");
    assert_eq!(stage.kept(), "{\n  \"version\": 1,\n  \"denies\": []\n}\n");

    // By one service alone, and by a prefix whose last bits do not count.
    stage.said(&["add", "10.8.0.77/24", "--service", "two"]);
    stage.comes(0, "to the other one");
    stage.is_dropped(1, "to this one").await;
    let errors = refused(&mut stage.deny(&["remove", CLIENT]));
    assert!(
        errors.contains("10.8.0.10/32 is not denied by all services; 10.8.0.0/24 holds it, denied by two"),
        "{errors}"
    );
    let errors = refused(&mut stage.deny(&["remove", CLIENT, "--service", "two"]));
    assert!(errors.contains("10.8.0.0/24 holds it, denied by two"), "{errors}");
    let errors = refused(&mut stage.deny(&["add", CLIENT, "--service", "too"]));
    assert!(errors.contains("no service \"too\"; did you mean `two`?"), "{errors}");

    // It ends by itself; the end counts in the place of none.
    let said = stage.said(&["add", "10.8.0.0/24", "--service", "two", "--for", "1s"]);
    assert!(
        said.contains("denied by two until ") && said.ends_with("; it was denied already, for ever\n"),
        "{said}"
    );
    stage.servers[1]
        .set_read_timeout(Some(std::time::Duration::from_millis(20)))
        .unwrap();
    let mut bytes = [0; 64];
    let began = std::time::Instant::now();
    while stage.servers[1].recv(&mut bytes).is_err() {
        assert!(began.elapsed() < DEADLINE, "still denied: {}", stage.node().log());
        stage.send(1, "again");
    }
    assert_eq!(stage.said(&["list"]), NOTHING);
    stage
        .node()
        .until("nothing refuses anything", |status| status.fault.is_none())
        .await;
    let log = stage.node().log();
    for line in [
        "denied by a command prefix=10.8.0.10/32\n",
        "denied no more: a command has ended it prefix=10.8.0.10/32\n",
        "denied by a command prefix=10.8.0.0/24 service=\"two\"\n",
        "denied no more: its time is over prefix=10.8.0.0/24 service=\"two\"\n",
    ] {
        assert!(log.contains(line), "{line}{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_is_denied_over_restarts_and_between_them() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (mut stage, daemon) = Stage::new().await;
    let denied: Denied = serde_json::from_str(&stage.said(&["add", CLIENT, "--json"])).unwrap();
    assert_eq!(
        (denied.deny.prefix.as_str(), denied.replaced, denied.fault),
        ("10.8.0.10/32", false, None)
    );
    stage.said(&["add", "2001:db8::/32", "--service", "one", "--for", "1h"]);
    // Killed as soon as the command has returned; and nobody is there.
    daemon.end(Signal::SIGKILL);
    stage.send(0, "while nobody runs");
    stage.dropped += 1;
    let daemon = stage.node().start().await;
    stage.is_dropped(0, "after the restart").await;
    let list: Denies = serde_json::from_str(&stage.said(&["list", "--json"])).unwrap();
    let listed: Vec<_> = list
        .denies
        .iter()
        .map(|d| (d.prefix.as_str(), d.service.as_deref(), d.in_effect))
        .collect();
    assert_eq!(
        listed,
        [("10.8.0.10/32", None, true), ("2001:db8::/32", Some("one"), true)]
    );

    // Without its service it is known still, and says so.
    let file = fs::read_to_string(stage.node().path("fulcrum.toml")).unwrap();
    stage.node().configure(&file.replace("\"one\"", "\"won\""));
    stage.node().client().reload().await.unwrap();
    let said = stage.said(&["list"]);
    assert!(said.contains("NO EFFECT: the file has no such service"), "{said}");
    let removed = stage.said(&["remove", "2001:db8::/32", "--service", "one", "--json"]);
    let removed: Undenied = serde_json::from_str(&removed).unwrap();
    assert!(!removed.deny.in_effect && removed.still.is_none());

    // Half a file is no file: that is said, and the daemon runs.
    daemon.end(Signal::SIGTERM);
    let half = stage.kept().split_at(40).0.to_owned();
    fs::write(stage.node().path("state/denies.json"), &half).unwrap();
    let _daemon = stage.node().start().await;
    stage.comes(0, "forgotten");
    let fault = stage.node().client().status().await.unwrap().overrides_fault.unwrap();
    assert!(
        fault.contains("denies.json cannot be used") && fault.contains("it is now"),
        "{fault}"
    );
    assert_eq!(
        fs::read_to_string(stage.node().path("state/denies.json.broken")).unwrap(),
        half
    );
    stage.said(&["add", CLIENT]);
    stage.is_dropped(0, "denied again").await;
    assert_eq!(stage.node().client().status().await.unwrap().overrides_fault, None);
}
