//! Lab files that are refused, and for what.

use toml::Spanned;

use super::*;
use crate::lab::start::addressed;

const HEAD: &str = "name = \"x\"\nsummary = \"\"\n[[switch]]\nname = \"s\"\n";

/// A host with this interface.
fn plugged(name: &str, interface: &str) -> String {
    format!("[[host]]\nname = \"{name}\"\ninterface = [{{ name = \"eth0\", {interface} }}]\n")
}

fn refused(text: &str) -> String {
    match parse("lab.toml", &format!("{HEAD}{text}")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => {
            assert!(error.line().is_some(), "no place:\n{error}");
            error.to_string()
        }
    }
}

#[test]
fn contradictions_are_refused_at_their_place() {
    let host = plugged("a", "switch = \"s\", addresses = [\"10.0.0.1/24\"]");
    let step = |action: &str| format!("{host}[[step]]\ntitle = \"t\"\ndo = [{{ {action} }}]\n");
    let run = |run: &str| format!("[[host]]\nname = \"a\"\nrun = [{{ {run} }}]\n");
    for (text, what) in [
        (String::new(), "a lab without hosts"),
        (host.clone() + &host, "two hosts or switches are called \"a\""),
        (plugged("s", "switch = \"s\""), "two hosts or switches are called \"s\""),
        (plugged("a", "switch = \"t\""), "there is no switch t"),
        (plugged("a", "mtu = 1400"), "not plugged in anywhere"),
        (plugged("a", "peer = \"b/eth0\""), "there is no host b"),
        (plugged("a", "peer = \"a/eth0\""), "not the free end of a cable"),
        (
            plugged("a", "switch = \"s\", peer = \"b/eth0\"") + &plugged("b", ""),
            "not into both",
        ),
        (
            plugged("a", "peer = \"c/eth0\"")
                + &plugged("b", "peer = \"c/eth0\"")
                + "[[host]]\nname = \"c\"\ninterface = [{ name = \"eth0\" }]\n",
            "plugged in twice",
        ),
        (
            host.clone() + &plugged("b", "switch = \"s\", addresses = [\"10.0.0.1/24\"]"),
            "10.0.0.1 is the address of two interfaces",
        ),
        (
            format!(
                "{host}[[switch]]\nname = \"t\"\nuplinks = [\"s\"]\n[[switch]]\nname = \"u\"\nuplinks = [\"s\", \"t\"]\n"
            ),
            "switches that are wired in a loop",
        ),
        (
            plugged("a", "switch = \"s\", addresses = [\"10.0.0.1\"]"),
            "the length of its prefix",
        ),
        (plugged("a", "switch = \"s\", loss = \"all\""), "a part of all packets"),
        (plugged("a", "switch = \"s\", color = \"red\""), "unknown field `color`"),
        (run("kind = \"ngnix\""), "unknown kind of program `ngnix`"),
        (run("kind = \"serve\""), "needs to know where to listen"),
        (
            run("kind = \"nginx\", listen = [\"10.0.0.1:80\"]"),
            "`listen` is for `serve`",
        ),
        (run("kind = \"command\""), "a command without a program"),
        (
            run("kind = \"node-exporter\", config = \"\""),
            "has no configuration file",
        ),
        (
            run("kind = \"nginx\", ready = \"80\""),
            "neither an address nor a socket",
        ),
        (
            run("kind = \"nginx\" }, { kind = \"nginx\""),
            "two processes of host a are called \"nginx\"",
        ),
        (run("kind = \"serve\", listen = [\"80\"]"), "not an address and a port"),
        (
            run("kind = \"serve\", listen = [\"{address}:80\"]"),
            "no address for `{address}`",
        ),
        (
            run("kind = \"serve\", listen = [\"0.0.0.0:80\"], args = [\"{address6}\"]"),
            "no address for `{address6}`",
        ),
        (
            "[[host]]\nname = \"a\"\nset = { lab = \"x\" }\n".to_owned(),
            "`{lab}` stands for something else",
        ),
        (
            host.clone() + "[[host]]\nname = \"b\"\nlike = \"c\"\n",
            "there is no host c further up",
        ),
        (
            "[[host]]\nname = \"a\"\nlike = \"a\"\n".to_owned(),
            "there is no host a further up",
        ),
        (
            "[[host]]\nname = \"a\"\nfile = [{ path = \"../x\", text = \"\" }]\n".to_owned(),
            "in the host's folder",
        ),
        (step("run = { on = \"b\", shell = \"true\" }"), "there is no host b"),
        (
            step("run = { on = \"a\", shell = \"true\", expect = \"(\" }"),
            "not a regular expression",
        ),
        (step("kill = [\"a/nginx\"]"), "host a runs no nginx"),
        (
            step("await = { at = \"a/x\", service = \"web\" }"),
            "not a process of kind `fulcrum`",
        ),
        (
            step("requests = { from = \"a\", to = \"10.0.0.1\" }"),
            "write http://NAME/PATH",
        ),
        (
            step("requests = { from = \"a\", to = \"http://b/\", count = 0 }"),
            "no requests at all",
        ),
        (step("dance = {}"), "unknown variant `dance`"),
    ] {
        let error = refused(&text);
        assert!(error.contains(what), "expected {what:?} of\n{text}\n{error}");
    }
}

