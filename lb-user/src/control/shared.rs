//! Flows that this node tells its peers of, and those that it takes in from them.
//!
//! Told is what is written down of flows: where `nat` translates them, where every flow of a service is tracked, and where
//! slots are in motion. A flow that is new is told of at once, when the program says so; every [`sweep`](super::sweep) looks
//! for what has changed since, and for flows that would be taken for silent. Peers know them by the addresses of service and
//! backend.
//!
//! Nodes that tell each other of one flow do not say who is right: who has heard of it later is. So a flow that has come from
//! a peer, and that packets here have not touched, is not told of again.

mod take;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use lb_common::addr::Ipv6Be;
use lb_common::nat::{NatKey, Ticks, Translation, at_least};
use lb_common::slot::Entry;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

use super::addresses::Addresses;
use super::reconciler::Reconciler;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::peers::{FlowState, PeersStatus, SharedFlow};
use crate::model::{Config, NatSource, chain};
use crate::plan::Table;
use crate::plan::entries::Flow;

/// Flows that are told of in one message: what one record of a connection holds.
pub const BATCH: usize = 512;

/// Messages that wait for a peer, at most 13 MB for all of them together. One that is slower is told everything again.
const WAITING: usize = 256;

/// Peers hear again of a flow that lives, before it has been silent for this part of the time that it may be.
const REFRESHED: Ticks = 8;

/// A message to all peers.
#[derive(Clone, Debug)]
pub struct Message {
    /// At most [`BATCH`].
    pub flows: Arc<[SharedFlow]>,
    /// Since when it is known.
    pub at: Instant,
}

/// The ends of whoever talks with peers.
#[derive(Debug)]
pub struct PeerEnds {
    /// Subscribed to, it has what peers are to be told.
    pub flows: broadcast::Sender<Message>,
    /// How it is with peers.
    pub status: watch::Sender<PeersStatus>,
    /// The node knows its backends, and what peers tell finds them.
    pub ready: watch::Receiver<bool>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    news: Option<mpsc::Receiver<Vec<NatKey>>>,
    hasher: RandomState,
    /// What peers know: by the hash of a flow's key, its entry's word or its lease's stamp.
    told: HashMap<u64, u64>,
    /// When each came, and the flow.
    early: Vec<(Ticks, SharedFlow)>,
    flows: broadcast::Sender<Message>,
    pub(super) status: watch::Receiver<PeersStatus>,
    pub(super) ready: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            news: None,
            hasher: RandomState::new(),
            told: HashMap::new(),
            early: Vec::new(),
            flows: broadcast::channel(1).0,
            status: watch::channel(PeersStatus::default()).1,
            ready: watch::Sender::new(false),
        }
    }
}

/// What wakes the reconciler.
pub(super) enum Woken {
    /// Flows are new.
    News(Vec<NatKey>),
    /// Something is new about peers, and they may have told what they know.
    Status,
}

impl Shared {
    /// Waits for either.
    pub(super) async fn woken(&mut self) -> Woken {
        let settled = self.status.borrow().settled;
        let news = async {
            match &mut self.news {
                Some(news) => news.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(keys) = news => Woken::News(keys),
            Ok(()) = self.status.changed(), if !settled => Woken::Status,
            else => std::future::pending().await,
        }
    }

    fn tell(&self, flows: &[SharedFlow]) {
        let at = Instant::now();
        for flows in flows.chunks(BATCH) {
            let flows = flows.into();
            // Where nobody listens, nobody need know.
            let _ = self.flows.send(Message { flows, at });
        }
    }

    fn hash(&self, key: &NatKey) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Peers know of a flow by this word.
    fn know(&mut self, key: &NatKey, word: u64) {
        self.told.insert(self.hash(key), word);
    }
}

/// What flows are described by.
struct Described<'a, D> {
    dataplane: &'a D,
    /// Sources of `nat` that are the same on every node.
    floating: HashSet<Ipv6Be>,
    now: Ticks,
}

impl<'a, D: Dataplane> Described<'a, D> {
    fn new(dataplane: &'a D, config: &Config) -> Result<Self, ApplyError> {
        Ok(Self {
            now: dataplane.now()?,
            floating: floating(config),
            dataplane,
        })
    }

    /// A translated flow: as the client sends it, as the backend sees it, and either of its entries.
    fn translated(&self, key: NatKey, made: &NatKey, entry: &Translation) -> Option<(SharedFlow, u64)> {
        let over = entry.stamp.is_over(key.protocol, entry.idle, self.now);
        if over || entry.stamp.is_claimed() || !travels(&self.floating, &key, made.source) {
            return None;
        }
        let shared = SharedFlow {
            key,
            backend: (made.destination, made.ports.destination),
            age: entry.stamp.age(self.now),
            state: FlowState::Translated {
                source: (made.source, made.ports.source),
                client: entry.client.mac(),
                idle: entry.idle,
                seen: entry.stamp.0 as u32,
            },
        };
        Some((shared, entry.stamp.0))
    }

    /// A flow that is written down.
    fn known(&self, table: Table, key: &NatKey, entry: Entry) -> Option<(SharedFlow, u64)> {
        let tables = self.dataplane.tables();
        let service = Flow::from(key).service(tables);
        if entry.is_claimed() || Table::of(service) != Some(table) {
            return None;
        }
        let member = tables.member(service.member(entry.member()))?;
        let shared = SharedFlow {
            key: *key,
            backend: (member.address, member.port),
            age: entry.age(self.now),
            state: FlowState::Known {
                flags: entry.flags(),
                sequence: entry.sequence,
            },
        };
        Some((shared, entry.word))
    }

