//! `fulcrum trace`: what it shows is what happens, and nothing happens otherwise because of it.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::node::DEADLINE;
use lb_tests::segment::{Process, Segment, v4, v6};
use lb_tests::toml::service;
use lb_user::api::types::{Protocol, Status, TraceRequest, TraceStarted, TracedPacket, Verdict};
use lb_user::api::{Client, ClientError};
use lb_user::model;
use lb_user::model::status::FlowQuery;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

const DSR: u16 = 80;
const NAT: u16 = 8080;
const UNDECLARED: u16 = 9999;

/// Two backends behind `dsr` and `nat`, over IPv4 and IPv6, that serve; and who serves them.
async fn segment() -> (Segment, Vec<Process>) {
    let segment = Segment::new(2).await;
    let own = |number: u8| [v4(10 + number), v6((10 + number).into())];
    let mut servers = Vec::new();
    for (index, host) in segment.backends.iter().enumerate() {
        hold(host, &VIPS).await;
        let number = index as u8 + 1;
        let vips = VIPS.map(|vip| SocketAddr::new(vip, DSR).to_string());
        let nats = own(number).map(|ip| SocketAddr::new(ip, NAT).to_string());
        servers.push(segment.serve(index, &[vips, nats].concat()));
    }
    let mut text = segment.node.head("eth0");
    for (family, name) in ["4", "6"].into_iter().enumerate() {
        for (mode, port) in [("dsr", DSR), ("nat", NAT)] {
            let vip = SocketAddr::new(VIPS[family], port);
            let mut web = service(&format!("{mode}{name}"), mode, &[vip])
                .with("table-size = 1024")
                .unprobed();
            for number in [1, 2] {
                let backend = SocketAddr::new(own(number)[family], port);
                web = web.backend_with(backend, format_args!("name = \"web{number}\""));
            }
            text += &web.to_string();
        }
    }
    segment.node.configure(&text);
    (segment, servers)
}

fn serves(status: &Status) -> bool {
    let mut backends = status.services.iter().flat_map(|s| &s.backends);
    backends.all(|b| b.slots > 0 && b.next_hop.is_some())
}

/// As [`shown`], while requests are made. It is asked all the time, since a trace that nobody asks about for some seconds is
/// over.
fn shown_while<R: Send>(
    client: &Client,
    trace: &TraceStarted,
    requests: impl FnOnce() -> R + Send,
    enough: impl Fn(&[TracedPacket]) -> bool,
) -> (R, Vec<TracedPacket>) {
    let runtime = Handle::current();
    block_in_place(|| {
        thread::scope(|scope| {
            let requests = scope.spawn(requests);
            let packets = runtime.block_on(shown(client, trace, enough));
            (requests.join().unwrap(), packets)
        })
    })
}

/// Everything that a trace shows until what it has shown is enough.
async fn shown(client: &Client, trace: &TraceStarted, enough: impl Fn(&[TracedPacket]) -> bool) -> Vec<TracedPacket> {
    let deadline = Instant::now() + DEADLINE;
    let mut packets = Vec::new();
    while !enough(&packets) {
        assert!(Instant::now() < deadline, "{packets:#?}");
        packets.extend(client.traced(trace).await.unwrap().packets);
    }
    packets
}

fn wanted() -> TraceRequest {
    TraceRequest {
        rate: Some(20_000),
        ..TraceRequest::default()
    }
}

fn is(packet: &TracedPacket, service: &str, flags: &str) -> bool {
    packet.service.as_deref() == Some(service) && packet.tcp_flags.as_deref() == Some(flags)
}

