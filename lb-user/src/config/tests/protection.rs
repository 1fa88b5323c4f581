//! Protection: what its keys and files come to, what is warned of, and any of it, for the property tests.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{ConfigError, Parsed, load, parse};
use super::{NODE, SERVICE, read};
use crate::model::protection::BOGONS;
use crate::model::{
    Config, Enforcement, Limit, Limits, Lists, Mode, Prefix, Protection, Protocol, Service, ServiceProtection,
    SynCookies,
};

/// What `[protection]` says with `text` in it.
fn of_node(text: &str) -> Protection {
    let text = format!("{NODE}{SERVICE}[protection]\n{text}");
    let parsed = read(&text).unwrap_or_else(|error| panic!("{error}"));
    parsed.config.protection.unwrap()
}

/// What `[service.protection]` says with `text` in it.
fn of_service(text: &str) -> ServiceProtection {
    let text = format!("{NODE}{SERVICE}[service.protection]\n{text}");
    let mut parsed = read(&text).unwrap_or_else(|error| panic!("{error}"));
    parsed.config.services.remove(0).protection.unwrap()
}

fn prefixes(list: &[Prefix]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn limit(rate: u32, burst: u32, per_v4: u8, per_v6: u8) -> Option<Limit> {
    Some(Limit {
        rate: NonZeroU32::new(rate).unwrap(),
        burst: NonZeroU32::new(burst).unwrap(),
        per_v4,
        per_v6,
    })
}

#[test]
fn an_empty_table_switches_on_what_has_defaults() {
    assert_eq!(of_node(""), Protection::default());
    assert!(Protection::default().malformed);
    let nothing = read(&format!("{NODE}{SERVICE}")).unwrap().config;
    assert!(nothing.protection.is_none() && nothing.services[0].protection.is_none());
    assert_eq!(of_service(""), ServiceProtection::default());
}

#[test]
fn every_key_is_read() {
    let both = "enforcement = \"observe\"\nallow = [\"10.0.0.0/8\"]\ndeny = [\"all\"]\nexempt = [\"10.0.0.7\"]\n\
                connections-per-second = { limit = 1000, burst = 2000, per = \"/24\", per-ipv6 = \"/48\" }\n\
                packets-per-second = { limit = 50_000 }\n";
    let node = of_node(&format!(
        "{both}malformed = false\nbogons = true\nicmp-per-second = {{ limit = 100, per = \"/0\", per-ipv6 = \"/128\" }}\n\
         syn-cookies = {{ above = 1000 }}\n"
    ));
    let lists = Lists {
        allow: Arc::new(["10.0.0.0/8".parse().unwrap()]),
        deny: Arc::new(["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
        exempt: Arc::new(["10.0.0.7/32".parse().unwrap()]),
    };
    let limits = Limits {
        connections: limit(1000, 2000, 24, 48),
        packets: limit(50_000, 50_000, 32, 64),
    };
    let expected = Protection {
        enforcement: Enforcement::Observe,
        malformed: false,
        bogons: true,
        lists: lists.clone(),
        limits,
        icmp: limit(100, 100, 0, 128),
        syn_cookies: Some(SynCookies { above: 1000 }),
    };
    assert_eq!(node, expected);
    let expected = ServiceProtection {
        enforcement: Some(Enforcement::Observe),
        lists,
        limits,
        syn_cookies: None,
    };
    assert_eq!(of_service(both), expected);
    let proxy = SERVICE.replace("dsr", "proxy");
    let always = format!("{NODE}{proxy}[service.protection]\nsyn-cookies = {{ above = 0 }}\n");
    let protection = read(&always).unwrap().config.services.remove(0).protection;
    assert_eq!(protection.unwrap().syn_cookies, Some(SynCookies { above: 0 }));
}

#[test]
fn lists_are_sorted_without_what_does_not_count() {
    let deny = |text: &str| prefixes(&of_node(&format!("deny = {text}\n")).lists.deny);
    assert_eq!(
        deny("[\"2001:db8::1/32\", \"192.0.2.7\", \"10.255.0.1/8\", \"10.0.0.0/16\"]"),
        ["10.0.0.0/8", "10.0.0.0/16", "192.0.2.7/32", "2001:db8::/32"]
    );
    assert_eq!(deny("\"all\""), ["0.0.0.0/0", "::/0"]);
    assert_eq!(deny("[]"), [""; 0]);
}

#[test]
fn bogons_are_prefixes() {
    for text in BOGONS {
        let prefix: Prefix = text.parse().unwrap();
        assert_eq!(prefix.first(), prefix.ip, "{text}");
        assert_eq!(prefix.to_string(), text);
    }
}

fn warnings(text: &str) -> Vec<(usize, usize, String)> {
    told(&read(text).unwrap_or_else(|error| panic!("{error}")))
}

fn told(parsed: &Parsed) -> Vec<(usize, usize, String)> {
    let place = |w: &super::super::Warning| (w.line().unwrap(), w.column().unwrap(), w.message().to_owned());
    parsed.warnings.iter().map(place).collect()
}

const BACKEND: &str = "[[service.backend]]\naddress = \"10.0.0.6:80\"\n";

#[test]
fn who_is_allowed_anyway() {
    let nothing = "`allow` lists nothing that is denied".to_owned();
    for table in ["protection", "service.protection"] {
        let lists = |text: &str| warnings(&format!("{NODE}{SERVICE}{BACKEND}[{table}]\n{text}"));
        for text in [
            "allow = [\"10.0.0.0/8\"]\n",
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\", \"::/0\"]\n",
        ] {
            assert_eq!(lists(text), [(10, 9, nothing.clone())], "{text}");
        }
        for text in [
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"all\"]\n",
            "allow = [\"10.0.0.0/8\", \"10.1.2.0/24\"]\ndeny = [\"10.1.0.0/16\"]\n",
            "allow = []\nexempt = [\"10.0.0.0/8\"]\n",
            "deny = [\"10.0.0.0/8\"]\n",
        ] {
            assert_eq!(lists(text), [], "{text}");
        }
    }
    // What all are denied is no matter of a service's list, and the other way round.
    let apart = format!(
        "{NODE}{SERVICE}{BACKEND}[service.protection]\nallow = [\"10.0.0.0/8\"]\n[protection]\ndeny = [\"all\"]\n"
    );
    assert_eq!(warnings(&apart), [(10, 9, nothing)]);
}

#[test]
fn a_table_that_says_nothing() {
    let text = format!("{NODE}{SERVICE}[service.protection]\n{BACKEND}");
    assert_eq!(
        warnings(&text),
        [(7, 1, "[service.protection] says nothing".to_owned())]
    );
    assert_eq!(warnings(&format!("{NODE}{SERVICE}{BACKEND}[protection]\n")), []);
}

#[test]
fn cookies_are_for_the_proxy() {
    let message = "`syn-cookies` has no effect: no service has mode = \"proxy\"".to_owned();
    let text = format!("{NODE}{SERVICE}{BACKEND}[protection]\nsyn-cookies = {{ above = 0 }}\n");
    assert_eq!(warnings(&text), [(10, 15, message)]);
    assert_eq!(warnings(&text.replace("dsr", "proxy")), []);
    assert_eq!(
        warnings(&text.replace("syn-cookies = { above = 0 }", "enforcement = \"observe\"")),
        []
    );
}

/// A file whose lists are files, beside them.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), content).unwrap();
    }

    /// The file with this in `[protection]`, in which `DIR` stands for the folder.
    fn text(&self, protection: &str) -> String {
        let folder = self.0.path().display().to_string();
        format!("{NODE}{SERVICE}{BACKEND}[protection]\n{protection}").replace("DIR", &folder)
    }

    fn load(&self, protection: &str) -> Result<Parsed, ConfigError> {
        self.write("fulcrum.toml", self.text(protection));
        load(&self.0.path().join("fulcrum.toml"))
    }

    /// What an error says and where, with `DIR` in place of the folder.
    fn refused(&self, protection: &str) -> (Option<usize>, Option<usize>, String) {
        let error = self.load(protection).unwrap_err();
        let message = error.message().replace(&self.0.path().display().to_string(), "DIR");
        (error.line(), error.column(), message)
    }

    fn files(&self, names: &[&str]) -> Vec<std::path::PathBuf> {
        names.iter().map(|name| self.0.path().join(name)).collect()
    }
}

#[test]
fn files_are_parts_of_lists() {
    let folder = Folder::new();
    folder.write(
        "drop.txt",
        "; a list\r\n1.10.16.0/20 ; SBL256894\r\n\r\n10.0.0.9/8\n10.0.0.0/8\n",
    );
    folder.write("v6.txt", "2001:db8::/32 # all of it\n");
    folder.write("empty.txt", "");
    let text = "deny = [\"file:DIR/drop.txt\", \"file:DIR/v6.txt\", \"10.0.0.0/8\", \"192.0.2.7\"]\n\
                exempt = [\"file:DIR/drop.txt\"]\nallow = [\"file:DIR/empty.txt\"]\n";
    let parsed = folder.load(text).unwrap();
    let lists = parsed.config.protection.as_ref().unwrap().lists.clone();
    let expected = ["1.10.16.0/20", "10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"];
    assert_eq!(prefixes(&lists.deny), expected);
    assert_eq!(prefixes(&lists.exempt), expected[..2]);
    assert!(lists.allow.is_empty() && parsed.warnings.is_empty());
    // Each is noted once, and that it has changed is seen.
    let files = folder.files(&["drop.txt", "empty.txt", "v6.txt"]);
    assert!(parsed.files().paths().eq(files.iter().map(std::path::PathBuf::as_path)));
    assert_eq!(parsed.files().changed(), None);
    folder.write("v6.txt", "2001:db8::/33\n");
    assert_eq!(parsed.files().changed(), Some(files[2].as_path()));
}

#[test]
fn a_file_that_many_name_is_kept_once() {
    let folder = Folder::new();
    folder.write("deny.txt", "10.0.0.0/8\n");
    let service = "[service.protection]\ndeny = \"file:DIR/deny.txt\"\n";
    let text = format!(
        "deny = [\"file:DIR/deny.txt\"]\n{}{service}",
        SERVICE.replace("web", "b").replace(":80", ":81")
    );
    let config = folder.load(&text).unwrap().config;
    let (node, service) = (
        config.protection.unwrap(),
        config.services[1].protection.as_ref().unwrap(),
    );
    assert!(Arc::ptr_eq(&node.lists.deny, &service.lists.deny));
}

#[test]
fn files_that_cannot_be_used() {
    let folder = Folder::new();
    let of = |text: &str| folder.refused(&format!("deny = [\"192.0.2.0/24\", \"{text}\"]\n"));
    let at = |message: &str| (Some(10), Some(25), message.to_owned());
    assert_eq!(of("file:DIR/none.txt"), at("DIR/none.txt: there is no such file"));
    assert_eq!(of("file:DIR"), at("DIR: it is a directory"));
    assert_eq!(
        of("file:/dev/zero"),
        at("/dev/zero: it is not a file with a text in it")
    );
    folder.write("latin1.txt", b"10.0.0.0/8\n# \xf6\n");
    assert_eq!(
        of("file:DIR/latin1.txt"),
        at("DIR/latin1.txt:2: this is not UTF-8 text")
    );
    let large = fs::File::create(folder.0.path().join("large.txt")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    assert_eq!(of("file:DIR/large.txt"), at("DIR/large.txt: it is larger than 64 MiB"));
    folder.write("bad.txt", "10.0.0.0/8\n\n10.0.0.0/33 ; x\n");
    assert_eq!(
        of("file:DIR/bad.txt"),
        at("DIR/bad.txt:3: \"10.0.0.0/33\" is not a prefix")
    );
    folder.write("mapped.txt", "::ffff:10.0.0.0/104");
    let clothes = "DIR/mapped.txt:1: ::ffff:10.0.0.0 is an IPv4 address in IPv6 clothes";
    assert_eq!(of("file:DIR/mapped.txt"), at(clothes));
    folder.write("noise.txt", [b'a'; 100_000]);
    let (_, _, message) = of("file:DIR/noise.txt");
    assert!(message.len() < 120, "{message}");
    // What was looked at on the way is known, so that it is noticed when it gets better.
    let error = folder.load("allow = \"file:DIR/mapped.txt\"\ndeny = \"file:DIR/none.txt\"\n");
    assert!(
        error
            .unwrap_err()
            .files()
            .paths()
            .eq(folder.files(&["mapped.txt"]).iter())
    );
    let error = folder.load("deny = \"file:DIR/none.txt\"\n").unwrap_err();
    folder.write("none.txt", "");
    let files = folder.files(&["none.txt"]);
    assert_eq!(error.files().changed(), Some(files[0].as_path()));
}

#[test]
fn an_error_in_a_file_is_shown_where_it_is_named() {
    let folder = Folder::new();
    folder.write("deny.txt", "10.0.0.0/8\nten\n");
    let error = folder.load("deny = [\"file:DIR/deny.txt\"]\n").unwrap_err();
    let shown = error.to_string().replace(&folder.0.path().display().to_string(), "DIR");
    for part in [
        "error: DIR/deny.txt:2: \"ten\" is not a prefix\n",
        "--> DIR/fulcrum.toml:10:9\n",
        "deny = [\"file:DIR/deny.txt\"]\n",
        "help: write a prefix or an address, as in 172.16.0.0/16, 10.0.0.7 or 100::/96; write one prefix or address in a line; \
         `#` and `;` begin remarks",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn whoever_sends_a_text_reads_no_files() {
    let folder = Folder::new();
    folder.write("secret", "root:$6$abc:1\n");
    let error = parse("x", &folder.text("deny = [\"file:DIR/secret\"]\n")).unwrap_err();
    assert!(
        error.message().ends_with("/secret:1: this line is not a prefix"),
        "{error}"
    );
    assert!(!error.to_string().contains("$6$"), "{error}");
}

#[test]
fn what_is_allowed_and_denied_names_both_places() {
    let folder = Folder::new();
    folder.write("allow.txt", "# partners\n\n10.0.0.0/8\n");
    folder.write("deny.txt", "192.0.2.0/24\n10.1.1.1/8\n");
    let both = "10.0.0.0/8 is both allowed and denied";
    let of = |allow: &str, deny: &str| folder.refused(&format!("allow = [\"{allow}\"]\ndeny = [\"{deny}\"]\n"));
    let at = |message: String| (Some(11), Some(9), message);
    assert_eq!(
        of("file:DIR/allow.txt", "file:DIR/deny.txt"),
        at(format!("{both}, allowed in DIR/allow.txt:3, denied in DIR/deny.txt:2"))
    );
    assert_eq!(
        of("10.0.0.0/8", "file:DIR/deny.txt"),
        at(format!("{both}, denied in DIR/deny.txt:2"))
    );
    assert_eq!(
        of("file:DIR/allow.txt", "10.0.0.0/8"),
        at(format!("{both}, allowed in DIR/allow.txt:3"))
    );
    // Another length is another prefix, and the longer one decides.
    assert!(
        folder
            .load("allow = [\"10.0.0.0/9\"]\ndeny = [\"file:DIR/deny.txt\"]\n")
            .is_ok()
    );
}

#[test]
fn a_million_lines_are_read() {
    const MANY: u32 = 1_000_000;
    let folder = Folder::new();
    let mut text = String::with_capacity(32 << 20);
    for n in 0..MANY {
        // In no order, and none twice: the factor is odd.
        let ip = std::net::Ipv4Addr::from(n.wrapping_mul(2_654_435_761));
        writeln!(text, "{ip} ; SBL{n}").unwrap();
    }
    folder.write("deny.txt", &text);
    let config = folder
        .load("deny = [\"file:DIR/deny.txt\", \"::/0\"]\n")
        .unwrap()
        .config;
    let deny = &config.protection.unwrap().lists.deny;
    assert_eq!(deny.len(), MANY as usize + 1);
    assert!(deny.is_sorted_by(|a, b| a < b));
    // Whatever is wrong, and however late.
    folder.write("deny.txt", text + "300.0.0.0/8\n");
    let (.., message) = folder.refused("deny = [\"file:DIR/deny.txt\"]\n");
    assert_eq!(message, "DIR/deny.txt:1000001: \"300.0.0.0/8\" is not a prefix");
}

/// A prefix without bits behind its length, and on which list it is.
fn any_prefix() -> impl Strategy<Value = (Prefix, u8)> {
    let v4 = (any::<u32>(), 0u8..=32).prop_map(|(ip, length)| (IpAddr::V4(ip.into()), length));
    // Where no address is one of IPv4 in disguise.
    let v6 = (any::<u128>(), 0u8..=128).prop_map(|(ip, length)| (IpAddr::V6((ip | 1 << 127).into()), length));
    (prop_oneof![v4, v6], 0u8..3).prop_map(|((ip, length), list)| {
        let prefix = Prefix { ip, length };
        let ip = prefix.first();
        (Prefix { ip, length }, list)
    })
}

fn any_lists() -> impl Strategy<Value = Lists> {
    prop::collection::vec(any_prefix(), 0..12).prop_map(|prefixes| {
        let mut seen = BTreeSet::new();
        let unique: BTreeSet<(Prefix, u8)> = prefixes
            .into_iter()
            .filter(|(prefix, _)| seen.insert(*prefix))
            .collect();
        let list = |wanted| {
            let on_it = unique.iter().filter(|(_, list)| *list == wanted);
            on_it.map(|(prefix, _)| *prefix).collect()
        };
        Lists {
            allow: list(0),
            deny: list(1),
            exempt: list(2),
        }
    })
}

fn any_limit() -> impl Strategy<Value = Option<Limit>> {
    let number = || (1..=Limit::MOST).prop_map(|n| NonZeroU32::new(n).unwrap());
    let per_v6 = prop_oneof![0u8..=64, Just(128)];
    let limit = (number(), number(), 0u8..=32, per_v6).prop_map(|(rate, burst, per_v4, per_v6)| Limit {
        rate,
        burst,
        per_v4,
        per_v6,
    });
    prop::option::of(limit)
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (any_limit(), any_limit()).prop_map(|(connections, packets)| Limits { connections, packets })
}

fn any_cookies() -> impl Strategy<Value = Option<SynCookies>> {
    prop::option::of((0..=Limit::MOST).prop_map(|above| SynCookies { above }))
}

fn any_enforcement() -> impl Strategy<Value = Enforcement> {
    prop::sample::select(vec![Enforcement::Enforce, Enforcement::Observe])
}

/// Of the node; and of services, as far as they are there.
pub(super) type Any = (Option<Protection>, Vec<Option<ServiceProtection>>);

pub(super) fn any_protection() -> impl Strategy<Value = Any> {
    let truths = any::<(bool, bool)>();
    let node = (
        any_enforcement(),
        truths,
        any_lists(),
        any_limits(),
        any_limit(),
        any_cookies(),
    );
    let node = node.prop_map(
        |(enforcement, (malformed, bogons), lists, limits, icmp, syn_cookies)| Protection {
            enforcement,
            malformed,
            bogons,
            lists,
            limits,
            icmp,
            syn_cookies,
        },
    );
    let service = (
        prop::option::of(any_enforcement()),
        any_lists(),
        any_limits(),
        any_cookies(),
    );
    let service = service.prop_map(|(enforcement, lists, limits, syn_cookies)| ServiceProtection {
        enforcement,
        lists,
        limits,
        syn_cookies,
    });
    (
        prop::option::of(node),
        prop::collection::vec(prop::option::of(service), 6),
    )
}

/// The configuration with these, as far as its services can have them.
pub(super) fn with(mut config: Config, (node, services): Any) -> Config {
    config.protection = node;
    let apart = config.services.iter_mut().filter(|service| !service.is_pool());
    for (service, protection) in apart.zip(services) {
        service.protection = protection.map(|protection| fitting(service, protection));
    }
    config
}

fn fitting(service: &Service, mut protection: ServiceProtection) -> ServiceProtection {
    if service.protocol == Protocol::Udp {
        protection.limits.connections = None;
    }
    if service.mode != Mode::Proxy {
        protection.syn_cookies = None;
    }
    protection
}