    /// A flow that the program has named.
    fn named(&self, key: &NatKey) -> Result<Option<(SharedFlow, u64)>, ApplyError> {
        let service = Flow::from(key).service(self.dataplane.tables());
        if let Some(table) = Table::of(service) {
            let entry = self.dataplane.entry(table, key)?;
            return Ok(entry.and_then(|entry| self.known(table, key, entry)));
        }
        let flow = self.dataplane.flow(key)?;
        Ok(flow.and_then(|flow| self.translated(*key, &flow.made(key.protocol), &flow)))
    }

    /// Shows every flow that peers may have to know of, with the word that it is known by.
    fn all(&self, each: &mut dyn FnMut(SharedFlow, u64)) -> Result<(), ApplyError> {
        self.dataplane.leases(&mut |key, lease| {
            let made = key.reversed();
            if let Some((flow, word)) = self.translated(lease.other(key.protocol), &made, lease) {
                each(flow, word);
            }
        })?;
        Table::ALL.into_iter().try_for_each(|table| {
            self.dataplane.entries(table, &mut |key, entry| {
                if let Some((flow, word)) = self.known(table, key, entry) {
                    each(flow, word);
                }
            })
        })
    }

    /// How long a flow may be silent: what a translation says itself, or the flow's service, by its member base.
    fn idle(&self, flow: &SharedFlow, of_services: &HashMap<u32, Ticks>) -> Ticks {
        match flow.state {
            FlowState::Translated { idle, .. } => idle,
            FlowState::Known { .. } => {
                let service = Flow::from(&flow.key).service(self.dataplane.tables());
                of_services.get(&service.member_base()).copied().unwrap_or(Ticks::MAX)
            }
        }
    }
}

/// The sources of `nat` that are the same on every node.
fn floating(config: &Config) -> HashSet<Ipv6Be> {
    let sources = config.balanced().filter_map(|service| match &service.nat.source {
        NatSource::Floating(sources) => Some(sources),
        NatSource::Auto | NatSource::Client => None,
    });
    sources.flatten().copied().map(Ipv6Be::mapped).collect()
}

/// Would another node get the backend's answers to this flow?
fn travels(floating: &HashSet<Ipv6Be>, flow: &NatKey, source: Ipv6Be) -> bool {
    source == flow.source || floating.contains(&source)
}

/// Do peers know as much as `word` says, by what they were `told`?
fn is_told(told: u64, word: u64, idle: Ticks) -> bool {
    let since = ((word >> 32) as Ticks).wrapping_sub((told >> 32) as Ticks);
    word as u32 == told as u32 && since < (idle / REFRESHED).max(1)
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// The ends of whoever talks with peers.
    pub fn connect_peers(&mut self) -> PeerEnds {
        match self.dataplane.news() {
            Ok(news) => self.shared.news = Some(news),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "peers hear of new flows a few seconds late");
            }
        }
        let (status, shown) = watch::channel(PeersStatus::default());
        self.shared.flows = broadcast::channel(WAITING).0;
        self.shared.status = shown;
        PeerEnds {
            flows: self.shared.flows.clone(),
            status,
            ready: self.shared.ready.subscribe(),
        }
    }

    /// Tells peers of flows that are new.
    pub(super) fn tell_news(&mut self, keys: &[NatKey]) {
        if self.facts.config.peers.is_none() {
            return;
        }
        let mut flows = Vec::with_capacity(keys.len());
        let described = Described::new(&self.dataplane, &self.facts.config);
        let read = described.and_then(|described| {
            keys.iter().try_for_each(|key| {
                if let Some((flow, word)) = described.named(key)? {
                    self.shared.know(key, word);
                    flows.push(flow);
                }
                Ok(())
            })
        });
        unreadable(&read);
        self.shared.tell(&flows);
    }

    /// Tells peers what has changed since they were told, and looks again at what has come from them too early.
    pub(super) fn share(&mut self) {
        if self.facts.config.peers.is_none() {
            self.shared.told = HashMap::new();
            self.shared.early = Vec::new();
            return;
        }
        self.take_early();
        let mut flows = Vec::new();
        // What is not there any more is forgotten.
        let mut told = HashMap::with_capacity(self.shared.told.len());
        let idle = self.carried.services().map(|(decision, service)| {
            let idle = u64::try_from(service.idle_timeout.as_nanos()).unwrap_or(u64::MAX);
            (decision.member_base(), at_least(idle))
        });
        let idle: HashMap<u32, Ticks> = idle.collect();
        let described = Described::new(&self.dataplane, &self.facts.config);
        let read = described.and_then(|described| {
            described.all(&mut |flow, word| {
                let hash = self.shared.hash(&flow.key);
                match self.shared.told.get(&hash) {
                    Some(&known) if is_told(known, word, described.idle(&flow, &idle)) => told.insert(hash, known),
                    _ => {
                        flows.push(flow);
                        told.insert(hash, word)
                    }
                };
            })
        });
        if unreadable(&read) {
            return;
        }
        self.shared.told = told;
        self.shared.tell(&flows);
    }

    /// Every flow that a peer has to know of which knows nothing.
    pub(super) fn all_flows(&self) -> Vec<SharedFlow> {
        let mut flows = Vec::new();
        let described = Described::new(&self.dataplane, &self.facts.config);
        let read = described.and_then(|described| described.all(&mut |flow, _| flows.push(flow)));
        unreadable(&read);
        flows
    }
}

/// Says what went wrong, and whether something did; the next sweep tries again.
fn unreadable(outcome: &Result<(), ApplyError>) -> bool {
    if let Err(error) = outcome {
        tracing::warn!(error = %chain(error), "what is known of flows cannot be shared with peers; trying again");
    }
    outcome.is_err()
}
