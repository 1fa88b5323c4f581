//! `allow`, `deny` and `exempt`: prefixes, addresses, `all`, and files of them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::Reader;
use super::super::fault::{Checked, Fault, Span, fault};
use super::super::raw::{Table, Value, excerpt};
use super::file::{List, Shelf};
use super::source;
use crate::model::{Lists, Prefix};

/// What stands before the path of a file.
const FILE: &str = "file:";

/// Everybody: the shortest prefix of each family.
const ALL: (&str, [&str; 2]) = ("all", ["0.0.0.0/0", "::/0"]);

/// A list, and what it is put together from.
#[derive(Debug, Default)]
struct Named {
    prefixes: Arc<[Prefix]>,
    parts: Vec<(Span, Part)>,
}

/// One string of a list.
#[derive(Debug)]
enum Part {
    Here(Vec<Prefix>),
    File(Arc<List>),
}

impl Part {
    fn prefixes(&self) -> &[Prefix] {
        match self {
            Self::Here(prefixes) => prefixes,
            Self::File(list) => &list.prefixes,
        }
    }
}

impl Reader {
    /// The lists of a table.
    pub(super) fn lists(&mut self, table: &Table<'_>) -> Checked<Lists> {
        let mut read = |key| {
            table
                .get(key)
                .map_or(Ok(Named::default()), |value| named(&mut self.shelf, &value))
        };
        let (allow, deny, exempt) = (read("allow")?, read("deny")?, read("exempt")?);
        if let Some(prefix) = common(&allow.prefixes, &deny.prefixes) {
            return Err(contradiction(prefix, &allow, &deny));
        }
        if let Some(value) = table.get("allow")
            && !allow.prefixes.is_empty()
            && !meet(&allow.prefixes, &deny.prefixes)
        {
            let hint =
                "whom no prefix holds is allowed anyway: add deny = [\"all\"] to let nobody else in, or remove `allow`";
            self.warnings
                .push(value.fault("`allow` lists nothing that is denied").hint(hint));
        }
        Ok(Lists {
            allow: allow.prefixes,
            deny: deny.prefixes,
            exempt: exempt.prefixes,
        })
    }
}

fn named(shelf: &mut Shelf, value: &Value<'_>) -> Checked<Named> {
    let mut parts = Vec::new();
    let mut prefixes: HashMap<Prefix, Span> = HashMap::new();
    let mut files: HashMap<&str, Span> = HashMap::new();
    let twice = |span: &Span, what: &str, first: Span| {
        let message = format!("{what} stands twice in `{}`", value.key());
        Err(fault(span.clone(), message).other(first, "first here"))
    };
    for (span, text) in value.string_or_strings()? {
        if let Some(path) = text.strip_prefix(FILE) {
            if let Some(first) = files.insert(path, span.clone()) {
                return twice(&span, &format!("\"{}\"", excerpt(text)), first);
            }
            let list = shelf.list(&span, self::path(&span, path)?)?;
            parts.push((span, Part::File(list)));
            continue;
        }
        let here = here(&span, text)?;
        for prefix in &here {
            if let Some(first) = prefixes.insert(*prefix, span.clone()) {
                return twice(&span, &prefix.to_string(), first);
            }
        }
        parts.push((span, Part::Here(here)));
    }
    Ok(Named {
        prefixes: together(&parts),
        parts,
    })
}

fn path<'a>(span: &Span, text: &'a str) -> Checked<&'a Path> {
    let wrong = |message: &str| fault(span.clone(), message);
    let path = Path::new(text);
    if text.chars().any(char::is_control) {
        return Err(wrong("the path contains a control character"));
    }
    if !path.is_absolute() {
        let hint = "write \"file:/etc/fulcrum/list.txt\": a daemon has no folder of its own";
        return Err(wrong("`file:` must be followed by an absolute path").hint(hint));
    }
    Ok(path)
}

/// What a string says that names no file.
fn here(span: &Span, text: &str) -> Checked<Vec<Prefix>> {
    let (all, everybody) = ALL;
    if text == all {
        return Ok(everybody.iter().filter_map(|prefix| prefix.parse().ok()).collect());
    }
    let prefix = source(text).map_err(|unfit| {
        let hint = if text.starts_with('/') {
            format!("for a file write \"{FILE}{}\"", excerpt(text))
        } else {
            format!(
                "{}; \"{all}\" is everybody, and \"{FILE}/PATH\" is who is in a file",
                unfit.hint
            )
        };
        fault(span.clone(), unfit.message).hint(hint)
    })?;
    Ok(vec![prefix])
}

