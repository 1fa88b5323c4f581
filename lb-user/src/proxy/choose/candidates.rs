//! Who may serve, before anybody asks how well.

use super::member::Member;
use crate::model::{Health, Role};

/// The places of those who may have a share, in order: with a weight, and not cut; of these, those that are up before those
/// of which nothing is known yet, and among equals primaries before backups. Nobody who is down.
pub(super) fn serving(members: &[Member]) -> Vec<usize> {
    let grade = |member: &Member| match (member.is.health, member.is.role) {
        _ if member.is.cut || member.is.weight == 0 => None,
        (Health::Up, Role::Primary) => Some(0),
        (Health::Up, Role::Backup) => Some(1),
        (Health::Unknown, Role::Primary) => Some(2),
        (Health::Unknown, Role::Backup) => Some(3),
        (Health::Down, _) => None,
    };
    let Some(best) = members.iter().filter_map(grade).min() else {
        return Vec::new();
    };
    let of_best = |&i: &usize| grade(&members[i]) == Some(best);
    (0..members.len()).filter(of_best).collect()
}

/// May it keep those that it has? While it drains, too.
pub(super) fn keeps(member: &Member) -> bool {
    !member.is.cut && member.is.health != Health::Down
}
