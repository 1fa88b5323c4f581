//! `fulcrum plan`, `drain`, `enable`, `disable`, `weight` and `reload` against a daemon that runs.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::IpAddr;
use std::process::Command;

use lb_tests::gate::{self, Gate};
use lb_tests::node::{Daemon, Node, refused};
use lb_user::api::types::{AdminState, BackendStatus, Overridden, Plan, Reloaded};
use lb_user::net::Net;
use nix::sys::signal::Signal;

const SERVICE: &str = r#"
[[service]]
name = "web"
address = "10.9.0.100:80"
mode = "dsr"
table-size = 256
[service.health]
kind = "none"
[[service.backend]]
name = "web1"
address = "10.9.0.11:80"
[[service.backend]]
name = "web2"
address = "10.9.0.12:80"
"#;

/// A machine whose daemon serves two backends. Its file is a link to one in another folder, so that a change is read
/// when a test says so, and not before.
async fn start() -> (Node, Daemon) {
    let node = Node::new().await;
    // The backends are nothing but addresses, for their next hops.
    let net = Net::inside(&node.outside).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    for ip in ["10.9.0.11", "10.9.0.12"] {
        net.add_address(eth0, ip.parse().unwrap(), 24).await.unwrap();
    }
    fs::create_dir(node.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(node.path("elsewhere/real.toml"), node.path("fulcrum.toml")).unwrap();
    write(&node, SERVICE);
    let daemon = node.start().await;
    node.until("both backends serve", |s| {
        s.services[0].backends.iter().all(|b| b.slots == 128)
    })
    .await;
    (node, daemon)
}

fn write(node: &Node, services: &str) {
    put(node, Some(&format!("{}{services}", node.head("eth0"))));
}

/// What the link leads to is this text from now on, or is not there. Another folder takes the place of the one that it was in:
/// what happens in there is watched, and what becomes of the folder itself is not. That one stays as it is, since the end of a
/// file in it would be seen, too.
fn put(node: &Node, text: Option<&str>) {
    let (elsewhere, next) = (node.path("elsewhere"), node.path("next"));
    fs::create_dir(&next).unwrap();
    if let Some(text) = text {
        fs::write(next.join("real.toml"), text).unwrap();
    }
    let mut before = (1..).map(|number| node.path(&format!("before-{number}")));
    let before = before.find(|folder| !folder.exists()).unwrap();
    fs::rename(&elsewhere, before).unwrap();
    fs::rename(next, elsewhere).unwrap();
}

/// `fulcrum ARGUMENTS` with the daemon's socket.
fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = node.command(arguments);
    command.arg("--socket").arg(node.path("socket"));
    command
}

