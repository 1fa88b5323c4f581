//! What is allowed and probably not meant.

use super::super::{NODE, SERVICE, read};

const BACKEND: &str = "[[service.backend]]\naddress = \"10.0.0.6:80\"\n";
const POOL: &str = "[[pool]]\nname = \"api\"\n[[pool.backend]]\naddress = \"10.0.0.9:80\"\n";

fn warnings(text: &str) -> Vec<(usize, String)> {
    let text = format!("{NODE}{}{text}", SERVICE.replace("dsr", "proxy"));
    let parsed = read(&text).unwrap_or_else(|error| panic!("{error}"));
    parsed
        .warnings
        .iter()
        .map(|w| (w.line().unwrap(), w.message().to_owned()))
        .collect()
}

#[track_caller]
fn one(text: &str, line: usize, message: &str) {
    assert_eq!(warnings(text), [(line, message.to_owned())]);
}

#[test]
fn a_good_file_has_none() {
    assert_eq!(warnings(BACKEND), []);
    assert_eq!(
        warnings(&format!(
            "{BACKEND}[[service.route]]\npool = \"api\"\nhost = \"a\"\n{POOL}"
        )),
        []
    );
}

#[test]
fn nobody_to_serve() {
    let message = "this service has no backends: its requests are answered with 503";
    one("", 3, message);
    one(
        &format!("[[service.route]]\npool = \"api\"\nhost = \"a\"\n{POOL}"),
        3,
        message,
    );
    assert_eq!(warnings(&format!("[[service.route]]\npool = \"api\"\n{POOL}")), []);
    assert_eq!(
        warnings(&format!(
            "[[service.route]]\npool = \"api\"\npath-prefix = \"/\"\n{POOL}"
        )),
        []
    );
    assert_eq!(warnings("[service.http]\nredirect-to-https = true\n"), []);
    let pool = "[[service.route]]\npool = \"api\"\n[[pool]]\nname = \"api\"\n";
    one(
        &format!("{BACKEND}{pool}"),
        11,
        "this pool has no backends: its requests are answered with 503",
    );
    one(
        &format!("{BACKEND}{pool}[pool.health]\nquorum = 2\n[[pool.backend]]\naddress = \"10.0.0.9:80\"\n"),
        11,
        "this pool never counts as healthy: it has 1 backend, and its quorum is 2",
    );
}

#[test]
fn rings() {
    let many: String = (1..=200)
        .map(|host| format!("[[service.backend]]\naddress = \"10.0.0.{host}:80\"\n"))
        .collect();
    assert_eq!(warnings(&many), []);
    one(
        &format!("balance = \"maglev\"\n{many}"),
        3,
        "16384 slots for 200 backends make shares coarse",
    );
    one(
        &format!("[service.http]\nhash-on = \"path\"\n{BACKEND}"),
        8,
        "`hash-on` is for balance = \"maglev\", and nothing here has it",
    );
    assert_eq!(
        warnings(&format!(
            "balance = \"maglev\"\n[service.http]\nhash-on = \"path\"\n{BACKEND}"
        )),
        []
    );
    let pool = POOL.replace("api\"\n", "api\"\nbalance = \"maglev\"\n");
    let text = format!("[service.http]\nhash-on = \"path\"\n[[service.route]]\npool = \"api\"\n{pool}");
    assert_eq!(warnings(&text), []);
}

#[test]
fn flows_of_packets() {
    one(
        &format!("idle-timeout = \"1h\"\n{BACKEND}"),
        7,
        "`idle-timeout` is about packets, and the proxy passes none",
    );
}

#[test]
fn lists_of_browsers() {
    let hsts = |text: &str| format!("[service.tls]\ncertificates = [\"/a.pem\"]\nhsts = {{ {text} }}\n{BACKEND}");
    let message = "no browser puts this into its list";
    one(&hsts("max-age = \"365d\", preload = true"), 9, message);
    one(
        &hsts("max-age = \"364d\", preload = true, include-subdomains = true"),
        9,
        message,
    );
    assert_eq!(
        warnings(&hsts("max-age = \"365d\", preload = true, include-subdomains = true")),
        []
    );
}

