//! What may be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::command::Target;
use crate::config;
use crate::lab::args::LabCommand;
use crate::model::{self, Prefix};

/// Where the configuration is unless told otherwise.
const CONFIG: &str = "/etc/fulcrum/fulcrum.toml";

/// An L4 load balancer: an XDP program spreads packets over backends, a daemon keeps it right
#[derive(Debug, Parser)]
#[command(name = "fulcrum", version, max_term_width = 100)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon in the foreground: load and attach the program, fill its maps, probe backends
    ///
    /// SIGHUP and a change of the file apply a new configuration; a bad one is refused and the running one stays.
    /// SIGTERM ends the daemon and leaves the program forwarding; `fulcrum detach` takes it off.
    Run(Config),
    /// Validate a configuration without touching anything
    Check(Config),
    /// Show services, backends and counters of the running daemon
    Status(Status),
    /// Make the running daemon read its file now
    ///
    /// Prints `reloaded` or `nothing has changed`. A bad file is refused with its place (exit code 1), and the running
    /// configuration stays.
    Reload(Reload),
    /// Give a backend no new flows
    ///
    /// It is still probed, and finishes its old flows where the mode can tell them from new ones; `dsr` of this version
    /// cannot: connections to the backend are cut. Stands above the file, over reloads and restarts, until another
    /// command or the file says otherwise; so do `enable`, `disable` and `weight`.
    Drain(Backend),
    /// Let a backend serve while it is healthy, whatever the file says
    Enable(Backend),
    /// Take a backend out of service, and stop probing it
    Disable(Backend),
    /// Set a backend's share of new flows, in proportion to the other weights
    ///
    /// The file's own number puts the file in charge again.
    Weight(Weight),
    /// Say which backend a flow gets, and why, by the program's own code over its own maps
    Explain(Explain),
    /// Show packets as the program sees them: to which backend each goes and by which slot, or why it is dropped
    ///
    /// While it runs, another program stands in the balancer's place, which does the same and shows some of the packets; what
    /// costs more than showing none is limited by --rate. Without a filter it shows what concerns a VIP. Ends with
    /// --count, --for, or SIGINT; times are UTC.
    Trace(Trace),
    /// Take the program off the interfaces, and remove its maps and the VIPs that Fulcrum put on the node
    Detach(Detach),
    /// On a backend of `mode = "tunnel"`: take packets out of the outer ones that the balancer sends
    ///
    /// An XDP program removes the outer IPv4 or IPv6 header (IP protocols 4 and 41), and the kernel goes on with the packet
    /// inside, whose VIP it has to hold. No tunnel device is needed, the MTU stays as it is, and everything else passes.
    /// Runs in the foreground; SIGTERM and SIGINT end it, and the program goes with it, however it ends.
    Decap(Decap),
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

/// Which daemon to talk to.
#[derive(ClapArgs, Debug)]
pub(super) struct Daemon {
    /// Unix socket of the daemon
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(super) socket: Option<PathBuf>,
    /// Take the socket from this configuration
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Status {
    /// Only this service
    pub(super) service: Option<String>,
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
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

#[derive(ClapArgs, Debug)]
pub(super) struct Reload {
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
}

/// Which backend is meant, and where its daemon is.
#[derive(ClapArgs, Debug)]
pub(super) struct Backend {
    /// The backend, by name or address, as in web/web1 or web/10.0.0.6:80
    #[arg(value_name = "SERVICE/BACKEND")]
    pub(super) target: Target,
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
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
    /// As JSON (docs/api.md)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) daemon: Daemon,
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
