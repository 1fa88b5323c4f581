//! When requests are due.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, watch};

use super::{End, Pace};

/// A request that is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// From 0.
    pub(super) number: u64,
    pub(super) at: Instant,
}

/// The requests of a plan, for all threads that make them.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    end: End,
    /// When the first request was asked for: what it takes to start threads is not its time.
    began: OnceLock<Instant>,
    /// Requests that were handed out, and at most one more for each connection.
    taken: AtomicU64,
    /// When it was told to end early.
    stopped: watch::Sender<Option<Instant>>,
}

impl Schedule {
    /// It begins when the first request is asked for.
    pub(super) fn new(pace: Pace, end: End) -> Self {
        Self {
            pace,
            end,
            began: OnceLock::new(),
            taken: AtomicU64::new(0),
            stopped: watch::Sender::new(None),
        }
    }

    /// When it began: `now`, unless it has before.
    fn begin(&self, now: Instant) -> Instant {
        *self.began.get_or_init(|| now)
    }

    /// Requests that are due by then, from the beginning; none as long as it has not begun, or without a rate.
    pub(super) fn due(&self, by: Instant) -> Option<u64> {
        let Pace::Open { rate } = self.pace else { return None };
        let span = by.saturating_duration_since(*self.began.get()?);
        Some(due_within(rate, span))
    }

    /// From here on no request is handed out.
    pub(super) fn stop(&self) {
        self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(Instant::now);
            first
        });
    }

    /// Requests that were due before the end and have not been handed out. Meaningful when nobody takes any more.
    pub(super) fn left(&self) -> u64 {
        let Pace::Open { rate } = self.pace else { return 0 };
        let planned = match self.end {
            End::After(span) => due_within(rate, span),
            End::Requests(number) => number,
        };
        let due = match *self.stopped.borrow() {
            Some(stopped) => planned.min(self.due(stopped).unwrap_or(0)),
            None => planned,
        };
        due.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn is_over(&self, now: Instant) -> bool {
        let began = self.begin(now);
        let late = match self.end {
            End::After(span) => now.saturating_duration_since(began) >= span,
            End::Requests(_) => false,
        };
        late || self.stopped.borrow().is_some()
    }

    /// The next number, unless all are taken.
    fn take(&self) -> Option<u64> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let all = match (self.end, self.pace) {
            (End::Requests(all), _) => all,
            (End::After(span), Pace::Open { rate }) => due_within(rate, span),
            (End::After(_), Pace::Closed) => u64::MAX,
        };
        (number < all).then_some(number)
    }
}

/// Requests that are due in the first `span`.
fn due_within(rate: f64, span: Duration) -> u64 {
    (rate * span.as_secs_f64()).ceil() as u64
}

/// Hands requests out to the connections of one thread, in the order in which those become free.
#[derive(Debug)]
pub(super) struct Queue {
    schedule: Arc<Schedule>,
    /// Held by whoever waits for the next request to be due. The lock is fair.
    timer: Mutex<Timer>,
}

impl Queue {
    /// # Errors
    /// When the kernel has no more timers. Needs a runtime with I/O.
    pub(super) fn new(schedule: Arc<Schedule>) -> io::Result<Self> {
        let timer = Mutex::new(Timer::new()?);
        Ok(Self { schedule, timer })
    }

    /// How long requests have been asked for at `now`.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.schedule.begin(now))
    }

    /// Waits until a request is due; none when there are no more. One that is late comes at once, with the time that it
    /// was due at.
    pub(super) async fn next(&self) -> Option<Due> {
        let schedule = &self.schedule;
        let Pace::Open { rate } = schedule.pace else {
            let at = Instant::now();
            if schedule.is_over(at) {
                return None;
            }
            return schedule.take().map(|number| Due { number, at });
        };
        let mut timer = self.timer.lock().await;
        let now = Instant::now();
        if schedule.is_over(now) {
            return None;
        }
        let number = schedule.take()?;
        let at = schedule.begin(now) + Duration::from_secs_f64(number as f64 / rate);
        let mut stopped = schedule.stopped.subscribe();
        tokio::select! {
            biased;
            () = timer.until(at) => Some(Due { number, at }),
            // It fails only without a sender, and that is the schedule.
            _ = stopped.wait_for(Option::is_some) => None,
        }
    }
}

/// The runtime's own timers go by milliseconds, which is too coarse.
#[derive(Debug)]
struct Timer {
    /// Dropped before the timer that it waits for.
    ready: AsyncFd<i32>,
    timer: TimerFd,
}

impl Timer {
    fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the descriptor is that of `timer`, which the struct drops after what waits for it.
        let ready = unsafe { AsyncFd::register_with_interest(timer.as_fd().as_raw_fd(), Interest::READABLE) }?;
        Ok(Self { ready, timer })
    }

    async fn until(&mut self, at: Instant) {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Setting it again takes back that it has gone off, so nobody needs to read it. Neither call fails with a
            // time above zero and a runtime that lives.
            let set = self
                .timer
                .set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty());
            let ready = self.ready.readable().await;
            match (set, ready) {
                (Ok(()), Ok(mut ready)) => ready.clear_ready(),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pace: Pace, end: End) -> Queue {
        Queue::new(Arc::new(Schedule::new(pace, end))).unwrap()
    }

    async fn all(queue: &Queue) -> Vec<Due> {
        let mut all = Vec::new();
        while let Some(due) = queue.next().await {
            all.push(due);
        }
        all
    }

    #[tokio::test]
    async fn requests_are_due_at_their_rate_and_not_before() {
        let queue = queue(Pace::Open { rate: 2000.0 }, End::Requests(20));
        let all = all(&queue).await;
        let began = *queue.schedule.began.get().unwrap();
        assert!(began.elapsed() >= Duration::from_micros(19 * 500));
        for (number, due) in (0..20).zip(&all) {
            let at = began + Duration::from_micros(500 * number);
            assert_eq!((due.number, due.at), (number, at));
        }
        assert_eq!((all.len(), queue.schedule.left()), (20, 0));
    }

    #[tokio::test]
    async fn what_nobody_takes_in_time_is_left() {
        let span = Duration::from_millis(20);
        let queue = queue(Pace::Open { rate: 1000.0 }, End::After(span));
        assert_eq!(queue.next().await.map(|due| due.number), Some(0));
        // Everybody is busy until the end.
        std::thread::sleep(span);
        assert_eq!(queue.next().await, None);
        assert_eq!(queue.schedule.left(), 19);
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait_for_the_next() {
        let queue = queue(Pace::Open { rate: 0.001 }, End::Requests(9));
        assert_eq!(queue.next().await.map(|due| due.number), Some(0));
        let (next, ()) = tokio::join!(queue.next(), async { queue.schedule.stop() });
        assert_eq!((next, queue.schedule.left()), (None, 0));
    }

    #[tokio::test]
    async fn without_a_rate_a_request_is_due_when_it_is_asked_for() {
        let queue = queue(Pace::Closed, End::Requests(3));
        let numbers: Vec<u64> = all(&queue).await.iter().map(|due| due.number).collect();
        assert_eq!((numbers, queue.schedule.left()), (vec![0, 1, 2], 0));
    }
}
