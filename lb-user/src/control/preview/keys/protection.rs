//! The keys of `[protection]` and `[service.protection]`. Lists may have a million prefixes: they are counted, not shown.

use std::cmp::Ordering;

use super::{NOT_SET, Texts, differing};
use crate::model::preview::KeyChange;
use crate::model::{Enforcement, Limit, Limits, Lists, Prefix, Protection, ServiceProtection, SynCookies, count};

/// The keys of `[protection]` that differ.
pub(in super::super) fn of_node(old: Option<&Protection>, new: Option<&Protection>) -> Vec<KeyChange> {
    let lists = |protection: Option<&Protection>| protection.map(|protection| protection.lists.clone());
    let mut changes = differing(&old.map_or_else(Vec::new, node), &new.map_or_else(Vec::new, node));
    changes.extend(lists_of(lists(old), lists(new)));
    changes
}

/// The keys of `[service.protection]` that differ.
pub(super) fn of_service(old: Option<&ServiceProtection>, new: Option<&ServiceProtection>) -> Vec<KeyChange> {
    let lists = |protection: Option<&ServiceProtection>| protection.map(|protection| protection.lists.clone());
    let mut changes = differing(&old.map_or_else(Vec::new, service), &new.map_or_else(Vec::new, service));
    changes.extend(lists_of(lists(old), lists(new)));
    changes
}

fn node(protection: &Protection) -> Texts {
    let Protection {
        enforcement,
        malformed,
        bogons,
        lists: _,
        limits,
        icmp,
        syn_cookies,
    } = protection;
    let mut texts = vec![
        ("protection.enforcement", enforcement.label().into()),
        ("protection.malformed", malformed.to_string().into()),
        ("protection.bogons", bogons.to_string().into()),
    ];
    texts.extend(self::limits(*limits));
    texts.extend(icmp.map(|limit| ("protection.icmp-per-second", self::limit(limit).into())));
    texts.extend(cookies(*syn_cookies));
    texts
}

fn service(protection: &ServiceProtection) -> Texts {
    let ServiceProtection {
        enforcement,
        lists: _,
        limits,
        syn_cookies,
    } = protection;
    let enforcement = enforcement.map(Enforcement::label);
    let mut texts = Texts::from_iter(enforcement.map(|label| ("protection.enforcement", label.into())));
    texts.extend(self::limits(*limits));
    texts.extend(cookies(*syn_cookies));
    texts
}

fn limits(Limits { connections, packets }: Limits) -> Texts {
    let both = [
        ("protection.connections-per-second", connections),
        ("protection.packets-per-second", packets),
    ];
    let said = both
        .into_iter()
        .filter_map(|(key, said)| Some((key, limit(said?).into())));
    said.collect()
}

fn limit(limit: Limit) -> String {
    let Limit {
        rate,
        burst,
        per_v4,
        per_v6,
    } = limit;
    format!("{rate}, burst {burst}, per /{per_v4} and per-ipv6 /{per_v6}")
}

fn cookies(cookies: Option<SynCookies>) -> Texts {
    let text = cookies.map(|SynCookies { above }| ("protection.syn-cookies", format!("above {above}").into()));
    text.into_iter().collect()
}

fn lists_of(old: Option<Lists>, new: Option<Lists>) -> Vec<KeyChange> {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let Lists { allow, deny, exempt } = &old;
    let lists = [
        ("protection.allow", allow, &new.allow),
        ("protection.deny", deny, &new.deny),
        ("protection.exempt", exempt, &new.exempt),
    ];
    let changes = lists.into_iter().filter_map(|(key, old, new)| list(key, old, new));
    changes.collect()
}

fn list(key: &'static str, old: &[Prefix], new: &[Prefix]) -> Option<KeyChange> {
    let (added, removed) = differences(old, new);
    if added + removed == 0 {
        return None;
    }
    let says = |list: &[Prefix]| match list.len() {
        0 => NOT_SET.to_owned(),
        length => count(length, "prefix"),
    };
    // Where one side says nothing, the other says how many have come or gone.
    let how = if old.is_empty() || new.is_empty() {
        String::new()
    } else {
        format!(" (+{added} -{removed})")
    };
    Some(KeyChange {
        key,
        from: says(old),
        to: says(new) + &how,
    })
}

