//! Server and client over real sockets, with a reconciler that answers from a script.
//!
//! Past 500 lines: one node that all of them ask, and how it is asked.

mod commands;
mod denies;
mod events;
mod golden;
mod log;
mod openapi;
mod plans;
mod socket;
mod tcp;
mod trace;

use std::time::{Duration, SystemTime};

use lb_common::addr::Mac;
use lb_common::nat::Phase;
use lb_common::service::Choice;
use lb_common::stats::{Counters, DropReason};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::server::{CONNECTION_TIMEOUT, HEAD_TIMEOUT, MAX_CONNECTIONS};
use super::*;
use crate::control::{FileRequest, Handle, Request};
use crate::model::acme::CertificateStatus;
use crate::model::judgement::{Judgement, List, Quota, Rule};
use crate::model::peers::PeersStatus;
use crate::model::refused::{ProtectionStatus, Refused, ServiceProtectionStatus};
use crate::model::status::{self as model, FlowQuery, Pulse};
use crate::model::vrrp::HaStatus;
use crate::model::{AdminState, Balance, Enforcement, Health, Mode, NamedBackend, PortRange, Protocol, Role};

/// A server with its socket in a folder of its own.
struct Server {
    folder: TempDir,
    shutdown: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        let (node, mut questions, mut reloads) = Handle::new(1);
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                let _ = match question {
                    Request::Status(reply) => reply.send(status()).is_ok(),
                    Request::Explain(flow, reply) => reply.send(explain(flow)).is_ok(),
                    Request::Backend(service, backend, reply) => reply.send(commands::one(&service, &backend)).is_ok(),
                    Request::Preview(file, reply) => reply.send(plans::preview(&file)).is_ok(),
                    Request::Settle(reply) => reply.send(None).is_ok(),
                    Request::Flows(_) | Request::Take(..) => unreachable!("nobody asks for it by the API"),
                    Request::Tally(reply) => reply.send(None).is_ok(),
                    Request::Node(reply) => reply.send(commands::node(false)).is_ok(),
                    Request::Drain(drains, reply) => reply.send(commands::node(drains)).is_ok(),
                    Request::Pulse(reply) => reply.send(Pulse::default()).is_ok(),
                    Request::Trace(filter, reply) => reply.send(trace::begin(&filter)).is_ok(),
                    Request::Traced(id, reply) => reply.send(trace::traced(id)).is_ok(),
                    Request::EndTrace(id, reply) => reply.send(id == trace::ID).is_ok(),
                    Request::Override {
                        service,
                        backend,
                        change,
                        reply,
                    } => reply.send(commands::answer(&service, &backend, change)).is_ok(),
                    Request::Denied(reply) => reply.send(denies::list()).is_ok(),
                    Request::Deny {
                        prefix,
                        service,
                        lasts,
                        reply,
                    } => reply.send(denies::add(prefix, service, lasts)).is_ok(),
                    Request::Undeny { prefix, service, reply } => reply.send(denies::remove(prefix, service)).is_ok(),
                };
            }
        });
        tokio::spawn(async move {
            while let Some(asked) = reloads.recv().await {
                let _ = match asked {
                    FileRequest::Reload(reply) => reply.send(Ok(true)).is_ok(),
                    FileRequest::Judge { origin, text, reply } => reply.send(plans::judge(&origin, &text)).is_ok(),
                };
            }
        });
        Self::with(node)
    }

    fn with(node: Handle) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = bind(&folder.path().join("api.sock")).unwrap();
        let (shutdown, asked) = oneshot::channel();
        let task = tokio::spawn(served(socket, node, None, async {
            let _ = asked.await;
        }));
        Self { folder, shutdown, task }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("api.sock")
    }

    fn client(&self) -> Client {
        Client::new(self.path())
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// Sends `request` as it is; the status and body of what comes back.
    async fn raw(&self, request: &str) -> (String, String) {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut response))
            .await
            .unwrap()
            .unwrap();
        let response = String::from_utf8(response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        (head.to_owned(), body.to_owned())
    }
}