/// The clients' ends of a service's connections that a backend has answered, whoever has had to say it twice.
fn answered<'p>(packets: &'p [TracedPacket], service: &str) -> BTreeSet<&'p str> {
    let answers = packets.iter().filter(|p| is(p, service, "S."));
    answers.filter_map(|p| p.destination.as_deref()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_what_happens() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let (segment, _servers) = segment().await;
    let node = &segment.node;
    let _daemon = node.start().await;
    node.until("all serve", serves).await;
    let client = node.client();

    let trace = client.trace(&wanted()).await.unwrap();
    let requests = || {
        let mut answers = Vec::new();
        for vip in VIPS {
            for port in [DSR, NAT] {
                let url = format!("http://{}/", SocketAddr::new(vip, port));
                answers.push(segment.curl(&[&url]));
            }
        }
        for vip in VIPS {
            let any: IpAddr = if vip.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let socket = segment
                .client
                .run_inside(|| UdpSocket::bind((any, 0)))
                .unwrap()
                .unwrap();
            socket.send_to(b"nobody", (vip, UNDECLARED)).unwrap();
        }
        answers
    };
    let is_end = |p: &TracedPacket| p.reason.as_deref() == Some("undeclared");
    let (answers, packets) = shown_while(&client, &trace, requests, |packets| {
        packets.iter().filter(|p| is_end(p)).count() == 2
    });
    assert!(
        packets
            .iter()
            .all(|p| p.skipped == 0 && p.interface.as_deref() == Some("eth0"))
    );

    for (name, answer) in ["dsr4", "nat4", "dsr6", "nat6"].into_iter().zip(&answers) {
        let backend = answer.split(' ').next().unwrap();
        let syn = packets.iter().find(|p| is(p, name, "S")).unwrap();
        assert_eq!(
            (syn.backend.as_deref(), syn.verdict.as_str()),
            (Some(backend), "transmitted"),
            "{answer}"
        );
        let flow = FlowQuery {
            protocol: model::Protocol::Tcp,
            source: syn.source.as_ref().unwrap().parse().unwrap(),
            destination: syn.destination.as_ref().unwrap().parse().unwrap(),
        };
        let explained = client.explain(flow).await.unwrap();
        assert_eq!(explained.flow.protocol, Protocol::Tcp);
        let Verdict::Forwarded { slot, slot_state, .. } = explained.verdict else {
            panic!("{explained:?}");
        };
        let shown = syn.slot.as_ref().unwrap();
        assert_eq!((shown.index, &shown.state), (slot, &slot_state));
        // Answers pass the node in `nat` only.
        assert_eq!(
            answered(&packets, name).len(),
            usize::from(name.starts_with("nat")),
            "{name}"
        );
        let mut answers = packets.iter().filter(|p| is(p, name, "S."));
        assert!(answers.all(|p| p.backend.as_deref() == Some(backend)));
        let frame = syn.bytes().unwrap();
        assert_eq!(frame.len(), (syn.length as usize).min(128));
    }

    // Another one has to wait, and filters keep their words.
    let Err(ClientError::Refused(busy)) = client.trace(&wanted()).await else {
        panic!("there is one trace at a time");
    };
    assert_eq!(busy.status, 409);
    client.end_trace(&trace).await.unwrap();
    let narrow = TraceRequest {
        service: Some("nat6".to_owned()),
        ..wanted()
    };
    let trace = client.trace(&narrow).await.unwrap();
    let requests = || {
        for _ in 0..2 {
            for vip in VIPS {
                segment.curl(&[&format!("http://{}/", SocketAddr::new(vip, DSR))]);
                segment.curl(&[&format!("http://{}/", SocketAddr::new(vip, NAT))]);
            }
        }
    };
    let both = |packets: &[TracedPacket]| answered(packets, "nat6").len() == 2;
    let ((), packets) = shown_while(&client, &trace, requests, both);
    assert!(
        packets.iter().all(|p| p.service.as_deref() == Some("nat6")),
        "{packets:#?}"
    );
    client.end_trace(&trace).await.unwrap();
}

