//! Tracing: another entry point in the balancer's place, and the way of its samples.

use std::io;
use std::mem;
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, RingBuf};
use lb_common::trace::{Sample, Wanted};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::object::{self, LoadError};
use super::{Kernel, pins};
use crate::dataplane::Shown;

const WANTED: &str = "TRACING";
const EVENTS: &str = "EVENTS";

/// Batches that wait to be taken, each of what the program had shown when somebody looked: at most a full ring buffer.
const BATCHES: usize = 4;

impl Kernel {
    /// See [`Dataplane::trace`](crate::dataplane::Dataplane::trace).
    pub(super) fn trace_by(&mut self, wanted: Option<&Wanted>) -> Result<(), LoadError> {
        let Some(wanted) = wanted else {
            return self.enter(object::BALANCER);
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
    let mut ring = ring(program).map_err(|error| LoadError::map(EVENTS, error))?;
    // Somebody else's, who has gone before they came.
    while ring.next().is_some() {}
    // SAFETY: the ring buffer owns its file descriptor and keeps it open, the same one, as long as it lives.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let mut ring = ring.map_err(|error| LoadError::map(EVENTS, io::Error::from(error)))?;
    let (sender, receiver) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        loop {
            let mut ready = tokio::select! {
                ready = ring.readable_mut() => match ready {
                    Ok(ready) => ready,
                    Err(error) => return tracing::warn!(%error, "what is traced cannot be read"),
                },
                () = sender.closed() => return,
            };
            let batch = read(ready.get_inner_mut());
            ready.clear_ready();
            if !batch.is_empty() && sender.send(batch).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// A hold of one's own on the ring buffer.
fn ring(program: &Ebpf) -> Result<RingBuf<MapData>, MapError> {
    let Some(Map::RingBuf(map)) = program.map(EVENTS) else {
        return Err(MapError::InvalidName {
            name: EVENTS.to_owned(),
        });
    };
    let fd = map.fd().as_fd().try_clone_to_owned()?;
    RingBuf::try_from(Map::RingBuf(MapData::from_fd(fd)?))
}

/// All that lies there.
fn read(ring: &mut RingBuf<MapData>) -> Vec<Shown> {
    let Ok(begin) = begin_of_time() else {
        return Vec::new();
    };
    let mut batch = Vec::new();
    while let Some(item) = ring.next() {
        let bytes: &[u8] = &item;
        if bytes.len() != size_of::<Sample>() {
            continue;
        }
        // SAFETY: as many bytes, of which any are a sample.
        let sample: Sample = unsafe { bytes.as_ptr().cast::<Sample>().read_unaligned() };
        let at = begin + Duration::from_nanos(sample.time);
        batch.push(Shown { at, sample });
    }
    batch
}

/// When the clock that samples are stamped by was 0, as it seems now: that one is never set.
#[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
fn begin_of_time() -> io::Result<SystemTime> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let past = Duration::from(now);
    Ok(SystemTime::now().checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH))
}
