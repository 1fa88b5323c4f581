//! Tables and values of the file, read one by one with their places.
//!
//! Serde would do this with less code, but knows neither the place of a key nor where else it belongs.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::fault::{Checked, Fault, Span, fault};
use super::schema::{self, Shape};

/// Longest name of a node, service or backend, in bytes.
pub(super) const MAX_NAME: usize = 64;

/// Longest quotation in a message, in characters.
const MAX_EXCERPT: usize = 60;

/// Text from the file as it can stand in a message: escaped, and not too long.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_EXCERPT).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_EXCERPT).is_some() {
        short.push('…');
    }
    short
}

/// May this character stand in a name?
pub(super) fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A table of a known shape.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    /// Its header, or the whole of an inline table.
    pub(super) span: Span,
    shape: &'static Shape,
}

impl<'a> Table<'a> {
    pub(super) fn root(entries: &'a DeTable<'a>) -> Self {
        let shape = &schema::ROOT;
        Self {
            entries,
            span: 0..0,
            shape,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Refuses the first key that does not belong here.
    pub(super) fn check_keys(&self) -> Checked<()> {
        let stranger = self
            .entries
            .iter()
            .filter(|(key, _)| !self.shape.keys.contains(&key.get_ref().as_ref()));
        match stranger.min_by_key(|(key, _)| key.span().start) {
            Some((key, _)) => Err(self.unknown(key.get_ref(), key.span())),
            None => Ok(()),
        }
    }

    fn unknown(&self, key: &str, span: Span) -> Box<Fault> {
        let Shape { name, keys } = *self.shape;
        let known = format!("{name} takes: {}", keys.join(", "));
        let fault = fault(span, format!("unknown key `{}` in {name}", excerpt(key)));
        let distance = |known: &str| strsim::damerau_levenshtein(known, &key.to_lowercase());
        let near = keys.iter().map(|known| (distance(known), known)).min();
        if let Some((_, meant)) = near.filter(|(distance, meant)| *distance <= 1.max(meant.len() / 3)) {
            return fault.hint(format!("did you mean `{meant}`? {known}"));
        }
        if let Some(home) = schema::ALL.iter().find(|shape| shape.keys.contains(&key)) {
            let home = home.name;
            return fault.hint(format!(
                "`{key}` belongs into {home}, before the tables inside it; {known}"
            ));
        }
        fault.hint(known)
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(self.shape.keys.contains(&key), "{key} is not in the schema");
        self.entries.get(key).map(|value| Value { key, value })
    }

    /// The value of a key that has no default.
    pub(super) fn require(&self, key: &'static str, example: &str) -> Checked<Value<'a>> {
        self.get(key).ok_or_else(|| {
            let message = format!("`{key}` is missing in {}", self.shape.name);
            fault(self.span.clone(), message).hint(format!("add: {key} = {example}"))
        })
    }

    /// The `[[tables]]` below a key, none where the key is missing.
    pub(super) fn tables(&self, key: &'static str, shape: &'static Shape) -> Checked<Vec<Table<'a>>> {
        let Some(Value { value, .. }) = self.get(key) else {
            return Ok(Vec::new());
        };
        let wrong = || {
            let message = format!("`{key}` must be a list of tables");
            let first = match shape.name {
                "[[service]]" => "; it comes before its [service.…] tables",
                "[[pool]]" => "; it comes before its [pool.…] tables",
                "[[vrrp]]" => "; it comes before its [[vrrp.track]] tables",
                _ => "",
            };
            fault(value.span(), message).hint(format!("write {} in double brackets{first}", shape.name))
        };
        let DeValue::Array(entries) = value.get_ref() else {
            return Err(wrong());
        };
        entries
            .iter()
            .map(|entry| match entry.get_ref() {
                DeValue::Table(entries) => Table::checked(entries, entry.span(), shape),
                _ => Err(wrong()),
            })
            .collect()
    }

    fn checked(entries: &'a DeTable<'a>, span: Span, shape: &'static Shape) -> Checked<Self> {
        let table = Self { entries, span, shape };
        table.check_keys()?;
        Ok(table)
    }
}

/// The value of a key.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    key: &'static str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn span(&self) -> Span {
        self.value.span()
    }

