//! Names of header fields, values of them, and names of cookies.

use super::super::fault::{Checked, Fault, Span, fault};
use super::super::raw::{Value, excerpt};
use crate::model::proxy::{HeaderName, is_token};

/// Longest name, and longest value, in bytes.
const MAX_NAME: usize = 128;
const MAX_VALUE: usize = 4_096;

/// Fields that say where a message ends and what becomes of its connection (RFC 9110 §7.6.1, RFC 9113 §8.2.2): they are
/// the proxy's own on both sides.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a field that users may say something of.
pub(super) fn header(value: &Value<'_>) -> Checked<HeaderName> {
    header_at(&value.span(), value.string()?)
}

/// The same out of `text`, which stands there.
pub(super) fn header_at(span: &Span, text: &str) -> Checked<HeaderName> {
    let name = HeaderName::new(text).filter(|_| text.len() <= MAX_NAME);
    let name = name.ok_or_else(|| {
        let message = format!("\"{}\" is not the name of a header", excerpt(text));
        let hint = format!("up to {MAX_NAME} letters, digits and hyphens, as in x-env");
        fault(span.clone(), message).hint(hint)
    })?;
    if FRAMING.contains(&name.as_str()) {
        let message = format!("the header {} is the proxy's own", name.as_str());
        let hint = "it says where a message ends, or what becomes of its connection, which differs on both sides";
        return Err(fault(span.clone(), message).hint(hint));
    }
    Ok(name)
}

/// The value of a field (RFC 9110 §5.5).
pub(super) fn field<'a>(value: &Value<'a>) -> Checked<&'a str> {
    let text = value.string()?;
    let control = |c: char| c.is_control() && c != '\t';
    let wrong = |message: String| -> Box<Fault> { value.fault(message) };
    if text.len() > MAX_VALUE {
        return Err(wrong(format!("the value of a header has at most {MAX_VALUE} bytes")));
    }
    if let Some(c) = text.chars().find(|&c| control(c)) {
        let message = format!("the value of a header contains '{}'", c.escape_debug());
        return Err(wrong(message).hint("it is one line, without control characters"));
    }
    if text.trim_matches([' ', '\t']) != text {
        let hint = "whoever reads it takes them away: remove them";
        return Err(wrong("the value of a header begins or ends with blanks".to_owned()).hint(hint));
    }
    Ok(text)
}

/// The name of a cookie (RFC 6265 §4.1.1), out of `text`, which stands there.
pub(super) fn cookie<'a>(span: &Span, text: &'a str) -> Checked<&'a str> {
    if is_token(text.as_bytes()) && text.len() <= MAX_NAME {
        return Ok(text);
    }
    let message = format!("\"{}\" is not the name of a cookie", excerpt(text));
    let hint = format!("up to {MAX_NAME} letters, digits, hyphens and underscores");
    Err(fault(span.clone(), message).hint(hint))
}
