//! `fulcrum lab load`: from arguments to a plan, and what is shown meanwhile.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::super::args::Load;
use super::super::exec;
use super::super::file::value::{Scheme, Url};
use super::{End, Outcome, Pace, Plan, Protocol, Running, Target, report};
use crate::model::Prefix;
use crate::net::Namespace;

/// Sources that a prefix may stand for, at most.
const SOURCES: u32 = 1 << 16;

/// 200 ms from one look at the progress to the next.
const LOOK: Duration = Duration::from_millis(200);

/// As shells have it for what SIGINT has ended.
const INTERRUPTED: u8 = 130;

/// Makes the requests, and shows what they came to.
pub(in crate::lab) async fn run(args: &Load) -> anyhow::Result<ExitCode> {
    let namespace = match &args.inside {
        Some(place) => {
            let (lab, host) = place
                .split_once('/')
                .context("write --in LAB/HOST, as in quickstart/client")?;
            exec::host(lab, host)?.namespace
        }
        None => Namespace::current()?,
    };
    let plan = plan(args).await?;
    let mut running = Running::start(&namespace, &plan)?;
    let interrupted = watch(&mut running, &plan).await?;
    let outcome = running.wait()?;
    if args.json {
        println!("{}", report::json(&outcome));
    } else {
        print!("{}", report::text(&outcome));
    }
    Ok(code(interrupted, &outcome))
}

fn code(interrupted: bool, outcome: &Outcome) -> ExitCode {
    match (interrupted, outcome.answered) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, 0) => ExitCode::FAILURE,
        (false, _) => ExitCode::SUCCESS,
    }
}

/// Waits for the end, and on a terminal shows how far it is; says whether it was ended early.
async fn watch(running: &mut Running, plan: &Plan) -> anyhow::Result<bool> {
    let shown = io::stderr().is_terminal();
    let began = Instant::now();
    let mut looks = tokio::time::interval(LOOK);
    let mut interrupted = false;
    loop {
        tokio::select! {
            () = running.done() => break,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                // Asked a second time, it does not wait for answers any more.
                if interrupted {
                    std::process::exit(INTERRUPTED.into());
                }
                interrupted = true;
                running.end();
            }
            _ = looks.tick(), if shown => {
                let so_far = running.progress();
                let left = match plan.end {
                    End::After(span) => {
                        let left = span.saturating_sub(began.elapsed()).as_secs();
                        format!("{left} s left")
                    }
                    End::Requests(all) => format!("{} left", all.saturating_sub(so_far.answered + so_far.failed)),
                };
                eprint!("\r\x1b[K{} answered, {} failed, {left}", so_far.answered, so_far.failed);
                io::stderr().flush()?;
            }
        }
    }
    if shown {
        eprint!("\r\x1b[K");
    }
    Ok(interrupted)
}

async fn plan(args: &Load) -> anyhow::Result<Plan> {
    let mut target = target(&args.url).await?;
    if let Some(host) = &args.host {
        target.host.clone_from(host);
    }
    target.ca.clone_from(&args.ca);
    let mut sources = Vec::new();
    for prefix in &args.sources {
        sources.extend(addresses(*prefix)?);
    }
    let strange = sources
        .iter()
        .find(|source| source.is_ipv4() != target.address.is_ipv4());
    if let Some(source) = strange {
        bail!(
            "{} cannot be reached from {source}: one is IPv4, one IPv6",
            target.address
        );
    }
    let mut plan = Plan::new(target);
    if args.http2 {
        plan.protocol = Protocol::Http2;
        plan.streams = args.streams.get();
    }
    plan.connections = args.connections.get();
    plan.threads = args.threads.get();
    plan.reuse = !args.new_connections;
    if let Some(rate) = args.rate {
        plan.pace = Pace::Open { rate };
    }
    plan.end = match (args.requests, args.duration) {
        (Some(requests), _) => End::Requests(requests.get()),
        (None, Some(span)) => End::After(span),
        (None, None) => plan.end,
    };
    plan.timeout = args.timeout;
    plan.sources = sources;
    plan.headers.clone_from(&args.headers);
    Ok(plan)
}

/// Whom a URL means. A name is looked up as this machine does, outside of any lab.
async fn target(text: &str) -> anyhow::Result<Target> {
    let form = || format!("{text:?} is not a URL such as http://10.77.0.100/ or https://web.test:8443/path");
    let url = Url::try_from(text.to_owned()).map_err(|_| anyhow::anyhow!(form()))?;
    ensure!(url.scheme != Scheme::Udp, form());
    let address = match url.host.parse::<IpAddr>() {
        Ok(ip) => url.at(ip),
        Err(_) => {
            let found = tokio::net::lookup_host((&*url.host, url.port)).await;
            let mut found = found.with_context(|| format!("looking up {}", url.host))?;
            found.next().with_context(|| format!("{} has no address", url.host))?
        }
    };
    Ok(Target::of(&url, address))
}

/// All of a prefix; of IPv4 networks without the first and the last, which are nobody's.
fn addresses(prefix: Prefix) -> anyhow::Result<Vec<IpAddr>> {
    let bits = if prefix.ip.is_ipv4() { 32 } else { 128 } - u32::from(prefix.length);
    let number = 1u32.checked_shl(bits).filter(|&number| number <= SOURCES);
    let number = number.with_context(|| format!("{prefix} has more than {SOURCES} addresses"))?;
    Ok(match prefix.first() {
        IpAddr::V4(first) => {
            let ends = u32::from(number > 2);
            (ends..number - ends)
                .map(|place| IpAddr::V4((u32::from(first) + place).into()))
                .collect()
        }
        IpAddr::V6(first) => (0..u128::from(number))
            .map(|place| IpAddr::V6((u128::from(first) + place).into()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls_say_whom_to_ask() {
        for (url, tls, address, host, path) in [
            ("http://10.0.0.1", false, "10.0.0.1:80", "10.0.0.1", "/"),
            (
                "https://10.0.0.1:8443/a?b=c",
                true,
                "10.0.0.1:8443",
                "10.0.0.1:8443",
                "/a?b=c",
            ),
            (
                "http://[2001:db8::1]/x",
                false,
                "[2001:db8::1]:80",
                "[2001:db8::1]",
                "/x",
            ),
        ] {
            let expected = Target {
                tls,
                address: address.parse().unwrap(),
                host: host.to_owned(),
                path: path.to_owned(),
                ca: None,
            };
            assert_eq!(target(url).await.unwrap(), expected);
        }
        for url in ["10.0.0.1", "ftp://10.0.0.1/", "http:///x", "http://me@10.0.0.1/", ""] {
            assert!(target(url).await.is_err(), "{url}");
        }
    }

    #[test]
    fn prefixes_are_their_addresses() {
        let all = |text: &str| {
            addresses(text.parse().unwrap()).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(all("10.0.0.7").unwrap(), ["10.0.0.7"]);
        assert_eq!(all("10.0.0.7/30").unwrap(), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(all("10.0.0.6/31").unwrap(), ["10.0.0.6", "10.0.0.7"]);
        assert_eq!(all("2001:db8::/127").unwrap(), ["2001:db8::", "2001:db8::1"]);
        assert_eq!(all("10.0.0.0/16").unwrap().len(), 65534);
        assert!(all("10.0.0.0/15").is_err() && all("::/0").is_err());
    }
}
