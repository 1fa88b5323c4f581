//! What the quickstart lab shows, step by step, and what it expects of each step.

mod modes;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::Child;
use tokio::time::sleep;

use super::super::daemon::{self, View};
use super::super::load::{self, Kind, Stream, Tally};
use super::super::report::{self, heading};
use super::super::state::{self, Lab};
use super::super::topology::{Topology, namespace};
use super::super::{build, process};
use super::{CLIENT, ECHO, FALL, INTERVAL, SERVERS, SWITCH, TIMEOUT, VIP, VIP6, WEB};
use crate::net::Namespace;

/// Requests where shares are counted.
const MANY: usize = 600;

/// Requests where it matters that they are answered.
const SOME: usize = 150;

/// 20 s for anything that takes a moment on an idle machine: the daemon's start, a reload, a backend's way up.
const PATIENCE: Duration = Duration::from_secs(20);

/// 3 s on top of what the health check may take, for the probe's jitter and for a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// 1 s without a failure: the failures are over.
const QUIET: Duration = Duration::from_secs(1);

/// 200 ms for a line of the account of a failover.
const SLICE: Duration = Duration::from_millis(200);

const DIAGRAM: &str = r"
        client                         lb   eth0: XDP program
      10.77.0.10                  10.77.0.1   answers ARP for the VIP, 10.77.0.100
           |                           |
      -----+------ switch (bridge) ----+-------------
               |               |               |
             web1            web2            web3
          10.77.0.11      10.77.0.12      10.77.0.13
          VIP on lo       VIP on lo       VIP on lo

   The same in IPv6, from fd77::/64. Requests go client > lb > web1; answers go web1 > client,
   until step 7.
";

/// A lab on its tour.
pub(in crate::lab) struct Tour<'l> {
    lab: &'l Lab,
    own: PathBuf,
    client: Option<Namespace>,
    servers: BTreeMap<&'static str, Child>,
    daemon: Option<Child>,
    /// Expectations that did not come true.
    unmet: Vec<String>,
}

impl<'l> Tour<'l> {
    pub(in crate::lab) fn new(lab: &'l Lab) -> anyhow::Result<Self> {
        Ok(Self {
            lab,
            own: std::env::current_exe().context("finding the program itself")?,
            client: None,
            servers: BTreeMap::new(),
            daemon: None,
            unmet: Vec::new(),
        })
    }

    /// Steps 1 to 7. Returns the expectations that did not come true.
    pub(in crate::lab) async fn run(&mut self, topology: &Topology) -> anyhow::Result<Vec<String>> {
        self.network(topology).await.context("building the network")?;
        self.start().await.context("starting servers and daemon")?;
        self.spread().await?;
        self.lose_one().await?;
        self.bring_back().await?;
        self.reweigh().await?;
        self.switch_modes().await?;
        Ok(std::mem::take(&mut self.unmet))
    }

    /// The step after the tour, for people who stay. Returns a URL that works from outside.
    pub(in crate::lab) async fn stay(&mut self) -> anyhow::Result<String> {
        let to = SocketAddr::from((VIP, WEB)).to_string();
        let from = namespace(self.lab.name(), "client");
        let args = ["lab", "forward", "--namespace", &from, "--to", &to];
        let mut forwarder = process::start(self.lab, "forward", None, &self.own, args, Stdio::piped())?;
        let address = process::ready(&mut forwarder, PATIENCE)
            .await
            .context("starting the forwarder")?;
        let url = format!("http://{address}/");
        let name = self.lab.name();
        heading(8, "Look around");
        println!(
            "   The lab stays up. A forwarder on loopback sends what it gets from the client's namespace:\n\
             \n      curl {url}\n\
             \n   On the hosts, by either name:\n\
             \n      fulcrum lab exec {name}/client -- curl -s http://{VIP}/\
             \n      ip netns exec {from} curl -s 'http://[{VIP6}]/'\n\
             \n   What the balancer says of itself, and what becomes of a flow:\n\
             \n      fulcrum status --socket {socket}\
             \n      fulcrum explain --socket {socket} \\\
             \n          tcp {CLIENT}:40000 {VIP}:{WEB}\n\
             \n   Change a weight or a mode in {config} and ask again.\
             \n   `fulcrum lab status {name}` shows processes and logs.\
             \n   `fulcrum lab down {name}` removes everything.\
             \n   (`fulcrum` is {own}.)",
            own = self.own.display(),
            socket = self.lab.socket().display(),
            config = self.lab.config().display(),
        );
        Ok(url)
    }

