//! What the daemon may do, and what the programs that it runs may.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::executable;
use lb_tests::gate::{self, Gate};
use lb_tests::lab::fulcrum;
use lb_tests::node::{DEADLINE, Daemon, Node};
use lb_tests::toml::service;
use nix::sys::signal::Signal;

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_PERFMON and CAP_BPF by bit (capabilities(7)).
const KEPT: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;

/// CAP_KILL, CAP_SETGID and CAP_SETUID.
const FOR_SCRIPTS: u64 = 1 << 5 | 1 << 6 | 1 << 7;

/// Of nobody, on every system that has one.
const NOBODY: &str = "65534";

/// What the kernel says of each thread of a process.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    statuses.collect()
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}:\n{status}")).trim()
}

#[track_caller]
fn has_exactly(daemon: &Daemon, kept: u64) {
    let threads = threads(daemon.pid());
    assert!(
        threads.len() > 2,
        "workers, the watcher of files and the first one: {}",
        threads.len()
    );
    for status in &threads {
        let set = |name| u64::from_str_radix(field(status, name), 16).unwrap();
        let sets = ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"].map(set);
        assert_eq!(sets, [kept, kept, kept, 0, 0], "{sets:x?}\n{status}");
        assert_eq!(field(status, "NoNewPrivs"), "1", "{status}");
    }
}