/// How many are in the second and not in the first, and the other way round. Both are sorted.
fn differences(old: &[Prefix], new: &[Prefix]) -> (usize, usize) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let (mut added, mut removed) = (0, 0);
    while let (Some(before), Some(after)) = (old.peek(), new.peek()) {
        match before.cmp(after) {
            Ordering::Less => {
                removed += 1;
                old.next();
            }
            Ordering::Greater => {
                added += 1;
                new.next();
            }
            Ordering::Equal => {
                old.next();
                new.next();
            }
        }
    }
    (added + new.count(), removed + old.count())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn protection(text: &str) -> Option<Protection> {
        let node = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n";
        let parsed = crate::config::parse("test.toml", &format!("{node}{text}"));
        parsed.unwrap_or_else(|error| panic!("{error}")).config.protection
    }

    fn said(old: &str, new: &str) -> Vec<String> {
        let changes = of_node(protection(old).as_ref(), protection(new).as_ref());
        let text = |KeyChange { key, from, to }| format!("{key}: {from} -> {to}");
        changes.into_iter().map(text).collect()
    }

    #[test]
    fn a_table_that_comes_says_what_it_switches_on() {
        let empty = "[protection]\n";
        let expected = [
            "protection.enforcement: not set -> enforce",
            "protection.malformed: not set -> true",
            "protection.bogons: not set -> false",
        ];
        assert_eq!(said("", empty), expected);
        assert_eq!(said(empty, empty), [""; 0]);
        assert_eq!(said(empty, "").len(), 3);
    }

    #[test]
    fn keys_are_shown_and_lists_counted() {
        let old = "[protection]\nenforcement = \"observe\"\ndeny = [\"192.0.2.0/24\", \"::/0\"]\nallow = [\"2001:db8::/32\"]\n\
                   packets-per-second = { limit = 5 }\n";
        let new = "[protection]\ndeny = [\"192.0.2.0/24\", \"192.0.2.0/25\", \"10.0.0.0/8\"]\nexempt = [\"10.0.0.1\"]\n\
                   packets-per-second = { limit = 5, burst = 9, per = \"/24\" }\nsyn-cookies = { above = 0 }\n\
                   icmp-per-second = { limit = 1 }\n";
        let expected = [
            "protection.enforcement: observe -> enforce",
            "protection.packets-per-second: 5, burst 5, per /32 and per-ipv6 /64 -> 5, burst 9, per /24 and per-ipv6 /64",
            "protection.icmp-per-second: not set -> 1, burst 1, per /32 and per-ipv6 /64",
            "protection.syn-cookies: not set -> above 0",
            "protection.allow: 1 prefix -> not set",
            "protection.deny: 2 prefixes -> 3 prefixes (+2 -1)",
            "protection.exempt: not set -> 1 prefix",
        ];
        assert_eq!(said(old, new), expected);
    }

    #[test]
    fn services_say_only_what_they_have() {
        let prefixes = |first: u32| -> Arc<[Prefix]> {
            let ip = |n: u32| std::net::IpAddr::V4((first + n).into());
            (0..1000).map(|n| Prefix { ip: ip(n), length: 32 }).collect()
        };
        let with = |deny| ServiceProtection {
            lists: Lists {
                deny,
                ..Lists::default()
            },
            ..ServiceProtection::default()
        };
        let change = |key, from: &str, to: &str| KeyChange {
            key,
            from: from.to_owned(),
            to: to.to_owned(),
        };
        let (old, new) = (with(prefixes(0)), with(prefixes(1)));
        let expected = change("protection.deny", "1000 prefixes", "1000 prefixes (+1 -1)");
        assert_eq!(of_service(Some(&old), Some(&new)), [expected]);
        let observes = ServiceProtection {
            enforcement: Some(Enforcement::Observe),
            ..old.clone()
        };
        let expected = change("protection.enforcement", NOT_SET, "observe");
        assert_eq!(of_service(Some(&old), Some(&observes)), [expected]);
        let expected = change("protection.deny", NOT_SET, "1000 prefixes");
        assert_eq!(of_service(None, Some(&new)), [expected]);
        assert_eq!(of_service(Some(&ServiceProtection::default()), None), []);
    }
}
