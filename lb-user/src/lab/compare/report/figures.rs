//! What was measured in figures, once for all who show it.

use super::super::model::{Latency, Quantiles, Subject};
use super::stats::Range;

/// One figure that subjects have.
pub(super) struct Figure {
    /// Anchor on the page.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// Head of a column.
    pub(super) short: &'static str,
    pub(super) unit: &'static str,
    pub(super) more_is_better: bool,
    /// "A takes N times the time of B".
    pub(super) takes: &'static str,
    pub(super) of: &'static str,
    /// What it is.
    pub(super) note: &'static str,
    /// One a round.
    pub(super) samples: fn(&Subject) -> Vec<f64>,
}

impl Figure {
    /// None where there is nothing to measure.
    pub(super) fn range(&self, subject: &Subject) -> Option<Range> {
        Range::of(&(self.samples)(subject))
    }

    /// Subjects of which there is something, best first.
    pub(super) fn ranked<'a>(&self, subjects: &'a [Subject]) -> Vec<(&'a Subject, Range)> {
        let mut measured: Vec<_> = subjects
            .iter()
            .filter_map(|subject| Some((subject, self.range(subject)?)))
            .collect();
        measured.sort_by(|(_, one), (_, other)| {
            let rising = one.median.total_cmp(&other.median);
            if self.more_is_better { rising.reverse() } else { rising }
        });
        measured
    }
}

/// Requests that are answered when clients ask as fast as they can.
pub(super) const THROUGHPUT: [Figure; 2] = [
    Figure {
        id: "requests",
        title: "Requests over connections that are kept",
        short: "kept",
        unit: "requests/s",
        more_is_better: true,
        takes: "answers",
        of: "the requests of",
        note: "Each client asks again as soon as it is answered.",
        samples: |subject| subject.requests.clone(),
    },
    Figure {
        id: "connections",
        title: "Requests with a new connection each",
        short: "new",
        unit: "requests/s",
        more_is_better: true,
        takes: "answers",
        of: "the requests of",
        note: "Each request opens a connection, and closes it.",
        samples: |subject| subject.connections.clone(),
    },
];

/// At the same rate for all.
pub(super) const LATENCY: [Figure; 4] = [
    Figure {
        id: "p50",
        title: "Half of the answers came within (p50)",
        short: "p50",
        samples: |subject| rounds(subject, |quantiles| quantiles.p50),
        ..QUANTILE
    },
    Figure {
        id: "p90",
        title: "90 % of the answers came within (p90)",
        short: "p90",
        samples: |subject| rounds(subject, |quantiles| quantiles.p90),
        ..QUANTILE
    },
    Figure {
        id: "p99",
        title: "99 % of the answers came within (p99)",
        short: "p99",
        samples: |subject| rounds(subject, |quantiles| quantiles.p99),
        ..QUANTILE
    },
    Figure {
        id: "p999",
        title: "99.9 % of the answers came within (p99.9)",
        short: "p99.9",
        samples: |subject| rounds(subject, |quantiles| quantiles.p999),
        ..QUANTILE
    },
];

/// What quantiles have in common.
const QUANTILE: Figure = Figure {
    id: "",
    title: "",
    short: "",
    unit: "µs",
    more_is_better: false,
    takes: "takes",
    of: "the time of",
    note: "From when a request was due, at the same rate for all.",
    samples: |_| Vec::new(),
};

fn rounds(subject: &Subject, quantile: fn(&Quantiles) -> f64) -> Vec<f64> {
    subject
        .latency
        .iter()
        .flat_map(|latency: &Latency| &latency.rounds)
        .map(quantile)
        .collect()
}

/// What balancing costs, the fair figure first.
pub(super) const COST: [Figure; 4] = [
    Figure {
        id: "machine",
        title: "Busy time of the whole machine",
        short: "machine",
        unit: "µs/request",
        more_is_better: false,
        takes: "costs",
        of: "the machine time of",
        note: "Clients, network, balancer and servers: what direct costs is not the balancer's.",
        samples: |subject| subject.cost.machine_per_request.clone(),
    },
    Figure {
        id: "process",
        title: "Time of the balancer's processes",
        short: "processes",
        unit: "µs/request",
        more_is_better: false,
        takes: "costs",
        of: "the process time of",
        note: "What the kernel does for packets on its own (XDP, nftables, IPVS) is in no process's time.",
        samples: |subject| subject.cost.process_per_request.clone(),
    },
    Figure {
        id: "program-request",
        title: "Time of the XDP program",
        short: "program",
        unit: "µs/request",
        more_is_better: false,
        takes: "costs",
        of: "the program time of",
        note: "All packets of a request that pass the program; only modes of Fulcrum at layer 4 have one.",
        samples: |subject| subject.cost.program_per_request.clone(),
    },
    Figure {
        id: "program-packet",
        title: "Time of the XDP program for a packet",
        short: "program/packet",
        unit: "ns/packet",
        more_is_better: false,
        takes: "costs",
        of: "the program time of",
        note: "With the kernel's own measuring of it, which costs some of it.",
        samples: |subject| subject.cost.program_per_packet.clone(),
    },
];
