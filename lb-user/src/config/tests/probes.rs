//! Kinds of health check: what their keys come to, and any of them, for the property tests.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::{NODE, SERVICE, read};
use crate::model::{
    DnsProbe, ExpectBody, HealthKind, Hidden, HttpProbe, MysqlLogin, MysqlProbe, MysqlRole, Pattern, RecordType,
    ScriptProbe, Statuses, TlsCheck, UdpProbe,
};

fn kind_of(text: &str) -> HealthKind {
    let read = read(&format!("{NODE}{SERVICE}[service.health]\n{text}"));
    read.unwrap_or_else(|error| panic!("{error}")).config.services[0]
        .health
        .kind
        .clone()
}

#[test]
fn http_with_everything() {
    let text = "kind = \"https\"\nmethod = \"OPTIONS\"\nhost = \"shop.example:8443\"\npath = \"/a?b\"\n\
        headers = { X-Probe = \"1\", authorization = \"Bearer secret\" }\nexpect-status = [200, \"300-399\", \"404\"]\n\
        expect-body-regex = '^o+k\\b'\nverify = false\n";
    let HealthKind::Http(probe) = kind_of(text) else {
        panic!()
    };
    let expected = HttpProbe {
        tls: Some(TlsCheck {
            server_name: Some("shop.example".to_owned()),
            verify: false,
            ca: None,
        }),
        method: "OPTIONS".to_owned(),
        host: Some("shop.example:8443".to_owned()),
        path: "/a?b".to_owned(),
        headers: vec![
            ("x-probe".to_owned(), Hidden("1".to_owned())),
            ("authorization".to_owned(), Hidden("Bearer secret".to_owned())),
        ],
        expect_status: Statuses(vec![200..=200, 300..=399, 404..=404]),
        expect_body: Some(ExpectBody::Regex(Pattern(regex::bytes::Regex::new("^o+k\\b").unwrap()))),
    };
    assert_eq!(*probe, expected);
    assert_eq!(probe.expect_status.to_string(), "200 or 300-399 or 404");
    assert!(!format!("{probe:?}").contains("secret"));

    let HealthKind::Http(probe) = kind_of("kind = \"http\"\nexpect-status = 204\nexpect-body = \"ok\"\n") else {
        panic!()
    };
    let expected = HttpProbe {
        expect_status: Statuses(vec![204..=204]),
        expect_body: Some(ExpectBody::Text("ok".to_owned())),
        ..HttpProbe::default()
    };
    assert_eq!(*probe, expected);
    assert_eq!(HttpProbe::default().expect_status.to_string(), "2xx or 3xx");
}

#[test]
fn tls_terms() {
    let HealthKind::Tls(terms) = kind_of("kind = \"tls\"\n") else {
        panic!()
    };
    assert_eq!(*terms, TlsCheck::default());
    let text = "kind = \"https\"\nhost = \"[2001:db8::1]:8443\"\nca = \"/etc/ca.pem\"\n";
    let HealthKind::Http(probe) = kind_of(text) else {
        panic!()
    };
    let expected = TlsCheck {
        server_name: Some("2001:db8::1".to_owned()),
        verify: true,
        ca: Some("/etc/ca.pem".into()),
    };
    assert_eq!(probe.tls, Some(expected));
    let HealthKind::Http(probe) = kind_of(&format!("{text}server-name = \"shop.example\"\n")) else {
        panic!()
    };
    assert_eq!(probe.tls.as_ref().unwrap().server_name.as_deref(), Some("shop.example"));
    let HealthKind::Http(probe) = kind_of("kind = \"https\"\nhost = \"0\"\n") else {
        panic!()
    };
    assert_eq!(
        (probe.host.as_deref(), &probe.tls.as_ref().unwrap().server_name),
        (Some("0"), &None)
    );
}

#[test]
fn datagrams() {
    let HealthKind::Udp(probe) = kind_of("kind = \"udp\"\npayload = \"ping\"\nexpect-hex = \"00 fF\"\n") else {
        panic!()
    };
    let expected = UdpProbe {
        payload: b"ping".to_vec(),
        expect_answer: true,
        expect: vec![0, 255],
    };
    assert_eq!(*probe, expected);
    let HealthKind::Udp(probe) = kind_of("kind = \"udp\"\nexpect-answer = false\n") else {
        panic!()
    };
    assert!(!probe.expect_answer && probe.payload.is_empty());

    let HealthKind::Dns(probe) = kind_of("kind = \"dns\"\nname = \"www.example.com.\"\n") else {
        panic!()
    };
    let expected = DnsProbe {
        name: "www.example.com".to_owned(),
        record: RecordType::A,
        expect_record: false,
    };
    assert_eq!(*probe, expected);
    let HealthKind::Dns(probe) = kind_of("kind = \"dns\"\nname = \".\"\nrecord = \"NS\"\nexpect-record = true\n")
    else {
        panic!()
    };
    assert!(probe.name == "." && probe.record == RecordType::Ns && probe.expect_record);
}

#[test]
fn databases_and_commands() {
    let HealthKind::Mysql(probe) = kind_of("kind = \"mysql\"\n") else {
        panic!()
    };
    assert_eq!(*probe, MysqlProbe::default());
    let text = "kind = \"mysql\"\nuser = \"fulcrum\"\npassword-file = \"/etc/pw\"\ntls = true\nverify = false\n\
        role = \"replica\"\nmax-lag = \"10s\"\nwithout-source = true\n";
    let HealthKind::Mysql(probe) = kind_of(text) else {
        panic!()
    };
    let expected = MysqlProbe {
        login: Some(MysqlLogin {
            user: "fulcrum".to_owned(),
            password_file: Some("/etc/pw".into()),
            tls: Some(TlsCheck {
                verify: false,
                ..TlsCheck::default()
            }),
        }),
        role: MysqlRole::Replica,
        max_lag: Some(Duration::from_secs(10)),
        without_source: true,
    };
    assert_eq!(*probe, expected);

    let HealthKind::Script(probe) =
        kind_of("kind = \"script\"\ncommand = [\"/bin/check\", \"-v\"]\ndynamic-weight = true\n")
    else {
        panic!()
    };
    let expected = ScriptProbe {
        program: "/bin/check".into(),
        arguments: vec!["-v".to_owned()],
        dynamic_weight: true,
    };
    assert_eq!(*probe, expected);
}

