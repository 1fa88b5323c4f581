//! What those say who look for weaknesses for a living: testssl.sh of TLS, and slowhttptest of clients that are in no hurry.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::gate::{self, Gate};
use lb_tests::peers::{ended, nginx, output, python_server};
use lb_tests::proxied::{Proxied, vip};
use lb_tests::segment::{Process, v4};
use lb_tests::toml::service;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const WEB: SocketAddr = SocketAddr::new(v4(11), 8080);
const MIRROR: SocketAddr = SocketAddr::new(v4(11), 8081);

/// More than the kernels on the way hold.
const LARGE: u64 = 64 << 20;

fn server(lab: &Proxied) -> Process {
    let node = &lab.segment.node;
    let files = node.path("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("index.html"), "hello\n").unwrap();
    fs::File::create(files.join("large")).unwrap().set_len(LARGE).unwrap();
    let http = format!(
        "server {{ listen {WEB}; server_tokens off; root {}; }}",
        files.display()
    );
    nginx(&lab.segment.backends[0], &node.path("nginx"), http, WEB)
}

/// Findings of testssl.sh that are not the proxy's, and why.
const OF_OTHERS: [(&str, &str); 6] = [
    (
        "sessionresumption_ticket",
        "a busy machine is too slow for it; see tests/proxy_tls.rs",
    ),
    ("engine_problem", "it is about the OpenSSL that testssl.sh runs"),
    ("cert_chain_of_trust", "an authority of our own signed the certificate"),
    ("cert_revocation", "and says nowhere what it has revoked"),
    (
        "HSTS",
        "only who owns the name may say it: `hsts` in [service.tls], below",
    ),
    (
        "security_headers",
        "they are the application's; `headers` in [service.http] can give them, below",
    ),
];

/// What the owner of a name may say of it.
const HSTS: &str = "hsts = \"365d\"";
const SECURITY_HEADERS: &str = r#"headers = [
    { on = "response", set = "x-frame-options", value = "DENY" },
    { on = "response", set = "x-content-type-options", value = "nosniff" },
    { on = "response", set = "content-security-policy", value = "default-src 'self'" },
    { on = "response", set = "referrer-policy", value = "no-referrer" },
]"#;