    pub(super) fn fault(&self, message: impl Into<String>) -> Box<Fault> {
        fault(self.span(), message)
    }

    pub(super) fn mistyped(&self, wanted: &str) -> Box<Fault> {
        self.fault(format!(
            "`{}` must be {wanted}, not {}",
            self.key,
            described(self.value.get_ref())
        ))
    }

    pub(super) fn table(&self, shape: &'static Shape) -> Checked<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Table::checked(entries, self.span(), shape),
            _ => Err(self.mistyped("a table").hint(format!("write {}", shape.name))),
        }
    }

    pub(super) fn string(&self) -> Checked<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(text),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let hint = format!("write it in quotes: {} = \"{}\"", self.key, bare(self.value.get_ref()));
                Err(self.mistyped("a string").hint(hint))
            }
            _ => Err(self.mistyped("a string")),
        }
    }

    /// The strings of a list, each with its place.
    pub(super) fn strings(&self) -> Checked<Vec<(Span, &'a str)>> {
        let DeValue::Array(entries) = self.value.get_ref() else {
            let fault = self.mistyped("a list of strings");
            return Err(match self.value.get_ref() {
                DeValue::String(text) => fault.hint(format!("write {} = [\"{}\"]", self.key, excerpt(text))),
                _ => fault,
            });
        };
        entries
            .iter()
            .map(|entry| {
                let text = Value {
                    key: self.key,
                    value: entry,
                }
                .string()?;
                Ok((entry.span(), text))
            })
            .collect()
    }

    /// One string, or a list of them.
    pub(super) fn string_or_strings(&self) -> Checked<Vec<(Span, &'a str)>> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(vec![(self.span(), text)]),
            DeValue::Array(_) => self.strings(),
            _ => Err(self.mistyped("a string or a list of strings")),
        }
    }

    /// The values of a list; any other value is a list of one.
    pub(super) fn list(&self) -> Vec<Value<'a>> {
        match self.value.get_ref() {
            DeValue::Array(entries) => {
                let key = self.key;
                entries.iter().map(|value| Value { key, value }).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// The entries of a table whose keys are the user's, in the order of the file, each with its key's place. Values go
    /// by the name of the table.
    pub(super) fn entries(&self, example: &str) -> Checked<Vec<(Span, &'a str, Value<'a>)>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            return Err(self.mistyped("a table").hint(format!("write {example}")));
        };
        let key = self.key;
        let entry = |(name, value): (&'a Spanned<_>, &'a _)| {
            let text: &'a std::borrow::Cow<'a, str> = name.get_ref();
            (name.span(), text.as_ref(), Value { key, value })
        };
        let mut entries: Vec<_> = entries.iter().map(entry).collect();
        entries.sort_by_key(|(span, ..)| span.start);
        Ok(entries)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// True or false, if it is one of them.
    pub(super) fn truth(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// A whole number, if it is one.
    pub(super) fn integer(&self) -> Option<u64> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        }
    }

    /// A number within limits, whole or not.
    pub(super) fn number(&self, limits: RangeInclusive<f64>) -> Checked<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => self.integer().map(|integer| integer as f64),
        };
        let wanted = || format!("a number from {} to {}", limits.start(), limits.end());
        number
            .filter(|number| limits.contains(number))
            .ok_or_else(|| self.mistyped(&wanted()))
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number within limits.
    pub(super) fn whole(&self, limits: RangeInclusive<u32>) -> Checked<u32> {
        let wanted = || format!("a whole number from {} to {}", limits.start(), limits.end());
        match self.value.get_ref() {
            DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .filter(|number| limits.contains(number))
                .ok_or_else(|| self.mistyped(&wanted())),
            DeValue::String(text) if text.parse::<u32>().is_ok() => {
                let hint = format!("write it without quotes: {} = {text}", self.key);
                Err(self.mistyped(&wanted()).hint(hint))
            }
            _ => Err(self.mistyped(&wanted())),
        }
    }

    /// A whole number within limits, which may be below 0.
    pub(super) fn signed(&self, limits: RangeInclusive<i16>) -> Checked<i16> {
        let wanted = || format!("a whole number from {} to {}", limits.start(), limits.end());
        let number = match self.value.get_ref() {
            DeValue::Integer(integer) => i16::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        number
            .filter(|number| limits.contains(number))
            .ok_or_else(|| self.mistyped(&wanted()))
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Checked<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(boolean) => Ok(*boolean),
            DeValue::String(text) if ["true", "false"].contains(&text.as_ref()) => {
                let hint = format!("write it without quotes: {} = {text}", self.key);
                Err(self.mistyped("true or false").hint(hint))
            }
            _ => Err(self.mistyped("true or false")),
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Checked<T> {
        let text = self.string()?;
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(*chosen);
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let words = words.join(" or ");
        let key = self.key;
        let near = |word: &str| strsim::damerau_levenshtein(word, &text.to_lowercase()) <= 1.max(word.len() / 3);
        let fault = self.fault(format!("\"{}\" is not a value of `{key}`", excerpt(text)));
        Err(match choices.iter().find(|(word, _)| near(word)) {
            Some((word, _)) => fault.hint(format!("did you mean \"{word}\"? {key} is {words}")),
            None => fault.hint(format!("{key} is {words}")),
        })
    }

    pub(super) fn duration(&self, limits: RangeInclusive<Duration>) -> Checked<Duration> {
        const FORMAT: &str =
            "write numbers with units d, h, m, s and ms, as in \"250ms\", \"2s\", \"1m30s\" or \"2h15m\"";
        let text = match self.value.get_ref() {
            DeValue::String(text) => text,
            DeValue::Integer(_) | DeValue::Float(_) => {
                let hint = format!("{FORMAT}; perhaps {} = \"{}s\"", self.key, bare(self.value.get_ref()));
                return Err(self.mistyped("a duration in quotes").hint(hint));
            }
            _ => return Err(self.mistyped("a duration").hint(FORMAT)),
        };
        let Some(duration) = duration::parse(text) else {
            return Err(self
                .fault(format!("\"{}\" is not a duration", excerpt(text)))
                .hint(FORMAT));
        };
        if !limits.contains(&duration) {
            let (least, most) = (duration::format(*limits.start()), duration::format(*limits.end()));
            return Err(self.fault(format!("`{}` must be from {least} to {most}", self.key)));
        }
        Ok(duration)
    }

    /// A duration, or `never`.
    pub(super) fn duration_or_never(&self, limits: RangeInclusive<Duration>) -> Checked<Option<Duration>> {
        match self.value.get_ref() {
            DeValue::String(text) if text == "never" => Ok(None),
            _ => self
                .duration(limits)
                .map(Some)
                .map_err(|fault| match fault.hint.clone() {
                    Some(hint) => fault.hint(format!("{hint}, or \"never\"")),
                    None => fault,
                }),
        }
    }

    /// A name of a node, service or backend.
    pub(super) fn name(&self) -> Checked<&'a str> {
        let name = self.string()?;
        let wrong = if name.is_empty() {
            "is empty".to_owned()
        } else if name.len() > MAX_NAME {
            format!("is longer than {MAX_NAME} characters")
        } else if let Some(c) = name.chars().find(|&c| !in_name(c)) {
            format!("contains '{}'", c.escape_debug())
        } else if name.starts_with(['.', '-']) {
            "begins with '.' or '-'".to_owned()
        } else {
            return Ok(name);
        };
        let hint = format!("use up to {MAX_NAME} letters, digits, dots, underscores and hyphens");
        Err(self.fault(format!("the name {wrong}")).hint(hint))
    }

    /// The key that it belongs to.
    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    /// An absolute path.
    pub(super) fn path(&self) -> Checked<PathBuf> {
        let text = self.string()?;
        if text.chars().any(char::is_control) {
            return Err(self.fault(format!("`{}` contains a control character", self.key)));
        }
        let path = Path::new(text);
        if !path.is_absolute() {
            let message = format!("`{}` must be an absolute path", self.key);
            return Err(self
                .fault(message)
                .hint("begin with a slash: a daemon has no folder of its own"));
        }
        Ok(path.to_owned())
    }
}

/// A value of the wrong kind, for a message.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", excerpt(text)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => bare(value),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A number or a truth value as it is written.
fn bare(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(integer) => excerpt(&integer.to_string()),
        DeValue::Float(float) => excerpt(&float.to_string()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}
