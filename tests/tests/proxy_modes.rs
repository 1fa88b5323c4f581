//! One service that is moved from `nat` to `proxy` and back by editing the file: the same clients are served before and
//! after. And what is seen of it meanwhile: status, metrics, a drain, and the death of a backend.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::authority::Authority;
use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::node::DEADLINE;
use lb_tests::peers::{nginx, output};
use lb_tests::proxied::listening;
use lb_tests::segment::{Process, Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::{BackendStatus, Health, Status};

/// Bytes of the file that takes long: more than there is room for on the way to somebody who does not read on.
const LARGE: u64 = 64 << 20;

/// The same servers, authority and clients in every mode.
struct Shop {
    segment: Segment,
    authority: Authority,
}

impl Shop {
    /// Servers that speak TLS themselves, as `nat` needs them.
    fn serve(&self, number: u8) -> Process {
        let node = &self.segment.node;
        let certificate = self.authority.issue(&format!("web{number}.pem"), &["shop.example"]);
        let (certificate, files) = (certificate.display(), node.path("files"));
        fs::create_dir_all(&files).unwrap();
        fs::File::create(files.join("large")).unwrap().set_len(LARGE).unwrap();
        let address = backend(number);
        let http = format!(
            "server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate};\n\
             location / {{ return 200 \"web{number}\\n\"; }}\n\
             location = /large {{ root {}; }} }}",
            files.display()
        );
        nginx(
            &self.segment.backends[usize::from(number) - 1],
            &node.path(&format!("nginx{number}")),
            http,
            address,
        )
    }

    /// One word makes the difference, and what only the proxy has to know.
    fn configure(&self, mode: &str) {
        let node = &self.segment.node;
        let mut web = service("web", mode, &[SocketAddr::new(VIPS[0], 443)])
            .table("health", "interval = \"1s\"\ntimeout = \"1s\"\nfall = 2");
        if mode == "proxy" {
            let certificate = self.authority.issue("shop.pem", &["shop.example"]);
            web = web
                .table("tls", format_args!("certificates = [\"{}\"]", certificate.display()))
                .table(
                    "upstream",
                    format_args!(
                        "tls = {{ ca = \"{}\", server-name = \"shop.example\" }}",
                        self.authority.file.display()
                    ),
                );
        }
        for number in [1, 2] {
            web = web.backend_with(backend(number), format_args!("name = \"web{number}\""));
        }
        node.configure(&format!("{}{web}", node.head("eth0")));
    }

    /// curl as every client of the shop runs it.
    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "60", "--fail", "--fail-early", "--resolve"])
            .arg(format!("shop.example:443:{}", VIPS[0]))
            .arg("--cacert")
            .arg(&self.authority.file);
        curl
    }

    /// How many of `count` requests each server answers, each request over a connection of its own.
    fn spread(&self, count: usize) -> [usize; 2] {
        let mut curl = self.curl();
        curl.args(["-H", "Connection: close", "--http1.1"]);
        let said = output(
            &self.segment.client,
            curl.arg(format!("https://shop.example/?[1-{count}]")),
        );
        let spread = ["web1", "web2"].map(|name| said.lines().filter(|line| *line == name).count());
        assert_eq!(spread.iter().sum::<usize>(), count, "{said}");
        spread
    }

    /// Begins to fetch the large file, and returns when some of it has come. Nobody reads the rest until its end is waited
    /// for, so it is under way for as long as the test wants.
    fn begin(&self) -> Download {
        let mut curl = self.curl();
        curl.arg("https://shop.example/large");
        let mut process = Process::start(&self.segment.client, curl.stderr(Stdio::piped()));
        let mut first = [0; 1];
        process.take_output_into(&mut first);
        Download(process)
    }
}

/// A file under way.
struct Download(Process);

impl Download {
    /// Is it not yet here?
    fn is_under_way(&mut self) -> bool {
        self.0.child.try_wait().unwrap().is_none()
    }

    /// The other side ends it, at once.
    fn breaks(mut self) {
        self.0.take_output().read_to_end(&mut Vec::new()).unwrap();
        let mut said = String::new();
        self.0.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.0.child.wait().unwrap().code(), Some(56), "{said}");
        assert!(said.contains("reset by peer"), "{said}");
    }

    /// It comes, to its last byte.
    fn finish(mut self, what: &str) {
        let mut rest = Vec::new();
        self.0.take_output().read_to_end(&mut rest).unwrap();
        let mut said = String::new();
        self.0.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = self.0.child.wait().unwrap();
        assert!(
            status.success() && rest.len() as u64 == LARGE - 1,
            "{what}: {} bytes, {said}",
            rest.len()
        );
    }
}