    async fn network(&mut self, topology: &Topology) -> anyhow::Result<()> {
        heading(1, "Build a network of namespaces, by netlink");
        println!("{DIAGRAM}");
        build::build(self.lab.name(), topology, &self.lab.pins()).await?;
        self.client = Some(self.inside("client")?);
        println!(
            "   Built: {} hosts and a switch. Each is a network namespace, named fl-{}-HOST.",
            topology.hosts.len(),
            self.lab.name()
        );
        println!(
            "   The {SWITCH}'s port towards lb runs a program that passes everything: without one, veth would\n   \
             lose what XDP sends back."
        );
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        heading(2, "Start three web servers, and the balancer");
        for server in SERVERS {
            self.start_server(server).await?;
        }
        fs::create_dir_all(self.lab.folder().join("state"))?;
        let config = self.lab.config();
        state::replace(&config, super::config(self.lab, [1, 1, 1]).as_bytes())?;
        let inside = self.inside("lb")?;
        let args = [Path::new("run"), Path::new("-c"), &config];
        let begun = Instant::now();
        self.daemon = Some(process::start(
            self.lab,
            "fulcrum",
            Some(&inside),
            &self.own,
            args,
            Stdio::null(),
        )?);
        let view = self
            .until("all backends of web and web6 are up and serve", |view| {
                ["web", "web6"]
                    .iter()
                    .all(|service| SERVERS.iter().all(|server| serves(view, service, server)))
                    && ["echo", "echo6"]
                        .iter()
                        .all(|service| view.share(service, SERVERS[0]) > 0.0)
            })
            .await?;
        println!(
            "   fulcrum run -c {}\n   Ready after {} ms: program attached to eth0 in {} mode,\n   every backend answers its health check.",
            config.display(),
            begun.elapsed().as_millis(),
            if view.native { "native" } else { "generic" }
        );
        self.expect(view.native, "the program is attached in native mode");
        Ok(())
    }

    async fn spread(&mut self) -> anyhow::Result<()> {
        heading(3, "Real requests, spread by the XDP program");
        println!(
            "   {MANY} requests to http://{VIP}/, each over a new connection. The program hashes addresses and\n   \
             ports of each connection to one of the servers, and changes nothing but the Ethernet address."
        );
        println!();
        let equal = shares([1, 1, 1]);
        let tally = self.requests(Kind::Http, SocketAddr::from((VIP, WEB)), MANY).await?;
        report::spread(&tally, &equal);
        self.judge("the requests over IPv4", &tally, MANY, Some(&equal));
        let seen: Vec<String> = tally.seen.iter().map(ToString::to_string).collect();
        println!(
            "\n   {} answered in {} ms. The servers saw the client address {}, which is the client's own:\n   \
             nothing translates it on the way, and answers go to the client directly.\n",
            tally.answered(),
            tally.took.as_millis(),
            seen.join(", ")
        );
        self.expect(
            tally.seen.iter().eq([&CLIENT]),
            "the servers see the client's own address",
        );
        for (what, kind, to) in [
            ("HTTP over IPv6", Kind::Http, SocketAddr::from((VIP6, WEB))),
            ("echo over UDP, IPv4", Kind::Echo, SocketAddr::from((VIP, ECHO))),
            ("echo over UDP, IPv6", Kind::Echo, SocketAddr::from((VIP6, ECHO))),
        ] {
            let tally = self.requests(kind, to, SOME).await?;
            let counts: Vec<String> = tally
                .served
                .iter()
                .map(|(server, count)| format!("{server} {count:>3}"))
                .collect();
            println!(
                "   {what:<20} {:>4} of {SOME} answered:  {}",
                tally.answered(),
                counts.join("   ")
            );
            self.judge(what, &tally, SOME, Some(&equal));
        }
        Ok(())
    }

