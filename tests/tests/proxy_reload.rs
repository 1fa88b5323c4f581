//! What clients of the proxy notice of reloads and of the daemon's end: nothing while they go on, and a polite word when
//! they cannot. And the access log, when it is renamed under the daemon.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lb_tests::authority::Authority;
use lb_tests::backing::VIPS;
use lb_tests::gate::{self, Gate};
use lb_tests::node::{DEADLINE, Successor};
use lb_tests::peers::{nginx, output, python, python_server};
use lb_tests::proxied::listening;
use lb_tests::segment::{Process, Segment, v4};
use lb_tests::toml::service;
use lb_user::api::types::Status;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

/// Reloads, one each second.
const RELOADS: u32 = 60;

const WEB: [SocketAddr; 2] = [SocketAddr::new(v4(11), 8080), SocketAddr::new(v4(12), 8080)];
const ECHO: SocketAddr = SocketAddr::new(v4(11), 8081);
const SLOW: SocketAddr = SocketAddr::new(v4(12), 8082);

/// Two servers, one that echoes and one that is slow, behind one service with TLS.
struct Site {
    segment: Segment,
    authority: Authority,
    _servers: Vec<Process>,
}

impl Site {
    async fn new() -> Self {
        let segment = Segment::new(2).await;
        let authority = Authority::new(&segment.node.path(""), "authority");
        let mut servers = Vec::new();
        for (number, address) in (1..).zip(WEB) {
            let http = format!("server {{ listen {address}; location / {{ return 200 \"web{number}\\n\"; }} }}");
            let folder = segment.node.path(&format!("nginx{number}"));
            servers.push(nginx(&segment.backends[number - 1], &folder, http, address));
        }
        let place = |address: SocketAddr| [address.ip().to_string(), address.port().to_string()];
        let [ip, port] = place(ECHO);
        servers.push(python_server(&segment.backends[0], "websocket_echo.py", &[&ip, &port]));
        Self {
            segment,
            authority,
            _servers: servers,
        }
    }

    /// Everything that may change between two reloads follows from the number of the `generation`.
    fn configure(&self, generation: u32) {
        let node = &self.segment.node;
        let certificate = self
            .authority
            .issue(&format!("shop{}.pem", generation % 3), &[&VIPS[0].to_string()]);
        let format = ["common", "combined", "json"][generation as usize % 3];
        let log = node.path(&format!("access{}.log", generation % 2));
        let http = format!(
            "headers = [{{ on = \"response\", set = \"x-generation\", value = \"{generation}\" }}]\n\
             access-log = {{ path = \"{}\", format = \"{format}\" }}\n\
             timeouts = {{ shutdown = \"12s\" }}",
            log.display()
        );
        let mut web = service("web", "proxy", &[SocketAddr::new(VIPS[0], 443)])
            .unprobed()
            .table("tls", format_args!("certificates = [\"{}\"]", certificate.display()))
            .table("http", http);
        for (number, address) in (1..).zip(WEB) {
            let weight = 1 + (generation * number) % 5;
            web = web.backend_with(address, format_args!("name = \"web{number}\"\nweight = {weight}"));
        }
        let mut text = format!("{}{web}", node.head("eth0"));
        for pool in ["echo", "slow"] {
            text += &format!("[[service.route]]\npath-prefix = \"/{pool}\"\npool = \"{pool}\"\n");
        }
        for (pool, address) in [("echo", ECHO), ("slow", SLOW)] {
            text += &format!(
                "[[pool]]\nname = \"{pool}\"\n[pool.health]\nkind = \"none\"\n[[pool.backend]]\naddress = \"{address}\"\n"
            );
        }
        node.configure(&text);
    }

    /// Answers to `/slow/N` after N milliseconds, and says so when it is asked.
    fn slow(&self) -> Process {
        let [ip, port] = [SLOW.ip().to_string(), SLOW.port().to_string()];
        python_server(&self.segment.backends[1], "slow_server.py", &[&ip, &port])
    }

    fn curl(&self, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "60", "--cacert"]).arg(&self.authority.file);
        curl.args(arguments);
        curl
    }
}

