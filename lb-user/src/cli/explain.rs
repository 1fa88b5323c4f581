//! `fulcrum explain`.

mod protection;

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::args::Explain as Args;
use super::status::client;
use crate::api::types::{Explanation, KnownFlow, Otherwise, Phase, Pool, Verdict};
use crate::model::count;
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
    let explanation = client(&args.asked.daemon)?.explain(flow).await?;
    super::show(args.asked.json, &explanation, text)?;
    Ok(ExitCode::SUCCESS)
}

/// The explanation for people.
fn text(explanation: &Explanation) -> String {
    let protection = explanation.protection.as_ref();
    fate(explanation) + &protection.map_or_else(String::new, protection::text)
}

/// What becomes of the flow.
fn fate(explanation: &Explanation) -> String {
    match &explanation.verdict {
        Verdict::Forwarded {
            service,
            backend,
            address,
            mode,
            hash,
            slot,
            slots,
            slot_state,
            tracked,
            known,
        } => {
            let why = match known {
                Some(KnownFlow { source, phase }) => format!(
                    "the flow is known ({}), and stays where it is: {backend} sees {source} as the client",
                    words(*phase)
                ),
                None => {
                    let whose = match (tracked, slot_state.as_str()) {
                        (true, state) => format!("which is {state}; the flow is known, and stays with {backend}"),
                        (false, "stable") => format!("which {backend} serves"),
                        (false, state) => {
                            format!("which is {state}; the flow is not known, so it belongs to {backend}")
                        }
                    };
                    format!("the flow's keyed hash is {hash}: slot {slot} of {slots}, {whose}")
                }
            };
            format!("{service}/{backend} ({address}), by {mode}\n  {why}\n")
        }
        Verdict::Undecided { service, by, otherwise } => {
            let by = if by == "load" {
                "the less loaded of two backends gets it"
            } else {
                "the backend whose turn it is gets it"
            };
            let otherwise = otherwise
                .as_ref()
                .map_or_else(String::new, |Otherwise { backend, address }| {
                    format!("; a packet that does not open it goes to {backend} ({address}), by its hash")
                });
            format!("{service}, by its first packet\n  the flow is not known: {by}{otherwise}\n")
        }
        Verdict::Proxied { service, pools } => {
            let pools: String = pools.iter().map(pool).collect();
            format!(
                "{service}, by the proxy\n  it chooses a backend for each request, as its routes and pools say\n{pools}"
            )
        }
        Verdict::Refused { service, reason } => {
            let whose = service.as_ref().map_or_else(
                || "the address is a VIP, and no service declares this port".to_owned(),
                |service| format!("the flow belongs to {service}"),
            );
            format!("refused: {reason}\n  {whose}\n")
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

/// Whom a request may get that leads there.
fn pool(pool: &Pool) -> String {
    let Pool {
        name,
        balance,
        hash_on,
        ready,
        backends,
    } = pool;
    let on = hash_on.as_ref().map_or_else(String::new, |on| format!(" on {on}"));
    let whom = if ready.is_empty() {
        format!("none of its {} is ready", count(*backends, "backend"))
    } else {
        format!("{} of {} ready: {}", ready.len(), backends, ready.join(", "))
    };
    format!("  {name}: {balance}{on}; {whom}\n")
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Established => "established",
        Phase::HalfClosed => "half closed",
        Phase::Closed => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Flow, Protocol};

    #[test]
    fn the_proxy_says_whom_each_pool_may_choose() {
        let pool = |name: &str, balance: &str, hash_on: Option<&str>, ready: &[&str]| Pool {
            name: name.to_owned(),
            balance: balance.to_owned(),
            hash_on: hash_on.map(str::to_owned),
            ready: ready.iter().map(|&name| name.to_owned()).collect(),
            backends: 2,
        };
        let explanation = Explanation {
            flow: Flow {
                protocol: Protocol::Tcp,
                source: "198.51.100.7:1".parse().unwrap(),
                destination: "192.0.2.10:443".parse().unwrap(),
            },
            verdict: Verdict::Proxied {
                service: "shop".to_owned(),
                pools: vec![
                    pool("shop", "maglev", Some("cookie:user"), &["web1", "web2"]),
                    pool("api", "least-connections", None, &[]),
                ],
            },
            protection: None,
        };
        assert_eq!(
            text(&explanation),
            "shop, by the proxy\n  it chooses a backend for each request, as its routes and pools say\n  \
             shop: maglev on cookie:user; 2 of 2 ready: web1, web2\n  \
             api: least-connections; none of its 2 backends is ready\n"
        );
    }
}
