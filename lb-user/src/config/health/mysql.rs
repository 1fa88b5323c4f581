//! `kind = "mysql"`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::fault::Checked;
use super::super::raw::{Table, Value};
use super::{contradiction, tls};
use crate::model::{MysqlLogin, MysqlProbe, MysqlRole};

pub(super) const KEYS: &[&str] = &["user", "password-file", "tls", "role", "max-lag", "without-source"];

/// Longest name of an account, in bytes.
const MAX_USER: usize = 255;

/// Limits of `max-lag`: servers tell it in whole seconds.
const MAX_LAG: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);

pub(super) fn probe(health: &Table<'_>) -> Checked<MysqlProbe> {
    let Some(user) = health.get("user") else {
        let keys = ["password-file", "tls", "role", "max-lag", "without-source"]
            .into_iter()
            .chain(tls::KEYS.iter().copied());
        let first = keys.filter_map(|key| Some((key, health.get(key)?)));
        return match first.min_by_key(|(_, value)| value.span().start) {
            Some((key, value)) => {
                let message = format!("`{key}` is for a probe that logs in, and no `user` is given");
                Err(value.fault(message).hint("add: user = \"fulcrum\""))
            }
            None => Ok(MysqlProbe::default()),
        };
    };
    let role = match health.get("role") {
        Some(value) => value.choice(&MysqlRole::ALL.map(|role| (role.label(), role)))?,
        None => MysqlRole::Any,
    };
    let max_lag = health.get("max-lag");
    if let (MysqlRole::Primary, Some(lag), Some(role)) = (role, &max_lag, health.get("role")) {
        let message = "a primary is behind nobody";
        return Err(contradiction(lag, message, &role, "the role").hint("remove `max-lag`, or set role = \"replica\""));
    }
    let without_source = health.get("without-source");
    if let (None, Some(value)) = (&max_lag, &without_source) {
        let message = "`without-source` is for a probe that asks how far a replica is behind";
        return Err(value
            .fault(message)
            .hint("add: max-lag = \"10s\"; or remove `without-source`"));
    }
    Ok(MysqlProbe {
        login: Some(login(&user, health)?),
        role,
        max_lag: max_lag.map(|value| value.duration(MAX_LAG)).transpose()?,
        without_source: without_source.map_or(Ok(false), |value| value.boolean())?,
    })
}

fn login(user: &Value<'_>, health: &Table<'_>) -> Checked<MysqlLogin> {
    let name = user.string()?;
    if name.is_empty() || name.len() > MAX_USER || name.chars().any(char::is_control) {
        let message = format!("the name of an account has 1 to {MAX_USER} bytes, without control characters");
        return Err(user.fault(message));
    }
    let encrypted = health.get("tls").map_or(Ok(false), |value| value.boolean())?;
    let stray = tls::KEYS.iter().filter_map(|key| Some((key, health.get(key)?)));
    if let (false, Some((key, value))) = (encrypted, stray.min_by_key(|(_, value)| value.span().start)) {
        let message = format!("`{key}` is for a connection over TLS, and this one is not");
        return Err(value.fault(message).hint(format!("add: tls = true; or remove `{key}`")));
    }
    Ok(MysqlLogin {
        user: name.to_owned(),
        password_file: health.get("password-file").map(|value| value.path()).transpose()?,
        tls: encrypted.then(|| tls::terms(health)).transpose()?,
    })
}
