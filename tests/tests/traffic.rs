//! Real clients against the real daemon, in the quickstart lab: curl over IPv4 and IPv6, UDP by the shell, through
//! everything that should not be noticed.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lb_tests::lab::{LabTurn, fulcrum};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LAB: &str = "quickstart";
const FOLDER: &str = "/run/fulcrum/lab/quickstart";
const DEADLINE: Duration = Duration::from_secs(20);

/// The lab, up.
struct Lab(LabTurn);

impl Lab {
    /// Output of a command on the client.
    fn client(&self, command: &[&str]) -> Output {
        self.0.lab(&[&["exec", "quickstart/client", "--"], command].concat())
    }

    /// Who answered each of `count` requests to `url`, each over a connection of its own. All must be answered.
    fn curl(&self, url: &str, count: usize) -> BTreeMap<String, usize> {
        let mut answers = BTreeMap::new();
        // One curl makes all of them; `Connection: close` keeps it from using one connection twice.
        let range = format!("{url}?[1-{count}]");
        let output = self.client(&[
            "curl",
            "-sS",
            "-m",
            "30",
            "--fail-early",
            "-H",
            "Connection: close",
            &range,
        ]);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        for (server, _) in said.lines().filter_map(|line| line.split_once(" saw client ")) {
            *answers.entry(server.to_owned()).or_default() += 1;
        }
        assert_eq!(answers.values().sum::<usize>(), count, "{said}");
        answers
    }

