//! The keys of a probe.

use std::fmt::Display;
use std::path::PathBuf;

use super::{Said, Texts, list};
use crate::config::duration;
use crate::model::probe::{DnsProbe, ExpectBody, HttpProbe, MysqlLogin, MysqlProbe, ScriptProbe, TlsCheck, UdpProbe};
use crate::model::{HealthKind, Hidden};

/// What this kind of probe is told, and what it is called. The values of headers are nobody's business: only their names are
/// shown.
pub(super) fn texts(kind: &HealthKind) -> Texts {
    let (label, keys) = match kind {
        HealthKind::Tcp => ("tcp", Vec::new()),
        HealthKind::Http(probe) if probe.tls.is_some() => ("https", http(probe)),
        HealthKind::Http(probe) => ("http", http(probe)),
        HealthKind::Tls(check) => ("tls", tls(check)),
        HealthKind::Udp(probe) => ("udp", udp(probe)),
        HealthKind::Dns(probe) => ("dns", dns(probe)),
        HealthKind::Mysql(probe) => ("mysql", mysql(probe)),
        HealthKind::Script(probe) => ("script", script(probe)),
        HealthKind::None => ("none", Vec::new()),
    };
    let mut texts = vec![("health.kind", label.into())];
    texts.extend(keys);
    texts
}

fn http(probe: &HttpProbe) -> Texts {
    let HttpProbe {
        tls: check,
        method,
        host,
        path,
        headers,
        expect_status,
        expect_body,
    } = probe;
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    let (body, regex) = match expect_body {
        Some(ExpectBody::Text(text)) => (Some(text.clone()), None),
        Some(ExpectBody::Regex(pattern)) => (None, Some(pattern.0.as_str().to_owned())),
        None => (None, None),
    };
    let mut texts = vec![
        ("health.method", method.clone().into()),
        ("health.path", path.clone().into()),
    ];
    texts.extend(set("health.host", host.as_ref()));
    if !names.is_empty() {
        let hidden = headers.iter().map(|(_, Hidden(value))| value.as_str());
        let said = Said {
            shown: format!("{} (values are not shown)", list(&names)),
            hidden: hidden.collect::<Vec<_>>().join("\n"),
        };
        texts.push(("health.headers", said));
    }
    texts.push(("health.expect-status", expect_status.to_string().into()));
    texts.extend(set("health.expect-body", body));
    texts.extend(set("health.expect-body-regex", regex));
    texts.extend(check.iter().flat_map(tls));
    texts
}

fn tls(check: &TlsCheck) -> Texts {
    let TlsCheck {
        server_name,
        verify,
        ca,
    } = check;
    let mut texts = vec![("health.verify", verify.to_string().into())];
    texts.extend(set("health.server-name", server_name.as_ref()));
    texts.extend(file("health.ca", ca.as_ref()));
    texts
}

fn udp(probe: &UdpProbe) -> Texts {
    let UdpProbe {
        payload,
        expect_answer,
        expect,
    } = probe;
    vec![
        ("health.payload", payload.escape_ascii().to_string().into()),
        ("health.expect-answer", expect_answer.to_string().into()),
        ("health.expect", expect.escape_ascii().to_string().into()),
    ]
}

fn dns(probe: &DnsProbe) -> Texts {
    let DnsProbe {
        name,
        record,
        expect_record,
    } = probe;
    vec![
        ("health.name", name.clone().into()),
        ("health.record", record.label().into()),
        ("health.expect-record", expect_record.to_string().into()),
    ]
}

fn mysql(probe: &MysqlProbe) -> Texts {
    let MysqlProbe {
        login,
        role,
        max_lag,
        without_source,
    } = probe;
    let mut texts = vec![("health.role", role.label().into())];
    texts.extend(set("health.max-lag", max_lag.map(duration::format)));
    texts.push(("health.without-source", without_source.to_string().into()));
    if let Some(MysqlLogin {
        user,
        password_file,
        tls: check,
    }) = login
    {
        texts.push(("health.user", user.clone().into()));
        texts.extend(file("health.password-file", password_file.as_ref()));
        texts.push(("health.tls", check.is_some().to_string().into()));
        texts.extend(check.iter().flat_map(tls));
    }
    texts
}

fn script(probe: &ScriptProbe) -> Texts {
    let ScriptProbe {
        program,
        arguments,
        dynamic_weight,
    } = probe;
    let words: Vec<_> = std::iter::once(program.display().to_string())
        .chain(arguments.iter().cloned())
        .collect();
    vec![
        ("health.command", words.join(" ").into()),
        ("health.dynamic-weight", dynamic_weight.to_string().into()),
    ]
}

fn set(key: &'static str, value: Option<impl Display>) -> Option<(&'static str, Said)> {
    Some((key, value?.to_string().into()))
}

fn file(key: &'static str, path: Option<&PathBuf>) -> Option<(&'static str, Said)> {
    set(key, path.map(|path| path.display()))
}
