//! How a lab tells its story: numbered headings, and bars. Plain text, at most 100 columns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::load::Made;

const BAR: usize = 40;

/// A numbered heading.
pub(super) fn heading(number: usize, text: &str) {
    let line = format!("{number}. {text}");
    println!("\n{line}\n{}", "-".repeat(line.chars().count()));
}

/// One line per server: a bar, requests, share, and the share that its weight stands for.
pub(super) fn spread(served: &BTreeMap<String, u64>, weights: Option<&BTreeMap<String, f64>>) -> String {
    let total = served.values().sum::<u64>().max(1) as f64;
    let shares = weights.map(shares).unwrap_or_default();
    let mut servers: BTreeMap<&str, u64> = shares.keys().map(|server| (*server, 0)).collect();
    servers.extend(served.iter().map(|(server, count)| (server.as_str(), *count)));
    let mut lines = Vec::new();
    for (server, count) in servers {
        let share = count as f64 / total;
        let expected = shares.get(server).map_or_else(String::new, |share| {
            format!("   (its weight stands for {:.1} %)", share * 100.0)
        });
        let percent = share * 100.0;
        lines.push(format!(
            "   {server:<6} {} {count:>5}  {percent:>5.1} %{expected}",
            bar(share)
        ));
    }
    lines.join(
        "
",
    )
}

/// The part of all that each weight stands for.
fn shares(weights: &BTreeMap<String, f64>) -> BTreeMap<&str, f64> {
    let total: f64 = weights.values().sum();
    weights
        .iter()
        .map(|(server, weight)| (server.as_str(), weight / total))
        .collect()
}

/// What became of requests, by time since `start`, until the last that has failed, and what was done meanwhile.
pub(super) fn timeline(events: &[Made], start: Instant, slice: Duration, marks: &[(Instant, String)]) -> String {
    let index = |at: Instant| (at.saturating_duration_since(start).as_nanos() / slice.as_nanos().max(1)) as usize;
    let servers: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| Some(event.outcome.as_ref().ok()?.as_str()))
        .collect();
    let failed = events
        .iter()
        .filter(|event| event.outcome.is_err())
        .map(|event| index(event.due))
        .max();
    let marked = marks.iter().map(|(at, _)| index(*at)).max();
    let last = failed.max(marked).unwrap_or(0) + 1;
    let names: String = servers.iter().map(|server| format!("{server:>8}")).collect();
    let mut lines = vec![format!("   seconds     {names}  failed")];
    let mut before = String::new();
    let mut folded = false;
    for number in 0..=last {
        let within: Vec<&Made> = events.iter().filter(|event| index(event.due) == number).collect();
        let of = |wanted: Option<&str>| {
            within
                .iter()
                .filter(|event| event.outcome.as_deref().ok() == wanted)
                .count()
        };
        let mut line = String::new();
        for server in &servers {
            line += &format!("{:>8}", of(Some(server)));
        }
        line += &format!("{:>8}", of(None));
        let done: Vec<&str> = marks
            .iter()
            .filter(|(at, _)| index(*at) == number)
            .map(|(_, what)| what.as_str())
            .collect();
        // Of many slices that are all the same, nobody reads but the first and the last.
        let calm = of(None) == 0 && done.is_empty() && before == "calm" && number != last;
        before = if of(None) == 0 && done.is_empty() { "calm" } else { "" }.to_owned();
        if calm {
            if !folded {
                lines.push("        ...".to_owned());
            }
            folded = true;
            continue;
        }
        folded = false;
        let from = slice.as_secs_f64() * number as f64;
        let done = if done.is_empty() {
            String::new()
        } else {
            format!("   < {}", done.join(", "))
        };
        lines.push(format!(
            "   {from:>4.1} to {:>4.1}{line}{done}",
            from + slice.as_secs_f64()
        ));
    }
    lines.join(
        "
",
    )
}

/// Words, as many to a line as fit.
pub(super) fn wrapped(words: &[&str]) -> String {
    let mut text = String::new();
    let mut width = 0;
    for word in words {
        if width + word.len() > 90 {
            text += "\n   ";
            width = 0;
        }
        text += &format!("{word} ");
        width += word.len() + 1;
    }
    text.trim_end().to_owned()
}

/// A bar for a share from 0 to 1.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

/// Which servers' shares are further from what was expected than `off_by`, or else than chance explains: five standard
/// deviations of a binomial distribution, which a right spread exceeds once in a million times.
pub(super) fn implausible(
    served: &BTreeMap<String, u64>,
    weights: &BTreeMap<String, f64>,
    off_by: Option<u64>,
) -> Vec<String> {
    let total = served.values().sum::<u64>() as f64;
    let expected = shares(weights);
    let mut found = Vec::new();
    for (&server, &share) in &expected {
        let count = served.get(server).copied().unwrap_or(0) as f64;
        let chance = 5.0 * (total * share * (1.0 - share)).sqrt();
        let most = off_by.map_or(chance, |most| most as f64);
        // Half a request is nobody's fault.
        if (count - total * share).abs() > most.max(0.5) {
            found.push(format!(
                "{server} has {count} of {total}, expected about {:.0}",
                total * share
            ));
        }
    }
    for server in served.keys().filter(|server| !expected.contains_key(server.as_str())) {
        found.push(format!("{server} has served, and should not have"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: Copy>(pairs: &[(&str, T)]) -> BTreeMap<String, T> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn chance_is_told_from_a_fault() {
        let equal = of(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
        let found = |served: &[(&str, u64)], off_by| implausible(&of(served), &equal, off_by).len();
        assert_eq!(found(&[("a", 200), ("b", 200), ("c", 200)], None), 0);
        assert_eq!(found(&[("a", 230), ("b", 190), ("c", 180)], None), 0);
        assert_eq!(found(&[("a", 230), ("b", 190), ("c", 180)], Some(10)), 2);
        assert_eq!(found(&[("a", 400), ("b", 100), ("c", 100)], None), 3);
        assert_eq!(found(&[("a", 200), ("b", 200), ("c", 200), ("d", 1)], None), 1);
        assert_eq!(found(&[("a", 34), ("b", 33), ("c", 33)], Some(1)), 0);
        assert_eq!(found(&[], None), 0, "that nothing answered is told elsewhere");
        assert!(implausible(&of(&[("a", 600)]), &of(&[("a", 7.0)]), None).is_empty());
    }

    #[test]
    fn bars_fill_their_width() {
        for share in [0.0, 0.01, 0.333, 0.999, 1.0, 7.0, -1.0] {
            assert_eq!(bar(share).len(), BAR, "{share}");
        }
    }

    #[test]
    fn long_lines_are_wrapped() {
        let words = vec!["web1"; 40];
        assert!(wrapped(&words).lines().all(|line| line.len() <= 95));
        assert_eq!(wrapped(&words).split_whitespace().count(), 40);
    }
}
