//! A flow of `nat` that comes from elsewhere, into a pair of tables that a program may be working on: from tables of another
//! layout, or from another node.
//!
//! A flow comes lease first, so that it never exists without; and only whole, so that no lease stays behind for a flow that
//! found no room. Where both know a flow, or its port, who has heard of it later is right.

use std::thread::sleep;
use std::time::Duration;

use aya::Pod;
use aya::maps::{HashMap, MapData, MapError};
use lb_common::nat::{NatKey, Stamp, Translation};
use nix::libc;

use super::maps::errno;

/// `BPF_NOEXIST`: only a key that is not there.
pub(super) const NEW: u64 = 1;

/// `BPF_EXIST`: only a key that is there.
pub(super) const THERE: u64 = 2;

/// Tries to get memory for an entry, a millisecond apart: the kernel keeps some ready, and refills it meanwhile.
const TRIES: usize = 100;

/// A table of flows.
pub(super) type Table<V = Translation> = HashMap<MapData, NatKey, V>;

/// Where flows come to.
pub(super) struct Tables<'a> {
    pub(super) leases: &'a mut Table,
    pub(super) flows: &'a mut Table,
}

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The tables know it, or know better.
    Kept,
    /// It is new to them.
    Taken,
    NoRoom,
}

impl Tables<'_> {
    /// Takes a flow in by its lease. `flow` says what its own entry is, and may say that there is none. `follows`: these
    /// tables are nobody's yet, and the other ones right.
    pub(super) fn adopt<E: From<MapError>>(
        &mut self,
        key: &NatKey,
        lease: &Translation,
        flow: impl FnOnce(&NatKey) -> Result<Option<Translation>, E>,
        follows: bool,
    ) -> Result<Outcome, E> {
        let same = |a: &Translation, b: &Translation| a.made(key.protocol) == b.made(key.protocol);
        let wins = |comes: Stamp, there: Stamp| follows || is_later(comes, there);
        let flow_key = lease.other(key.protocol);

        match get(self.leases, key)? {
            None => match put(self.leases, key, lease, NEW)? {
                Put::Done => {}
                Put::Raced => return Ok(Outcome::Kept),
                Put::NoRoom => return Ok(Outcome::NoRoom),
            },
            Some(there) if same(&there, lease) => {
                let right = if follows { *lease } else { merged(lease, &there) };
                if right != there {
                    put(self.leases, key, &right, THERE)?;
                }
            }
            // The port belongs to another flow by now.
            Some(there) if wins(lease.stamp, there.stamp) => {
                remove(self.flows, &there.other(key.protocol))?;
                put(self.leases, key, lease, THERE)?;
            }
            Some(_) => return Ok(Outcome::Kept),
        }

        // Without one, the flow is just being made, and comes with the next pass, or is being ended.
        let flow = flow(&flow_key)?.filter(|flow| flow.other(key.protocol) == *key);
        let Some(flow) = flow else { return Ok(Outcome::Kept) };
        match get(self.flows, &flow_key)? {
            None => match put(self.flows, &flow_key, &flow, NEW)? {
                Put::Done => return Ok(Outcome::Taken),
                Put::Raced => {}
                Put::NoRoom => {
                    remove(self.leases, key)?;
                    return Ok(Outcome::NoRoom);
                }
            },
            Some(there) if same(&there, &flow) => {}
            // The client has got another port by now.
            Some(there) if wins(flow.stamp, there.stamp) => {
                put(self.flows, &flow_key, &flow, THERE)?;
                remove(self.leases, &there.other(key.protocol))?;
            }
            Some(_) => remove(self.leases, key)?,
        }
        Ok(Outcome::Kept)
    }
}

/// A lease that packets have been heard of at two places: what the later one says, and all that either saw.
fn merged(comes: &Translation, there: &Translation) -> Translation {
    if there.stamp.is_claimed() {
        return *there;
    }
    let later = if is_later(comes.stamp, there.stamp) {
        comes
    } else {
        there
    };
    let bits = u64::from((comes.stamp.0 | there.stamp.0) as u32);
    Translation {
        stamp: Stamp(bits | u64::from(later.stamp.seen()) << 32),
        ..*later
    }
}

fn is_later(a: Stamp, b: Stamp) -> bool {
    a.seen().wrapping_sub(b.seen()).cast_signed() > 0
}

pub(super) fn get(table: &Table, key: &NatKey) -> Result<Option<Translation>, MapError> {
    match table.get(key, 0) {
        Ok(found) => Ok(Some(found)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What became of an entry.
pub(super) enum Put {
    Done,
    /// Somebody else has made it, or removed it, meanwhile.
    Raced,
    NoRoom,
}

pub(super) fn put<V: Pod>(table: &mut Table<V>, key: &NatKey, value: &V, flags: u64) -> Result<Put, MapError> {
    let mut tries = 0..TRIES;
    loop {
        let Err(error) = table.insert(key, value, flags) else {
            return Ok(Put::Done);
        };
        match errno(&error) {
            Some(libc::E2BIG) => return Ok(Put::NoRoom),
            Some(libc::EEXIST | libc::ENOENT) => return Ok(Put::Raced),
            Some(libc::ENOMEM) if tries.next().is_some() => sleep(Duration::from_millis(1)),
            _ => return Err(error),
        }
    }
}

fn remove(table: &mut Table, key: &NatKey) -> Result<(), MapError> {
    match table.remove(key) {
        Err(error) if errno(&error) != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Ipv6Be;
    use lb_common::backend::MacFlags;
    use lb_common::flow::Ports;
    use lb_common::id::MemberId;
    use lb_common::nat::Ticks;

    use super::*;

    fn lease(seen: u64, bits: u64, interface: u32) -> Translation {
        Translation {
            stamp: Stamp(seen << 32 | bits),
            source: Ipv6Be([0; 2]),
            destination: Ipv6Be([0; 2]),
            ports: Ports::default(),
            member: MemberId::NONE,
            client: MacFlags::default(),
            local: MacFlags::default(),
            interface,
            idle: 100,
            ip_delta: 0,
            l4_delta: 0,
            pad: [0; 4],
        }
    }

    #[test]
    fn what_either_saw_counts_and_the_later_one_is_right() {
        let (comes, there) = (lease(5, 0b11, 1), lease(4, 0x100, 2));
        assert_eq!(merged(&comes, &there), lease(5, 0x103, 1));
        assert_eq!(merged(&lease(5, 0b01, 1), &lease(6, 0x101, 2)), lease(6, 0x101, 2));
        let mut claimed = lease(4, 1, 2);
        claimed.stamp = claimed.stamp.claimed();
        assert_eq!(merged(&comes, &claimed), claimed, "it is being ended");
        let last = lease(u64::from(Ticks::MAX), 0, 1);
        assert!(is_later(lease(0, 0, 1).stamp, last.stamp), "the clock goes round");
    }
}
