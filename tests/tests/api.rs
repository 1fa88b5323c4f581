//! Every operation of docs/openapi.json, asked of a running node.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Node};
use lb_tests::ordered::PATIENCE;
use lb_tests::pebble::{PROGRAMS, Pebble};
use lb_tests::peers::PYTHON;
use lb_tests::proxied::vip;
use lb_tests::segment::Segment;
use lb_tests::toml::{Service, service};
use lb_user::api::types::Status;
use serde_json::{Value, json};

/// A service of each kind.
fn services() -> String {
    let web = service("web", "dsr", &["10.9.0.100:80"]).unprobed();
    let nat = service("nat", "nat", &["10.9.0.102:80"]).table("health", "interval = \"2s\"\ntimeout = \"1s\"");
    let shop = service("shop", "proxy", &["10.9.0.103:80"]);
    let web = web.backend_with("10.9.0.11:80", "name = \"web1\"");
    let nat = nat.backend_with("10.9.0.12:8080", "name = \"db\"");
    let shop = shop.backend_with("10.9.0.13:8080", "name = \"shop1\"");
    format!("{web}{nat}{shop}")
}

/// One whose certificate is ordered, at the VIP that every name leads to.
fn ordered(pebble: &Pebble) -> Service {
    let acme = pebble.acme(&["ordered.example"], ", challenge = \"tls-alpn-01\"");
    let service = service("ordered", "proxy", &[vip(443)]).table("tls", acme);
    service.unprobed().backend("10.9.0.13:8080")
}

const BACKEND: &str = "/api/v1/services/{service}/backends/{backend}";
const EVENTS: &str = "/api/v1/events";
const TRACE: &str = "/api/v1/trace/{trace}";
const WEB1: &str = "/api/v1/services/web/backends/web1";
const NOBODY: &str = "/api/v1/services/web/backends/nobody";
const FLOW: &str = "?protocol=tcp&source=198.51.100.7:4000&destination=";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A node that is asked over its Unix socket.
struct Asked<'a> {
    node: &'a Node,
    document: Value,
    /// Operations that have answered with 200.
    answered: BTreeSet<String>,
    /// What the document is to be compared with.
    answers: Vec<Value>,
}

