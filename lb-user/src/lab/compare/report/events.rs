//! What clients saw when something happened, in words.

use super::super::model::{Event, EventOf, Subject};
use super::numbers;
use crate::lab::report::listed;

/// What is shown along time, with its heading and what is done.
pub(super) const SHOWN: [(EventOf, &str, &str); 4] = [
    (
        EventOf::Killed,
        "A server dies",
        "All its processes are killed, and nobody is told.",
    ),
    (
        EventOf::Drained,
        "A server is drained",
        "It is taken out for maintenance: new clients go elsewhere, those that are there may stay.",
    ),
    (
        EventOf::Reloaded,
        "The configuration is reloaded",
        "It is changed, and the balancer told to take it.",
    ),
    (
        EventOf::Restarted,
        "The balancer is restarted",
        "It is stopped, and started again.",
    ),
];

/// What a subject has on it.
pub(super) fn of(subject: &Subject, of: EventOf) -> Option<&Event> {
    subject.events.iter().find(|event| event.of == of)
}

/// "312 failed in 2.1 s; 3 of 8 cut"; `cut` are the words for the last, which have little room in tables.
pub(super) fn outcome(event: &Event, cut: &str) -> String {
    let failed = match event.failed {
        0 => "none failed".to_owned(),
        failed => format!(
            "{} failed in {}",
            numbers::count(failed),
            numbers::seconds(event.disturbed)
        ),
    };
    match event.kept.filter(|kept| kept.open > 0) {
        Some(kept) => format!("{failed}; {} of {} {cut}", kept.cut, kept.open),
        None => failed,
    }
}

/// Whom it did not disturb, and whom most.
pub(super) fn reading(subjects: &[Subject], of_what: EventOf) -> String {
    let seen: Vec<(&Subject, &Event)> = subjects
        .iter()
        .filter_map(|subject| Some((subject, of(subject, of_what)?)))
        .collect();
    let Some((worst, most)) = seen.iter().max_by_key(|(_, event)| event.failed) else {
        return "Not observed.".to_owned();
    };
    if most.failed == 0 {
        return "No request failed, whoever balanced.".to_owned();
    }
    let unharmed: Vec<&str> = seen
        .iter()
        .filter(|(_, event)| event.failed == 0)
        .map(|(subject, _)| subject.name.as_str())
        .collect();
    let unharmed = if unharmed.is_empty() {
        "Requests failed with all of them".to_owned()
    } else {
        format!("No request failed with {}", listed(&unharmed))
    };
    format!(
        "{unharmed}; most with {}: {} of {}, the last after {}.",
        worst.name,
        numbers::count(most.failed),
        numbers::count(most.failed + most.answered),
        numbers::seconds(most.disturbed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, failed: u64) -> Subject {
        Subject {
            name: name.to_owned(),
            events: vec![Event {
                failed,
                answered: 1000 - failed,
                disturbed: 1.25,
                ..Event::default()
            }],
            ..Subject::default()
        }
    }

    #[test]
    fn readings() {
        let read = |subjects: &[Subject]| reading(subjects, EventOf::Killed);
        assert_eq!(read(&[]), "Not observed.");
        assert_eq!(read(&[subject("a", 0)]), "No request failed, whoever balanced.");
        assert_eq!(
            read(&[subject("a", 0), subject("b", 7), subject("c", 0)]),
            "No request failed with a and c; most with b: 7 of 1,000, the last after 1.2 s."
        );
        assert_eq!(
            read(&[subject("b", 7)]),
            "Requests failed with all of them; most with b: 7 of 1,000, the last after 1.2 s."
        );
    }
}
