//! The reconciler's questions and commands, and what it tells others in turn.
//!
//! A command takes effect at once, its revision goes out to be kept, the maps are written; when both are done, it is
//! answered. So a crash may lose a command, but never one that has been answered.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::addresses::Addresses;
use super::channels::Outputs;
use super::denies::Denies;
use super::denying::DenyRefused;
use super::handle::{OverrideRefused, Request};
use super::names;
use super::overrides::{Override, Overrides};
use super::reconciler::Reconciler;
use super::tell::tell;
use super::upstreams;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::denied::{Denied, Undenied};
use crate::model::status::{BackendStatus, NodeState, OneBackend, Overridden, Pulse};
use crate::model::{AdminState, Backend, Health, MemberKey, Service, chain};

/// What commands have said, numbered in the order in which it came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// From 0, which is what was there at the start.
    pub number: u64,
    /// Of backends and of the node.
    pub overrides: Overrides,
    /// Of who may come.
    pub denies: Denies,
}

/// What has become of a [`Revision`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Up to here everything has been kept, or has been tried to be.
    pub number: u64,
    /// Why the newest of them was not, or what was lost before; for people.
    pub fault: Option<String>,
}

/// Somebody whose command is in force and waits to be kept.
#[derive(Debug)]
pub(super) enum Waiting {
    Settle(oneshot::Sender<Option<String>>),
    Drain(oneshot::Sender<NodeState>),
    Override(MemberKey, oneshot::Sender<Result<Overridden, OverrideRefused>>),
    Deny(Denied, oneshot::Sender<Result<Denied, DenyRefused>>),
    Undeny(Undenied, oneshot::Sender<Result<Undenied, DenyRefused>>),
}

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Tells the others what is in force now.
    pub(super) fn publish(&mut self, outputs: &Outputs) {
        // First, so that whoever hears of a backend finds its way.
        let paths = self.facts.paths();
        tell(&outputs.paths, paths);
        let now = self.facts.upstreams();
        outputs.upstreams.send_if_modified(|known| {
            let changed = !upstreams::same(known, &now);
            if changed {
                *known = Arc::new(now);
            }
            changed
        });
        let config = &self.facts.config;
        outputs.in_force.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, config);
            known.clone_from(config);
            if changed {
                self.traffic.retain(config);
            }
            changed
        });
        outputs.commanded.send_if_modified(|known| {
            let changed = known.overrides != *self.facts.overrides() || known.denies != self.denies;
            if changed {
                known.number += 1;
                known.overrides.clone_from(self.facts.overrides());
                known.denies.clone_from(&self.denies);
            }
            self.revision = known.number;
            changed
        });
    }

    /// Answers a question; a command is answered by [`Self::answer_saved`], and changes something when this is true.
    pub(super) async fn answer(&mut self, request: Request, outputs: &Outputs) -> bool {
        // An asker who has gone away is nobody's problem.
        match request {
            Request::Status(reply) if reply.is_closed() => {}
            Request::Explain(_, reply) if reply.is_closed() => {}
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Tally(reply) => drop(reply.send(self.view().tally().ok())),
            Request::Pulse(reply) => drop(reply.send(self.pulse())),
            Request::Explain(flow, reply) => drop(reply.send(self.explained(&flow))),
            Request::Backend(service, backend, reply) => drop(reply.send(self.one(&service, &backend))),
            Request::Preview(_, reply) if reply.is_closed() => {}
            Request::Preview(file, reply) => drop(reply.send(self.preview(file).await)),
            Request::Trace(filter, reply) => drop(reply.send(self.begin_trace(filter))),
            Request::Traced(id, reply) => drop(reply.send(self.traced(id))),
            Request::EndTrace(id, reply) => drop(reply.send(self.end_trace(id))),
            Request::Flows(reply) => drop(reply.send(tokio::task::block_in_place(|| self.all_flows()))),
            Request::Take(flows, reply) => {
                let _ = reply.send(tokio::task::block_in_place(|| self.take_flows(&flows)));
            }
            Request::Settle(reply) => self.waiting.push_back((self.revision, Waiting::Settle(reply))),
            Request::Node(reply) => drop(reply.send(self.node())),
            Request::Drain(drains, reply) => {
                if self.facts.drain(drains) {
                    match drains {
                        true => tracing::info!("the node drains"),
                        false => tracing::info!("the node drains no more"),
                    }
                    self.publish(outputs);
                }
                self.waiting.push_back((self.revision, Waiting::Drain(reply)));
            }
            Request::Override {
                service,
                backend,
                change,
                reply,
            } => match self.command(&service, &backend, change) {
                Ok((member, changed)) => {
                    self.publish(outputs);
                    let waiting = Waiting::Override(member, reply);
                    self.waiting.push_back((self.revision, waiting));
                    return changed;
                }
                Err(refused) => drop(reply.send(Err(refused))),
            },
            Request::Denied(reply) => drop(reply.send(self.denied_list())),
            Request::Deny {
                prefix,
                service,
                lasts,
                reply,
            } => match self.deny(prefix, service.as_deref(), lasts) {
                Ok((denied, changed)) => {
                    self.publish(outputs);
                    self.waiting.push_back((self.revision, Waiting::Deny(denied, reply)));
                    return changed;
                }
                Err(refused) => drop(reply.send(Err(refused))),
            },
            Request::Undeny { prefix, service, reply } => match self.undeny(prefix, service.as_deref()) {
                Ok(undenied) => {
                    self.publish(outputs);
                    self.waiting
                        .push_back((self.revision, Waiting::Undeny(undenied, reply)));
                    return true;
                }
                Err(refused) => drop(reply.send(Err(refused))),
            },
        }
        false
    }

    /// How the node is, in short.
    pub(super) fn pulse(&self) -> Pulse {
        let said = self.said();
        let services = &self.facts.config.services;
        let backends = || services.iter().flat_map(|s| s.backends.iter().map(move |b| (s, b)));
        let is_down = |(service, backend): &(&Service, &Backend)| {
            let verdict = self.facts.verdict(service, backend);
            verdict.is_some_and(|verdict| verdict.health == Health::Down)
        };
        let unattached = said.interfaces.into_iter().filter(|i| i.attached.is_err());
        Pulse {
            services: services.len(),
            backends: backends().count(),
            down: backends().filter(is_down).count(),
            unattached: unattached.map(|i| i.name).collect(),
            refused: said.reloads.refusal.is_some(),
            fault: said.fault,
            settled: said.settled,
            draining: said.draining,
        }
    }

    /// Says `change` of a backend: which one that is, and whether it changes anything.
    fn command(
        &mut self,
        service: &str,
        backend: &str,
        change: Override,
    ) -> Result<(MemberKey, bool), OverrideRefused> {
        let member = names::find(&self.facts.config, service, backend)?;
        let changed = match self.leaving(&member) {
            Some(_) if change.state == Some(AdminState::Disabled) => self.facts.cut_leaving(&member),
            Some(name) => return Err(OverrideRefused::Leaving(name)),
            None => self.facts.command(&member, change)?,
        };
        if changed {
            let (state, weight) = (change.state.map(AdminState::label), change.weight);
            let MemberKey { service, backend } = &member;
            tracing::info!(%service, %backend, state, weight, "set by a command");
        }
        Ok((member, changed))
    }

    /// What a backend is called that is leaving.
    fn leaving(&self, member: &MemberKey) -> Option<String> {
        let mut services = self.facts.config.services.iter();
        let service = services.find(|s| s.name == member.service)?;
        let backend = service.backends.iter().find(|b| b.address == member.backend)?;
        backend.leaving.then(|| format!("{}/{}", service.name, backend.name))
    }

    /// Answers the commands that have been kept, or could not be. The maps have been written before.
    pub(super) fn answer_saved(&mut self) {
        while let Some((_, waiting)) = self.waiting.pop_front_if(|(number, _)| *number <= self.saved.number) {
            match waiting {
                Waiting::Settle(reply) => drop(reply.send(self.fault.clone())),
                Waiting::Drain(reply) => drop(reply.send(self.node())),
                Waiting::Override(member, reply) => drop(reply.send(self.overridden(&member))),
                Waiting::Deny(denied, reply) => drop(reply.send(Ok(Denied {
                    fault: self.fault.clone(),
                    overrides_fault: self.saved.fault.clone(),
                    ..denied
                }))),
                Waiting::Undeny(undenied, reply) => drop(reply.send(Ok(Undenied {
                    fault: self.fault.clone(),
                    overrides_fault: self.saved.fault.clone(),
                    ..undenied
                }))),
            }
        }
    }

    /// The addresses by which clients reach it, and whether it drains.
    fn node(&self) -> NodeState {
        NodeState {
            node: self.facts.config.node.name.clone(),
            draining: self.facts.overrides().draining,
            ha: self.ha.status.borrow().clone(),
            overrides_fault: self.saved.fault.clone(),
        }
    }

    fn one(&self, service: &str, backend: &str) -> Result<OneBackend, OverrideRefused> {
        let member = names::find(&self.facts.config, service, backend)?;
        Ok(OneBackend {
            backend: self.seen(&member)?,
            service: member.service,
        })
    }

    fn overridden(&self, member: &MemberKey) -> Result<Overridden, OverrideRefused> {
        Ok(Overridden {
            service: Arc::clone(&member.service),
            backend: self.seen(member)?,
            fault: self.fault.clone(),
            overrides_fault: self.saved.fault.clone(),
        })
    }

    fn seen(&self, member: &MemberKey) -> Result<BackendStatus, OverrideRefused> {
        let unreadable = |error: ApplyError| OverrideRefused::Unreadable(chain(&error));
        let backend = self.view().backend(member).map_err(unreadable)?;
        Ok(backend.ok_or_else(|| names::gone(member))?)
    }
}
