//! What must be true of every way to show a comparison, whatever is in it.

use super::super::model::{Comparison, Event, Latency, Missing, Slice, Subject};
use super::sample::comparison;
use super::{html, json, text};

/// Comparisons at the edges: whole, interrupted, without subjects, with hostile names, with figures that are none.
fn edges() -> Vec<(&'static str, Comparison)> {
    let mut interrupted = comparison();
    interrupted.interrupted = true;
    interrupted.subjects.truncate(2);
    interrupted.subjects[1].connections.clear();
    interrupted.subjects[1].latency = None;
    interrupted.subjects[1].events.clear();

    let mut hostile = comparison();
    hostile.subjects[1].name = "<script>alert(1)</script>".to_owned();
    hostile.subjects[1].what = "\"'&<b>".to_owned();
    hostile.missing[0].why = "<img src=x>".to_owned();
    hostile.command = "fulcrum lab compare '<script>'".to_owned();

    let mut odd = comparison();
    odd.subjects[0].requests = vec![0.0, f64::NAN, f64::INFINITY];
    odd.subjects[1].requests = vec![0.0; 5];
    odd.subjects[2].requests = vec![7.0];
    odd.subjects[3].latency = Some(Latency::default());
    odd.subjects[4].events = vec![Event::default()];
    odd.subjects[5].events = vec![Event {
        slice: 0.1,
        slices: vec![Slice::default(); 3],
        marks: vec![(99.0, "late".to_owned())],
        ..Event::default()
    }];

    vec![
        ("whole", comparison()),
        ("interrupted", interrupted),
        ("hostile", hostile),
        ("odd", odd),
        ("empty", Comparison::default()),
        (
            "one without anything",
            Comparison {
                subjects: vec![Subject::default()],
                missing: vec![Missing::default()],
                ..Comparison::default()
            },
        ),
    ]
}

/// What stands between tags.
fn visible(page: &str) -> String {
    let (mut out, mut within) = (String::new(), false);
    for letter in page.chars() {
        match letter {
            '<' => within = true,
            '>' => within = false,
            other if !within => out.push(other),
            _ => {}
        }
    }
    out
}

#[test]
fn nothing_is_shown_that_is_no_number() {
    for (name, comparison) in edges() {
        let page = html(&comparison);
        for shown in [text(&comparison), page] {
            for word in ["NaN", "inf ", "inf<", "inf\"", "-0.00"] {
                assert!(!shown.contains(word), "{name}: {word}");
            }
        }
    }
}

#[test]
fn every_subject_is_everywhere() {
    let comparison = comparison();
    let (page, terminal) = (html(&comparison), text(&comparison));
    for subject in &comparison.subjects {
        assert!(page.contains(&format!("<th scope=\"row\">{}</th>", subject.name)));
        assert!(page.contains(&format!("class=\"panel\">{}<", subject.name)));
        assert!(terminal.contains(&subject.name));
    }
    assert!(page.contains("no envoy in PATH") && terminal.contains("no envoy in PATH"));
    assert!(page.contains(&comparison.command) && terminal.contains(&comparison.command));
    assert!(page.contains("no difference beyond noise") && terminal.contains("no difference beyond noise"));
}

#[test]
fn charts_have_titles_and_units() {
    for (name, comparison) in edges() {
        let page = html(&comparison);
        let charts: Vec<&str> = page.split("<svg ").skip(2).collect();
        assert_eq!(
            charts.is_empty(),
            comparison.subjects.iter().all(|subject| subject.requests.is_empty()),
            "{name}"
        );
        for chart in charts {
            let chart = &chart[..chart.find("</svg>").expect("a chart ends")];
            assert!(chart.contains("<title>"), "{name}: {chart}");
            assert!(chart.contains("class=\"unit middle\""), "{name}: {chart}");
        }
        assert_eq!(page.matches("<figure ").count(), page.matches("<figcaption>").count());
    }
}

/// Tags that open also close, in the order of a tree.
#[test]
fn pages_are_well_formed() {
    const ALONE: [&str; 10] = [
        "meta", "col", "br", "rect", "line", "circle", "path", "polyline", "!doctype", "img",
    ];
    for (name, comparison) in edges() {
        let page = html(&comparison);
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let tag = &tag[..tag.find('>').expect("a tag ends")];
            let word = tag
                .split([' ', '/'])
                .find(|word| !word.is_empty())
                .expect("a tag has a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(word), "{name}");
            } else if !tag.ends_with('/') && !ALONE.contains(&word) {
                open.push(word);
            }
        }
        assert!(open.is_empty(), "{name}: {open:?}");
    }
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = html(&comparison());
    for word in ["http://", "https://", "src=", "@import", "<script", "<link"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn names_are_only_names() {
    let hostile = edges()
        .into_iter()
        .find(|(name, _)| *name == "hostile")
        .expect("one of the edges")
        .1;
    let page = html(&hostile);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
    assert!(visible(&page).contains("&lt;script&gt;alert(1)"));
}

#[test]
fn an_interrupted_comparison_says_so() {
    for (name, comparison) in edges() {
        let interrupted = comparison.interrupted;
        assert_eq!(html(&comparison).contains("was interrupted"), interrupted, "{name}");
        assert_eq!(text(&comparison).contains("was interrupted"), interrupted, "{name}");
    }
}

#[test]
fn a_terminal_of_100_columns_suffices() {
    let mut comparison = comparison();
    // Commands are not broken, so that they can be copied.
    comparison.command = "fulcrum lab compare".to_owned();
    for line in text(&comparison).lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn json_has_all_of_it() {
    let value: serde_json::Value = serde_json::from_str(&json(&comparison()).unwrap()).unwrap();
    assert_eq!(value["version"], 1);
    assert_eq!(value["subjects"].as_array().unwrap().len(), 12);
    assert_eq!(value["subjects"][1]["events"][0]["of"], "killed");
}