/// `key` in `[node]`, and a service without probes that has the proxy's threads.
fn proxy(node: &Node, key: &str) -> String {
    let web = service("web", "proxy", &["10.9.0.100:80"])
        .unprobed()
        .backend("10.9.0.11:80");
    format!(
        "{}{web}",
        node.head("eth0").replacen("[admin]", &format!("{key}[admin]"), 1)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_keeps_what_it_needs_and_no_more() {
    if gate::root_with(&["setpriv"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&proxy(&node, ""));
    let daemon = node.start().await;
    has_exactly(&daemon, KEPT);
    // Nobody gets its memory as a core dump: the kernel tells also by what it keeps from whoever has every right but to trace.
    let traces = |pid: u32| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "readlink"]);
        setpriv
            .arg(format!("/proc/{pid}/ns/net"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        setpriv.status().unwrap().success()
    };
    let mut other = Command::new("setpriv");
    node.namespace.confine(&mut other);
    let mut other = other
        .args(["--bounding-set=-all", "--inh-caps=-all", "sleep", "1000"])
        .spawn()
        .unwrap();
    until("it sleeps", || {
        fs::read_to_string(format!("/proc/{}/comm", other.id())).is_ok_and(|name| name == "sleep\n")
    });
    let traced = [other.id(), daemon.pid()].map(traces);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(traced, [true, false]);
    // Files are read and programs started again without what is gone; who they are does not change.
    node.configure(&proxy(&node, "script-user = \"nobody\"\n"));
    let reload = node.run("reload");
    let said = String::from_utf8(reload.stderr).unwrap();
    assert!(
        said.contains("[node] script-user cannot change while the daemon runs"),
        "{said}"
    );
    has_exactly(&daemon, KEPT);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let daemon = node.start().await;
    has_exactly(&daemon, KEPT | FOR_SCRIPTS);
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// A script that leaves in `folder` who it is, under its name, and goes on for as long as it is let.
fn script(folder: &Path, name: &str) -> String {
    let path = folder.join(format!("{name}.sh"));
    let told = folder.join(name);
    let text = format!(
        "#!/bin/sh\n{{ id -u; id -g; id -G; grep -h -e CapEff -e NoNewPrivs /proc/self/status; echo $$; }} > {0}.new\n\
         mv {0}.new {0}\nexec sleep 1000\n",
        told.display()
    );
    executable::write(&path, text.as_bytes());
    path.display().to_string()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Probes, tracked scripts and programs that are told, each of which is killed when its time is up.
#[tokio::test(flavor = "multi_thread")]
async fn programs_run_as_the_user_of_the_file() {
    if gate::root() == Gate::Skip {
        return;
    }
    for (user, expected, effective) in [("script-user = \"nobody\"\n", NOBODY, 0), ("", "0", KEPT)] {
        let node = Node::new().await;
        // Where nobody can write.
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let [probe, track, master] = ["probe", "track", "master"].map(|name| script(folder.path(), name));
        let head = node
            .head_with_seed("eth0")
            .replacen("[admin]", &format!("{user}[admin]"), 1);
        let health = format!("kind = \"script\"\ncommand = [\"{probe}\"]\ninterval = \"1s\"\ntimeout = \"200ms\"");
        let web = service("web", "dsr", &["10.9.0.100:80"])
            .table("health", health)
            .backend("10.9.0.11:80");
        let router = format!(
            "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = 100\n\
             advertisement-interval = \"100ms\"\naddresses = [\"10.9.0.100\"]\nnotify = {{ master = \"{master}\" }}\n\
             [[vrrp.track]]\nscript = \"{track}\"\ninterval = \"1s\"\ntimeout = \"200ms\"\nfall = 1000\nweight = -10\n"
        );
        node.configure(&format!("{head}{router}{web}"));
        let daemon = node.start().await;
        for name in ["probe", "track", "master"] {
            let told = folder.path().join(name);
            until(name, || told.exists());
            let text = fs::read_to_string(told).unwrap();
            let [uid, gid, groups, capabilities, privileges, pid] = &text.lines().collect::<Vec<_>>()[..] else {
                panic!("{name}: {text}")
            };
            assert_eq!([*uid, *gid], [expected; 2], "{name}: {text}");
            assert!(groups.split(' ').all(|group| group == expected), "{name}: {text}");
            let capabilities = u64::from_str_radix(field(capabilities, "CapEff"), 16).unwrap();
            assert_eq!(capabilities, effective, "{name}: {text}");
            assert_eq!(field(privileges, "NoNewPrivs"), "1", "{name}: {text}");
            // The last one is killed with the daemon's end alone.
            if name != "master" {
                let process = Path::new("/proc").join(pid);
                until("it is killed", || !process.exists());
            }
        }
        assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
        let warned = node.log().contains("others than root may write to");
        assert!(!warned, "all of it is root's, behind a sticky bit: {}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_programs_cannot_be_is_refused() {
    if gate::root_with(&["setpriv"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&proxy(&node, "script-user = \"nobody-of-this-name\"\n"));
    for verb in ["check", "run"] {
        let output = node.run(verb);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success()
                && said.contains("this machine has no user `nobody-of-this-name`")
                && said.contains("fulcrum.toml:6:"),
            "{verb}: {said}"
        );
    }
    // Without what that takes.
    node.configure(&proxy(&node, "script-user = \"nobody\"\n"));
    let mut confined = Command::new("setpriv");
    node.namespace.confine(&mut confined);
    let output = confined
        .args(["--bounding-set=-setuid", "--inh-caps=-setuid", "--"])
        .arg(fulcrum().get_program())
        .args(["run", "-c"])
        .arg(node.path("fulcrum.toml"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success()
            && said.contains("missing CAP_SETUID (to run programs as script-user)")
            && said.contains("fulcrum.toml:6:"),
        "{said}"
    );
}

/// Files and folders below `folder`, and their modes; links are not followed.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), metadata.mode() & 0o777));
        if metadata.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// By a umask that closes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_leaves_is_its_own() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let log = node.path("web.log");
    let web = service("web", "proxy", &["10.9.0.100:80"])
        .unprobed()
        .table(
            "http",
            format_args!("access-log = {{ format = \"common\", path = \"{}\" }}", log.display()),
        )
        .backend("10.9.0.11:80");
    node.configure(&format!("{}{web}", node.head("eth0")));
    let start = || {
        let mut command = Command::new("sh");
        node.namespace.confine(&mut command);
        let line = "umask 0; exec \"$0\" run -c \"$1\"";
        command
            .args(["-c", line])
            .arg(fulcrum().get_program())
            .arg(node.path("fulcrum.toml"));
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    };
    let daemon = node.try_start_as(start()).await.unwrap();
    let ask = || {
        let mut stream = TcpStream::connect("10.9.0.100:80")?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read_to_end(&mut Vec::new())
    };
    node.outside.run_inside(ask).unwrap().unwrap();
    until("the access log is there", || log.exists());
    assert_eq!((mode(&node.path("socket")), mode(&log)), (0o600, 0o640));
    let closed = || {
        for (folder, files) in [("bpf", 10), ("state", 1)] {
            let folder = node.path(folder);
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
            let found = modes(&folder);
            assert!(found.len() >= files, "{found:?}");
            for (path, mode) in found {
                assert_eq!(
                    mode & 0o177,
                    if path.is_dir() { 0o100 } else { 0 },
                    "{mode:o} {}",
                    path.display()
                );
            }
        }
    };
    closed();
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    // What was left open is closed, as far as nobody else can have to do with it.
    let open = |folder: &str, mode| fs::set_permissions(node.path(folder), fs::Permissions::from_mode(mode)).unwrap();
    open("bpf", 0o777);
    open("state", 0o777);
    let said = node.try_start_as(start()).await.err().unwrap();
    assert!(
        said.contains("so to what the next start believes") && said.contains("chmod go= "),
        "{said}"
    );
    open("state", 0o700);
    let daemon = node.try_start_as(start()).await.unwrap();
    closed();
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
}

/// What would be found out by a reload is found out at the start.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_root_may_not_read_are_refused_at_once() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    node.configure(&proxy(&node, ""));
    let file = node.path("fulcrum.toml");
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let output = node.run("run");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success()
            && said.contains("permission denied")
            && said.contains("what lets root read everything"),
        "{said}"
    );
}
