//! The daemon: builds every part, wires them, and supervises them until it is told to stop.
//!
//! ```text
//!           links ────> interfaces ────────────┐
//! file ────> configuration ────────────────────┼─> reconciler ──> data plane, addresses
//!            hosts ────> next hops ────────────┤    │  │
//!            targets ──> health ───> verdicts ─┤    │  ├──> what commands say, on the disk
//!               ▲ Unix socket, TCP ─ questions ┘    │  │
//!               └──── configuration in force ───────┘<─┘ at the start
//! ```
//!
//! Stopping it stops nothing else: the program, its maps and the VIPs stay, and the next daemon adopts them. `fulcrum
//! detach` removes them.

mod clients;
mod doors;
mod files;
mod handover;
mod hosts;
mod kept;
mod machine;
mod memory;
mod notify;
mod parts;
mod privilege;
mod reload;
#[cfg(test)]
mod secrets;
mod seed;
mod start;
mod targets;
mod wakers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lb_common::limits::MEMBERS;
use tokio::sync::{mpsc, oneshot, watch};

use crate::acme;
use crate::config::hosts::names;
use crate::config::{self};
use crate::control::merge::{self};
use crate::control::{self, FileRequest, Inputs, Levels, Outputs, Saved};
use crate::dataplane::kernel::Lock;
use crate::ha;
use crate::health;
use crate::model::acme::Offered;
use crate::model::chain;
use crate::net::{self, Net, ReservedPorts, next_hop};
use crate::peers;
use crate::process::Programs;
use crate::proxy::{self, Listening};

use clients::{Clients, Drains};
use handover::{Origin, Predecessor};
use notify::{Manager, Reads};
use parts::Parts;
pub use privilege::{Confined, confine, missing as missing_privileges};
use reload::Taken;
use start::{Started, start};
use wakers::{Wake, Wakers};

/// Questions to the reconciler under way. When they are so many, askers wait.
const QUEUE: usize = 1024;

/// News that the reconciler has not taken yet, of health and of next hops each: one of every backend that there can be, so
/// that a storm of them costs a few rounds and not one for each queue that is full. When one is full, its senders wait; the
/// reconciler empties them whole before each round.
const NEWS: usize = MEMBERS as usize;

/// Longest wait for a part to end.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Longest wait for another node to become master: its skew is less than the longest interval of version 3, and what is told
/// of the end takes two seconds at most.
const GIVE_AWAY: Duration = Duration::from_secs(45);

/// 10 s; bounds how long a file is not taken after the machine has become what it was refused for, and how long it is not
/// said that a file has changed.
const RETRY: Duration = Duration::from_secs(10);

/// Runs the daemon with the configuration at `path` until SIGTERM or SIGINT. `levels` switches what it logs. A process that
/// is `confined` gives away the rest of what it may do when the start is over.
///
/// # Errors
/// Everything that keeps it from starting, and the end of a part that should not have ended.
pub async fn run(path: &Path, levels: Arc<dyn Levels>, confined: Option<&Confined>) -> Result<()> {
    memory::keep_together();
    // Before anything else, so that nothing is missed meanwhile.
    let mut wakers = Wakers::new(path).await?;
    let origin = Origin::of_this().context("it cannot be told which program this is")?;
    let before = Predecessor::from_environment()?;
    let parsed = config::load(path)?;
    for warning in &parsed.warnings {
        tracing::warn!(reason = %warning, "the configuration is taken with a warning");
    }
    if let Some(missing) = privilege::missing() {
        bail!("{missing}");
    }
    let net = Net::here().context("cannot open a netlink socket")?;
    let interfaces = machine::interfaces(&net, &parsed).await?;
    let confirmed = machine::confirm(&net, &parsed, None).await?;
    let of_state = machine::state_dir(&parsed)?;
    for warning in confirmed.warnings.iter().chain(&of_state) {
        tracing::warn!(reason = %warning, "the configuration is taken with a warning");
    }
    let programs = machine::programs(&parsed)?;
    let seed = seed::load(&parsed.config.node)?;
    let (mut before, inherited) = before.unzip();
    if let Some(before) = &mut before {
        before.replace().await?;
    }
    let lock = Lock::take(&parsed.config.node.pin_dir)?;
    let fresh = lock.is_unused()?;
    let mut known = hosts::Known::load(&parsed.config.node.state_dir);
    known.refresh(&names(&parsed.config)).await;
    let started = start(path, &net, &parsed, confirmed.token, known, interfaces, seed).await;
    // What runs has a copy of its own.
    drop(parsed);
    match started {
        Ok(started) => {
            if let Some(confined) = confined {
                confined.settle().await?;
            }
            let listening = Listening::new(inherited.unwrap_or_default());
            let place = Place {
                lock,
                origin,
                before,
                listening,
                levels,
                programs,
            };
            supervise(&mut wakers, net, started, place).await
        }
        Err(error) => {
            // A start that fails leaves nothing behind, and an earlier one's work alone.
            if fresh && let Err(left) = lock.detach() {
                tracing::warn!(error = %chain(&left), "something stays behind");
            }
            Err(error)
        }
    }
}

