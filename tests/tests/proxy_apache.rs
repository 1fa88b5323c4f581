//! The balance methods that are Apache's, beside a real Apache: the same backends, weights and requests, and the same spread.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use lb_tests::gate::{self, Gate};
use lb_tests::peers::{output, until_open};
use lb_tests::proxied::{Proxied, vip};
use lb_tests::segment::{Process, v4};
use lb_tests::toml::service;
use lb_user::net::Namespace;

const REQUESTS: u32 = 1000;

/// One part in so many, 2 %, of what a method spreads. Where that is bytes, what is under way is all that keeps a backend from
/// its share: of eight clients at most eight answers of 32 kB, 1.3 % of all.
const TOLERANCE: usize = 50;

const WEIGHTS: [u8; 3] = [5, 3, 2];

/// The methods, as each of the two calls them, and the port where they are at work.
const METHODS: [(&str, &str, u16); 2] = [("by-requests", "byrequests", 80), ("by-traffic", "bytraffic", 81)];

const fn backend(number: u8) -> SocketAddr {
    SocketAddr::new(v4(10 + number), 8080)
}

/// Apache on its host, as one process.
fn apache(host: &Namespace, folder: &Path) -> Process {
    fs::create_dir(folder).unwrap();
    let at = folder.display();
    let mut text = format!(
        "ServerRoot {at}\nServerName lab\nUser www-data\nGroup www-data\nDefaultRuntimeDir {at}\nPidFile {at}/pid\n\
         ErrorLog {at}/error.log\nMutex posixsem\nMaxKeepAliveRequests 0\n"
    );
    for module in [
        "mpm_event",
        "authz_core",
        "slotmem_shm",
        "proxy",
        "proxy_http",
        "proxy_balancer",
        "lbmethod_byrequests",
        "lbmethod_bytraffic",
    ] {
        writeln!(
            text,
            "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so"
        )
        .unwrap();
    }
    for (_, method, port) in METHODS {
        writeln!(
            text,
            "Listen {}\n<VirtualHost *:{port}>\n<Proxy balancer://{method}>",
            at_apache(port)
        )
        .unwrap();
        for (number, weight) in (1..).zip(WEIGHTS) {
            writeln!(text, "BalancerMember http://{} loadfactor={weight}", backend(number)).unwrap();
        }
        writeln!(text, "ProxySet lbmethod={method}\n</Proxy>").unwrap();
        writeln!(text, "ProxyPass / balancer://{method}/\n</VirtualHost>").unwrap();
    }
    let file = folder.join("apache.conf");
    fs::write(&file, text).unwrap();
    let mut apache = Command::new("apache2");
    apache.arg("-f").arg(&file).arg("-X").stdin(Stdio::null());
    let mut apache = Process::start(host, &mut apache);
    for (_, _, port) in METHODS {
        until_open(host, at_apache(port), &mut apache);
    }
    apache
}

const fn at_apache(port: u16) -> SocketAddr {
    SocketAddr::new(v4(14), port)
}

/// The requests of a client, for curl: answers of all sizes, in an order that nobody balances by.
fn list(server: SocketAddr) -> String {
    let mut state = 12_345u32;
    let mut text = String::new();
    for _ in 0..REQUESTS {
        // Knuth and Lewis; its upper bits are as good as any.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Where one answer is as large as a hundred others, it alone decides how many a backend has, and a few bytes of
        // heads decide who has it: the spread would be another one each time.
        let length = 8_000 + (state >> 16) % 24_000;
        writeln!(text, "url = http://{server}/bytes/{length}\noutput = /dev/null").unwrap();
    }
    text
}

/// How much of what the method spreads each backend has answered: bytes by traffic, and requests otherwise. With the bytes alike,
/// the requests differ by which of them each one has got.
fn spread(lab: &Proxied, method: &str, server: SocketAddr, more: &[&str]) -> [usize; 3] {
    let file = lab.segment.node.path("list");
    fs::write(&file, list(server)).unwrap();
    let mut curl = lab.curl(&[
        "-m",
        "300",
        "--fail",
        "--fail-early",
        "-w",
        "%header{x-served-by} %{size_download}\n",
        "-K",
    ]);
    let said = output(&lab.segment.client, curl.arg(&file).args(more));
    let mut spread: BTreeMap<&str, usize> = BTreeMap::new();
    for line in said.lines() {
        let (name, bytes) = line.split_once(' ').unwrap();
        let bytes = bytes.parse::<usize>().unwrap();
        *spread.entry(name).or_default() += if method == "by-traffic" { bytes } else { 1 };
    }
    assert_eq!(said.lines().count(), REQUESTS as usize, "{spread:?}");
    ["web1", "web2", "web3"].map(|name| spread.remove(name).unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_weights_and_requests_give_the_same_spread() {
    if gate::root_with(&["apache2", "curl"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(4).await;
    let _servers: Vec<_> = (1..4)
        .map(|number| {
            lab.segment
                .serve(usize::from(number) - 1, &[backend(number).to_string()])
        })
        .collect();
    let _apache = apache(&lab.segment.backends[3], &lab.segment.node.path("apache"));
    let services = METHODS.map(|(method, _, port)| {
        let new = service(method, "proxy", &[vip(port)])
            .with(format_args!("balance = \"{method}\""))
            .unprobed();
        let each = (1..).zip(WEIGHTS);
        each.fold(new, |service, (number, weight)| {
            service.backend_with(
                backend(number),
                format_args!("name = \"web{number}\"\nweight = {weight}"),
            )
        })
        .to_string()
    });
    let _daemon = lab.segment.start(services.concat()).await;
    for (method, _, port) in METHODS {
        let theirs = spread(&lab, method, at_apache(port), &[]);
        let ours = spread(&lab, method, vip(port), &[]);
        // The same once more from eight clients at once, whom all threads of the proxy serve.
        let parallel = spread(&lab, method, vip(port), &["--parallel", "--parallel-max", "8"]);
        println!("{method}: Apache {theirs:?}, Fulcrum {ours:?}, and from many clients {parallel:?}");
        let tolerance = theirs.iter().sum::<usize>() / TOLERANCE;
        for spread in [ours, parallel] {
            for (ours, theirs) in spread.into_iter().zip(theirs) {
                assert!(ours.abs_diff(theirs) <= tolerance, "{method}: {theirs:?} {spread:?}");
            }
        }
        assert!(theirs[0] > theirs[1] && theirs[1] > theirs[2], "{theirs:?}");
    }
}
