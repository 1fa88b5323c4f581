//! `kind = "dns"`.

use super::super::fault::Checked;
use super::super::raw::{Table, Value, excerpt};
use crate::model::{DnsProbe, RecordType};

pub(super) const KEYS: &[&str] = &["name", "record", "expect-record"];

/// RFC 1035 §2.3.4, in bytes: a label, and a name with the lengths of its labels, which is two more than its text.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

pub(super) fn probe(health: &Table<'_>) -> Checked<DnsProbe> {
    let record = match health.get("record") {
        Some(value) => value.choice(&RecordType::ALL.map(|record| (record.label(), record)))?,
        None => RecordType::A,
    };
    let expect_record = health.get("expect-record");
    Ok(DnsProbe {
        name: name(&health.require("name", "\"www.example.com\"")?)?,
        record,
        expect_record: expect_record.map_or(Ok(false), |value| value.boolean())?,
    })
}

fn name(value: &Value<'_>) -> Checked<String> {
    let text = value.string()?;
    if text == "." {
        return Ok(text.to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > MAX_NAME || !name.split('.').all(label) {
        let message = format!("\"{}\" is not a name that can be asked for", excerpt(text));
        let hint = "letters, digits, hyphens and underscores between dots, up to 63 bytes each and 253 in all; names in \
                    other letters in their form with xn--";
        return Err(value.fault(message).hint(hint));
    }
    Ok(name.to_owned())
}
