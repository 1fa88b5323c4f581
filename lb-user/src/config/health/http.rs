//! `kind = "http"` and `"https"`.

use std::ops::RangeInclusive;

use hyper::Method;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::fault::{Checked, Fault, Span, fault};
use super::super::raw::{Table, Value, excerpt};
use super::contradiction;
use crate::model::{ExpectBody, Hidden, HttpProbe, Pattern, Statuses, TlsCheck};

pub(super) const KEYS: &[&str] = &[
    "method",
    "host",
    "path",
    "headers",
    "expect-status",
    "expect-body",
    "expect-body-regex",
];

/// Longest path, and longest text to look for, in bytes.
const MAX_PATH: usize = 1_024;
const MAX_TEXT: usize = 1_024;

/// Longest value of a header, in bytes, and how many headers there may be.
const MAX_HEADER: usize = 4_096;
const MAX_HEADERS: usize = 32;

/// Memory that a compiled expression may take, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Headers that say where a message ends, and what becomes of the connection: they are the probe's own.
const FRAMING: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request, and what it wants; `tls` with the server's name from `host`, where it has none of its own.
pub(super) fn probe(health: &Table<'_>, tls: Option<TlsCheck>) -> Checked<HttpProbe> {
    let default = HttpProbe::default();
    let method = match health.get("method") {
        Some(value) => method(&value)?,
        None => default.method,
    };
    let host = health.get("host").map(|value| host(&value)).transpose()?;
    let name = host
        .as_ref()
        .map(|host| host.host().trim_matches(['[', ']']).to_owned())
        // Such as `0`, which may be sent as a host and is nobody's name.
        .filter(|name| ServerName::try_from(name.as_str()).is_ok());
    let expect_body = expect_body(health)?;
    if let (true, Some(body), Some(value)) = (method == "HEAD", body_key(health), health.get("method")) {
        let hint = "set method = \"GET\", or remove what the body is to be";
        return Err(contradiction(&body, "the answer to HEAD has no body", &value, "the method").hint(hint));
    }
    Ok(HttpProbe {
        tls: tls.map(|tls| TlsCheck {
            server_name: tls.server_name.or(name),
            ..tls
        }),
        method,
        host: host.map(|host| host.to_string()),
        path: match health.get("path") {
            Some(value) => path(&value)?,
            None => default.path,
        },
        headers: match health.get("headers") {
            Some(value) => headers(&value)?,
            None => default.headers,
        },
        expect_status: match health.get("expect-status") {
            Some(value) => statuses(&value)?,
            None => default.expect_status,
        },
        expect_body,
    })
}

fn method(value: &Value<'_>) -> Checked<String> {
    let text = value.string()?;
    let fault = || value.fault(format!("\"{}\" is not a method of HTTP for a probe", excerpt(text)));
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) | Err(_) => Err(fault().hint("such as \"GET\", \"HEAD\" or \"OPTIONS\"")),
        Ok(_) if text.chars().any(|c| c.is_ascii_lowercase()) => {
            Err(fault().hint(format!("write \"{}\": methods are in capitals", text.to_uppercase())))
        }
        Ok(method) => Ok(method.as_str().to_owned()),
    }
}

fn host(value: &Value<'_>) -> Checked<Authority> {
    let text = value.string()?;
    Authority::try_from(text)
        .ok()
        .filter(|host| !text.contains('@') && !host.host().is_empty())
        .ok_or_else(|| {
            let message = format!("\"{}\" is not a host", excerpt(text));
            value
                .fault(message)
                .hint("write a name, and a port where it is not the usual one: \"shop.example\", \"shop.example:8080\"")
        })
}

fn path(value: &Value<'_>) -> Checked<String> {
    let path = value.string()?;
    if !path.starts_with('/') {
        let hint = format!("write \"/{}\"", excerpt(path));
        return Err(value.fault("the path of a probe begins with a slash").hint(hint));
    }
    if path.len() > MAX_PATH {
        return Err(value.fault(format!("the path of a probe has at most {MAX_PATH} bytes")));
    }
    if let Some(c) = path.chars().find(|c| !c.is_ascii_graphic()) {
        let message = format!("the path of a probe contains '{}'", c.escape_debug());
        return Err(value.fault(message).hint("percent-encode it, as in %20 for a blank"));
    }
    Ok(path.to_owned())
}

