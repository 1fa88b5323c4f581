//! A comparison that nobody made: invented figures, in the shape of real ones, for tests of how it is shown.

use super::super::model::{
    Comparison, Cost, Environment, Event, EventOf, Kept, Latency, Missing, Quantiles, Seen, Settings, Slice, Spread,
    SpreadOf, Subject, Waited,
};

/// Name, what it is, layer, own, requests/s, requests/s with new connections, p50 in µs, requests that failed when a
/// server died, and when the balancer restarted.
type Invented = (&'static str, &'static str, u8, bool, f64, f64, f64, u64, u64);

const INVENTED: [Invented; 12] = [
    (
        "direct",
        "clients ask the servers themselves",
        0,
        false,
        42_000.0,
        9_800.0,
        118.0,
        210,
        0,
    ),
    (
        "dsr",
        "XDP, servers answer clients themselves",
        4,
        true,
        39_500.0,
        9_300.0,
        131.0,
        74,
        0,
    ),
    (
        "tunnel",
        "XDP, IP in IP to the servers",
        4,
        true,
        38_800.0,
        9_100.0,
        134.0,
        78,
        0,
    ),
    (
        "nat",
        "XDP, addresses rewritten both ways",
        4,
        true,
        35_200.0,
        8_400.0,
        146.0,
        75,
        0,
    ),
    (
        "proxy",
        "HTTP/1.1 and HTTP/2, in a process",
        7,
        true,
        19_400.0,
        4_700.0,
        262.0,
        0,
        3,
    ),
    (
        "proxy-tls",
        "the same, with TLS for clients",
        7,
        true,
        15_900.0,
        1_600.0,
        305.0,
        0,
        4,
    ),
    (
        "haproxy-tcp",
        "HAProxy, mode tcp",
        4,
        false,
        21_000.0,
        4_300.0,
        251.0,
        96,
        41,
    ),
    (
        "haproxy-http",
        "HAProxy, mode http",
        7,
        false,
        18_900.0,
        4_000.0,
        271.0,
        2,
        44,
    ),
    (
        "nginx-stream",
        "nginx, stream",
        4,
        false,
        20_600.0,
        4_100.0,
        256.0,
        12,
        58,
    ),
    (
        "nginx-http",
        "nginx, proxy_pass",
        7,
        false,
        14_300.0,
        3_500.0,
        344.0,
        1,
        61,
    ),
    (
        "nftables",
        "DNAT by the kernel",
        4,
        false,
        34_600.0,
        8_000.0,
        149.0,
        980,
        0,
    ),
    (
        "ipvs",
        "IPVS with masquerading",
        4,
        false,
        34_900.0,
        8_100.0,
        148.0,
        990,
        0,
    ),
];

/// Twelve subjects and one that is missing, five rounds.
pub(super) fn comparison() -> Comparison {
    Comparison {
        version: 1,
        command: "fulcrum lab compare --rounds 5 --seconds 5 --seed 7 --html compare.html".to_owned(),
        begun: "2026-11-28T18:30:00Z".to_owned(),
        took: 1384.0,
        interrupted: false,
        environment: Environment {
            kernel: "Linux 6.12.9".to_owned(),
            processor: "Example CPU @ 2.60GHz".to_owned(),
            processors: 2,
            memory: 8 << 30,
            versions: vec![
                ("fulcrum".to_owned(), "0.1.0".to_owned()),
                ("haproxy".to_owned(), "2.6.12-1+deb12u1".to_owned()),
                ("nginx".to_owned(), "1.22.1".to_owned()),
            ],
            offloads: vec![
                "XDP is attached in native mode to veth, which turns off segmentation offload (TSO) there.".to_owned(),
                "Checksums are computed by the kernel on both sides.".to_owned(),
            ],
        },
        settings: Settings {
            rounds: 5,
            seconds: 5.0,
            connections: 64,
            rate: 4000.0,
            body: 1024,
            seed: 7,
            quick: false,
        },
        subjects: INVENTED
            .iter()
            .enumerate()
            .map(|(number, of)| subject(number, of))
            .collect(),
        missing: vec![Missing {
            name: "envoy".to_owned(),
            why: "there is no envoy in PATH; install it, or leave it out with --without envoy".to_owned(),
        }],
    }
}

/// Five rounds around a figure, a few percent apart, the same ones each time.
fn rounds(number: usize, around: f64) -> Vec<f64> {
    let apart = [0.0, 0.021, -0.017, 0.009, -0.026];
    (0..5)
        .map(|round| around * (1.0 + apart[(round + number) % 5] * (1.0 + number as f64 / 12.0)))
        .collect()
}

