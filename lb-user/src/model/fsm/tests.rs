use proptest::prelude::*;

use super::*;
use Outcome::{Failure, Success};

fn machine(rise: u32, fall: u32) -> Machine {
    Machine::new(NonZeroU32::new(rise).unwrap(), NonZeroU32::new(fall).unwrap())
}

/// The specification, without counters or states: cut the outcomes into runs of equal ones; the last run that is the
/// first of all, or as long as its threshold, says what the health is.
fn specified(outcomes: &[Outcome], rise: u32, fall: u32) -> Health {
    let mut health = Health::Unknown;
    for (i, run) in outcomes.chunk_by(|a, b| a == b).enumerate() {
        let length = run.len() as u32;
        match run[0] {
            Success if i == 0 || length >= rise => health = Health::Up,
            Failure if i == 0 || length >= fall => health = Health::Down,
            Success | Failure => {}
        }
    }
    health
}

#[test]
fn every_sequence_of_outcomes_ends_where_the_specification_says() {
    for rise in 1..=3 {
        for fall in 1..=3 {
            for bits in 0_u32..1 << 13 {
                let outcomes: Vec<_> = (0..13)
                    .map(|i| if bits >> i & 1 == 1 { Success } else { Failure })
                    .collect();
                let mut machine = machine(rise, fall);
                assert_eq!(machine.health(), Health::Unknown);
                for n in 1..=outcomes.len() {
                    let (from, to) = (
                        specified(&outcomes[..n - 1], rise, fall),
                        specified(&outcomes[..n], rise, fall),
                    );
                    let expected = (from != to).then_some(Transition { from, to });
                    let case = || format!("rise {rise}, fall {fall}, {:?}", &outcomes[..n]);
                    assert_eq!(machine.observe(outcomes[n - 1]), expected, "{}", case());
                    assert_eq!(machine.health(), to, "{}", case());
                }
            }
        }
    }
}

#[test]
fn doubt_counts_what_speaks_against_the_health() {
    let mut machine = machine(2, 3);
    assert_eq!(machine.doubt(), None);
    let mut seen = Vec::new();
    for outcome in [
        Success, Failure, Failure, Success, Failure, Failure, Failure, Success, Success,
    ] {
        let _ = machine.observe(outcome);
        seen.push(machine.doubt().map(|d| (d.seen, d.needed.get())));
    }
    let (of_3, of_2) = (|n| Some((n, 3)), |n| Some((n, 2)));
    assert_eq!(
        seen,
        [None, of_3(1), of_3(2), None, of_3(1), of_3(2), None, of_2(1), None]
    );
}

#[test]
fn a_new_question_is_decided_by_its_first_answer() {
    let mut machine = machine(3, 3);
    let _ = machine.observe(Success);
    let _ = machine.observe(Failure);
    machine.believe_next();
    assert_eq!(
        (machine.health(), machine.doubt()),
        (Health::Up, None),
        "nothing changes before the answer"
    );
    let down = Transition {
        from: Health::Up,
        to: Health::Down,
    };
    assert_eq!(machine.observe(Failure), Some(down));
    assert_eq!(machine.observe(Success), None, "only the first answer decides alone");

    machine.believe_next();
    assert_eq!(machine.observe(Failure), None, "the answer confirms the health");
    assert_eq!(machine.observe(Success), None, "and is no longer the first");
}

#[test]
fn lower_thresholds_take_effect_with_the_next_outcome() {
    let mut machine = machine(1, 5);
    let _ = machine.observe(Success);
    for _ in 0..3 {
        assert_eq!(machine.observe(Failure), None);
    }
    machine.set_thresholds(ONE, NonZeroU32::new(2).unwrap());
    assert_eq!(machine.health(), Health::Up);
    assert!(machine.observe(Failure).is_some());
}

proptest! {
    #[test]
    fn it_agrees_with_the_specification_for_any_thresholds(
        rise in 1_u32..40,
        fall in 1_u32..40,
        outcomes in prop::collection::vec(prop::bool::weighted(0.8).prop_map(|b| if b { Success } else { Failure }), 0..300),
        flip in any::<bool>(),
    ) {
        let outcomes: Vec<_> = outcomes.into_iter().map(|o| match (o, flip) {
            (Success, false) | (Failure, true) => Success,
            (Failure, false) | (Success, true) => Failure,
        }).collect();
        let mut machine = machine(rise, fall);
        for outcome in &outcomes {
            let before = machine.health();
            let transition = machine.observe(*outcome);
            prop_assert_eq!(transition.map_or(before, |t| t.to), machine.health());
            prop_assert!(transition.is_none_or(|t| t.from == before && t.to != before && t.to != Health::Unknown));
            prop_assert!(machine.doubt().is_none_or(|d| d.seen > 0 && d.seen < d.needed.get()));
        }
        prop_assert_eq!(machine.health(), specified(&outcomes, rise, fall));
    }
}
