//! Step 7: the service changes its mode, by one word, and back.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::bail;

use super::super::super::load::Kind;
use super::super::super::report::heading;
use super::super::super::state;
use super::super::{CLIENT, LB, VIP, WEB};
use super::{SOME, Tour};

impl Tour<'_> {
    pub(super) async fn switch_modes(&mut self) -> anyhow::Result<()> {
        heading(7, "Change the mode in the file, and back");
        println!(
            "   So far web was in mode dsr: the servers hold the VIP, see the client itself, and answer it\n   \
             directly. In mode nat the balancer puts an address and port of its own in place of the client's,\n   \
             and the server's in place of the VIP. Answers come back through it, and the servers need no VIP.\n   \
             One word in the file changes. What a server says of one of {SOME} requests:\n"
        );
        self.seen_by_servers("dsr", CLIENT).await?;
        let to_nat = self.set_mode("dsr", "nat").await?;
        self.seen_by_servers("nat", LB).await?;
        let to_dsr = self.set_mode("nat", "dsr").await?;
        self.seen_by_servers("dsr", CLIENT).await?;
        println!("\n   In force {to_nat} ms and {to_dsr} ms after the file was written.");
        Ok(())
    }

    /// Changes the mode of `web` in the file, and waits until that is in force; returns how many milliseconds it took.
    async fn set_mode(&mut self, from: &str, to: &str) -> anyhow::Result<u128> {
        let file = self.lab.config();
        let line = |mode| format!("\nmode = \"{mode}\"\n");
        // `web` is the first service in the file.
        let text = fs::read_to_string(&file)?.replacen(&line(from), &line(to), 1);
        let begun = Instant::now();
        state::replace(&file, text.as_bytes())?;
        let view = self
            .until(&format!("the mode of web is {to}"), |view| {
                view.refused_reload.is_some() || view.modes.get("web").is_some_and(|mode| mode == to)
            })
            .await?;
        match view.refused_reload {
            Some(reason) => bail!("the daemon refused the changed file: {reason}"),
            None => Ok(begun.elapsed().as_millis()),
        }
    }

    /// Makes requests; all have to be answered, by servers that see `client`.
    async fn seen_by_servers(&mut self, mode: &str, client: IpAddr) -> anyhow::Result<()> {
        let tally = self.requests(Kind::Http, SocketAddr::from((VIP, WEB)), SOME).await?;
        println!("   {mode}   {}", tally.said);
        self.judge(&format!("the requests in mode {mode}"), &tally, SOME, None);
        let seen: Vec<String> = tally.seen.iter().map(ToString::to_string).collect();
        self.expect(
            tally.seen.iter().eq([&client]),
            &format!("in mode {mode} the servers see {client}, and saw {}", seen.join(", ")),
        );
        Ok(())
    }
}
