//! `[[service.route]]`.

use std::sync::Arc;

use super::super::Reader;
use super::super::fault::{Checked, fault};
use super::super::raw::{Table, Value, excerpt};
use super::{Places, names, schema};
use crate::model::proxy::{HeaderName, Route};

/// Most routes of a service, which are tried one after the other.
const MAX_ROUTES: usize = 1_000;

/// Longest prefix of a path, in bytes.
const MAX_PATH: usize = 1_024;

impl Reader {
    pub(super) fn routes(&mut self, service: &Table<'_>, places: &mut Places) -> Checked<Vec<Route>> {
        let tables = service.tables("route", &schema::ROUTE)?;
        if let Some(beyond) = tables.get(MAX_ROUTES) {
            return Err(fault(
                beyond.span.clone(),
                format!("a service has at most {MAX_ROUTES} routes"),
            ));
        }
        let mut routes: Vec<Route> = Vec::with_capacity(tables.len());
        for table in &tables {
            let pool = table.require("pool", "\"api\"")?;
            let route = route(table, &pool)?;
            if let Some(first) = routes.iter().position(|first| takes_all(first, &route)) {
                let message = "no request comes to this route: one before it takes them all";
                let first = places.routes[first].0.clone();
                let fault = fault(table.span.clone(), message).other(first, "this one");
                self.warnings
                    .push(fault.hint("the first route that matches is taken: put the narrower one first"));
            }
            routes.push(route);
            places.routes.push((table.span.clone(), pool.span()));
        }
        Ok(routes)
    }
}

fn route(table: &Table<'_>, pool: &Value<'_>) -> Checked<Route> {
    let path_prefix = table.get("path-prefix");
    let replace_prefix = table.get("replace-prefix");
    if let (None, Some(value)) = (&path_prefix, &replace_prefix) {
        let message = "`replace-prefix` stands in the place of `path-prefix`, which is not given";
        return Err(value
            .fault(message)
            .hint("add: path-prefix = \"/v1\"; \"/\" is every path"));
    }
    Ok(Route {
        host: table.get("host").map(|value| host(&value)).transpose()?,
        path_prefix: path_prefix.map(|value| path(&value)).transpose()?,
        header: table.get("header").map(|value| header(&value)).transpose()?,
        pool: pool.name()?.into(),
        replace_prefix: replace_prefix.map(|value| path(&value)).transpose()?,
    })
}

/// In lower case. A name, with `*.` in front or without, or an address.
fn host(value: &Value<'_>) -> Checked<Arc<str>> {
    let text = value.string()?;
    let wrong = || value.fault(format!("\"{}\" is not a host", excerpt(text)));
    let name = text.strip_prefix("*.").unwrap_or(text);
    let bare = |text: &str| {
        text.strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .map(str::to_owned)
    };
    if let Some(v6) = bare(text) {
        return match v6.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => Ok(format!("[{ip}]").into()),
            Err(_) => Err(wrong()),
        };
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && !name.contains(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(wrong().hint(format!("it is compared without the port: write \"{}\"", excerpt(name))));
    }
    let label = |label: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let hint =
            "write a name, or \"*.example.com\" for all below it; names in other letters in their form with xn--";
        return Err(wrong().hint(hint));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Whole segments; a slash at the end does not count.
fn path(value: &Value<'_>) -> Checked<Arc<str>> {
    let text = value.string()?;
    let key = value.key();
    let wrong = |message: String| value.fault(message);
    if !text.starts_with('/') {
        return Err(wrong(format!("`{key}` begins with a slash")).hint(format!("write \"/{}\"", excerpt(text))));
    }
    if text.len() > MAX_PATH {
        return Err(wrong(format!("`{key}` has at most {MAX_PATH} bytes")));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        let hint = "it is part of a path, without a query; other characters are percent-encoded, as in %20";
        return Err(wrong(format!("`{key}` contains '{}'", c.escape_debug())).hint(hint));
    }
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    if text != "/"
        && trimmed[1..]
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    {
        let hint = "empty segments, \".\" and \"..\" are not compared: write the path that they lead to";
        return Err(wrong(format!("`{key}` is not a plain path")).hint(hint));
    }
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.into())
}

fn header(value: &Value<'_>) -> Checked<(HeaderName, Arc<str>)> {
    let table = value.table(&schema::ROUTE_HEADER).map_err(|fault| {
        if value.is_table() {
            return fault;
        }
        fault.hint("write header = { name = \"x-env\", value = \"beta\" }")
    })?;
    let name = names::header(&table.require("name", "\"x-env\"")?)?;
    let wanted = names::field(&table.require("value", "\"beta\"")?)?;
    Ok((name, wanted.into()))
}

/// Does whatever matches `later` match `first`, too?
fn takes_all(first: &Route, later: &Route) -> bool {
    let host = match (&first.host, &later.host) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(later)) => {
            first == later || first.strip_prefix('*').is_some_and(|rest| later.ends_with(rest))
        }
    };
    let path = match (&first.path_prefix, &later.path_prefix) {
        (None, _) => true,
        (Some(first), None) => &**first == "/",
        (Some(first), Some(later)) => {
            let rest = later.strip_prefix(&**first);
            &**first == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
    };
    host && path && (first.header.is_none() || first.header == later.header)
}
