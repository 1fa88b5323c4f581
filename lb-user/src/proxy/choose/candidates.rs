//! Who may serve, before anybody asks how well.

use super::member::Member;
use crate::model::Health;
use crate::model::traffic::{PoolMember, serving};

/// The places of those who may have a share, in order: those that status shows as serving.
pub(super) fn places(members: &[PoolMember]) -> Vec<usize> {
    let mut serving = serving(members).into_iter().peekable();
    // Both are in the order of the members.
    let serves = |i: &usize| serving.next_if(|&member| std::ptr::eq(member, &members[*i])).is_some();
    (0..members.len()).filter(serves).collect()
}

/// May it keep those that it has? While it drains, too.
pub(super) fn keeps(member: &Member) -> bool {
    !member.is.cut && member.is.health != Health::Down
}
