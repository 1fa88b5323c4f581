//! Removing entries of `FLOWS` and `TRACKED` for the manager, those that have changed since it looked at them excepted.

use core::mem::{offset_of, transmute};

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_loop;
use lb_common::limits::REMOVALS;
use lb_common::nat::NatKey;
use lb_common::parse::Frame as _;
use lb_common::removal::{Removal, Removals};
use lb_common::slot::Entry;

use crate::maps::{FLOWS, TRACKED};
use crate::packet::Packet;
use crate::track::{claim, entry_at};

/// Removes the entries that are listed where a packet's bytes would be, as [`lb_common::removal`] says; how many they were.
#[inline(always)]
pub(crate) fn remove(list: &Packet) -> u32 {
    let Some(head) = list.peek::<[u64; 2]>(0) else {
        return 0;
    };
    // SAFETY: `peek` checked it.
    let [table, judged] = unsafe { head.read_unaligned() };
    let mut removing = Removing {
        ctx: list.ctx(),
        table,
        judged,
        removed: 0,
        pad: 0,
    };
    // SAFETY: the callback takes what it is given here.
    unsafe { bpf_loop(REMOVALS, remove_one as *mut c_void, (&raw mut removing).cast(), 0) };
    removing.removed
}

/// What [`remove_one`] goes by.
#[repr(C)]
struct Removing {
    ctx: *mut xdp_md,
    table: u64,
    judged: u64,
    removed: u32,
    pad: u32,
}

/// The entry at this place of the list; 1 at its end.
unsafe extern "C" fn remove_one(place: u32, removing: *mut Removing) -> u64 {
    // SAFETY: `remove` hands over its own.
    let removing = unsafe { &mut *removing };
    let list = Packet::of(removing.ctx);
    let place = (place & (REMOVALS.next_power_of_two() - 1)) as usize;
    let at = offset_of!(Removals, list) + place * size_of::<Removal>();
    let Some(item) = list.peek_mut::<Removal>(at) else {
        return 1;
    };
    // By words: it would be copied byte by byte. SAFETY: `peek_mut` checked it.
    let word = |i: usize| unsafe { item.cast::<u64>().add(i).read_unaligned() };
    // SAFETY: a key is five words, and any are one.
    let key: NatKey = unsafe { transmute([word(0), word(1), word(2), word(3), word(4)]) };
    let word = word(5);
    if word == Removal::GONE {
        return 1;
    }
    let table = if removing.table == 0 { &FLOWS } else { &TRACKED };
    let gone = match table.get_ptr_mut(&key) {
        None => true,
        Some(place) => {
            let removed = claim_if(place, word, removing.judged) && table.remove(&key).is_ok();
            removing.removed += u32::from(removed);
            removed
        }
    };
    if gone {
        // SAFETY: as above.
        unsafe { (&raw mut (*item).word).write_unaligned(Removal::GONE) };
    }
    0
}

/// Claims an entry if these bits of its word are still as they were.
#[inline(always)]
fn claim_if(place: *mut Entry, word: u64, judged: u64) -> bool {
    // A packet on another CPU may change the other bits at this moment.
    for _ in 0..4 {
        let Some(entry) = entry_at(Some(place)) else {
            return false;
        };
        if (entry.word ^ word) & judged != 0 || entry.is_claimed() {
            return false;
        }
        if claim(place, entry) {
            return true;
        }
    }
    false
}
