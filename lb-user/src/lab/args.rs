//! Arguments of `fulcrum lab`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config;
use crate::model::Prefix;

/// `fulcrum lab ...`: whole networks on one machine, made of network namespaces. Needs root.
#[derive(Clone, Debug, Subcommand)]
pub enum LabCommand {
    /// Show the labs that there are, one line each
    List,
    /// Build a lab, check it, and leave it up
    ///
    /// A lab is one of those that `fulcrum lab list` shows, or a file of yours: docs/labs.md. What it needs of Debian is
    /// named before anything is made.
    Up(Up),
    /// Take a lab down: its processes, namespaces and files, whatever state they are in
    Down(Down),
    /// Show what a lab is about, step by step; where it is not up, build it for that and take it down again
    Tour(Tour),
    /// Measure ways to balance beside each other: one workload, the same servers
    ///
    /// Nothing, the modes of Fulcrum, HAProxy, nginx, nftables and IPVS, as far as they are installed: throughput, latency
    /// at a fixed rate, cost, spread over the servers, what a server sees of a client, and what clients see when a server
    /// dies, is drained, and when the balancer is reloaded or restarted. Some minutes; Ctrl-C ends it early and shows
    /// what was done.
    Compare(Compare),
    /// Run a command on a host of a lab
    ///
    /// As in `fulcrum lab exec quickstart/client -- curl http://10.77.0.100/`, or the same with spaces:
    /// `fulcrum lab exec quickstart client curl http://10.77.0.100/`.
    Exec(Exec),
    /// Show the labs that are up: hosts, processes, files
    Status(Status),
    /// Show what processes of a lab have printed
    Logs(Logs),
    /// Make requests, many of them, and say what they came to
    ///
    /// GETs over HTTP/1.1 or HTTP/2, with TLS or without. Without --rate each connection asks again when it has been
    /// answered; with it, requests are due at that rate whether those before have been answered or not, and how long
    /// they took counts from when they were due. Statuses from 400 on count as failed. Ctrl-C ends it early and shows
    /// what was done. The exit code is 1 when nothing was answered, and 130 after Ctrl-C.
    Load(Load),
    /// Run the web and echo server that labs use where no real one is installed
    ///
    /// Answers HTTP/1.1 requests and UDP datagrams with one line that says who answered, which client address it saw,
    /// and which address the client had asked for. Over HTTP, the numbers of the connection and of the request on it
    /// and the request's headers follow. `/bytes/N` answers with N bytes, `/slow/N` after N milliseconds, `/status/CODE`
    /// with that status, `/stream/N` with N lines, one each 100 ms; `/close` closes the connection without an answer,
    /// `/reset` resets it. `/healthz` answers `ok` until `/health/fail` is asked for, and again from `/health/ok` on.
    Serve(Serve),
    /// Take a lab down when standard input ends, unless told otherwise on it
    #[command(hide = true)]
    Guard(Guard),
    /// Accept connections here, and open them again from within a namespace
    #[command(hide = true)]
    Forward(Forward),
}

/// Arguments of `lab up`.
#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Name of a lab, or path of a lab file
    #[arg(value_name = "LAB")]
    pub lab: String,
    /// Fail rather than run the embedded server in the place of a program that is not installed
    #[arg(long)]
    pub only_real: bool,
}

/// Arguments of `lab tour`.
#[derive(Args, Clone, Debug)]
pub struct Tour {
    /// Name of a lab, or path of a lab file
    #[arg(value_name = "LAB")]
    pub lab: String,
    /// Do not wait for the Enter key before each step
    #[arg(short, long)]
    pub yes: bool,
    /// Leave it up at the end, and say how to look around
    #[arg(long)]
    pub keep: bool,
    /// Fail rather than run the embedded server in the place of a program that is not installed
    #[arg(long)]
    pub only_real: bool,
}

/// Arguments of `lab compare`.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// Shorter samples and fewer events: under 3 minutes
    #[arg(long)]
    pub quick: bool,
    /// Write the report as one page of HTML
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the report as JSON; `-` prints it in the place of text
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Length of each sample, 100ms or more [default: 1s, with --quick 200ms]
    #[arg(long, value_parser = config::duration::span)]
    pub duration: Option<Duration>,
    /// Samples of each figure [default: 5]
    #[arg(long)]
    pub rounds: Option<NonZeroUsize>,
    /// Clients' connections in samples of throughput
    #[arg(long, default_value = "32")]
    pub clients: NonZeroUsize,
    /// Requests/s in samples of latency [default: a third of what the slowest subject answers]
    #[arg(long)]
    pub rate: Option<NonZeroU32>,
    /// Only these ways to balance, separated by commas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub subject: Vec<String>,
    /// Where the order of subjects within a round comes from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Arguments of `lab logs`.
