//! A comparison as one page of HTML: no script, nothing from elsewhere, readable on paper and without colours.

mod charts;
mod tables;

use self::charts::KEY;
use super::super::model::{Comparison, EventOf, Missing, Subject};
use super::figures::{COST, Figure, LATENCY, THROUGHPUT};
use super::matrix::ROWS;
use super::svg::{self, escape};
use super::{caveats, events, facts, numbers, reading};
use crate::lab::report::listed;

const STYLE: &str = include_str!("page.css");

/// Sections: anchor and heading.
const SECTIONS: [(&str, &str); 8] = [
    ("does", "What each of them does"),
    ("throughput", "Throughput"),
    ("latency", "Latency"),
    ("events", "When something happens"),
    ("cost", "What it costs"),
    ("subjects", "What was compared"),
    ("limits", "What this machine cannot tell"),
    ("repeat", "Where, how, and how to repeat it"),
];

/// The whole page.
pub(in crate::lab) fn html(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let sections = [
        matrix(subjects),
        throughput(subjects),
        latency(comparison),
        happened(subjects),
        cost(subjects),
        compared(subjects, &comparison.missing),
        limits(),
        repeat(comparison),
    ];
    let mut body = opening(comparison);
    for ((id, title), content) in SECTIONS.iter().zip(sections) {
        body += &format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{content}</section>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Ways to balance, compared by Fulcrum</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{}{body}</body>\n</html>\n",
        svg::PATTERNS
    )
}

/// Heading, warnings, the shortest summary, contents.
fn opening(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let mut out = format!(
        "<header>\n<p class=\"brand\">Fulcrum · lab compare</p>\n<h1>Ways to balance, compared</h1>\n\
         <p class=\"lead\">One workload, the same servers, and {}. All of it in network namespaces on one machine{}, in {}.</p>\n",
        match names.as_slice() {
            [] => "nothing that was measured".to_owned(),
            [one] => format!("one way to reach them: {}", escape(one)),
            several => format!("{} ways to reach them: {}", several.len(), escape(&listed(several))),
        },
        match comparison.begun.as_str() {
            "" => String::new(),
            begun => format!(", begun {}", escape(begun)),
        },
        numbers::seconds(comparison.took)
    );
    for warning in facts::warnings(comparison.interrupted, comparison.settings.quick) {
        out += &format!("<p class=\"warning\" role=\"note\">{warning}</p>\n");
    }
    out += "<dl class=\"short\">\n";
    for (title, words) in [
        ("Throughput", reading::figure(&THROUGHPUT[0], subjects)),
        ("New connections", reading::figure(&THROUGHPUT[1], subjects)),
        ("Machine time", reading::figure(&COST[0], subjects)),
        ("A server dies", events::reading(subjects, EventOf::Killed)),
    ] {
        out += &format!("<div><dt>{title}</dt><dd>{}</dd></div>\n", escape(&words));
    }
    out += "</dl>\n<nav aria-label=\"Contents\"><ol>\n";
    for (id, title) in SECTIONS {
        out += &format!("<li><a href=\"#{id}\">{title}</a></li>\n");
    }
    out + "</ol></nav>\n</header>\n"
}

fn matrix(subjects: &[Subject]) -> String {
    // Layers side by side, in their order.
    let mut ordered: Vec<&Subject> = subjects.iter().collect();
    ordered.sort_by_key(|subject| subject.layer);
    let mut layers = String::new();
    for group in ordered.chunk_by(|one, other| one.layer == other.layer) {
        let name = match group[0].layer {
            0 => "none".to_owned(),
            layer => format!("layer {layer}"),
        };
        layers += &format!("<th scope=\"colgroup\" colspan=\"{}\">{name}</th>", group.len());
    }
    let names: String = ordered
        .iter()
        .map(|subject| {
            let class = if subject.own { " class=\"own-name\"" } else { "" };
            format!("<th scope=\"col\"{class}>{}</th>", escape(&subject.name))
        })
        .collect();
    let mut rows = String::new();
    for row in &ROWS {
        rows += &format!("<tr><th scope=\"row\">{}</th>", row.question);
        for subject in &ordered {
            let cell = (row.cell)(subject);
            rows += &format!(
                "<td class=\"{0}\"><span class=\"symbol\" role=\"img\" aria-label=\"{1}\">{2}</span>\
                 <span class=\"seen\">{3}</span></td>",
                cell.mark.word().replace('–', "unseen"),
                cell.mark.word(),
                cell.mark.symbol(),
                escape(&cell.text)
            );
        }
        rows += "</tr>\n";
    }
    let head = format!("<tr><td rowspan=\"2\"></td>{layers}</tr>\n<tr>{names}</tr>");
    "<p>Each cell is what was observed in this run: ✓ yes, ◐ partly, ✗ no, – not observed. A dash says nothing of what \
     a subject could do. Names of Fulcrum's modes are underlined.</p>\n"
        .to_owned()
        + &tables::table("matrix", "Behaviour, by observation", &head, &rows)
}

