//! What those say who look for weaknesses for a living: testssl.sh of TLS, and slowhttptest of clients that are in no hurry.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use lb_tests::gate::{self, Gate};
use lb_tests::peers::{ended, nginx, output};
use lb_tests::proxied::{Proxied, vip};
use lb_tests::segment::{Process, v4};
use lb_tests::toml::service;
use serde_json::Value;

const WEB: SocketAddr = SocketAddr::new(v4(11), 8080);

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
const OF_THE_CERTIFICATE: [(&str, &str); 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_in_the_default_configuration() {
    if gate::root_with(&["testssl", "openssl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let web = service("web", "proxy", &[vip(443)])
        .unprobed()
        .table("tls", lab.certificates())
        .backend(WEB);
    let _daemon = lab.start(web).await;
    let json = lab.segment.node.path("testssl.json");
    let mut testssl = Command::new("testssl");
    testssl
        .args(["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none"])
        .args([
            "--protocols",
            "--std",
            "--fs",
            "--server-preference",
            "--server-defaults",
            "--headers",
        ])
        .args(["--vulnerable", "--jsonfile"])
        .arg(&json)
        .arg(format!("https://{}/", vip(443)))
        .env("HOME", lab.segment.node.path(""));
    let begun = Instant::now();
    let ended = ended(&lab.segment.client, &mut testssl);
    let text = fs::read_to_string(&json).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    println!("{} findings in {:?}", findings.len(), begun.elapsed());
    let said = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let mut bad = Vec::new();
    for finding in &findings {
        let (id, severity) = (said(finding, "id"), said(finding, "severity"));
        if !["OK", "INFO"].contains(&&*severity) && !OF_THE_CERTIFICATE.iter().any(|(known, _)| *known == id) {
            bad.push(format!("{id}: {severity}: {}", said(finding, "finding")));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // It has come as far as to judge.
    for id in ["TLS1_3", "FS", "heartbleed", "ROBOT", "HSTS"] {
        assert!(
            findings.iter().any(|finding| said(finding, "id") == id),
            "no {id} in {text}"
        );
    }
}

/// A mode of slowhttptest, and what it asks for.
struct Attack {
    name: &'static str,
    options: &'static [&'static str],
    path: &'static str,
}

/// Connections of each attack.
const CONNECTIONS: &str = "500";

const ATTACKS: [Attack; 3] = [
    Attack {
        name: "slow headers",
        options: &["-H", "-i", "1", "-x", "24"],
        path: "/",
    },
    Attack {
        name: "slow body",
        options: &["-B", "-i", "5", "-s", "8192", "-x", "24"],
        path: "/",
    },
    Attack {
        name: "slow read",
        options: &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"],
        path: "/large",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_sent_away_and_others_served() {
    if gate::root_with(&["slowhttptest", "curl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let node = &lab.segment.node;
    let timeouts = "timeouts = { client-header = \"3s\", client-body = \"3s\", idle = \"3s\" }";
    let plain = service("plain", "proxy", &[vip(80)])
        .unprobed()
        .table("http", timeouts)
        .backend(WEB);
    let tls = service("tls", "proxy", &[vip(443)])
        .unprobed()
        .table("http", timeouts)
        .table("tls", lab.certificates())
        .backend(WEB);
    let _daemon = lab.start(format!("{plain}{tls}")).await;
    for (number, attack) in ATTACKS.iter().enumerate() {
        for scheme in ["http", "https"] {
            let address = vip(if scheme == "http" { 80 } else { 443 });
            let url = format!("{scheme}://{address}{}", attack.path);
            let prefix = node.path(&format!("slow{number}{scheme}")).display().to_string();
            let mut slow = Command::new("slowhttptest");
            slow.args(attack.options).args([
                "-c",
                CONNECTIONS,
                "-r",
                "250",
                "-l",
                "40",
                "-p",
                "3",
                "-g",
                "-o",
                &prefix,
            ]);
            let begun = Instant::now();
            let said = output(&lab.segment.client, slow.args(["-u", &url]));
            let took = begun.elapsed();
            let csv = fs::read_to_string(format!("{prefix}.csv")).unwrap();
            println!("{} {scheme} took {took:?}:\n{csv}\n{}", attack.name, said.len());
            // Its own words: whether its probes were answered in every second, and why it has ended.
            let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|row| row.split(',').collect()).collect();
            assert!(
                rows.len() > 1 && rows.iter().all(|row| row[4] != "0"),
                "{}: {csv}",
                attack.name
            );
            assert!(said.contains("No open connections left"), "{}: {said}", attack.name);
            let answered = lab.ask(&["-m", "5", &format!("{scheme}://{address}/")]);
            assert_eq!(answered, "hello\n");
        }
    }
}