#[derive(Args, Clone, Debug)]
pub struct Logs {
    /// Which lab
    pub name: String,
    /// Only those of this HOST, or of HOST/PROCESS
    pub process: Option<String>,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// So many lines of each [default: 20]
    #[arg(short = 'n', long)]
    pub lines: Option<usize>,
}

/// Arguments of `lab down`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Down {
    /// Which lab, or the path of its file
    pub name: Option<String>,
    /// Every lab that is up
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `lab exec`.
#[derive(Args, Clone, Debug)]
pub struct Exec {
    /// LAB/HOST, or LAB, with the host as the next argument
    #[arg(value_name = "LAB/HOST")]
    pub target: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Arguments of `lab status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Only this lab
    pub name: Option<String>,
}

/// Arguments of `lab serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// What the server calls itself in its answers
    #[arg(long)]
    pub name: String,
    /// Address and port, for TCP and UDP; may be repeated
    #[arg(long = "listen", value_name = "ADDRESS:PORT", required = true)]
    pub listen: Vec<SocketAddr>,
    /// Write a line of each HTTP request to this file, in the common log format
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
}

/// Arguments of `lab load`.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// As in http://10.77.0.100/ or https://web.test:8443/path
    pub url: String,
    /// Connections at a time
    #[arg(long, short = 'c', default_value = "10", value_name = "NUMBER")]
    pub connections: NonZeroUsize,
    /// Requests a second, of all connections together
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// How long, as in 30s or 5m [default: 10s]
    #[arg(long, short = 'd', value_parser = config::duration::span, conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// How many, however long it takes
    #[arg(long, short = 'n', value_name = "NUMBER")]
    pub requests: Option<NonZeroU64>,
    /// Speak HTTP/2; without TLS, to servers that are known to speak it
    #[arg(long)]
    pub http2: bool,
    /// Requests at a time on each connection of HTTP/2
    #[arg(long, default_value = "10", value_name = "NUMBER", requires = "http2")]
    pub streams: NonZeroUsize,
    /// A new connection for each request
    #[arg(long)]
    pub new_connections: bool,
    /// Where connections come from, in turn: an address of this machine, or all of a prefix; may be repeated
    #[arg(long = "source", value_name = "PREFIX|ADDRESS")]
    pub sources: Vec<Prefix>,
    /// A header of each request, as in 'Accept: text/html'; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// What the Host header says, and which name TLS asks for, in place of the URL's
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Authorities that the server's certificate has to be of, in PEM; without them every certificate is believed
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long a request may take from when it is sent
    #[arg(long, default_value = "5s", value_parser = config::duration::span)]
    pub timeout: Duration,
    /// Threads that share the connections
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub threads: NonZeroUsize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// From this host of a lab that is up
    #[arg(long = "in", value_name = "LAB/HOST")]
    pub inside: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("write requests a second, from 0.001 to 10000000".to_owned()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err("write NAME: VALUE".to_owned()),
    }
}

/// Arguments of `lab guard`.
#[derive(Args, Clone, Debug)]
pub struct Guard {
    /// Which lab
    pub name: String,
}

/// Arguments of `lab forward`.
#[derive(Args, Clone, Debug)]
pub struct Forward {
    /// Where to accept, in the namespace where this is started; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Name of the namespace to connect from
    #[arg(long)]
    pub namespace: String,
    /// Where to connect
    #[arg(long)]
    pub to: SocketAddr,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: LabCommand,
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exec_takes_the_command_as_it_is() {
        for line in [
            "lab exec quickstart/client -- curl -v --fail http://x/",
            "lab exec quickstart client curl -v --fail http://x/",
            "lab exec quickstart client -- curl -v --fail http://x/",
        ] {
            let LabCommand::Exec(exec) = Cli::try_parse_from(line.split(' '))
                .unwrap_or_else(|e| panic!("{e}"))
                .command
            else {
                panic!("{line}")
            };
            let (lab, host, command) = crate::lab::exec::split(&exec).unwrap();
            assert_eq!((lab.as_str(), host.as_str()), ("quickstart", "client"), "{line}");
            assert_eq!(command, ["curl", "-v", "--fail", "http://x/"], "{line}");
        }
        for line in [
            "lab exec quickstart",
            "lab exec quickstart/client",
            "lab down",
            "lab down a --all",
            "lab serve",
            "lab load",
            "lab load http://x/ --rate 0",
            "lab load http://x/ --duration 1s --requests 5",
            "lab load http://x/ --header nothing",
            "lab load http://x/ --streams 5",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