fn subject(number: usize, of: &Invented) -> Subject {
    let &(name, what, layer, own, requests, connections, p50, killed, restarted) = of;
    let xdp = layer == 4 && own;
    let http = layer == 7;
    let process = layer != 0 && !xdp && !["nftables", "ipvs"].contains(&name);
    let when = |yes: bool, around: f64| if yes { rounds(number, around) } else { Vec::new() };
    Subject {
        name: name.to_owned(),
        what: what.to_owned(),
        layer,
        own,
        requests: rounds(number, requests),
        connections: rounds(number + 1, connections),
        latency: Some(latency(number, p50)),
        cost: Cost {
            program_per_packet: when(xdp, 90.0 + 8.0 * number as f64),
            program_per_request: when(xdp, 0.9 + 0.1 * number as f64),
            process_per_request: when(process, 1.1e6 / requests - 28.0),
            machine_per_request: rounds(number + 2, 1.9e6 / requests),
            memory: process.then_some((12 + number as u64) << 20),
        },
        spread: spreads(name, layer, http),
        seen: Some(seen(layer, own, http, name)),
        events: if layer == 0 {
            Vec::new()
        } else {
            vec![
                event(EventOf::Killed, "web1 killed", killed, 10, u64::from(!http) * 4),
                event(EventOf::Drained, "web1 drained", 0, 10, 0),
                event(
                    EventOf::Reloaded,
                    "reload",
                    u64::from(name.starts_with("nginx")) * 2,
                    1,
                    0,
                ),
                event(EventOf::Restarted, "restart", restarted, 2, if process { 8 } else { 0 }),
                Event {
                    of: EventOf::Slow,
                    waited: Some(Waited {
                        client: 5.1,
                        server: if http { 0.0 } else { 5.1 },
                    }),
                    ..Event::default()
                },
            ]
        },
    }
}

fn latency(number: usize, p50: f64) -> Latency {
    let at = |part: f64| p50 * (1.0 + 0.9 * -(1.0_f64 - part).log10() * (1.0 + -(1.0_f64 - part).log10() / 2.0)) / 1.31;
    let rounds = rounds(number, 1.0)
        .into_iter()
        .enumerate()
        .map(|(round, factor)| Quantiles {
            p50: at(0.5) * factor,
            p90: at(0.9) * factor,
            p99: at(0.99) * factor * (1.0 + 0.02 * round as f64),
            p999: at(0.999) * factor * (1.0 + 0.07 * round as f64),
            max: at(0.99999),
        })
        .collect();
    let curve = (0..=44)
        .map(|step| 1.0 - 10_f64.powf(-f64::from(step) / 10.0))
        .map(|part| (part, at(part)))
        .collect();
    Latency {
        rounds,
        curve,
        failed: number as u64 % 3,
    }
}

fn spreads(name: &str, layer: u8, http: bool) -> Vec<Spread> {
    if layer == 0 {
        return Vec::new();
    }
    let counts = |one: u64, two: u64| [("web1".to_owned(), one), ("web2".to_owned(), two)].into();
    let expected = |one: f64| [("web1".to_owned(), one), ("web2".to_owned(), 1.0 - one)].into();
    let mut spreads = vec![
        Spread {
            of: SpreadOf::Short,
            served: counts(203, 197),
            expected: expected(0.5),
            by_connection: Vec::new(),
        },
        Spread {
            of: SpreadOf::KeepAlive,
            served: counts(400, 400),
            expected: expected(0.5),
            by_connection: (0..8)
                .map(|client| match (http, client % 2) {
                    (true, _) => counts(50, 50),
                    (false, 0) => counts(100, 0),
                    (false, _) => counts(0, 100),
                })
                .collect(),
        },
        Spread {
            of: SpreadOf::Weighted,
            served: counts(101, 499),
            expected: expected(1.0 / 6.0),
            by_connection: Vec::new(),
        },
    ];
    if name != "nginx-http" {
        spreads.push(Spread {
            of: SpreadOf::Http2,
            served: if http { counts(100, 100) } else { counts(200, 0) },
            expected: expected(0.5),
            by_connection: Vec::new(),
        });
    }
    spreads
}

fn seen(layer: u8, own: bool, http: bool, name: &str) -> Seen {
    let client = "10.61.1.2".to_owned();
    let transparent = layer == 0 || (layer == 4 && (own || name == "nftables"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Seen {
        as_client: if transparent {
            client.clone()
        } else {
            "10.61.2.1".to_owned()
        },
        client,
        added: match (http, own) {
            (false, _) => Vec::new(),
            (true, true) => vec![
                header("x-forwarded-for", "10.61.1.2"),
                header("x-forwarded-proto", "https"),
                header("via", "1.1 fulcrum"),
            ],
            (true, false) => vec![header("X-Forwarded-For", "10.61.1.2")],
        },
        certificate: match (http, name) {
            (_, "proxy") => "",
            (true, _) => "balancer",
            (false, _) => "server",
        }
        .to_owned(),
    }
}

/// Six seconds in slices of 0.1 s, 100 requests due in each; `fail` of them fail from 2 s on, at most half of each slice.
fn event(of: EventOf, mark: &str, fail: u64, most: u64, cut: u64) -> Event {
    let (mut left, mut slices) = (fail, Vec::new());
    for number in 0..60_u64 {
        let after = number >= 20;
        let failed = if after { left.min(most.max(50)) } else { 0 };
        left -= failed;
        let gone = after && number < 48 && matches!(of, EventOf::Killed | EventOf::Drained);
        let one = if gone { 0 } else { (100 - failed) / 2 };
        slices.push(Slice {
            served: [("web1".to_owned(), one), ("web2".to_owned(), 100 - failed - one)].into(),
            failed,
        });
    }
    let mut marks = vec![(2.0, mark.to_owned())];
    if of == EventOf::Drained || of == EventOf::Killed {
        marks.push((4.8, "web1 back".to_owned()));
    }
    Event {
        of,
        marks,
        slice: 0.1,
        slices,
        failed: fail,
        answered: 6000 - fail,
        reasons: if fail > 0 {
            [("no answer within 1 s".to_owned(), fail)].into()
        } else {
            [].into()
        },
        kept: Some(Kept { open: 8, cut }),
        disturbed: (fail as f64 / most.max(50) as f64).ceil() / 10.0,
        waited: None,
    }
}
