//! `PortBlock::cover`: it covers a range, nothing else, with the fewest blocks, and the program finds each port's block.
//!
//! An input is the first port, the last one, and one to look for.

use lb_common::addr::Ipv4Be;
use lb_common::service::{KeyV4, PortBlock, protocol};

use crate::input::Input;

/// Most blocks of a range: two of each size below a half.
const MOST: usize = 30;

/// Panics when a range of ports is covered wrongly.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (first, last, port) = (input.u16(), input.u16(), input.u16());
    let blocks: Vec<PortBlock> = PortBlock::cover(first, last).collect();

    let mut next = u32::from(first);
    for &block in &blocks {
        let size = 1u32 << block.free();
        assert_eq!(u32::from(block.first()), next, "{first}-{last}: a gap or an overlap");
        assert_eq!(next % size, 0, "{first}-{last}: {block:?} is no block");
        next += size;
        let end = (next - 1) as u16;
        assert_eq!(PortBlock::of(block.first(), block.free()), block);
        assert_eq!(PortBlock::of(end, block.free()), block);
    }
    if first <= last {
        assert_eq!(next, u32::from(last) + 1, "{first}-{last}");
    }
    let fewest = fewest((0, 1 << 16), (u32::from(first), u32::from(last)));
    assert_eq!(blocks.len(), fewest, "{first}-{last}: {blocks:?}");
    assert!(fewest <= MOST);

    let found = blocks
        .iter()
        .filter(|block| PortBlock::of(port, block.free()) == **block);
    assert_eq!(
        found.count(),
        usize::from((first..=last).contains(&port)),
        "{first}-{last}, {port}"
    );
    let vip = Ipv4Be::new([192, 0, 2, 1]);
    let key = |block| KeyV4::block(vip, block, protocol::TCP);
    let mut keys: Vec<KeyV4> = blocks.iter().copied().map(key).collect();
    assert!(keys.iter().all(|key| key.address() == vip));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), blocks.len(), "{first}-{last}: two blocks with one key");
}

/// The fewest blocks that `wanted`, with its last port, takes inside the block `from` to before `to`.
fn fewest((from, to): (u32, u32), wanted: (u32, u32)) -> usize {
    let (first, last) = wanted;
    if first >= to || last < from || first > last {
        0
    } else if first <= from && to - 1 <= last {
        1
    } else {
        let middle = from.midpoint(to);
        fewest((from, middle), wanted) + fewest((middle, to), wanted)
    }
}
