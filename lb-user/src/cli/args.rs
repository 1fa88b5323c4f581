//! What may be typed.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::certificate::Certificate;
use super::command::Target;
use super::log::LogFormat;
use crate::config;
use crate::lab::args::LabCommand;
use crate::model::{self, Prefix};

/// Where the configuration is unless told otherwise.
const CONFIG: &str = "/etc/fulcrum/fulcrum.toml";

/// A load balancer: an XDP program spreads packets over backends, a daemon keeps it right and proxies HTTP
#[derive(Debug, Parser)]
#[command(name = "fulcrum", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon in the foreground: load and attach the program, fill its maps, probe backends, proxy HTTP
    ///
    /// SIGHUP and a change of the file apply a new configuration; a bad one is refused and the running one stays.
    /// SIGTERM finishes the proxy's requests, ends the daemon and leaves the program forwarding; `fulcrum detach` takes it off.
    /// SIGUSR2 starts the binary that is there by now, and hands maps and listening sockets over to it.
    Run(Run),
    /// Validate a configuration without touching anything
    Check(Config),
    /// Show what a reload of a file would change on the running node, and change nothing
    ///
    /// Like a diff: services, backends, keys, VIPs, the share of ring slots that move, and what becomes of flows: they
    /// `drain` (a backend that leaves finishes them), are `reassigned` (each goes where the new rules say) or are `cut`;
    /// those that are not named stay. The daemon computes it with the code of a reload, from what it knows now of health;
    /// backends that are not probed yet are supposed to come up. Of services that choose by a hash, flows are known only
    /// where slots have changed lately, so their numbers are lower bounds. Exit code 0: nothing would change, 3: something
    /// would, 1: a reload would refuse the file, or something failed.
    Plan(Plan),
    /// Show services, backends and counters of the running daemon
    Status(Status),
    /// Watch services and backends: rates, flows, health and drops, every second; drain and enable backends
    ///
    /// Keys: q quits, s sorts, / filters, arrows select, d drains and e enables the selected backend, after a question. Over
    /// ssh: `ssh -L /tmp/lb1.sock:/run/fulcrum/fulcrum.sock root@lb1`, then `fulcrum top --socket /tmp/lb1.sock`.
    Top(Top),
    /// Make the running daemon read its file now
    ///
    /// Prints `reloaded` or `nothing has changed`. A bad file is refused with its place (exit code 1), and the running
    /// configuration stays.
    Reload(Asked),
    /// Give a backend no new flows
    ///
    /// It is still probed, and finishes its old flows, for `drain-timeout` at most. Stands above the file, over reloads and restarts, until another
    /// command or the file says otherwise; so do `enable`, `disable` and `weight`.
    ///
    /// With `--wait`, the flows that are left are shown until none is. In `nat`, and where backends are chosen by turn or by
    /// load, every flow is known. Where a hash chooses, nothing is remembered before a backend begins to drain: then a
    /// flow is known once it has spoken, and one that stays silent may be there until `idle-timeout` has passed or
    /// `drain-timeout` cuts it. So none is left when none is known and no slot of the ring may have silent ones.
    Drain(Drain),
    /// Let a backend serve while it is healthy, whatever the file says
    Enable(Backend),
    /// Take a backend out of service, and stop probing it
    Disable(Backend),
    /// Set a backend's share of new flows, in proportion to the other weights
    ///
    /// The file's own number puts the file in charge again.
    Weight(Weight),
    /// Take the node out before maintenance, and bring it back
    #[command(subcommand)]
    Node(Node),
    /// Deny sources while the daemon runs, whatever the file allows
    #[command(subcommand)]
    Deny(Deny),
    /// Look after certificates that the node orders, which `acme` in [service.tls] names
    #[command(subcommand)]
    Certificate(Certificate),
    /// Tell ExaBGP which VIPs to announce, as its process
    ///
    /// In ExaBGP's configuration: `process fulcrum { run /usr/bin/fulcrum announce; encoder text; }`. Prints an `announce
    /// route` or a `withdraw route` for each VIP of [bgp], when that changes and twice a minute. Withdraws all when the
    /// daemon has not answered for ten seconds, and at its own end.
    Announce(Announce),
    /// Show what the running daemon logs, or change it until it restarts
    ///
    /// Levels are as those of `fulcrum run --log-level`.
    LogLevel(LogLevel),
    /// Say which backend a flow gets, and why, by the program's own code over its own maps
    Explain(Explain),
    /// Show packets as the program sees them: to which backend each goes and by which slot, or why it is dropped
    ///
    /// While it runs, another program stands in the balancer's place, which does the same and shows some of the packets; what
    /// costs more than showing none is limited by --rate. Without a filter it shows what concerns a VIP. Ends with
    /// --count, --for, or SIGINT; times are UTC.
    Trace(Trace),
    /// Look for what is wrong with this node and its backends, and say what to do about it
    ///
    /// Changes nothing. Exit code 1 when traffic is lost, or would be.
    Doctor(Doctor),
    /// Take the program off the interfaces, and remove its maps and the VIPs that Fulcrum put on the node
    Detach(Detach),
    /// On a backend of `mode = "tunnel"`: take packets out of the outer ones that the balancer sends
    ///
    /// An XDP program removes the outer IPv4 or IPv6 header (IP protocols 4 and 41), and the kernel goes on with the packet
    /// inside, whose VIP it has to hold. No tunnel device is needed, the MTU stays as it is, and everything else passes.
    /// Runs in the foreground; SIGTERM and SIGINT end it, and the program goes with it, however it ends.
    Decap(Decap),
    /// Write man pages, and completions for bash, zsh and fish, to a folder; what packages contain
    #[command(hide = true)]
    Generate {
        /// Made where there is none
        folder: PathBuf,
    },
    /// Build networks of namespaces to try Fulcrum in
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
}

