//! The running program's maps, and the program itself: the only place that uses aya.
//!
//! Everything that outlives the daemon is pinned below `pin-dir`, which is a bpffs:
//!
//! ```text
//! pin-dir/maps-<layout digest>/NAME     every map of `lb_common::layout`
//! pin-dir/links/INTERFACE-native        the attachment, or INTERFACE-generic
//! ```
//!
//! Opening adopts maps of this layout, after comparing each with what the program expects, and takes over those of
//! another one that it knows (`carry`); attaching swaps the program of a link that is there. So neither a restart nor an
//! upgrade empties a map or lets a packet through unseen.

mod adopt;
mod arrays;
mod attach;
mod batch;
mod carry;
mod decap;
mod detach;
mod entries;
mod flows;
mod inspect;
mod maps;
mod object;
mod pins;
mod protect;
mod ring;
mod run_time;
mod stages;
mod trace;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::addr::Mac;
use lb_common::hash::Seed;
use lb_common::id::MemberId;
use lb_common::layout::{self, MapLayout};
use lb_common::limits::{FLOW_TABLE, REMOVALS};
use lb_common::nat::{NatKey, Ticks, Translation};
use lb_common::protect::Refusals;
use lb_common::protect::prefixes::Line;
use lb_common::removal::Removal;
use lb_common::select::Tables;
use lb_common::slot::Entry;
use lb_common::stats::{Counters, DropReason, FlowEvent};
use lb_common::trace::Wanted;
use tokio::sync::mpsc;

use super::tables::Layout;
use super::{ApplyError, Dataplane, SheetView, Shown, forget_all};
use crate::model::status::NatUsage;
use crate::model::{Interface, XdpMode};
use crate::plan::{MapOp, Snapshot, Table};
use carry::{Carry, Place};

pub use attach::{AttachError, Attachment, attach_pass};
pub use decap::Decap;
pub use detach::PinnedAttachment;
#[doc(hidden)]
pub use inspect::Loaded;
pub use object::LoadError;
pub use pins::{Lock, PinError};
pub use run_time::{RunTime, measure_run_time, run_time};

/// 5 ms: at most so much later than need be is heard of flows that are new, and so many of them together.
const NEWS_PAUSE: Duration = Duration::from_millis(5);

/// The XDP program with its maps.
pub struct Kernel {
    program: aya::Ebpf,
    /// The program's, for entry points that are loaded later.
    _arrays: arrays::Arrays,
    layout: Layout,
    counting: maps::Counting,
    flows: flows::Flows,
    known: entries::Known,
    stages: stages::Stages,
    protection: protect::Protection,
    /// The entry point that meets packets first while none are traced.
    first: &'static str,
    /// The entry point that is attached.
    entry: &'static str,
    seed: Seed,
    pin_dir: Option<PathBuf>,
    /// Until attaching is done.
    carry: Option<Carry>,
}

impl Kernel {
    /// Loads the program, hashing with `seed`, with the maps that are pinned below `pin_dir`; those that are not there
    /// are made, and filled with what is pinned in another layout. Attaches nothing.
    ///
    /// # Errors
    /// When the kernel refuses the program or a map, or when a pinned map is not what the program expects.
    pub fn open(pin_dir: &Path, seed: Seed, flow_table_size: u32) -> Result<Self, LoadError> {
        let maps = layout::maps(flow_table_size);
        let place = Place::find(pin_dir, &maps)?;
        place.prepare()?;
        let mut kernel = Self::load(seed, &maps, Some(place.folder()), Some(pin_dir.to_owned()))?;
        kernel.carry = Carry::begin(place)?;
        Ok(kernel)
    }

    /// As [`Self::open`], with maps of its own that nobody else sees and that end with it.
    ///
    /// # Errors
    /// When the kernel refuses the program or a map.
    pub fn private(seed: Seed) -> Result<Self, LoadError> {
        Self::load(seed, &layout::maps(FLOW_TABLE), None, None)
    }

    fn load(
        seed: Seed,
        maps: &[MapLayout],
        folder: Option<&Path>,
        pin_dir: Option<PathBuf>,
    ) -> Result<Self, LoadError> {
        let (mut program, arrays) = object::load(seed, maps, folder)?;
        let layout = maps::layout(&mut program, &arrays)?;
        let counting = maps::Counting::new(&mut program, &arrays)?;
        let flows = flows::Flows::new(&mut program)?;
        let known = entries::Known::new(&mut program)?;
        let stages = stages::Stages::new(&mut program)?;
        let protection = protect::Protection::new(&mut program, &arrays)?;
        // What an earlier run protected stays so.
        let first = match protection.installed() {
            Some(_) => object::PROTECTOR,
            None => object::BALANCER,
        };
        let mut kernel = Self {
            program,
            _arrays: arrays,
            layout,
            counting,
            flows,
            known,
            stages,
            first,
            entry: first,
            protection,
            seed,
            pin_dir,
            carry: None,
        };
        if kernel.pin_dir.is_none() {
            // Nobody else meets them.
            kernel.fill_stages()?;
        }
        Ok(kernel)
    }

