//! What each subject does, by what was observed in the run; never by what is known of it.
//!
//! Each row is a question whose answer is yes, partly or no, with a few words on what was seen. What was not observed
//! says so.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::super::model::{Event, EventOf, Seen, Spread, SpreadOf, Subject};
use super::{events, numbers};

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Yes,
    Partly,
    No,
    /// Not observed.
    Unseen,
}

impl Mark {
    /// For eyes that cannot tell colours: each has a shape of its own.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Yes => "✓",
            Self::Partly => "◐",
            Self::No => "✗",
            Self::Unseen => "–",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
            Self::Unseen => "–",
        }
    }
}

/// An answer, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) mark: Mark,
    pub(super) text: String,
}

impl Cell {
    fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self {
            mark,
            text: text.into(),
        }
    }

    fn unseen() -> Self {
        Self::new(Mark::Unseen, "not observed")
    }
}

/// A question to all subjects.
pub(super) struct Row {
    pub(super) question: &'static str,
    pub(super) cell: fn(&Subject) -> Cell,
}

/// In the order of `docs/labs.md`.
pub(super) const ROWS: [Row; 11] = [
    Row {
        question: "The server sees the client's address",
        cell: |subject| subject.seen.as_ref().map_or_else(Cell::unseen, address),
    },
    Row {
        question: "Headers are added for the server",
        cell: |subject| subject.seen.as_ref().map_or_else(Cell::unseen, headers),
    },
    Row {
        question: "The balancer shows the certificate",
        cell: |subject| subject.seen.as_ref().map_or_else(Cell::unseen, certificate),
    },
    Row {
        question: "Requests of one kept connection are spread",
        cell: |subject| spread(subject, SpreadOf::KeepAlive).map_or_else(Cell::unseen, kept_connections),
    },
    Row {
        question: "Requests of one HTTP/2 connection are spread",
        cell: |subject| spread(subject, SpreadOf::Http2).map_or_else(Cell::unseen, one_connection),
    },
    Row {
        question: "Weights are kept",
        cell: |subject| spread(subject, SpreadOf::Weighted).map_or_else(Cell::unseen, weights),
    },
    Row {
        question: "A server dies: no client notices",
        cell: |subject| event(subject, EventOf::Killed),
    },
    Row {
        question: "A server is drained: no client notices",
        cell: |subject| event(subject, EventOf::Drained),
    },
    Row {
        question: "A reload: no client notices",
        cell: |subject| event(subject, EventOf::Reloaded),
    },
    Row {
        question: "The balancer restarts: no client notices",
        cell: |subject| event(subject, EventOf::Restarted),
    },
    Row {
        question: "Slow clients do not keep a server busy",
        cell: |subject| events::of(subject, EventOf::Slow).map_or_else(Cell::unseen, slow),
    },
];

fn spread(subject: &Subject, of: SpreadOf) -> Option<&Spread> {
    subject.spread.iter().find(|spread| spread.of == of)
}

/// Whom the server takes for the client: the client, or somebody else, perhaps with a header that names the client.
fn address(seen: &Seen) -> Cell {
    if seen.client.is_empty() || seen.as_client.is_empty() {
        return Cell::unseen();
    }
    if host(&seen.client) == host(&seen.as_client) {
        return Cell::new(Mark::Yes, "the client's own");
    }
    let client = host(&seen.client);
    match seen.added.iter().find(|(_, value)| value.contains(&client)) {
        Some((name, _)) => Cell::new(Mark::Partly, format!("in {}", name.to_lowercase())),
        None => Cell::new(Mark::No, format!("sees {}", host(&seen.as_client))),
    }
}

/// An address without its port, in one spelling.
fn host(address: &str) -> String {
    address
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| address.parse::<IpAddr>())
        .map_or_else(|_| address.to_owned(), |address| address.to_canonical().to_string())
}

fn headers(seen: &Seen) -> Cell {
    let names: Vec<String> = seen.added.iter().map(|(name, _)| name.to_lowercase()).collect();
    if names.is_empty() {
        Cell::new(Mark::No, "none added")
    } else {
        Cell::new(Mark::Yes, names.join(", "))
    }
}