fn serves(status: &Status) -> bool {
    let all = status.services.iter().flat_map(|service| &service.backends);
    status.services.len() == 3 && all.clone().all(|b| b.proxy.is_some_and(|proxy| proxy.serves))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_each_second_is_not_noticed() {
    if gate::root_with_python(&["curl", "nginx"], &["httpx", "h2", "websockets"]) == Gate::Skip {
        return;
    }
    let site = Site::new().await;
    let node = &site.segment.node;
    site.configure(0);
    let daemon = node.start().await;
    node.until("all serve", serves).await;
    let (url, websocket) = (format!("https://{}/", VIPS[0]), format!("wss://{}/echo", VIPS[0]));
    let ca = site.authority.file.display().to_string();
    let mut clients = python("load.py", &[&url, &websocket, &ca]);
    let mut clients = Process::start(&site.segment.client, clients.stdin(Stdio::piped()));
    assert_eq!([clients.line(), clients.line()], ["generation 0\n", "ready\n"]);

    let begun = Instant::now();
    let mut each = tokio::time::interval(Duration::from_secs(1));
    // A machine that has stood still makes up for nothing.
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    each.tick().await;
    for generation in 1..=RELOADS {
        each.tick().await;
        site.configure(generation);
        let config = node.client().reload().await;
        assert!(config.is_ok(), "{config:?}\n{}", node.log());
        // Clients see each of them, in order, before the next one comes.
        assert_eq!(clients.line(), format!("generation {generation}\n"), "{}", node.log());
    }
    assert!(begun.elapsed() >= Duration::from_secs(u64::from(RELOADS)));
    drop(clients.child.stdin.take());
    let said = clients.line();
    let result: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", node.log()));
    assert_eq!(result["failures"], serde_json::json!([]), "{result}\n{}", node.log());
    let requests = ["HTTP/1.1", "HTTP/2"].map(|version| result["requests"][version].as_u64().unwrap());
    println!("{requests:?} requests, websockets {}", result["rounds"]);
    // On a machine with much else to do, one a second is not much to ask for.
    assert!(requests.iter().all(|&count| count > u64::from(RELOADS)), "{result}");
    let rounds = result["rounds"].as_array().unwrap();
    assert!(
        rounds.iter().all(|count| count.as_u64().unwrap() > u64::from(RELOADS)),
        "{result}"
    );
    let status = node.client().status().await.unwrap();
    assert!(status.refused_reload.is_none() && status.fault.is_none(), "{status:#?}");

    // Every request is in one of the logs, the websockets too, which are over.
    let total = requests.iter().sum::<u64>() + rounds.len() as u64;
    let lines = || {
        let logs = [0, 1].map(|n| fs::read_to_string(node.path(&format!("access{n}.log"))).unwrap());
        logs.iter().map(|log| log.lines().count() as u64).sum::<u64>()
    };
    let deadline = Instant::now() + DEADLINE;
    while lines() != total {
        assert!(Instant::now() < deadline, "{} lines of {total} requests", lines());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        daemon.end(Signal::SIGTERM).is_some_and(|code| code == 0),
        "{}",
        node.log()
    );
}

/// What is under way is finished and told that it is the last, what is idle is closed, and what takes for ever is cut when
/// `timeouts.shutdown` is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_daemon_cuts_nothing_within_its_time() {
    if gate::root_with_python(&["curl", "nginx"], &["h2", "websockets"]) == Gate::Skip {
        return;
    }
    let site = Site::new().await;
    let node = &site.segment.node;
    let mut slow = site.slow();
    site.configure(0);
    let daemon = node.start().await;
    node.until("all serve", serves).await;
    let client = &site.segment.client;
    let ca = site.authority.file.display().to_string();
    let url = |path: &str| format!("https://{}{path}", VIPS[0]);
    let start = |command: &mut Command| Process::start(client, command.stderr(Stdio::piped()));
    let headers = ["-D", "-", "--http1.1"];
    let ip = VIPS[0].to_string();
    let listen = |path: &str| Process::start(client, &mut python("http2_goaway.py", &[&ip, "443", &ca, path]));
    // Whoever takes longest to start comes first, so that the slow answers are still to come when the daemon is told to end.
    let mut idle = listen("/");
    assert_eq!([idle.line(), idle.line()], ["response 200\n", "ended\n"]);
    let mut finished2 = listen("/slow/6001");
    assert_eq!(slow.line(), "/slow/6001\n");
    let mut finished = start(site.curl(&headers).arg(url("/slow/6000")));
    let mut cut = start(site.curl(&headers).arg(url("/slow/60000")));
    let mut heard = [slow.line(), slow.line()];
    heard.sort();
    assert_eq!(heard, ["/slow/6000\n", "/slow/60000\n"]);

    let begun = Instant::now();
    daemon.signal(Signal::SIGTERM);
    // Idle connections are told at once, long before the others are through.
    let said: Vec<_> = std::iter::repeat_with(|| idle.line())
        .take_while(|line| !line.is_empty())
        .collect();
    assert!(
        said[0].starts_with("goaway 0 ") && said.last().unwrap() == "closed\n",
        "{said:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut answer = String::new();
    finished.take_output().read_to_string(&mut answer).unwrap();
    assert!(finished.child.wait().unwrap().success(), "{answer}");
    assert!(answer.ends_with("\r\n\r\n/slow/6000\n"), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"),
        "{answer}"
    );
    let mut said = String::new();
    finished2.take_output().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("goaway 0 ") && said.contains("response 200\nended\n"),
        "{said}"
    );
    assert!(said.ends_with("closed\n"), "{said}");
    // Nobody new is served meanwhile.
    let refused = lb_tests::peers::ended(client, site.curl(&["-m", "2"]).arg(url("/")));
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(cut.child.try_wait().unwrap().is_none(), "its time is not over");
    assert_eq!(daemon.wait(), Some(0), "{}", node.log());
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(12)..Duration::from_secs(18)).contains(&took),
        "{took:?}"
    );
    assert!(!cut.child.wait().unwrap().success());
}