fn throughput(subjects: &[Subject]) -> String {
    let charts: String = THROUGHPUT.iter().map(|of| charts::bars(of, subjects)).collect();
    format!(
        "{KEY}<div class=\"charts\">\n{charts}</div>\n{}",
        THROUGHPUT
            .iter()
            .map(|of| tables::details(of, subjects))
            .collect::<String>()
    )
}

fn latency(comparison: &Comparison) -> String {
    let subjects = &comparison.subjects;
    let mut out = format!(
        "<p>All of them at the same {} requests/s, whatever they can do at most. A time runs from when a request was due, \
         so one that had to wait for its turn is not flattered.</p>\n{KEY}<div class=\"charts\">\n",
        numbers::number(comparison.settings.rate)
    );
    out += &[&LATENCY[0], &LATENCY[2]].map(|of| charts::bars(of, subjects)).concat();
    out += "</div>\n";
    out += &charts::panels(subjects);
    let columns: Vec<&Figure> = LATENCY.iter().collect();
    out + &tables::together(
        "Latency in µs, with where another run's median is to be expected",
        &columns,
        subjects,
        "failed",
        &|subject| subject.latency.as_ref().map(|latency| numbers::count(latency.failed)),
    )
}

fn happened(subjects: &[Subject]) -> String {
    let mut out =
        "<p>Requests at a steady pace, each with a connection of its own, while something is done to a server or \
        to the balancer. Beside them, connections that are kept: how many were cut.</p>\n<div class=\"charts\">\n"
            .to_owned();
    for (of, title, note) in events::SHOWN {
        out += &charts::happened(of, title, note, subjects);
    }
    out += "</div>\n";
    let mut rows = String::new();
    for (of, title, _) in events::SHOWN {
        for subject in subjects {
            for (reason, times) in events::of(subject, of).iter().flat_map(|event| &event.reasons) {
                rows += &format!(
                    "<tr><td>{title}</td><th scope=\"row\">{}</th><td class=\"figure\">{}</td><td>{}</td></tr>\n",
                    escape(&subject.name),
                    numbers::count(*times),
                    escape(reason)
                );
            }
        }
    }
    if !rows.is_empty() {
        let head = "<tr><th scope=\"col\">what</th><th scope=\"col\">subject</th><th scope=\"col\">requests</th>\
            <th scope=\"col\">why they failed</th></tr>";
        out += &tables::folded(
            "Why requests failed",
            &tables::table("", "Why requests failed", head, &rows),
        );
    }
    out
}

fn cost(subjects: &[Subject]) -> String {
    let charts: String = COST
        .iter()
        .filter(|of| !of.ranked(subjects).is_empty())
        .map(|of| charts::bars(of, subjects))
        .collect();
    let columns: Vec<&Figure> = COST.iter().collect();
    format!(
        "<p>Measured during the throughput samples. The machine's time is the one to compare: what the kernel does for \
         packets is in nobody else's.</p>\n{KEY}<div class=\"charts\">\n{charts}</div>\n{}{}",
        tables::details(&COST[0], subjects),
        tables::together("Time and memory", &columns, subjects, "private memory", &|subject| {
            subject.cost.memory.map(numbers::bytes)
        })
    )
}

fn compared(subjects: &[Subject], missing: &[Missing]) -> String {
    let mut rows = String::new();
    for subject in subjects {
        let layer = match subject.layer {
            0 => "–".to_owned(),
            layer => layer.to_string(),
        };
        rows += &format!(
            "<tr><th scope=\"row\">{}</th><td>{layer}</td><td>{}</td></tr>\n",
            escape(&subject.name),
            escape(&subject.what)
        );
    }
    let head = "<tr><th scope=\"col\">subject</th><th scope=\"col\">layer</th><th scope=\"col\">what it is</th></tr>";
    let mut out = tables::table("", "Ways to balance", head, &rows);
    if !missing.is_empty() {
        out += "<h3>Not compared</h3>\n<dl class=\"facts\">\n";
        for missing in missing {
            out += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(&missing.name), escape(&missing.why));
        }
        out += "</dl>\n";
    }
    out
}

fn limits() -> String {
    let mut out = "<ul class=\"caveats\">\n".to_owned();
    for (title, words) in caveats::CAVEATS {
        out += &format!("<li><strong>{title}</strong> {words}</li>\n");
    }
    out + &format!("</ul>\n<h3>When two differ</h3>\n<p>{}</p>\n", escape(caveats::NOISE))
}

fn repeat(comparison: &Comparison) -> String {
    let mut out = format!("<pre><code>{}</code></pre>\n", escape(&comparison.command));
    for (title, rows) in [
        ("Where it was measured", facts::environment(&comparison.environment)),
        ("Settings", facts::settings(&comparison.settings)),
    ] {
        out += &format!("<h3>{title}</h3>\n<dl class=\"facts\">\n");
        for (name, value) in rows {
            out += &format!("<dt>{}</dt><dd>{}</dd>\n", escape(&name), escape(&value));
        }
        out += "</dl>\n";
    }
    out
}
