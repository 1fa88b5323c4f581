//! What steps of a tour, and checks, do and expect. Everything that is expected and does not come true is said, and makes
//! the tour fail at its end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use toml::Spanned;

use super::value::{Host, Place, Span, Url};

/// One thing that is done, as in `run = { on = "lb", shell = "..." }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::lab) enum Action {
    /// Prints a paragraph.
    Say(String),
    /// Makes requests, and shows how servers shared them.
    Requests(Box<Requests>),
    /// Runs a command line on a host, and shows what it prints.
    Run(Run),
    /// Ends processes at once, as when their machine is switched off: `HOST/PROCESS`, or `HOST` for all of them.
    Kill(Vec<Spanned<String>>),
    /// Asks processes to end, and waits for it.
    Stop(Vec<Spanned<String>>),
    /// Starts processes again, and waits until they serve.
    Start(Vec<Spanned<String>>),
    /// Sends SIGHUP, on which servers read their configuration again.
    Reload(Vec<Spanned<String>>),
    /// Changes a file of a host.
    Edit(Edit),
    /// Waits until a balancer's state is as it says.
    Await(Await),
    /// Makes requests from here on, at a steady pace, each over a connection of its own.
    Traffic(Traffic),
    /// Ends them, and shows what became of them from the last thing that was done to something.
    Timeline(Timeline),
    /// Shows how many lines each server's log has got since the step began.
    Logs(Logs),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Requests {
    pub(in crate::lab) from: Spanned<Host>,
    pub(in crate::lab) to: Spanned<Url>,
    #[serde(default = "hundred")]
    pub(in crate::lab) count: u64,
    /// At the same time.
    #[serde(default = "eight")]
    pub(in crate::lab) clients: usize,
    /// Each client keeps its connection.
    #[serde(default)]
    pub(in crate::lab) keep_alive: bool,
    #[serde(default)]
    pub(in crate::lab) http2: bool,
    #[serde(default)]
    pub(in crate::lab) headers: BTreeMap<String, String>,
    /// Weights of the servers, by which requests should be shared, and nobody else should serve any.
    pub(in crate::lab) spread: Option<BTreeMap<String, f64>>,
    /// No server's number may be further from its share than this; without it, than chance explains.
    pub(in crate::lab) off_by: Option<u64>,
    /// Whom servers should take for the client.
    pub(in crate::lab) sees: Option<Vec<IpAddr>>,
    /// Shows who answered the first so many, one after the other: makes it one client.
    #[serde(default)]
    pub(in crate::lab) order: usize,
    /// So many may fail.
    #[serde(default)]
    pub(in crate::lab) may_fail: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Run {
    pub(in crate::lab) on: Spanned<Host>,
    /// For `sh -c`, in the host's folder.
    pub(in crate::lab) shell: String,
    /// A regular expression that what it prints has to match.
    pub(in crate::lab) expect: Option<Spanned<String>>,
    /// One that it must not match.
    pub(in crate::lab) never: Option<Spanned<String>>,
    /// It may fail.
    #[serde(default)]
    pub(in crate::lab) may_fail: bool,
    /// It is run again and again until it is as expected, for so long.
    pub(in crate::lab) within: Option<Span>,
    /// Shows neither the command nor what it prints.
    #[serde(default)]
    pub(in crate::lab) silent: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Edit {
    /// `HOST/FILE`.
    pub(in crate::lab) file: Spanned<Place>,
    /// What stands in it; the first one counts.
    pub(in crate::lab) replace: String,
    pub(in crate::lab) with: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Await {
    /// `HOST/PROCESS`, of kind `fulcrum`.
    pub(in crate::lab) at: Spanned<Place>,
    pub(in crate::lab) service: String,
    pub(in crate::lab) mode: Option<String>,
    pub(in crate::lab) backend: Option<String>,
    /// Of the backend: its health.
    pub(in crate::lab) up: Option<bool>,
    /// Of the backend: gets new connections or requests.
    pub(in crate::lab) serves: Option<bool>,
    /// Of the backend.
    pub(in crate::lab) weight: Option<u16>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Traffic {
    pub(in crate::lab) from: Spanned<Host>,
    pub(in crate::lab) to: Spanned<Url>,
    /// From one request to the next.
    pub(in crate::lab) every: Option<Span>,
    /// For each.
    pub(in crate::lab) timeout: Option<Span>,
    /// Goes on with the tour when each of these has answered.
    #[serde(default)]
    pub(in crate::lab) until_served_by: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Timeline {
    /// Of a line.
    pub(in crate::lab) slice: Option<Span>,
    /// So many may fail; any number, when it is left out.
    pub(in crate::lab) may_fail: Option<u64>,
    /// From what was done to the last failure at most.
    pub(in crate::lab) within: Option<Span>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::lab) struct Logs {
    /// In each host's folder.
    pub(in crate::lab) file: String,
    /// A regular expression that lines have to match, to be counted.
    pub(in crate::lab) like: Option<Spanned<String>>,
    /// Hosts, with the weights by which lines should be shared.
    pub(in crate::lab) spread: BTreeMap<String, f64>,
    /// As of requests.
    pub(in crate::lab) off_by: Option<u64>,
}

const fn hundred() -> u64 {
    100
}

const fn eight() -> usize {
    8
}
