//! Requests of a step: how servers shared them, in which order, and whom they took for the client.

use std::time::Duration;

use anyhow::bail;

use super::Tour;
use crate::lab::file::action::Requests;
use crate::lab::file::value::{Scheme, Url};
use crate::lab::host::resolve;
use crate::lab::load::{self, End, Outcome, Plan, Protocol, Target};
use crate::lab::{echo, report};

/// 20 s for a request that should be answered: a busy machine holds everybody up for seconds, and where a packet gets lost,
/// TCP sends its first again after 1 s, then after 2 s and 4 s more.
const PATIENCE: Duration = Duration::from_secs(20);

impl Tour<'_> {
    pub(super) async fn requests(&mut self, requests: &Requests) -> anyhow::Result<()> {
        let url = requests.to.get_ref();
        let outcome = self.made(requests, url).await?;
        let number = requests.count;
        if let (0, Some((reason, _))) = (outcome.answered, outcome.failed.iter().next())
            && requests.may_fail < number
        {
            bail!("none of {number} requests to {url} was answered: {reason}");
        }
        if requests.order > 0 {
            let order: Vec<&str> = outcome.order().take(requests.order).collect();
            self.say(&report::wrapped("   ", 3, &order.join(" ")));
        } else {
            self.say(&report::spread(&outcome.served, requests.spread.as_ref()));
        }
        let seen: Vec<String> = outcome.seen.iter().map(ToString::to_string).collect();
        let saw = match seen.is_empty() {
            true => String::new(),
            false => format!("; servers saw the client {}", seen.join(", ")),
        };
        self.say(&format!(
            "   {} of {number} answered in {:.2} s{saw}.",
            outcome.answered,
            outcome.took.as_secs_f64()
        ));
        let failed = outcome.failures();
        self.expect(failed <= requests.may_fail, || {
            let reasons: Vec<String> = outcome
                .failed
                .iter()
                .map(|(reason, times)| format!("{times} x {reason}"))
                .collect();
            format!("{url}: {failed} of {number} requests failed ({})", reasons.join(", "))
        });
        if let Some(weights) = &requests.spread {
            for why in report::implausible(&outcome.served, weights, requests.off_by) {
                self.expect(false, || format!("{url}: {why}"));
            }
        }
        if let Some(sees) = &requests.sees {
            self.expect(outcome.seen.iter().eq(sees), || {
                format!(
                    "{url}: servers should see the client {sees:?}, and saw {}",
                    seen.join(", ")
                )
            });
        }
        Ok(())
    }

    async fn made(&self, requests: &Requests, url: &Url) -> anyhow::Result<Outcome> {
        let host = self.host(requests.from.get_ref())?;
        let address = resolve(self.file, url)?;
        if url.scheme == Scheme::Udp {
            return Ok(echo::ask(&host.namespace, address, requests.count).await?);
        }
        let mut plan = plan(self.target(url)?);
        plan.end = End::Requests(requests.count);
        plan.reuse = requests.keep_alive || requests.http2;
        plan.connections = if requests.order > 0 { 1 } else { requests.clients };
        plan.headers = requests
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if requests.http2 {
            plan.protocol = Protocol::Http2;
        }
        Ok(load::run(&host.namespace, &plan).await?)
    }

    pub(super) fn target(&self, url: &Url) -> anyhow::Result<Target> {
        Ok(Target::of(url, resolve(self.file, url)?))
    }
}

/// Each request over a connection of its own, and patiently.
pub(super) fn plan(target: Target) -> Plan {
    Plan {
        reuse: false,
        timeout: PATIENCE,
        ..Plan::new(target)
    }
}
