//! What monitoring sees of a daemon: curl and Prometheus in its namespace, and somebody outside.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::gate::{self, Gate};
use lb_tests::netns::TestNamespace;
use lb_tests::node::{DEADLINE, Node, refused};
use lb_user::net::Net;

/// `web` has a backend outside, which nobody probes; nobody answers the probes of `api`.
const SERVICES: &str = r#"
[[service]]
name = "web"
address = "10.9.0.100:80"
mode = "dsr"
[service.health]
kind = "none"
[[service.backend]]
name = "web1"
address = "10.9.0.2:80"
weight = 3
[[service]]
name = "api"
address = "10.9.0.101:80"
mode = "dsr"
[service.health]
interval = "2s"
timeout = "1s"
[[service.backend]]
name = "api1"
address = "10.9.0.66:80"
"#;

/// Families that only `nat` has, of a backend that is reached.
const NAT: &str = r#"
[[service]]
name = "nat"
address = "10.9.0.102:80"
mode = "nat"
[service.health]
kind = "none"
[[service.backend]]
name = "web1"
address = "10.9.0.11:8080"
"#;

/// Runs curl in a namespace; status code and body.
fn curl(namespace: &TestNamespace, arguments: &[&str]) -> (u16, String) {
    let mut curl = Command::new("curl");
    namespace.confine(&mut curl);
    let output = curl
        .args(["-sS", "--globoff", "--max-time", "10", "-w", "\n%{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

/// Asks the daemon from its own namespace.
fn get(node: &Node, path: &str) -> (u16, String) {
    curl(&node.namespace, &[&format!("http://127.0.0.1:9465{path}")])
}

/// The value of the sample that `series` names.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{metrics}"))
        .parse()
        .unwrap()
}

async fn until(what: &str, node: &Node, wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !wanted() {
        assert!(Instant::now() < deadline, "not in time: {what}\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A machine with somebody outside who has 10.9.0.2.
async fn node() -> Node {
    let node = Node::new().await;
    let net = Net::inside(&node.outside).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    net.add_address(eth0, "10.9.0.2".parse().unwrap(), 24).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_follow_what_happens() {
    if gate::root_with(&["curl", "promtool"]) == Gate::Skip {
        return;
    }
    let node = node().await;
    // The kernel does not give up on who has that address: nothing is known of api1 for as long as its first probe takes.
    let net = Net::inside(&node.namespace).unwrap();
    let eth0 = net.index("eth0").await.unwrap();
    let neighbours = net.handle().neighbours();
    let entry = neighbours.add(eth0, "10.9.0.66".parse().unwrap());
    let entry = entry.link_layer_address(&[2, 0, 0, 0, 0, 66]);
    entry.execute().await.unwrap();
    let slow = SERVICES.replace("\"2s\"", "\"8s\"").replace("\"1s\"", "\"8s\"");
    let good = format!("{}{slow}", node.head("eth0"));
    node.configure(&good);
    let daemon = node.start().await;

    // Nobody knows of api1 until its first probe has timed out.
    let (code, why) = get(&node, "/readyz");
    assert_eq!(code, 503);
    assert!(why.contains("api/api1"), "{why}");
    assert_eq!(get(&node, "/healthz"), (200, "ok\n".to_owned()));
    until("ready", &node, || get(&node, "/readyz") == (200, "ready\n".to_owned())).await;

    let outside = |port: &str| {
        // Nobody answers; sending is enough.
        let url = format!("http://10.9.0.100:{port}/");
        drop(curl(&node.outside, &["--max-time", "1", &url]));
    };
    until("packets for web1 are counted", &node, || {
        outside("80");
        value(
            &get(&node, "/metrics").1,
            "fulcrum_backend_new_flows_total{service=\"web\",backend=\"web1\"}",
        ) > 0.0
    })
    .await;
    outside("81");
    let (code, text) = get(&node, "/metrics");
    assert_eq!(code, 200);
    let value = |series: &str| value(&text, series);
    let of = |family: &str, service: &str, backend: &str| {
        value(&format!(
            "fulcrum_backend_{family}{{service=\"{service}\",backend=\"{backend}\"}}"
        ))
    };
    assert!(of("packets_total", "web", "web1") >= of("new_flows_total", "web", "web1"));
    assert!(of("bytes_total", "web", "web1") >= 54.0 * of("packets_total", "web", "web1"));
    assert!(value("fulcrum_drops_total{reason=\"undeclared\"}") >= 1.0);
    assert_eq!((of("up", "web", "web1"), of("up", "api", "api1")), (1.0, 0.0));
    assert_eq!(
        (of("slots", "web", "web1"), of("weight", "web", "web1")),
        (16384.0, 3.0)
    );
    assert_eq!(of("next_hop_resolved", "web", "web1"), 1.0);
    assert_eq!(value("fulcrum_service_backends_up{service=\"api\"}"), 0.0);
    assert!(of("probe_duration_seconds", "api", "api1") > 0.0);
    assert!(value("fulcrum_backend_probes_total{service=\"api\",backend=\"api1\",outcome=\"failure\"}") >= 1.0);
    assert_eq!(value("fulcrum_interface_info{interface=\"eth0\",mode=\"native\"}"), 1.0);
    assert_eq!(value("fulcrum_fault"), 0.0);
    assert!(!text.contains("10.9.0.2\""), "no client's address");
    promtool(&text);

    // Reloads: one refused, one taken.
    let reloads = |result: &str| {
        let text = get(&node, "/metrics").1;
        let count = self::value(&text, &format!("fulcrum_config_reloads_total{{result=\"{result}\"}}"));
        (count, self::value(&text, "fulcrum_config_last_reload_success"))
    };
    assert_eq!((reloads("accepted"), reloads("refused")), ((0.0, 1.0), (0.0, 1.0)));
    node.configure(&good.replace("weight", "wait"));
    until("a bad file is counted", &node, || reloads("refused") == (1.0, 0.0)).await;
    node.configure(&good.replace("socket =", "listen = \"127.0.0.1:9466\"\nsocket ="));
    until("a fixed key is counted", &node, || reloads("refused") == (2.0, 0.0)).await;
    assert!(node.log().contains("[admin] listen cannot change"), "{}", node.log());
    node.configure(&good.replace("weight = 3", "weight = 4"));
    until("a good file is counted", &node, || reloads("accepted") == (1.0, 1.0)).await;

    // Too large a head, over TCP as over the socket.
    let large = format!("X-Large: {}", "x".repeat(20_000));
    assert_eq!(
        curl(&node.namespace, &["-H", &large, "http://127.0.0.1:9465/metrics"]).0,
        431
    );
    assert_eq!(
        curl(&node.namespace, &["-d", "x", "http://127.0.0.1:9465/metrics"]).0,
        405
    );
    let socket = node.path("socket");
    let over_socket = curl(
        &node.namespace,
        &["--unix-socket", socket.to_str().unwrap(), "http://x/readyz"],
    );
    assert_eq!(over_socket, (200, "ready\n".to_owned()));
    drop(daemon);
}

/// `promtool check metrics` finds nothing.
fn promtool(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// Prometheus asks for OpenMetrics and parses it strictly.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_takes_every_family() {
    if gate::root_with(&["curl", "prometheus"]) == Gate::Skip {
        return;
    }
    let node = node().await;
    let router = "[[vrrp]]\nname = \"VI_1\"\ninterface = \"eth0\"\nrouter-id = 1\npriority = 100\naddresses = [\"10.9.0.200\"]\n\
                  [bgp]\nannounce = [\"10.9.0.100\"]\n";
    let key = node.path("key");
    fs::write(&key, [9; 32]).unwrap();
    let peers = format!(
        "[peers]\nnodes = {{ lb1 = \"10.9.0.1:8473\", lb2 = \"10.9.0.2:8473\" }}\nkey-file = \"{}\"\n",
        key.display()
    );
    let protection = "[protection]\nenforcement = \"observe\"\n";
    node.configure(&format!(
        "{}{SERVICES}{NAT}{router}{peers}{protection}",
        node.head_with_seed("eth0")
    ));
    let daemon = node.start().await;
    let config = "scrape_configs:\n- job_name: fulcrum\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
                  static_configs:\n  - targets: ['127.0.0.1:9465']\n";
    fs::write(node.path("prometheus.yml"), config).unwrap();
    let mut prometheus = Command::new("prometheus");
    node.namespace.confine(&mut prometheus);
    let log = fs::File::create(node.path("prometheus.log")).unwrap();
    let prometheus = prometheus
        .arg(format!("--config.file={}", node.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", node.path("tsdb").display()))
        .args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"])
        .stderr(log)
        .spawn()
        .unwrap();
    let _prometheus = Killed(prometheus);
    let query = |query: &str| {
        let url = format!("http://127.0.0.1:9090/api/v1/query?query={query}");
        let (_, text) = curl(&node.namespace, &[&url]);
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    };
    // Nobody shows a certificate here, which tests/tests/mysql.rs sees, and there is no proxy, so none is ordered either.
    let proxy = ["_http_", "_tls_", "_access_log_", "_syn_cookie", "_acme_"];
    let shown = |name: &str| !name.contains("_certificate_") && !proxy.iter().any(|part| name.contains(part));
    let deadline = Instant::now() + DEADLINE;
    loop {
        // All in one answer: of a scrape that takes too long Prometheus keeps nothing, and forgets what it had.
        let names = query("count%20by%20(__name__)%20({job=\"fulcrum\"})");
        let has = |name: &str| names.iter().any(|series| series["metric"]["__name__"] == name);
        let families = lb_user::metrics::FAMILIES.iter().map(|family| family.name);
        let missing: Vec<_> = families.filter(|name| shown(name) && !has(name)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "Prometheus lacks {missing:?}\n{}",
            node.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let meta = curl(
        &node.namespace,
        &["http://127.0.0.1:9090/api/v1/metadata?metric=fulcrum_service"],
    )
    .1;
    assert!(meta.contains("\"info\""), "OpenMetrics was asked for: {meta}");
    drop(daemon);
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_api_until_another_one_takes_its_place() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let node = node().await;
    let file = node.path("token");
    let head = format!(
        "{}listen = \"[::]:9465\"\ntoken-file = \"{}\"\n",
        node.head("eth0"),
        file.display()
    );
    node.configure(&format!("{head}{SERVICES}"));
    fs::write(&file, "the first token of this node\n").unwrap();
    let check = node.run("check");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && said.contains("without blanks"), "{said}");
    let (first, second) = ("the-first-token-of-this-node", "the-second-token-of-this-node");
    fs::write(&file, first).unwrap();
    let _daemon = node.start().await;
    let ask = |token: &str, more: &[&str]| {
        let bearer = format!("Authorization: Bearer {token}");
        let arguments = [
            &["-H", &bearer],
            more,
            &["http://10.9.0.1:9465/api/v1/services/web/backends/web1"],
        ]
        .concat();
        curl(&node.outside, &arguments).0
    };
    let drain = [
        "-X",
        "PATCH",
        "-H",
        "Content-Type: application/json",
        "-d",
        "{\"state\":\"drain\"}",
    ];
    assert_eq!(
        (ask(first, &[]), ask(first, &drain), ask(second, &drain)),
        (200, 200, 401)
    );
    let web1 = node.client().status().await.unwrap().services[0].backends[0].clone();
    assert_eq!(web1.state, lb_user::api::types::AdminState::Drain);

    // One that is none is refused, and the first stays; then the second takes its place.
    fs::write(&file, "short").unwrap();
    let refused = node.client().reload().await.unwrap_err().to_string();
    assert!(
        refused.contains("16 characters at least") && !refused.contains("short"),
        "{refused}"
    );
    assert_eq!((ask(first, &[]), ask("short", &[])), (200, 401));
    fs::write(&file, second).unwrap();
    node.client().reload().await.unwrap();
    assert_eq!((ask(first, &[]), ask(second, &[])), (401, 200));
    assert!(!node.log().contains("-token-of-this-node"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_outside_sees_numbers_only() {
    if gate::root_with(&["curl"]) == Gate::Skip {
        return;
    }
    let node = node().await;
    let head = node.head("eth0") + "listen = \"[::]:9465\"\n";
    node.configure(&format!("{head}{SERVICES}"));
    let daemon = node.start().await;
    let outside = |arguments: &[&str]| curl(&node.outside, arguments);
    let (code, text) = outside(&["http://10.9.0.1:9465/metrics"]);
    assert!(code == 200 && text.contains("fulcrum_backend_up"), "{code} {text}");
    assert_eq!(outside(&["http://10.9.0.1:9465/healthz"]).0, 200);
    for arguments in [
        &["http://10.9.0.1:9465/api/v1/status"][..],
        &["-X", "POST", "http://10.9.0.1:9465/api/v1/status"],
        &["-H", "Host: localhost", "http://10.9.0.1:9465/api/v1/status"],
        &["http://10.9.0.1:9465/"],
    ] {
        let (code, problem) = outside(arguments);
        assert!(
            code == 403 && problem.contains("no [admin] token-file"),
            "{arguments:?}: {code} {problem}"
        );
    }
    let status = get(&node, "/api/v1/status");
    assert!(status.0 == 200 && status.1.contains("\"lb1\""), "{status:?}");
    assert_eq!(
        curl(&node.namespace, &["-X", "POST", "http://[::1]:9465/api/v1/status"]).0,
        403
    );
    drop(daemon);
    // Switched off: nobody listens.
    node.configure(&format!("{}listen = \"\"\n{SERVICES}", node.head("eth0")));
    let _daemon = node.start().await;
    assert_eq!(get(&node, "/healthz").0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_not_to_be_had_keeps_it_from_starting() {
    if gate::root() == Gate::Skip {
        return;
    }
    let node = Node::new().await;
    let run = |file: &str| node.command(&["run", "-c", &node.path(file).to_string_lossy()]);
    let head = node.head("eth0") + "listen = \"10.9.0.77:9465\"\n";
    node.configure(&format!("{head}{SERVICES}"));
    let text = refused(&mut run("fulcrum.toml"));
    for part in [
        "`[admin] listen`",
        "10.9.0.77:9465",
        "fulcrum.toml:8:10",
        "no interface",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    assert!(!node.path("socket").exists() && !node.log().contains("attached"));

    node.configure(&format!("{}{SERVICES}", node.head("eth0")));
    let _daemon = node.start().await;
    let other = |name: &str| node.path(name).display().to_string();
    let second = node
        .head("eth0")
        .replace(&other("bpf"), &other("bpf2"))
        .replace(&other("socket"), &other("socket2"));
    fs::write(node.path("second.toml"), second).unwrap();
    let text = refused(&mut run("second.toml"));
    for part in ["`[admin] listen`", "127.0.0.1:9465", "second.toml", "another fulcrum"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}