/// Sorted, each once. A file that is the whole list is shared by all that have it.
fn together(parts: &[(Span, Part)]) -> Arc<[Prefix]> {
    if let [(_, Part::File(list))] = parts {
        return Arc::clone(&list.prefixes);
    }
    let mut all: Vec<Prefix> = parts.iter().flat_map(|(_, part)| part.prefixes()).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

/// The first prefix that both have.
fn common(one: &[Prefix], other: &[Prefix]) -> Option<Prefix> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    loop {
        match one.peek()?.cmp(other.peek()?) {
            Ordering::Less => one.next(),
            Ordering::Greater => other.next(),
            Ordering::Equal => return one.next().copied(),
        };
    }
}

/// Does any prefix of `inner` lie within one of `outer`? They have none in common.
fn meet(inner: &[Prefix], outer: &[Prefix]) -> bool {
    // Prefixes lie within each other or apart. So the last one that holds others of `outer` is all that is to be known of those
    // before, and whoever lies within it comes before whatever does not.
    let mut outer = outer.iter().peekable();
    let mut open: Option<&Prefix> = None;
    inner.iter().any(|prefix| {
        while let Some(next) = outer.next_if(|next| *next < prefix) {
            if open.is_none_or(|open| !open.holds(next.ip)) {
                open = Some(next);
            }
        }
        open.is_some_and(|open| open.holds(prefix.ip))
    })
}

fn contradiction(prefix: Prefix, allow: &Named, deny: &Named) -> Box<Fault> {
    let find = |named: &Named| {
        let part = named.parts.iter().find(|(_, part)| part.prefixes().contains(&prefix));
        part.map(|(span, part)| match part {
            Part::Here(_) => (span.clone(), None),
            Part::File(list) => (span.clone(), Some(list.place_of(prefix))),
        })
    };
    let (allowed, denied) = (find(allow), find(deny));
    let file = |found: &Option<(Span, Option<String>)>, word: &str| {
        let place = found.as_ref().and_then(|(_, place)| place.as_ref());
        place.map_or_else(String::new, |place| format!(", {word} in {place}"))
    };
    let message = format!(
        "{prefix} is both allowed and denied{}{}",
        file(&allowed, "allowed"),
        file(&denied, "denied")
    );
    let span = |found: Option<(Span, _)>| found.map_or(0..0, |(span, _)| span);
    fault(span(denied), message)
        .other(span(allowed), "allowed here")
        .hint("the longest prefix decides, and these are equally long: take it out of one list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Prefix> {
        let mut list: Vec<Prefix> = text.split_whitespace().map(|text| text.parse().unwrap()).collect();
        list.sort_unstable();
        list
    }

    #[test]
    fn what_is_within_what_is_denied_is_found() {
        for (inner, outer, expected) in [
            ("10.0.0.0/8", "0.0.0.0/0 ::/0", true),
            ("10.0.0.0/8", "::/0", false),
            ("2001:db8::/32", "0.0.0.0/0 ::/0", true),
            ("10.0.0.0/8", "10.1.0.0/16", false),
            ("10.0.0.0/8 10.1.1.0/24", "10.1.0.0/16", true),
            ("10.2.0.1", "10.0.0.0/8 10.1.0.0/16 10.1.1.0/24", true),
            ("10.0.0.0/9 11.0.0.1", "10.0.0.0/16 10.0.0.0/24 11.0.0.0/32", false),
            ("192.0.2.1 192.0.2.3", "192.0.2.0/32 192.0.2.2/32", false),
            ("", "0.0.0.0/0", false),
        ] {
            assert_eq!(meet(&list(inner), &list(outer)), expected, "{inner} in {outer}");
            let slow = list(inner)
                .iter()
                .any(|i| list(outer).iter().any(|o| o.length < i.length && o.holds(i.ip)));
            assert_eq!(slow, expected);
        }
    }

    #[test]
    fn what_both_have_is_found() {
        assert_eq!(common(&list("10.0.0.0/8 ::/0"), &list("10.0.0.0/16 11.0.0.0/8")), None);
        let both = common(
            &list("10.0.0.0/8 10.0.0.0/16 ::/0"),
            &list("9.0.0.0/8 10.0.0.0/16 ::/0"),
        );
        assert_eq!(both, "10.0.0.0/16".parse().ok());
        assert_eq!(common(&[], &list("::/0")), None);
    }
}
