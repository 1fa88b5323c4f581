//! `fulcrum trace`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_common::trace::CAPTURED;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::args::Trace as Args;
use super::interrupt::Interrupt;
use super::pcapng::{Capture, Packet};
use super::status::client;
use crate::api::types::{TraceRequest, TraceStarted, TracedPacket};
use crate::api::{Client, ClientError};
use crate::model::count;

/// How often the daemon is asked.
const PERIOD: Duration = Duration::from_millis(100);

/// Longer than anybody waits.
const EVER: Duration = Duration::from_hours(24 * 365);

/// Shows packets until enough have been seen, the time is over, or somebody interrupts.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let client = client(&args.daemon)?;
    // Before anything begins: a signal from now on ends it in good order.
    let mut interrupt = Interrupt::new()?;
    let mut shown = Shown::open(args)?;
    let trace = client.trace(&request(args)).await?;
    let until = Instant::now() + args.duration.unwrap_or(EVER);
    let looked = tokio::select! {
        looked = look(&client, &trace, &mut shown) => looked,
        () = sleep_until(until) => Ok(()),
        () = interrupt.comes() => Ok(()),
    };
    // It ends by itself, too; whether it still was there says nothing.
    let _ = client.end_trace(&trace).await;
    looked?;
    shown.close()?;
    Ok(ExitCode::SUCCESS)
}

async fn look(client: &Client, trace: &TraceStarted, shown: &mut Shown) -> Result<()> {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let packets = match client.traced(trace).await {
            Err(ClientError::Refused(problem)) if problem.status == 404 => {
                return Err(problem)
                    .context("the daemon has ended the trace: it was restarted, or did not hear from here");
            }
            answered => answered?.packets,
        };
        for packet in &packets {
            if !shown.packet(packet)? {
                return Ok(());
            }
        }
        shown.flush()?;
    }
}

fn request(args: &Args) -> TraceRequest {
    TraceRequest {
        service: args.service.clone(),
        source: args.source.map(|prefix| prefix.to_string()),
        reasons: args.reasons.clone(),
        foreign: args.all,
        rate: args.rate,
    }
}

/// Where packets go.
enum To {
    Text(io::Stdout),
    Json(io::Stdout),
    Capture(Capture<Box<dyn Write>>),
}

/// What has been shown.
struct Shown {
    to: To,
    count: u64,
    most: u64,
    skipped: u64,
}

impl Shown {
    fn open(args: &Args) -> Result<Self> {
        let to = match &args.write {
            Some(path) => To::Capture(capture(path)?),
            None if args.json => To::Json(io::stdout()),
            None => To::Text(io::stdout()),
        };
        Ok(Self {
            to,
            count: 0,
            most: args.count.unwrap_or(u64::MAX),
            skipped: 0,
        })
    }

    /// False when that was the last one, or nobody reads any more.
    fn packet(&mut self, packet: &TracedPacket) -> Result<bool> {
        let written = match &mut self.to {
            To::Text(to) => writeln!(to, "{}", line(packet)),
            To::Json(to) => serde_json::to_string(packet)
                .map_err(Into::into)
                .and_then(|text| writeln!(to, "{text}")),
            To::Capture(capture) => capture.write(&Packet {
                time_us: packet.time_us,
                interface: packet.interface.as_deref().unwrap_or("gone"),
                frame: &packet.bytes().unwrap_or_default(),
                length: packet.length,
                comment: &fate(packet),
            }),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            written => written.context("cannot write what is traced")?,
        }
        self.count += 1;
        self.skipped += u64::from(packet.skipped);
        Ok(self.count < self.most)
    }

    /// So that whoever reads along sees it now.
    fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Text(_) | To::Json(_) => Ok(()),
            To::Capture(capture) => capture.flush().context("cannot write what is traced"),
        }
    }

    fn close(mut self) -> Result<()> {
        self.flush()?;
        let packets = count(self.count, "packet");
        let skipped = match self.skipped {
            0 => String::new(),
            more => format!(", and {more} more that were too many (see --rate)"),
        };
        eprintln!("{packets}{skipped}");
        Ok(())
    }
}

