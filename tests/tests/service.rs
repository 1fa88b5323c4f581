//! The daemon under a service manager: what it tells it, and what it may do in the bounds of packaging/fulcrum.service.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use lb_tests::backing::{VIPS, hold};
use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::node::{DEADLINE, Node};
use lb_tests::segment::{Segment, v4};
use lb_tests::toml::service;
use nix::sys::signal::Signal;

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/fulcrum.service")
}

/// What a setting of the unit says, on every line that has it.
fn settings(name: &str) -> Vec<String> {
    let text = fs::read_to_string(unit()).unwrap();
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// What the daemon says to the manager, one datagram after the other, until one has `last` in it.
fn hear(ear: &UnixDatagram, last: &str) -> Vec<String> {
    let deadline = Instant::now() + DEADLINE;
    let mut heard: Vec<String> = Vec::new();
    let mut bytes = [0; 4096];
    while !heard.last().is_some_and(|message| message.contains(last)) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no {last:?}: {heard:#?}");
        ear.set_read_timeout(Some(left)).unwrap();
        if let Ok(length) = ear.recv(&mut bytes) {
            heard.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
        }
    }
    heard
}

/// Every step of a daemon's life, in order.
async fn is_told(node: &Node, ear: &UnixDatagram, address: &str) {
    let web = service("web", "dsr", &["10.9.0.100:80"]).unprobed();
    let config = format!("{}{}", node.head("eth0"), web.backend("10.9.0.11:80"));
    node.configure(&config);
    let path = node.path("fulcrum.toml");
    let mut command = node.command(&["run", "-c", &path.to_string_lossy()]);
    // It says each second that it lives, and does not wait for room. The kernel keeps ten messages that nobody reads: those
    // of a reload have to be among them, however long the command takes.
    command.env("NOTIFY_SOCKET", address).env("WATCHDOG_USEC", "3000000");
    let daemon = node.try_start_as(command).await.unwrap();
    let heard = hear(ear, "READY=1");
    assert!(heard.iter().all(|m| !m.contains("RELOADING=1")), "{heard:#?}");
    assert!(heard.concat().contains("STATUS=1 service, 1 backend"), "{heard:#?}");
    // Again and again.
    for _ in 0..2 {
        hear(ear, "WATCHDOG=1");
    }
    // By signal, by command and by a change of the file; refused ones end, too.
    let reload = || assert!(node.run("reload").status.success());
    let by: [(&str, &dyn Fn()); 4] = [
        ("SIGHUP", &|| daemon.signal(Signal::SIGHUP)),
        ("fulcrum reload", &reload),
        ("a bad file", &|| node.configure("[node]\n")),
        ("a good file", &|| node.configure(&config)),
    ];
    for (what, how) in by {
        how();
        let heard = hear(ear, "RELOADING=1");
        let reloading = heard.last().unwrap();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{what}: {heard:#?}"
        );
        let heard = hear(ear, "READY=1");
        let refused = heard.concat().contains("the file was refused");
        assert_eq!(refused, what == "a bad file", "{what}: {heard:#?}");
    }
    let stopped = daemon.end(Signal::SIGTERM);
    hear(ear, "STOPPING=1");
    assert_eq!(stopped, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_is_told_of_every_step() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let path = node.path("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    is_told(&node, &ear, &path.to_string_lossy()).await;
    // An abstract address belongs to a network namespace.
    let address = UnixAddress::from_abstract_name("fulcrum").unwrap();
    let ear = node.namespace.run_inside(|| UnixDatagram::bind_addr(&address)).unwrap();
    is_told(&node, &ear.unwrap(), "@fulcrum").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_capabilities_are_enough() {
    if gate::root_with(&["setpriv", "curl"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let node = &segment.node;
    let mut servers = Vec::new();
    for (index, host) in segment.backends.iter().enumerate() {
        hold(host, &VIPS[..1]).await;
        servers.push(segment.serve(
            index,
            &[format!("{}:80", VIPS[0]), format!("{}:8080", v4(11 + index as u8))],
        ));
    }
    let backend = |index: u8, port| SocketAddr::new(v4(11 + index), port);
    let config = |weight: u16| {
        // Probes, VIPs, and ports of the node that are kept from the kernel.
        let direct = service("direct", "dsr", &[SocketAddr::new(VIPS[0], 80)])
            .table("health", "kind = \"tcp\"\nvia = \"service\"")
            .backend_with(backend(0, 80), format_args!("weight = {weight}"))
            .backend(backend(1, 80));
        let nat = service("nat", "nat", &[SocketAddr::new(v4(101), 80)]).backend(backend(1, 8080));
        node.configure(&format!("{}{direct}{nat}", node.head("eth0")));
    };
    config(1);
    let file = node.path("fulcrum.toml");
    let [capabilities] = &settings("CapabilityBoundingSet")[..] else {
        panic!("one line")
    };
    let set: Vec<_> = capabilities
        .split(' ')
        .map(|c| c.replace("CAP_", "+").to_lowercase())
        .collect();
    let confined = |verb: &str| {
        let mut command = Command::new("setpriv");
        node.namespace.confine(&mut command);
        command
            .arg(format!("--bounding-set=-all,{}", set.join(",")))
            .args(["--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL", "--"])
            .arg(fulcrum().get_program())
            .args([verb, "-c"])
            .arg(&file)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    };
    let daemon = node.try_start_as(confined("run")).await.unwrap();
    let serves = |s: &lb_user::api::types::Status| {
        s.fault.is_none() && s.services.iter().flat_map(|s| &s.backends).all(|b| b.slots > 0)
    };
    node.until("every backend serves", serves).await;
    // So many that each backend gets one, also where the other has three times its weight.
    let ask = |vip| {
        let url = format!("http://{vip}/[1-80]");
        segment.curl(&["-m", "30", "-H", "Connection: close", &url])
    };
    let answers = ask(VIPS[0]);
    assert!(answers.contains("web1") && answers.contains("web2"), "{answers}");
    let answers = ask(v4(101));
    assert!(answers.contains("web2") && !answers.contains("web1"), "{answers}");
    let reserved = || fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap();
    assert_eq!(node.namespace.run_inside(reserved).unwrap().trim(), "20000-29999");
    config(3);
    assert!(confined("reload").status().unwrap().success());
    let status = node.client().status().await.unwrap();
    assert_eq!(status.services[0].backends[0].weight, 3);
    let answers = ask(VIPS[0]);
    assert!(answers.contains("web1") && answers.contains("web2"), "{answers}");
    // The next one adopts what the first one has left.
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let answers = ask(VIPS[0]);
    assert!(answers.contains("web1") && answers.contains("web2"), "{answers}");
    let daemon = node.try_start_as(confined("run")).await.unwrap();
    node.until("every backend serves again", serves).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert!(!node.log().contains(" WARN "), "{}", node.log());
    let detached = confined("detach").output().unwrap();
    let text = String::from_utf8(detached.stdout).unwrap();
    assert!(
        detached.status.success() && text.contains("eth0: program taken off"),
        "{text}"
    );
}

/// systemd understands every line, and finds little that is left open.
#[test]
fn the_unit_is_sound() {
    if gate::root_with(&["systemd-analyze"]) == Gate::Skip {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fulcrum.service");
    // The program has to be there, and its manual is another test's.
    let program = fulcrum().get_program().to_string_lossy().into_owned();
    let program = fs::canonicalize(program).unwrap();
    let text = fs::read_to_string(unit()).unwrap();
    fs::write(&path, text.replace("/usr/bin/fulcrum", &program.to_string_lossy())).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&path)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    assert_eq!(analyze(&["verify", "--man=no"]), (true, String::new()));
    // Of 10; what is left is what the unit says has to stay, and what the daemon gives away itself.
    let (sound, said) = analyze(&["security", "--offline=true", "--threshold=27"]);
    assert!(sound, "{said}");
}