/// Datagrams to nowhere.
fn flood(segment: &Segment, count: usize) {
    let socket = segment
        .client
        .run_inside(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    for _ in 0..count {
        socket.send_to(b"nobody", (VIPS[0], UNDECLARED)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_bounded_and_ends_with_who_began_it() {
    const COUNT: usize = 500;
    if gate::root_with(&["tshark"]) == Gate::Skip {
        return;
    }
    let (segment, _servers) = segment().await;
    let node = &segment.node;
    let daemon = node.start().await;
    node.until("all serve", serves).await;
    let client = node.client();

    // The fewest that can be asked for: most are skipped, and counted.
    let few = TraceRequest {
        rate: Some(1),
        reasons: vec!["undeclared".to_owned()],
        source: Some(format!("{}/32", v4(10))),
        ..TraceRequest::default()
    };
    let trace = client.trace(&few).await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    let (mut sent, mut seen, mut skipped) = (0, 0, 0);
    while skipped == 0 {
        assert!(Instant::now() < deadline, "{seen} of {sent}");
        flood(&segment, COUNT);
        sent += COUNT;
        for packet in client.traced(&trace).await.unwrap().packets {
            seen += 1;
            skipped += packet.skipped as usize;
        }
    }
    assert!(seen > 0 && seen + skipped <= sent, "{seen} and {skipped} of {sent}");
    client.end_trace(&trace).await.unwrap();
    // What comes from elsewhere is not shown, and what comes after it is.
    let elsewhere = TraceRequest {
        source: Some(format!("{}/128", v6(10))),
        ..wanted()
    };
    let trace = client.trace(&elsewhere).await.unwrap();
    flood(&segment, COUNT);
    segment.curl(&[&format!("http://{}/", SocketAddr::new(VIPS[1], DSR))]);
    let packets = shown(&client, &trace, |packets| packets.iter().any(|p| is(p, "dsr6", "S"))).await;
    let from = format!("[{}]:", v6(10));
    assert!(
        packets.iter().all(|p| p.source.as_ref().unwrap().starts_with(&from)),
        "{packets:#?}"
    );
    client.end_trace(&trace).await.unwrap();

    // What concerns no VIP is shown to whoever asks for it.
    let socket = segment
        .client
        .run_inside(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    let own = SocketAddr::new(v4(1), 7);
    for foreign in [false, true] {
        let trace = client.trace(&TraceRequest { foreign, ..wanted() }).await.unwrap();
        socket.send_to(b"to the node", own).unwrap();
        flood(&segment, 1);
        let ended = |packets: &[TracedPacket]| packets.iter().any(|p| p.reason.as_deref() == Some("undeclared"));
        let packets = shown(&client, &trace, ended).await;
        let to_node = packets
            .iter()
            .filter(|p| p.destination.as_deref() == Some(&own.to_string()));
        let verdicts: Vec<_> = to_node.map(|p| p.verdict.as_str()).collect();
        assert_eq!(verdicts, if foreign { vec!["passed"] } else { vec![] });
        client.end_trace(&trace).await.unwrap();
    }

    // The command line: text, and a capture.
    let socket = node.path("socket").display().to_string();
    let arguments = |more: &[&str]| {
        let mut command = node.command(&["trace", "--socket", &socket]);
        command.args(more);
        command
    };
    let lines = until_it_ends(
        &segment,
        arguments(&["-n", "3", "--reason", "undeclared"]).stdout(Stdio::piped()),
    );
    assert_eq!(lines.lines().count(), 3);
    let expected = format!(" > {}:{UNDECLARED} 48  dropped: undeclared", VIPS[0]);
    for line in lines.lines() {
        assert!(line.contains(&expected) && line.contains(" eth0 udp "), "{line}");
    }
    let file = node.path("trace.pcapng");
    let name = file.display().to_string();
    until_it_ends(&segment, &mut arguments(&["-n", "2", "-w", &name]));
    let tshark = Command::new("tshark")
        .args([
            "-r",
            &name,
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "udp.dstport",
            "-e",
            "frame.comment",
        ])
        .output()
        .unwrap();
    let expected = format!("eth0\t{UNDECLARED}\tdropped: undeclared\n").repeat(2);
    assert_eq!(
        String::from_utf8(tshark.stdout).unwrap(),
        expected,
        "{:?}",
        tshark.stderr
    );
    // To the next program, for as long as is said.
    let piped = arguments(&["--for", "500ms", "-w", "-"]).output().unwrap();
    assert!(piped.status.success(), "{piped:?}");
    assert_eq!(piped.stdout[..4], [0x0a, 0x0d, 0x0d, 0x0a], "the head of a capture");
    assert!(String::from_utf8(piped.stderr).unwrap().ends_with(" packets\n"));

    // Killed: another one can begin when nobody has asked for a while; and a daemon that is killed leaves no trace behind.
    let mut command = arguments(&["--json"]);
    let mut killed = Process::start(&node.namespace, &mut command);
    let shows = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !shows.load(Ordering::Relaxed) {
                flood(&segment, 1);
            }
        });
        let line = killed.line();
        shows.store(true, Ordering::Relaxed);
        assert!(line.contains(r#""reason":"undeclared""#), "{line}");
    });
    killed.child.kill().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let trace = loop {
        match client.trace(&few).await {
            Ok(trace) => break trace,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    drop(daemon);
    let _daemon = node.start().await;
    node.until("all serve", serves).await;
    assert!(client.traced(&trace).await.is_err());
    segment.curl(&[&format!("http://{}/", SocketAddr::new(VIPS[0], NAT))]);
}

/// Runs a command while packets come; what it prints.
fn until_it_ends(segment: &Segment, command: &mut Command) -> String {
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        flood(segment, 1);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
