//! What backends answer, at their own addresses and on the way that their service's packets take.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use crate::control::merge;
use crate::health::Target;
use crate::health::probe::{self, Answer, Failure, Means, Phase};
use crate::model::{
    AdminState, Backend, Config, HealthCheck, HealthKind, MemberKey, Mode, NextHop, NextHopState, Probes, Protocol,
    Service, ServicePath, UdpProbe, chain,
};
use crate::net::Net;
use crate::process::Programs;

/// Backends that are asked at once.
const AT_ONCE: usize = 64;

/// 30 s; whoever has not been asked by then is not.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one answer is waited for, whatever the file allows.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// What came of asking a backend.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) service: Arc<str>,
    pub(super) backend: Arc<str>,
    pub(super) address: SocketAddr,
    /// Packets for it travel inside others.
    pub(super) tunnelled: bool,
    /// At its own address.
    pub(super) direct: Outcome,
    /// On the way of the service's packets, by VIP; nothing where connections are the node's own, in `nat` and `proxy`.
    pub(super) vips: Vec<(SocketAddr, Outcome)>,
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As wanted.
    Answers,
    /// Its kernel says that nobody listens.
    Refused,
    /// Nothing came.
    Silent,
    /// It forwards the packet instead of taking it.
    HandedOn,
    /// It answers in another way than wanted, or somebody else answers for it.
    Wrong(String),
    /// Nothing need come, so nothing follows.
    Unknown,
    /// It could not be asked, and why.
    NotAsked(String),
}

/// Asks every backend that shall serve; and how many of them there was no time for.
pub(super) async fn ask(config: &Config, net: &Net) -> (Vec<Asked>, usize) {
    let vips: BTreeSet<IpAddr> = config.services.iter().flat_map(Service::vip_addresses).collect();
    let means = Means::new(net.clone(), Programs::default());
    means.aim(vips.clone());
    let vips = Arc::new(vips);
    let shall = |(_, backend): &(&Service, &Backend)| backend.state == AdminState::Active && backend.weight > 0;
    let all: Vec<_> = merge::probed(config).filter(shall).collect();
    let count = all.len();
    let each = |(service, backend)| one(service, backend, net, &means, &vips);
    let mut answers = stream::iter(all.into_iter().map(each)).buffer_unordered(AT_ONCE);
    let end = Instant::now() + PATIENCE;
    let mut asked = Vec::with_capacity(count);
    while let Ok(Some(one)) = timeout_at(end, answers.next()).await {
        asked.push(one);
    }
    let late = count - asked.len();
    (asked, late)
}

async fn one(service: &Service, backend: &Backend, net: &Net, means: &Means, vips: &Arc<BTreeSet<IpAddr>>) -> Asked {
    let mut target = Target {
        member: MemberKey::of(service, backend),
        name: Arc::clone(&backend.name),
        check: check(service),
        path: None,
    };
    // This first: it makes the kernel look for the neighbour.
    let direct = see(&target, means).await;
    let mut seen = Vec::new();
    let keeps_vip = match service.mode {
        Mode::Dsr | Mode::Tunnel => true,
        Mode::Nat | Mode::Proxy => false,
    };
    if keeps_vip {
        let next_hop = match net.next_hop(backend.address.ip()).await {
            Ok(NextHopState::Resolved(NextHop {
                router: Some(router), ..
            })) if service.mode == Mode::Dsr => NextHopState::Unresolved(format!("it is behind router {router}")),
            Ok(next_hop) => next_hop,
            Err(error) => NextHopState::Unresolved(chain(&error)),
        };
        for vip in service.vip_addresses() {
            target.path = Some(ServicePath {
                vips: vec![vip],
                tunnel: (service.mode == Mode::Tunnel).then_some(service.tunnel),
                next_hop: next_hop.clone(),
                not_sources: Arc::clone(vips),
            });
            let vip = SocketAddr::new(vip, backend.address.port());
            seen.push((vip, see(&target, means).await));
        }
    }
    Asked {
        service: Arc::clone(&service.name),
        backend: Arc::clone(&backend.name),
        address: backend.address,
        tunnelled: service.mode == Mode::Tunnel,
        direct,
        vips: seen,
    }
}

