//! No secret is in the log, whatever is logged.

#![allow(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use lb_tests::gate::{self, Gate};
use lb_tests::node::Node;
use lb_tests::toml::service;
use nix::sys::signal::Signal;
use rcgen::generate_simple_self_signed;

const TOKEN: &str = "token-that-nobody-sees";
const WRONG: &str = "wrong-token-that-nobody-sees";
const HEADER: &str = "Bearer header-that-nobody-sees";
const PASSWORD: &str = "password-that-nobody-sees";
const SEED: &[u8; 16] = b"seed-nobody-sees";
const PEERS: &[u8; 32] = b"key-of-peers-that-nobody-sees-00";

/// Bytes as logs may have them: as text, in hexadecimal, and as a list.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}").trim_matches(['[', ']']).to_owned();
    let mut forms = vec![hex.to_uppercase(), hex, list];
    forms.push(String::from_utf8_lossy(secret).into_owned());
    forms
}

/// Asks the daemon over TCP, with this token.
fn ask(node: &Node, token: &str) -> String {
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nHost: 10.9.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let asked = move || {
        let mut stream = TcpStream::connect("10.9.0.1:9465").unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    node.namespace.run_inside(asked).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_everything_has_no_secret() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let shop = generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = shop.signing_key.serialize_pem();
    let files: [(&str, &[u8]); 5] = [
        ("token", TOKEN.as_bytes()),
        ("password", PASSWORD.as_bytes()),
        ("seed", SEED),
        ("key", PEERS),
        ("shop.pem", &[shop.cert.pem().as_bytes(), key.as_bytes()].concat()),
    ];
    for (name, bytes) in files {
        fs::write(node.path(name), bytes).unwrap();
        fs::set_permissions(node.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let path = |name: &str| node.path(name).display().to_string();
    let head = node.head("eth0").replacen(
        "[admin]",
        &format!(
            "hash-seed-file = \"{}\"\n[admin]\nlisten = \"10.9.0.1:9465\"\ntoken-file = \"{}\"",
            path("seed"),
            path("token")
        ),
        1,
    );
    let peers = format!(
        "[peers]\nnodes = {{ lb1 = \"10.9.0.1:8473\", lb2 = \"10.9.0.11:8473\" }}\nkey-file = \"{}\"\n",
        path("key")
    );
    let shop = service("shop", "proxy", &["10.9.0.100:443"])
        .table("tls", format_args!("certificates = [\"{}\"]", path("shop.pem")))
        .table(
            "health",
            format_args!("kind = \"http\"\nheaders = {{ authorization = \"{HEADER}\" }}"),
        )
        .backend("10.9.0.11:80");
    let database = service("db", "dsr", &["10.9.0.101:3306"])
        .table(
            "health",
            format_args!(
                "kind = \"mysql\"\nuser = \"fulcrum\"\npassword-file = \"{}\"",
                path("password")
            ),
        )
        .backend("10.9.0.11:3306");
    let file = format!("{head}{peers}{shop}{database}");
    node.configure(&file);
    let config = node.path("fulcrum.toml");
    let command = node.command(&["run", "-c", &config.to_string_lossy(), "--log-level", "trace"]);
    let daemon = node.try_start_as(command).await.unwrap();
    assert!(ask(&node, TOKEN).starts_with("HTTP/1.1 200"));
    assert!(ask(&node, WRONG).starts_with("HTTP/1.1 401"));
    let mut curl = std::process::Command::new("curl");
    node.outside.confine(&mut curl);
    let resolve = "shop.example:443:10.9.0.100";
    curl.args(["-sk", "--max-time", "10", "--resolve", resolve, "https://shop.example/"]);
    assert!(curl.output().unwrap().status.success(), "an answer, of an error");
    node.configure(&file.replace("lb2 = \"10.9.0.11:8473\"", "lb2 = \"10.9.0.12:8473\""));
    let reload = node.run("reload");
    assert!(reload.status.success(), "{reload:?}");
    let refused = |s: &lb_user::api::types::Status| s.services.iter().flat_map(|s| &s.backends).all(|b| b.slots == 0);
    node.until("probes have failed", refused).await;
    assert_eq!(daemon.end(Signal::SIGTERM), Some(0));
    let log = node.log();
    assert!(
        log.contains("TRACE") && log.contains("configuration reloaded"),
        "it tells a lot: {log}"
    );
    let texts = [TOKEN, WRONG, HEADER, PASSWORD].map(str::as_bytes);
    let secrets = texts.into_iter().chain([&SEED[..], &PEERS[..]]).flat_map(forms);
    let words = SEED
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word).to_string());
    let lines = key.lines().filter(|line| !line.starts_with("--")).map(str::to_owned);
    for secret in secrets.chain(words).chain(lines) {
        let found = log.lines().find(|line| line.contains(&secret));
        assert_eq!(found, None, "{secret}");
    }
}
