//! Real clients of the proxy: curl in every version of HTTP, h2load, Python's httpx and websockets, gRPC, and a browser.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::peers::{nginx, output, python, python_server};
use lb_tests::proxied::{Proxied, vip};
use lb_tests::segment::{Process, v4};
use lb_tests::toml::{Service, service};
use serde_json::Value;

const FILES: SocketAddr = SocketAddr::new(v4(11), 8080);
const MIRROR: SocketAddr = SocketAddr::new(v4(12), 8081);
const ECHO: SocketAddr = SocketAddr::new(v4(12), 8082);
const GRPC: SocketAddr = SocketAddr::new(v4(12), 8083);

const MIB: usize = 1 << 20;

/// A page that says in its text how it came here, if its script and its style sheet and what that asks for came, too.
const PAGE: &str = r#"<!doctype html><title>lab</title><link rel="stylesheet" href="/style.css"><p id="said">nothing</p>
<script src="/script.js"></script>"#;
const SCRIPT: &str = r#"
document.addEventListener('DOMContentLoaded', async () => {
    const [page] = performance.getEntriesByType('navigation');
    const answers = await Promise.all([...Array(20).keys()].map(n => fetch('/mirror/' + n).then(a => a.json())));
    const style = getComputedStyle(document.getElementById('said')).color;
    const paths = answers.map(answer => answer.path).join(' ');
    document.getElementById('said').textContent = `${page.nextHopProtocol} ${style} ${paths}`;
});"#;
const STYLE: &str = "p { color: rgb(1, 2, 3) }";

/// A service at a port of the VIPs, whose paths lead to the other servers.
fn web(name: &str, port: u16, http: &str) -> Service {
    let vips = VIPS.map(|ip| SocketAddr::new(ip, port));
    service(name, "proxy", &vips)
        .unprobed()
        .table("http", http)
        .backend(FILES)
}

fn routes(service: &Service) -> String {
    let route = |(path, pool)| format!("[[service.route]]\npath-prefix = \"{path}\"\npool = \"{pool}\"\n");
    let routes = [("/mirror", "mirror"), ("/echo", "echo"), ("/lab.Echo", "grpc")].map(route);
    format!("{service}{}", routes.concat())
}

fn pool(name: &str, address: SocketAddr, version: &str) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\n[pool.health]\nkind = \"none\"\n[pool.upstream]\nhttp = \"{version}\"\n\
         [[pool.backend]]\naddress = \"{address}\"\n"
    )
}

/// The servers, as they are needed, and the services: with TLS at 443, plain at 80, and behind somebody who says who the
/// client is at 81.
async fn start(lab: &Proxied) -> (Vec<Process>, lb_tests::node::Daemon) {
    let node = &lab.segment.node;
    let files = node.path("files");
    fs::create_dir(&files).unwrap();
    let megabyte: Vec<u8> = (0..MIB).map(|n| ((n * n) >> 7) as u8).collect();
    for (name, content) in [
        ("1m", &megabyte[..]),
        ("index.html", b"hello\n"),
        ("page.html", PAGE.as_bytes()),
        ("script.js", SCRIPT.as_bytes()),
        ("style.css", STYLE.as_bytes()),
    ] {
        fs::write(files.join(name), content).unwrap();
    }
    let http = format!(
        "types {{ text/html html; text/css css; text/javascript js; }}\n\
         server {{ listen {FILES}; root {}; }}",
        files.display()
    );
    let at = |address: SocketAddr| [address.ip().to_string(), address.port().to_string()];
    let [first, second] = [&lab.segment.backends[0], &lab.segment.backends[1]];
    let [ip, mirror] = at(MIRROR);
    let [_, echo] = at(ECHO);
    let servers = vec![
        nginx(first, &node.path("nginx"), http, FILES),
        python_server(second, "mirror_server.py", &[&ip, &mirror]),
        python_server(second, "websocket_echo.py", &[&ip, &echo]),
        python_server(second, "grpc_server.py", &[&GRPC.to_string()]),
    ];
    let tls = web("tls", 443, "").table("tls", lab.certificates());
    let plain = web("plain", 80, "h2c = true");
    let told = web("told", 81, "proxy-protocol = [\"10.8.0.10/32\"]");
    let pools = pool("mirror", MIRROR, "1.1") + &pool("echo", ECHO, "1.1") + &pool("grpc", GRPC, "2");
    let services = [tls, plain, told].map(|service| routes(&service)).concat();
    let daemon = lab.segment.start(services + &pools).await;
    (servers, daemon)
}

