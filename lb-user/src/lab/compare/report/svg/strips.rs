//! What became of requests along time: one strip a subject, the same time for all.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::model::Event;
use super::super::numbers;
use super::{WIDTH, chart, line, text, ticks};

const LEFT: f64 = 34.0;
const RIGHT: f64 = WIDTH - 12.0;
const HEIGHT: f64 = 36.0;
/// A strip, two lines of text above it, and air.
const ROW: f64 = 76.0;
/// So high at least is what failed, be it one of many.
const SEEN: f64 = 4.0;
const TOP: f64 = 28.0;

/// Classes of servers by the order of their names.
const SERVERS: [&str; 4] = ["server-1", "server-2", "server-3", "server-4"];

/// A strip for each (name, what became of it, event): columns of requests by when they were due, answered ones by
/// server, failed ones hatched on top.
pub(in super::super) fn strips(title: &str, events: &[(&str, String, &Event)]) -> String {
    let servers: BTreeSet<&str> = events
        .iter()
        .flat_map(|(_, _, event)| &event.slices)
        .flat_map(|slice| slice.served.keys().map(String::as_str))
        .collect();
    let classes: BTreeMap<&str, &str> = servers.into_iter().zip(SERVERS.into_iter().cycle()).collect();
    let end = events
        .iter()
        .map(|(_, _, event)| event.slice * event.slices.len() as f64)
        .fold(0.0, f64::max)
        .max(0.1);
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * (seconds / end).clamp(0.0, 1.0);
    let bottom = TOP + ROW * events.len() as f64;

    let mut body = legend(&classes);
    for tick in ticks(end) {
        body += &line((x(tick), TOP), (x(tick), bottom - 6.0), "grid");
        body += &text(x(tick), bottom + 9.0, "tick middle", &super::short(tick));
    }
    for (number, (name, outcome, event)) in events.iter().enumerate() {
        let top = TOP + ROW * number as f64;
        body += &format!(
            "<text x=\"{LEFT:.1}\" y=\"{:.1}\" class=\"name\"><tspan class=\"panel\">{}</tspan><tspan dx=\"8\">{}</tspan></text>",
            top + 14.0,
            super::escape(name),
            super::escape(outcome)
        );
        body += &strip(event, &classes, top + 32.0, &x);
    }
    let slice = events.first().map_or(0.1, |(_, _, event)| event.slice);
    body += &text(
        f64::midpoint(LEFT, RIGHT),
        bottom + 27.0,
        "unit middle",
        &format!("seconds; height: requests that were due in {slice} s"),
    );
    chart(WIDTH, bottom + 34.0, title, &body)
}

/// Columns and marks of one event.
fn strip(event: &Event, classes: &BTreeMap<&str, &str>, top: f64, x: &dyn Fn(f64) -> f64) -> String {
    let due = |slice: &super::super::super::model::Slice| slice.served.values().sum::<u64>() + slice.failed;
    let most = event.slices.iter().map(due).max().unwrap_or(0).max(1);
    let bottom = top + HEIGHT;
    let height = |count: u64| HEIGHT * count as f64 / most as f64;
    let mut paths: BTreeMap<&str, String> = BTreeMap::new();
    for (number, slice) in event.slices.iter().enumerate() {
        let (from, to) = (x(event.slice * number as f64), x(event.slice * (number + 1) as f64));
        let mut base = bottom;
        let parts = classes
            .iter()
            .map(|(server, class)| (*class, slice.served.get(*server).copied().unwrap_or(0)))
            .chain([("failed", slice.failed)]);
        for (class, count) in parts.filter(|(_, count)| *count > 0) {
            let up = height(count).max(if class == "failed" { SEEN } else { 0.0 });
            *paths.entry(class).or_default() += &format!("M{from:.1} {base:.1}V{:.1}H{to:.1}V{base:.1}z", base - up);
            base -= up;
        }
    }
    let mut body = String::new();
    for (class, path) in &paths {
        body += &format!("<path d=\"{path}\" class=\"{class}\"/>");
    }
    body += &line((LEFT, bottom), (RIGHT, bottom), "axis");
    body += &text(LEFT - 5.0, top + 8.0, "tick end", &numbers::count(most));
    body += &text(LEFT - 5.0, bottom, "tick end", "0");
    body + &marks(event, top, x)
}

/// Lines where something was done, and the words for it above the strip, as long as they do not lie on others.
fn marks(event: &Event, top: f64, x: &dyn Fn(f64) -> f64) -> String {
    let mut body = String::new();
    let mut free = LEFT;
    for (seconds, words) in &event.marks {
        let at = x(*seconds);
        body += &line((at, top - 13.0), (at, top - 1.0), "mark");
        body += &line((at, top), (at, top + HEIGHT), "since");
        let wide = 6.3 * words.chars().count() as f64 + 8.0;
        if at.max(free) + wide <= RIGHT {
            body += &text(at.max(free) + 4.0, top - 4.0, "tick", words);
            free = at.max(free) + wide;
        } else if at - wide >= free {
            body += &text(at - 4.0, top - 4.0, "tick end", words);
            free = at;
        }
    }
    body
}

/// Which column is whose.
fn legend(classes: &BTreeMap<&str, &str>) -> String {
    let mut body = String::new();
    let mut x = LEFT;
    for (words, class) in classes
        .iter()
        .map(|(server, class)| (*server, *class))
        .chain([("failed", "failed")])
    {
        body += &format!("<rect x=\"{x:.1}\" y=\"3\" width=\"14\" height=\"12\" class=\"{class}\"/>");
        body += &text(x + 19.0, 13.0, "value", words);
        x += 19.0 + 7.5 * words.chars().count() as f64 + 18.0;
    }
    body
}