fn certificate(seen: &Seen) -> Cell {
    match seen.certificate.as_str() {
        "" => Cell::unseen(),
        "balancer" => Cell::new(Mark::Yes, "balancer"),
        other => Cell::new(Mark::No, other),
    }
}

/// Whether a client that keeps its connection stays with one server.
fn kept_connections(spread: &Spread) -> Cell {
    let used: Vec<&BTreeMap<String, u64>> = spread
        .by_connection
        .iter()
        .filter(|served| served.values().sum::<u64>() > 1)
        .collect();
    let several = used.iter().filter(|served| servers(served) > 1).count();
    match (used.len(), several) {
        (0, _) => Cell::unseen(),
        (_, 0) => Cell::new(Mark::No, "each stays with one server"),
        (all, several) if several == all => Cell::new(Mark::Yes, "each request is balanced"),
        (all, several) => Cell::new(Mark::Partly, format!("{several} of {all} connections")),
    }
}

/// Whether requests of a single connection reach several servers.
fn one_connection(spread: &Spread) -> Cell {
    match servers(&spread.served) {
        0 => Cell::unseen(),
        1 => Cell::new(Mark::No, "all to one server"),
        several => Cell::new(Mark::Yes, format!("over {several} servers")),
    }
}

fn servers(served: &BTreeMap<String, u64>) -> usize {
    served.values().filter(|&&count| count > 0).count()
}

/// Whether shares lie within five standard deviations of a binomial distribution from what weights stand for: chance
/// alone exceeds that once in a million times. What is spread more evenly than by chance passes.
fn weights(spread: &Spread) -> Cell {
    let total = spread.served.values().sum::<u64>() as f64;
    if total <= 0.0 || spread.expected.is_empty() {
        return Cell::unseen();
    }
    let share = |server: &str| spread.served.get(server).copied().unwrap_or(0) as f64 / total;
    let kept = spread.expected.iter().all(|(server, &expected)| {
        (share(server) - expected).abs() <= 5.0 * (expected * (1.0 - expected) / total).sqrt()
    }) && spread
        .served
        .iter()
        .all(|(server, &count)| count == 0 || spread.expected.contains_key(server));
    let Some((heaviest, expected)) = spread.expected.iter().max_by(|one, other| one.1.total_cmp(other.1)) else {
        return Cell::unseen();
    };
    Cell::new(
        if kept { Mark::Yes } else { Mark::No },
        format!(
            "{heaviest} had {} % of {} %",
            numbers::number(share(heaviest) * 100.0),
            numbers::number(expected * 100.0)
        ),
    )
}

/// Yes when no request failed and no connection was cut; partly when one of both; no when both, or all that was seen.
fn event(subject: &Subject, of: EventOf) -> Cell {
    let Some(event) = events::of(subject, of) else {
        return Cell::unseen();
    };
    let kept = event.kept.filter(|kept| kept.open > 0);
    if event.answered + event.failed == 0 && kept.is_none() {
        return Cell::unseen();
    }
    let cut = kept.map(|kept| kept.cut > 0);
    let mark = match (event.failed > 0, cut) {
        (false, None | Some(false)) => Mark::Yes,
        (false, Some(true)) | (true, Some(false)) => Mark::Partly,
        (true, None | Some(true)) => Mark::No,
    };
    Cell::new(mark, events::outcome(event, "cut"))
}

/// Whether the balancer waits for a slow client, or passes each byte on and leaves the waiting to a server.
fn slow(event: &Event) -> Cell {
    let Some(waited) = event.waited else {
        return Cell::unseen();
    };
    let text = format!(
        "busy {} of {}",
        numbers::seconds(waited.server),
        numbers::seconds(waited.client)
    );
    let mark = if waited.server < waited.client / 2.0 {
        Mark::Yes
    } else {
        Mark::No
    };
    Cell::new(mark, text)
}

#[cfg(test)]
mod tests {
    use super::super::super::model::{Kept, Waited};
    use super::*;

    fn seen(as_client: &str, added: &[(&str, &str)]) -> Seen {
        Seen {
            client: "10.0.1.2".to_owned(),
            as_client: as_client.to_owned(),
            added: added
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            certificate: String::new(),
        }
    }