/// Answers, and has streams, as the daemon does.
async fn served(listener: impl listen::Listen, node: Handle, token: Option<&str>, shutdown: impl Future<Output = ()>) {
    let (live, states) = live(node_name());
    let token = token.map(|token| Token::new(token.as_bytes()).unwrap());
    let desk = Desk {
        node: node.clone(),
        token: watch::Sender::new(token).subscribe(),
        live,
    };
    let (stop, mut stopped) = watch::channel(());
    let shutdown = async {
        shutdown.await;
        drop(stop);
    };
    let states = async {
        tokio::select! {
            () = states.run(node) => {}
            _ = stopped.changed() => {}
        }
    };
    tokio::join!(serve(listener, desk, shutdown), states);
}

fn node_name() -> String {
    status().node
}

pub(super) fn status() -> model::Status {
    let backend = |name: &str, address: &str, health, next_hop, counters| model::BackendStatus {
        proxied: None,
        nat: (name == "web1").then(|| model::NatStatus {
            source: Some("10.0.0.1".parse().unwrap()),
            ports: PortRange::DEFAULT,
            flows: model::NatFlows {
                opening: 1,
                established: 20,
                half_closed: 3,
                closed: 4,
            },
        }),
        name: name.into(),
        address: address.parse().unwrap(),
        weight: 5,
        host: (name == "web2").then(|| "web2.example".into()),
        weight_in_file: None,
        starting: (name == "web2").then_some(3),
        role: Role::Primary,
        state: AdminState::Active,
        state_in_file: None,
        health,
        health_reason: "connected in 0.3 ms".into(),
        probes: None,
        next_hop: Some(next_hop),
        slots: 8192,
        moving_slots: 12,
        drained: false,
        leaving: name == "web2",
        known_flows: 9,
        cut_flows: 2,
        counters,
    };
    let hop = model::Reached {
        mac: Mac([2, 0, 0, 0, 0, 0x0a]),
        interface: "eth0".into(),
    };
    let counters = Counters {
        packets: 12,
        bytes: 1 << 60,
        new_flows: 4,
        reply_packets: 11,
        reply_bytes: 1 << 61,
    };
    model::Status {
        node: "lb1".to_owned(),
        interfaces: vec![
            model::InterfaceStatus {
                name: "eth0".to_owned(),
                attached: Ok(model::AttachMode::Native),
            },
            model::InterfaceStatus {
                name: "eth1".to_owned(),
                attached: Ok(model::AttachMode::Generic),
            },
            model::InterfaceStatus {
                name: "eth2".to_owned(),
                attached: Err("there is no interface of this name".to_owned()),
            },
        ],
        services: vec![model::ServiceStatus {
            name: "web".into(),
            vips: vec![model::VipStatus {
                address: "192.0.2.10:80".parse().unwrap(),
                exclusive: true,
            }],
            protocol: Protocol::Tcp,
            mode: Mode::Nat,
            balance: Balance::Maglev,
            table_size: 16384,
            named: vec![NamedBackend {
                place: 2,
                name: "web3".into(),
                host: "web3.example".into(),
                port: 80,
                weight: 1,
                state: AdminState::Active,
                role: Role::Primary,
                reason: "web3.example has no address".into(),
            }],
            ready: 1,
            quorum: 2,
            protection: Some(ServiceProtectionStatus {
                enforcement: Enforcement::Observe,
                refused: Refused::example(),
            }),
            probe_interval: None,
            slots: model::SlotStates {
                stable: 16000,
                moving: 284,
                settled: 100,
            },
            backends: vec![
                backend("web1", "10.0.0.6:80", Health::Up, Ok(hop), counters),
                backend(
                    "web2",
                    "10.0.0.7:80",
                    Health::Unknown,
                    Err("no answer to ARP".to_owned()),
                    Counters::default(),
                ),
            ],
        }],
        flows: model::FlowTables {
            flows: model::FlowTable {
                entries: 12,
                capacity: 262_144,
                written: 90,
                no_room: 3,
            },
            tracked: model::FlowTable::default(),
        },
        protection: Some(ProtectionStatus {
            enforcement: Enforcement::Enforce,
            prefixes: 1_000_003,
            addresses: Refused::example(),
        }),
        drops: vec![(DropReason::Truncated, 0), (DropReason::NoBackend, 7)],
        http: Vec::new(),
        reloads: model::Reloads::none(SystemTime::UNIX_EPOCH),
        fault: Some("cannot write the map SERVICES".to_owned()),
        started: SystemTime::UNIX_EPOCH,
        settled: false,
        ha: HaStatus::example(),
        draining: true,
        peers: PeersStatus::example(),
        certificates: vec![CertificateStatus::example()],
        overrides_fault: None,
        repairs: model::Repairs::default(),
    }
}

