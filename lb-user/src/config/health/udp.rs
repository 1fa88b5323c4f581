//! `kind = "udp"`.

use super::super::fault::Checked;
use super::super::raw::{Table, Value};
use super::contradiction;
use crate::model::{UdpProbe, hex};

pub(super) const KEYS: &[&str] = &["payload", "payload-hex", "expect", "expect-hex", "expect-answer"];

/// Longest payload, in bytes: it fits into any packet.
const MAX_BYTES: usize = 1_200;

pub(super) fn probe(health: &Table<'_>) -> Checked<UdpProbe> {
    let expect_answer = health.get("expect-answer");
    let wanted = expect_answer.as_ref().map_or(Ok(true), Value::boolean)?;
    let payload = bytes(health, "payload", "payload-hex")?;
    let expect = bytes(health, "expect", "expect-hex")?;
    if let (false, Some((key, _)), Some(none)) = (wanted, &expect, &expect_answer) {
        let message = "no answer needs to come, so nothing can be in it";
        return Err(contradiction(key, message, none, "here").hint("remove it, or `expect-answer`"));
    }
    if wanted && payload.is_none() {
        health.require("payload", "\"ping\"").map_err(|fault| {
            let add = fault.hint.clone().unwrap_or_default();
            fault.hint(format!(
                "{add}; or set expect-answer = false: then only an ICMP error is a failure"
            ))
        })?;
    }
    Ok(UdpProbe {
        payload: payload.map_or_else(Vec::new, |(_, bytes)| bytes),
        expect_answer: wanted,
        expect: expect.map_or_else(Vec::new, |(_, bytes)| bytes),
    })
}

/// Bytes that are written as text or in hexadecimal, and where.
fn bytes<'a>(
    health: &Table<'a>,
    text_key: &'static str,
    hex_key: &'static str,
) -> Checked<Option<(Value<'a>, Vec<u8>)>> {
    let (value, bytes) = match (health.get(text_key), health.get(hex_key)) {
        (None, None) => return Ok(None),
        (Some(text), Some(hex)) => {
            let message = format!("`{text_key}` and `{hex_key}` are both given");
            return Err(contradiction(&hex, message, &text, "the other").hint("keep one of them"));
        }
        (Some(text), None) => {
            let bytes = text.string()?.as_bytes().to_vec();
            (text, bytes)
        }
        (None, Some(digits)) => {
            let Some(bytes) = hex::decode(digits.string()?) else {
                let message = format!("`{hex_key}` is not hexadecimal");
                return Err(digits
                    .fault(message)
                    .hint("two digits for each byte, as in \"00ff 10\""));
            };
            (digits, bytes)
        }
    };
    if bytes.is_empty() || bytes.len() > MAX_BYTES {
        return Err(value.fault(format!("a datagram of a probe has 1 to {MAX_BYTES} bytes")));
    }
    Ok(Some((value, bytes)))
}