    async fn lose_one(&mut self) -> anyhow::Result<()> {
        let victim = SERVERS[1];
        let bound = INTERVAL * FALL + TIMEOUT;
        heading(4, &format!("Kill {victim}, and watch its requests move"));
        println!(
            "   A probe every {} ms, {} ms to answer it, down after {FALL} failures: {:.1} s at most, plus jitter.",
            INTERVAL.as_millis(),
            TIMEOUT.as_millis(),
            bound.as_secs_f64()
        );
        let client = self.client()?;
        let stream = Stream::start(client, SocketAddr::from((VIP, WEB)));
        self.served_by(&stream, Instant::now(), victim).await?;
        let killed = Instant::now();
        let mut server = self.servers.remove(victim).context("the server runs")?;
        server.kill().await.with_context(|| format!("killing {victim}"))?;
        let last = self.quiet(&stream, killed).await?;
        let events = stream.events(killed);
        stream.stop()?;
        let lost: Vec<&str> = events
            .iter()
            .filter_map(|event| event.outcome.as_ref().err().map(String::as_str))
            .collect();
        let moved = last.map_or(Duration::ZERO, |last| last - killed);
        println!();
        report::timeline(&events, killed, SLICE, &SERVERS);
        println!(
            "\n   {} of {} requests failed, the last one {:.2} s after the kill: the ring had given {victim}'s slots to\n   \
             the other two. Clients saw: {}.",
            lost.len(),
            events.len(),
            moved.as_secs_f64(),
            lost.first().unwrap_or(&"nothing")
        );
        println!();
        self.expect(
            moved <= bound + SLACK,
            &format!(
                "requests move within {:.1} s, and took {:.2} s",
                (bound + SLACK).as_secs_f64(),
                moved.as_secs_f64()
            ),
        );
        self.until(&format!("{victim} is down"), |view| !serves(view, "web", victim))
            .await?;
        let halves: BTreeMap<&str, f64> = [(SERVERS[0], 0.5), (SERVERS[2], 0.5)].into();
        let tally = self.requests(Kind::Http, SocketAddr::from((VIP, WEB)), MANY).await?;
        report::spread(&tally, &halves);
        self.judge("the requests without the dead server", &tally, MANY, Some(&halves));
        Ok(())
    }

    async fn bring_back(&mut self) -> anyhow::Result<()> {
        let server = SERVERS[1];
        heading(5, &format!("Start {server} again"));
        let begun = Instant::now();
        self.start_server(server).await?;
        self.until(&format!("{server} is up and serves"), |view| {
            serves(view, "web", server)
        })
        .await?;
        let up = begun.elapsed();
        let stream = Stream::start(self.client()?, SocketAddr::from((VIP, WEB)));
        self.served_by(&stream, begun, server).await?;
        stream.stop()?;
        println!(
            "   Up after {:.2} s, when one probe had succeeded (rise = 1); it serves its share again:\n",
            up.as_secs_f64()
        );
        let equal = shares([1, 1, 1]);
        let tally = self.requests(Kind::Http, SocketAddr::from((VIP, WEB)), MANY).await?;
        report::spread(&tally, &equal);
        self.judge("the requests after its return", &tally, MANY, Some(&equal));
        Ok(())
    }

    async fn reweigh(&mut self) -> anyhow::Result<()> {
        let weights = [4, 1, 1];
        heading(6, "Change a weight in the file");
        println!(
            "   web1 of service web: weight = 1 becomes weight = 4. Nobody tells the daemon; it watches the file.\n"
        );
        let begun = Instant::now();
        state::replace(&self.lab.config(), super::config(self.lab, weights).as_bytes())?;
        let expected = shares(weights);
        let view = self
            .until("the new weight is in the ring", |view| {
                view.refused_reload.is_some()
                    || (view
                        .backend("web", SERVERS[0])
                        .is_some_and(|backend| backend.weight == 4)
                        && (view.share("web", SERVERS[0]) - expected[SERVERS[0]]).abs() < 0.01)
            })
            .await?;
        if let Some(reason) = view.refused_reload {
            bail!("the daemon refused the changed file: {reason}");
        }
        let took = begun.elapsed();
        let tally = self.requests(Kind::Http, SocketAddr::from((VIP, WEB)), MANY).await?;
        report::spread(&tally, &expected);
        println!("\n   In force {} ms after the file was written.", took.as_millis());
        self.judge("the requests with the new weight", &tally, MANY, Some(&expected));
        Ok(())
    }

    fn inside(&self, host: &str) -> anyhow::Result<Namespace> {
        Ok(Namespace::open(&namespace(self.lab.name(), host))?)
    }

    fn client(&self) -> anyhow::Result<Namespace> {
        self.client.clone().context("the network is built")
    }