/// The destination's port asks for the answer.
fn explain(flow: FlowQuery) -> model::Explained {
    let judgement = match flow.destination.port() {
        80 => Some(Judgement {
            enforcement: Enforcement::Observe,
            refused: None,
            by: None,
            exempt: None,
            connections: Some(Quota {
                rate: 1_000,
                burst: 2_000,
                length: 32,
                service: Some("web".into()),
            }),
            packets: Some(Quota {
                rate: 50_000,
                burst: 50_000,
                length: 24,
                service: None,
            }),
            syn_cookies: Some(0),
        }),
        86 => Some(Judgement {
            enforcement: Enforcement::Enforce,
            refused: Some(DropReason::Denied),
            by: Some(Rule {
                list: List::RunTime,
                service: None,
                prefix: "198.51.100.0/24".parse().unwrap(),
            }),
            exempt: Some(Rule {
                list: List::Exempt,
                service: Some("web".into()),
                prefix: "198.51.0.0/16".parse().unwrap(),
            }),
            connections: None,
            packets: None,
            syn_cookies: None,
        }),
        _ => None,
    };
    model::Explained {
        explanation: fate(flow),
        judgement,
    }
}

fn fate(flow: FlowQuery) -> model::Explanation {
    match flow.destination.port() {
        80 => model::Explanation::Forwarded {
            known: Some(model::KnownFlow {
                source: "10.0.0.1:20017".parse().unwrap(),
                phase: Phase::HalfClosed,
            }),
            service: "web".into(),
            backend: "web1".into(),
            address: "10.0.0.6:80".parse().unwrap(),
            mode: Mode::Nat,
            hash: 0x0123_4567_89ab_cdef,
            slot: 3567,
            slots: 16384,
            state: model::SlotState::Moving,
            tracked: true,
        },
        84 => model::Explanation::Undecided {
            service: "web".into(),
            by: Choice::Least,
            otherwise: Some(model::Otherwise {
                backend: "web1".into(),
                address: "10.0.0.6:80".parse().unwrap(),
            }),
        },
        85 => model::Explanation::Proxied {
            service: "shop".into(),
            pools: vec![
                model::Pool {
                    name: "shop".into(),
                    balance: Balance::Maglev,
                    hash_on: Some(crate::model::proxy::HashOn::Cookie("user".into())),
                    ready: vec!["web1".into()],
                    backends: 2,
                },
                model::Pool {
                    name: "api".into(),
                    balance: Balance::PeakEwma,
                    hash_on: None,
                    ready: Vec::new(),
                    backends: 0,
                },
            ],
        },
        81 => model::Explanation::Dropped {
            service: "web".into(),
            reason: DropReason::NoBackend,
            slot: 9,
        },
        86 => model::Explanation::Refused {
            service: Some("web".into()),
            reason: DropReason::Denied,
        },
        82 => model::Explanation::Undeclared { dropped: true },
        _ => model::Explanation::NotAVip {
            address: flow.destination.ip(),
        },
    }
}

