//! What lab files can say, and that what does not come true of it is said.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use lb_tests::gate::{self, Gate};
use lb_tests::lab::{LabTurn, fulcrum};
use lb_tests::node::DEADLINE;
use lb_user::net::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LAB: &str = "quickstart";

/// A lab file of these tests.
fn file(name: &str) -> String {
    format!("{}/labs/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_gone(lab: &str) {
    assert!(!Path::new("/run/fulcrum/lab").join(lab).exists(), "its folder is left");
    let names = Namespace::names().unwrap();
    assert!(
        names.iter().all(|name| !name.starts_with(&format!("fl-{lab}-"))),
        "{names:?}"
    );
}

#[test]
fn every_kind_of_wire_and_program_works() {
    if gate::root_with(&["curl", "haproxy", "keepalived", "nft", "nginx"]) == Gate::Skip {
        return;
    }
    let Some(turn) = LabTurn::take(&["everything"]) else {
        return;
    };
    let tour = turn.lab(&["tour", &file("everything"), "--yes", "--only-real"]);
    assert!(tour.status.success(), "{}\n{}", text(&tour.stdout), text(&tour.stderr));
    assert_gone("everything");
}

#[test]
fn what_does_not_come_true_is_said() {
    let Some(turn) = LabTurn::take(&["unmet"]) else { return };
    let tour = turn.lab(&["tour", &file("unmet"), "--yes"]);
    let (said, errors) = (text(&tour.stdout), text(&tour.stderr));
    assert_eq!(tour.status.code(), Some(1), "{said}\n{errors}");
    let unmet: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("   !! ")).collect();
    let expected = [
        "http://10.79.0.100/: web1 has ",
        "http://10.79.0.100/: web2 has ",
        "http://web1/: web1 has served, and should not have",
        "http://10.79.0.100/: servers should see the client [10.79.0.9], and saw 10.79.0.1",
        "udp://10.79.0.11:7: servers should see the client [10.79.0.8], and saw 10.79.0.9",
        "client$ echo hello does not say ^hullo$",
        "client$ echo hello says ell",
        "client$ exit 3 ends with exit status: 3",
        "client$ exit 4 ends with exit status: 4",
        "access.log: web1 has ",
        "access.log: web2 has 0 of ",
        " requests failed, at most 0 may",
        "requests failed for ",
    ];
    assert_eq!(unmet.len(), expected.len(), "{said}");
    for (unmet, expected) in unmet.iter().zip(expected) {
        assert!(unmet.contains(expected), "{unmet:?} is not {expected:?}");
        assert!(errors.contains(&format!("not as it should be: {unmet}")), "{errors}");
    }
    assert!(!said.contains("Everything went as it should"));
    assert_gone("unmet");

    // A check that fails shows what it has held back.
    let own = tempfile::tempdir().unwrap();
    let check = own.path().join("check.toml");
    fs::write(
        &check,
        fs::read_to_string(file("unmet"))
            .unwrap()
            .replace("[[step]]", "[[check]]"),
    )
    .unwrap();
    let up = turn.lab(&["up", check.to_str().unwrap()]);
    assert_eq!(up.status.code(), Some(1));
    let said = text(&up.stdout);
    assert!(
        said.contains("   failed  all of it\n") && said.contains("client$ echo hello\n   hello\n"),
        "{said}"
    );
    assert_gone("unmet");
}

