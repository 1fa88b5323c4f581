//! What protects services, and what that has refused, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::api::types::{Protection, Refused, ServiceProtection};
use crate::model::count;

/// For the head of all, where nothing is dropped though the file reads as if it were.
pub(super) const OBSERVING: &str =
    "OBSERVING: [protection] drops nothing, it only counts; `enforcement = \"enforce\"` ends that\n";

/// What is to be said of a service.
pub(super) fn of_service(protection: &ServiceProtection) -> String {
    let mut text = String::new();
    if protection.only_observes() {
        text.push_str("  OBSERVING: what would be refused goes on to the service, and is counted\n");
    }
    text.push_str(&lines(&protection.refused, ""));
    text
}

/// What is to be said of the node.
pub(super) fn of_node(protection: &Protection) -> String {
    let prefixes = count(protection.prefixes, "prefix");
    format!(
        "protection: {prefixes}\n{}",
        lines(&protection.addresses, "for no service, ")
    )
}

fn lines(refused: &Refused, of: &str) -> String {
    let mut text = String::new();
    for (what, counts) in [
        ("refused", &refused.dropped),
        ("would have been refused", &refused.observed),
    ] {
        if let Some(counts) = reasons(counts) {
            let _ = writeln!(text, "  {of}{what}: {counts}");
        }
    }
    if refused.cookies_answered > 0 || refused.cookies_accepted > 0 {
        let (answered, accepted) = (refused.cookies_answered, refused.cookies_accepted);
        let _ = writeln!(
            text,
            "  SYN cookies: {answered} sent, {accepted} came back as connections"
        );
    }
    if refused.sources_evicted > 0 {
        let evicted = count(refused.sources_evicted, "time");
        let _ = writeln!(
            text,
            "  {of}{evicted} a source that had sent much was forgotten for want of room: limits let more in than they say"
        );
    }
    text
}

/// Those that there are, the most first.
fn reasons(counts: &BTreeMap<String, u64>) -> Option<String> {
    let mut some: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    some.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let texts: Vec<String> = some.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(dropped: &[(&str, u64)], observed: &[(&str, u64)]) -> Refused {
        let counts = |counts: &[(&str, u64)]| counts.iter().map(|&(reason, n)| (reason.to_owned(), n)).collect();
        Refused {
            dropped: counts(dropped),
            observed: counts(observed),
            cookies_answered: 0,
            cookies_accepted: 0,
            sources_evicted: 0,
        }
    }

    #[test]
    fn only_what_there_was_is_said() {
        let quiet = ServiceProtection {
            enforcement: "enforce".to_owned(),
            refused: refused(&[("denied", 0), ("land", 0)], &[("denied", 0)]),
        };
        assert_eq!(of_service(&quiet), "");
        let busy = ServiceProtection {
            enforcement: "observe".to_owned(),
            refused: Refused {
                cookies_answered: 1000,
                cookies_accepted: 3,
                sources_evicted: 2,
                ..refused(
                    &[("connection_rate", 7), ("denied", 12), ("land", 0)],
                    &[("bogon", 1), ("denied", 0)],
                )
            },
        };
        assert_eq!(
            of_service(&busy),
            "  OBSERVING: what would be refused goes on to the service, and is counted\n  \
             refused: denied 12, connection_rate 7\n  \
             would have been refused: bogon 1\n  \
             SYN cookies: 1000 sent, 3 came back as connections\n  \
             2 times a source that had sent much was forgotten for want of room: limits let more in than they say\n"
        );
    }

    #[test]
    fn the_node_has_what_was_for_no_service() {
        let protection = |prefixes, addresses| Protection {
            enforcement: "enforce".to_owned(),
            prefixes,
            addresses,
        };
        assert_eq!(of_node(&protection(1, refused(&[], &[]))), "protection: 1 prefix\n");
        assert_eq!(
            of_node(&protection(1_000_003, refused(&[("icmp_rate", 4)], &[("denied", 9)]))),
            "protection: 1000003 prefixes\n  for no service, refused: icmp_rate 4\n  \
             for no service, would have been refused: denied 9\n"
        );
    }
}