fn flow(destination: &str) -> FlowQuery {
    FlowQuery {
        protocol: Protocol::Tcp,
        source: "198.51.100.7:40000".parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

#[tokio::test]
async fn client_and_server_understand_each_other() {
    let server = Server::start();
    let client = server.client();
    assert_eq!(client.status().await.unwrap(), types::Status::from(status()));
    for port in 80..84 {
        let flow = flow(&format!("192.0.2.10:{port}"));
        let expected = types::Explanation::new(flow, explain(flow));
        assert_eq!(client.explain(flow).await.unwrap(), expected);
    }
    let v6 = FlowQuery {
        protocol: Protocol::Udp,
        source: "[2001:db8::7]:40000".parse().unwrap(),
        destination: "[2001:db8::10]:53".parse().unwrap(),
    };
    assert_eq!(
        client.explain(v6).await.unwrap(),
        types::Explanation::new(v6, explain(v6))
    );
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    const GOOD: &str = "protocol=tcp&source=1.2.3.4:5&destination=1.2.3.5:80";
    let explain = |query: &str| format!("GET /api/v1/explain?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    let cases: &[(String, u16, Option<&str>, &str)] = &[
        ("GET /x HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404, None, "there is no /x"),
        (
            "GET /api/v2/status HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            404,
            None,
            "there is no /api/v2/status",
        ),
        (
            "POST /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            405,
            None,
            "GET, HEAD only",
        ),
        (
            "DELETE /api/v1/explain HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            405,
            None,
            "GET, HEAD only",
        ),
        (
            "GET /api/v1/status?all=1 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            Some("all"),
            "unknown parameter",
        ),
        (
            "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nx".into(),
            413,
            None,
            "takes no request body",
        ),
        (
            "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n".into(),
            413,
            None,
            "takes no request body",
        ),
        (explain(""), 400, Some("protocol"), "protocol is missing"),
        (
            explain("protocol=tcp&source=1.2.3.4:5"),
            400,
            Some("destination"),
            "destination is missing",
        ),
        (
            explain(&GOOD.replace("tcp", "icmp")),
            400,
            Some("protocol"),
            "tcp or udp, not \"icmp\"",
        ),
        (
            explain(&GOOD.replace("tcp", "TCP")),
            400,
            Some("protocol"),
            "tcp or udp, not \"TCP\"",
        ),
        (
            explain(&GOOD.replace("1.2.3.4:5", "1.2.3.4")),
            400,
            Some("source"),
            "an address with a port",
        ),
        (
            explain(&GOOD.replace("1.2.3.4:5", "host:5")),
            400,
            Some("source"),
            "an address with a port",
        ),
        (
            explain(&GOOD.replace("1.2.3.5:80", "1.2.3.5:80000")),
            400,
            Some("destination"),
            "an address with a port",
        ),
        (
            explain(&GOOD.replace("1.2.3.5", "[::1]")),
            400,
            Some("destination"),
            "different address families",
        ),
        (
            explain(&format!("{GOOD}&source=1.2.3.4:5")),
            400,
            Some("source"),
            "given twice",
        ),
        (
            explain(&format!("{GOOD}&verbose")),
            400,
            Some("verbose"),
            "unknown parameter \"verbose\"",
        ),
        (
            explain(&GOOD.replace("tcp", "%zz")),
            400,
            Some("protocol"),
            "badly encoded",
        ),
        (
            explain(&GOOD.replace("tcp", "%ff")),
            400,
            Some("protocol"),
            "badly encoded",
        ),
        (
            explain(&GOOD.replace("tcp", "%7")),
            400,
            Some("protocol"),
            "badly encoded",
        ),
    ];
    let server = Server::start();
    for (request, status, parameter, detail) in cases {
        let (head, body) = server.raw(request).await;
        let problem: types::Problem = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{request}: {e}: {body}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{request}: {head}"
        );
        assert_eq!(
            (problem.status, problem.parameter.as_deref()),
            (*status, *parameter),
            "{request}"
        );
        assert!(problem.detail.contains(detail), "{request}: {}", problem.detail);
        assert_eq!(head.contains("allow: GET"), *status == 405, "{request}: {head}");
    }
}

#[tokio::test]
async fn noise_and_endless_heads_are_refused_by_the_parser() {
    let server = Server::start();
    let endless = format!("GET /api/v1/status HTTP/1.1\r\nX: {}", "x".repeat(2 * MAX_HEAD));
    let many = format!("GET /api/v1/status HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for request in ["\0\0\0\0\r\n\r\n", &endless, &many] {
        let mut stream = server.connect().await;
        // The server may close before it has taken everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut response = Vec::new();
        let _ = timeout(Duration::from_secs(4), stream.read_to_end(&mut response))
            .await
            .expect("at once");
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with("HTTP/1.1 4"), "{response:?}");
    }
    assert!(server.client().status().await.is_ok());
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let server = Server::start();
    let get = "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let (head, body) = server.raw(&get.repeat(2)).await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body.matches("\"node\"").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn slow_clients_delay_nobody_and_are_cut() {
    let server = Server::start();
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..MAX_CONNECTIONS - 1 {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET /api/v1/status HTTP/1.1\r\nX-Slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    assert!(server.client().status().await.is_ok());
    assert!(began.elapsed() < HEAD_TIMEOUT, "{:?}", began.elapsed());

    // With every place taken, the next one waits until a slow one is cut.
    let mut last = server.connect().await;
    last.write_all(b"G").await.unwrap();
    assert!(server.client().status().await.is_ok());
    for mut stream in slow {
        let end = timeout(HEAD_TIMEOUT, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "cut");
    }
    assert!(began.elapsed() < HEAD_TIMEOUT * 3, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let (node, mut questions, _reloads) = Handle::new(1);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            if let Request::Status(reply) = question {
                let mut status = status();
                status.fault = Some("x".repeat(64 << 20));
                let _ = reply.send(status);
            }
        }
    });
    let server = Server::with(node);
    let mut stream = server.connect().await;
    stream.write_all(b"GET /api/v1/status HTTP/1.1\r\n\r\n").await.unwrap();
    tokio::time::sleep(CONNECTION_TIMEOUT + Duration::from_secs(1)).await;
    let mut response = Vec::new();
    let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut response))
        .await
        .expect("closed");
    assert!(
        !response.is_empty() && response.len() < 8 << 20,
        "{} bytes",
        response.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_reconciler_that_is_busy_or_gone_is_said_to_be() {
    let (node, questions, _reloads) = Handle::new(1);
    let server = Server::with(node);
    let refused = |result| match result {
        Err(ClientError::Refused(problem)) => (problem.status, problem.detail),
        other => panic!("{other:?}"),
    };
    let busy = "the daemon is busy and did not answer within 10 s".to_owned();
    assert_eq!(refused(server.client().status().await), (503, busy));
    drop(questions);
    let gone = "the daemon is shutting down".to_owned();
    assert_eq!(refused(server.client().status().await), (503, gone));
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way_and_removes_the_socket() {
    let (node, mut questions, _reloads) = Handle::new(1);
    let server = Server::with(node);
    let (client, path) = (server.client(), server.path());
    let asking = tokio::spawn(async move { client.status().await });
    let Some(Request::Status(reply)) = questions.recv().await else {
        panic!("a question about the status");
    };
    server.shutdown.send(()).unwrap();
    while path.exists() {
        tokio::task::yield_now().await;
    }
    reply.send(status()).unwrap();
    assert!(asking.await.unwrap().is_ok());
    timeout(Duration::from_secs(10), server.task)
        .await
        .expect("ends")
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_idle_clients() {
    let server = Server::start();
    let _idle = server.connect().await;
    assert!(server.client().status().await.is_ok());
    server.shutdown.send(()).unwrap();
    timeout(Duration::from_secs(2), server.task)
        .await
        .expect("ends")
        .unwrap();
}
