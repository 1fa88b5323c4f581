//! `connections-per-second` and the other limits, and `syn-cookies`.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::super::fault::{Checked, Fault};
use super::super::raw::{Table, Value, excerpt};
use super::super::schema::Shape;
use crate::model::{Limit, SynCookies};

/// A limit that `table` may have; `shape` is that of its own table.
pub(super) fn limit(table: &Table<'_>, key: &'static str, shape: &'static Shape) -> Checked<Option<Limit>> {
    let Some(value) = table.get(key) else {
        return Ok(None);
    };
    if let Some(number) = value.integer() {
        let hint = format!("write {key} = {{ limit = {number} }}");
        return Err(value.mistyped("a table").hint(hint));
    }
    let table = value.table(shape)?;
    let rate = table.require("limit", "1000")?;
    let rate = many(&rate, "for no limit remove it; to let nobody in, deny = [\"all\"]")?;
    let burst = match table.get("burst") {
        Some(value) => many(
            &value,
            "what holds nothing lets nothing through; without it, burst is the limit",
        )?,
        None => rate,
    };
    let length = |key, default, form: &Form| table.get(key).map_or(Ok(default), |value| form.length(&value));
    Ok(Some(Limit {
        rate,
        burst,
        per_v4: length("per", Limit::PER_V4, &OF_IPV4)?,
        per_v6: length("per-ipv6", Limit::PER_V6, &OF_IPV6)?,
    }))
}

/// From 1 to the most; what `hint` says is for 0.
fn many(value: &Value<'_>, hint: &str) -> Checked<NonZeroU32> {
    let number = value.whole(1..=Limit::MOST).map_err(|fault| match value.integer() {
        Some(0) => fault.hint(hint),
        _ => fault,
    })?;
    NonZeroU32::new(number).ok_or_else(|| value.mistyped("more than 0"))
}

/// Which lengths of prefixes share a count.
struct Form {
    lengths: RangeInclusive<u8>,
    /// One more.
    whole: u8,
    hint: &'static str,
}

const OF_IPV4: Form = Form {
    lengths: 0..=32,
    whole: 32,
    hint: "write \"/32\" for single addresses, down to \"/0\" for all sources together",
};

const OF_IPV6: Form = Form {
    lengths: 0..=64,
    whole: 128,
    hint: "write \"/64\" for networks, which one host has all of, down to \"/0\" for all sources together; or \"/128\"",
};

impl Form {
    fn length(&self, value: &Value<'_>) -> Checked<u8> {
        let wrong = |fault: Box<Fault>| fault.hint(self.hint);
        let Some(text) = value.text() else {
            return Err(wrong(value.mistyped("the length of a prefix, in quotes")));
        };
        let digits = text
            .strip_prefix('/')
            .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok());
        let fits = |length: &u8| self.lengths.contains(length) || *length == self.whole;
        length.filter(fits).ok_or_else(|| {
            let message = format!("\"{}\" is not a value of `{}`", excerpt(text), value.key());
            wrong(value.fault(message))
        })
    }
}

/// `syn-cookies`, whose table has this shape.
pub(super) fn syn_cookies(value: &Value<'_>, shape: &'static Shape) -> Checked<SynCookies> {
    if let Some(number) = value.integer() {
        let hint = format!("write syn-cookies = {{ above = {number} }}");
        return Err(value.mistyped("a table").hint(hint));
    }
    let above = value.table(shape)?.require("above", "1000")?;
    Ok(SynCookies {
        above: above.whole(0..=Limit::MOST)?,
    })
}
