//! Who answers whose requests.

use anyhow::ensure;
use futures_util::future::try_join_all;

use super::bed::{Bed, clients};
use super::model::{Spread, SpreadOf};
use super::sample::{carry_out, plan, to, why};
use super::subject::{Setup, Subject};
use crate::lab::load::{End, Outcome, Plan, Protocol};

/// Requests with a connection for each.
const SHORT: u64 = 1200;

/// Requests of each client that keeps its connection.
const KEPT: u64 = 60;

/// Requests on the one connection of HTTP/2.
const MULTIPLEXED: u64 = 480;

/// Requests at a time on it.
const STREAMS: usize = 16;

/// A connection for each request; `of` says what that is about.
pub(super) async fn short(bed: &Bed, subject: &Subject, of: SpreadOf, setup: Setup) -> anyhow::Result<Spread> {
    let plan = Plan {
        connections: 8,
        reuse: false,
        end: End::Requests(SHORT),
        ..plan(subject)
    };
    spread(subject, of, setup, &[carry_out(bed, &plan).await?])
}

/// Eight clients, each with an address of its own and a connection that it keeps.
pub(super) async fn kept(bed: &Bed, subject: &Subject, setup: Setup) -> anyhow::Result<Spread> {
    let plans: Vec<Plan> = clients()
        .into_iter()
        .map(|client| Plan {
            sources: vec![client],
            end: End::Requests(KEPT),
            ..plan(subject)
        })
        .collect();
    let outcomes = try_join_all(plans.iter().map(|plan| carry_out(bed, plan))).await?;
    let mut spread = spread(subject, SpreadOf::KeepAlive, setup, &outcomes)?;
    spread.by_connection = outcomes.into_iter().map(|outcome| outcome.served).collect();
    Ok(spread)
}

/// One client, many requests at a time on one connection.
pub(super) async fn multiplexed(bed: &Bed, subject: &Subject, setup: Setup) -> anyhow::Result<Spread> {
    let plan = Plan {
        protocol: Protocol::Http2,
        streams: STREAMS,
        end: End::Requests(MULTIPLEXED),
        ..to(subject, true)
    };
    let outcome = carry_out(bed, &plan).await?;
    let mut spread = spread(subject, SpreadOf::Http2, setup, std::slice::from_ref(&outcome))?;
    spread.by_connection = vec![outcome.served];
    Ok(spread)
}

fn spread(subject: &Subject, of: SpreadOf, setup: Setup, outcomes: &[Outcome]) -> anyhow::Result<Spread> {
    let mut spread = Spread {
        of,
        ..Spread::default()
    };
    for (server, part) in subject.expected(setup).into_iter().filter(|(_, part)| *part > 0.0) {
        spread.expected.insert(server.to_owned(), part);
        spread.served.insert(server.to_owned(), 0);
    }
    for outcome in outcomes {
        ensure!(outcome.answered > 0, "no request was answered: {}", why(outcome));
        for (server, times) in &outcome.served {
            *spread.served.entry(server.clone()).or_default() += times;
        }
    }
    Ok(spread)
}