/// This process among those that are the daemon one after the other.
struct Place {
    lock: Lock,
    origin: Origin,
    before: Option<Predecessor>,
    listening: Listening,
    levels: Arc<dyn Levels>,
    programs: Programs,
}

/// Starts every part, and waits for a signal or for a part that ends.
async fn supervise(wakers: &mut Wakers, net: Net, started: Started, place: Place) -> Result<()> {
    let Started {
        mut reload,
        interfaces,
        reconciler,
        proxy: (seed, traffic),
        ha: (ha_status, fitness),
        peers: ends,
        certificates,
        kept,
        doors,
    } = started;
    let config = reload.config();
    let (configs, config_changes) = watch::channel(Arc::clone(&config));
    let (host_names, host_name_changes) = watch::channel(reload.host_names());
    // One answer waits at most: the next question comes after it.
    let (found, mut addresses) = mpsc::channel(1);
    let mut reserved = ReservedPorts::new(net.namespace().clone());
    machine::reserve(&mut reserved, &config);
    let mut cookies = net::tcp::Cookies::new(net.namespace().clone());
    if let Some(before) = &place.before {
        cookies.take_over(before.cookies());
    }
    machine::take_cookies(&mut cookies, &config);
    let (reload_results, results) = watch::channel(reload.results().clone());
    let in_force = Arc::clone(&reconciler.facts().config);
    let (hosts, host_changes) = watch::channel(merge::hosts(&in_force));
    let (paths, path_changes) = watch::channel(reconciler.facts().paths());
    let (targets, target_changes) = watch::channel(targets::of(&in_force, &paths.borrow(), &[]));
    let upstreams = watch::Sender::new(Arc::new(reconciler.facts().upstreams()));
    // Before anything serves, so that it does with what is on the disk.
    let offer = acme::load(&in_force);
    let (offers, offer_changes) = watch::channel(Arc::new(offer));
    // Certificates wait for the proxy first, and then for the program.
    let (offered, offered_by_proxy) = watch::channel(Offered::default());
    let (steered, offered_by_all) = watch::channel(0);
    let (in_force, in_force_changes) = watch::channel(in_force);
    let (commanded, revisions) = watch::channel(kept.loaded.clone());
    let (saved, savings) = watch::channel(Saved {
        number: 0,
        fault: kept.fault,
    });
    let (interfaces, interface_changes) = watch::channel(interfaces);
    let (verdicts, verdict_queue) = mpsc::channel(NEWS);
    let (next_hops, next_hop_queue) = mpsc::channel(NEWS);
    let (handle, requests, mut files) = control::Handle::new(QUEUE);
    let (stop, stopped) = watch::channel(());
    let (stop_proxy, proxy_stopped) = watch::channel(());
    let (stop_ha, ha_stopped) = watch::channel(());
    // Counts the times that files of the proxy are to be read again.
    let (rereads, reread) = watch::channel(0);
    let Place {
        lock,
        origin,
        before,
        listening,
        levels,
        programs,
    } = place;
    let (handle, about_certificates) = handle.with_levels(levels).with_certificates(QUEUE);
    let (told_peers, to_tell_peers) = watch::channel(Arc::default());
    let (taken, taken_by_peers) = watch::channel(BTreeMap::new());
    let (heard, heard_of_peers) = mpsc::channel(QUEUE);
    let (finishing, finishing_changes) = watch::channel(false);
    let clients = Arc::new(Clients {
        finishing,
        listening: listening.clone(),
        traffic: Arc::clone(&traffic),
    });
    let (told, fit) = watch::channel(fitness.borrow().clone());
    let drains = Drains {
        known: fitness,
        told,
        status: ha_status.subscribe(),
        configs: in_force_changes.clone(),
    };
    let roles = ha_status.subscribe();
    let (serving, serves) = oneshot::channel();
    let setup = proxy::Setup {
        seed,
        traffic,
        upstreams: upstreams.subscribe(),
        reread,
        offers: offer_changes,
        offered,
        listening: listening.clone(),
        finishing: finishing_changes,
        serving,
        stopped: proxy_stopped,
    };
    let inputs = Inputs {
        config: config_changes,
        reloads: results,
        verdicts: verdict_queue,
        next_hops: next_hop_queue,
        interfaces: interface_changes,
        requests,
        saved: savings,
        offered: offered_by_proxy,
    };
    let outputs = Outputs {
        paths,
        upstreams,
        in_force,
        commanded,
        steered,
    };

    // It outlives most: what this node holds is given away, or handed on.
    let mut ha = Parts::default();
    ha.spawn(
        "virtual routers",
        ha::run(ha::Setup {
            net: net.clone(),
            configs: in_force_changes.clone(),
            programs: programs.clone(),
            fitness: fit,
            status: ha_status,
            stopped: ha_stopped,
            inherits: before.is_some(),
        }),
    );
    // It outlives the others: requests under way come to their end.
    memory::room_for(proxy::threads(&config));
    let mut proxy = Parts::default();
    proxy.spawn("proxy", proxy::run(setup));
    let mut parts = Parts::default();
    parts.spawn("reconciler", reconciler.run(inputs, outputs));
    parts.spawn("clients", Arc::clone(&clients).drain(drains));
    parts.spawn("what commands say", kept.store.run(kept.loaded, revisions, saved));
    let talks = peers::Setup {
        configs: in_force_changes.clone(),
        handle: handle.clone(),
        ends,
        certificates: peers::Certificates {
            told: to_tell_peers,
            taken: Arc::new(taken),
            heard,
        },
    };
    parts.spawn("peers", peers::run(talks));
    let orders = acme::Setup {
        configs: in_force_changes.clone(),
        offers,
        offered: offered_by_all,
        status: certificates,
        requests: about_certificates,
        ha: roles.clone(),
        told: told_peers,
        taken: taken_by_peers,
        heard: heard_of_peers,
    };
    parts.spawn("certificates", acme::run(orders));
    parts.spawn(
        "targets",
        targets::follow(in_force_changes, path_changes, targets, hosts),
    );
    parts.spawn("health", health::run(net.clone(), programs, target_changes, verdicts));
    parts.spawn("host names", hosts::run(host_name_changes, found));
    parts.spawn("next hops", next_hop::run(net.clone(), host_changes, next_hops));
    let names = config.node.interfaces.clone();
    parts.spawn("interfaces", net::watch::run(net, names, interfaces));
    // Who hears that this daemon serves finds its proxy listening. Without one nobody waits for it.
    let _ = serves.await;
    let manager = Manager::from_environment().map(Arc::new);
    let (reads, reads_done) = watch::channel(Reads::default());
    if let Some(manager) = &manager {
        let told = notify::run(Arc::clone(manager), handle.clone(), reads_done);
        parts.spawn("service manager", told);
    }
    let tokens = doors.tokens();
    parts.spawn("API", doors.serve(handle, stopped));
    wakers.watch(reload.files());
    tracing::info!(services = config.services.len(), "running");
    if let Some(mut before) = before {
        before.relieve().await;
    }
    memory::give_back();

    let end = loop {
        let mut retried = false;
        let (forced, asker) = tokio::select! {
            woken = wakers.next() => match woken {
                Wake::Stop => break Ok(None),
                Wake::Hangup => (true, None),
                Wake::Upgrade => match origin.succeed(&listening.descriptors(), &cookies).await {
                    Ok(successor) => break Ok(Some(successor)),
                    Err(error) => {
                        tracing::error!(error = %format!("{error:#}"), "no upgrade; this daemon goes on");
                        continue;
                    }
                },
                Wake::File => (false, None),
            },
            Some(found) = addresses.recv() => {
                if let Some(config) = reload.found(found) {
                    configs.send_replace(config);
                }
                continue;
            }
            Some(asked) = files.recv() => match asked {
                FileRequest::Reload(asker) => (true, Some(asker)),
                FileRequest::Judge { origin, text, reply } => {
                    // Whoever has gone away is nobody's problem.
                    let _ = reply.send(reload.judge(&origin, &text).await);
                    continue;
                }
            },
            () = tokio::time::sleep(RETRY) => {
                if !reload.is_pending() {
                    reload.look();
                    control::tell(&reload_results, reload.results().clone());
                    continue;
                }
                retried = true;
                (false, None)
            }
            ended = parts.ended() => break Err(ended),
            ended = proxy.ended() => break Err(ended),
            ended = ha.ended() => break Err(ended),
        };
        reads.send_modify(|reads| reads.begun += 1);
        // What is merely tried again is nothing that the manager has asked for.
        if let Some(manager) = manager.as_ref().filter(|_| !retried) {
            manager.reloading();
        }
        let taken = reload.read(forced).await.map(|taken| {
            taken.is_some_and(|Taken { config, changed, token }| {
                tokens.send_replace(token);
                machine::reserve(&mut reserved, &config);
                machine::take_cookies(&mut cookies, &config);
                // The reconciler alone, so that it knows who the resolver and the prober speak of; it tells them.
                configs.send_replace(config);
                host_names.send_replace(reload.host_names());
                rereads.send_modify(|times| *times += 1);
                changed
            })
        });
        wakers.watch(reload.files());
        // What is refused is logged, and among the results.
        control::tell(&reload_results, reload.results().clone());
        reads.send_modify(|reads| reads.ended += 1);
        // Whoever has gone away meanwhile sees it in the status.
        asker.map(|asker| asker.send(taken));
        memory::give_back();
    };
    if let Some(manager) = manager.as_ref().filter(|_| !matches!(end, Ok(Some(_)))) {
        manager.stopping();
    }
    // Nobody shall be cut off by another node that becomes master. Who asks twice for the end does not want to wait.
    let holds = roles.borrow().held().next().is_some();
    let _away = if holds && matches!(end, Ok(None)) {
        tokio::select! {
            away = clients.see_off(proxy::patience(&reload.config())) => Some(away),
            () = wakers.stop() => None,
        }
    } else {
        None
    };
    // The API first, so that nobody is told of a node that is half gone; unless it has ended already, or hangs.
    drop(stop);
    let _ = tokio::time::timeout(SHUTDOWN, parts.end("API")).await;
    if !matches!(end, Ok(Some(_))) {
        // Somebody else is master before the proxy takes no more.
        drop(stop_ha);
        let _ = tokio::time::timeout(GIVE_AWAY, ha.end("virtual routers")).await;
    }
    let outcome = match end {
        Ok(Some(mut successor)) => {
            tracing::info!(pid = successor.pid(), "another daemon takes over");
            drop((parts, lock));
            if let (Some(manager), Some(pid)) = (&manager, successor.pid()) {
                manager.succeeded(pid);
            }
            let taken = successor.take_over().await;
            if taken.is_ok() {
                cookies.hand_over();
            }
            taken.context("the new daemon has not taken over")
        }
        Ok(None) => {
            tracing::info!("stopping; packets keep flowing, `fulcrum detach` takes the program off");
            Ok(())
        }
        Err(error) => Err(error),
    };
    // It bounds itself how long requests may take that are under way.
    drop(stop_proxy);
    proxy.end("proxy").await;
    outcome
}
