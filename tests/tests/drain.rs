//! `fulcrum drain --wait`, and `drain-timeout`: a backend whose flows go on for longer is cut off from them, in `nat` too, and nobody else is.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, refused};
use lb_tests::open::{Open, Server};
use lb_tests::segment::{Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{AdminState, BackendPatch, BackendStatus, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PORT: u16 = 80;
const BACKEND: u16 = 8080;

/// Connections, half of which say nothing while backends drain.
const COUNT: usize = 150;

/// How often the others speak.
const PERIOD: Duration = Duration::from_millis(200);

/// A backend of a family's service; `None` when there is none.
fn backend<'s>(status: &'s Status, service: usize, name: &str) -> Option<&'s BackendStatus> {
    status.services[service].backends.iter().find(|b| b.name == name)
}

fn established(backend: &BackendStatus) -> usize {
    backend.nat.map_or(0, |nat| nat.established as usize)
}

/// One backend drains by command, and another has left the file. Their connections go on until `drain-timeout` has passed,
/// and then end as if those had died; those of the third go on.
#[tokio::test(flavor = "multi_thread")]
async fn nat_lets_go_of_a_backend_that_drains_for_too_long() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(3).await;
    let node = &segment.node;
    let own = |number: u8| [v4(10 + number), v6((10 + number).into())];
    let mut servers = Vec::new();
    for (number, host) in (1..).zip(&segment.backends) {
        servers.extend(own(number).map(|ip| Server::start(host, SocketAddr::new(ip, BACKEND), number)));
    }
    let config = |timeout: &str, backends: &[u8]| {
        let mut text = node.head("eth0");
        for (family, name) in ["v4", "v6"].into_iter().enumerate() {
            let mut web = service(name, "nat", &[SocketAddr::new(VIPS[family], PORT)])
                .with(format_args!("table-size = 1024\ndrain-timeout = \"{timeout}\""))
                .unprobed();
            for &number in backends {
                let address = SocketAddr::new(own(number)[family], BACKEND);
                web = web.backend_with(address, format_args!("name = \"web{number}\""));
            }
            text += &web.to_string();
        }
        node.configure(&text);
    };
    config("never", &[1, 2, 3]);
    let _daemon = node.start().await;
    let serves = |s: &Status| {
        let mut all = s.services.iter().flat_map(|s| &s.backends);
        all.all(|b| b.slots > 0 && b.next_hop.is_some())
    };
    node.until("all backends serve", serves).await;

    let open = |ip: IpAddr| Open::start(&segment.client, SocketAddr::new(ip, PORT), COUNT / 2, PERIOD);
    let lively = VIPS.map(open);
    let silent = VIPS.map(open);
    for all in lively.iter().chain(&silent) {
        all.go_on(1, DEADLINE, "they open").await;
    }
    silent.iter().for_each(Open::fall_silent);
    // What is silent is cut as well, and learns it when it speaks.
    let of = |family: usize, number: u8| lively[family].of(number) + silent[family].of(number);
    let before = [0, 1].map(|family| [1, 2, 3].map(|number| of(family, number)));
    assert!(before.iter().flatten().all(|&count| count > 10), "{before:?}");

    // They drain, and there is no hurry.
    for name in ["v4", "v6"] {
        let patch = BackendPatch {
            state: Some(AdminState::Drain),
            ..BackendPatch::default()
        };
        node.client().patch(name, "web1", patch).await.unwrap();
    }
    config("never", &[1, 3]);
    let drain = |s: &Status| {
        let drains = |family, name: &str| backend(s, family, name).is_some_and(|b| b.slots == 0);
        (0..2).all(|family| drains(family, "web1") && drains(family, "web2"))
    };
    node.until("two drain", drain).await;
    for all in &lively {
        all.go_on(3, DEADLINE, "two drain").await;
        assert_eq!(all.lost(), []);
    }
    let counted = |s: &Status| {
        let count = |family, name: &str| backend(s, family, name).map_or(0, established);
        [0, 1].map(|family| ["web1", "web2", "web3"].map(|name| count(family, name))) == before
    };
    let status = node.until("all connections are counted", counted).await;
    for family in 0..2 {
        assert!(backend(&status, family, "web2").unwrap().leaving);
    }

    // Now there is: a little time is left, as a rule.
    config("8s", &[1, 3]);
    let cut = |s: &Status| {
        let cut = |family, name: &str| backend(s, family, name).map_or(0, |b| b.cut_flows as usize);
        [0, 1].map(|family| ["web1", "web2"].map(|name| cut(family, name))) == before.map(|[a, b, _]| [a, b])
    };
    node.until("their time is over", cut).await;
    for all in silent.iter().chain(&lively) {
        all.speak_again();
        all.go_on(2, DEADLINE, "their time is over").await;
        for seen in all.each() {
            match &seen.lost {
                None => assert_eq!(seen.backend, 3, "{seen:?}"),
                Some(why) => assert!(seen.backend < 3 && why.starts_with("Connection reset"), "{seen:?}"),
            }
        }
    }
    assert_eq!(
        [0, 1].map(|family| [1, 2, 3].map(|n| of(family, n))),
        before.map(|[.., third]| [0, 0, third])
    );
    let let_go = |s: &Status| {
        let gone =
            |family| backend(s, family, "web2").is_none() && backend(s, family, "web1").map(established) == Some(0);
        (0..2).all(gone)
    };
    let status = node.until("nothing of them is left", let_go).await;
    for (family, &[its, _, thirds]) in before.iter().enumerate() {
        let [first, third] = ["web1", "web3"].map(|name| backend(&status, family, name).unwrap());
        assert_eq!(first.cut_flows, its as u64, "once");
        assert_eq!((first.slots, third.slots, third.cut_flows), (0, 1024, 0));
        assert_eq!(established(third), thirds);
    }
}

