//! The thread that writes, and what it is told.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::file::File;
use super::sink::Sink;
use crate::model::proxy::AccessLog;
use crate::model::traffic::ServiceTraffic;

/// Buffers that wait for the disk, of all threads. When they are so many, further lines are lost and counted.
pub const DEPTH: usize = 256;

/// All access logs of the daemon.
#[derive(Debug)]
pub struct Logs {
    to: SyncSender<Message>,
    wishes: Arc<Wishes>,
    /// Locked by nobody: threads share the logs, and one ends them.
    done: Mutex<Receiver<()>>,
}

/// What a full queue cannot keep back.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    reopen: AtomicBool,
    end: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Message {
    Lines(Batch),
    /// There is a wish.
    Wake,
}

/// Lines of one service.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) log: Arc<AccessLog>,
    pub(super) traffic: Arc<ServiceTraffic>,
    pub(super) lines: Vec<u8>,
    pub(super) count: u32,
}

impl Logs {
    /// Begins. It ends when it and all its sinks are gone, or with [`Self::finish`].
    pub fn start() -> io::Result<Self> {
        let (to, from) = sync_channel(DEPTH);
        let wishes = Arc::new(Wishes::default());
        let (ending, done) = sync_channel(1);
        let theirs = Arc::clone(&wishes);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            run(&from, &theirs);
            // Nobody may be waiting.
            let _ = ending.try_send(());
        })?;
        Ok(Self {
            to,
            wishes,
            done: Mutex::new(done),
        })
    }

    /// Where a thread puts the lines of a service.
    #[must_use]
    pub fn sink(&self, log: Arc<AccessLog>, traffic: Arc<ServiceTraffic>) -> Sink {
        Sink::new(self.to.clone(), log, traffic)
    }

    /// Opens every file again: one that was renamed, as by logrotate, is left to whoever did that, and another one made.
    /// Does not wait for it.
    pub fn reopen(&self) {
        self.wishes.reopen.store(true, SeqCst);
        self.wake();
    }

    /// Writes what was handed on so far, and ends; what sinks hand on later is lost. Waits for so long; was it enough?
    #[must_use]
    pub fn finish(self, patience: Duration) -> bool {
        self.wishes.end.store(true, SeqCst);
        self.wake();
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        !matches!(done.recv_timeout(patience), Err(RecvTimeoutError::Timeout))
    }

    fn wake(&self) {
        // A queue that is full wakes it, too.
        let _ = self.to.try_send(Message::Wake);
    }
}

/// Writes until all who could send are gone, or it shall end.
pub(super) fn run(from: &Receiver<Message>, wishes: &Wishes) {
    let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
    while let Ok(message) = from.recv() {
        if wishes.reopen.swap(false, SeqCst) {
            files.retain(|_, file| file.reopen());
        }
        append(&mut files, message);
        if wishes.end.load(SeqCst) {
            from.try_iter().for_each(|message| append(&mut files, message));
            return;
        }
    }
}

fn append(files: &mut BTreeMap<PathBuf, File>, message: Message) {
    let Message::Lines(batch) = message else { return };
    let path = &batch.log.path;
    if !files.contains_key(path) {
        files.insert(path.clone(), File::new(path.clone()));
    }
    let written = match files.get_mut(path) {
        Some(file) => file.append(&batch.lines, batch.log.max_size, batch.log.keep),
        None => 0,
    };
    let lost = u64::from(batch.count).saturating_sub(written);
    if lost > 0 {
        batch.traffic.log_lost.fetch_add(lost, Relaxed);
    }
}
