//! `fulcrum announce`: what ExaBGP reads from its process.
//!
//! ExaBGP forgets nothing that a process has announced when that ends, and starts it anew a few times only. So this one
//! goes on while there is no daemon, says at its start which VIPs are not announced, too, and withdraws all at its end.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::args::Announce as Args;
use super::interrupt::Interrupt;
use super::status::client;
use crate::api::types::Announcement;
use crate::api::{Client, ClientError};
use crate::net::address::host_prefix;

/// Between two questions to the daemon: bounds how long a change takes to get through.
const PERIOD: Duration = Duration::from_millis(200);

/// A daemon that has not answered for so long is gone. It may start anew meanwhile, or be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything is said again after this: ExaBGP may have forgotten it when it read its own configuration.
const REPEAT: Duration = Duration::from_secs(30);

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    let client = match args.listen {
        Some(address) => Client::at(address),
        None => client(&args.daemon)?,
    };
    let mut routes = Routes::new(args);
    let mut answers = answers();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut repeated) = (Instant::now(), Instant::now());
    // Of the daemon: why it does not answer.
    let mut trouble = None;
    loop {
        tokio::select! {
            () = interrupt.comes() => break,
            answer = answers.recv() => match answer {
                // ExaBGP has ended.
                None => break,
                // An `error` says nothing more; ExaBGP's log does.
                Some(answer) => if answer.starts_with("error") {
                    eprintln!("fulcrum announce: ExaBGP has not taken a line: its log says why");
                },
            },
            _ = ticks.tick() => {
                let now = Instant::now();
                let lines = match client.node().await {
                    Ok(node) => {
                        heard = now;
                        complain(&mut trouble, None);
                        routes.follow(&node.announcements)
                    }
                    Err(error) => {
                        complain(&mut trouble, Some(&error));
                        if now - heard >= PATIENCE { routes.withdraw_all() } else { String::new() }
                    }
                };
                let again = now - repeated >= REPEAT;
                if again {
                    repeated = now;
                }
                let lines = if again { routes.all() } else { lines };
                if !say(&lines)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
    }
    say(&routes.withdraw_all())?;
    Ok(ExitCode::SUCCESS)
}

/// What is told to ExaBGP.
#[derive(Debug)]
struct Routes {
    /// By VIP: whether it is announced.
    told: BTreeMap<IpAddr, bool>,
    next_hop: String,
    attributes: String,
}

impl Routes {
    fn new(args: &Args) -> Self {
        let attributes = match args.attributes.trim() {
            "" => String::new(),
            attributes => format!(" {attributes}"),
        };
        Self {
            told: BTreeMap::new(),
            next_hop: args.next_hop.clone(),
            attributes,
        }
    }

    /// The daemon says this: the lines that are news. A VIP that the file has no more is withdrawn, and forgotten.
    fn follow(&mut self, announcements: &[Announcement]) -> String {
        let now: BTreeMap<IpAddr, bool> = announcements.iter().map(|vip| (vip.address, vip.announced)).collect();
        let gone = self
            .told
            .iter()
            .filter(|(vip, announced)| **announced && !now.contains_key(vip));
        let mut lines: String = gone.map(|(vip, _)| self.line(*vip, false)).collect();
        let news = now
            .iter()
            .filter(|(vip, announced)| self.told.get(vip) != Some(announced));
        lines.extend(news.map(|(vip, announced)| self.line(*vip, *announced)));
        self.told = now;
        lines
    }

    fn withdraw_all(&mut self) -> String {
        let announced: Vec<IpAddr> = self.told.iter().filter(|(_, on)| **on).map(|(vip, _)| *vip).collect();
        self.told.values_mut().for_each(|on| *on = false);
        announced.into_iter().map(|vip| self.line(vip, false)).collect()
    }

    /// All that has been said last.
    fn all(&self) -> String {
        self.told
            .iter()
            .map(|(vip, announced)| self.line(*vip, *announced))
            .collect()
    }

    fn line(&self, vip: IpAddr, announced: bool) -> String {
        let verb = if announced { "announce" } else { "withdraw" };
        let Self {
            next_hop, attributes, ..
        } = self;
        format!(
            "{verb} route {vip}/{} next-hop {next_hop}{attributes}\n",
            host_prefix(vip)
        )
    }
}

/// What ExaBGP answers: lines such as `done`. Nobody waits for them, but its pipe shall not fill up. Ends with ExaBGP.
fn answers() -> mpsc::Receiver<String> {
    let (sender, answers) = mpsc::channel(1);
    // A thread, which waits for the pipe.
    std::thread::spawn(move || {
        let mut lines = io::stdin().lines().map_while(Result::ok);
        lines.all(|line| sender.blocking_send(line).is_ok())
    });
    answers
}

/// False when nobody reads any more.
fn say(lines: &str) -> io::Result<bool> {
    use std::io::Write as _;
    if lines.is_empty() {
        return Ok(true);
    }
    let mut out = io::stdout().lock();
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Says what is wrong, or that it is well again, where that is news; ExaBGP's log has it.
fn complain(known: &mut Option<String>, error: Option<&ClientError>) {
    let now = error.map(ToString::to_string);
    match (&now, &known) {
        (Some(error), known) if known.as_ref() != Some(error) => eprintln!("fulcrum announce: {error}"),
        (None, Some(_)) => eprintln!("fulcrum announce: the daemon answers again"),
        _ => {}
    }
    *known = now;
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn routes(more: &[&str]) -> Routes {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        Routes::new(&Line::parse_from([&["announce"], more].concat()).args)
    }

    fn vips(vips: &[(&str, bool)]) -> Vec<Announcement> {
        let vip = |&(address, announced): &(&str, bool)| Announcement {
            address: address.parse().unwrap(),
            announced,
            reason: String::new(),
        };
        vips.iter().map(vip).collect()
    }

    #[test]
    fn exabgp_is_told_what_is_news() {
        let mut routes = routes(&[]);
        let first = vips(&[("192.0.2.10", true), ("2001:db8::10", false)]);
        assert_eq!(
            routes.follow(&first),
            "announce route 192.0.2.10/32 next-hop self\nwithdraw route 2001:db8::10/128 next-hop self\n",
            "what is not announced may have been by another process"
        );
        assert_eq!(routes.follow(&first), "");
        let second = vips(&[("192.0.2.10", false), ("2001:db8::10", true)]);
        assert_eq!(
            routes.follow(&second),
            "withdraw route 192.0.2.10/32 next-hop self\nannounce route 2001:db8::10/128 next-hop self\n"
        );
        assert_eq!(
            routes.all(),
            "withdraw route 192.0.2.10/32 next-hop self\nannounce route 2001:db8::10/128 next-hop self\n"
        );
        // The file has neither any more.
        assert_eq!(routes.follow(&[]), "withdraw route 2001:db8::10/128 next-hop self\n");
        assert_eq!((routes.all(), routes.withdraw_all()), (String::new(), String::new()));
    }

    #[test]
    fn all_is_withdrawn_once_when_the_daemon_is_gone() {
        let mut routes = routes(&["--next-hop", "10.0.0.1", "--attributes", "med 100"]);
        let one = vips(&[("192.0.2.10", true)]);
        let line = "announce route 192.0.2.10/32 next-hop 10.0.0.1 med 100\n";
        assert_eq!(routes.follow(&one), line);
        assert_eq!(routes.withdraw_all(), line.replace("announce", "withdraw"));
        assert_eq!(routes.withdraw_all(), "");
        assert_eq!(routes.follow(&one), line, "it is back");
    }
}
