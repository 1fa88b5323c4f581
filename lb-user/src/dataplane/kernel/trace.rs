//! Tracing: another entry point in the balancer's place, and the way of its samples.

use std::io;
use std::mem;
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use aya::maps::Array;
use lb_common::trace::{Sample, Wanted};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::object::{self, LoadError};
use super::{Kernel, pins, ring};
use crate::dataplane::Shown;

const WANTED: &str = "TRACING";
const EVENTS: &str = "EVENTS";

impl Kernel {
    /// See [`Dataplane::trace`](crate::dataplane::Dataplane::trace).
    pub(super) fn trace_by(&mut self, wanted: Option<&Wanted>) -> Result<(), LoadError> {
        let Some(wanted) = wanted else {
            return self.enter(self.first);
        };
        let map = self.program.map_mut(WANTED);
        let map = map.ok_or_else(|| LoadError::map(WANTED, "it is not there"))?;
        let set = Array::<_, Wanted>::try_from(map).and_then(|mut map| map.set(0, wanted, 0));
        set.map_err(|error| LoadError::map(WANTED, error))?;
        let tracer = object::xdp(&mut self.program, object::TRACER)?;
        // Not before somebody wants it: it is as long as all the others together.
        if tracer.fd().is_err() {
            tracer.load().map_err(LoadError::program("load"))?;
        }
        self.enter(object::TRACER)
    }

    /// Has packets meet `first` that are not traced.
    pub(super) fn begin_with(&mut self, first: &'static str) -> Result<(), LoadError> {
        if self.first == first {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.first, first);
        self.fill_stages()?;
        if self.entry == before {
            self.enter(first)
        } else {
            Ok(())
        }
    }

    /// Puts this entry point on all interfaces, or leaves the other one on all.
    fn enter(&mut self, entry: &'static str) -> Result<(), LoadError> {
        let before = mem::replace(&mut self.entry, entry);
        if before == entry {
            return Ok(());
        }
        let links = match self.pin_dir.as_deref() {
            Some(folder) => pins::entries(&pins::links_folder(folder))?,
            None => Vec::new(),
        };
        for path in &links {
            // One that has died has no packets either, and whoever looks after the interfaces attaches anew.
            if !self.swap(path) {
                tracing::debug!(?path, entry, "the link does not take the program");
            }
        }
        Ok(())
    }
}

/// See [`Dataplane::samples`](crate::dataplane::Dataplane::samples).
pub(super) fn samples(program: &Ebpf) -> Result<mpsc::Receiver<Vec<Shown>>, LoadError> {
    let begin = begin_of_time().map_err(|error| LoadError::map(EVENTS, error))?;
    let shown = move |sample: Sample| Shown {
        at: begin + Duration::from_nanos(sample.time),
        sample,
    };
    ring::follow(program, EVENTS, Duration::ZERO, shown)
}

/// When the clock that samples are stamped by was 0, as it seems now: that one is never set.
#[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
fn begin_of_time() -> io::Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let past = Duration::from(now);
    Ok(SystemTime::now().checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH))
}
