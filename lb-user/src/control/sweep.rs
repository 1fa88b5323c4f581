//! The flows of `nat`: those that are over are ended now and then, and it is said when there is no room for new ones.
//!
//! The program ends flows by itself where it needs their ports, so nothing waits for a sweep but memory and numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::id::MemberId;
use lb_common::stats::DropReason;

use super::carried::Carried;
use crate::dataplane::{ApplyError, Dataplane};
use crate::model::chain;
use crate::model::status::{NatFlows, NatUsage};

/// Between two sweeps; bounds how old the numbers of flows are, and how long a flow is kept that is over.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// Every how many ports of a backend one may be free, for it to count as exhausted: new flows look for a free one in
/// [`lb_common::limits::PORT_TRIES`] places only.
const NEARLY_ALL: u64 = 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// What the last one found.
    pub(super) usage: NatUsage,
    /// Flows refused so far, by reason; `None` before the first sweep, since what an earlier run has seen was said then.
    refused: Option<BTreeMap<DropReason, u64>>,
}

impl Sweep {
    /// Sweeps once; false when flows could not be counted. What goes wrong is said, and tried again the next time.
    pub(super) fn run(&mut self, dataplane: &mut impl Dataplane, carried: &Carried) -> bool {
        let looked = self.look(dataplane).map(|_| ());
        if let Err(error) = &looked {
            tracing::warn!(error = %chain(error), "flows that are over cannot be ended");
        }
        match self.refused_since(dataplane) {
            Ok(since) => {
                for (reason, flows) in since {
                    say(reason, flows, || self.exhausted(carried));
                }
            }
            Err(error) => tracing::debug!(error = %chain(&error), "drops cannot be read"),
        }
        looked.is_ok()
    }

    /// Ends the flows that are over, and counts the others.
    pub(super) fn look(&mut self, dataplane: &mut impl Dataplane) -> Result<&NatUsage, ApplyError> {
        self.usage = dataplane.sweep()?;
        Ok(&self.usage)
    }

    /// How many new flows have been refused since the last sweep.
    fn refused_since(&mut self, dataplane: &impl Dataplane) -> Result<Vec<(DropReason, u64)>, ApplyError> {
        let ours = |reason: &DropReason| matches!(reason, DropReason::NatPorts | DropReason::NatTable);
        let now: BTreeMap<_, _> = dataplane.drops()?.into_iter().filter(|(r, _)| ours(r)).collect();
        let before = self.refused.replace(now.clone());
        let since = |(reason, count): (DropReason, u64)| {
            let before = before.as_ref().map_or(count, |b| b.get(&reason).copied().unwrap_or(0));
            (reason, count.saturating_sub(before))
        };
        Ok(now.into_iter().map(since).filter(|&(_, flows)| flows > 0).collect())
    }

    /// The backends that have hardly a port left.
    fn exhausted(&self, carried: &Carried) -> String {
        let members = &carried.placement.target.members;
        let full = |id: &MemberId| {
            let ports = u64::from(members.get(id).map_or(0, |member| member.ports));
            let taken = u64::from(self.usage.flows.get(id).map_or(0, NatFlows::ports));
            ports > 0 && (ports - taken.min(ports)) * NEARLY_ALL <= ports
        };
        let names = self
            .usage
            .flows
            .keys()
            .filter(|id| full(id))
            .filter_map(|&id| carried.name(id));
        let names: Vec<_> = names
            .map(|(service, backend, _)| format!("{service}/{backend}"))
            .collect();
        if names.is_empty() {
            "some backends, for a moment".to_owned()
        } else {
            names.join(", ")
        }
    }
}

fn say(reason: DropReason, flows: u64, exhausted: impl FnOnce() -> String) {
    match reason {
        DropReason::NatTable => tracing::warn!(
            flows,
            "new flows are dropped: the table of flows is full; raise flow-table-size in [node]"
        ),
        _ => tracing::warn!(
            flows,
            exhausted = %exhausted(),
            "new flows are dropped: every port towards their backend is in use; widen ports in [service.nat]"
        ),
    }
}
