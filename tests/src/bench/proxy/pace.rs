//! Requests at a fixed rate, whether those before them have been answered or not: a proxy that stalls does not have the
//! clock stopped for it.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::{self, Connection};

/// Connections that requests are sent on, in turn.
const CONNECTIONS: usize = 50;

/// How long each answer took, from when its request was due; sorted.
pub(super) async fn run(address: IpAddr, rate: f64, seconds: u32) -> Result<Vec<Duration>> {
    let tls = client::tls()?;
    let (mut senders, mut answering) = (Vec::new(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let connection = Connection::open(address, Arc::clone(&tls)).await?;
        // As deep as it gets: who does not answer is asked all the same, for some seconds.
        let (sender, due) = mpsc::unbounded_channel();
        senders.push(sender);
        answering.spawn(answer(connection, due));
    }
    let count = (rate * f64::from(seconds)) as usize;
    send(&senders, count, Duration::from_secs_f64(1.0 / rate)).await?;
    drop(senders);
    let mut took = Vec::with_capacity(count);
    while let Some(answered) = answering.join_next().await {
        took.extend(answered??);
    }
    ensure!(took.len() == count, "{} of {count} requests were answered", took.len());
    took.sort_unstable();
    Ok(took)
}

/// Says to the connections in turn that a request is due. The runtime's own timers go by milliseconds, which is too coarse.
async fn send(senders: &[mpsc::UnboundedSender<Instant>], count: usize, apart: Duration) -> Result<()> {
    let timer = TimerFd::new(
        ClockId::CLOCK_MONOTONIC,
        TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
    )?;
    // SAFETY: the descriptor is the timer's, which is dropped after what waits for it.
    let ready = unsafe { AsyncFd::register_with_interest(timer.as_fd().as_raw_fd(), Interest::READABLE) }?;
    let began = Instant::now();
    for (index, sender) in senders.iter().cycle().take(count).enumerate() {
        let due = began + apart * index as u32;
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty())?;
            // Setting it again takes back that it has gone off, so nobody needs to read it.
            ready.readable().await?.clear_ready();
        }
        sender.send(due)?;
    }
    Ok(())
}

/// Asks whenever it is said to; how long each answer took.
async fn answer(mut connection: Connection, mut due: mpsc::UnboundedReceiver<Instant>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while let Some(due) = due.recv().await {
        connection.ask().await?;
        took.push(due.elapsed());
    }
    Ok(took)
}

/// The smallest that so large a part of all are not above. Of none, zero.
pub(super) fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_those_seen() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&sorted, 0.5), Duration::from_micros(100));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_micros(198));
        assert_eq!(percentile(&sorted[..1], 0.99), Duration::from_micros(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[tokio::test]
    async fn requests_are_due_when_they_are() {
        let (sender, mut due) = mpsc::unbounded_channel();
        let began = Instant::now();
        send(&[sender], 20, Duration::from_micros(500)).await.unwrap();
        let elapsed = began.elapsed();
        let times: Vec<Instant> = std::iter::from_fn(|| due.try_recv().ok()).collect();
        assert_eq!(times.len(), 20);
        assert!(
            times
                .windows(2)
                .all(|pair| pair[1] - pair[0] == Duration::from_micros(500))
        );
        assert!(elapsed >= Duration::from_micros(19 * 500), "{elapsed:?}");
    }
}