/// Of `nat` every flow is known. Of `dsr` none is that has not spoken since, so that none is known says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_waited_for_until_no_flow_can_be_left() {
    if gate::root() == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    let mut servers = Vec::new();
    for (number, host) in (1..).zip(&segment.backends) {
        let address = SocketAddr::new(v4(10 + number), BACKEND);
        servers.push(Server::start(host, address, number));
    }
    let both = |mut service: lb_tests::toml::Service, port: u16| {
        for number in [1, 2] {
            let address = SocketAddr::new(v4(10 + number), port);
            service = service.backend_with(address, format_args!("name = \"web{number}\""));
        }
        service.unprobed()
    };
    let vip = |port| [SocketAddr::new(VIPS[0], port)];
    let timeout = "table-size = 1024\ndrain-timeout = \"20s\"";
    let translated = both(service("nat", "nat", &vip(PORT)).with("table-size = 1024"), BACKEND);
    let direct = both(service("dsr", "dsr", &vip(81)).with(timeout), 81);
    node.configure(&format!("{}{translated}{direct}", node.head("eth0")));
    let _daemon = node.start().await;
    let serves = |s: &Status| s.services.iter().flat_map(|s| &s.backends).all(|b| b.slots == 512);
    node.until("all backends serve", serves).await;
    let open = Open::start(&segment.client, vip(PORT)[0], COUNT, PERIOD);
    open.go_on(1, DEADLINE, "they open").await;
    let socket = node.path("socket").display().to_string();
    let drain = |target: &str, more: &[&str]| {
        let mut command = node.command(&["drain", target, "--wait", "--socket", &socket]);
        command.args(more);
        command
    };

    // The time passes. Flows are counted every few seconds only, and what is said is the last count.
    let counted = |s: &Status| {
        let mut all = s.services.iter().filter(|s| s.mode == "nat").flat_map(|s| &s.backends);
        all.any(|b| b.name == "web1" && b.flows() == open.of(1) as u64)
    };
    node.until("its flows are counted", counted).await;
    let said = refused(&mut drain("nat/web1", &["--timeout", "2s"]));
    let expected = format!(
        "error: nat/web1: after 2s {} flows are known; the drain stays in force, `fulcrum enable nat/web1` ends it\n",
        open.of(1)
    );
    assert_eq!(said, expected);

    // Ctrl-C.
    let mut waits = drain("nat/web1", &[]);
    let mut waits = waits.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waits.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, format!("nat/web1: {} flows are known", open.of(1)));
    kill(Pid::from_raw(waits.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(waits.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    waits.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("interrupted") && said.contains("stays in force"),
        "{said}"
    );
    assert!(lines.next().is_none(), "once, as long as the number stays");
    open.go_on(1, DEADLINE, "nobody has noticed").await;
    assert_eq!(open.lost(), []);

    // They end.
    drop(open);
    let output = drain("nat/web1", &["--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let end: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "service": "nat", "backend": "web1", "outcome": "drained",
        "flows_left": 0, "moving_slots": 0, "cut_flows": 0,
    });
    assert_eq!(end, expected);

    // Nobody speaks, but somebody may be silent; until all are cut, which is long after this time.
    let said = refused(&mut drain("dsr/web1", &["--timeout", "2s"]));
    let expected = "0 flows are known, and 512 slots may have silent ones; the drain stays in force";
    assert!(said.contains(expected), "{said}");
    let output = drain("dsr/web1", &[]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && said.ends_with("dsr/web1: no flow is left\n"),
        "{said}"
    );
}
