//! TLS of the proxy with OpenSSL and curl as clients: certificates by name, certificates of clients, sessions that are
//! resumed, and versions that are refused.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use lb_tests::authority::Authority;
use lb_tests::gate::{self, Gate};
use lb_tests::peers::nginx;
use lb_tests::proxied::{Proxied, listening, vip};
use lb_tests::segment::{Process, v4};
use lb_tests::toml::{Service, service};

const WEB: SocketAddr = SocketAddr::new(v4(11), 8080);

fn web(name: &str, port: u16, tls: &str) -> Service {
    service(name, "proxy", &[vip(port)])
        .unprobed()
        .table("tls", tls)
        .backend(WEB)
}

fn server(lab: &Proxied) -> Process {
    let http = format!("server {{ listen {WEB}; location / {{ return 200 \"hello\\n\"; }} }}");
    nginx(&lab.segment.backends[0], &lab.segment.node.path("nginx"), http, WEB)
}

/// `openssl s_client` to a port of the VIP, which asks for a page over HTTP/1.0 and so lives until the other side closes.
fn s_client(lab: &Proxied, port: u16, arguments: &[&str]) -> Output {
    let mut client = Command::new("openssl");
    lab.segment.client.confine(&mut client);
    client
        .args(["s_client", "-ign_eof", "-connect", &vip(port).to_string(), "-CAfile"])
        .arg(&lab.authority.file)
        .args(arguments);
    let client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    // Who is refused has gone before it reads this.
    let _ = client.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
    client.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Whose certificate a client gets that asks for a name.
fn subject(lab: &Proxied, port: u16, arguments: &[&str]) -> String {
    let said = text(&s_client(lab, port, arguments));
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    subject.unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// Whoever finds the API answering finds the proxy listening, however much it has to read first.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_listens_before_the_api_answers() {
    if gate::root() == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let issue = |number: u32| {
        lab.authority
            .issue(&format!("{number}.pem"), &[&format!("{number}.example")])
    };
    let files: Vec<String> = (0..300)
        .map(|number| format!("\"{}\"", issue(number).display()))
        .collect();
    let node = &lab.segment.node;
    let many = web("many", 443, &format!("certificates = [{}]", files.join(", ")));
    node.configure(&format!("{}{many}", node.head("eth0")));
    let daemon = node.start().await;
    assert!(!listening(daemon.pid(), 443).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    if gate::root_with(&["openssl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let files = [
        ("default.pem", "default.example"),
        ("exact.pem", "shop.example"),
        ("wildcard.pem", "*.shop.example"),
    ];
    let files = files.map(|(file, name)| format!("\"{}\"", lab.authority.issue(file, &[name]).display()));
    let _daemon = lab
        .segment
        .start(web("names", 443, &format!("certificates = [{}]", files.join(", "))))
        .await;
    for (asked, expected) in [
        (&["-servername", "shop.example"][..], "shop.example"),
        (&["-servername", "SHOP.example"], "shop.example"),
        (&["-servername", "www.shop.example"], "*.shop.example"),
        (&["-servername", "a.b.shop.example"], "default.example"),
        (&["-servername", "default.example"], "default.example"),
        (&["-servername", "other.example"], "default.example"),
        (&["-noservername"], "default.example"),
    ] {
        for version in ["-tls1_2", "-tls1_3"] {
            assert_eq!(subject(&lab, 443, &[asked, &[version]].concat()), expected, "{asked:?}");
        }
    }
}

/// Is this how curl ends when there is no answer: a handshake that failed, or, with TLS 1.3, one that had seemed to be over
/// when the connection broke?
fn is_refused(code: i32) -> bool {
    const CONNECT: i32 = 35;
    const HTTP2: i32 = 16;
    const SEND: i32 = 55;
    const CERTIFICATE: i32 = 98;
    const RECEIVE: i32 = 56;
    [CONNECT, HTTP2, SEND, RECEIVE, CERTIFICATE].contains(&code)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_where_they_have_to() {
    if gate::root_with(&["openssl", "curl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let folder = lab.segment.node.path("");
    let members = Authority::new(&folder, "members");
    let strangers = Authority::new(&folder, "strangers");
    let [member, stranger] = [
        members.issue("alice.pem", &["alice"]),
        strangers.issue("bob.pem", &["bob"]),
    ];
    let [member, stranger] = [member.display().to_string(), stranger.display().to_string()];
    let tls = format!("{}\nclient-ca = \"{}\"", lab.certificates(), members.file.display());
    let required = web("required", 443, &tls);
    let optional = web("optional", 444, &format!("{tls}\nclient-auth = \"optional\""));
    let _daemon = lab.segment.start(format!("{required}{optional}")).await;
    for port in [443, 444] {
        let url = format!("https://{}/", vip(port));
        for versions in [["--tls-max", "1.2"], ["--tls-max", "1.3"]] {
            for http in ["--http1.1", "--http2"] {
                let asked = [&versions[..], &[http, "--fail", &url]].concat();
                let with = |file| [&asked[..], &["--cert", file]].concat();
                assert_eq!(lab.ask(&with(&member)), "hello\n");
                assert!(is_refused(lab.fails(&with(&stranger))));
                if port == 443 {
                    assert!(is_refused(lab.fails(&asked)));
                } else {
                    assert_eq!(lab.ask(&asked), "hello\n");
                }
            }
        }
    }
    let said = text(&s_client(&lab, 443, &["-cert", &member]));
    assert!(
        said.contains("Acceptable client certificate CA names\nCN = members\n"),
        "{said}"
    );
    assert!(said.contains("hello"), "{said}");
    let said = text(&s_client(&lab, 443, &[]));
    assert!(!said.contains("hello") && said.contains("alert"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_and_old_versions_refused() {
    if gate::root_with(&["openssl", "nginx"]) == Gate::Skip {
        return;
    }
    let lab = Proxied::new(1).await;
    let _server = server(&lab);
    let tls = lab.certificates();
    let from_1_3 = web("new", 444, &format!("{tls}\nmin-version = \"1.3\""));
    let daemon = lab.segment.start(format!("{}{from_1_3}", web("web", 443, &tls))).await;

    // Every thread of the proxy knows every session.
    let file = lab.segment.node.path("session").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let first = text(&s_client(&lab, 443, &[version, "-sess_out", &file]));
        assert!(first.contains("\nNew, TLSv1"), "{first}");
        for _ in 0..10 {
            let again = s_client(&lab, 443, &[version, "-sess_in", &file]);
            let said = text(&again);
            assert!(said.contains("\nReused, TLSv1") && said.contains("hello"), "{said}");
        }
    }
    let said = text(&s_client(&lab, 443, &["-tls1_2", "-reconnect"]));
    assert_eq!(said.matches("\nReused, TLSv1.2").count(), 5, "{said}");

    // OpenSSL itself has to be told to speak what is this old.
    let old = ["-cipher", "DEFAULT:@SECLEVEL=0"];
    for (port, version, served) in [
        (443, "-tls1", false),
        (443, "-tls1_1", false),
        (443, "-tls1_2", true),
        (443, "-tls1_3", true),
        (444, "-tls1_1", false),
        (444, "-tls1_2", false),
        (444, "-tls1_3", true),
    ] {
        let ended = s_client(&lab, port, &[&[version], &old[..]].concat());
        let said = text(&ended);
        assert_eq!(said.contains("hello"), served, "{port} {version}: {said}");
        assert!(
            served || said.contains(":SSL alert number "),
            "{port} {version}: {said}"
        );
    }

    // A daemon that is started anew takes them, and one with another seed does not: a full handshake, and no error.
    drop(daemon);
    let daemon = lab.segment.start(web("web", 443, &tls)).await;
    let said = text(&s_client(&lab, 443, &["-tls1_3", "-sess_in", &file]));
    assert!(said.contains("\nReused, TLSv1.3") && said.contains("hello"), "{said}");
    drop(daemon);
    std::fs::write(lab.segment.node.path("state/seed"), [8; 16]).unwrap();
    let _daemon = lab.segment.start(web("web", 443, &tls)).await;
    let said = text(&s_client(&lab, 443, &["-tls1_3", "-sess_in", &file]));
    assert!(said.contains("\nNew, TLSv1.3") && said.contains("hello"), "{said}");
}