#[test]
fn cables_and_trees_of_switches_are_fine() {
    let text = format!(
        "{HEAD}{}{}[[switch]]\nname = \"t\"\nuplinks = [\"s\"]\n[[switch]]\nname = \"u\"\nuplinks = [\"t\"]\n",
        plugged("a", "peer = \"b/eth0\""),
        "[[host]]\nname = \"b\"\ninterface = [{ name = \"eth0\" }, { name = \"eth1\", switch = \"u\" }]\n"
    );
    let file = parse("lab.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(file.machines().collect::<Vec<_>>(), ["s", "t", "u", "a", "b"]);
    assert!(file.machine("b").is_ok() && file.machine("c").is_err());
}

#[test]
fn a_host_that_is_like_another_says_only_what_differs() {
    let text = r#"
[[host]]
name = "a"
set = { part = "first" }
interface = [{ name = "eth0", switch = "s", addresses = ["fd00::1/64", "10.0.0.1/24"] }]
loopback = ["10.9.9.9"]
route = [{ via = "10.0.0.254" }]
sysctl = { "net.ipv4.ip_forward" = 1 }
file = [{ path = "page", text = "{part} of {host}" }]
run = [{ kind = "serve", listen = ["{address}:80", "[{address6}]:80"] }]

[[host]]
name = "b"
like = "a"
set = { part = "second" }
interface = [{ name = "eth0", switch = "s", addresses = ["10.0.0.2/24", "fd00::2/64"] }]
sysctl = { "net.ipv4.ip_forward" = 0 }

[[host]]
name = "c"
like = "b"
interface = [{ name = "eth0", switch = "s", addresses = ["10.0.0.3/24", "fd00::3/64"] }]
file = [{ path = "other", text = "" }]
"#;
    let file = parse("lab.toml", &format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}"));
    let [a, b, c] = file.host.as_slice() else {
        panic!("three hosts")
    };
    for (host, page, address) in [(a, "first of a", "10.0.0.1:80"), (b, "second of b", "10.0.0.2:80")] {
        let texts: Vec<String> = host
            .file
            .iter()
            .flat_map(|file| &file.text)
            .map(|text| addressed(host, text))
            .collect();
        assert_eq!(texts, [page]);
        let listen = host
            .run
            .first()
            .and_then(|run| run.listen.first())
            .map(Spanned::get_ref);
        assert_eq!(listen.map(|listen| addressed(host, listen)), Some(address.to_owned()));
    }
    assert_eq!(addressed(c, "{part} {address6} {host}"), "second fd00::3 c");
    assert_eq!(c.file.first().map(|file| &**file.path.get_ref()), Some("other"));
    for host in [b, c] {
        assert_eq!((&host.loopback, host.route.len(), host.run.len()), (&a.loopback, 1, 1));
        let forwarding = host.sysctl.values().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(forwarding, ["0"]);
    }
}
