//! The files of `monitoring/`: rules, alerts and dashboard, by Prometheus' own tools and in a lab with a real Prometheus.
//!
//! Past 500 lines: one lab, and every fault in it.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lb_tests::gate::{self, Gate};
use lb_tests::lab::{LabTurn, fulcrum};
use lb_tests::monitoring;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LAB: &str = "monitored";

/// Longest wait for an alert to fire: something that was taken off is looked for every 30 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// What takes floods from sources that are not there; their cases are those of promtool.
const FLOODS: [&str; 2] = ["FulcrumSynFlood", "FulcrumSourcesEvicted"];

const RULES: &str = "prometheus/fulcrum.rules.yml";

#[test]
fn promtool_finds_nothing() {
    if gate::root_with(&["promtool"]) == Gate::Skip {
        return;
    }
    for args in [
        ["check", "rules", RULES],
        ["test", "rules", "prometheus/fulcrum.rules.test.yml"],
        ["check", "config", "prometheus/prometheus.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(args).current_dir(monitoring::folder()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&said));
    }
    // What is commented out at the end is as good.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("fulcrum.token"), "").unwrap();
    fs::write(path("fulcrum.rules.yml"), monitoring::file(RULES)).unwrap();
    let text = monitoring::file("prometheus/prometheus.yml");
    let (before, job) = text.split_once("  # - job_name: backends").unwrap();
    let job = job
        .replace("\n  # ", "\n  ")
        .replace("/etc/prometheus", &folder.path().to_string_lossy());
    fs::write(path("prometheus.yml"), format!("{before}  - job_name: backends{job}")).unwrap();
    let mut promtool = Command::new("promtool");
    let output = promtool
        .args(["check", "config"])
        .arg(path("prometheus.yml"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Each alert has a case in which it fires, one in which it does not, and something to do about it.
#[test]
fn every_alert_has_cases_and_a_remedy() {
    let (rules, cases) = (
        monitoring::file(RULES),
        monitoring::file("prometheus/fulcrum.rules.test.yml"),
    );
    let document = include_str!("../../docs/monitoring.md");
    let has = |alert: &str, fires: bool| {
        let mut cases = cases.split("alertname: ").skip(1);
        cases.any(|case| {
            let (name, rest) = case.split_once('\n').unwrap();
            name == alert && rest.split("- name:").next().unwrap().contains("exp_alerts: []") != fires
        })
    };
    for alert in monitoring::named(&rules, "alert") {
        assert!(has(alert, true) && has(alert, false), "{alert} lacks a case");
        assert!(
            document.contains(&format!("| `{alert}` |")),
            "docs/monitoring.md lacks {alert}"
        );
    }
}

/// Rules and dashboard ask for nothing that is not there.
#[test]
fn every_name_is_one_of_a_family() {
    let suffixes = ["", "_bucket", "_sum", "_count"];
    let known = |name: &str| {
        let mut families = lb_user::metrics::FAMILIES.iter();
        families.any(|family| {
            let of = |suffix: &str| name.strip_suffix(suffix) == Some(family.name);
            suffixes.iter().any(|suffix| of(suffix))
        })
    };
    let rules = monitoring::file(RULES);
    let asked: String = monitoring::expressions(&monitoring::dashboard())
        .iter()
        .fold(String::new(), |text, (_, expression)| text + expression + "\n");
    let unknown = |text| monitoring::families(text).into_iter().find(|name| !known(name));
    let expressions: String = rules
        .lines()
        .filter(|line| !line.contains('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(unknown(&expressions), None, "in the rules");
    assert_eq!(unknown(&asked), None, "in the dashboard");
    let recorded = monitoring::named(&rules, "record");
    let made = asked.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    for name in made.filter(|word| word.contains(":fulcrum_")) {
        assert!(recorded.contains(name), "{name} is not recorded");
    }
}

/// The dashboard, by what Grafana's schema of dashboards (39) wants of the parts that are used here.
#[test]
fn the_dashboard_is_as_grafana_has_them() {
    let dashboard = monitoring::dashboard();
    for key in [
        "uid",
        "title",
        "description",
        "schemaVersion",
        "templating",
        "annotations",
        "time",
        "refresh",
    ] {
        assert!(!dashboard[key].is_null(), "{key}");
    }
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance", "service", "machine"]);
    let (mut ids, mut filled) = (BTreeSet::new(), BTreeSet::new());
    for panel in monitoring::panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is another's"
        );
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(filled.insert(cell), "{title} lies on another panel");
        }
        let kind = panel["type"].as_str().unwrap();
        if kind == "row" {
            assert!(panel["panels"].is_array() && panel["collapsed"].is_boolean(), "{title}");
            continue;
        }
        assert!(["stat", "timeseries", "table"].contains(&kind), "{title}: {kind}");
        assert!(
            panel["fieldConfig"]["defaults"].is_object() && panel["fieldConfig"]["overrides"].is_array(),
            "{title}"
        );
        assert!(panel["options"].is_object(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let references: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && references.len() == targets.len(), "{title}");
        for source in targets
            .iter()
            .map(|target| &target["datasource"])
            .chain([&panel["datasource"]])
        {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
    }
}

/// The dashboard is what Grafana's published types allow.
#[test]
fn the_dashboard_is_valid_by_grafanas_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana");
    let compiler = folder.join("node_modules/.bin/tsc");
    if gate::root_with(&["node"]) == Gate::Skip
        || gate::gate((!compiler.exists()).then_some("needs @grafana/schema: see `cargo xtask setup --for test`"))
            == Gate::Skip
    {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let schema = folder.join("schema");
    let check = |dashboard: &str| {
        let text =
            format!("import type {{ Dashboard }} from {schema:?};\nexport const dashboard: Dashboard = {dashboard}");
        let path = place.path().join("dashboard.ts");
        fs::write(&path, text).unwrap();
        let mut tsc = Command::new(&compiler);
        tsc.args(["--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]);
        let output = tsc.args(["--moduleResolution", "bundler"]).arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let dashboard = monitoring::file("grafana/fulcrum.json");
    assert_eq!(check(&dashboard), "");
    // It looks at values, names, and whatever is missing, down to what only one kind of panel has.
    for (right, wrong) in [
        ("\"drawStyle\": \"line\"", "\"drawStyle\": \"lines\""),
        ("\"lineWidth\": 1", "\"linewidth\": 1"),
        ("\"enable\": true,", ""),
    ] {
        assert!(dashboard.contains(right), "{right}");
        assert_ne!(check(&dashboard.replacen(right, wrong, 1)), "", "{wrong}");
    }
}

/// The lab, up.
struct Watched {
    turn: LabTurn,
    _folder: tempfile::TempDir,
    traffic: Vec<Child>,
    /// The alerts that have fired so far: what one look finds may be gone at the next.
    seen: RefCell<BTreeSet<String>>,
}

impl Watched {
    /// With rules that look back for seconds instead of minutes, and fire at once.
    fn up() -> Option<Self> {
        let turn = LabTurn::take(&[LAB])?;
        let lab = fs::read_to_string(format!("{}/labs/{LAB}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let rules = monitoring::file(RULES);
        let mut quick = String::new();
        for line in rules.lines() {
            let line = match line.trim_start().starts_with("for: ") {
                true => "        for: 0s",
                false => line,
            };
            let line = line
                .replace("[5m]", "[10s]")
                .replace("[10m]", "[15s]")
                .replace("[15m]", "[30s]");
            writeln!(quick, "{line}").unwrap();
        }
        assert!(!quick.contains("'''"));
        let asset = "asset = \"prometheus-rules\"";
        assert!(lab.contains(asset));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("monitored.toml");
        fs::write(&file, lab.replace(asset, &format!("text = '''\n{quick}'''"))).unwrap();
        let up = turn.lab(&["up", file.to_str().unwrap()]);
        let said = [up.stdout, up.stderr].concat();
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&said));
        Some(Self {
            turn,
            _folder: folder,
            traffic: Vec::new(),
            seen: RefCell::default(),
        })
    }

    fn path(&self, host: &str, name: &str) -> PathBuf {
        PathBuf::from(format!("/run/fulcrum/lab/{LAB}/hosts/{host}/{name}"))
    }

    /// Runs a command line on a host, and lets it run until the end of the test.
    fn begin(&mut self, host: &str, shell: &str) {
        let child = fulcrum().args(["lab", "exec", LAB, host, "sh", "-c", shell]).spawn();
        self.traffic.push(child.unwrap());
    }

    fn run(&self, host: &str, args: &[&str]) -> String {
        let output = self.turn.lab(&[&["exec", LAB, host], args].concat());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends everything that a host runs, at once.
    fn kill(&self, host: &str) {
        let pids = Command::new("ip")
            .args(["netns", "pids", &format!("fl-{LAB}-{host}")])
            .output()
            .unwrap();
        for pid in String::from_utf8(pids.stdout).unwrap().split_whitespace() {
            // One that has ended meanwhile is what is wanted.
            let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
        }
    }

    /// What Prometheus answers to an expression.
    fn query(&self, expression: &str) -> Vec<Value> {
        let query = format!("query={expression}");
        let text = self.run(
            "monitor",
            &[
                "curl",
                "-sSG",
                "--data-urlencode",
                &query,
                "http://monitor:9090/api/v1/query",
            ],
        );
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{expression}: {text}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The alerts that fire.
    fn alerts(&self) -> BTreeSet<String> {
        let firing = self.query("ALERTS{alertstate=\"firing\"}");
        let name = |alert: &Value| alert["metric"]["alertname"].as_str().unwrap().to_owned();
        let firing: BTreeSet<String> = firing.iter().map(name).collect();
        self.seen.borrow_mut().extend(firing.iter().cloned());
        firing
    }

    /// The end of what the node has logged.
    fn log(&self) -> String {
        let output = self.turn.lab(&["logs", LAB, "lb"]);
        let log = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; firing: {:?}; the node says:\n{}",
                self.alerts(),
                self.log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until each of these has fired, be it gone again before the next comes.
    fn until_fired(&self, alerts: &[&str]) {
        let mut awaited = alerts.to_vec();
        self.until(&format!("{alerts:?}"), || {
            let firing = self.alerts();
            awaited.retain(|&alert| !firing.contains(alert));
            awaited.is_empty()
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // With the network that they run in.
        self.kill("client");
        for child in &mut self.traffic {
            let _ = child.wait();
        }
    }
}

/// Services that make the daemon late with its probes, as nobody answers.
fn too_much() -> String {
    let mut text = String::new();
    for (name, third) in [("far1", 1), ("far2", 2)] {
        writeln!(
            text,
            "[[service]]\nname = \"{name}\"\naddress = \"10.82.0.11{third}:80\"\nmode = \"proxy\""
        )
        .unwrap();
        text += "health = { kind = \"tcp\", interval = \"500ms\", timeout = \"500ms\" }\n";
        for last in 0..600 {
            let address = format!("10.99.{}.{}:80", third * 8 + last / 200, last % 200 + 1);
            writeln!(text, "[[service.backend]]\nname = \"b{last}\"\naddress = \"{address}\"").unwrap();
        }
    }
    text
}

/// Rings that leave a sixteenth of the room for all of them.
fn large() -> String {
    let large = |number: u8| {
        format!(
            "[[service]]\nname = \"large{number}\"\naddress = \"10.82.0.{}:80\"\nmode = \"nat\"\ntable-size = 1048576\n\
             health = {{ kind = \"none\" }}\nbackend = [{{ name = \"web1\", address = \"10.82.0.11:80\", state = \"disabled\" }}]\n",
            130 + number
        )
    };
    (0..15).map(large).collect()
}

/// The file with one service alone, whose ring takes that sixteenth, which it lies in: there is no room for both.
fn grown(good: &str) -> String {
    let mut parts = good.split("[[service]]\n");
    let head = parts.next().unwrap();
    let narrow = parts.find(|service| service.contains("\"narrow\"")).unwrap();
    format!("{head}[[service]]\ntable-size = 1048576\n{narrow}")
}

/// Every panel of the dashboard has something to show, and each alert fires when its fault is there.
#[test]
fn a_real_prometheus_sees_everything_and_every_fault() {
    if gate::root_with(&[
        "curl",
        "ip",
        "keepalived",
        "nginx",
        "openssl",
        "prometheus",
        "prometheus-node-exporter",
    ]) == Gate::Skip
    {
        return;
    }
    let Some(mut lab) = Watched::up() else { return };
    lab.until("Prometheus has asked everybody", || lab.query("up == 1").len() == 3);
    // The node says which backends there are, to whoever has its token.
    let found = |service: &str| {
        lab.query(&format!("up{{job=\"backends\",service=\"{service}\"}}"))
            .len()
    };
    lab.until("Prometheus has found the backends", || {
        found("sticky") == 2 && found("secure") == 2
    });
    // A healthy node has no alert but for what is wrong with it from the start.
    let wrong = [
        "FulcrumBackendCertificateExpires",
        "FulcrumCertificateExpires",
        "FulcrumCertificateNotRenewed",
        "FulcrumOnlyObserves",
    ];
    lab.until_fired(&wrong);
    // No address has its master before a few seconds have passed.
    lab.until("nothing else is wrong", || {
        lab.alerts().iter().all(|alert| wrong.contains(&alert.as_str()))
    });

    let traffic = lab.path("client", "traffic");
    lab.begin("client", &format!("{} 2>/dev/null", traffic.display()));
    let caused = [
        "FulcrumSpreadOff",
        "FulcrumDropsRising",
        "FulcrumHttpErrors",
        "FulcrumFloodRefused",
        "FulcrumDeniedRising",
    ];
    lab.until_fired(&caused);

    let number = |sample: &Value| sample["value"][1].as_str().is_some_and(|value| value != "NaN");
    for (panel, expression) in monitoring::expressions(&monitoring::dashboard()) {
        let expression = monitoring::asked(&expression, "10s");
        lab.until(&format!("{panel}: {expression}"), || {
            lab.query(&expression).iter().any(number)
        });
    }

    // The file is refused; the program is taken off an interface, and another interface goes.
    let toml = lab.path("lb", "fulcrum.toml");
    let good = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, format!("{good}\nnonsense\n")).unwrap();
    let pin = PathBuf::from(format!("/run/fulcrum/lab/{LAB}/bpf/lb/links/eth0-native"));
    fs::remove_file(pin).unwrap();
    lab.run("lb", &["ip", "link", "delete", "eth1"]);
    // All ports of a backend, and more flows than there is room for.
    lab.begin(
        "client",
        "fulcrum lab load http://10.82.0.103/ -c 16 -d 60s --timeout 1s >/dev/null 2>&1",
    );
    lab.begin(
        "client",
        "fulcrum lab load http://10.82.0.102/ -c 8 -d 60s --new-connections >/dev/null 2>&1",
    );
    lab.until_fired(&[
        "FulcrumReloadRefused",
        "FulcrumProgramDetached",
        "FulcrumNatPortsShort",
        "FulcrumFlowTableFull",
        "FulcrumRepaired",
        // On eth1.
        "FulcrumNoMaster",
        "FulcrumVrrpFault",
        "FulcrumNotifyFailed",
    ]);

    let keepalived = lab.path("client", "keepalived");
    lab.begin(
        "client",
        &format!(
            "exec keepalived --dont-fork --log-console --vrrp --dont-respawn -f {0}.conf -p {0}.pid -r {0}.vrrp.pid 2>/dev/null",
            keepalived.display()
        ),
    );
    lab.until_fired(&["FulcrumTwoMasters"]);

    fs::write(&toml, format!("{good}\n{}", too_much())).unwrap();
    lab.until_fired(&["FulcrumProbesLate"]);
    let rings = |services: u32| {
        let loaded = format!("count(fulcrum_service_info{{instance=\"lb:9465\"}}) == {services}");
        lab.until("the file is taken", || !lab.query(&loaded).is_empty());
    };
    fs::write(&toml, format!("{good}\n{}", large())).unwrap();
    rings(22);
    lab.until("Prometheus has found what is new", || {
        !lab.query("up{job=\"backends\",service=\"large7\",backend=\"web1\"}")
            .is_empty()
    });
    fs::write(&toml, format!("{}\n{}", grown(&good), large())).unwrap();
    lab.until_fired(&["FulcrumFault"]);
    fs::write(&toml, &good).unwrap();
    rings(7);
    lab.until("all is as the file wants it", || !lab.alerts().contains("FulcrumFault"));

    lab.kill("web1");
    lab.until_fired(&["FulcrumBackendDown", "FulcrumQuorumLost"]);
    lab.kill("web2");
    lab.kill("other");
    lab.until_fired(&[
        "FulcrumNoBackend",
        "FulcrumClientsDropped",
        "FulcrumDown",
        "FulcrumPeerLost",
    ]);

    let rules = monitoring::file(RULES);
    let seen = lab.seen.borrow();
    let never: Vec<&str> = monitoring::named(&rules, "alert")
        .into_iter()
        .filter(|&alert| !seen.contains(alert) && !FLOODS.contains(&alert))
        .collect();
    assert!(never.is_empty(), "no fault made these fire: {never:?}");
}
