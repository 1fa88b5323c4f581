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
    lines.join("\n")
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
    // Of many slices that are all calm, nobody reads but the first and the last.
    let mut calm = 0;
    for number in 0..=last {
        let within: Vec<&Made> = events.iter().filter(|event| index(event.due) == number).collect();
        let of = |wanted: Option<&str>| {
            within
                .iter()
                .filter(|event| event.outcome.as_deref().ok() == wanted)
                .count()
        };
        let done: Vec<&str> = marks
            .iter()
            .filter(|(at, _)| index(*at) == number)
            .map(|(_, what)| what.as_str())
            .collect();
        calm = if of(None) == 0 && done.is_empty() && number != last {
            calm + 1
        } else {
            0
        };
        match calm {
            0 | 1 => {}
            2 => {
                lines.push("        ...".to_owned());
                continue;
            }
            _ => continue,
        }
        let mut line: String = servers
            .iter()
            .map(|server| format!("{:>8}", of(Some(server))))
            .collect();
        line += &format!("{:>8}", of(None));
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
    lines.join("\n")
}

/// Widest line, in characters.
pub(super) const WIDTH: usize = 100;

/// Words after a lead, on as many lines as they take, of which all but the first begin with so many blanks.
pub(super) fn wrapped(lead: &str, indent: usize, words: &str) -> String {
    let mut lines = vec![lead.to_owned()];
    let mut empty = true;
    for word in words.split_whitespace() {
        let width = lines.last().map_or(0, |line| line.chars().count());
        if !empty && width + 1 + word.chars().count() > WIDTH {
            lines.push(" ".repeat(indent));
            empty = true;
        }
        if let Some(line) = lines.last_mut() {
            *line += if empty { "" } else { " " };
            *line += word;
        }
        empty = false;
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n")
}

/// "a", "a and b", "a, b and c".
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [several @ .., last] => format!("{} and {last}", several.join(", ")),
    }
}

/// A bar for a share from 0 to 1.
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "#".repeat(full), ".".repeat(BAR - full))
}

/// Which servers' shares are further from what was expected than `off_by`, or else than chance explains: six standard
/// deviations of a binomial distribution, which a right spread exceeds once in 500 million times.
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
        let chance = 6.0 * (total * share * (1.0 - share)).sqrt();
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
    fn lists_are_read_aloud() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!((listed(&["a"]), listed(&[""; 0])), ("a".to_owned(), String::new()));
    }

    #[test]
    fn bars_fill_their_width() {
        for share in [0.0, 0.01, 0.333, 0.999, 1.0, 7.0, -1.0] {
            assert_eq!(bar(share).len(), BAR, "{share}");
        }
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = wrapped("   a lead  ", 7, &"word ".repeat(60));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() > 2 && lines.iter().all(|line| line.len() <= WIDTH && !line.ends_with(' ')),
            "{text}"
        );
        assert!(
            lines[0].starts_with("   a lead  word ") && lines[1].starts_with("       word "),
            "{text}"
        );
        assert_eq!(text.split_whitespace().count(), 62);
        assert_eq!(wrapped("   ", 3, ""), "");
    }

    #[test]
    fn a_time_line_shows_where_something_happens() {
        let start = Instant::now();
        let slice = Duration::from_millis(100);
        let at = |slices: u32| start + slice * slices + Duration::from_millis(50);
        let event = |slices, outcome: Result<&str, &str>| Made {
            due: at(slices),
            took: Duration::ZERO,
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let mut events: Vec<Made> = (0..9).map(|number| event(number, Ok("web1"))).collect();
        events.push(event(7, Err("refused")));
        let text = timeline(&events, start, slice, &[(at(0), "web2 killed".to_owned())]);
        let expected = [
            "   seconds         web1  failed",
            "    0.0 to  0.1       1       0   < web2 killed",
            "    0.1 to  0.2       1       0",
            "        ...",
            "    0.7 to  0.8       1       1",
            "    0.8 to  0.9       1       0",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