#[test]
fn a_step_that_cannot_be_done_ends_the_tour() {
    let Some(turn) = LabTurn::take(&["unmet"]) else { return };
    let own = tempfile::tempdir().unwrap();
    let path = own.path().join("own.toml");
    let whole = fs::read_to_string(file("unmet")).unwrap();
    let (network, _) = whole.split_once("[[step]]").unwrap();
    let (wait, nobody) = (
        "{ await = { at = \"lb/fulcrum\", service = \"web\", mode = \"nat\" } }",
        "{ requests = { from = \"client\", to = \"http://10.79.0.99/\", count = 1, clients = 1 } }",
    );
    for (actions, error) in [
        (
            "{ edit = { file = \"lb/fulcrum.toml\", replace = \"no such words\", with = \"\" } }".to_owned(),
            "nothing to replace",
        ),
        (
            format!(
                "{{ edit = {{ file = \"lb/fulcrum.toml\", replace = \"weight = 5\", with = \"weight = 5.5\" }} }}, {{ run = {{ on = \"lb\", shell = \"fulcrum reload\", may-fail = true }} }}, {wait}"
            ),
            "lb/fulcrum has refused the changed file",
        ),
        (
            nobody.to_owned(),
            "none of 1 requests to http://10.79.0.99/ was answered",
        ),
        (
            "{ requests = { from = \"client\", to = \"http://nobody/\" } }".to_owned(),
            "the lab has no name nobody",
        ),
        ("{ timeline = {} }".to_owned(), "a time line of no traffic"),
    ] {
        fs::write(&path, format!("{network}[[step]]\ntitle = \"t\"\ndo = [{actions}]\n")).unwrap();
        let tour = turn.lab(&["tour", path.to_str().unwrap(), "--yes"]);
        let errors = text(&tour.stderr);
        assert!(
            !tour.status.success() && errors.contains("step 1, t"),
            "{actions}\n{errors}"
        );
        assert!(errors.contains(error), "{actions}\n{errors}");
        assert_gone("unmet");
    }
}

/// Whether programs are installed, labs find out by PATH and the folders of root's programs.
fn without_path(args: &[&str]) -> Output {
    fulcrum()
        .arg("lab")
        .args(args)
        .env("PATH", "/nonexistent")
        .output()
        .unwrap()
}

#[test]
fn the_embedded_server_stands_in_where_it_may() {
    let Some(_turn) = LabTurn::take(&["stand-in"]) else {
        return;
    };
    let own = tempfile::tempdir().unwrap();
    let path = own.path().join("own.toml");
    let lab = |more: &str| {
        format!(
            "name = \"stand-in\"\nsummary = \"\"\n[[host]]\nname = \"a\"\n[[host.run]]\nkind = \"prometheus\"\n{more}\n\
             [[check]]\ntitle = \"it answers\"\ndo = [{{ requests = {{ from = \"a\", to = \"http://127.0.0.1/\", count = 5, \
             spread = {{ a = 1 }} }} }}]\n"
        )
    };
    fs::write(&path, lab("or-serve = true\nlisten = [\"127.0.0.1:80\"]")).unwrap();
    let path = path.to_str().unwrap();
    let up = without_path(&["up", path]);
    let said = text(&up.stdout);
    assert!(up.status.success(), "{said}\n{}", text(&up.stderr));
    assert!(
        said.contains("the embedded server, since prometheus is not installed"),
        "{said}"
    );
    let _ = fulcrum().args(["lab", "down", "stand-in"]).output();
    for (file, args) in [
        (
            lab("or-serve = true\nlisten = [\"127.0.0.1:80\"]"),
            &["up", path, "--only-real"] as &[&str],
        ),
        (lab(""), &["up", path]),
    ] {
        fs::write(path, file).unwrap();
        let up = without_path(args);
        assert!(!up.status.success());
        assert!(
            text(&up.stderr).contains("apt-get install prometheus"),
            "{}",
            text(&up.stderr)
        );
        assert!(
            text(&up.stdout).is_empty(),
            "something was made before: {}",
            text(&up.stdout)
        );
        assert_gone("stand-in");
    }
}

