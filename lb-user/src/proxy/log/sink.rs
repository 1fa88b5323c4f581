//! A thread's end of a log.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::entry::Entry;
use super::format;
use super::stamp::Stamp;
use super::writer::{Batch, Message};
use crate::model::proxy::AccessLog;
use crate::model::traffic::ServiceTraffic;

/// Bytes that are handed on without waiting for a tick.
pub(super) const BATCH: usize = 64 << 10;

/// Takes the lines of one service on one thread. Dropped, it hands on what it has.
#[derive(Debug)]
pub struct Sink {
    to: SyncSender<Message>,
    log: Arc<AccessLog>,
    traffic: Arc<ServiceTraffic>,
    lines: Vec<u8>,
    count: u32,
    stamp: Stamp,
}

impl Sink {
    pub(super) fn new(to: SyncSender<Message>, log: Arc<AccessLog>, traffic: Arc<ServiceTraffic>) -> Self {
        Self {
            to,
            log,
            traffic,
            lines: Vec::new(),
            count: 0,
            stamp: Stamp::default(),
        }
    }

    /// One more line. Never waits.
    pub fn write(&mut self, entry: &Entry<'_>) {
        format::write(self.log.format, entry, &mut self.stamp, &mut self.lines);
        self.count += 1;
        if self.lines.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands on what there is: to be called a few times a second. Never waits.
    pub fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let batch = Batch {
            log: Arc::clone(&self.log),
            traffic: Arc::clone(&self.traffic),
            lines: std::mem::take(&mut self.lines),
            count: std::mem::take(&mut self.count),
        };
        let (Err(TrySendError::Full(message)) | Err(TrySendError::Disconnected(message))) =
            self.to.try_send(Message::Lines(batch))
        else {
            return;
        };
        if let Message::Lines(Batch { mut lines, count, .. }) = message {
            self.traffic.log_lost.fetch_add(count.into(), Relaxed);
            lines.clear();
            self.lines = lines;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}
