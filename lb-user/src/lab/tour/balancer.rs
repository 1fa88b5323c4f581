//! What a step waits for a balancer to have done.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::Tour;
use crate::lab::daemon::{self, View};
use crate::lab::file::action::Await;
use crate::lab::start::tail;

/// 20 s for anything that takes a moment on an idle machine: a reload, a backend's way up.
const PATIENCE: Duration = Duration::from_secs(20);

impl Tour<'_> {
    pub(super) async fn await_balancer(&mut self, wait: &Await) -> anyhow::Result<()> {
        let place = wait.at.get_ref();
        let socket = self.lab.host(&place.host).join("fulcrum.sock");
        let what = wait.words();
        let since = self.marks.last().map_or_else(Instant::now, |(at, _)| *at);
        let seen = daemon::until(&socket, PATIENCE, &what, |view| {
            view.refused_reload.is_some() || wait.is_met(view)
        })
        .await;
        let log = self.lab.log(&format!("{}.{}", place.host, place.rest));
        let view =
            seen.with_context(|| format!("waiting until {what}; the log of {place} ends with:\n{}", tail(&log)))?;
        if let Some(reason) = view.refused_reload {
            anyhow::bail!("{place} has refused the changed file: {reason}");
        }
        self.say(&format!("   {what}, after {:.2} s.", since.elapsed().as_secs_f64()));
        Ok(())
    }
}

impl Await {
    fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(mode) = &self.mode {
            words.push(format!("{} is in mode {mode}", self.service));
        }
        if let Some(backend) = &self.backend {
            let mut add =
                |said: Option<String>| words.extend(said.map(|said| format!("{}/{backend} {said}", self.service)));
            add(self.up.map(|up| if up { "is up" } else { "is down" }.to_owned()));
            add(self
                .serves
                .map(|serves| if serves { "serves" } else { "gets nothing new" }.to_owned()));
            add(self.weight.map(|weight| format!("has weight {weight}")));
        }
        words.join(", ")
    }

    fn is_met(&self, view: &View) -> bool {
        let right_mode = self.mode.is_none() || self.mode.as_ref() == view.modes.get(&self.service);
        let Some(name) = &self.backend else { return right_mode };
        let Some(backend) = view.backend(&self.service, name) else {
            return false;
        };
        right_mode
            && self.up.is_none_or(|up| backend.up == up)
            && self.serves.is_none_or(|serves| backend.serves == serves)
            && self
                .weight
                .is_none_or(|weight| backend.weight == weight && (weight == 0 || backend.serves))
    }
}