/// What a command that has to succeed says on standard output; nothing warns besides.
fn said(node: &Node, arguments: &[&str]) -> String {
    let output = command(node, arguments).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

async fn backends(node: &Node) -> Vec<BackendStatus> {
    node.client().status().await.unwrap().services.remove(0).backends
}

/// State, weight and slots of `web1`, as soon as a command has returned.
async fn first(node: &Node) -> (AdminState, u16, u32) {
    let first = backends(node).await.remove(0);
    (first.state, first.weight, first.slots)
}

fn kept(node: &Node) -> String {
    fs::read_to_string(node.path("state/overrides.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_in_force_when_they_return() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, _daemon) = start().await;
    let drained = said(&node, &["drain", "web/web1"]);
    assert!(
        drained.starts_with("web/web1: drain (file: active), weight 1, 0 slots; up"),
        "{drained}"
    );
    assert_eq!(first(&node).await, (AdminState::Drain, 1, 0));
    let status = said(&node, &["status"]);
    assert!(status.contains("draining (file: active); up"), "{status}");

    let weighed = said(&node, &["weight", "web/10.9.0.11:80", "3"]);
    assert!(
        weighed.contains("drain (file: active), weight 3 (file: 1), 0 slots"),
        "{weighed}"
    );
    let enabled = said(&node, &["enable", "web/web1"]);
    assert!(
        enabled.starts_with("web/web1: active, weight 3 (file: 1), 192 slots"),
        "{enabled}"
    );
    assert_eq!(first(&node).await, (AdminState::Active, 3, 192));
    assert!(said(&node, &["status"]).contains("3 (file: 1)"));

    let disabled = said(&node, &["disable", "web/web1", "--json"]);
    let disabled: Overridden = serde_json::from_str(&disabled).unwrap();
    assert_eq!(
        (disabled.service.as_str(), disabled.backend.state),
        ("web", AdminState::Disabled)
    );
    assert_eq!(disabled.backend.state_in_file, Some(AdminState::Active));
    assert_eq!((disabled.fault, disabled.overrides_fault), (None, None));
    assert_eq!(first(&node).await, (AdminState::Disabled, 3, 0));

    // Back to what the file says: nothing is left of it.
    let enabled: Overridden = serde_json::from_str(&said(&node, &["enable", "web/web1", "--json"])).unwrap();
    assert_eq!(enabled.backend.state_in_file, None);
    said(&node, &["weight", "web/web1", "1", "--json"]);
    assert_eq!(kept(&node), "{\n  \"version\": 1,\n  \"overrides\": []\n}\n");
    node.until("it serves again", |s| s.services[0].backends[0].slots == 128)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_survive_reloads_and_crashes_and_end_with_their_backend() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, daemon) = start().await;
    said(&node, &["drain", "web/web1"]);
    said(&node, &["weight", "web/web2", "7"]);
    // The file changes something else, and a name.
    let service = SERVICE.replace("256", "512");
    write(&node, &service.replace("\"web1\"", "\"first\""));
    assert_eq!(said(&node, &["reload"]), "reloaded\n");
    let there = |b: &[BackendStatus]| (b[0].name.clone(), b[0].state, b[1].weight, b[0].slots, b[1].slots);
    let expected = ("first".to_owned(), AdminState::Drain, 7, 0, 512);
    assert_eq!(there(&backends(&node).await), expected);

    // Killed as soon as the command has returned.
    said(&node, &["weight", "web/web2", "8"]);
    daemon.end(Signal::SIGKILL);
    let daemon = node.start().await;
    let expected = ("first".to_owned(), AdminState::Drain, 8, 0, 512);
    assert_eq!(there(&backends(&node).await), expected, "from the first answer on");

    // A file that is refused ends nothing; one without the backend does.
    write(&node, "nonsense");
    refused(&mut command(&node, &["reload"]));
    assert_eq!(there(&backends(&node).await), expected);
    write(&node, &service.replace("10.9.0.11", "10.9.0.13"));
    said(&node, &["reload"]);
    write(&node, &service);
    said(&node, &["reload"]);
    let listed = backends(&node).await;
    let staying = listed.iter().filter(|b| !b.leaving);
    let states: Vec<_> = staying.map(|b| (b.state, b.weight)).collect();
    assert_eq!(states, [(AdminState::Active, 1), (AdminState::Active, 8)]);
    // The file comes to say what the command said; then the file alone counts.
    write(
        &node,
        &service.replace("name = \"web2\"", "name = \"web2\"\nweight = 8"),
    );
    said(&node, &["reload"]);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    assert!(!kept(&node).contains("10.9.0"), "{}", kept(&node));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_of_overrides_is_set_aside() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, daemon) = start().await;
    said(&node, &["drain", "web/web1"]);
    daemon.end(Signal::SIGKILL);
    let half = &kept(&node)[..40];
    fs::write(node.path("state/overrides.json"), half).unwrap();
    let _daemon = node.start().await;
    assert_eq!(first(&node).await.0, AdminState::Active);
    let status = said(&node, &["status"]);
    assert!(
        status.contains("OVERRIDES: what commands have set is forgotten"),
        "{status}"
    );
    assert!(node.log().contains("overrides.json cannot be used"), "{}", node.log());
    let aside = fs::read_to_string(node.path("state/overrides.json.broken")).unwrap();
    assert_eq!(aside, half);
    // What is said from now on is kept, and so nothing is wrong any more.
    said(&node, &["drain", "web/web1"]);
    assert_eq!(node.client().status().await.unwrap().overrides_fault, None);
    assert!(kept(&node).contains("10.9.0.11:80"));

    // Where it cannot be kept, it is in force all the same, and that is said.
    fs::remove_file(node.path("state/overrides.json")).unwrap();
    fs::create_dir(node.path("state/overrides.json")).unwrap();
    let output = command(&node, &["weight", "web/web2", "5"]).output().unwrap();
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && warning.starts_with("warning: "), "{warning}");
    assert!(warning.contains("forgotten by a restart: cannot write"), "{warning}");
    assert_eq!(backends(&node).await[1].weight, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_in_one_message() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, daemon) = start().await;
    let before = backends(&node).await;
    let error = |arguments: &[&str]| refused(&mut command(&node, arguments));
    assert_eq!(
        error(&["drain", "wbe/web1"]),
        "error: no service \"wbe\"; did you mean `web`?\n"
    );
    assert_eq!(
        error(&["weight", "web/wbe2", "3"]),
        "error: no backend of web: \"wbe2\"; did you mean `web2`?\n"
    );
    assert_eq!(
        error(&["enable", "web/database", "--json"]),
        "error: no backend of web: \"database\"; there is: web1, web2\n"
    );
    for usage in [
        &["drain"][..],
        &["drain", "web"],
        &["drain", "web/"],
        &["disable", "web/web1/x"],
        &["weight", "web/web1"],
        &["weight", "web/web1", "65536"],
        &["weight", "web/web1", "-1"],
    ] {
        let output = command(&node, usage).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(backends(&node).await, before);
    daemon.end(Signal::SIGTERM);
    for arguments in [&["reload"][..], &["drain", "web/web1"]] {
        let text = error(arguments);
        assert!(
            text.contains("no daemon answers") && text.contains("fulcrum run"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_says_what_became_of_the_file() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, _daemon) = start().await;
    assert_eq!(said(&node, &["reload"]), "nothing has changed\n");
    write(
        &node,
        &SERVICE.replace("name = \"web1\"", "name = \"web1\"\nweight = 3"),
    );
    let json: Reloaded = serde_json::from_str(&said(&node, &["reload", "--json"])).unwrap();
    assert_eq!(
        json,
        Reloaded {
            changed: true,
            fault: None
        }
    );
    assert_eq!(first(&node).await, (AdminState::Active, 3, 192), "in the maps");

    write(&node, &SERVICE.replace("name = \"web1\"", "nmae = \"web1\""));
    let reason = refused(&mut command(&node, &["reload"]));
    assert!(reason.starts_with("error: unknown key `nmae`"), "{reason}");
    assert!(
        reason.contains("fulcrum.toml:17:1") && reason.contains("did you mean"),
        "{reason}"
    );
    let status = node.client().status().await.unwrap();
    assert!(status.refused_reload.is_some_and(|reason| reason.contains("nmae")));
    assert_eq!(
        first(&node).await,
        (AdminState::Active, 3, 192),
        "the running one stays"
    );

    write(&node, &SERVICE.replace("[[service]]", "[protection]"));
    refused(&mut command(&node, &["reload", "--json"]));
    put(&node, Some(&format!("{}{SERVICE}", node.head("lo"))));
    let reason = refused(&mut command(&node, &["reload"]));
    assert!(
        reason.contains("[node] interfaces cannot change while the daemon runs"),
        "{reason}"
    );
    put(&node, None);
    let reason = refused(&mut command(&node, &["reload"]));
    assert!(reason.contains("there is no such file"), "{reason}");

    write(&node, SERVICE);
    assert_eq!(said(&node, &["reload"]), "reloaded\n");
    assert_eq!(node.client().status().await.unwrap().refused_reload, None);
}

/// `fulcrum plan` of a file with these services: exit code and standard output.
fn planned(node: &Node, services: &str, json: bool) -> (Option<i32>, String) {
    let next = node.path("next.toml");
    fs::write(&next, format!("{}{services}", node.head("eth0"))).unwrap();
    let mut command = node.command(&["plan", "-c", &next.to_string_lossy()]);
    let output = command.args(json.then_some("--json")).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

async fn addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = Net::inside(&node.namespace).unwrap().addresses().await.unwrap();
    addresses.into_iter().map(|address| address.ip).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_the_reload_then_does() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, _daemon) = start().await;
    assert_eq!(
        planned(&node, SERVICE, false),
        (Some(0), "nothing would change\n".to_owned())
    );
    // One comes, one leaves, and a VIP is another.
    let next = SERVICE
        .replace("web2\"\naddress = \"10.9.0.12", "web3\"\naddress = \"10.9.0.13")
        .replace("10.9.0.100", "10.9.0.101");
    let (before, vips) = (backends(&node).await, addresses(&node).await);
    let (code, text) = planned(&node, &next, false);
    assert_eq!(code, Some(3), "{text}");
    for line in [
        "~ service web: ",
        "    ~ address: 10.9.0.100:80 -> 10.9.0.101:80",
        "    - VIP 10.9.0.100:80: its flows are cut",
        "    + backend web3 10.9.0.13:80: gains 50.0% when it is up",
        "    - backend web2 10.9.0.12:80: loses 50.0%; its flows are cut (0 known)",
        "+ address 10.9.0.101 on eth0",
        "- address 10.9.0.100 on eth0",
    ] {
        assert!(text.lines().any(|said| said.starts_with(line)), "{line}\n{text}");
    }
    let (code, json) = planned(&node, &next, true);
    let plan: Plan = serde_json::from_str(&json).unwrap();
    assert!(code == Some(3) && plan.changed && plan.fault.is_none(), "{plan:?}");
    let now: Vec<u32> = backends(&node).await.iter().map(|b| b.slots).collect();
    assert_eq!(now, before.iter().map(|b| b.slots).collect::<Vec<_>>());
    assert_eq!(addresses(&node).await, vips, "nothing has changed");

    write(&node, &next);
    said(&node, &["reload"]);
    let named = |name: &str| plan.services[0].backends.iter().find(|b| b.name == name).unwrap();
    let expected = [("web1", 128), ("web3", named("web3").slots_after)];
    let status = node
        .until("it is as planned", |s| {
            let slots = |name: &str| s.services[0].backends.iter().find(|b| b.name == name).map(|b| b.slots);
            expected.iter().all(|&(name, planned)| slots(name) == Some(planned))
        })
        .await;
    let left = status.services[0].backends.iter().find(|b| b.name == "web2");
    assert_eq!(left.map_or(0, |b| b.slots), named("web2").slots_after);
    let held = addresses(&node).await;
    for address in &plan.addresses {
        let comes = address.change == lb_user::api::types::Change::Added;
        assert_eq!(held.contains(&address.address), comes, "{address:?}");
    }
    assert_eq!(planned(&node, &next, false).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_as_the_reload_is() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, _daemon) = start().await;
    let next = node.path("next.toml");
    let plan = |text: &str| {
        fs::write(&next, text).unwrap();
        refused(&mut node.command(&["plan", "-c", &next.to_string_lossy()]))
    };
    let good = format!("{}{SERVICE}", node.head("eth0"));
    for bad in [
        good.replace("table-size = 256", "table-size = 128"),
        good.replace("[node]", "[node]\nhash-seed-file = \"another-seed\""),
        good.replace("mode = ", "mdoe = "),
    ] {
        let planned = plan(&bad);
        put(&node, Some(&bad));
        let reloaded = refused(&mut command(&node, &["reload"]));
        // A command warns, too; what the daemon warns of is in its log.
        let planned = planned.replace("next.toml", "fulcrum.toml");
        assert!(planned.ends_with(&reloaded), "{planned}\n{reloaded}");
    }
    assert_eq!(first(&node).await, (AdminState::Active, 1, 128));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_has_read_is_named() {
    if gate::root() == Gate::Skip {
        return;
    }
    let (node, _daemon) = start().await;
    write(&node, &SERVICE.replace("web2", "web9"));
    let status = node.until("the change is seen", |s| s.unread_file.is_some()).await;
    assert!(status.unread_file.unwrap().contains("`fulcrum reload` reads it"));
    assert!(said(&node, &["status"]).contains("\nFILE: "));
    said(&node, &["reload"]);
    node.until("it is read", |s| s.unread_file.is_none()).await;
}
