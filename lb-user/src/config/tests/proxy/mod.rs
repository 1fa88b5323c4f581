//! Services of the proxy and pools: what comes out of good files, and what is warned of.

mod arbitrary;
mod warned;

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{NODE, SERVICE, read};
use crate::config::Subject;
use crate::model::acme::{Acme, Authority, ChallengeKind, ExternalAccount, KeyType};
use crate::model::proxy::{
    AccessLog, CertificateFiles, Direction, Eject, Forwarded, HashOn, HeaderAction, HeaderName, HeaderRule, Hsts, Http,
    HttpVersion, Limits, LogFormat, Proxy, ProxyProtocol, Queue, Retry, Route, StickyCookie, Timeouts, Tls, TlsVersion,
    Upstream, UpstreamTls,
};
use crate::model::{Balance, Config, HealthKind, Mode, Protocol, RingSize, Undeclared};

const DAY: Duration = Duration::from_secs(86_400);

fn config(text: &str) -> Config {
    let text = format!("{NODE}{}{text}", SERVICE.replace("dsr", "proxy"));
    read(&text).unwrap_or_else(|error| panic!("{error}")).config
}

/// What the service says of HTTP with `text` in it.
fn proxy(text: &str) -> Proxy {
    let proxy = config(text).services.remove(0).proxy;
    Arc::unwrap_or_clone(proxy.unwrap())
}

fn http(text: &str) -> Http {
    proxy(&format!("[service.http]\n{text}\n")).http
}

fn tls(text: &str) -> Tls {
    proxy(&format!("[service.tls]\n{text}\n")).tls.unwrap()
}