/// Any kind, as the file could say it.
pub(super) fn kind() -> impl Strategy<Value = HealthKind> {
    prop_oneof![
        Just(HealthKind::Tcp),
        Just(HealthKind::None),
        http().prop_map(|probe| HealthKind::Http(probe.into())),
        tls().prop_map(|terms| HealthKind::Tls(terms.into())),
        udp().prop_map(|probe| HealthKind::Udp(probe.into())),
        dns().prop_map(|probe| HealthKind::Dns(probe.into())),
        mysql().prop_map(|probe| HealthKind::Mysql(probe.into())),
        script().prop_map(|probe| HealthKind::Script(probe.into())),
    ]
}

fn path() -> impl Strategy<Value = String> {
    "(/[ -~äß]{1,10}){1,8}"
}

fn http() -> impl Strategy<Value = HttpProbe> {
    let status = (100u16..600, 100u16..600).prop_map(|(a, b)| a.min(b)..=a.max(b));
    let header = ("x-[a-z0-9]{1,8}", "[ -~]{0,20}").prop_map(|(name, value)| (name, Hidden(value)));
    let headers = prop::collection::vec(header, 0..4).prop_map(|mut headers| {
        headers.sort_by(|(a, _), (b, _)| a.cmp(b));
        headers.dedup_by(|(a, _), (b, _)| a == b);
        headers
    });
    let pattern = |text: String| ExpectBody::Regex(Pattern(regex::bytes::Regex::new(&text).unwrap()));
    let body = prop_oneof![
        "[ -~ä\n]{1,40}".prop_map(ExpectBody::Text),
        "[a-z]{1,8}(\\.\\*|\\\\d\\+)?".prop_map(pattern),
    ];
    (
        prop::option::of(tls()),
        select(vec!["GET", "POST", "OPTIONS"]),
        prop::option::of("[a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?"),
        "/[!-~]{0,40}",
        headers,
        prop::collection::vec(status, 1..4).prop_map(Statuses),
        prop::option::of(body),
    )
        .prop_map(
            |(tls, method, host, path, headers, expect_status, expect_body)| HttpProbe {
                // Without a name of its own, the server has that of the host.
                tls: tls.map(|tls| TlsCheck {
                    server_name: tls.server_name.or_else(|| {
                        let host = host.as_deref()?;
                        Some(host.split(':').next().unwrap().to_owned())
                    }),
                    ..tls
                }),
                method: method.to_owned(),
                host,
                path,
                headers,
                expect_status,
                expect_body,
            },
        )
}

fn tls() -> impl Strategy<Value = TlsCheck> {
    let name = prop::option::of("([a-z][a-z0-9]{0,9}(\\.[a-z]{1,5}){0,2})|(10\\.0\\.0\\.[1-9])");
    (name, any::<bool>(), prop::option::of(path())).prop_map(|(server_name, verify, ca)| TlsCheck {
        server_name,
        verify,
        ca: ca.filter(|_| verify).map(Into::into),
    })
}

fn udp() -> impl Strategy<Value = UdpProbe> {
    let bytes = |least: usize| prop::collection::vec(any::<u8>(), least..1200);
    let answered = (bytes(1), bytes(0)).prop_map(|(payload, expect)| UdpProbe {
        payload,
        expect_answer: true,
        expect,
    });
    let silent = bytes(0).prop_map(|payload| UdpProbe {
        payload,
        expect_answer: false,
        expect: Vec::new(),
    });
    prop_oneof![answered, silent]
}

fn dns() -> impl Strategy<Value = DnsProbe> {
    let name = prop_oneof![Just(".".to_owned()), "[a-zA-Z0-9_-]{1,63}(\\.[a-z0-9]{1,10}){0,5}"];
    (name, select(RecordType::ALL.to_vec()), any::<bool>()).prop_map(|(name, record, expect_record)| DnsProbe {
        name,
        record,
        expect_record,
    })
}

fn mysql() -> impl Strategy<Value = MysqlProbe> {
    let login = ("[ -~ä]{1,40}", prop::option::of(path()), prop::option::of(tls()));
    let role = select(MysqlRole::ALL.to_vec());
    let lag = prop::option::of((1_000u64..2_592_000_000).prop_map(Duration::from_millis));
    let asked = (login, role, lag, any::<bool>()).prop_map(|((user, password_file, tls), role, max_lag, without)| {
        let max_lag = max_lag.filter(|_| role != MysqlRole::Primary);
        MysqlProbe {
            login: Some(MysqlLogin {
                user,
                password_file: password_file.map(Into::into),
                tls,
            }),
            role,
            max_lag,
            without_source: without && max_lag.is_some(),
        }
    });
    prop_oneof![Just(MysqlProbe::default()), asked]
}

fn script() -> impl Strategy<Value = ScriptProbe> {
    let words = (path(), prop::collection::vec("[ -~ä\n]{0,20}", 0..4));
    (words, any::<bool>()).prop_map(|((program, arguments), dynamic_weight)| ScriptProbe {
        program: program.into(),
        arguments,
        dynamic_weight,
    })
}
