//! What was laid out otherwise: members and counters.

use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::backend::{MacFlags, Member};
use lb_common::stats::Counters;

use super::super::super::region::Region;
use super::Failure;

/// A member as the first release had it: no `nat`, so fewer fields.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct MemberV1 {
    address: Ipv6Be,
    next_hop: MacFlags,
    local: MacFlags,
    interface: u32,
    port: PortBe,
    pad: [u8; 26],
}

impl From<MemberV1> for Member {
    fn from(old: MemberV1) -> Self {
        Self {
            address: old.address,
            next_hop: old.next_hop,
            local: old.local,
            interface: old.interface,
            port: old.port,
            ..Self::default()
        }
    }
}

/// Copies the members in `from` to `to`, where there are none. Only a manager writes them, so once is enough.
pub(super) fn members(from: &Path, to: &Path) -> Result<(), Failure> {
    let old = mapped::<MemberV1>(from, "BACKENDS")?;
    let mut new = mapped::<Member>(to, "BACKENDS")?;
    for (id, &member) in (0..).zip(old.as_slice()) {
        if let Some(place) = new.get_mut(id) {
            *place = member.into();
        }
    }
    Ok(())
}

/// Maps a pinned array into memory.
fn mapped<T: Copy>(folder: &Path, name: &'static str) -> Result<Region<T>, Failure> {
    let data = MapData::from_pin(folder.join(name))?;
    let info = data.info()?;
    if info.value_size() as usize != size_of::<T>() {
        return Err(format!("{name} has values of {} bytes", info.value_size()).into());
    }
    Ok(Region::mapped(data.fd(), info.max_entries())?)
}

/// Counters as the first release had them: packets, bytes, new flows.
type CountersV1 = [u64; 3];

/// Counters of the members that there were at the beginning, on the way from one map to the other.
pub(super) struct Counting {
    from: PerCpuArray<MapData, CountersV1>,
    to: PerCpuArray<MapData, Counters>,
    /// What has been added so far, by member.
    added: Vec<(u32, PerCpuValues<CountersV1>)>,
}

impl Counting {
    /// From the maps in `from` to those in `to`, which count nothing yet.
    pub(super) fn new(from: &Path, to: &Path) -> Result<Self, Failure> {
        let members = mapped::<Member>(to, "BACKENDS")?;
        let ids = (0..).zip(members.as_slice()).filter(|(_, member)| member.exists());
        let zeros = |(id, _)| Ok((id, PerCpuValues::try_from(vec![[0; 3]; cpus()?])?));
        Ok(Self {
            added: ids.map(zeros).collect::<Result<_, Failure>>()?,
            from: Map::from_map_data(MapData::from_pin(from.join("COUNTERS"))?)?.try_into()?,
            to: Map::from_map_data(MapData::from_pin(to.join("COUNTERS"))?)?.try_into()?,
        })
    }

    /// Adds what has been counted since the last time. What the new program counts in the microseconds between reading
    /// and writing is lost, so the less there is to add once it is attached, the better.
    pub(super) fn add(&mut self) -> Result<(), Failure> {
        for (id, added) in &mut self.added {
            let counted = self.from.get(id, 0)?;
            if counted.iter().eq(added.iter()) {
                continue;
            }
            let sums = self.to.get(id, 0)?;
            let more = counted.iter().zip(added.iter());
            let sums = sums.iter().zip(more).map(|(&sum, (now, before))| {
                let mut sum = sum;
                sum += Counters {
                    packets: now[0].wrapping_sub(before[0]),
                    bytes: now[1].wrapping_sub(before[1]),
                    new_flows: now[2].wrapping_sub(before[2]),
                    ..Counters::default()
                };
                sum
            });
            self.to.set(*id, PerCpuValues::try_from(sums.collect::<Vec<_>>())?, 0)?;
            *added = counted;
        }
        Ok(())
    }
}

fn cpus() -> Result<usize, Failure> {
    Ok(aya::util::nr_cpus().map_err(|(_, error)| error)?)
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Mac;

    use super::*;

    #[test]
    fn a_member_of_the_first_release_is_read_as_it_was_written() {
        assert_eq!(size_of::<MemberV1>(), 64);
        let old = MemberV1 {
            address: Ipv6Be([1, 2]),
            next_hop: MacFlags::new(Mac([2, 0, 0, 0, 0, 7]), MacFlags::ALIVE),
            local: MacFlags::new(Mac([2, 0, 0, 0, 0, 1]), 0),
            interface: 9,
            port: PortBe::new(80),
            pad: [0; 26],
        };
        let new = Member::from(old);
        assert_eq!((new.address, new.port, new.interface), (old.address, old.port, 9));
        assert_eq!((new.next_hop, new.local), (old.next_hop, old.local));
        assert_eq!((new.source, new.ports, new.idle), (Ipv6Be::default(), 0, 0));
    }
}