    fn served(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn whose_address() {
        assert_eq!(address(&seen("10.0.1.2", &[])).mark, Mark::Yes);
        assert_eq!(address(&seen("10.0.1.2:4711", &[])).mark, Mark::Yes);
        assert_eq!(address(&seen("::ffff:10.0.1.2", &[])).mark, Mark::Yes);
        assert_eq!(address(&seen("10.0.2.1", &[])), Cell::new(Mark::No, "sees 10.0.2.1"));
        assert_eq!(
            address(&seen("10.0.2.1", &[("X-Forwarded-For", "10.0.1.2")])),
            Cell::new(Mark::Partly, "in x-forwarded-for")
        );
        assert_eq!(address(&Seen::default()).mark, Mark::Unseen);
    }

    #[test]
    fn who_stays_with_whom() {
        let spread = |connections: &[&[(&str, u64)]]| Spread {
            by_connection: connections.iter().map(|counts| served(counts)).collect(),
            ..Spread::default()
        };
        let mark = |connections: &[&[(&str, u64)]]| kept_connections(&spread(connections)).mark;
        assert_eq!(mark(&[]), Mark::Unseen);
        assert_eq!(
            mark(&[&[("a", 1)], &[("b", 1)]]),
            Mark::Unseen,
            "one request tells nothing"
        );
        assert_eq!(mark(&[&[("a", 9), ("b", 0)], &[("b", 9)]]), Mark::No);
        assert_eq!(mark(&[&[("a", 9), ("b", 9)], &[("b", 9)]]), Mark::Partly);
        assert_eq!(mark(&[&[("a", 9), ("b", 9)], &[("a", 8), ("b", 9)]]), Mark::Yes);
    }

    #[test]
    fn weights_by_more_than_chance() {
        let mark = |counts: &[(&str, u64)]| {
            weights(&Spread {
                served: served(counts),
                expected: [("a".to_owned(), 1.0 / 6.0), ("b".to_owned(), 5.0 / 6.0)].into(),
                ..Spread::default()
            })
            .mark
        };
        assert_eq!(mark(&[]), Mark::Unseen);
        assert_eq!(mark(&[("a", 100), ("b", 500)]), Mark::Yes);
        assert_eq!(mark(&[("a", 120), ("b", 480)]), Mark::Yes);
        assert_eq!(mark(&[("a", 300), ("b", 300)]), Mark::No);
        assert_eq!(mark(&[("a", 100), ("b", 500), ("c", 1)]), Mark::No);
    }

    #[test]
    fn who_notices() {
        let cell = |failed, kept| {
            let subject = Subject {
                events: vec![Event {
                    of: EventOf::Drained,
                    failed,
                    answered: 100,
                    kept,
                    disturbed: 0.4,
                    ..Event::default()
                }],
                ..Subject::default()
            };
            event(&subject, EventOf::Drained)
        };
        let kept = |cut| Some(Kept { open: 8, cut });
        assert_eq!(cell(0, kept(0)), Cell::new(Mark::Yes, "none failed; 0 of 8 cut"));
        assert_eq!(cell(0, kept(2)).mark, Mark::Partly);
        assert_eq!(cell(3, kept(0)).mark, Mark::Partly);
        assert_eq!(cell(3, kept(2)), Cell::new(Mark::No, "3 failed in 0.4 s; 2 of 8 cut"));
        assert_eq!(cell(3, None).mark, Mark::No);
        assert_eq!(cell(0, Some(Kept::default())), Cell::new(Mark::Yes, "none failed"));
        assert_eq!(event(&Subject::default(), EventOf::Drained).mark, Mark::Unseen);
    }

    #[test]
    fn who_waits() {
        let mark = |server| {
            slow(&Event {
                waited: Some(Waited { client: 5.0, server }),
                ..Event::default()
            })
            .mark
        };
        assert_eq!((mark(4.9), mark(0.0)), (Mark::No, Mark::Yes));
        assert_eq!(slow(&Event::default()).mark, Mark::Unseen);
    }
}
