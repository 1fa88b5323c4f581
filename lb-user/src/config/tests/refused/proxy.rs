//! What a service of the proxy, a pool and the node cannot say, and what they contradict in each other.

use super::{Case, after_node, check, file, in_proxy, in_service};
use crate::config::tests::{NODE, SERVICE};

const POOL: &str = "[[pool]]\nname = \"api\"\n";

#[test]
fn what_cannot_steer_challenges() {
    let message = "authorities look for http-01 at port 80 of TCP, which this service does not have";
    let hint = "remove it, or set it for the service at port 80";
    check(vec![
        in_service(
            "steer-challenges = \"yes\"\n",
            (7, 20),
            "`steer-challenges` must be true or false, not \"yes\"",
            "",
        ),
        in_service("protocol = \"udp\"\nsteer-challenges = true\n", (8, 20), message, hint),
        file(
            &format!("{NODE}{}steer-challenges = true\n", SERVICE.replace(":80", ":8080")),
            (7, 20),
            message,
            hint,
        ),
        // They are of the proxy, and it has no more to do with it than that.
        in_service(
            "steer-challenges = true\n[service.http]\n",
            (8, 1),
            "[service.http] is for mode = \"proxy\"",
            "remove [service.http]",
        ),
    ]);
}

#[test]
fn other_modes_have_no_http() {
    check(vec![
        in_service(
            "[service.tls]\ncertificates = [\"/x.pem\"]\n",
            (7, 1),
            "[service.tls] is for mode = \"proxy\"",
            "set mode = \"proxy\", or remove [service.tls]",
        ),
        in_service(
            "[service.http]\n",
            (7, 1),
            "[service.http] is for mode = \"proxy\"",
            "HTTP",
        ),
        in_service(
            "[service.upstream]\n",
            (7, 1),
            "[service.upstream] is for mode = \"proxy\"",
            "remove [service.upstream]",
        ),
        // The first one in the file.
        in_service(
            "[[service.route]]\npool = \"api\"\n[service.tls]\n",
            (7, 1),
            "[[service.route]] is for mode = \"proxy\"",
            "set mode",
        ),
        in_service(
            "balance = \"by-requests\"\n",
            (7, 11),
            "balance = \"by-requests\" is for mode = \"proxy\"",
            "dsr has balance = \"maglev\" or \"source-hash\" or \"round-robin\" or \"least-connections\"",
        ),
        in_service(
            "balance = \"ewma\"\n",
            (7, 11),
            "\"ewma\" is not a value of `balance`",
            "balance is \"maglev\"",
        ),
        in_proxy(
            "balance = \"peak_ewma\"\n",
            (7, 11),
            "\"peak_ewma\" is not a value of `balance`",
            "did you mean \"peak-ewma\"?",
        ),
    ]);
}

#[test]
fn what_the_proxy_is_not() {
    let proxy = |address: &str| format!("[[service]]\nname = \"web\"\nmode = \"proxy\"\naddress = {address}\n");
    check(vec![
        in_proxy(
            "protocol = \"udp\"\n",
            (7, 12),
            "the proxy speaks HTTP over TCP, and this is UDP",
            "another mode",
        ),
        in_proxy("track = false\n", (7, 9), "`track` is for UDP services", "remove it"),
        after_node(
            &proxy("\"192.0.2.10:80-89\""),
            (6, 11),
            "the proxy listens on one port of a VIP, and 192.0.2.10:80-89 has many",
            "one by one",
        ),
        after_node(
            &proxy("[\"192.0.2.10:80\", \"192.0.2.10:*\"]"),
            (6, 29),
            "the proxy listens on one port of a VIP, and 192.0.2.10:* has many",
            "one by one",
        ),
        in_proxy(
            "[service.health]\nvia = \"service\"\n",
            (8, 7),
            "via = \"service\" is the way of packets to a VIP, and the proxy sends to the backend's own address",
            "probes go where requests go",
        ),
        after_node(
            &format!("{POOL}[pool.health]\nkind = \"http\"\nvia = \"service\"\n"),
            (7, 7),
            "via = \"service\" is the way of packets to a VIP, and the proxy sends to the backend's own address",
            "remove `via`",
        ),
        in_proxy(
            "balance = \"maglev\"\ntable-size = 1000\n",
            (8, 14),
            "`table-size` must be a power of two, 1000 is not",
            "1024",
        ),
    ]);
}