    async fn start_server(&mut self, name: &'static str) -> anyhow::Result<()> {
        let index = SERVERS.iter().position(|server| *server == name).unwrap_or_default();
        let mut args: Vec<String> = ["lab", "serve", "--name", name].map(str::to_owned).to_vec();
        for address in super::listens(index) {
            args.extend(["--listen".to_owned(), address.to_string()]);
        }
        let inside = self.inside(name)?;
        let mut child = process::start(self.lab, name, Some(&inside), &self.own, args, Stdio::piped())?;
        let ready = process::ready(&mut child, PATIENCE).await;
        ready.with_context(|| format!("starting {name}; its log ends with:\n{}", tail(&self.lab.log(name))))?;
        self.servers.insert(name, child);
        Ok(())
    }

    async fn requests(&self, kind: Kind, to: SocketAddr, number: usize) -> anyhow::Result<Tally> {
        let tally = load::requests(self.client()?, kind, to, number).await?;
        if let (0, Some(first)) = (tally.answered(), tally.failures.first()) {
            bail!(
                "none of {} requests to {to} was answered: {first}; the daemon's log ends with:\n{}",
                tally.failures.len(),
                tail(&self.lab.log("fulcrum"))
            );
        }
        Ok(tally)
    }

    /// Waits until the daemon's state is as `wanted`; gives up at once when the daemon has ended.
    async fn until(&mut self, what: &str, wanted: impl FnMut(&View) -> bool) -> anyhow::Result<View> {
        let daemon = self.daemon.as_mut().context("the daemon runs")?;
        let socket = self.lab.socket();
        let log = || tail(&self.lab.log("fulcrum"));
        tokio::select! {
            view = daemon::until(&socket, PATIENCE, what, wanted) => {
                view.with_context(|| format!("waiting until {what}; the daemon's log ends with:\n{}", log()))
            }
            ended = daemon.wait() => bail!("the daemon ended ({}); its log ends with:\n{}", ended?, log()),
        }
    }

    /// Waits until a request that was begun at `since` or later was answered by `server`.
    async fn served_by(&self, stream: &Stream, since: Instant, server: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !stream
            .events(since)
            .iter()
            .any(|event| event.outcome.as_deref() == Ok(server))
        {
            if Instant::now() >= deadline {
                bail!("{server} answered no request within {PATIENCE:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until no request has failed for [`QUIET`]; says when the last failed one was begun.
    async fn quiet(&self, stream: &Stream, since: Instant) -> anyhow::Result<Option<Instant>> {
        let deadline = since + PATIENCE;
        loop {
            let last = stream
                .events(since)
                .iter()
                .filter(|event| event.outcome.is_err())
                .map(|event| event.begun)
                .max();
            let now = Instant::now();
            // The first failure may take a moment to come.
            if now > last.unwrap_or(since + INTERVAL * FALL + TIMEOUT) + QUIET {
                return Ok(last);
            }
            if now >= deadline {
                bail!("requests still fail {PATIENCE:?} after the kill");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All answered, and spread as expected.
    fn judge(&mut self, what: &str, tally: &Tally, number: usize, expected: Option<&BTreeMap<&str, f64>>) {
        if tally.answered() != number {
            let first = tally.failures.first().map_or("no reason known", String::as_str);
            self.unmet.push(format!(
                "{what}: {} of {number} were not answered ({first})",
                number - tally.answered()
            ));
        }
        if let Some(expected) = expected {
            self.unmet.extend(
                report::implausible(tally, expected)
                    .into_iter()
                    .map(|why| format!("{what}: {why}")),
            );
        }
    }

    fn expect(&mut self, met: bool, what: &str) {
        if !met {
            self.unmet.push(format!("expected: {what}"));
        }
    }
}

fn serves(view: &View, service: &str, server: &str) -> bool {
    view.backend(service, server)
        .is_some_and(|backend| backend.up && backend.slots > 0)
}

/// Shares that weights stand for, by server.
fn shares(weights: [u16; 3]) -> BTreeMap<&'static str, f64> {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    SERVERS
        .into_iter()
        .zip(weights)
        .map(|(server, weight)| (server, f64::from(weight) / total))
        .collect()
}

/// The last lines of a log, indented.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(10);
    lines[from..].iter().map(|line| format!("   | {line}\n")).collect()
}
