//! `fulcrum explain`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::Explain as Args;
use super::status::client;
use crate::api::types::{Explanation, KnownFlow, Phase, Verdict};
use crate::model::status::FlowQuery;

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    if args.source.is_ipv4() != args.destination.is_ipv4() {
        bail!("{} and {} are not of one address family", args.source, args.destination);
    }
    let flow = FlowQuery {
        protocol: args.protocol.into(),
        source: args.source,
        destination: args.destination,
    };
    let explanation = client(&args.daemon)?.explain(flow).await?;
    if args.json {
        super::print_json(&explanation)?;
    } else {
        super::print(&text(&explanation))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The explanation for people.
fn text(explanation: &Explanation) -> String {
    match &explanation.verdict {
        Verdict::Forwarded {
            service,
            backend,
            address,
            mode,
            hash,
            slot,
            slots,
            known,
        } => {
            let why = match known {
                Some(KnownFlow { source, phase }) => format!(
                    "the flow is known ({}), and stays where it is: {backend} sees {source} as the client",
                    words(*phase)
                ),
                None => format!("the flow's keyed hash is {hash}: slot {slot} of {slots}, which {backend} serves"),
            };
            format!("{service}/{backend} ({address}), by {mode}\n  {why}\n")
        }
        Verdict::Dropped { service, reason, slot } => {
            format!("dropped: {reason}\n  the flow belongs to {service}, slot {slot}\n")
        }
        Verdict::Undeclared { dropped: true } => {
            "dropped: undeclared\n  the address is a VIP, and no service declares this port\n".to_owned()
        }
        Verdict::Undeclared { dropped: false } => {
            "passed to the kernel\n  the address is a VIP, no service declares this port, and undeclared ports pass\n"
                .to_owned()
        }
        Verdict::NotAVip { address } => format!("passed to the kernel\n  {address} is not a VIP of this node\n"),
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Established => "established",
        Phase::HalfClosed => "half closed",
        Phase::Closed => "closed",
    }
}