#[test]
fn pools_that_nobody_asks() {
    one(&format!("{BACKEND}{POOL}"), 9, "no route leads to the pool \"api\"");
}

#[test]
fn routes_that_nothing_comes_to() {
    let route = |text: &str| format!("[[service.route]]\npool = \"api\"\n{text}\n");
    let two = |first: &str, second: &str| warnings(&format!("{BACKEND}{}{}{POOL}", route(first), route(second)));
    let message = "no request comes to this route: one before it takes them all";
    for (first, second) in [
        ("", ""),
        ("", "host = \"a\""),
        ("path-prefix = \"/\"", ""),
        ("host = \"A.example\"", "host = \"a.example\"\npath-prefix = \"/v1\""),
        ("host = \"*.example\"", "host = \"a.b.example\""),
        ("host = \"*.example\"", "host = \"*.b.example\""),
        ("path-prefix = \"/v1\"", "path-prefix = \"/v1/x\""),
        ("path-prefix = \"/v1/\"", "path-prefix = \"/v1\""),
        (
            "header = { name = \"x\", value = \"1\" }",
            "header = { name = \"X\", value = \"1\" }",
        ),
    ] {
        let lines = first.lines().count().max(1);
        assert_eq!(
            two(first, second),
            [(11 + lines, message.to_owned())],
            "{first} {second}"
        );
    }
    for (first, second) in [
        ("host = \"a\"", ""),
        ("host = \"*.example\"", "host = \"example\""),
        ("host = \"a.example\"", "host = \"*.example\""),
        ("path-prefix = \"/v1\"", "path-prefix = \"/v10\""),
        ("path-prefix = \"/v1\"", ""),
        ("path-prefix = \"/v1/x\"", "path-prefix = \"/v1\""),
        (
            "header = { name = \"x\", value = \"1\" }",
            "header = { name = \"x\", value = \"2\" }",
        ),
        ("header = { name = \"x\", value = \"1\" }", ""),
    ] {
        assert_eq!(two(first, second), [], "{first} {second}");
    }
}

#[test]
fn authorities_that_come_to_another_port() {
    let acme = |challenge: &str| {
        format!(
            "{BACKEND}[service.tls]\nacme = {{ domains = [\"a.example\"], directory = \"https://ca.example/\", \
             challenge = \"{challenge}\" }}\n"
        )
    };
    assert_eq!(warnings(&acme("http-01")), []);
    let message = "authorities look for tls-alpn-01 at port 443, which this service does not have";
    one(&acme("tls-alpn-01"), 10, message);

    let other = "[[service]]\nname = \"plain\"\naddress = \"192.0.2.10:1-100\"\nmode = \"dsr\"\n";
    let web = acme("http-01").replace("a.example", "b.example");
    let text = format!(
        "{NODE}{}{web}{other}",
        SERVICE.replace("dsr", "proxy").replace(":80", ":443")
    );
    let warned = read(&text).unwrap().warnings;
    let message = "authorities look for http-01 at port 80, which the service \"plain\" has";
    assert!(warned.iter().any(|warning| warning.message() == message), "{warned:?}");
    // The way out is one that is open to who has it.
    let says = |text: &str| {
        let warned = read(text).unwrap().warnings;
        let about = warned.iter().find(|warning| warning.message() == message);
        about
            .and_then(|warning| warning.hint())
            .unwrap()
            .contains("steer-challenges")
    };
    let alone = text.replace("192.0.2.10:1-100", "192.0.2.10:80");
    assert!(!says(&text) && says(&alone));
    let steered = alone.replace("192.0.2.10:80\"", "192.0.2.10:80\"\nsteer-challenges = true");
    let warned = read(&steered).unwrap().warnings;
    assert!(warned.iter().all(|warning| warning.message() != message), "{warned:?}");
    let message = "`steer-challenges` is for services whose backends get the packets, and the proxy answers authorities in any \
                   case";
    one(&format!("steer-challenges = true\n{BACKEND}"), 7, message);
}