/// The programs and modules that the servers and clients need.
fn gate() -> Gate {
    gate::root_with_python(
        &["curl", "nginx", "h2load", "chromium-headless-shell"],
        &["httpx", "h2", "websockets", "grpc"],
    )
}

/// Version of HTTP, connections that it took, and status of each answer.
const WRITE: &str = "%{http_version} %{num_connects} %{http_code}\n";

#[tokio::test(flavor = "multi_thread")]
async fn curl_in_every_version() {
    if gate() == Gate::Skip {
        return;
    }
    let lab = Proxied::new(2).await;
    let _running = start(&lab).await;
    let node = &lab.segment.node;
    let (tls, plain) = (format!("https://{}/", vip(443)), format!("http://{}/", vip(80)));
    let plain6 = format!("http://[{}]/", VIPS[1]);

    // Two requests each: with one connection where the client wants to keep it, and else with two.
    let kept = ["1", "0"];
    let closed = ["1", "1"];
    for (url, options, version, connections) in [
        (&plain, &["--http1.0"][..], "1.0|1.1", closed),
        (&plain, &["--http1.0", "-H", "Connection: keep-alive"], "1.0|1.1", kept),
        (&plain, &["--http1.1"], "1.1", kept),
        (&plain6, &["--http1.1"], "1.1", kept),
        (&plain, &["--http1.1", "-H", "Connection: close"], "1.1", closed),
        // An offer of an upgrade that no browser has ever made: it may be ignored (RFC 9113 §3.1).
        (&plain, &["--http2"], "1.1", kept),
        (&tls, &["--http1.0"], "1.0|1.1", closed),
        (&tls, &["--http1.1"], "1.1", kept),
        (&tls, &["--http1.1", "--no-alpn"], "1.1", kept),
        (&tls, &["--http2"], "2", kept),
    ] {
        let said = lab.ask(&[options, &["-w", WRITE, "-o", "/dev/null", url, "-o", "/dev/null", url]].concat());
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
        for (line, connections) in lines.iter().zip(connections) {
            assert!(
                version.split('|').any(|version| version == line[0]),
                "{options:?}: {said}"
            );
            assert_eq!(line[1..], [connections, "200"], "{url} {options:?}: {said}");
        }
        assert_eq!(lines.len(), 2);
    }

    // Once: curl 7.88 cannot use such a connection twice, whoever serves.
    let said = lab.ask(&["--http2-prior-knowledge", "-w", WRITE, "-o", "/dev/null", &plain]);
    assert_eq!(said, "2 1 200\n");

    // HEAD has a length and no body, and the connection goes on.
    let large = format!("{tls}1m");
    for version in ["--http1.1", "--http2"] {
        let said = lab.ask(&[version, "-I", "-w", WRITE, &large, &large]);
        assert_eq!(
            said.to_lowercase()
                .matches(&format!("content-length: {MIB}\r\n"))
                .count(),
            2,
            "{said}"
        );
        assert!(said.lines().any(|line| line.ends_with(" 0 200")), "{said}");
    }

    // A part, the whole, and as much up again.
    let file = node.path("files/1m");
    let whole = fs::read(&file).unwrap();
    let got = node.path("got");
    let (file, to) = (file.display().to_string(), got.display().to_string());
    for (url, options) in [
        (&plain, &["--http1.0"][..]),
        (&plain, &["--http1.1"]),
        (&plain, &["--http2-prior-knowledge"]),
        (&tls, &["--http1.0"]),
        (&tls, &["--http1.1"]),
        (&tls, &["--http2"]),
    ] {
        let large = format!("{url}1m");
        let part = lab.ask(&[options, &["-r", "1000-1099", "-o", &to, "-w", "%{http_code}", &large]].concat());
        assert_eq!(
            (&*part, fs::read(&got).unwrap()),
            ("206", whole[1000..1100].to_vec()),
            "{options:?}"
        );
        let _ = lab.ask(&[options, &["--fail", "-o", &to, &large]].concat());
        assert!(fs::read(&got).unwrap() == whole, "{url} {options:?}");
        let up = format!("{url}mirror/up");
        let said = lab.ask(&[options, &["-T", &file, &up]].concat());
        let heard: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(
            (&heard["length"], &heard["method"]),
            (&MIB.into(), &"PUT".into()),
            "{heard}"
        );
    }
    // Of a length that nobody knows.
    let chunked = [
        "-H",
        "Transfer-Encoding: chunked",
        "-T",
        &file,
        &format!("{tls}mirror/up"),
        "--http1.1",
    ];
    let heard: Value = serde_json::from_str(&lab.ask(&chunked)).unwrap();
    assert_eq!(heard["length"], MIB, "{heard}");
    assert_eq!(heard["headers"]["content-length"], Value::Null, "{heard}");

    // Who asks whether it may go on is told so, before it has sent anything.
    let mut curl = lab.curl(&[
        "-v",
        "--http1.1",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "20",
    ]);
    curl.args(["-T", &file, &format!("{tls}mirror/up")]);
    let ended = lb_tests::peers::ended(&lab.segment.client, &mut curl);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        ended.status.success() && said.contains("< HTTP/1.1 100 Continue"),
        "{said}"
    );
    let heard: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(heard["length"], MIB, "{heard}");

    // The declared source has to say who its client is, and nobody else may.
    let told = format!("http://{}/mirror/", vip(81));
    let heard: Value = serde_json::from_str(&lab.ask(&["--haproxy-protocol", &told])).unwrap();
    assert_eq!(heard["headers"]["x-forwarded-for"], "10.8.0.10", "{heard}");
    // If it does not, the connection ends without a word.
    assert!([52, 56].contains(&lab.fails(&[&told])));
    let another = |options: &[&str]| {
        let mut curl = lab.curl(options);
        output(
            &lab.segment.backends[0],
            curl.args(["-w", "%{http_code}", "-o", "/dev/null", &told]),
        )
    };
    assert_eq!([another(&[]), another(&["--haproxy-protocol"])], ["200", "400"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_and_other_languages() {
    if gate() == Gate::Skip {
        return;
    }
    let lab = Proxied::new(2).await;
    let (_servers, _daemon) = start(&lab).await;
    let client = &lab.segment.client;
    let (tls, ca) = (vip(443).to_string(), lab.authority.file.display().to_string());

    for url in [format!("https://{tls}/"), format!("http://{}/", vip(80))] {
        let mut h2load = Command::new("h2load");
        let said = output(client, h2load.args(["-n", "2000", "-c", "10", "-m", "20", &url]));
        let requests = said.lines().find(|line| line.starts_with("requests: ")).unwrap();
        let expected = "requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert_eq!(requests, expected, "{said}");
    }
    output(
        client,
        &mut python("httpx_stream.py", &[&format!("https://{tls}/mirror"), &ca]),
    );
    output(
        client,
        &mut python("websocket_talk.py", &[&format!("wss://{tls}/echo"), &ca]),
    );
    output(client, &mut python("grpc_client.py", &[&tls, &ca]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_loads_a_page() {
    if gate() == Gate::Skip {
        return;
    }
    let lab = Proxied::new(2).await;
    let (_servers, _daemon) = start(&lab).await;
    let node = &lab.segment.node;
    let mut browser = Command::new("chromium-headless-shell");
    browser
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--ignore-certificate-errors",
            "--virtual-time-budget=10000",
        ])
        .arg(format!("--user-data-dir={}", node.path("browser").display()))
        .env("HOME", node.path(""))
        .args(["--dump-dom", &format!("https://{}/page.html", vip(443))]);
    let page = output(&lab.segment.client, &mut browser);
    let paths: Vec<String> = (0..20).map(|n| format!("/mirror/{n}")).collect();
    let said = format!("<p id=\"said\">h2 rgb(1, 2, 3) {}</p>", paths.join(" "));
    assert!(page.contains(&said), "{page}");
}