fn headers(value: &Value<'_>) -> Checked<Vec<(String, Hidden<String>)>> {
    let entries = value.entries("headers = { x-probe = \"fulcrum\" }")?;
    if entries.len() > MAX_HEADERS {
        return Err(value.fault(format!("a probe has at most {MAX_HEADERS} further headers")));
    }
    let mut headers: Vec<(String, Hidden<String>)> = Vec::new();
    for (span, name, value) in entries {
        let name = header_name(&span, name)?;
        if headers.iter().any(|(other, _)| *other == name) {
            return Err(fault(span, format!("the header {name} stands here twice")));
        }
        let text = value.string()?;
        // The place is the name's, for what a header says may be a secret.
        if text.len() > MAX_HEADER || HeaderValue::try_from(text).is_err() {
            let message = format!("the header {name} has a value that cannot be sent");
            let hint = format!("up to {MAX_HEADER} bytes, without control characters");
            return Err(fault(span, message).hint(hint));
        }
        headers.push((name, Hidden(text.to_owned())));
    }
    Ok(headers)
}

fn header_name(span: &Span, text: &str) -> Checked<String> {
    let wrong = |message: String| fault(span.clone(), message);
    let Ok(name) = HeaderName::try_from(text) else {
        let message = format!("\"{}\" is not the name of a header", excerpt(text));
        return Err(wrong(message).hint("letters, digits and hyphens, as in x-probe"));
    };
    if name == header::HOST {
        return Err(wrong("the header host has a key of its own".to_owned()).hint("write host = \"shop.example\""));
    }
    if FRAMING.contains(&name) {
        return Err(wrong(format!("the header {name} is the probe's own")).hint("remove it"));
    }
    Ok(name.as_str().to_owned())
}

fn statuses(value: &Value<'_>) -> Checked<Statuses> {
    let list = value.list();
    if list.is_empty() {
        let hint = "such as expect-status = [200, \"300-399\"]";
        return Err(value.fault("no status would be good").hint(hint));
    }
    list.iter().map(status).collect::<Checked<_>>().map(Statuses)
}

/// A code, or a range of them in quotes.
fn status(value: &Value<'_>) -> Checked<RangeInclusive<u16>> {
    const CODES: RangeInclusive<u32> = 100..=599;
    let Some(text) = value.text() else {
        let code = value.whole(CODES)? as u16;
        return Ok(code..=code);
    };
    let code = |text: &str| text.parse().ok().filter(|code: &u16| CODES.contains(&u32::from(*code)));
    let range = match text.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)),
        None => code(text).map(|code| (code, code)),
    };
    range
        .filter(|(first, last)| first <= last)
        .map(|(first, last)| first..=last)
        .ok_or_else(|| {
            let message = format!("\"{}\" is not a range of statuses", excerpt(text));
            value.fault(message).hint("from 100 to 599, as in [200, \"300-399\"]")
        })
}

fn body_key<'a>(health: &Table<'a>) -> Option<Value<'a>> {
    health.get("expect-body").or_else(|| health.get("expect-body-regex"))
}

fn expect_body(health: &Table<'_>) -> Checked<Option<ExpectBody>> {
    match (health.get("expect-body"), health.get("expect-body-regex")) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(ExpectBody::Text(some_text(&text)?.to_owned()))),
        (None, Some(regex)) => {
            let pattern = regex::bytes::RegexBuilder::new(some_text(&regex)?)
                .size_limit(MAX_REGEX)
                .build();
            let pattern = pattern.map_err(|error| not_regex(&regex, &error))?;
            Ok(Some(ExpectBody::Regex(Pattern(pattern))))
        }
        (Some(text), Some(regex)) => {
            let message = "`expect-body` and `expect-body-regex` are both given";
            Err(contradiction(&regex, message, &text, "the other").hint("keep one of them"))
        }
    }
}

fn some_text<'a>(value: &Value<'a>) -> Checked<&'a str> {
    let text = value.string()?;
    if text.is_empty() || text.len() > MAX_TEXT {
        return Err(value.fault(format!("what a body must say has 1 to {MAX_TEXT} bytes")));
    }
    Ok(text)
}

/// The last line of what the library says: the lines before draw the expression.
fn not_regex(value: &Value<'_>, error: &regex::Error) -> Box<Fault> {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    let line = line.trim_start_matches("error: ").trim_end_matches('.');
    value
        .fault(format!("not a regular expression: {}", excerpt(line)))
        .hint("the syntax is that of https://docs.rs/regex; TOML's 'single quotes' keep backslashes")
}
