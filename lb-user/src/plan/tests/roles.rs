//! Who serves while whom.

use super::*;
use crate::model::Role;

#[test]
fn backups_serve_while_no_primary_can() {
    let served = |change: &dyn Fn(&mut [DesiredMember])| {
        let mut wanted = service("192.0.2.1:80", &[1, 2, 3, 4]);
        wanted.members[2].role = Role::Backup;
        wanted.members[3].role = Role::Backup;
        change(&mut wanted.members);
        let placement = place_on(&Snapshot::default(), &desired(vec![wanted]));
        let decision = placement.decisions[0].unwrap();
        let slots = &placement.target.rings[&decision.ring_block()].slots;
        let of = |last: u8| {
            let id = placement.members[0][&member(last).address];
            slots
                .iter()
                .filter(|slot| decision.member(slot.current()) == id)
                .count()
        };
        [1, 2, 3, 4].map(of)
    };
    assert_eq!(served(&|_| {}), [128, 128, 0, 0]);
    assert_eq!(served(&|members| members[0].alive = Alive::No), [0, 256, 0, 0]);
    assert_eq!(served(&|members| members[0].hop = Hop::Unknown), [0, 256, 0, 0]);
    for out in [
        &(|member: &mut DesiredMember| member.alive = Alive::No) as &dyn Fn(&mut DesiredMember),
        &|member| member.weight = 0,
        &|member| member.hop = Hop::Unknown,
        &|member| member.role = Role::Backup,
    ] {
        let both = |members: &mut [DesiredMember]| members[..2].iter_mut().for_each(out);
        let is_backup = served(&both).iter().all(|&slots| slots == 64);
        assert!(is_backup || served(&both) == [0, 0, 128, 128], "{:?}", served(&both));
    }
    let last = |members: &mut [DesiredMember]| members[..3].iter_mut().for_each(|m| m.alive = Alive::No);
    assert_eq!(served(&last), [0, 0, 0, 256]);
}
