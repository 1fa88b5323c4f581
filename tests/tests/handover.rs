//! A master of the proxy's addresses that is told to drain, or to end: no client loses a request, neither of those that ask all the time,
//! by whatever protocol, nor one that waits for a long answer.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;

use lb_tests::authority::Authority;
use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::node::{DEADLINE, Node};
use lb_tests::pair::is;
use lb_tests::peers::python_server;
use lb_tests::segment::{Process, Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const WEB: u16 = 8080;
const SLOW: u16 = 8081;

/// The file of one node, which says in its answers that it is this one.
fn configure(node: &Node, name: &str, certificate: &str) {
    let head = node.head_with_seed("eth0");
    let mut text = head.replacen("name = \"lb1\"", &format!("name = \"{name}\""), 1);
    let vips = |port: u16| VIPS.map(|ip| SocketAddr::new(ip, port));
    let rule = format!("headers = [{{ on = \"response\", set = \"x-served-by\", value = \"{name}\" }}]");
    let web = service("web", "proxy", &vips(443))
        .table("tls", format_args!("certificates = [\"{certificate}\"]"))
        .table("http", rule)
        .backend(SocketAddr::new(v4(11), WEB));
    let slow = service("slow", "proxy", &vips(80)).backend(SocketAddr::new(v4(12), SLOW));
    text += &format!("{web}{slow}");
    for (id, address) in (41..).zip(VIPS) {
        // Not less: a machine that holds the daemon up for three intervals makes another master, and cuts what is asked for.
        text += &format!(
            "[[vrrp]]\nname = \"VI_{id}\"\ninterface = \"eth0\"\nrouter-id = {id}\npriority = {{ lb1 = 110, lb2 = 100 }}\n\
             advertisement-interval = \"2s\"\npreempt = false\naddresses = [\"{address}\"]\nsync-group = \"edge\"\n"
        );
    }
    node.configure(&text);
}

fn requests(status: &Status) -> u64 {
    status.services[0].http.as_ref().map_or(0, |http| http.requests)
}

/// Requests that go on until they are ended. 20 ms each, so that the machine has time for others.
struct Load(Process);

impl Load {
    fn start(segment: &Segment, host: usize, more: &[&str]) -> Self {
        let url = format!("https://{}/slow/20", SocketAddr::new(VIPS[host], 443));
        let mut load = fulcrum();
        load.args(["lab", "load", "--json", "-c", "4", "-d", "10m", "--timeout", "60s"]);
        Self(Process::start(&segment.client, load.args(more).arg(url)))
    }

    fn end(mut self) -> Value {
        kill(Pid::from_raw(self.0.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.0.take_output().read_to_string(&mut said).unwrap();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_when_the_master_drains_or_is_told_to_end() {
    if gate::root_with_python(&["curl"], &["asyncio"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let authority = Authority::new(&segment.node.path(""), "authority");
    let names = VIPS.map(|ip| ip.to_string());
    let certificate = authority.issue("vip.pem", &names.each_ref().map(String::as_str));
    let certificate = certificate.display().to_string();
    let _web = segment.serve(0, &[SocketAddr::new(v4(11), WEB).to_string()]);
    let slow_at = SocketAddr::new(v4(12), SLOW);
    let [ip, port] = [slow_at.ip().to_string(), slow_at.port().to_string()];
    let mut slow = python_server(&segment.backends[1], "slow_server.py", &[&ip, &port]);
    let (first, second) = (&segment.node, segment.another_node(2).await);
    configure(first, "lb1", &certificate);
    configure(&second, "lb2", &certificate);
    let _first = first.start().await;
    first.until("the first is master", is("master")).await;
    let daemon = second.start().await;
    second.until("the second is backup", is("backup")).await;

    let kinds: [&[&str]; 3] = [&["--new-connections"], &[], &["--http2", "--streams", "2"]];
    let each = kinds.iter().flat_map(|kind| [0, 1].map(|host| (*kind, host)));
    let loads: Vec<_> = each
        .map(|(kind, host)| (kind, host, Load::start(&segment, host, kind)))
        .collect();
    first.until("the first serves", |status| requests(status) > 100).await;
    let mut long = || {
        let mut curl = Command::new("curl");
        let url = format!("http://{}/slow/3000", VIPS[0]);
        let begun = Process::start(&segment.client, curl.args(["-sS", "-m", "60"]).arg(url));
        assert_eq!(slow.line(), "/slow/3000\n");
        begun
    };
    let whole = |mut long: Process| {
        let mut answer = String::new();
        long.take_output().read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "/slow/3000\n");
    };
    let serves = async |node: &Node, what: &str| {
        let before = requests(&node.client().status().await.unwrap());
        let more = |status: &Status| requests(status) > before + 100;
        node.until_within(2 * DEADLINE, what, more).await;
    };

    let begun = long();
    let drained = first
        .command(&["node", "drain", "--wait", "--socket"])
        .arg(first.path("socket"))
        .output();
    let drained = drained.unwrap();
    assert!(drained.status.success(), "{drained:?}");
    second
        .until("the second is master while the first drains", is("master"))
        .await;
    serves(&second, "the second serves").await;
    whole(begun);
    let enabled = first
        .command(&["node", "enable", "--socket"])
        .arg(first.path("socket"))
        .status();
    assert!(enabled.unwrap().success());
    first.until("the first is backup", is("backup")).await;

    let begun = long();
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0), "{}", second.log());
    first.until("the first takes over", is("master")).await;
    serves(first, "the first serves again").await;
    whole(begun);
    for (kind, host, load) in loads {
        let outcome = load.end();
        let failed = outcome["failed"].as_object().unwrap();
        assert!(
            failed.is_empty(),
            "{kind:?} {host}: {outcome:#}\n{}\n{}",
            first.log(),
            second.log()
        );
        let served = outcome["served"].as_object().unwrap();
        assert_eq!(served.len(), 2, "{kind:?} {host}: {outcome:#}");
        println!("{kind:?} {host}: {served:?}");
    }
    // Nobody was left who had to be cut.
    for node in [first, &second] {
        assert!(!node.log().contains("connections of clients are cut"), "{}", node.log());
    }
}