    /// Tells the program of an interface, as attaching does: frames for a VIP that carry another MAC than
    /// its own pass, and packets that came in elsewhere may leave by it.
    ///
    /// # Errors
    /// When the kernel refuses, or the interface's index clashes with another's.
    pub fn set_nic(&mut self, interface: u32, mac: Mac) -> Result<(), LoadError> {
        self.counting.set_nic(interface, mac)
    }

    /// Sends the program's rare messages to `tracing`; ends with the runtime.
    ///
    /// # Errors
    /// When the message buffer cannot be opened or watched.
    pub fn forward_messages(&mut self) -> Result<(), LoadError> {
        object::forward_messages(&mut self.program)
    }

    /// Puts this program's stages in place. What is pinned is shared with the program that is attached, so their interfaces
    /// have to be known before.
    fn fill_stages(&mut self) -> Result<(), LoadError> {
        self.stages.fill(&self.program, self.first)
    }

    /// Runs the program on a frame, which begins with its Ethernet header, without sending it anywhere: the action,
    /// and the frame as the program left it.
    ///
    /// The packet comes from interface 1 (loopback). Its headroom is filled with 0xFF as far as the kernel lets one
    /// write there (32 bytes), so that what leaks from it is seen.
    ///
    /// # Errors
    /// When the kernel refuses to run it, for example for a frame of less than 14 bytes.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), LoadError> {
        self.test_entry(self.entry, frame)
    }

    /// The same with another entry point, which is loaded if it is not.
    #[doc(hidden)]
    pub fn test_entry(&mut self, entry: &'static str, frame: &[u8]) -> Result<(u32, Vec<u8>), LoadError> {
        const POISON: usize = 32;
        // struct xdp_md: data (bytes of metadata in front), data_end, data_meta, ingress_ifindex, rx_queue, egress.
        let words = [POISON as u32, (POISON + frame.len()) as u32, 0, 0, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let input: Vec<u8> = [&[0xff; POISON], frame].concat();
        let mut output = vec![0; input.len() + 512];
        let options = TestRunOptions {
            data_in: Some(&input),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let program = object::xdp(&mut self.program, entry)?;
        if program.fd().is_err() {
            program.load().map_err(LoadError::program("load"))?;
        }
        let run = program.test_run(options).map_err(LoadError::program("run"))?;
        output.truncate(run.data_size_out as usize);
        Ok((run.return_value, output.split_off(POISON.min(output.len()))))
    }
}

impl Kernel {
    /// Has the program end those of the listed flows that are over, and says how many were.
    fn end(&mut self, list: &[u8]) -> Result<u32, LoadError> {
        self.run_on(object::SWEEP, list, None)
    }

    /// Runs an entry point of the program on a list; `then` becomes the list as the program has left it.
    fn run_on(&mut self, entry: &'static str, list: &[u8], then: Option<&mut [u8]>) -> Result<u32, LoadError> {
        let options = TestRunOptions {
            data_in: Some(list),
            data_out: then,
            ..TestRunOptions::default()
        };
        let program = object::xdp(&mut self.program, entry)?;
        let run = program.test_run(options).map_err(LoadError::program("run"))?;
        Ok(run.return_value)
    }
}

impl Dataplane for Kernel {
    fn installed_beside(&self, known: &Snapshot) -> Result<Snapshot, ApplyError> {
        self.layout.snapshot(known)
    }

    fn apply(&mut self, op: &MapOp) -> Result<(), ApplyError> {
        match op {
            MapOp::ResetCounters(id) => self.counting.reset(*id),
            MapOp::Grace => self.counting.grace(),
            MapOp::ForgetFlows(forget) => forget_all(self, self.seed, forget),
            written => self.layout.apply(written),
        }
    }

    fn attach(
        &mut self,
        interfaces: &[Interface],
        mode: XdpMode,
    ) -> Result<Vec<Result<Attachment, AttachError>>, AttachError> {
        self.before_swap()?;
        let attached = self.attach_all(interfaces, mode);
        let each = attached.as_deref().unwrap_or_default();
        let any = each.iter().any(Result::is_ok);
        let all = attached.is_ok() && each.iter().all(Result::is_ok);
        if each.iter().flatten().any(|attachment| attachment.is_new) {
            self.protection.is_attached();
        }
        self.after_swap(any, all);
        attached
    }

    fn tables(&self) -> &dyn Tables {
        &self.layout
    }

    fn counters(&self, first: MemberId, count: u32) -> Result<Vec<Counters>, ApplyError> {
        self.counting.counters(first, count)
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>, ApplyError> {
        self.counting.drops()
    }

    fn sweep(&mut self) -> Result<NatUsage, ApplyError> {
        let flows::Seen { usage, over } = self.flows.look()?;
        let mut ended = 0;
        for list in over {
            ended += self.end(&list).map_err(|error| ApplyError::Kernel {
                verb: "sweep",
                map: "NAT_REPLY",
                source: Box::new(error),
            })?;
        }
        if ended > 0 {
            tracing::debug!(ended, "flows are over");
        }
        Ok(usage)
    }

    fn flow(&self, key: &NatKey) -> Result<Option<Translation>, ApplyError> {
        self.flows.known(key)
    }

    fn entries(&self, table: Table, each: &mut dyn FnMut(&NatKey, Entry)) -> Result<(), ApplyError> {
        self.known.table(table).visit(each)
    }

    fn entry(&self, table: Table, key: &NatKey) -> Result<Option<Entry>, ApplyError> {
        self.known.table(table).get(key)
    }

    fn forget(
        &mut self,
        table: Table,
        entries: &[(NatKey, Entry)],
        judged: u64,
    ) -> Result<Vec<(NatKey, Entry)>, ApplyError> {
        let mut left = Vec::new();
        for entries in entries.chunks(REMOVALS as usize) {
            let list = entries::removals(table, entries, judged);
            let mut then = list;
            self.run_on(
                object::REMOVE,
                entries::bytes(&list),
                Some(entries::bytes_mut(&mut then)),
            )
            .map_err(|error| entries::refused("write", table.name(), error))?;
            let stay = entries
                .iter()
                .zip(&then.list)
                .filter(|(_, item)| item.word != Removal::GONE);
            left.extend(stay.map(|(&entry, _)| entry));
        }
        Ok(left)
    }

    fn capacity(&self, table: Table) -> u32 {
        self.known.table(table).capacity
    }

    fn flow_events(&self, event: FlowEvent) -> Result<u64, ApplyError> {
        self.known.events(event)
    }

    fn load(&self, id: MemberId) -> u64 {
        self.layout.load(id)
    }

    fn set_load(&mut self, id: MemberId, flows: u64) -> Result<(), ApplyError> {
        self.layout.set_load(id, flows)
    }

    fn protect(&mut self, sheet: Option<&[Line]>) -> Result<(), ApplyError> {
        self.protect_by(sheet)
    }

    fn protection(&self) -> Option<SheetView<'_>> {
        self.protection.view()
    }

    fn is_protected(&self) -> bool {
        self.protection.installed().is_some()
    }

    fn refusals(&self, first: u32, count: u32) -> Result<Vec<Refusals>, ApplyError> {
        self.protection.refusals(first, count)
    }

    fn trace(&mut self, wanted: Option<&Wanted>) -> Result<(), LoadError> {
        self.trace_by(wanted)
    }

    fn samples(&mut self) -> Result<mpsc::Receiver<Vec<Shown>>, LoadError> {
        trace::samples(&self.program)
    }

    fn news(&mut self) -> Result<mpsc::Receiver<Vec<NatKey>>, LoadError> {
        ring::follow(&self.program, "NEWS", NEWS_PAUSE, |key| key)
    }

    fn leases(&self, each: &mut dyn FnMut(&NatKey, &Translation)) -> Result<(), ApplyError> {
        self.flows.visit(each)
    }

    fn adopt_flow(&mut self, flow: &NatKey, entry: &Translation, lease: &Translation) -> Result<bool, ApplyError> {
        self.flows.adopt(flow, entry, lease)
    }

    fn put_entry(&mut self, table: Table, key: &NatKey, entry: Entry, again: bool) -> Result<bool, ApplyError> {
        self.known.table_mut(table).put(key, entry, again)
    }

    fn now(&self) -> Result<Ticks, ApplyError> {
        flows::now().map_err(|error| ApplyError::Kernel {
            verb: "read",
            map: "FLOWS",
            source: error.into(),
        })
    }
}