/// Runs testssl.sh with these sections to its end: id, severity and text of each finding.
fn testssl(lab: &Proxied, port: u16, sections: &[&str]) -> Vec<[String; 3]> {
    let json = lab.segment.node.path(&format!("testssl{port}.json"));
    let mut testssl = Command::new("testssl");
    testssl
        .args(["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"])
        .args(sections)
        .arg("--jsonfile")
        .arg(&json)
        .arg(format!("https://{}/", vip(port)))
        .env("HOME", lab.segment.node.path(""))
        // Seconds for an answer, after which it would call the server silent.
        .env("HEADER_MAXSLEEP", "60");
    let begun = Instant::now();
    let ended = ended(&lab.segment.client, &mut testssl);
    let text = fs::read_to_string(&json).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    println!("{sections:?}: {} findings in {:?}", findings.len(), begun.elapsed());
    let field = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let all = findings
        .iter()
        .map(|f| ["id", "severity", "finding"].map(|key| field(f, key)));
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_in_the_default_configuration() {
    if gate::root_with(&["testssl", "openssl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let web = |name, port, hsts, http| {
        service(name, "proxy", &[vip(port)])
            .unprobed()
            .table("tls", format_args!("{}\n{hsts}", lab.certificates()))
            .table("http", http)
            .backend(WEB)
    };
    let _daemon = lab
        .segment
        .start(format!(
            "{}{}",
            web("default", 443, "", ""),
            web("owned", 444, HSTS, SECURITY_HEADERS)
        ))
        .await;
    let sections = [
        "--protocols",
        "--std",
        "--fs",
        "--server-preference",
        "--server-defaults",
        "--headers",
        "--vulnerable",
    ];
    let findings = testssl(&lab, 443, &sections);
    let is_good = |severity: &str| ["OK", "INFO"].contains(&severity);
    let of_others = |id: &str| OF_OTHERS.iter().any(|(known, _)| *known == id);
    let bad: Vec<_> = findings
        .iter()
        .filter(|[id, severity, _]| !is_good(severity) && !of_others(id))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // It has come as far as to judge.
    for wanted in ["TLS1_3", "PFS", "heartbleed", "ROBOT", "HSTS", "cipher_order"] {
        assert!(
            findings.iter().any(|[id, ..]| id == wanted),
            "no {wanted} in {findings:#?}"
        );
    }
    let findings = testssl(&lab, 444, &["--headers"]);
    let bad: Vec<_> = findings
        .iter()
        .filter(|[id, severity, _]| !is_good(severity) && id != "engine_problem")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(
        findings
            .iter()
            .any(|[id, severity, _]| id.starts_with("HSTS") && severity == "OK"),
        "{findings:#?}"
    );
}

/// A mode of slowhttptest, and what it asks for. Those that pause do so for as long as [`DURATION`]: nothing that they
/// read or write gives them more time.
struct Attack {
    name: &'static str,
    options: &'static [&'static str],
    path: &'static str,
}

/// Connections of each attack.
const CONNECTIONS: u64 = 400;

/// The proxy's timeouts, and how long after that the last has to be gone on a machine with much else to do.
const TIMEOUTS: &str = "timeouts = { client-header = \"8s\", client-body = \"8s\", idle = \"8s\" }";
const TIMEOUT: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(10);

/// Seconds that slowhttptest waits for the answer to a probe, and from one to the next: less than [`TIMEOUT`], so that a
/// server that answers others only when the slow ones have gone is told from one that serves them, and more than a machine
/// stands still that has much else to do.
const PROBE: &str = "7";

/// Seconds of an attack that nobody ends: more than are waited for its connections.
const DURATION: &str = "60";

const ATTACKS: [Attack; 3] = [
    Attack {
        name: "slow headers",
        options: &["-H", "-i", "1", "-x", "24"],
        path: "/",
    },
    Attack {
        name: "slow body",
        options: &["-B", "-i", DURATION, "-s", "8192", "-x", "24"],
        path: "/mirror/up",
    },
    Attack {
        name: "slow read",
        options: &["-X", "-w", "512", "-y", "1024", "-n", DURATION, "-z", "32"],
        path: "/large",
    },
];

/// The sum of a family's samples of a service.
fn count(lab: &Proxied, family: &str, service: &str) -> u64 {
    let mut curl = Command::new("curl");
    let metrics = output(
        &lab.segment.node.namespace,
        curl.args(["-sS", "http://127.0.0.1:9465/metrics"]),
    );
    let series = format!("{family}{{service=\"{service}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_sent_away_and_others_served() {
    if gate::root_with(&["slowhttptest", "curl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let (ip, port) = (MIRROR.ip().to_string(), MIRROR.port().to_string());
    let _mirror = python_server(&lab.segment.backends[0], "mirror_server.py", &[&ip, &port]);
    let node = &lab.segment.node;
    let route = "[[service.route]]\npath-prefix = \"/mirror\"\npool = \"mirror\"\n";
    let http = service("http", "proxy", &[vip(80)])
        .unprobed()
        .table("http", TIMEOUTS)
        .backend(WEB);
    let https = service("https", "proxy", &[vip(443)])
        .unprobed()
        .table("http", TIMEOUTS)
        .table("tls", lab.certificates())
        .backend(WEB);
    let pool = format!(
        "[[pool]]\nname = \"mirror\"\nhealth = {{ kind = \"none\" }}\nbackend = [{{ address = \"{MIRROR}\" }}]\n"
    );
    let _daemon = lab.segment.start(format!("{http}{route}{https}{route}{pool}")).await;
    for (number, attack) in ATTACKS.iter().enumerate() {
        for scheme in ["http", "https"] {
            let address = vip(if scheme == "http" { 80 } else { 443 });
            let url = format!("{scheme}://{address}{}", attack.path);
            let prefix = node.path(&format!("slow{number}{scheme}")).display().to_string();
            let before = count(&lab, "fulcrum_http_connections_accepted_total", scheme);
            let mut slow = Command::new("slowhttptest");
            slow.args(attack.options)
                .args(["-c", &CONNECTIONS.to_string(), "-r", "200", "-l", DURATION]);
            slow.args(["-p", PROBE, "-g", "-o", &prefix, "-u", &url])
                .stdin(Stdio::null());
            let mut slow = Process::start(&lab.segment.client, &mut slow);

            // All of them come, and leave again: their time is over, not that of the attack.
            let begun = Instant::now();
            let mut come = None;
            let gone = loop {
                let open = count(&lab, "fulcrum_http_connections_open", scheme);
                let accepted = count(&lab, "fulcrum_http_connections_accepted_total", scheme) - before;
                if come.is_none() && accepted >= CONNECTIONS {
                    come = Some(begun.elapsed());
                }
                // One is that of a probe.
                if come.is_some() && open <= 1 {
                    break begun.elapsed();
                }
                assert!(
                    begun.elapsed() < 3 * PATIENCE,
                    "{}: {accepted} came, {open} are open",
                    attack.name
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let come = come.unwrap();
            assert!(gone < come + TIMEOUT + PATIENCE, "{come:?} {gone:?}");
            assert_eq!(lab.ask(&[&format!("{scheme}://{address}/")]), "hello\n");

            // What it has received until now it would read for a while, connections or not.
            kill(Pid::from_raw(slow.child.id().cast_signed()), Signal::SIGINT).unwrap();
            // Its own words: whether its probes were answered, as known in every second.
            let mut said = String::new();
            slow.take_output().read_to_string(&mut said).unwrap();
            assert!(slow.child.wait().unwrap().success(), "{said}");
            let csv = fs::read_to_string(format!("{prefix}.csv")).unwrap();
            let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|row| row.split(',').collect()).collect();
            assert!(
                rows.len() > 1 && rows.iter().all(|row| row[4] != "0"),
                "{}: {csv}",
                attack.name
            );
            println!(
                "{} {scheme}: {CONNECTIONS} connections within {come:.1?}, gone after {gone:.1?}, {} seconds, available",
                attack.name,
                rows.len() - 1
            );
        }
    }
}