    /// What a command of the daemon's prints in JSON.
    fn ask(&self, command: &str) -> serde_json::Value {
        let output = fulcrum()
            .args([
                command,
                "--json",
                "--socket",
                &format!("{FOLDER}/hosts/lb/fulcrum.sock"),
            ])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    fn status(&self) -> serde_json::Value {
        self.ask("status")
    }

    /// What the daemon says of a flow of the client to the web service; `None` when there is no daemon.
    fn explain(&self, port: u16) -> Option<serde_json::Value> {
        let output = fulcrum()
            .args([
                "explain",
                "--json",
                "--socket",
                &format!("{FOLDER}/hosts/lb/fulcrum.sock"),
                "tcp",
            ])
            .args([format!("10.77.0.10:{port}"), "10.77.0.100:80".to_owned()])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")))
    }

    /// Starts a daemon on the lab's balancer, as the lab did. `lab down` ends it, as it ends whatever runs there.
    fn start_daemon(&self) -> Child {
        let fulcrum = fulcrum();
        let log = fs::File::create(format!("{FOLDER}/log/second.log")).unwrap();
        Command::new(fulcrum.get_program())
            .args(["lab", "exec", "quickstart/lb", "--"])
            .arg(fulcrum.get_program())
            .args(["run", "-c", &format!("{FOLDER}/hosts/lb/fulcrum.toml")])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Waits until the status is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}\n{status:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends a process of the lab as an accident would.
    fn kill(&self, name: &str) {
        let record = fs::read(Path::new(FOLDER).join(format!("processes/{name}.json"))).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let pid = Pid::from_raw(i32::try_from(record["pid"].as_i64().unwrap()).unwrap());
        kill(pid, Signal::SIGKILL).unwrap();
    }
}

/// Does every backend serve?
fn all_serve(status: &serde_json::Value) -> bool {
    let services = status["services"].as_array().unwrap().iter();
    let mut backends = services.flat_map(|s| s["backends"].as_array().unwrap());
    backends.all(|b| b["slots"].as_u64().unwrap() > 0)
}

/// Is a backend down in both `web` and `web6`?
fn is_down(status: &serde_json::Value, backend: &str) -> bool {
    let services = status["services"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["protocol"] == "tcp");
    let mut found = services
        .flat_map(|s| s["backends"].as_array().unwrap())
        .filter(|b| b["name"] == backend);
    found.all(|b| b["health"] == "down")
}

const V4: &str = "http://10.77.0.100/";
const V6: &str = "http://[fd77::100]/";

#[test]
fn real_clients_notice_only_what_they_must() {
    let Some(turn) = LabTurn::take(&[LAB]) else { return };
    let up = turn.lab(&["up", LAB]);
    assert!(up.status.success(), "{up:?}");
    let lab = Lab(turn);

    // A person wants to see soon that a server is gone. Here none shall be down but the one that is killed, which refuses at
    // once, however long probes of the others take on a busy machine; the first one of a daemon decides alone.
    let config = Path::new(FOLDER).join("hosts/lb/fulcrum.toml");
    let hasty = fs::read_to_string(&config).unwrap();
    let good = hasty.replace("\"500ms\"", "\"8s\"").replace("\"400ms\"", "\"8s\"");
    let good = good.replace("fall = 2", "fall = 1");
    let patient = "interval = \"8s\"\ntimeout = \"8s\"\nrise = 1\nfall = 1\n";
    assert_eq!(good.matches(patient).count(), 2, "{good}");
    fs::write(&config, &good).unwrap();
    lab.ask("reload");
    lab.until("all serve", all_serve);

    // Both families; curl wants -g off for its range, so the brackets of IPv6 are escaped.
    assert_eq!(lab.curl(V4, 90).len(), 3);
    assert_eq!(lab.curl(&V6.replace('[', "\\[").replace(']', "\\]"), 90).len(), 3);
    // UDP, by the shell: one datagram a socket, so a flow each.
    let echo = "for i in $(seq 60); do exec 3<>/dev/udp/10.77.0.100/7; echo hi >&3; head -1 <&3; done";
    let said = String::from_utf8(lab.client(&["timeout", "20", "bash", "-c", echo]).stdout).unwrap();
    let servers: BTreeMap<&str, ()> = said.lines().map(|line| (line.split(' ').next().unwrap(), ())).collect();
    assert_eq!((said.lines().count(), servers.len()), (60, 3), "{said}");

    // `explain` knows who will answer. Ports below those that the kernel gives out are free.
    for port in 20001..20011 {
        let explained = lab.explain(port).expect("a daemon");
        let answer = lab.client(&["curl", "-sS", "--local-port", &port.to_string(), V4]);
        let answer = String::from_utf8(answer.stdout).unwrap();
        let backend = explained["backend"].as_str().unwrap();
        assert!(
            answer.starts_with(&format!("{backend} saw client 10.77.0.10:{port} ")),
            "{explained} {answer}"
        );
    }

    // A bad file changes nothing but what the status says.
    fs::write(&config, format!("{good}\n[[service]]\nname = 7\n")).unwrap();
    lab.until("the bad file is refused", |s| s["refused_reload"].is_string());
    assert_eq!(lab.curl(V4, 60).len(), 3);
    fs::write(&config, good).unwrap();
    lab.until("the good one is taken", |s| s["refused_reload"].is_null());

    // A backend dies: once its probes say so, nobody is sent there.
    lab.kill("web2.serve");
    lab.until("web2 is down", |s| is_down(s, "web2"));
    assert_eq!(lab.curl(V4, 60).into_keys().collect::<Vec<_>>(), ["web1", "web3"]);

    // The daemon dies: nobody notices, and the next one takes over as it was.
    const FLOWS: std::ops::Range<u16> = 21000..21032;
    let backend = |port| Some(lab.explain(port)?["backend"].clone());
    let before: Vec<_> = FLOWS.map(|port| backend(port).expect("a daemon")).collect();
    lab.kill("lb.fulcrum");
    assert_eq!(lab.curl(V4, 60).into_keys().collect::<Vec<_>>(), ["web1", "web3"]);
    assert_eq!(lab.curl(&V6.replace('[', "\\[").replace(']', "\\]"), 60).len(), 2);
    assert_eq!(backend(FLOWS.start), None, "nobody is there to ask");
    let taken_over = AtomicBool::new(false);
    let mut next = std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut rounds = 0;
            while !taken_over.load(Ordering::Relaxed) || rounds < 3 {
                // So few may all go to the server with the larger weight.
                let answers = lab.curl(V4, 20);
                assert!(
                    answers.keys().all(|name| ["web1", "web3"].contains(&&**name)),
                    "{answers:?}"
                );
                rounds += 1;
            }
        });
        let mut next = lab.start_daemon();
        let deadline = Instant::now() + DEADLINE;
        while backend(FLOWS.start).is_none() {
            let ended = next.try_wait().unwrap();
            if ended.is_some() || Instant::now() >= deadline {
                taken_over.store(true, Ordering::Relaxed);
                let log = fs::read_to_string(format!("{FOLDER}/log/second.log")).unwrap();
                panic!("no daemon: {ended:?}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let after: Vec<_> = FLOWS.map(|port| backend(port).expect("a daemon")).collect();
        taken_over.store(true, Ordering::Relaxed);
        requests
            .join()
            .expect("every request is answered, by a server that lives");
        assert_eq!(after, before);
        next
    });
    lab.until("it knows that web2 is down", |s| is_down(s, "web2"));
    assert_eq!(lab.curl(V4, 60).into_keys().collect::<Vec<_>>(), ["web1", "web3"]);

    let down = lab.0.lab(&["down", LAB]);
    assert!(down.status.success(), "{down:?}");
    assert!(!Path::new(FOLDER).exists());
    next.wait().unwrap();
}
