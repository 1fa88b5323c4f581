//! Labs come up, and go away, whatever happens to them.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use lb_tests::executable::fulcrum_as_nobody;
use lb_tests::lab::{LabTurn, fulcrum};
use lb_tests::node::refused;
use lb_user::net::Namespace;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getsid};

const LAB: &str = "quickstart";
const FOLDER: &str = "/run/fulcrum/lab/quickstart";

/// A process that ignores SIGTERM takes 3 s to go; the rest is for a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `lab up`, stopped (as by SIGSTOP) while it builds: the lab is there, and stays so.
struct Halfway {
    up: Child,
    guardian: Pid,
    /// web1's.
    server: Pid,
    /// Those that the lab has started so far.
    processes: Vec<PathBuf>,
}

impl Halfway {
    fn new() -> Self {
        let mut command = fulcrum();
        let up = command
            .args(["lab", "up", LAB])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // As a shell starts it: a Ctrl-C goes to the whole group.
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(up.id().cast_signed());
        let record = |name: &str| Path::new(FOLDER).join(format!("processes/{name}.json"));
        until("the first server is started", || record("web1.serve").exists());
        kill(pid, Signal::SIGSTOP).unwrap();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let is_guardian = |child: &&str| {
            fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.contains("\0guard\0"))
        };
        let guardian = children
            .split_whitespace()
            .find(is_guardian)
            .expect("there is a guardian");
        let record: serde_json::Value = serde_json::from_slice(&fs::read(record("web1.serve")).unwrap()).unwrap();
        let server = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
        Self {
            guardian: Pid::from_raw(guardian.parse().unwrap()),
            server: Pid::from_raw(server),
            processes: vec![format!("/proc/{server}/exe").into()],
            up,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.up.id().cast_signed())
    }

    /// Waits for the end of everyone who holds the pipe: `lab up` itself, and its guardian.
    fn end(mut self) -> (Output, Vec<PathBuf>) {
        let mut stderr = Vec::new();
        self.up.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        let status = self.up.wait().unwrap();
        (
            Output {
                status,
                stdout: Vec::new(),
                stderr,
            },
            self.processes,
        )
    }
}

