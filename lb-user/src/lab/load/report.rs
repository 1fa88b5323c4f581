//! What requests came to, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Outcome;

/// Parts of all answers that took no longer.
const PARTS: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// A table of a few lines.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut row = |label: &str, number: u64, rest: &str| {
        let line = format!("{label:12}{number:12}  {rest}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row("answered", outcome.answered, &a_second(outcome, outcome.answered));
    for (server, times) in &outcome.served {
        let share = 100.0 * *times as f64 / outcome.answered.max(1) as f64;
        row("  by server", *times, &format!("{share:.1} %  {server}"));
    }
    row("failed", outcome.failures(), "");
    for (reason, times) in &outcome.failed {
        row("", *times, reason);
    }
    row(
        "connections",
        outcome.connections,
        &a_second(outcome, outcome.connections),
    );
    row("bytes", outcome.bytes, &a_second(outcome, outcome.bytes));
    let seen: Vec<String> = outcome.seen.iter().take(8).map(ToString::to_string).collect();
    if !seen.is_empty() {
        let more = if outcome.seen.len() > seen.len() { " ..." } else { "" };
        row("clients seen", outcome.seen.len() as u64, &(seen.join(" ") + more));
    }
    if outcome.answered > 0 {
        let parts = PARTS.map(|(label, part)| format!("{label} {}", milliseconds(outcome.percentile(part))));
        let _ = writeln!(text, "latency in ms  {}", parts.join("  "));
    }
    text
}

fn a_second(outcome: &Outcome, number: u64) -> String {
    format!("{:.1}/s", per_second(outcome, number))
}

fn per_second(outcome: &Outcome, number: u64) -> f64 {
    if outcome.took.is_zero() {
        return 0.0;
    }
    number as f64 / outcome.took.as_secs_f64()
}

/// Three digits that count.
fn milliseconds(time: Duration) -> String {
    let time = time.as_secs_f64() * 1e3;
    match time {
        ..10.0 => format!("{time:.3}"),
        ..100.0 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

/// One object.
pub(super) fn json(outcome: &Outcome) -> Value {
    let latency: serde_json::Map<String, Value> = PARTS
        .iter()
        .filter(|_| outcome.answered > 0)
        .map(|&(label, part)| (label.to_owned(), json!(outcome.percentile(part).as_nanos() as u64)))
        .collect();
    json!({
        "answered": outcome.answered,
        "failed": outcome.failed,
        "statuses": outcome.statuses,
        "served": outcome.served,
        "seen": outcome.seen,
        "order": outcome.order().collect::<Vec<_>>(),
        "connections": outcome.connections,
        "bytes": outcome.bytes,
        "seconds": outcome.took.as_secs_f64(),
        "requests_per_second": per_second(outcome, outcome.answered),
        "connections_per_second": per_second(outcome, outcome.connections),
        "latency_ns": latency,
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Answer;
    use super::*;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let mut outcome = Outcome::default();
        for (number, server) in ["web1", "web2", "web1", "web1"].into_iter().enumerate() {
            let answer = Answer {
                status: 200,
                server: server.to_owned(),
                saw: Some("10.0.0.2".parse().unwrap()),
                bytes: 100,
            };
            outcome.note(&answer);
            outcome.answer(number as u64, Duration::from_millis(2), &answer);
        }
        outcome.fail("refused", 2);
        outcome.connections = 6;
        outcome.took = Duration::from_secs(2);
        let text = text(&outcome);
        for part in [
            "4  2.0/s",
            "3  75.0 %  web1",
            "2  refused",
            "6  3.0/s",
            "1  10.0.0.2",
            "p99 2.0",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = json(&outcome);
        assert_eq!(json["answered"], 4);
        assert_eq!(json["failed"]["refused"], 2);
        assert_eq!(json["statuses"]["200"], 4);
        assert_eq!(json["order"], json!(["web1", "web2", "web1", "web1"]));
        assert_eq!(json["requests_per_second"], 2.0);
        assert!(json["latency_ns"]["p50"].as_u64().unwrap().abs_diff(2_000_000) < 2_000);
    }
}
