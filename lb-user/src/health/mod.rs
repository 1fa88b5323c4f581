//! Which backends answer: probes every target, and sends a verdict whenever there is something new to say of one.
//!
//! Each target has a task of its own that waits, probes and judges; this module starts and stops them as the list of
//! targets changes. No task has more than one probe under way or due, and at most [`MAX_IN_FLIGHT`] probes run at once
//! on the node: when that many do, a due probe waits its turn and its backend's schedule shifts. So the work is bounded
//! by the number of targets whatever the network does. The price: when more than `MAX_IN_FLIGHT / timeout` backends
//! are due per second and none of them answers (256 per second at a timeout of 1 s), rounds take longer than the
//! interval.
//!
//! What follows from a verdict (rings, quorum, restoring) is for the reconciler.

mod member;
mod path;
pub mod probe;
pub mod schedule;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::model::{HealthCheck, MemberKey, NextHopState, Probes, ServicePath, Verdict};
use crate::net::Net;
use crate::process::Programs;
use member::Member;
use schedule::Dice;

/// Probes under way at once, on the whole node. Bounds descriptors and bursts.
pub const MAX_IN_FLIGHT: usize = 256;

/// A backend to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whose health is meant; probed at its address, unless there is a `path`.
    pub member: MemberKey,
    /// The backend's name, for commands.
    pub name: Arc<str>,
    /// How.
    pub check: HealthCheck,
    /// The way that the probe takes; `None`: to its address, as the node sends anything.
    pub path: Option<ServicePath>,
}

impl Target {
    /// Is its next hop known, or does the kernel have to know it?
    fn is_reached(&self) -> bool {
        matches!(self.next_hop(), None | Some(NextHopState::Resolved(_)))
    }

    /// Is its next hop still being looked for?
    fn is_looked_for(&self) -> bool {
        matches!(self.next_hop(), Some(NextHopState::Pending(_)))
    }

    fn next_hop(&self) -> Option<&NextHopState> {
        self.path.as_ref().map(|path| &path.next_hop)
    }
}

/// Probes what `targets` lists, in the network namespace of `net` and of this task's threads, each key once, until its
/// sender is gone or nobody takes verdicts any more. `programs` starts scripts.
///
/// A new target is probed within [`schedule::FIRST_WINDOW`]. A target that has left the list is probed no more, and
/// nothing is said of that; a verdict about it may still be on its way, and one that comes back starts from
/// [`Health::Unknown`](crate::model::Health::Unknown). A target whose check changed keeps its health: with the same
/// kind and way its counts too, and new timing takes effect at once; with another question its first outcome decides
/// alone. One whose next hop becomes known is probed as soon as a new one.
///
/// A verdict says something new: another health, another reason (times do not count), or another count of outcomes
/// that speak against the health. Verdicts about one target arrive in order. While the channel is full, each target
/// with something to say waits, unprobed.
///
/// How many probes ended in which way, and how long the last one took, changes with every probe: it is counted in the
/// verdict's [`Probes`], which all verdicts about a target share.
///
/// # Panics
/// When a target's task has: the caller supervises.
pub async fn run(
    net: Net,
    programs: Programs,
    targets: watch::Receiver<Vec<Arc<Target>>>,
    verdicts: mpsc::Sender<Verdict>,
) {
    let means = probe::Means::new(net, programs);
    drive(targets, verdicts, Network { means }).await;
}

/// What probes. The network, or a script in tests.
trait Prober: Clone + Send + Sync + 'static {
    /// From now on, these are probed.
    fn aim(&self, _: &[Arc<Target>]) {}

    fn probe(
        &self,
        target: &Target,
        probes: &Probes,
    ) -> impl Future<Output = Result<probe::Success, probe::Failure>> + Send;
}

#[derive(Clone, Debug)]
struct Network {
    means: probe::Means,
}

impl Prober for Network {
    fn aim(&self, targets: &[Arc<Target>]) {
        let paths = targets.iter().filter_map(|target| target.path.as_ref());
        self.means
            .aim(paths.flat_map(|path| path.vips.iter().copied()).collect());
    }

    fn probe(
        &self,
        target: &Target,
        probes: &Probes,
    ) -> impl Future<Output = Result<probe::Success, probe::Failure>> + Send {
        probe::probe(target, probes, &self.means)
    }
}

async fn drive<P: Prober>(mut targets: watch::Receiver<Vec<Arc<Target>>>, verdicts: mpsc::Sender<Verdict>, prober: P) {
    let mut members = Members {
        running: HashMap::new(),
        tasks: JoinSet::new(),
        permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        verdicts: verdicts.clone(),
        seed: RandomState::new(),
        prober,
    };
    loop {
        let wanted = targets.borrow_and_update().clone();
        members.prober.aim(&wanted);
        members.update(wanted);
        loop {
            tokio::select! {
                changed = targets.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = verdicts.closed() => return,
                Some(ended) = members.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }
}

/// The tasks, one per target. Dropping it stops them.
struct Members<P> {
    running: HashMap<MemberKey, Running>,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
    verdicts: mpsc::Sender<Verdict>,
    seed: RandomState,
    prober: P,
}

struct Running {
    post: Arc<Post>,
    task: AbortHandle,
}

/// Where a task finds what it is to do. As a `watch` channel, at a tenth of its size: there is one for every backend.
#[derive(Debug)]
struct Post {
    target: Mutex<Arc<Target>>,
    /// The target is another one than the task has taken.
    news: Notify,
}

impl Post {
    /// What is to be done now.
    fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Prober> Members<P> {
    /// Starts, tells and stops tasks until they are those that `targets` wants.
    fn update(&mut self, targets: Vec<Arc<Target>>) {
        let mut gone = std::mem::take(&mut self.running);
        for target in targets {
            let key = target.member.clone();
            let running = match gone.remove(&key) {
                Some(running) => {
                    running.tell(target);
                    running
                }
                None => self.start(target),
            };
            self.running.insert(key, running);
        }
        for stopped in gone.into_values() {
            stopped.task.abort();
        }
    }

    fn start(&mut self, target: Arc<Target>) -> Running {
        let key = target.member.clone();
        let dice = Dice::new(self.seed.hash_one(&key));
        let post = Arc::new(Post {
            target: Mutex::new(target),
            news: Notify::new(),
        });
        let member = Member {
            key,
            post: Arc::clone(&post),
            verdicts: self.verdicts.clone(),
            permits: self.permits.clone(),
            prober: self.prober.clone(),
            dice,
            probes: Probes::default(),
        };
        Running {
            post,
            task: self.tasks.spawn(member.run()),
        }
    }
}

impl Running {
    fn tell(&self, target: Arc<Target>) {
        let mut current = self.post.target.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != target {
            *current = target;
            self.post.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