/// As logrotate does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_renamed_is_begun_anew_at_sighup() {
    if gate::root_with_python(&["curl", "nginx"], &["websockets"]) == Gate::Skip {
        return;
    }
    let site = Site::new().await;
    let node = &site.segment.node;
    site.configure(1);
    let daemon = node.start().await;
    node.until("all serve", serves).await;
    let ask = |count: u32| {
        let url = format!("https://{}/?[1-{count}]", VIPS[0]);
        output(&site.segment.client, &mut site.curl(&["--fail", "--fail-early", &url]));
    };
    let lines = |name: &str| fs::read_to_string(node.path(name)).map_or(0, |log| log.lines().count());
    let until = async |name: &str, count: usize| {
        let deadline = Instant::now() + DEADLINE;
        while lines(name) != count {
            assert!(Instant::now() < deadline, "{name} has {} lines", lines(name));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    ask(30);
    until("access1.log", 30).await;
    fs::rename(node.path("access1.log"), node.path("access1.log.1")).unwrap();
    ask(10);
    until("access1.log.1", 40).await;
    daemon.signal(Signal::SIGHUP);
    let deadline = Instant::now() + DEADLINE;
    while !node.path("access1.log").exists() {
        assert!(Instant::now() < deadline, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ask(20);
    until("access1.log", 20).await;
    assert_eq!(lines("access1.log.1"), 40);
}

/// Another daemon takes the sockets over while clients ask: no connection is refused, what is under way is finished by the
/// old one, and a file that the new one would not run with changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_not_noticed() {
    if gate::root_with_python(&["curl", "nginx"], &["websockets"]) == Gate::Skip {
        return;
    }
    let site = Site::new().await;
    let node = &site.segment.node;
    let mut slow = site.slow();
    site.configure(0);
    let daemon = node.start().await;
    node.until("all serve", serves).await;
    let until = async |what: &str, done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + DEADLINE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}: {}", node.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };

    // A new daemon that refuses its file leaves the old one where it is.
    node.configure("nonsense = true\n");
    daemon.signal(Signal::SIGUSR2);
    until("no upgrade", &|| node.log().contains("no upgrade; this daemon goes on")).await;
    site.configure(0);

    let client = &site.segment.client;
    let stop = node.path("stop");
    let ca = site.authority.file.display();
    let ask = |options: &str| {
        let curl = format!("curl -sS -m 20 --http1.1 --fail --fail-early --cacert {ca} {options}");
        let all = format!("while [ ! -e {} ]; do {curl} || exit 1; done", stop.display());
        Process::start(client, Command::new("sh").args(["-c", &all]).stderr(Stdio::piped()))
    };
    // One connection for each request, and one for twenty.
    let close = ask(&format!("-H 'connection: close' 'https://{}/?[1-20]'", VIPS[0]));
    let keep = ask(&format!("'https://{}/?[1-20]'", VIPS[0]));
    let url = format!("https://{}/slow/4000", VIPS[0]);
    let mut finished = Process::start(client, site.curl(&["--http1.1", &url]).stderr(Stdio::piped()));
    assert_eq!(slow.line(), "/slow/4000\n");
    let sockets = listening(daemon.pid(), 443);
    assert!(!sockets.is_empty());
    daemon.signal(Signal::SIGUSR2);
    until("a successor", &|| node.log().contains("another daemon takes over")).await;
    let successor = Successor::of(&node.log());
    let mut answer = String::new();
    finished.take_output().read_to_string(&mut answer).unwrap();
    assert!(
        finished.child.wait().unwrap().success() && answer == "/slow/4000\n",
        "{answer}\n{}",
        node.log()
    );
    assert_eq!(daemon.wait(), Some(0), "{}", node.log());
    node.until("all serve", serves).await;
    // Those that wait on them have not noticed.
    assert_eq!(listening(successor.pid().as_raw().unsigned_abs(), 443), sockets);
    let requests = || async {
        node.client().status().await.unwrap().services[0]
            .backends
            .iter()
            .filter_map(|b| b.proxy)
            .map(|p| p.requests)
            .sum::<u64>()
    };
    let before = requests().await;
    while requests().await < before + 40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fs::write(&stop, "").unwrap();
    for mut loops in [close, keep] {
        let status = loops.child.wait().unwrap();
        let mut said = String::new();
        loops.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success(), "{said}\n{}", node.log());
    }
    kill(successor.pid(), Signal::SIGTERM).unwrap();
    until("its end", &|| !successor.is_there()).await;
}