fn assert_gone(processes: &[PathBuf]) {
    assert!(!Path::new(FOLDER).exists(), "the folder is left");
    let names = Namespace::names().unwrap();
    let left: Vec<&String> = names.iter().filter(|name| name.starts_with("fl-quickstart-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(FOLDER), "the bpffs is left: {mounts}");
    for process in processes {
        // A zombie has no executable.
        assert!(fs::read_link(process).is_err(), "{} is left", process.display());
    }
}

#[test]
fn a_killed_lab_goes_away() {
    let Some(_turn) = LabTurn::take(&[LAB]) else { return };
    let halfway = Halfway::new();
    kill(halfway.pid(), Signal::SIGKILL).unwrap();
    let (output, processes) = halfway.end();
    let stderr = text(&output.stderr);
    assert!(stderr.contains("its `lab up` was killed; removed"), "{stderr}");
    assert_gone(&processes);
}

#[test]
fn a_lab_is_up_once_and_ctrl_c_ends_it() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let halfway = Halfway::new();
    let second = turn.lab(&["up", LAB]);
    assert!(!second.status.success());
    let (stderr, pid) = (text(&second.stderr), halfway.pid());
    let expected =
        format!("lab {LAB} is up already: process {pid} builds or shows it; `fulcrum lab down {LAB}` removes it");
    assert!(stderr.contains(&expected), "{stderr}");
    let status = turn.lab(&["status", LAB]);
    assert!(
        text(&status.stdout).contains("namespace fl-quickstart-web3"),
        "{}",
        text(&status.stdout)
    );

    // What the lab started is out of reach of a Ctrl-C: that is for `lab up`, which cannot heed it yet.
    killpg(pid, Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    for process in [halfway.server, halfway.guardian] {
        assert!(
            fs::read_link(format!("/proc/{process}/exe")).is_ok(),
            "{process} was ended by a Ctrl-C that was not for it"
        );
        assert_eq!(getsid(Some(process)), Ok(process));
    }
    kill(pid, Signal::SIGCONT).unwrap();
    let (output, processes) = halfway.end();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_gone(&processes);
}

#[test]
fn down_works_after_anything_and_twice() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let halfway = Halfway::new();
    kill(halfway.guardian, Signal::SIGKILL).unwrap();
    kill(halfway.pid(), Signal::SIGKILL).unwrap();
    let server = halfway.server;
    let (_, processes) = halfway.end();
    assert!(Path::new(FOLDER).exists(), "nobody was left to remove it");
    // One of its processes is stuck, and all records are lost: names are enough.
    kill(server, Signal::SIGSTOP).unwrap();
    fs::remove_file(Path::new(FOLDER).join("lab.json")).unwrap();
    fs::remove_file(Path::new(FOLDER).join("lab.toml")).unwrap();
    fs::remove_dir_all(Path::new(FOLDER).join("processes")).unwrap();
    let down = turn.lab(&["down", LAB]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert_gone(&processes);
    let again = turn.lab(&["down", LAB]);
    assert!(again.status.success());
    assert_eq!(text(&again.stdout), "lab quickstart is not up\n");
    let unknown = turn.lab(&["down", "nosuch"]);
    assert!(!unknown.status.success());
}

#[test]
fn what_was_left_behind_makes_room() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let halfway = Halfway::new();
    kill(halfway.guardian, Signal::SIGKILL).unwrap();
    kill(halfway.pid(), Signal::SIGKILL).unwrap();
    let (_, processes) = halfway.end();
    let up = turn.lab(&["up", LAB]);
    assert!(up.status.success(), "{}\n{}", text(&up.stdout), text(&up.stderr));
    assert!(text(&up.stderr).contains("was left behind by an earlier run; removed"));
    for process in &processes {
        assert!(fs::read_link(process).is_err(), "{} is left", process.display());
    }
    assert!(turn.lab(&["down", LAB]).status.success());
    assert_gone(&[]);
}

#[test]
fn what_others_made_is_not_taken_down() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    const OTHERS: &str = "fl-quickstart-client";
    let made = Namespace::create(OTHERS).unwrap().id().unwrap();
    let refused = turn.lab(&["up", LAB]);
    let stderr = text(&refused.stderr);
    assert!(!refused.status.success());
    assert!(
        stderr.contains(&format!("{OTHERS} exists; `fulcrum lab down {LAB}` removes")),
        "{stderr}"
    );
    assert_eq!(
        Namespace::open(OTHERS).unwrap().id().unwrap(),
        made,
        "it is still there"
    );
    assert!(!Path::new(FOLDER).exists());
    let down = turn.lab(&["down", LAB]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert_gone(&[]);
}

#[test]
fn down_stops_a_lab_that_is_being_shown() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let halfway = Halfway::new();
    kill(halfway.pid(), Signal::SIGCONT).unwrap();
    let down = turn.lab(&["down", LAB]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    let (output, processes) = halfway.end();
    assert!(!output.status.success());
    assert_gone(&processes);
}

#[test]
fn a_lab_that_is_up_can_be_visited_and_shown() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let up = turn.lab(&["up", LAB]);
    assert!(up.status.success(), "{}\n{}", text(&up.stdout), text(&up.stderr));
    let said = text(&up.stdout);

    // By the names that the lab has, too.
    for url in ["http://10.77.0.100/", "http://www/"] {
        let inside = turn.lab(&["exec", "quickstart/client", "--", "curl", "-s", url]);
        assert!(
            text(&inside.stdout).contains(" saw client 10.77.0.10:"),
            "{}",
            text(&inside.stdout)
        );
    }
    let name = turn.lab(&["exec", "quickstart", "web2", "hostname"]);
    assert_eq!(text(&name.stdout), "web2\n");
    let status = turn.lab(&["exec", "quickstart", "lb", "fulcrum", "status", "web"]);
    assert!(
        text(&status.stdout).contains("10.77.0.13:80"),
        "{}",
        text(&status.stderr)
    );
    let url = said
        .split_whitespace()
        .find(|word| word.starts_with("http://127.0.0.1:"))
        .unwrap();
    let outside = std::process::Command::new("curl").args(["-s", url]).output().unwrap();
    assert!(
        text(&outside.stdout).contains(" saw client 10.77.0.10:"),
        "{}",
        text(&outside.stdout)
    );
    let logs = text(&turn.lab(&["logs", LAB, "lb"]).stdout);
    assert!(
        logs.contains("lb.fulcrum: ") && !logs.contains("web1.serve: "),
        "{logs}"
    );
    let unknown = turn.lab(&["logs", LAB, "nobody"]);
    assert!(
        text(&unknown.stderr).contains("lb.fulcrum"),
        "{}",
        text(&unknown.stderr)
    );

    let again = turn.lab(&["up", LAB]);
    assert!(
        text(&again.stderr).contains("lab quickstart is up already; "),
        "{}",
        text(&again.stderr)
    );
    let status = text(&turn.lab(&["status", LAB]).stdout);
    assert!(status.contains("quickstart: up\n") && status.contains(url), "{status}");
    let tour = turn.lab(&["tour", LAB, "--yes"]);
    assert!(tour.status.success(), "{}\n{}", text(&tour.stdout), text(&tour.stderr));
    for line in text(&tour.stdout).lines() {
        assert!(line.chars().count() <= 100, "too wide: {line}");
    }
    assert!(
        turn.lab(&["status", LAB]).status.success(),
        "a tour leaves a lab that was up"
    );
    let down = turn.lab(&["down", LAB]);
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert_gone(&[]);
}

