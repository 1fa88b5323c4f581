//! What the manager hears of at once: flows that are new, so that the node's peers know of them before this node dies.

use lb_common::nat::NatKey;
use lb_common::service::feature;

use crate::maps::{NEWS, features};

/// There is something new to be known of a flow, if somebody wants to know. Once or twice in a flow's life: what finds no
/// room is found when the manager looks through its tables.
#[inline(always)]
pub(crate) fn tell(key: &NatKey) {
    if features() & feature::NEWS != 0 {
        let _ = NEWS.output(key, 0);
    }
}
