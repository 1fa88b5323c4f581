//! `headers`: rules that change heads.

use hyper::http::uri::Authority;

use super::super::fault::{Checked, fault};
use super::super::raw::{Table, Value};
use super::{contradiction, names, schema};
use crate::model::proxy::{Direction, HeaderAction, HeaderName, HeaderRule};

/// Most rules of a service, each of which costs every message.
const MAX_RULES: usize = 100;

/// The key of the one field whose absence or repetition makes a request invalid (RFC 9112 §3.2).
const HOST: &str = "host";

pub(super) fn rules(http: &Table<'_>) -> Checked<Vec<HeaderRule>> {
    let rules = http
        .tables("headers", &schema::HEADER_RULE)
        .map_err(|fault| match &fault.hint {
            Some(hint) if hint.starts_with("write [[") => {
                fault.hint("such as headers = [{ on = \"request\", set = \"x-env\", value = \"lab\" }]")
            }
            _ => fault,
        })?;
    if let Some(beyond) = rules.get(MAX_RULES) {
        let message = format!("a service has at most {MAX_RULES} rules for headers");
        return Err(fault(beyond.span.clone(), message));
    }
    rules.iter().map(rule).collect()
}

fn rule(table: &Table<'_>) -> Checked<HeaderRule> {
    let on = table
        .require("on", "\"request\"")?
        .choice(&[("request", Direction::Request), ("response", Direction::Response)])?;
    let mut actions = ["set", "add", "remove"]
        .into_iter()
        .filter_map(|key| Some((key, table.get(key)?)));
    let Some((key, action)) = actions.next() else {
        let message = format!("nothing is done in {}", schema::HEADER_RULE.name);
        let hint = "name a header after one of `set`, `add` and `remove`: set = \"x-env\"";
        return Err(fault(table.span.clone(), message).hint(hint));
    };
    if let Some((other, second)) = actions.next() {
        let message = format!("`{key}` and `{other}` are both given");
        let hint = "keep one, and write a rule of its own for the other";
        return Err(contradiction(&second, message, &action, "the other").hint(hint));
    }
    let name = names::header(&action)?;
    if name.as_str() == HOST && on == Direction::Request && key != "set" {
        let message = "a request has one host, neither more nor none";
        return Err(action.fault(message).hint("set = \"host\" gives it another"));
    }
    let action = match (key, table.get("value")) {
        ("remove", None) => HeaderAction::Remove(name),
        ("remove", Some(value)) => {
            let message = "what is removed has no value";
            return Err(contradiction(&value, message, &action, "here").hint("remove `value`"));
        }
        (_, None) => {
            let value = table.require("value", "\"lab\"")?;
            return Err(value.fault("`value` is missing"));
        }
        ("set", Some(value)) => HeaderAction::Set(name.clone(), of(&name, on, &value)?.into()),
        (_, Some(value)) => HeaderAction::Add(name.clone(), of(&name, on, &value)?.into()),
    };
    Ok(HeaderRule { on, action })
}

/// The value that a header is given.
fn of<'a>(name: &HeaderName, on: Direction, value: &Value<'a>) -> Checked<&'a str> {
    let text = names::field(value)?;
    let is_host =
        |text: &str| Authority::try_from(text).is_ok_and(|host| !text.contains('@') && !host.host().is_empty());
    if name.as_str() == HOST && on == Direction::Request && !is_host(text) {
        let hint = "write a name, and a port where it is not the usual one: \"shop.example\", \"shop.example:8080\"";
        return Err(value.fault("this is not a host").hint(hint));
    }
    Ok(text)
}