#[derive(ClapArgs, Debug)]
pub(super) struct Config {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub(super) config: PathBuf,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) config: Config,
    #[command(flatten)]
    pub(super) log: Log,
}

/// What is logged, to standard error.
#[derive(ClapArgs, Debug, Default)]
pub(super) struct Log {
    /// What a line of the log looks like
    ///
    /// Where systemd reads it, each line also has its priority, for `journalctl -p`, and text has no time of its own.
    #[arg(long = "log-format", value_name = "FORMAT", default_value = "text")]
    pub(super) format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also for a part, as in info,lb_user::health=debug [default: what
    /// FULCRUM_LOG says, else info]
    #[arg(long = "log-level", value_name = "LEVEL")]
    pub(super) level: Option<String>,
}

/// Which daemon to talk to.
#[derive(ClapArgs, Debug)]
pub(super) struct Daemon {
    /// Unix socket of the daemon [default: what FULCRUM_SOCKET says, else /run/fulcrum/fulcrum.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(super) socket: Option<PathBuf>,
    /// Take the socket from this configuration
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Which daemon is asked, and how its answer is printed.
#[derive(ClapArgs, Debug)]
pub(super) struct Asked {
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Status {
    /// Only this service
    pub(super) service: Option<String>,
    #[command(flatten)]
    pub(super) asked: Asked,
}

/// Which packets are shown, and how.
#[derive(ClapArgs, Debug)]
pub(super) struct Trace {
    /// Only packets of this service, and answers of its backends in `nat`
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    /// Only packets from these addresses, as in 198.51.100.0/24 or 2001:db8::7
    #[arg(long, value_name = "PREFIX")]
    pub(super) source: Option<Prefix>,
    /// Only packets that are dropped for this reason, as `fulcrum status` names it; may be given several times
    #[arg(long = "reason", value_name = "REASON")]
    pub(super) reasons: Vec<String>,
    /// Also packets that concern no VIP, and pass to the kernel
    #[arg(long)]
    pub(super) all: bool,
    /// Most packets in a second on each CPU, up to 20,000; 1,000 unless said otherwise
    #[arg(long, value_name = "NUMBER")]
    pub(super) rate: Option<u32>,
    /// End after so many packets
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// End after this time, as in 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Write a capture (pcapng) with what became of each packet as its comment; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) write: Option<PathBuf>,
    /// One JSON object a line (docs/api.md)
    #[arg(long, conflicts_with = "write")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

/// What is to be looked at.
#[derive(ClapArgs, Debug)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub(super) file: Config,
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Top {
    /// Time between two looks, as in 1s or 500ms; 100ms at least
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub(super) interval: Duration,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

#[derive(ClapArgs, Debug)]
pub(super) struct LogLevel {
    /// error, warn, info, debug or trace, also for a part, as in info,lb_user::health=debug
    pub(super) levels: Option<String>,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Plan {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub(super) config: PathBuf,
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    /// Unix socket of the daemon [default: the file's]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Drain {
    #[command(flatten)]
    pub(super) backend: Backend,
    /// Return when no flow is left; with --json, one object says how it ended
    #[arg(long)]
    pub(super) wait: bool,
    /// Wait no longer than this, as in 5m or 1m30s, and fail then
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    /// Have clients go to other nodes: virtual routers are given away, and no VIP is announced
    ///
    /// What comes here all the same is balanced as before. It is kept over restarts, until `fulcrum node enable`; /readyz
    /// says that the node is not ready.
    ///
    /// With `--wait`, the addresses that it holds are shown until there are none, and nothing has come for its services for
    /// three seconds.
    Drain(NodeDrain),
    /// Take part again: virtual routers by their priority, and VIPs are announced while their services have a quorum
    Enable(Asked),
}

#[derive(Debug, Subcommand)]
pub(super) enum Deny {
    /// Drop what comes from a prefix to a VIP, from now on
    ///
    /// Whoever is in there is denied by all services, or by the one that is named, whatever the file allows and whether it
    /// has [protection] or not; where `enforcement` is `observe`, it is only counted. What is there already gets another end.
    /// It is in force when the command returns, and is kept over restarts, until `fulcrum deny remove` or its end. At most
    /// 65,536 prefixes.
    Add(DenyAdd),
    /// End what `fulcrum deny add` has said of a prefix
    ///
    /// Of that prefix, and by the same: all services, or the one that is named.
    Remove(Denial),
    /// Show what is denied so, by whom, and until when
    List(Asked),
}

#[derive(ClapArgs, Debug)]
pub(super) struct DenyAdd {
    #[command(flatten)]
    pub(super) denial: Denial,
    /// End it after this time, as in 10m, 1h or 7d; whole seconds [default: never]
    #[arg(long = "for", value_name = "DURATION", value_parser = super::deny::lasts)]
    pub(super) lasts: Option<NonZeroU32>,
}

/// Who is denied, by whom, and where its daemon is.
#[derive(ClapArgs, Debug)]
pub(super) struct Denial {
    /// A prefix or an address, as in 198.51.100.0/24 or 2001:db8::7; bits behind the length are cleared
    #[arg(value_parser = config::prefix)]
    pub(super) prefix: Prefix,
    /// By this service alone
    #[arg(long, value_name = "NAME")]
    pub(super) service: Option<String>,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(ClapArgs, Debug)]
pub(super) struct NodeDrain {
    #[command(flatten)]
    pub(super) asked: Asked,
    /// Return when no address is left and nothing comes any more; with --json, one object says how it ended
    #[arg(long)]
    pub(super) wait: bool,
    /// Wait no longer than this, as in 5m or 1m30s, and fail then
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Announce {
    /// Where packets for the VIPs go: `self` is the address that ExaBGP talks from
    #[arg(long, value_name = "ADDRESS", default_value = "self")]
    pub(super) next_hop: String,
    /// What else ExaBGP is to say of each route, as in `med 100 community [65000:10]`
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(super) attributes: String,
    /// Ask the daemon here in place of its socket, which only root may open, as in 127.0.0.1:9465 ([admin] listen)
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["socket", "config"])]
    pub(super) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

/// Which backend is meant, and where its daemon is.
#[derive(ClapArgs, Debug)]
pub(super) struct Backend {
    /// The backend, by name or address, as in web/web1 or web/10.0.0.6:80
    #[arg(value_name = "SERVICE/BACKEND")]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Weight {
    #[command(flatten)]
    pub(super) backend: Backend,
    /// 0 to 65535; 0 gives it nothing new
    pub(super) weight: u16,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Explain {
    /// Protocol of the flow
    pub(super) protocol: Protocol,
    /// The client, as in 198.51.100.7:40000 or [2001:db8::7]:40000
    pub(super) source: SocketAddr,
    /// The VIP, as in 192.0.2.10:80
    pub(super) destination: SocketAddr,
    #[command(flatten)]
    pub(super) asked: Asked,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl From<Protocol> for model::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

#[derive(ClapArgs, Debug)]
pub(super) struct Detach {
    /// Take the folder of pins from this configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG, conflicts_with = "pin_dir")]
    pub(super) config: PathBuf,
    /// The folder of pins, where the configuration is lost
    #[arg(long, value_name = "FOLDER")]
    pub(super) pin_dir: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Decap {
    /// An interface that the balancer's packets come in on; may be given several times
    #[arg(short, long = "interface", value_name = "IFACE", required = true)]
    pub(super) interfaces: Vec<String>,
    /// Where on the receive path the program sits
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(super) mode: Mode,
    /// Open only outer packets from these addresses, as in 172.16.0.0/16 or 100::/96 (what the balancer sends from unless
    /// `[service.tunnel]` says otherwise); may be given several times, 16 at most
    #[arg(long, value_name = "PREFIX")]
    pub(super) from: Vec<Prefix>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    /// Native, else generic with a warning
    Auto,
    /// In the driver, or not at all
    Native,
    /// In the kernel's receive path: slower, works with every driver
    Generic,
}

impl From<Mode> for model::XdpMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Auto => Self::Auto,
            Mode::Native => Self::Native,
            Mode::Generic => Self::Generic,
        }
    }
}

/// A time as the file writes it.
fn duration(text: &str) -> Result<Duration, String> {
    config::duration::parse(text).ok_or_else(|| "write a time, as in 500ms, 30s, 5m or 2h".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("write 100ms or more: each look costs the daemon something".to_owned());
    }
    Ok(interval)
}