const fn backend(number: u8) -> SocketAddr {
    SocketAddr::new(v4(10 + number), 8443)
}

fn of<'s>(status: &'s Status, name: &str) -> &'s BackendStatus {
    let mut backends = status.services[0].backends.iter();
    backends.find(|backend| backend.name == name).unwrap()
}

/// Do both serve, in this mode?
fn serve(mode: &'static str) -> impl Fn(&Status) -> bool {
    move |status| {
        let serves = |b: &BackendStatus| b.proxy.map_or(b.slots > 0, |proxy| proxy.serves) && b.health == Health::Up;
        let web = status.services.first().filter(|web| web.mode == mode);
        web.is_some_and(|web| web.backends.iter().all(serves))
    }
}

/// The sum of the samples whose line begins so.
fn sum(metrics: &str, series: &str) -> u64 {
    let samples = metrics.lines().filter(|line| line.starts_with(series));
    let values: Vec<f64> = samples
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "no {series} in\n{metrics}");
    values.iter().sum::<f64>() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_moved_from_nat_to_proxy_and_back() {
    if gate::root_with(&["curl", "nginx"]) == Gate::Skip {
        return;
    }
    let segment = Segment::new(2).await;
    let authority = Authority::new(&segment.node.path(""), "authority");
    let shop = Shop { segment, authority };
    let node = &shop.segment.node;
    let first = shop.serve(1);
    let _second = shop.serve(2);
    shop.configure("nat");
    let daemon = node.start().await;
    node.until("both serve by nat", serve("nat")).await;
    // By chance: one time in five millions it is less.
    assert!(shop.spread(40).iter().all(|&count| count > 4));

    // To the proxy. What nat has under way is in nobody's kernel but the backend's: it is cut, and told so at once.
    let under_way = shop.begin();
    shop.configure("proxy");
    node.until("both serve by proxy", serve("proxy")).await;
    // The proxy reads files first. To try whether it listens would be a connection that is counted.
    let listens = async || !listening(daemon.pid(), 443).is_empty();
    node.until_so("the proxy listens", listens).await;
    // By turn, within each thread of the proxy.
    assert!(shop.spread(40).iter().all(|count| (18..=22).contains(count)));
    under_way.breaks();

    // Forty requests with as many handshakes, and forty more on one connection of HTTP/2.
    let mut curl = shop.curl();
    let one = curl.args(["-w", "%{http_version}\n", "https://shop.example/?[1-40]"]);
    let said = output(&shop.segment.client, one);
    assert_eq!(said.lines().filter(|line| *line == "2").count(), 40, "{said}");
    let counted = |status: &Status| {
        let requests = ["web1", "web2"].map(|name| of(status, name).proxy.unwrap().requests);
        requests.iter().sum::<u64>() == 80 && requests.iter().all(|count| (36..=44).contains(count))
    };
    let status = node.until("eighty requests are counted", counted).await;
    assert!(status.services[0].is_proxied() && status.fault.is_none(), "{status:#?}");
    let shown = node.command(&["status", "--socket", &node.path("socket").to_string_lossy()]);
    let shown = output(&node.namespace, &mut { shown });
    assert!(
        shown.contains("  REQUESTS  ") && shown.contains("\n  web1  "),
        "{shown}"
    );
    let metrics = || {
        let mut curl = Command::new("curl");
        output(&node.namespace, curl.args(["-sS", "http://127.0.0.1:9465/metrics"]))
    };
    let expected = [
        ("fulcrum_http_requests_total{service=\"web\",version=\"1\"}", 40),
        ("fulcrum_http_requests_total{service=\"web\",version=\"2\"}", 40),
        ("fulcrum_http_responses_total{service=\"web\",class=\"2xx\"}", 80),
        ("fulcrum_http_responses_total{service=\"web\",class=\"5xx\"}", 0),
        ("fulcrum_http_request_duration_seconds_count{service=\"web\"}", 80),
        ("fulcrum_http_connections_accepted_total{service=\"web\"}", 41),
        ("fulcrum_http_connections_open{service=\"web\"}", 0),
        // Each of two curls resumes its own session.
        ("fulcrum_tls_handshakes_total{service=\"web\",kind=\"full\"}", 2),
        ("fulcrum_tls_handshakes_total{service=\"web\",kind=\"resumed\"}", 39),
        ("fulcrum_tls_handshakes_total{service=\"web\",kind=\"failed\"}", 0),
        ("fulcrum_http_backend_requests_total{service=\"web\"", 80),
        ("fulcrum_http_backend_latency_seconds_count{service=\"web\"", 80),
        ("fulcrum_http_backend_failures_total{service=\"web\"", 0),
        ("fulcrum_http_backend_active_requests{service=\"web\"", 0),
    ];
    // A client has its answer before that is counted as given, and goes before its connection is closed here.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = metrics();
        let other = expected.iter().find(|(series, value)| sum(&seen, series) != *value);
        let Some((series, value)) = other else { break };
        assert!(Instant::now() < deadline, "{series} is not {value}:\n{seen}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // A drain waits for the request under way, which ends well, and nothing new comes.
    let begun = shop.begin();
    let busy = |s: &Status| {
        ["web1", "web2"]
            .iter()
            .any(|name| of(s, name).proxy.unwrap().active == 1)
    };
    let status = node.until("it is seen", busy).await;
    let drained = ["web1", "web2"]
        .into_iter()
        .find(|name| of(&status, name).proxy.unwrap().active == 1)
        .unwrap();
    let socket = node.path("socket").display().to_string();
    let mut drain = node.command(&[
        "drain",
        &format!("web/{drained}"),
        "--wait",
        "--json",
        "--socket",
        &socket,
    ]);
    let mut drain = drain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    node.until("it drains", |s| !of(s, drained).proxy.unwrap().serves).await;
    let other = if drained == "web1" { [0, 40] } else { [40, 0] };
    assert_eq!(shop.spread(40), other);
    assert!(drain.try_wait().unwrap().is_none(), "a request is under way");
    begun.finish("what began before the drain");
    let waited = drain.wait_with_output().unwrap();
    assert!(waited.status.success(), "{waited:?}");
    let end: serde_json::Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!(
        (&end["outcome"], &end["flows_left"]),
        (&"drained".into(), &0.into()),
        "{end}"
    );
    let enable = node.command(&["enable", &format!("web/{drained}"), "--socket", &socket]);
    output(&node.namespace, &mut { enable });
    node.until("both serve again", serve("proxy")).await;

    // A backend dies while clients ask, and none of them fails.
    let answers = |http: &str, more: &[&str]| {
        let mut curl = shop.curl();
        // Without a buffer, so that it is known how far it has come.
        curl.args([http, "-N"]).args(more);
        Process::start(
            &shop.segment.client,
            curl.arg("https://shop.example/?[1-400]").stderr(Stdio::piped()),
        )
    };
    let mut clients = [
        answers("--http1.1", &["-H", "Connection: close"]),
        answers("--http1.1", &[]),
        answers("--http2", &[]),
    ];
    for client in &mut clients {
        for _ in 0..20 {
            assert!(client.line().starts_with("web"));
        }
    }
    drop(first);
    for mut client in clients {
        let mut rest = String::new();
        client.take_output().read_to_string(&mut rest).unwrap();
        let good = rest.lines().filter(|line| ["web1", "web2"].contains(line)).count();
        let mut said = String::new();
        client.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(good, 380, "{rest}{said}\n{}", node.log());
    }
    node.until("its probes say so", |s| of(s, "web1").health == Health::Down)
        .await;
    let seen = metrics();
    assert!(
        sum(
            &seen,
            "fulcrum_http_backend_retries_total{service=\"web\",backend=\"web1\""
        ) > 0,
        "{seen}"
    );
    assert_eq!(
        sum(&seen, "fulcrum_http_responses_total{service=\"web\",class=\"5xx\"}"),
        0
    );

    // And back. What the proxy has under way is the kernel's, and stays with it.
    let _first = shop.serve(1);
    node.until("both serve", serve("proxy")).await;
    let mut under_way = shop.begin();
    shop.configure("nat");
    node.until("both serve by nat again", serve("nat")).await;
    assert!(shop.spread(40).iter().all(|&count| count > 4));
    assert!(under_way.is_under_way(), "it would prove nothing");
    under_way.finish("what began by proxy");
    assert!(!node.log().contains("ERROR"), "{}", node.log());
}
