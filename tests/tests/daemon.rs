//! The daemon as a process: what it refuses, what outlives it, what it takes while it runs.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;

use lb_tests::executable::fulcrum_as_nobody;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{Node, refused};
use lb_user::api::types::XdpMode;
use lb_user::dataplane::kernel::{Lock, PinnedAttachment, attach_pass};
use lb_user::net::Net;
use nix::sys::signal::Signal;

/// Two backends that nobody probes.
const SERVICE: &str = r#"
[[service]]
name = "web"
address = ["10.9.0.100:80", "[fd09::100]:80"]
mode = "dsr"
[service.health]
kind = "none"
[[service.backend]]
name = "web1"
address = "10.9.0.11:80"
[[service.backend]]
name = "web2"
address = "10.9.0.12:80"
"#;

fn attachments(node: &Node) -> Vec<PinnedAttachment> {
    Lock::take(&node.path("bpf")).unwrap().attachments().unwrap()
}

async fn addresses(node: &Node) -> Vec<String> {
    let net = Net::inside(&node.namespace).unwrap();
    net.addresses()
        .await
        .unwrap()
        .iter()
        .map(|a| a.ip.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_outlives_the_daemon_until_it_is_detached() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&format!("{}{SERVICE}", node.head("eth0")));
    let daemon = node.start().await;
    let status = node
        .until("both VIPs are there", |s| {
            s.services[0].vips.iter().all(|v| v.exclusive)
        })
        .await;
    assert_eq!(status.interfaces[0].mode, XdpMode::Native);
    assert!(addresses(&node).await.contains(&"10.9.0.100".to_owned()));

    // A second one on the same pins says who runs, and changes nothing.
    let second = refused(&mut node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]));
    assert!(second.contains(&format!("process {}", daemon.pid())), "{second}");
    let busy = refused(&mut node.command(&["detach", "-c", &node.path("fulcrum.toml").to_string_lossy()]));
    assert!(busy.contains("runs already"), "{busy}");

    let links = node.path("bpf/links/eth0-native");
    daemon.end(Signal::SIGKILL);
    let before = attachments(&node);
    assert!(links.exists() && addresses(&node).await.contains(&"fd09::100".to_owned()));
    // The next one adopts: the VIPs, which are there now, are still its own.
    let third = node.start().await;
    node.until("VIPs are adopted", |s| s.services[0].vips.iter().all(|v| v.exclusive))
        .await;
    assert_eq!(third.end(Signal::SIGTERM), Some(0));
    assert!(links.exists());
    assert_eq!(
        attachments(&node),
        before,
        "the program was swapped in place, not taken off and put on"
    );
    assert!(node.log().contains("packets keep flowing"), "{}", node.log());
    assert!(!node.path("socket").exists());

    let detached = node.run("detach");
    let text = String::from_utf8(detached.stdout).unwrap();
    assert!(detached.status.success());
    assert_eq!(
        text,
        "10.9.0.100: taken off the node\nfd09::100: taken off the node\neth0: program taken off\n"
    );
    assert!(!node.path("bpf").exists());
    assert!(!addresses(&node).await.iter().any(|ip| ip.ends_with("100")));
    let again = node.run("detach");
    assert!(again.status.success() && String::from_utf8(again.stdout).unwrap().contains("nothing of Fulcrum"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_taken_whole_or_not_at_all() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let good = format!("{}{SERVICE}", node.head("eth0"));
    node.configure(&good);
    let daemon = node.start().await;
    let weight = |s: &lb_user::api::types::Status| s.services[0].backends[0].weight;

    // By itself, when the file changes.
    node.configure(&good.replace("name = \"web1\"", "name = \"web1\"\nweight = 7"));
    node.until("the new weight runs", |s| weight(s) == 7).await;
    // A backend that comes, one that is disabled and comes back.
    let serving = |s: &lb_user::api::types::Status| s.services[0].backends.iter().filter(|b| b.slots > 0).count();
    let three = format!("{good}[[service.backend]]\nname = \"web3\"\naddress = \"10.9.0.13:80\"\n");
    node.configure(&three);
    node.until("the third one serves", |s| serving(s) == 3).await;
    node.configure(&three.replace("name = \"web3\"", "name = \"web3\"\nstate = \"disabled\""));
    node.until("it does not while it is disabled", |s| serving(s) == 2)
        .await;
    node.configure(&three);
    node.until("it serves again", |s| serving(s) == 3).await;
    node.configure(&good.replace("name = \"web1\"", "name = \"web1\"\nweight = 7"));
    node.until("it has gone", |s| serving(s) == 2).await;
    // A bad file: refused with its place, the running configuration stays.
    node.configure(&good.replace("name = \"web1\"", "nmae = \"web1\""));
    let status = node
        .until("the bad file is refused", |s| s.refused_reload.is_some())
        .await;
    let reason = status.refused_reload.unwrap();
    assert!(reason.contains("nmae") && reason.contains("fulcrum.toml:"), "{reason}");
    assert_eq!(status.services[0].backends[0].weight, 7);
    // What cannot change while it runs.
    node.configure(&good.replace("interfaces = [\"eth0\"]", "interfaces = [\"lo\"]"));
    let restart = |s: &lb_user::api::types::Status| {
        s.refused_reload
            .as_ref()
            .is_some_and(|r| r.contains("[node] interfaces"))
    };
    node.until("another interface wants a restart", restart).await;
    // The file vanishes, and comes back; SIGHUP reads it even when it has not changed.
    fs::remove_file(node.path("fulcrum.toml")).unwrap();
    node.until("a missing file is refused", |s| {
        s.refused_reload.as_ref().is_some_and(|r| r.contains("no such file"))
    })
    .await;
    node.configure(&good);
    node.until("a good file clears it", |s| {
        s.refused_reload.is_none() && weight(s) == 1
    })
    .await;
    daemon.signal(Signal::SIGHUP);
    let read_again = || node.log().contains("nothing has changed");
    node.until("SIGHUP reads it again", |_| read_again()).await;
    // A service leaves: its VIPs do too.
    node.configure(&node.head("eth0"));
    node.until("nothing is left", |s| s.services.is_empty()).await;
    node.until("nothing is wrong", |s| s.fault.is_none()).await;
    assert!(!addresses(&node).await.iter().any(|ip| ip.ends_with("100")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_shared_and_stays() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let own = SERVICE
        .replace("10.9.0.100", "10.9.0.1")
        .replace("fd09::100", "fd09::1");
    node.configure(&format!("{}{own}", node.head("eth0")));
    let daemon = node.start().await;
    node.until("its own addresses are shared", |s| {
        s.services[0].vips.iter().all(|v| !v.exclusive)
    })
    .await;
    daemon.end(Signal::SIGTERM);
    assert!(node.run("detach").status.success());
    let left = addresses(&node).await;
    assert!(
        left.contains(&"10.9.0.1".to_owned()) && left.contains(&"fd09::1".to_owned()),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn generic_mode_where_native_is_refused() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    // Loopback has no native XDP.
    node.configure(&format!("{}{SERVICE}", node.head("lo")));
    let daemon = node.start().await;
    let status = node.client().status().await.unwrap();
    assert_eq!(status.interfaces[0].mode, XdpMode::Generic);
    assert!(
        node.log().contains("attached in generic mode: native mode was refused"),
        "{}",
        node.log()
    );
    daemon.end(Signal::SIGTERM);
    // Several interfaces are attached in one mode, since redirects between modes get lost.
    node.configure(&format!(
        "{}{SERVICE}",
        node.head("eth0").replace("[\"eth0\"]", "[\"eth0\", \"lo\"]")
    ));
    let daemon = node.start().await;
    let status = node.client().status().await.unwrap();
    assert!(
        status.interfaces.iter().all(|i| i.mode == XdpMode::Generic),
        "{:?}",
        status.interfaces
    );
    daemon.end(Signal::SIGTERM);
    // Insisting on native is an error that says what to do.
    node.configure(
        &node
            .head("lo")
            .replace("interfaces", "xdp-mode = \"native\"\ninterfaces"),
    );
    let text = refused(&mut node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]));
    assert!(
        text.contains("cannot attach to lo in native mode") && text.contains("xdp-mode = \"generic\""),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_keeps_it_from_starting() {
    if gate::root_with(&["ip"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let run = || node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]);
    // A missing interface: an error with its place for `run`, a warning for `check`.
    node.configure(&format!("{}{SERVICE}", node.head("eth7")));
    let text = refused(&mut run());
    assert!(
        text.contains("no interface `eth7`") && text.contains("fulcrum.toml:3:") && text.contains("eth0"),
        "{text}"
    );
    let checked = node.run("check");
    assert!(checked.status.success());
    assert!(
        String::from_utf8(checked.stderr)
            .unwrap()
            .contains("this machine has no interface `eth7`")
    );
    assert!(
        String::from_utf8(checked.stdout)
            .unwrap()
            .ends_with("ok: 1 service, 2 backends\n")
    );
    // One device by two names: the second is one too many.
    let altname = ["link", "property", "add", "dev", "eth0", "altname", "uplink0"];
    let mut ip = std::process::Command::new("ip");
    node.namespace.confine(&mut ip);
    assert!(ip.args(altname).status().unwrap().success());
    let both = node.head("eth0").replace("[\"eth0\"]", "[\n\"eth0\",\n\"uplink0\"]");
    node.configure(&format!("{both}{SERVICE}"));
    let text = refused(&mut run());
    assert!(
        text.contains("`uplink0` and `eth0` are one interface") && text.contains("fulcrum.toml:5:"),
        "{text}"
    );
    assert!(!node.path("bpf").exists());
    // No privileges: which are missing.
    node.configure(&format!("{}{SERVICE}", node.head("eth0")));
    let file = node.path("fulcrum.toml");
    let text = refused(fulcrum_as_nobody(file.parent().unwrap()).args(["run", "-c"]).arg(&file));
    assert!(text.contains("CAP_BPF") && text.contains("CAP_NET_ADMIN"), "{text}");
    // No daemon: how to start one.
    let text = refused(&mut node.command(&["status", "--socket", &node.path("socket").to_string_lossy()]));
    assert!(text.contains("fulcrum run"), "{text}");
    // The port is taken: nothing is left behind.
    let listener = node
        .namespace
        .run_inside(|| std::net::TcpListener::bind("127.0.0.1:9465").unwrap())
        .unwrap();
    let text = refused(&mut run());
    assert!(text.contains("9465"), "{text}");
    assert!(!node.path("bpf").exists());
    drop(listener);
    let daemon = node.start().await;
    daemon.end(Signal::SIGTERM);
    let maps = fs::read_dir(node.path("bpf"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("maps-"))
        .unwrap();
    // As when every interface has gone: maps of an earlier run outlive a start that fails.
    fs::remove_file(node.path("bpf/links/eth0-native")).unwrap();
    let listener = node
        .namespace
        .run_inside(|| std::net::TcpListener::bind("127.0.0.1:9465").unwrap())
        .unwrap();
    let text = refused(&mut run());
    assert!(text.contains("9465"), "{text}");
    assert!(maps.join("SERVICES_V4").exists());
    drop(listener);
    // A map that is not ours.
    fs::rename(maps.join("DROPS"), maps.join("COUNTERS2")).unwrap();
    fs::rename(maps.join("COUNTERS"), maps.join("DROPS")).unwrap();
    let text = refused(&mut run());
    assert!(text.contains("DROPS is not the map that this version makes"), "{text}");
    // What the message advises works, even when the maps of services cannot be read.
    fs::remove_file(maps.join("SERVICES_V4")).unwrap();
    let detached = node.run("detach");
    assert!(detached.status.success());
    assert!(
        String::from_utf8(detached.stderr)
            .unwrap()
            .contains("maps of another version")
    );
    assert!(!node.path("bpf").exists());
}

/// Every bad file of the list: one clear error with its place, exit code 1.
#[tokio::test(flavor = "multi_thread")]
async fn check_names_place_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = format!("[node]\ninterfaces = [\"eth0\"]\n{SERVICE}");
    let noise: Vec<u8> = (0..2_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let again = |name: &str, vip: &str| {
        format!("{good}\n[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nmode = \"dsr\"\n")
    };
    let cases: [(&str, Vec<u8>, &[&str]); 12] = [
        (
            "VIP twice",
            again("other", "10.9.0.100:80").into(),
            &[":19:", "10.9.0.100:80"],
        ),
        ("name twice", again("web", "10.9.0.101:80").into(), &[":18:", "web"]),
        (
            "other family",
            good.replace("[\"10.9.0.100:80\", \"[fd09::100]:80\"]", "\"[fd09::100]:80\"")
                .into(),
            &[":12:", "10.9.0.11:80"],
        ),
        (
            "other port",
            good.replace("10.9.0.12:80", "10.9.0.12:8080").into(),
            &[":15:", "8080"],
        ),
        (
            "weight",
            good.replace("name = \"web2\"", "name = \"web2\"\nweight = 65536")
                .into(),
            &[":15:", "65535"],
        ),
        ("unknown key", good.replace("mode =", "mood =").into(), &[":7:", "mood"]),
        (
            "bad duration",
            good.replace("kind = \"none\"", "kind = \"none\"\ninterval = \"2 parsecs\"")
                .into(),
            &[":10:", "2 parsecs"],
        ),
        ("empty", Vec::new(), &["[node]"]),
        ("noise", noise, &["UTF-8"]),
        (
            "no such mode",
            good.replace("\"dsr\"", "\"gre\"").into(),
            &[":7:", "gre", "dsr"],
        ),
        (
            "no syntax",
            good.replace("name = \"web1\"", "name = \"web1").into(),
            &[":11:"],
        ),
        (
            "backend name twice",
            good.replace("web2", "web1").into(),
            &[":14:", "web1"],
        ),
    ];
    for (name, text, wanted) in cases {
        let path = folder.path().join("bad.toml");
        fs::write(&path, text).unwrap();
        let error = refused(
            lb_tests::lab::fulcrum()
                .env("NO_COLOR", "1")
                .args(["check", "-c"])
                .arg(&path),
        );
        for part in wanted {
            assert!(error.contains(part), "{name}: no {part} in\n{error}");
        }
        assert!(error.len() < 2_500, "{name}: {} bytes", error.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_and_other_pins_are_left_alone() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&format!("{}{SERVICE}", node.head("eth0")));
    // Somebody else's program is on the NIC: said, and nothing is left behind by the attempt.
    drop(Lock::take(&node.path("bpf")).unwrap());
    let theirs = node.path("bpf/theirs");
    node.namespace
        .run_inside(|| attach_pass("eth0", &theirs).unwrap())
        .unwrap();
    let text = refused(&mut node.command(&["run", "-c", &node.path("fulcrum.toml").to_string_lossy()]));
    assert!(text.contains("another XDP program is attached there"), "{text}");
    assert!(
        !addresses(&node).await.iter().any(|ip| ip.ends_with("100")),
        "no VIP came"
    );
    let left = |node: &Node| -> Vec<String> {
        let entries = fs::read_dir(node.path("bpf")).unwrap().map(|e| e.unwrap().file_name());
        let names = entries.map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".debug")).collect()
    };
    assert_eq!(left(&node), ["theirs"]);
    // It goes, ours comes; and when ours goes again, what else is pinned there stays.
    fs::remove_file(&theirs).unwrap();
    fs::create_dir(node.path("bpf/others")).unwrap();
    let deadline = std::time::Instant::now() + lb_tests::node::DEADLINE;
    let daemon = loop {
        // The kernel takes a program off some time after its pin is gone.
        match node.try_start().await {
            Ok(daemon) => break daemon,
            Err(log) => assert!(std::time::Instant::now() < deadline, "{log}"),
        }
    };
    daemon.end(Signal::SIGTERM);
    // An interface that has left the file is let go.
    node.configure(&format!("{}{SERVICE}", node.head("lo")));
    let daemon = node.start().await;
    let interfaces: Vec<String> = Lock::take(&node.path("bpf")).map_or_else(
        |_| {
            fs::read_dir(node.path("bpf/links"))
                .unwrap()
                .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
                .collect()
        },
        |_| panic!("the daemon holds the lock"),
    );
    assert_eq!(interfaces, ["lo-generic"]);
    daemon.end(Signal::SIGTERM);
    assert!(node.run("detach").status.success());
    assert_eq!(left(&node), ["others"]);
    fs::remove_dir(node.path("bpf/others")).unwrap();
}
