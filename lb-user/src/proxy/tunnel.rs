//! Connections that have become another one (RFC 9110 §7.8): bytes both ways, until both sides have ended or nobody says
//! anything for too long.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::io::{Buffer, Deadline, Duplex, TooSlow};

/// Passes on bytes between a client and a backend, each with what was read of it already. Bytes from and to the client.
pub(super) async fn run(
    client: (&Duplex, &mut Buffer),
    backend: (&Duplex, &mut Buffer),
    limit: Duration,
) -> (u64, u64) {
    let (counts, active) = ([Cell::new(0), Cell::new(0)], Cell::new(Instant::now()));
    let (from, to) = (client.0, backend.0);
    let there = pass(from, to, client.1, &counts[0], (&active, limit));
    let back = pass(to, from, backend.1, &counts[1], (&active, limit));
    // A side that fails ends both, one that merely ends does not.
    let _ = tokio::try_join!(there, back);
    (counts[0].get(), counts[1].get())
}

async fn pass(
    from: &Duplex,
    to: &Duplex,
    buffer: &mut Buffer,
    count: &Cell<u64>,
    (active, limit): (&Cell<Instant>, Duration),
) -> io::Result<()> {
    let mut deadline = Deadline::default();
    loop {
        if !buffer.is_empty() {
            let written = deadline.within(limit, to.write(buffer.bytes(), &[])).await;
            written.map_err(|TooSlow| io::ErrorKind::TimedOut)??;
            count.set(count.get() + buffer.len() as u64);
            active.set(Instant::now());
            buffer.consume(buffer.len());
            buffer.rest();
        }
        // Nothing is kept in memory for a connection that is silent.
        match deadline.within(limit, from.readable()).await {
            Ok(readable) => readable?,
            Err(TooSlow) if active.get().elapsed() < limit => continue,
            Err(TooSlow) => return Err(io::ErrorKind::TimedOut.into()),
        }
        if from.read(buffer).await? == 0 {
            return to.shutdown().await;
        }
        active.set(Instant::now());
    }
}
