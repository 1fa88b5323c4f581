//! Fragments: the first one of a packet teaches its ports, the others follow.

use lb_common::flow::Ports;
use lb_common::fragment::{Fragment, FragmentKey};

use crate::clock::now;
use crate::maps::FRAGMENTS;
use crate::seen::Seen;

/// Remembers the ports of a fragmented packet.
#[inline(always)]
pub(crate) fn teach(id: u32) {
    fulcrum_fragment(id, 1);
}

/// The ports of a packet whose first fragment has been seen.
#[inline(always)]
pub(crate) fn recall(id: u32) -> Option<Ports> {
    let known = fulcrum_fragment(id, 0);
    (known >> 32 != 0).then(|| Ports::from_word(known))
}

/// Teaches or recalls: ports in the low half, and whether they are known in the high one. A global function, for its
/// stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fulcrum_fragment(id: u32, teaches: u32) -> u64 {
    let Ok(seen) = Seen::of_this_cpu() else {
        return 0;
    };
    let key = FragmentKey {
        source: seen.key.source,
        destination: seen.key.destination,
        id,
        protocol: seen.key.protocol,
    };
    let now = now();
    if teaches != 0 {
        let fragment = Fragment {
            ports: seen.key.ports,
            seen: now,
        };
        let _ = FRAGMENTS.insert(&key, &fragment, 0);
        return 0;
    }
    // SAFETY: two words, copied at once; another packet's would be as wrong as none.
    match unsafe { FRAGMENTS.get(&key) } {
        Some(known) if known.is_current(now) => known.ports.word() | 1 << 32,
        _ => 0,
    }
}
