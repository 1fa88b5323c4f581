//! A client that asks once a millisecond, and knows which of its questions were answered.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use lb_user::net::Namespace;

/// Between two questions.
const EVERY: Duration = Duration::from_millis(1);

/// Bounds how long the end goes unseen.
const LOOK: Duration = Duration::from_millis(20);

/// Until it ends.
pub(super) struct Probe {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    /// When each was sent, and whether it was answered.
    questions: Mutex<Vec<(Instant, bool)>>,
    ended: AtomicBool,
}

impl Shared {
    fn questions(&self) -> MutexGuard<'_, Vec<(Instant, bool)>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each question has its number. One that cannot be sent is one that is not answered.
    fn ask(&self, socket: &UdpSocket) -> io::Result<()> {
        let begun = Instant::now();
        for number in 0u32.. {
            if self.ended.load(Relaxed) {
                break;
            }
            let wait = (begun + number * EVERY).saturating_duration_since(Instant::now());
            std::thread::sleep(wait);
            self.questions().push((Instant::now(), false));
            let _ = socket.send(&number.to_be_bytes());
        }
        Ok(())
    }

    fn hear(&self, socket: &UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(Some(LOOK))?;
        let mut number = [0; 4];
        while !self.ended.load(Relaxed) {
            // What comes instead, such as "unreachable", is no answer.
            let Ok(4) = socket.recv(&mut number) else { continue };
            if let Some((_, answered)) = self.questions().get_mut(u32::from_be_bytes(number) as usize) {
                *answered = true;
            }
        }
        Ok(())
    }
}

impl Probe {
    /// Asks `to` from inside a namespace.
    pub(super) fn start(namespace: &Namespace, to: SocketAddr) -> Result<Self> {
        let socket = namespace.run_inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            io::Result::Ok(socket)
        })??;
        let shared = Arc::<Shared>::default();
        let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let hears = socket.try_clone()?;
        let threads = vec![
            std::thread::spawn(move || one.ask(&socket)),
            std::thread::spawn(move || other.hear(&hears)),
        ];
        Ok(Self { shared, threads })
    }

    /// How many of those were answered that were sent since then.
    pub(super) fn answered(&self, since: Instant) -> usize {
        let questions = self.shared.questions();
        let of_since = questions.iter().rev().take_while(|(sent, _)| *sent >= since);
        of_since.filter(|(_, answered)| *answered).count()
    }

    /// Ends, and says for how long at most nobody answered after `since`: from one question that was answered to the next.
    pub(super) fn end(mut self, since: Instant) -> Result<Duration> {
        self.shared.ended.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("the probe panicked"))??;
        }
        Ok(gap(&self.shared.questions(), since))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
    }
}

fn gap(questions: &[(Instant, bool)], since: Instant) -> Duration {
    let answered = questions
        .iter()
        .filter(|(_, answered)| *answered)
        .map(|(sent, _)| *sent);
    let answered: Vec<Instant> = answered.collect();
    let gaps = answered.windows(2).filter(|two| two[1] >= since);
    gaps.map(|two| two[1] - two[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_from_one_answer_to_the_next() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let of = |unanswered: &[u64]| -> Vec<(Instant, bool)> {
            (0..40).map(|n| (at(n), !unanswered.contains(&n))).collect()
        };
        let ms = |questions: &[(Instant, bool)], since| gap(questions, at(since)).as_millis();
        assert_eq!(ms(&of(&[]), 10), 1);
        let lost = of(&[3, 4, 5, 6, 20, 21, 30]);
        assert_eq!(
            [ms(&lost, 0), ms(&lost, 10), ms(&lost, 25), ms(&lost, 35)],
            [5, 3, 2, 1]
        );
        // What is never answered again has no end: whoever asks has waited for answers.
        assert_eq!(ms(&lost[..5], 3), 0);
    }
}
