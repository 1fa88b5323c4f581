//! Layouts of maps that earlier releases made, and that this one takes over.
//!
//! The numbers are those of that release, whatever the constants of today say. A map that is equal in all of them to one
//! of today's is the same map; `version` differs where only the meaning does.

use std::iter;

use lb_common::layout::MapKind::{self, Flows, Mapped, Plain, Programs};
use lb_common::layout::{self, MapLayout};

/// An earlier release.
struct Release {
    /// Digest that names the folder of its maps, by whatever way it made digests.
    digest: u64,
    maps: &'static [MapLayout],
}

const fn map(name: &'static str, key: u32, value: u32, entries: u32, kind: MapKind, version: u32) -> MapLayout {
    MapLayout {
        name,
        key,
        value,
        entries,
        kind,
        version,
    }
}

const RELEASES: [Release; 1] = [Release {
    // The first: no `nat`. Its members have zeros where today's have more fields.
    digest: 0xbaf2_9a91_074b_8b6b,
    maps: &[
        map("SERVICES_V4", 4, 64, 1 << 14, Mapped, 1),
        map("SERVICES_V6", 4, 64, 1 << 14, Mapped, 1),
        map("OVERFLOW_V4", 8, 8, 1 << 14, Plain, 1),
        map("OVERFLOW_V6", 24, 8, 1 << 14, Plain, 1),
        map("RING", 4, 256, 1 << 18, Mapped, 1),
        map("BACKENDS", 4, 64, 1 << 16, Mapped, 1),
        map("COUNTERS", 4, 24, 1 << 16, Plain, 1),
        map("DROPS", 4, 8, 64, Plain, 1),
    ],
}];

/// The second: `nat`, and services that choose by the hash of the 5-tuple alone. Its tables of flows have as many entries
/// as the file said.
const SECOND: [MapLayout; 10] = [
    map("SERVICES_V4", 4, 64, 1 << 14, Mapped, 1),
    map("SERVICES_V6", 4, 64, 1 << 14, Mapped, 1),
    map("OVERFLOW_V4", 8, 8, 1 << 14, Plain, 1),
    map("OVERFLOW_V6", 24, 8, 1 << 14, Plain, 1),
    map("RING", 4, 256, 1 << 18, Mapped, 1),
    map("BACKENDS", 4, 64, 1 << 16, Mapped, 1),
    map("COUNTERS", 4, 40, 1 << 16, Plain, 1),
    map("DROPS", 4, 8, 64, Plain, 1),
    map("NAT", 40, 80, 0, Flows, 1),
    map("NAT_REPLY", 40, 80, 0, Flows, 1),
];

/// The third: arrays that are addressed directly, every mode and balance, and no protection.
const THIRD: [MapLayout; 16] = [
    map("SERVICES_V4", 4, 64 << 14, 1, Mapped, 1),
    map("SERVICES_V6", 4, 64 << 14, 1, Mapped, 1),
    map("OVERFLOW_V4", 8, 8, 1 << 14, Plain, 1),
    map("OVERFLOW_V6", 24, 8, 1 << 14, Plain, 1),
    map("RING", 4, 256 << 18, 1, Mapped, 1),
    map("BACKENDS", 4, 64 << 16, 1, Mapped, 1),
    map("COUNTERS", 4, 40, 1 << 16, Plain, 1),
    map("DROPS", 4, 8, 64, Plain, 1),
    map("NAT", 40, 80, 0, Flows, 1),
    map("NAT_REPLY", 40, 80, 0, Flows, 1),
    map("FLOWS", 40, 16, 0, Flows, 1),
    map("TRACKED", 40, 16, 0, Flows, 1),
    map("LOAD", 4, 8 << 16, 1, Mapped, 1),
    map("FLOW_EVENTS", 4, 8, 16, Plain, 1),
    map("FRAGMENTS", 40, 8, 1 << 14, Plain, 1),
    map("STAGES", 4, 4, 8, Programs, 1),
];

fn sized(maps: &[MapLayout], flow_table: u32) -> Vec<MapLayout> {
    let sized = |map: &MapLayout| match map.kind {
        Flows => MapLayout {
            entries: flow_table,
            ..*map
        },
        _ => *map,
    };
    maps.iter().map(sized).collect()
}

/// The maps of the layout with this digest, which `flow_table` tells apart from others of this release: the entries of
/// its tables of flows, if it has some.
pub(super) fn maps(digest: u64, flow_table: Option<u32>) -> Option<Vec<MapLayout>> {
    let earlier = RELEASES.iter().find(|release| release.digest == digest);
    let sized = || {
        let flow_table = flow_table?;
        let earlier = [&SECOND[..], &THIRD].map(|maps| sized(maps, flow_table));
        let mut layouts = iter::once(layout::maps(flow_table).to_vec()).chain(earlier);
        layouts.find(|maps| layout::digest(maps) == digest)
    };
    earlier.map(|release| release.maps.to_vec()).or_else(sized)
}

#[cfg(test)]
mod tests {
    use lb_common::limits::FLOW_TABLE;

    use super::*;

    /// The first release's digest: the layout's version, then each map's without a kind.
    fn first_digest(maps: &[MapLayout]) -> u64 {
        let mut bytes = 1u32.to_le_bytes().to_vec();
        for map in maps {
            bytes.extend(map.name.as_bytes());
            bytes.extend([map.key, map.value, map.entries].iter().flat_map(|n| n.to_le_bytes()));
            bytes.push(u8::from(map.kind == Mapped));
        }
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn the_first_release_is_written_down_right() {
        assert_eq!(first_digest(RELEASES[0].maps), RELEASES[0].digest);
    }

    #[test]
    fn layouts_are_found_by_digest_and_size() {
        let own = layout::maps(4096);
        assert_eq!(maps(layout::digest(&own), Some(4096)).as_deref(), Some(&own[..]));
        assert_eq!(maps(layout::digest(&own), Some(8192)), None);
        assert_eq!(maps(layout::digest(&own), None), None);
        assert!(maps(RELEASES[0].digest, None).is_some());
        // As that release named the folder of its maps, with tables of the size that they had by default.
        assert_eq!(
            maps(0xae7d_4584_ebcf_14d7, Some(FLOW_TABLE)),
            Some(sized(&SECOND, FLOW_TABLE))
        );
        assert_eq!(
            maps(0x2712_bca1_5762_cb9b, Some(FLOW_TABLE)),
            Some(sized(&THIRD, FLOW_TABLE))
        );
    }

    /// Every map of an earlier release is shared, or converted. Who changes a layout writes the old one down above, and
    /// says here and in [`super::super`] how its contents come along.
    #[test]
    fn every_earlier_map_has_its_way() {
        const CONVERTED: [(&str, u32, u32); 5] = [
            ("SERVICES_V4", 64, 1),
            ("SERVICES_V6", 64, 1),
            ("RING", 256, 1),
            ("BACKENDS", 64, 1),
            ("COUNTERS", 24, 1),
        ];
        let today = layout::maps(FLOW_TABLE);
        let earlier = [&SECOND[..], &THIRD].map(|maps| sized(maps, FLOW_TABLE)).concat();
        for map in RELEASES.iter().flat_map(|release| release.maps).chain(&earlier) {
            let converted = CONVERTED.contains(&(map.name, map.value, map.version));
            assert!(today.contains(map) || converted, "{map:?}");
        }
    }
}