#[test]
fn threads() {
    let threads = |text: &str| -> Case {
        file(
            &format!("{NODE}proxy-threads = {text}\n"),
            (3, 17),
            Box::leak(format!("`proxy-threads` must be a whole number from 1 to 256, not {text}").into_boxed_str()),
            "",
        )
    };
    check(vec![threads("0"), threads("257"), threads("-1"), threads("1.5")]);
}

#[test]
fn the_daemon_listens_elsewhere() {
    let proxy = SERVICE.replace("dsr", "proxy");
    let six = proxy.replace("192.0.2.10", "[2001:db8::10]");
    let message = "the proxy cannot listen on 192.0.2.10:80: `[admin] listen` has that port of every address";
    let hint = "another port";
    check(vec![
        after_node(
            &format!("[admin]\nlisten = \"0.0.0.0:80\"\n{proxy}"),
            (7, 11),
            message,
            hint,
        ),
        after_node(
            &format!("[admin]\nlisten = \"[::]:80\"\n{proxy}"),
            (7, 11),
            message,
            hint,
        ),
        after_node(
            &format!("[admin]\nlisten = \"[::]:80\"\n{six}"),
            (7, 11),
            "the proxy cannot listen on [2001:db8::10]:80: `[admin] listen` has that port of every address",
            hint,
        ),
    ]);
    for listen in ["0.0.0.0:81", "127.0.0.1:80"] {
        super::read(&format!("{NODE}[admin]\nlisten = \"{listen}\"\n{proxy}")).unwrap();
    }
    super::read(&format!("{NODE}[admin]\nlisten = \"0.0.0.0:80\"\n{six}")).unwrap();
}

#[test]
fn pools() {
    let backend = "[[pool.backend]]\naddress = \"10.0.0.9:80\"\n";
    check(vec![
        after_node("[[pool]]\n", (3, 1), "`name` is missing in [[pool]]", "name = \"api\""),
        after_node(
            "[pool]\n",
            (3, 1),
            "`pool` must be a list of tables",
            "[[pool]] in double",
        ),
        after_node("[[pool]]\nname = \"a b\"\n", (4, 8), "the name contains ' '", "letters"),
        after_node(
            &format!("{POOL}address = \"192.0.2.10:80\"\n"),
            (5, 1),
            "unknown key `address` in [[pool]]",
            "belongs into [[service]]",
        ),
        after_node(
            &format!("{POOL}[pool.http]\n"),
            (5, 7),
            "unknown key `http` in [[pool]]",
            "[[pool]] takes: name, balance,",
        ),
        after_node(
            &format!("{POOL}[pool.upstream]\nhttps = true\n"),
            (6, 1),
            "unknown key `https` in [pool.upstream]",
            "did you mean `http`?",
        ),
        after_node(
            &format!("{POOL}[pool.health]\nintervall = \"1s\"\n"),
            (6, 1),
            "unknown key `intervall` in [pool.health]",
            "did you mean `interval`?",
        ),
        after_node(
            &format!("{POOL}{backend}{backend}"),
            (8, 11),
            "backend 10.0.0.9:80 stands twice in this pool",
            "weight",
        ),
        after_node(
            &format!(
                "{POOL}{backend}name = \"a\"\n{}name = \"a\"\n",
                backend.replace(".9", ".8")
            ),
            (10, 8),
            "two backends of this pool are called \"a\"",
            "",
        ),
        after_node(&format!("{POOL}{POOL}"), (6, 8), "two pools are called \"api\"", ""),
        after_node(
            &format!("{SERVICE}{}", POOL.replace("api", "web")),
            (8, 8),
            "two of services and pools are called \"web\"",
            "",
        ),
        after_node(
            &format!("{SERVICE}{POOL}{}", backend.replace("10.0.0.9", "192.0.2.10")),
            (10, 11),
            "backend 192.0.2.10:80 has the address of a VIP",
            "own address",
        ),
    ]);
}

#[test]
fn logs_that_are_shared() {
    let proxy = |name: &str, port: u16, log: &str| {
        let service = SERVICE.replace("dsr", "proxy").replace("web", name);
        format!(
            "{}[service.http]\naccess-log = {log}\n",
            service.replace(":80", &format!(":{port}"))
        )
    };
    let turned = "{ path = \"/var/log/web.log\", max-size = \"1MiB\" }";
    check(vec![after_node(
        &(proxy("a", 80, "\"/var/log/web.log\"") + &proxy("b", 81, turned)),
        (14, 23),
        "two services write to /var/log/web.log in different ways",
        "name another file",
    )]);
    super::read(&format!("{NODE}{}{}", proxy("a", 80, turned), proxy("b", 81, turned))).unwrap();
}
