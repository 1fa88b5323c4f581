//! What a comparison finds out: plain values, filled by the runner, shown by the report, printed as `--json`.
//!
//! Everything in it was observed in the run. Where something was not observed, the field is empty; no text stands for
//! a measurement.

use std::collections::BTreeMap;

use serde::Serialize;

/// A whole comparison. Its JSON is stable: fields are added, never changed.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Comparison {
    /// Of this form: 1.
    pub(in crate::lab) version: u32,
    /// The command that repeats it.
    pub(in crate::lab) command: String,
    /// When it began: UTC, RFC 3339.
    pub(in crate::lab) begun: String,
    /// How long it took, in seconds.
    pub(in crate::lab) took: f64,
    /// It was interrupted: what is in it is what was done until then.
    pub(in crate::lab) interrupted: bool,
    pub(in crate::lab) environment: Environment,
    pub(in crate::lab) settings: Settings,
    pub(in crate::lab) subjects: Vec<Subject>,
    /// Subjects that could not be measured, and why, with the way out.
    pub(in crate::lab) missing: Vec<Missing>,
}

/// Where it was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Environment {
    /// As `uname -sr` has it.
    pub(in crate::lab) kernel: String,
    /// Model of the processors.
    pub(in crate::lab) processor: String,
    pub(in crate::lab) processors: usize,
    /// In bytes.
    pub(in crate::lab) memory: u64,
    /// Programs and their versions, Fulcrum first.
    pub(in crate::lab) versions: Vec<(String, String)>,
    /// How XDP was attached, and what of offloads that means: one sentence each.
    pub(in crate::lab) offloads: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Settings {
    /// Samples of each figure.
    pub(in crate::lab) rounds: usize,
    /// Length of a sample, in seconds.
    pub(in crate::lab) seconds: f64,
    /// Clients' connections in the throughput samples.
    pub(in crate::lab) connections: usize,
    /// Requests/s in the latency samples, the same for all.
    pub(in crate::lab) rate: f64,
    /// Bytes of a response's body.
    pub(in crate::lab) body: usize,
    /// What the order of subjects within a round comes from.
    pub(in crate::lab) seed: u64,
    pub(in crate::lab) quick: bool,
}

/// A way to balance, or none.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Subject {
    /// `direct`, `dsr`, `proxy-tls`, `haproxy-http`...
    pub(in crate::lab) name: String,
    /// What it is, in a few words.
    pub(in crate::lab) what: String,
    /// 4 or 7; 0 for none (direct).
    pub(in crate::lab) layer: u8,
    /// It is a mode of Fulcrum.
    pub(in crate::lab) own: bool,
    /// Requests/s over connections that are kept open, closed loop, one figure a round.
    pub(in crate::lab) requests: Vec<f64>,
    /// Requests/s with a new connection for each, closed loop, one figure a round.
    pub(in crate::lab) connections: Vec<f64>,
    /// At the fixed rate, open loop, from when a request was due.
    pub(in crate::lab) latency: Option<Latency>,
    /// What balancing costs, measured during the throughput samples.
    pub(in crate::lab) cost: Cost,
    /// How requests were spread over the servers.
    pub(in crate::lab) spread: Vec<Spread>,
    /// What a server saw of one request.
    pub(in crate::lab) seen: Option<Seen>,
    /// What clients saw when something happened.
    pub(in crate::lab) events: Vec<Event>,
}

/// Times from when a request was due to the end of its answer, in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Latency {
    /// One entry a round.
    pub(in crate::lab) rounds: Vec<Quantiles>,
    /// All rounds together: (part of requests, microseconds), both rising.
    pub(in crate::lab) curve: Vec<(f64, f64)>,
    /// Requests that failed, or were never answered.
    pub(in crate::lab) failed: u64,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::lab) struct Quantiles {
    pub(in crate::lab) p50: f64,
    pub(in crate::lab) p90: f64,
    pub(in crate::lab) p99: f64,
    pub(in crate::lab) p999: f64,
    pub(in crate::lab) max: f64,
}

