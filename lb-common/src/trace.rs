//! Tracing: what the program is asked to show of the packets that it sees, and what it shows.
//!
//! A program of its own takes the place of the balancer's entry point while somebody looks, and does the same with every
//! packet. So tracing that is off costs nothing: there is nothing that could be on.

use crate::decap::Sources;
use crate::id::MemberId;
use crate::ring::Slot;
use crate::service::Decision;
use crate::stats::DropReason;

/// Bytes of a frame that are shown, from its Ethernet header on: room for two VLAN tags, an outer IPv6 header, and options.
pub const CAPTURED: usize = 128;
const _: () = assert!(CAPTURED.is_power_of_two());

/// Bytes of the ring buffer that samples go through, a power of two: about 5,400 of them.
pub const EVENTS: u32 = 1 << 20;

/// Log2 of the nanoseconds that a budget is for: 67 ms.
pub const WINDOW_LOG2: u32 = 26;

/// Which packets are shown: those that pass all of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where they come from.
    pub sources: Sources,
    /// Drop reasons, a bit for each code; 0 for all packets, dropped or not.
    pub reasons: u64,
    /// The service's member base.
    pub member_base: u32,
    /// Ids from there on that its members may have; 0 for all services.
    pub members: u32,
    /// Most samples in one window of 2^[`WINDOW_LOG2`] ns, on each CPU.
    pub budget: u32,
    /// 1 for those, too, that the program leaves to the kernel because they concern no VIP and no flow of it.
    pub foreign: u32,
}

impl Wanted {
    /// As many samples in one window as make `rate` in a second, but at least one.
    #[must_use]
    pub const fn budget(rate: u32) -> u32 {
        let budget = ((rate as u64) << WINDOW_LOG2) / 1_000_000_000;
        if budget == 0 { 1 } else { budget as u32 }
    }

    /// Is this what is wanted, but for its source?
    #[inline(always)]
    #[must_use]
    pub const fn takes(&self, sample: &Sample) -> bool {
        if self.foreign == 0 && sample.is_foreign() {
            return false;
        }
        // Bit 0 is nobody's.
        let of_packet = 1 << (sample.reason & 63) | 1 << (sample.observed & 63);
        if self.reasons != 0 && self.reasons & of_packet & !1 == 0 {
            return false;
        }
        if self.members == 0 {
            return true;
        }
        let of_service = sample.service.is_service() && sample.service.member_base() == self.member_base;
        let has_member = sample.member.0 != MemberId::NONE.0;
        of_service || has_member && sample.member.0.wrapping_sub(self.member_base) < self.members
    }
}

/// What became of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Its service, or of an address without one what is known of it; [`Decision::NONE`] for a foreign one.
    pub service: Decision,
    /// The member that it was sent to, or came from; 0 for none.
    pub member: MemberId,
    /// Its slot, of a service that chooses by hash.
    pub slot: Slot,
    /// Place of the slot in the ring.
    pub index: u32,
    /// Interface that it came in on.
    pub interface: u32,
    /// Bytes of the frame.
    pub bytes: u32,
    /// Bytes of it that are here.
    pub captured: u32,
    /// What the program returned: an XDP action.
    pub action: u32,
    /// Code of the [`DropReason`], or 0.
    pub reason: u32,
    /// Packets on this CPU that were wanted and are not shown, since the last one that is: they were over the budget, or the
    /// ring buffer was full.
    pub skipped: u32,
    /// Code of the [`DropReason`] that it would have been dropped for, while that was only observed; or 0.
    pub observed: u32,
    /// The frame as it came.
    pub frame: [u8; CAPTURED],
}

impl Sample {
    /// Of no concern to the balancer: for no VIP, and of no flow that it translates.
    #[inline(always)]
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        let concerns = self.service.is_service() || self.service.is_vip();
        !concerns && self.member.0 == MemberId::NONE.0 && self.reason == 0
    }

    /// Why it was dropped, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<DropReason> {
        DropReason::ALL.iter().copied().find(|r| *r as u32 == self.reason)
    }
}

/// What one CPU may still show.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Number of the window.
    pub window: u64,
    /// Samples in it so far.
    pub used: u32,
    /// As [`Sample::skipped`].
    pub skipped: u32,
}

impl Budget {
    /// Is something left at `time`, if a window has so much?
    #[inline(always)]
    pub const fn has_left(&mut self, time: u64, budget: u32) -> bool {
        let window = time >> WINDOW_LOG2;
        if self.window != window {
            self.window = window;
            self.used = 0;
        }
        self.used < budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Choice, Mode};

    fn all() -> Wanted {
        Wanted {
            sources: Sources::ALL,
            reasons: 0,
            member_base: 0,
            members: 0,
            budget: 1,
            foreign: 0,
        }
    }

    fn sample() -> Sample {
        Sample {
            time: 0,
            service: Decision::NONE,
            member: MemberId(0),
            slot: Slot(0),
            index: 0,
            interface: 1,
            bytes: 60,
            captured: 60,
            action: 2,
            reason: 0,
            skipped: 0,
            observed: 0,
            frame: [0; CAPTURED],
        }
    }

    #[test]
    fn what_is_wanted_passes_every_part() {
        let foreign = sample();
        assert!(!all().takes(&foreign) && Wanted { foreign: 1, ..all() }.takes(&foreign));
        let to = |service| Sample { service, ..sample() };
        assert!(all().takes(&to(Decision::address(0))) && !all().takes(&to(Decision::NONE.with_source())));
        let of = |base| Sample {
            service: Decision::service(Mode::Dsr, Choice::Tuple, 1, 6, base),
            ..sample()
        };
        let service = Wanted {
            member_base: 16,
            members: 16,
            ..all()
        };
        assert!(service.takes(&of(16)) && !service.takes(&of(32)) && all().takes(&of(32)));
        let answer = |id| Sample {
            member: MemberId(id),
            ..sample()
        };
        assert!(service.takes(&answer(17)) && !service.takes(&answer(32)) && !service.takes(&answer(3)));
        let first = Wanted {
            member_base: 0,
            ..service
        };
        assert!(first.takes(&of(0)) && first.takes(&answer(3)) && !first.takes(&of(16)));
        let reason = Wanted {
            reasons: 1 << DropReason::NoBackend as u32,
            ..all()
        };
        let dropped = |reason| Sample {
            reason: reason as u32,
            ..of(16)
        };
        assert!(reason.takes(&dropped(DropReason::NoBackend)) && !reason.takes(&dropped(DropReason::TooBig)));
        assert!(!reason.takes(&of(16)) && all().takes(&dropped(DropReason::TooBig)));
    }

    #[test]
    fn a_budget_is_for_one_window() {
        let mut budget = Budget {
            window: 0,
            used: 0,
            skipped: 0,
        };
        assert!(budget.has_left(1, 2));
        budget.used = 2;
        assert!(!budget.has_left(3, 2) && budget.has_left(3, 3));
        assert!(budget.has_left(1 << WINDOW_LOG2, 2) && budget.used == 0);
        assert_eq!((Wanted::budget(1), Wanted::budget(15_000)), (1, 1006));
    }
}