/// What is asked: what the file says, or, where that sends nothing, what says that somebody is there.
fn check(service: &Service) -> HealthCheck {
    let check = &service.health;
    let kind = match (&check.kind, service.protocol) {
        (HealthKind::None | HealthKind::Script(_), Protocol::Tcp) => HealthKind::Tcp,
        (HealthKind::None | HealthKind::Script(_), Protocol::Udp) => HealthKind::Udp(Arc::new(UdpProbe {
            payload: Vec::new(),
            expect_answer: false,
            expect: Vec::new(),
        })),
        (kind, _) => kind.clone(),
    };
    HealthCheck {
        kind,
        timeout: check.timeout.clamp(TIMEOUT.0, TIMEOUT.1),
        ..check.clone()
    }
}

async fn see(target: &Target, means: &Means) -> Outcome {
    match probe::probe(target, &Probes::default(), means).await {
        Ok(success) if success.answer == Answer::Silent => Outcome::Unknown,
        Ok(_) => Outcome::Answers,
        Err(failure) => seen(&failure, &target.check.kind),
    }
}

fn seen(failure: &Failure, kind: &HealthKind) -> Outcome {
    let datagrams = matches!(kind, HealthKind::Udp(_) | HealthKind::Dns(_));
    match failure {
        Failure::AtVip { failure, .. } => seen(failure, kind),
        Failure::Refused => Outcome::Refused,
        Failure::Unreachable { kind, .. } if *kind == std::io::ErrorKind::ConnectionRefused => Outcome::Refused,
        Failure::Unreachable { kind, .. } if *kind == std::io::ErrorKind::HostUnreachable => Outcome::Silent,
        Failure::TimedOut { phase, .. } if datagrams || *phase == Phase::Connecting => Outcome::Silent,
        Failure::HandedOn => Outcome::HandedOn,
        Failure::NoWay(why) | Failure::Local(why) => Outcome::NotAsked(why.clone()),
        other => Outcome::Wrong(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_was_seen() {
        let late = |phase| Failure::TimedOut {
            after: Duration::from_secs(1),
            phase,
        };
        let unreachable = |kind| Failure::Unreachable { kind, text: "text" };
        let udp = HealthKind::Dns(Arc::new(crate::model::DnsProbe {
            name: ".".to_owned(),
            record: crate::model::RecordType::Ns,
            expect_record: false,
        }));
        let tcp = HealthKind::Tcp;
        for (failure, kind, expected) in [
            (Failure::Refused, &tcp, Outcome::Refused),
            (
                unreachable(std::io::ErrorKind::ConnectionRefused),
                &udp,
                Outcome::Refused,
            ),
            (unreachable(std::io::ErrorKind::HostUnreachable), &tcp, Outcome::Silent),
            (
                unreachable(std::io::ErrorKind::ConnectionReset),
                &tcp,
                Outcome::Wrong("text".to_owned()),
            ),
            (late(Phase::Connecting), &tcp, Outcome::Silent),
            (
                late(Phase::Waiting),
                &tcp,
                Outcome::Wrong("timed out after 1s while waiting for the response".to_owned()),
            ),
            (late(Phase::Waiting), &udp, Outcome::Silent),
            (Failure::HandedOn, &tcp, Outcome::HandedOn),
            (Failure::Local("x".to_owned()), &tcp, Outcome::NotAsked("x".to_owned())),
            (Failure::NoWay("x".to_owned()), &tcp, Outcome::NotAsked("x".to_owned())),
            (Failure::NotHttp, &tcp, Outcome::Wrong("not HTTP".to_owned())),
        ] {
            assert_eq!(seen(&failure, kind), expected, "{failure:?}");
            let at_vip = Failure::AtVip {
                vip: "192.0.2.10:80".parse().unwrap(),
                failure: Box::new(failure),
            };
            assert_eq!(seen(&at_vip, kind), expected, "{at_vip:?}");
        }
    }
}