/// A capture in a file, or on standard output for `-`.
fn capture(path: &Path) -> Result<Capture<Box<dyn Write>>> {
    let to: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Box::new(BufWriter::new(file))
    };
    Capture::begin(to, CAPTURED as u32).with_context(|| format!("cannot write {}", path.display()))
}

/// A packet on one line.
fn line(packet: &TracedPacket) -> String {
    let interface = packet.interface.as_deref().unwrap_or("gone");
    format!(
        "{} {interface} {}  {}",
        time(packet.time_us),
        flow(packet),
        fate(packet)
    )
}

/// Time of day, UTC.
fn time(us: u64) -> String {
    let seconds = us / 1_000_000 % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, us % 1_000_000)
}

/// What kind of packet it is, from where to where.
fn flow(packet: &TracedPacket) -> String {
    let (Some(protocol), Some(source), Some(destination)) = (&packet.protocol, &packet.source, &packet.destination)
    else {
        return format!("not IP, {} bytes", packet.length);
    };
    let flags = packet
        .tcp_flags
        .as_ref()
        .map_or_else(String::new, |flags| format!(" [{flags}]"));
    let fragment = if packet.fragment { " fragment" } else { "" };
    format!("{protocol} {source} > {destination}{flags}{fragment} {}", packet.length)
}

/// What became of it.
fn fate(packet: &TracedPacket) -> String {
    let verdict = match (packet.verdict.as_str(), &packet.reason) {
        ("dropped", Some(reason)) => format!("dropped: {reason}"),
        ("transmitted" | "redirected", _) if packet.backend.is_some() => String::new(),
        (verdict, _) => verdict.to_owned(),
    };
    let whose = match (&packet.service, &packet.backend) {
        (Some(service), Some(backend)) => format!("{service}/{backend}"),
        (Some(service), None) => service.clone(),
        _ => String::new(),
    };
    let slot = packet
        .slot
        .as_ref()
        .map(|slot| format!("slot {} {}", slot.index, slot.state));
    let observed = packet.observed.as_ref();
    let observed = observed.map_or_else(String::new, |reason| format!("would be dropped: {reason}"));
    let parts = [verdict, whose, slot.unwrap_or_default(), observed];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::TracedSlot;

    fn packet() -> TracedPacket {
        TracedPacket {
            time_us: 1_700_000_000_000_042,
            interface: Some("eth0".to_owned()),
            verdict: "transmitted".to_owned(),
            reason: None,
            observed: None,
            service: Some("web".to_owned()),
            backend: Some("web1".to_owned()),
            slot: Some(TracedSlot {
                index: 812,
                state: "stable".to_owned(),
            }),
            protocol: Some("tcp".to_owned()),
            source: Some("198.51.100.7:40000".to_owned()),
            destination: Some("192.0.2.10:80".to_owned()),
            tcp_flags: Some("S".to_owned()),
            fragment: false,
            length: 74,
            skipped: 0,
            frame: "00ff".to_owned(),
        }
    }

    #[test]
    fn a_packet_is_a_line() {
        let forwarded = "22:13:20.000042 eth0 tcp 198.51.100.7:40000 > 192.0.2.10:80 [S] 74  web/web1, slot 812 stable";
        assert_eq!(line(&packet()), forwarded);
        let observed = TracedPacket {
            observed: Some("denied".to_owned()),
            ..packet()
        };
        assert_eq!(line(&observed), format!("{forwarded}, would be dropped: denied"));
        let dropped = TracedPacket {
            verdict: "dropped".to_owned(),
            reason: Some("undeclared".to_owned()),
            service: None,
            backend: None,
            slot: None,
            ..packet()
        };
        assert_eq!(
            line(&dropped),
            "22:13:20.000042 eth0 tcp 198.51.100.7:40000 > 192.0.2.10:80 [S] 74  dropped: undeclared"
        );
        let other = TracedPacket {
            verdict: "passed".to_owned(),
            reason: None,
            protocol: None,
            interface: None,
            ..dropped
        };
        assert_eq!(line(&other), "22:13:20.000042 gone not IP, 74 bytes  passed");
    }

    #[test]
    fn a_frame_is_bytes_again() {
        assert_eq!(packet().bytes(), Some(vec![0, 0xff]));
        let broken = TracedPacket {
            frame: "0".to_owned(),
            ..packet()
        };
        assert_eq!(broken.bytes(), None);
    }
}