/// Everything that labs could leave behind.
fn traces() -> (Vec<String>, Vec<String>) {
    let mut names = Namespace::names().unwrap();
    // Other tests have theirs, and come and go.
    names.retain(|name| name.starts_with("fl-"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts
        .lines()
        .filter(|line| line.contains("/run/fulcrum/lab"))
        .map(str::to_owned);
    (names, mounts.collect())
}

/// Every lab with the real servers: its tour shows what it says, it comes up and passes its checks, and nothing is left of it.
#[test]
fn every_lab_shows_what_it_says() {
    const LABS: &[&str] = &["quickstart", "apache", "round-robin", "ha-pair", "bgp", "database"];
    let Some(_turn) = LabTurn::take(LABS) else { return };
    let list = text(&fulcrum().args(["lab", "list"]).output().unwrap().stdout);
    let labs: Vec<&str> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(labs, LABS);
    let before = traces();
    for lab in labs {
        let run = |args: &[&str]| {
            let output = fulcrum().arg("lab").args(args).output().unwrap();
            assert!(
                output.status.success(),
                "{args:?}\n{}\n{}",
                text(&output.stdout),
                text(&output.stderr)
            );
            text(&output.stdout)
        };
        // By itself, as for who sees it for the first time: no step builds on what checks have left.
        let tour = run(&["tour", lab, "--yes", "--only-real"]);
        assert!(tour.contains("Everything went as it should."), "{tour}");
        assert_eq!(traces(), before, "{lab} has left something");
        run(&["up", lab, "--only-real"]);
        run(&["down", lab]);
        assert_eq!(traces(), before, "{lab} has left something");
    }
}

/// A lab file of one's own, and two labs at the same time.
#[test]
fn a_file_of_ones_own_is_a_lab() {
    let Some(turn) = LabTurn::take(&[LAB, "ten-lines"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    // docs/labs.md shows this one.
    fs::write(&file, include_str!("../../docs/labs/ten-lines.toml")).unwrap();
    let path = file.to_str().unwrap();
    let up = turn.lab(&["up", path]);
    assert!(up.status.success(), "{}\n{}", text(&up.stdout), text(&up.stderr));
    let other = turn.lab(&["up", LAB]);
    assert!(other.status.success(), "{}", text(&other.stderr));
    let status = text(&turn.lab(&["status"]).stdout);
    assert!(
        status.contains("ten-lines: up\n") && status.contains("quickstart: up\n"),
        "{status}"
    );
    // A tour of none is one of its checks.
    fs::remove_file(&file).unwrap();
    assert!(turn.lab(&["tour", "ten-lines", "--yes"]).status.success());
    for lab in ["ten-lines", LAB] {
        assert!(turn.lab(&["down", lab]).status.success());
    }
    assert_gone(&[]);
}

/// What is wrong with a file is said with its place, before anything is made; what fails takes everything with it.
#[test]
fn what_cannot_be_is_refused_and_what_fails_is_removed() {
    let Some(turn) = LabTurn::take(&["wrong", LAB]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    let path = file.to_str().unwrap();
    let begin = "name = \"wrong\"\nsummary = \"\"\n";
    let host = "[[host]]\nname = \"a\"\n";
    let before = traces();
    for (rest, error) in [
        (
            "[[switch]]\nname = \"s\"\nuplinks = [\"t\"]\n[[switch]]\nname = \"t\"\nuplinks = [\"s\"]\n[[host]]\nname = \"a\"\n",
            ":8:12",
        ),
        (
            "[[host]]\nname = \"a\"\nrun = [{ kind = \"ngins\" }]\n",
            "unknown kind of program `ngins`",
        ),
        (
            "[[host]]\nname = \"a\"\nrun = [{ kind = \"command\", args = [\"no-such-program\"], package = \"no-such-package\" }]\n",
            "apt-get install no-such-package",
        ),
        (
            "[[host]]\nname = \"a\"\nrun = [{ kind = \"command\", once = true, args = [\"false\"] }]\n",
            "a.command has failed",
        ),
        (
            "[[host]]\nname = \"a\"\nrun = [{ kind = \"command\", ready = \"127.0.0.1:1\", args = [\"sh\", \"-c\", \"echo it is broken\"] }]\n",
            "it is broken",
        ),
        (
            "[[host]]\nname = \"a\"\n[[check]]\ntitle = \"never\"\ndo = [{ run = { on = \"a\", shell = \"false\" } }]\n",
            "a$ false ends with",
        ),
    ] {
        fs::write(&file, format!("{begin}{rest}")).unwrap();
        let up = turn.lab(&["up", path]);
        assert!(!up.status.success(), "{rest}");
        let stderr = text(&up.stderr);
        assert!(stderr.contains(error), "{rest}\n{stderr}");
        assert_eq!(traces(), before, "{rest}\nhas left something");
        assert!(!Path::new("/run/fulcrum/lab/wrong").exists());
    }
    fs::write(&file, format!("{begin}{host}")).unwrap();
    for lab in [path, LAB] {
        let text = refused(fulcrum_as_nobody(folder.path()).args(["lab", "up", lab]));
        assert!(text.contains("labs need root"), "{text}");
    }
    assert_eq!(traces(), before);
}
