//! Writing the maps: plan after plan, until nothing is left to do.

use std::sync::Arc;

use super::addresses::Addresses;
use super::carried::Carried;
use super::reconciler::{Failure, Reconciler};
use crate::dataplane::{ApplyError, Dataplane};
use crate::plan::{Desired, Forget, MapOp, Snapshot, diff, place};

impl<D: Dataplane, A: Addresses> Reconciler<D, A> {
    /// Writes the maps. What finds no room at first may find some when the rest is done.
    pub(super) fn carry_out(&mut self, mut installed: Snapshot, desired: &mut Desired) -> Result<(), Failure> {
        let mut looked = false;
        if !std::mem::replace(&mut self.whole, false) && !installed.entries.is_empty() {
            // An earlier change may have ended anywhere.
            apply(
                &mut self.dataplane,
                &[MapOp::Grace, MapOp::ForgetFlows(Forget::default())],
            )?;
        }
        loop {
            let placement = place(&installed, desired, &mut self.memory);
            if !looked && installed.loses_answers(&placement.target) {
                // Flows outlive what the file said when they were opened.
                looked = true;
                let usage = self.sweep.look(&mut self.dataplane)?;
                desired.sources.clone_from(&usage.sources);
                desired.clients = usage.clients;
                continue;
            }
            self.protect(&installed, &placement)?;
            let ops = diff(&installed, &placement.target);
            apply(&mut self.dataplane, &ops)?;
            if !ops.is_empty() {
                tracing::debug!(
                    operations = ops.len(),
                    slots = ops.iter().map(MapOp::slots).sum::<usize>(),
                    "maps changed"
                );
            }
            let (full, unfinished) = (placement.full, placement.unfinished);
            installed = placement.target.clone();
            self.carried = Carried::new(placement, Arc::clone(&self.facts.config));
            let now = self.now();
            self.known.observe(&installed, &self.carried, now);
            if (full.is_some() || unfinished) && !ops.is_empty() {
                continue;
            }
            self.whole = true;
            self.installed = Some(installed);
            self.aim_trace();
            return full.map_or(Ok(()), |full| Err(full.into()));
        }
    }
}

/// Performs operations in order. After a failure, a grace period makes it safe to plan anew from what is there.
fn apply(dataplane: &mut impl Dataplane, ops: &[MapOp]) -> Result<(), ApplyError> {
    for op in ops {
        if let Err(error) = dataplane.apply(op) {
            dataplane.apply(&MapOp::Grace)?;
            return Err(error);
        }
    }
    Ok(())
}
