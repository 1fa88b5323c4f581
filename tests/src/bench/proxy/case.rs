//! What is measured.

use anyhow::{Result, ensure};

use super::load::{self, Load};

/// One of them.
#[derive(Debug)]
pub(super) struct Case {
    /// As in rows.
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) kind: Kind,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Processor time under this load.
    Load(Load),
    /// Memory of connections that idle.
    Idle,
    /// How long answers take at a fixed rate.
    Latency,
}

const ALL: [Case; 7] = [
    Case {
        name: "TLS, HTTP/1.1 with keep-alive",
        unit: "us/request",
        kind: Kind::Load(load::TLS_HTTP1),
    },
    Case {
        name: "TLS, HTTP/2",
        unit: "us/request",
        kind: Kind::Load(load::TLS_HTTP2),
    },
    Case {
        name: "TLS, full handshakes",
        unit: "us/handshake",
        kind: Kind::Load(load::HANDSHAKES),
    },
    Case {
        name: "plain, HTTP/1.1 with keep-alive",
        unit: "us/request",
        kind: Kind::Load(load::PLAIN_HTTP1),
    },
    Case {
        name: "TLS, HTTP/1.1, bodies of 1 MB",
        unit: "us/request",
        kind: Kind::Load(load::BODIES),
    },
    Case {
        name: "TLS, HTTP/1.1 at a fixed rate",
        unit: "us",
        kind: Kind::Latency,
    },
    Case {
        name: "TLS, idle connections",
        unit: "bytes/connection",
        kind: Kind::Idle,
    },
];

/// Those whose name contains one of `filters`, or all.
pub(super) fn wanted(filters: &[String]) -> Result<Vec<&'static Case>> {
    let is_wanted = |case: &&Case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(&**filter));
    let cases: Vec<&Case> = ALL.iter().filter(is_wanted).collect();
    let names: Vec<&str> = ALL.iter().map(|case| case.name).collect();
    ensure!(
        !cases.is_empty(),
        "no name of a case contains {}; there are:\n{}",
        filters.join(" or "),
        names.join("\n")
    );
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_asked_for_by_parts_of_their_names() {
        let names = |filters: &[&str]| {
            let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
            wanted(&filters).map(|cases| cases.iter().map(|case| case.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), ALL.len());
        assert_eq!(
            names(&["HTTP/2", "idle"]).unwrap(),
            ["TLS, HTTP/2", "TLS, idle connections"]
        );
        let error = names(&["HTTP/3"]).unwrap_err().to_string();
        assert!(
            error.contains("HTTP/3") && error.contains("TLS, full handshakes"),
            "{error}"
        );
    }
}