/// One figure a round; empty where there is nothing to measure.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Cost {
    /// Time of the XDP program, in nanoseconds per packet.
    pub(in crate::lab) program_per_packet: Vec<f64>,
    /// Time of the XDP program, in microseconds per request.
    pub(in crate::lab) program_per_request: Vec<f64>,
    /// Time of the balancer's processes, in microseconds per request.
    pub(in crate::lab) process_per_request: Vec<f64>,
    /// Busy time of the whole machine (clients, network, balancer, servers), in microseconds per request.
    pub(in crate::lab) machine_per_request: Vec<f64>,
    /// Private memory of the balancer's processes under load, in bytes.
    pub(in crate::lab) memory: Option<u64>,
}

/// Who answered how many requests.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Spread {
    pub(in crate::lab) of: SpreadOf,
    /// By server.
    pub(in crate::lab) served: BTreeMap<String, u64>,
    /// By server: the part of all that its weight stands for.
    pub(in crate::lab) expected: BTreeMap<String, f64>,
    /// Of connections that are kept, one entry each: how many of its requests each server answered.
    pub(in crate::lab) by_connection: Vec<BTreeMap<String, u64>>,
}

/// What was spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::lab) enum SpreadOf {
    /// A connection for each request.
    #[default]
    Short,
    /// Eight clients, each of which keeps its connection.
    KeepAlive,
    /// One client, many requests at a time on one connection of HTTP/2 over TLS.
    Http2,
    /// A connection for each request, weights 1 and 5.
    Weighted,
}

/// What a server saw of a request.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Seen {
    /// The client's own address.
    pub(in crate::lab) client: String,
    /// Whom the server took for the client.
    pub(in crate::lab) as_client: String,
    /// Headers that the client had not sent, as they arrived.
    pub(in crate::lab) added: Vec<(String, String)>,
    /// Who showed the certificate: `balancer` or `server`; empty without TLS.
    pub(in crate::lab) certificate: String,
}

/// Something that happens while requests are made at a steady pace.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Event {
    pub(in crate::lab) of: EventOf,
    /// What was done when: (seconds from the start, words).
    pub(in crate::lab) marks: Vec<(f64, String)>,
    /// Length of a slice, in seconds.
    pub(in crate::lab) slice: f64,
    /// By slice of when they were due: requests that were answered, by server, and those that failed.
    pub(in crate::lab) slices: Vec<Slice>,
    /// Requests that failed, with a connection for each.
    pub(in crate::lab) failed: u64,
    pub(in crate::lab) answered: u64,
    /// Reasons of failures, and how often.
    pub(in crate::lab) reasons: BTreeMap<String, u64>,
    /// Connections that were open when it happened: how many, and how many of them were cut.
    pub(in crate::lab) kept: Option<Kept>,
    /// From what was done to the last failure, in seconds; 0 without one.
    pub(in crate::lab) disturbed: f64,
    /// Of a slow client only: who waited for it.
    pub(in crate::lab) waited: Option<Waited>,
}

/// Requests that were due in one slice of time.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Slice {
    pub(in crate::lab) served: BTreeMap<String, u64>,
    pub(in crate::lab) failed: u64,
}

/// Connections that lived through something, or did not.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::lab) struct Kept {
    pub(in crate::lab) open: u64,
    pub(in crate::lab) cut: u64,
}

/// How long a slow client held up whom, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::lab) struct Waited {
    /// The client, from the first byte that it sent to the last.
    pub(in crate::lab) client: f64,
    /// A server, from the first byte that reached it to the last.
    pub(in crate::lab) server: f64,
}

/// What happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::lab) enum EventOf {
    /// A server's machine is gone: processes killed.
    #[default]
    Killed,
    /// A server is taken out for maintenance, without cutting anybody.
    Drained,
    /// The configuration is changed and reloaded.
    Reloaded,
    /// The balancer is stopped and started again.
    Restarted,
    /// A client sends its request a byte at a time; how long a server was kept busy with it.
    Slow,
}

/// What could not be measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::lab) struct Missing {
    pub(in crate::lab) name: String,
    pub(in crate::lab) why: String,
}
