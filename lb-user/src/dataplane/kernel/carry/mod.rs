//! Taking over maps of another layout: of an earlier release, or with tables of flows of another size.
//!
//! The old program keeps working on the old maps until the links are swapped, and loses nothing by it:
//!
//! 1. New maps are made beside the old ones. What both layouts have in common is the same kernel map, pinned twice.
//!    What differs is converted or copied: arrays, counters, flows. The map of programs is each program's own. Maps that the old
//!    layout does not have begin empty.
//! 2. The manager fills the new maps, as at every start.
//! 3. Immediately before the swap the new program is told to *hold*: it drops packets of TCP flows that it does not know,
//!    which are sent again, where the kernel would reset their connections. What has come since step 1 is copied.
//! 4. The links are swapped, and what the old program wrote until then is copied.
//! 5. The new program holds no longer, and the old maps are removed.
//!
//! A start that does not come as far as 4 leaves the old program with the old maps, and the next one begins again. One
//! that ends after the first link was swapped leaves the new program and both folders; the next one does 3 to 5, and what
//! the new program has written counts for more.

mod convert;
mod find;
mod flows;
mod known;
mod releases;

use lb_common::layout::{MapKind, MapLayout};
use lb_common::nat::Ticks;

use super::Kernel;
use super::flows as kernel_flows;
use super::object::LoadError;
use super::pins::PinError;
use crate::model::chain;
use crate::plan::Table;
use convert::Counting;
pub(super) use find::Place;
use find::Source;
use flows::Flows;
use known::Known;

/// 10 s, and it ends by itself: bounds how long connections that are over get no answer when a start is killed while it
/// holds.
const HOLD: Ticks = 10;

/// What can go wrong on the way.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Maps that are taken over, from the time when the new ones are made until the old ones are removed.
pub(super) struct Carry {
    /// The old and the new ones' folders.
    place: Place,
    flows: Vec<Flows>,
    known: Vec<Known>,
    counting: Option<Counting>,
    /// The program that works on the new maps is attached, somewhere at least.
    attached: bool,
}

impl Carry {
    /// Fills the maps at `place`, which the program has been loaded with; `None` when nothing is taken over.
    pub(super) fn begin(mut place: Place) -> Result<Option<Self>, LoadError> {
        let Some(leader) = place.sources.first() else {
            place.complete()?;
            return Ok(None);
        };
        tracing::info!(path = %leader.folder.display(), "taking over maps of another layout");
        let mut carry = Self {
            attached: place.is_adopted(),
            place,
            flows: Vec::new(),
            known: Vec::new(),
            counting: None,
        };
        let filled = carry.fill().and_then(|()| carry.copy());
        filled.map_err(|source| carry.failed(source))?;
        Ok(Some(carry))
    }

    fn fill(&mut self) -> Result<(), Failure> {
        let (place, to) = (&self.place, self.place.folder());
        let find = |maps: &[MapLayout], name| maps.iter().find(|map| map.name == name).copied();
        for source in &place.sources {
            // The old map, if it has to be brought along.
            let old = |name| find(&source.maps, name).filter(|_| find(&source.maps, name) != find(&place.maps, name));
            // Counters came with the first program that was attached, and are the new program's own since.
            let first = !self.attached && source.folder == place.sources[0].folder;
            for map in place.maps.iter().filter(|map| first && map.kind == MapKind::Mapped) {
                if old(map.name).is_some() {
                    convert::copy(&source.folder, to, map.name)?;
                }
            }
            if first && old("COUNTERS").is_some() {
                self.counting = Some(Counting::new(&source.folder, to)?);
            }
            if old("NAT_REPLY").is_some() {
                self.flows.push(Flows::new(&source.folder, to)?);
            }
            // Those that were in use earlier belong to rings as they were then.
            for table in Table::ALL
                .into_iter()
                .filter(|_| source.folder == place.sources[0].folder)
            {
                if old(table.name()).is_some() {
                    self.known.push(Known::new(&source.folder, to, table.name())?);
                }
            }
        }
        Ok(())
    }

    /// Copies what has come since the last time.
    fn copy(&mut self) -> Result<(), Failure> {
        for (place, flows) in self.flows.iter_mut().enumerate() {
            // The first ones are right until the new program is attached; others, which were in use earlier, never are.
            flows.copy(self.attached || place > 0)?;
        }
        for known in &mut self.known {
            known.copy(self.attached)?;
        }
        self.counting.as_mut().map_or(Ok(()), Counting::add)
    }

    fn failed(&self, source: Failure) -> LoadError {
        let folder = self.place.sources.first().map(|source| source.folder.clone());
        LoadError::Carry {
            folder: folder.unwrap_or_default(),
            source,
        }
    }

    /// The old maps go.
    fn end(self) -> Result<(), PinError> {
        let flows: usize = self.flows.iter().map(|flows| flows.carried).sum();
        let lost = self.flows.iter().map(|flows| flows.lost);
        let lost: usize = lost.chain(self.known.iter().map(|known| known.lost)).sum();
        if lost > 0 {
            tracing::warn!(
                lost,
                "the table of flows has no room for all that were in the old one; these flows end"
            );
        }
        for Source { folder, .. } in &self.place.sources {
            find::discard(folder)?;
            tracing::info!(path = %folder.display(), flows, "maps of another layout taken over");
        }
        Ok(())
    }
}

impl Kernel {
    /// To be called immediately before the links are swapped.
    pub(super) fn before_swap(&mut self) -> Result<(), LoadError> {
        let Some(carry) = &mut self.carry else { return Ok(()) };
        carry.copy().map_err(|source| carry.failed(source))?;
        carry.place.complete()?;
        if !carry.flows.is_empty() {
            let now = kernel_flows::now().map_err(|error| carry.failed(error.into()))?;
            self.layout.hold(now.wrapping_add(HOLD).max(1));
        }
        Ok(())
    }

    /// To be called when the links have been swapped, all of them, or not. What fails from here on does so to flows of
    /// the last moment, and is tried again by the next start.
    pub(super) fn after_swap(&mut self, any: bool, all: bool) {
        let Some(mut carry) = self.carry.take() else { return };
        carry.attached |= any;
        if !all {
            self.layout.hold(0);
            self.carry = Some(carry);
            return;
        }
        // A CPU may still be running the old program.
        let copied = self.counting.grace().map_err(Failure::from).and_then(|()| carry.copy());
        self.layout.hold(0);
        if let Err(error) = copied.and_then(|()| Ok(carry.end()?)) {
            let error: &dyn std::error::Error = &*error;
            tracing::warn!(
                error = %chain(error),
                "maps of another layout are not taken over to the end; the next start tries again"
            );
        }
    }
}
