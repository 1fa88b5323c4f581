//! nftables: DNAT by the kernel's connection tracking. It knows nothing of health.

use std::fs;

use super::{SERVERS, Setup};
use crate::lab::compare::bed::{Bed, VIP};

fn rules(setup: Setup) -> String {
    let [one, two] = if setup.drained {
        [setup.weights[0], 0]
    } else {
        setup.weights
    };
    let [(_, first), (_, second)] = SERVERS;
    let to = match two {
        0 => first.to_string(),
        _ => format!(
            "numgen inc mod {} map {{ 0-{} : {first}, {}-{} : {second} }}",
            one + two,
            one - 1,
            one,
            one + two - 1
        ),
    };
    // The first two lines make the file replace what is there, in one step.
    format!(
        "table ip compare\ndelete table ip compare\ntable ip compare {{\n    chain in {{\n        \
         type nat hook prerouting priority dstnat;\n        ip daddr {VIP} tcp dport {{ 80, 443 }} dnat to {to}\n    \
         }}\n    chain out {{\n        type nat hook postrouting priority srcnat;\n        \
         ip daddr {{ {first}, {second} }} tcp dport {{ 80, 443 }} masquerade\n    }}\n}}\n"
    )
}

/// Puts rules in the place of those that are there. Connections that are tracked stay where they are.
pub(super) async fn load(bed: &Bed, setup: Setup) -> anyhow::Result<()> {
    let place = bed.folder().join("nftables.conf");
    fs::write(&place, rules(setup))?;
    bed.command(&["nft", "-f", &place.display().to_string()]).await
}

pub(super) async fn unload(bed: &Bed) -> anyhow::Result<()> {
    // Made first, so that it can be deleted whether it was there or not.
    bed.command(&["nft", "table ip compare; delete table ip compare"]).await
}

#[cfg(test)]
mod tests {
    use super::super::{DRAINED, EVEN, UNEVEN};
    use super::*;

    #[test]
    fn weights_are_parts_of_a_turn() {
        assert!(rules(EVEN).contains("numgen inc mod 2 map { 0-0 : 10.77.7.21, 1-1 : 10.77.7.22 }"));
        assert!(rules(UNEVEN).contains("numgen inc mod 6 map { 0-0 : 10.77.7.21, 1-5 : 10.77.7.22 }"));
        assert!(rules(DRAINED).contains("dnat to 10.77.7.21\n"));
    }
}
