//! How a lab tells its story: numbered headings, and bars. Plain text, at most 100 columns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::load::{Event, Tally};

const BAR: usize = 40;

/// A numbered heading.
pub(super) fn heading(number: usize, text: &str) {
    println!("\n{number}. {text}");
    println!("{}", "-".repeat(3 + text.chars().count()));
}

/// One line per server: a bar, requests, share, and the share that its weight stands for.
pub(super) fn spread(tally: &Tally, expected: &BTreeMap<&str, f64>) {
    let total = tally.answered().max(1) as f64;
    let mut servers: BTreeMap<&str, usize> = expected.keys().map(|server| (*server, 0)).collect();
    servers.extend(tally.served.iter().map(|(server, count)| (server.as_str(), *count)));
    for (server, count) in servers {
        let share = count as f64 / total;
        let expected = expected.get(server).copied().unwrap_or(0.0);
        println!(
            "   {server:<6} {} {count:>5}  {:>5.1} %   (its weight stands for {:.1} %)",
            bar(share),
            share * 100.0,
            expected * 100.0
        );
    }
}

/// What became of requests, by time since `start`, until no more of them fail.
pub(super) fn timeline(events: &[Event], start: Instant, slice: Duration, servers: &[&str]) {
    let index = |event: &Event| (event.begun.saturating_duration_since(start).as_millis() / slice.as_millis()) as usize;
    let last = events
        .iter()
        .filter(|event| event.outcome.is_err())
        .map(index)
        .max()
        .unwrap_or(0);
    print!("   after the kill");
    servers.iter().for_each(|server| print!("{server:>7}"));
    println!("  failed");
    for number in 0..=last + 1 {
        let from = slice * u32::try_from(number).unwrap_or(u32::MAX);
        print!(
            "   {:.1} to {:.1} s  ",
            from.as_secs_f64(),
            (from + slice).as_secs_f64()
        );
        let within: Vec<&Event> = events.iter().filter(|event| index(event) == number).collect();
        for server in servers {
            print!(
                "{:>7}",
                within
                    .iter()
                    .filter(|event| event.outcome.as_deref() == Ok(*server))
                    .count()
            );
        }
        println!("{:>8}", within.iter().filter(|event| event.outcome.is_err()).count());
    }
}

/// A bar for a share from 0 to 1.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

/// Which servers' shares are further from what was expected than chance explains: five standard deviations of a
/// binomial distribution, which a right spread exceeds once in a million times.
pub(super) fn implausible(tally: &Tally, expected: &BTreeMap<&str, f64>) -> Vec<String> {
    let total = tally.answered() as f64;
    let mut found = Vec::new();
    for (&server, &share) in expected {
        let count = tally.served.get(server).copied().unwrap_or(0) as f64;
        let deviation = (total * share * (1.0 - share)).sqrt();
        if (count - total * share).abs() > 5.0 * deviation {
            found.push(format!(
                "{server} served {count} of {total} requests, expected about {:.0}",
                total * share
            ));
        }
    }
    for server in tally
        .served
        .keys()
        .filter(|server| !expected.contains_key(server.as_str()))
    {
        found.push(format!("{server} served requests, and should not have"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(served: &[(&str, usize)]) -> Tally {
        Tally {
            served: served
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            ..Tally::default()
        }
    }

    #[test]
    fn chance_is_told_from_a_fault() {
        let thirds: BTreeMap<&str, f64> = [("a", 1.0 / 3.0), ("b", 1.0 / 3.0), ("c", 1.0 / 3.0)].into();
        assert_eq!(
            implausible(&tally(&[("a", 200), ("b", 200), ("c", 200)]), &thirds),
            [""; 0]
        );
        assert_eq!(
            implausible(&tally(&[("a", 230), ("b", 190), ("c", 180)]), &thirds),
            [""; 0]
        );
        assert_eq!(
            implausible(&tally(&[("a", 400), ("b", 100), ("c", 100)]), &thirds).len(),
            3
        );
        assert_eq!(
            implausible(&tally(&[("a", 200), ("b", 200), ("c", 200), ("d", 1)]), &thirds).len(),
            1
        );
        let one: BTreeMap<&str, f64> = [("a", 1.0)].into();
        assert_eq!(implausible(&tally(&[("a", 600)]), &one), [""; 0]);
        assert_eq!(
            implausible(&tally(&[]), &thirds),
            [""; 0],
            "that nothing answered is told elsewhere"
        );
    }

    #[test]
    fn bars_fill_their_width() {
        for share in [0.0, 0.01, 0.333, 0.999, 1.0, 7.0, -1.0] {
            assert_eq!(bar(share).len(), BAR, "{share}");
        }
    }
}