fn header(name: &str) -> HeaderName {
    HeaderName::new(name).unwrap()
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

#[test]
fn a_service_that_says_no_more_than_its_mode() {
    let config = config("");
    let service = &config.services[0];
    assert_eq!(service.proxy.as_deref(), Some(&Proxy::default()));
    assert_eq!((service.mode, service.balance), (Mode::Proxy, Balance::RoundRobin));
    assert_eq!(service.health.kind, HealthKind::Tcp);
    assert_eq!(config.node.proxy_threads, None);
    assert_eq!(http(""), Http::default());
    // What the documentation says of the defaults.
    let default = Http::default();
    assert!(!default.h2c && default.preserve_host && default.rewrite_location && default.redirect_to_https.is_none());
    assert_eq!(default.forwarded, [Forwarded::For, Forwarded::Proto, Forwarded::Host]);
    assert_eq!(default.request_id, Some(header("x-request-id")));
    assert_eq!((default.hash_on, default.sticky_cookie), (HashOn::Source, None));
    assert_eq!(default.retry_after, Duration::from_secs(5));
    assert_eq!((default.retry.attempts, default.retry.budget_percent), (2, 20));
    assert_eq!(
        (default.queue.length, default.queue.timeout),
        (1024, Duration::from_secs(2))
    );
}

#[test]
fn other_modes_say_nothing_of_it() {
    let config = read(&format!("{NODE}{SERVICE}")).unwrap().config;
    assert_eq!(config.services[0].proxy, None);
}

#[test]
fn threads() {
    let threads = |text: &str| read(&format!("{NODE}{text}")).unwrap().config.node.proxy_threads;
    assert_eq!(threads("proxy-threads = 256\n"), NonZeroU16::new(256));
    assert_eq!(threads("proxy-threads = 1\n"), NonZeroU16::new(1));
}

#[test]
fn every_way_to_choose() {
    for balance in [
        Balance::Maglev,
        Balance::SourceHash,
        Balance::RoundRobin,
        Balance::LeastConnections,
        Balance::ByRequests,
        Balance::ByTraffic,
        Balance::ByBusyness,
        Balance::Heartbeat,
        Balance::PeakEwma,
    ] {
        let text = format!("balance = \"{}\"\ntable-size = 128\n", balance.label());
        let service = config(&text).services.remove(0);
        assert_eq!(
            (service.balance, service.table_size),
            (balance, RingSize::new(128).unwrap())
        );
    }
}

#[test]
fn anything_may_be_behind_anything() {
    let text = "[[service]]\nname = \"web\"\nmode = \"proxy\"\naddress = [\"192.0.2.10:80\", \"[2001:db8::10]:8080\"]\n\
        undeclared = \"drop\"\n\
        [[service.backend]]\naddress = \"10.0.0.6:3000\"\n[[service.backend]]\naddress = \"[2001:db8::6]:443\"\n\
        [[service.backend]]\naddress = \"10.0.0.6:3001\"\n[[service.backend]]\naddress = \"web.example:80\"\n";
    let config = read(&format!("{NODE}{text}")).unwrap_or_else(|e| panic!("{e}")).config;
    let service = &config.services[0];
    assert_eq!(
        (service.vips.len(), service.backends.len(), service.named.len()),
        (2, 3, 1)
    );
    assert_eq!(service.undeclared, Some(Undeclared::Drop));
}

/// What other modes have may stay.
#[test]
fn one_word_switches_to_the_proxy() {
    let text = format!(
        "{NODE}{}balance = \"least-connections\"\nidle-timeout = \"1h\"\n[service.nat]\nsource = \"10.0.0.250\"\n\
         [service.tunnel]\nsource = \"10.0.0.0/8\"\n[[service.backend]]\naddress = \"10.0.0.6:80\"\n",
        SERVICE.replace("dsr", "nat").replace("192.0.2", "10.9.9")
    );
    let modes = ["nat", "proxy", "dsr", "tunnel"].map(|mode| {
        let config = read(&text.replace("\"nat\"", &format!("\"{mode}\"")))
            .unwrap_or_else(|e| panic!("{e}"))
            .config;
        let service = &config.services[0];
        assert_eq!(
            (service.balance, service.idle_timeout.as_secs()),
            (Balance::LeastConnections, 3_600)
        );
        service.mode.label()
    });
    assert_eq!(modes, ["nat", "proxy", "dsr", "tunnel"]);
}

#[test]
fn certificates() {
    let one = |certificate: &str, key: &str| CertificateFiles {
        certificate: certificate.into(),
        key: key.into(),
    };
    let expected = Tls {
        certificates: vec![one("/a.pem", "/a.pem"), one("/b.crt", "/b.key")],
        acme: None,
        client_ca: None,
        client_optional: false,
        min_version: TlsVersion::V1_2,
        ciphers: Vec::new(),
        alpn: vec![HttpVersion::H2, HttpVersion::H1],
        hsts: None,
    };
    let text = "certificates = [\"/a.pem\", { certificate = \"/b.crt\", key = \"/b.key\" }]";
    assert_eq!(tls(text), expected);
    assert_eq!(tls("certificates = \"/a.pem\"").certificates, [one("/a.pem", "/a.pem")]);
    let text = format!("{NODE}{}[service.tls]\n{text}\n", SERVICE.replace("dsr", "proxy"));
    let parsed = read(&text).unwrap();
    let place = |subject| {
        let error = parsed.error_at(&subject, "x", "y");
        (error.line().unwrap(), error.column().unwrap())
    };
    let web = || "web".to_owned();
    assert_eq!(place(Subject::Certificate(web(), 0)), (8, 17));
    assert_eq!(place(Subject::CertificateKey(web(), 0)), (8, 17));
    assert_eq!(place(Subject::Certificate(web(), 1)), (8, 43));
    assert_eq!(place(Subject::CertificateKey(web(), 1)), (8, 59));
}

#[test]
fn certificates_that_are_ordered() {
    let directory = "directory = \"https://ca.example/dir\"";
    let plain = tls(&format!("acme = {{ domains = [\"A.example\"], {directory} }}"));
    assert_eq!(plain.certificates, []);
    let acme = plain.acme.unwrap();
    let authority = Authority {
        directory: "https://ca.example/dir".into(),
        contact: Vec::new(),
        ca: None,
        external_account: None,
        storage: None,
    };
    let expected = Acme {
        domains: vec!["a.example".into()],
        authority: authority.clone(),
        key_type: KeyType::Ecdsa,
        challenge: ChallengeKind::Http01,
    };
    assert_eq!(*acme, expected);
    let both = tls(&format!(
        "certificates = \"/a.pem\"\n[service.tls.acme]\ndomains = [\"a.example\", \"xn--mller-kva.example\"]\n\
         {directory}\ncontact = [\"mailto:ops@a.example\"]\nkey-type = \"rsa\"\nchallenge = \"tls-alpn-01\"\n\
         external-account = {{ key-id = \"k-1\", key-file = \"/eab.key\" }}\nca = \"/ca.pem\"\nstorage = \"/srv/acme\"\n"
    ));
    assert_eq!(both.certificates.len(), 1);
    let expected = Acme {
        domains: vec!["a.example".into(), "xn--mller-kva.example".into()],
        authority: Authority {
            contact: vec!["mailto:ops@a.example".into()],
            ca: Some("/ca.pem".into()),
            external_account: Some(ExternalAccount {
                key_id: "k-1".into(),
                key_file: "/eab.key".into(),
            }),
            storage: Some("/srv/acme".into()),
            ..authority
        },
        key_type: KeyType::Rsa,
        challenge: ChallengeKind::TlsAlpn01,
    };
    assert_eq!(*both.acme.unwrap(), expected);
}

#[test]
fn terms_of_tls() {
    let tls = |text: &str| tls(&format!("certificates = [\"/a.pem\"]\n{text}"));
    let clients = tls("client-ca = \"/ca.pem\"");
    assert_eq!(
        (clients.client_ca, clients.client_optional),
        (Some(PathBuf::from("/ca.pem")), false)
    );
    assert!(!tls("client-ca = \"/ca.pem\"\nclient-auth = \"required\"").client_optional);
    assert!(tls("client-ca = \"/ca.pem\"\nclient-auth = \"optional\"").client_optional);
    assert_eq!(tls("min-version = \"1.3\"").min_version, TlsVersion::V1_3);
    let ciphers = "ciphers = [\"TLS13_CHACHA20_POLY1305_SHA256\", \"TLS_AES_128_GCM_SHA256\", \
        \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]";
    let names = [
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    ];
    assert_eq!(tls(ciphers).ciphers, names);
    assert_eq!(tls("alpn = [\"http/1.1\"]").alpn, [HttpVersion::H1]);
    let hsts = |max_age, include_subdomains, preload| {
        Some(Hsts {
            max_age,
            include_subdomains,
            preload,
        })
    };
    assert_eq!(tls("hsts = \"180d\"").hsts, hsts(180 * DAY, false, false));
    assert_eq!(tls("hsts = \"0s\"").hsts, hsts(Duration::ZERO, false, false));
    let table = "hsts = { max-age = \"365d\", include-subdomains = true, preload = true }";
    assert_eq!(tls(table).hsts, hsts(365 * DAY, true, true));
}

#[test]
fn http_with_everything() {
    let text = "h2c = true\nredirect-to-https = true\npreserve-host = false\nrewrite-location = false\n\
        forwarded = [\"forwarded\", \"x-real-ip\", \"x-forwarded-port\"]\ntrusted-proxies = [\"10.0.0.0/8\", \"::/0\"]\n\
        proxy-protocol = \"192.0.2.1\"\nrequest-id = \"X-Trace\"\nhash-on = \"header:X-User\"\n\
        sticky-cookie = { name = \"fulcrum\", max-age = \"1h\" }\n\
        headers = [{ on = \"request\", set = \"Host\", value = \"shop.example:8080\" },\n\
        { on = \"response\", add = \"x-a\", value = \"a\\tb\" }, { on = \"response\", remove = \"Server\" }]\n\
        access-log = { format = \"json\", path = \"/var/log/web.log\", max-size = \"100MiB\", keep = 7 }\n\
        timeouts = { client-header = \"1s\", client-body = \"2s\", connect = \"3s\", response = \"4s\", idle = \"5s\", \
        tunnel = \"24h\", shutdown = \"0s\" }\n\
        limits = { header = \"16KiB\", header-count = 50, uri = 4096, body = \"1GiB\", streams = 10, connections = 20 }\n\
        error-pages = { \"503\" = \"/sorry.html\", 404 = \"/none.html\" }\nretry-after = \"1m\"\n\
        retry = { attempts = 3, budget = 10 }\neject = { errors = 7, slower = 3.5, base = \"1s\", max = \"1m\" }\n\
        queue = { length = 0, timeout = \"1s\" }\n";
    let second = Duration::from_secs(1);
    let expected = Http {
        h2c: true,
        redirect_to_https: NonZeroU16::new(443),
        preserve_host: false,
        rewrite_location: false,
        forwarded: vec![Forwarded::Standard, Forwarded::RealIp, Forwarded::Port],
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
        proxy_protocol: vec!["192.0.2.1/32".parse().unwrap()],
        request_id: Some(header("x-trace")),
        hash_on: HashOn::Header(header("x-user")),
        sticky_cookie: Some(StickyCookie {
            name: "fulcrum".into(),
            max_age: Some(3_600 * second),
        }),
        headers: vec![
            HeaderRule {
                on: Direction::Request,
                action: HeaderAction::Set(header("host"), "shop.example:8080".into()),
            },
            HeaderRule {
                on: Direction::Response,
                action: HeaderAction::Add(header("x-a"), "a\tb".into()),
            },
            HeaderRule {
                on: Direction::Response,
                action: HeaderAction::Remove(header("server")),
            },
        ],
        access_log: Some(AccessLog {
            format: LogFormat::Json,
            path: "/var/log/web.log".into(),
            max_size: Some(100 << 20),
            keep: 7,
        }),
        timeouts: Timeouts {
            client_header: second,
            client_body: 2 * second,
            connect: 3 * second,
            response: 4 * second,
            idle: 5 * second,
            tunnel: DAY,
            shutdown: Duration::ZERO,
        },
        limits: Limits {
            header: 16 << 10,
            header_count: 50,
            uri: 4_096,
            body: Some(1 << 30),
            streams: number(10),
            connections: number(20),
        },
        error_pages: vec![(503, "/sorry.html".into()), (404, "/none.html".into())],
        retry_after: Duration::from_secs(60),
        retry: Retry {
            attempts: 3,
            budget_percent: 10,
        },
        eject: Some(Eject {
            errors: number(7),
            slower: Some(number(350)),
            base: second,
            max: 60 * second,
        }),
        queue: Queue {
            length: 0,
            timeout: second,
        },
    };
    assert_eq!(http(text), expected);
}

#[test]
fn short_forms() {
    assert_eq!(
        http("redirect-to-https = 8443").redirect_to_https,
        NonZeroU16::new(8_443)
    );
    assert_eq!(http("redirect-to-https = false").redirect_to_https, None);
    assert_eq!(http("request-id = \"\"").request_id, None);
    assert_eq!(http("forwarded = []").forwarded, []);
    assert_eq!(http("hash-on = \"path\"").hash_on, HashOn::Path);
    assert_eq!(http("hash-on = \"cookie:id\"").hash_on, HashOn::Cookie("id".into()));
    let cookie = http("sticky-cookie = \"fulcrum\"").sticky_cookie.unwrap();
    assert_eq!((&*cookie.name, cookie.max_age), ("fulcrum", None));
    let log = http("access-log = \"/var/log/web.log\"").access_log.unwrap();
    assert_eq!((log.format, log.max_size, log.keep), (LogFormat::Combined, None, 5));
    assert_eq!(http("retry = false").retry.attempts, 0);
    assert_eq!(http("retry = true").retry, Retry::default());
    assert_eq!(http("eject = false").eject, None);
    assert_eq!(http("eject = true").eject, Some(Eject::default()));
}

#[test]
fn one_of_a_pair_moves_the_others_default() {
    assert_eq!(http("limits = { header = \"4KiB\" }").limits.uri, 4_096);
    let eject = |text: &str| http(&format!("eject = {{ {text} }}")).eject.unwrap();
    let seconds = |eject: Eject| (eject.base.as_secs(), eject.max.as_secs());
    assert_eq!(seconds(eject("max = \"5s\"")), (5, 5));
    assert_eq!(seconds(eject("base = \"1h\"")), (3_600, 3_600));
    assert_eq!(eject("slower = 3").slower, NonZeroU32::new(300));
}

#[test]
fn how_backends_are_spoken_to() {
    let upstream = |text: &str| proxy(&format!("[service.upstream]\n{text}\n")).upstream;
    assert_eq!(upstream(""), Upstream::default());
    let tls = |text: &str| upstream(&format!("tls = {text}")).tls;
    let plain = UpstreamTls {
        verify: true,
        server_name: None,
        ca: None,
    };
    assert_eq!(
        (tls("false"), tls("true"), tls("{}")),
        (None, Some(plain.clone()), Some(plain))
    );
    let expected = Upstream {
        version: HttpVersion::H2,
        tls: Some(UpstreamTls {
            verify: false,
            server_name: Some("shop.example".into()),
            ca: None,
        }),
        proxy_protocol: Some(ProxyProtocol::V2),
        max_connections: NonZeroU32::new(100),
    };
    let text = "http = \"2\"\ntls = { verify = false, server-name = \"shop.example\" }\nproxy-protocol = \"v2\"\n\
        max-connections = 100";
    assert_eq!(upstream(text), expected);
    assert_eq!(tls("{ ca = \"/ca.pem\" }").unwrap().ca, Some("/ca.pem".into()));
}

#[test]
fn routes_and_pools() {
    let text = "[[service.route]]\nhost = \"*.Example.com\"\npath-prefix = \"/v1/\"\npool = \"api\"\n\
        replace-prefix = \"/\"\nheader = { name = \"X-Env\", value = \"beta\" }\n[[service.route]]\npool = \"api\"\n\
        host = \"[2001:DB8::1]\"\n\
        [[pool]]\nname = \"api\"\nbalance = \"peak-ewma\"\ntable-size = 64\ndrain-timeout = \"never\"\n\
        [pool.health]\nkind = \"http\"\n[pool.upstream]\nhttp = \"2\"\n\
        [[pool.backend]]\nname = \"a\"\naddress = \"10.0.0.9:8080\"\n[[pool.backend]]\naddress = \"api.example:80\"\n";
    let config = config(text);
    let proxy = config.services[0].proxy.as_ref().unwrap();
    let expected = [
        Route {
            host: Some("*.example.com".into()),
            path_prefix: Some("/v1".into()),
            header: Some((header("x-env"), "beta".into())),
            pool: "api".into(),
            replace_prefix: Some("/".into()),
        },
        Route {
            host: Some("[2001:db8::1]".into()),
            path_prefix: None,
            header: None,
            pool: "api".into(),
            replace_prefix: None,
        },
    ];
    assert_eq!(proxy.routes, expected);
    let [_, pool] = &config.services[..] else { panic!() };
    assert!(pool.is_pool() && pool.vips.is_empty());
    assert_eq!(
        (&*pool.name, pool.mode, pool.protocol),
        ("api", Mode::Proxy, Protocol::Tcp)
    );
    assert_eq!(
        (pool.balance, pool.table_size.slots(), pool.drain_timeout),
        (Balance::PeakEwma, 64, None)
    );
    assert!(matches!(pool.health.kind, HealthKind::Http(_)));
    assert_eq!((pool.backends.len(), pool.named.len()), (1, 1));
    let expected = Proxy {
        upstream: Upstream {
            version: HttpVersion::H2,
            ..Upstream::default()
        },
        ..Proxy::default()
    };
    assert_eq!(pool.proxy.as_deref(), Some(&expected));
}

/// A pool's hosts become addresses as a service's do, of either family.
#[test]
fn hosts_of_pools() {
    use crate::config::hosts::{names, resolve};
    let text = "[[service.route]]\npool = \"api\"\n[[pool]]\nname = \"api\"\n\
        [[pool.backend]]\naddress = \"a.example:80\"\n[[pool.backend]]\naddress = \"b.example:80\"\n";
    let file = Arc::new(config(text));
    let hosts = [("a.example", "2001:db8::6"), ("b.example", "10.0.0.6")];
    assert_eq!(names(&file).len(), 2);
    let known = hosts.map(|(name, ip)| (Arc::from(name), Ok([ip.parse().unwrap()].into())));
    let resolved = resolve(&file, &known.into(), &file);
    let addresses: Vec<String> = resolved.services[1]
        .backends
        .iter()
        .map(|b| b.address.to_string())
        .collect();
    assert_eq!(addresses, ["[2001:db8::6]:80", "10.0.0.6:80"]);
}

/// What lies in the kernel's maps is bounded; what the proxy has is not in there.
#[test]
fn rings_of_the_proxy_take_no_room() {
    let service = |mode: &str, number: u32| {
        format!(
            "[[service]]\nname = \"s{number}\"\naddress = \"192.0.2.10:{}\"\nmode = \"{mode}\"\ntable-size = 1048576\n",
            number + 1
        )
    };
    let text = |mode: &str| -> String { (0..17).map(|number| service(mode, number)).collect() };
    read(&format!("{NODE}{}", text("proxy"))).unwrap();
    assert!(read(&format!("{NODE}{}", text("dsr"))).is_err());
}