impl Asked<'_> {
    /// Asks `path`, an instance of `template`, and returns what comes with the status that is expected.
    fn ask(
        &mut self,
        method: &str,
        (template, path): (&str, &str),
        body: Option<(&str, &str)>,
        expected: u16,
    ) -> String {
        let operation = &self.document["paths"][template][method.to_lowercase()]["operationId"];
        let operation = operation
            .as_str()
            .unwrap_or_else(|| panic!("{method} {template}"))
            .to_owned();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--globoff", "--max-time", "10", "-X", method]);
        curl.args(["-w", "\n%{http_code} %{content_type}", "--unix-socket"]);
        curl.arg(self.node.path("socket"));
        if let Some((kind, body)) = body {
            curl.args(["-H", &format!("Content-Type: {kind}"), "--data-binary", body]);
        }
        let output = curl.arg(format!("http://localhost{path}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, end) = text.rsplit_once('\n').unwrap();
        let (status, kind) = end.split_once(' ').unwrap();
        assert_eq!(status, expected.to_string(), "{method} {path}: {body}");
        if expected == 200 {
            self.answered.insert(operation.clone());
        }
        self.answers
            .push(json!({ "operation": operation, "status": expected, "type": kind, "body": body }));
        body.to_owned()
    }

    /// Follows the events, which do not end, until one of each kind has come.
    fn follow(&mut self) {
        let mut stream = UnixStream::connect(self.node.path("socket")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {EVENTS} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let (mut text, mut part) = (String::new(), vec![0; 1 << 16]);
        while !["hello", "history", "status"]
            .iter()
            .all(|event| text.contains(&format!("event: {event}\ndata: {{")))
        {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{text}");
            text += &String::from_utf8_lossy(&part[..read]);
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("\r\ncontent-type: text/event-stream\r\n"),
            "{head}"
        );
        self.answered.insert("events".to_owned());
        self.answers
            .push(json!({ "operation": "events", "status": 200, "type": "text/event-stream", "body": body }));
    }

    fn get(&mut self, path: &str) -> String {
        self.ask("GET", (path, path), None, 200)
    }

    fn send(&mut self, method: &str, path: (&str, &str), body: &Value, expected: u16) -> String {
        let body = body.to_string();
        self.ask(method, path, Some(("application/json", &body)), expected)
    }
}

#[tokio::test]
async fn every_operation_of_the_document_is_answered_as_it_says() {
    if let Gate::Skip = gate::root_with_python(&PROGRAMS, &["jsonschema"]) {
        return;
    }
    let segment = Segment::new(0).await;
    let node = &segment.node;
    let pebble = Pebble::start(node, 86_400, 0).await;
    let file = format!("{}{}{}", node.head("eth0"), services(), ordered(&pebble));
    node.configure(&file);
    let _daemon = node.start().await;
    let settled = |status: &Status| status.fault.is_none();
    node.until("nothing to put right", settled).await;
    let text = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    let mut asked = Asked {
        node,
        document: serde_json::from_str(&text).unwrap(),
        answered: BTreeSet::new(),
        answers: Vec::new(),
    };

    for path in ["/metrics", "/healthz", "/api/v1/status"] {
        asked.get(path);
    }
    node.until("every backend has been probed", |status| {
        let mut backends = status.services.iter().flat_map(|service| &service.backends);
        backends.all(|backend| backend.health != lb_user::api::types::Health::Unknown)
    })
    .await;
    asked.get("/readyz");
    assert_eq!(asked.get("/api/v1/openapi.json"), text);

    asked.follow();
    let sd = "/api/v1/sd";
    for (query, status) in [
        ("", 200),
        ("?service=nat&port=9100", 200),
        ("?service=nobody", 404),
        ("?port=x", 400),
    ] {
        asked.ask("GET", (sd, &format!("{sd}{query}")), None, status);
    }

    let explain = "/api/v1/explain";
    for destination in [
        "10.9.0.100:80",
        "10.9.0.102:80",
        "10.9.0.103:80",
        "10.9.0.100:81",
        "192.0.2.1:80",
    ] {
        asked.ask("GET", (explain, &format!("{explain}{FLOW}{destination}")), None, 200);
    }
    asked.ask("GET", (explain, &format!("{explain}{FLOW}nowhere")), None, 400);

    asked.ask("GET", (BACKEND, WEB1), None, 200);
    asked.ask("GET", (BACKEND, NOBODY), None, 404);
    asked.send("PATCH", (BACKEND, WEB1), &json!({ "state": "drain", "weight": 3 }), 200);
    asked.send("PATCH", (BACKEND, WEB1), &json!({ "weight": 65536 }), 422);
    asked.send("PATCH", (BACKEND, NOBODY), &json!({ "weight": 1 }), 404);

    let reload = "/api/v1/reload";
    asked.ask("POST", (reload, reload), None, 200);
    let plan = "/api/v1/plan";
    let toml = "application/toml";
    let other = file.replace("10.9.0.11:80", "10.9.0.13:80");
    let named = format!("{plan}?file=other.toml");
    asked.ask("POST", (plan, &named), Some((toml, &other)), 200);
    asked.ask("POST", (plan, plan), Some((toml, "[node]\n")), 422);
    asked.ask("POST", (plan, plan), Some(("text/plain", "")), 415);

    let traces = "/api/v1/trace";
    let wanted = json!({ "service": "web", "reasons": [], "foreign": false });
    let begun = asked.send("POST", (traces, traces), &wanted, 200);
    let begun: Value = serde_json::from_str(&begun).unwrap();
    let trace = format!("{traces}/{}", begun["trace"].as_str().unwrap());
    asked.ask("GET", (TRACE, &trace), None, 200);
    asked.ask("DELETE", (TRACE, &trace), None, 200);
    asked.ask("GET", (TRACE, &trace), None, 404);

    drains(&mut asked);
    denies(&mut asked);
    certificates(&mut asked, node).await;
    levels(&mut asked, node);

    let operations = asked.document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|path| path.as_object().unwrap().values());
    let all: BTreeSet<_> = operations
        .map(|o| o["operationId"].as_str().unwrap().to_owned())
        .collect();
    let left: Vec<_> = all.difference(&asked.answered).collect();
    assert!(left.is_empty(), "nobody has asked for {left:?}");

    let answers = node.path("answers.json");
    fs::write(&answers, serde_json::to_vec(&asked.answers).unwrap()).unwrap();
    let mut check = Command::new(PYTHON);
    check.arg(root().join("tests/scripts/openapi.py"));
    let output = check
        .arg(root().join("docs/openapi.json"))
        .arg(&answers)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// It drains when it is told to, and not by what is wrong.
fn drains(asked: &mut Asked<'_>) {
    let path = "/api/v1/node";
    assert!(asked.get(path).contains(r#""draining": false"#));
    asked.send("PATCH", (path, path), &json!({ "drain": true }), 422);
    for draining in [true, false] {
        let said = asked.send("PATCH", (path, path), &json!({ "draining": draining }), 200);
        assert!(said.contains(&format!("\"draining\": {draining}")), "{said}");
    }
}

/// Who is denied is listed, until that is ended.
fn denies(asked: &mut Asked<'_>) {
    let list = "/api/v1/denies";
    let (deny, net) = ("/api/v1/denies/{prefix}", "/api/v1/denies/198.51.100.0%2F24");
    let (web, nobody) = (format!("{net}?service=web"), format!("{net}?service=nobody"));
    asked.send("PUT", (deny, net), &json!({}), 200);
    asked.send("PUT", (deny, net), &json!({ "for_seconds": 3600 }), 200);
    asked.send("PUT", (deny, &web), &json!({ "for_seconds": 60 }), 200);
    asked.send("PUT", (deny, &nobody), &json!({}), 404);
    asked.send("PUT", (deny, net), &json!({ "for_seconds": 0 }), 422);
    asked.send("PUT", (deny, "/api/v1/denies/nobody"), &json!({}), 400);
    assert_eq!(asked.get(list).matches("\"198.51.100.0/24\"").count(), 2);
    for path in [&web, net] {
        asked.ask("DELETE", (deny, path), None, 200);
    }
    asked.ask("DELETE", (deny, net), None, 404);
    assert!(asked.get(list).contains("\"denies\": []"));
}

/// A certificate is listed, put in place, ordered anew and taken back, and its account gets another key.
async fn certificates(asked: &mut Asked<'_>, node: &Node) {
    let list = "/api/v1/certificates";
    let attempts = async |least: u64| {
        let done = |status: &Status| {
            let first = status.certificates.first();
            first.is_some_and(|one| one.origin == "issued" && one.doing == "waiting" && one.attempts >= least)
        };
        let status = node.until_within(PATIENCE, "a certificate is issued", done).await;
        status.certificates[0].attempts
    };
    let first = attempts(1).await;
    assert!(asked.get(list).contains("\"ordered.example\""));
    let pem = fs::read_to_string(node.path("state/acme/certificates/ordered.pem")).unwrap();
    let put = "/api/v1/certificates/{service}";
    let kind = "application/x-pem-file";
    asked.ask("PUT", (put, &format!("{list}/ordered")), Some((kind, &pem)), 200);
    asked.ask("PUT", (put, &format!("{list}/ordered")), Some((kind, "none")), 422);
    asked.ask("PUT", (put, &format!("{list}/web")), Some((kind, &pem)), 404);
    let mut post = |what: &str, service: &str, query: &str, expected| {
        let (template, path) = (format!("{put}/{what}"), format!("{list}/{service}/{what}{query}"));
        asked.ask("POST", (&template, &path), None, expected);
    };
    for what in ["account-key", "renewal", "revocation"] {
        post(what, "web", "", 404);
    }
    post("account-key", "ordered", "", 200);
    post("renewal", "ordered", "", 200);
    attempts(first + 1).await;
    post("revocation", "ordered", "?reason=whim", 400);
    post("revocation", "ordered", "?reason=superseded", 200);
}

/// What is logged changes at once, by the API and by the command, and not by what is wrong.
fn levels(asked: &mut Asked<'_>, node: &Node) {
    let path = "/api/v1/log-level";
    let reload = "/api/v1/reload";
    let again = "configuration read again";
    let reads = |node: &Node| node.log().matches(again).count();
    assert!(asked.get(path).contains(r#""levels": "info""#));
    let before = reads(node);
    asked.send("POST", (path, path), &json!({ "levels": "warn" }), 200);
    asked.ask("POST", (reload, reload), None, 200);
    assert_eq!(reads(node), before, "it says info: {}", node.log());
    asked.send("POST", (path, path), &json!({ "levels": "loud" }), 422);
    asked.send("POST", (path, path), &json!({ "level": "info" }), 422);
    let config = node.path("fulcrum.toml");
    let mut command = node.command(&["log-level", "info,lb_user::health=debug", "-c"]);
    let output = command.arg(&config).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "info,lb_user::health=debug\n");
    asked.ask("POST", (reload, reload), None, 200);
    assert_eq!(reads(node), before + 1, "{}", node.log());
}