#[test]
fn load_is_made_from_a_host_and_says_how_it_went() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    assert!(turn.lab(&["up", LAB]).status.success());
    let inside = ["load", "--in", "quickstart/client"];
    let load = |args: &[&str]| turn.lab(&[&inside, args].concat());
    let done = load(&[
        "http://10.77.0.100/",
        "--requests",
        "120",
        "--new-connections",
        "--json",
    ]);
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    assert_eq!(
        (said["answered"].as_u64(), said["connections"].as_u64()),
        (Some(120), Some(120)),
        "{said}"
    );
    assert_eq!(said["served"].as_object().unwrap().len(), 3, "{said}");
    assert!(said["seen"].to_string().contains("10.77.0.10"), "{said}");

    // For people; at a rate, and over connections that are kept.
    let done = load(&[
        "http://www/x",
        "--host",
        "www",
        "--requests",
        "30",
        "--rate",
        "300",
        "--connections",
        "2",
    ]);
    assert!(
        !done.status.success(),
        "names of the lab are not the machine's: {done:?}"
    );
    let done = load(&[
        "http://10.77.0.100/",
        "--requests",
        "30",
        "--rate",
        "300",
        "--connections",
        "2",
    ]);
    let said = text(&done.stdout);
    assert!(
        done.status.success() && said.starts_with("answered              30"),
        "{said}"
    );
    assert!(
        said.contains("\nconnections            2 ") && said.contains("latency in ms  p50 "),
        "{said}"
    );

    // Nobody listens; and a lab that is not up.
    assert_eq!(
        load(&["http://10.77.0.11:9/", "--requests", "3"]).status.code(),
        Some(1)
    );
    let nowhere = turn.lab(&["load", "--in", "nosuch/client", "http://10.77.0.100/"]);
    assert!(text(&nowhere.stderr).contains("lab nosuch is not up"), "{nowhere:?}");

    // Ctrl-C ends it early, and what was done is said.
    let running = fulcrum()
        .arg("lab")
        .args(inside)
        .args([
            "http://10.77.0.100/slow/20",
            "--duration",
            "1h",
            "--new-connections",
            "--json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The balancer counts their connections.
    let flows = || {
        let status = turn.lab(&["exec", "quickstart/lb", "fulcrum", "status", "--json", "web"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let backends = status["services"][0]["backends"].as_array().unwrap().clone();
        backends
            .iter()
            .map(|backend| backend["new_flows"].as_u64().unwrap())
            .sum::<u64>()
    };
    let (before, deadline) = (flows(), Instant::now() + DEADLINE);
    while flows() < before + 2 {
        assert!(Instant::now() < deadline, "no requests are made");
    }
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
}

#[test]
fn logs_can_be_followed_and_a_tour_can_leave_its_lab() {
    let Some(turn) = LabTurn::take(&["ten-lines"]) else {
        return;
    };
    let path = format!("{}/../docs/labs/ten-lines.toml", env!("CARGO_MANIFEST_DIR"));
    let tour = turn.lab(&["tour", &path, "--yes", "--keep"]);
    assert!(tour.status.success(), "{}", text(&tour.stderr));
    assert!(text(&tour.stdout).contains("fulcrum lab exec ten-lines/HOST COMMAND"));

    let all = text(&turn.lab(&["logs", "ten-lines", "lb/fulcrum", "-n", "1000"]).stdout);
    let last = text(&turn.lab(&["logs", "ten-lines", "lb/fulcrum", "-n", "1"]).stdout);
    assert!(
        last.lines().count() == 1 && all.ends_with(&last) && all.lines().count() > 1,
        "{all}\n{last}"
    );
    let mut following = Command::new(fulcrum().get_program())
        .args(["lab", "logs", "ten-lines", "lb", "--follow", "-n", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap() + "\n", last);
    let weight = turn.lab(&["exec", "ten-lines/lb", "fulcrum", "weight", "web/web1:80", "3"]);
    assert!(weight.status.success(), "{weight:?}");
    let news = lines.next().unwrap().unwrap();
    assert!(news.contains("set by a command"), "{news}");
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(turn.lab(&["down", "ten-lines"]).status.success());
    assert_gone("ten-lines");
}
