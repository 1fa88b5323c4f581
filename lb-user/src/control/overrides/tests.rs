//! Overrides: what stays, what goes, and what a file looks like under them.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Backends 1 to 3 of `web`, with the words given for each of them.
fn file(backends: [&str; 3]) -> Arc<Config> {
    let mut toml = "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\n\
        address = \"192.0.2.10:80\"\nmode = \"dsr\"\ntable-size = 64\n"
        .to_owned();
    for (i, words) in backends.iter().enumerate().filter(|(_, words)| **words != "gone") {
        let number = i + 1;
        toml += &format!("[[service.backend]]\nname = \"web{number}\"\naddress = \"10.0.0.{number}:80\"\n{words}\n");
    }
    let parsed = crate::config::parse("test.toml", &toml);
    Arc::new(parsed.unwrap_or_else(|e| panic!("{e}")).config)
}

fn member(last: u8) -> MemberKey {
    MemberKey {
        service: "web".into(),
        backend: ([10, 0, 0, last], 80).into(),
    }
}

const fn state(state: AdminState) -> Override {
    Override {
        state: Some(state),
        weight: None,
    }
}

const fn weight(weight: u16) -> Override {
    Override {
        state: None,
        weight: Some(weight),
    }
}

fn seen(overrides: &Overrides, file: &Arc<Config>, last: u8) -> (AdminState, u16) {
    let config = overrides.above(file);
    let (_, backend) = find(&config, &member(last)).unwrap();
    (backend.state, backend.weight)
}

#[test]
fn what_is_said_stands_above_the_file() {
    let file = file(["", "state = \"disabled\"", ""]);
    let mut overrides = Overrides::default();
    assert!(Arc::ptr_eq(&overrides.above(&file), &file), "nothing is said");
    assert_eq!(overrides.set(&file, &member(1), state(AdminState::Drain)), Ok(true));
    assert_eq!(overrides.set(&file, &member(1), state(AdminState::Drain)), Ok(false));
    assert_eq!(
        overrides.set(&file, &member(1), weight(4)),
        Ok(true),
        "beside the state"
    );
    assert_eq!(overrides.set(&file, &member(2), state(AdminState::Active)), Ok(true));
    assert_eq!(seen(&overrides, &file, 1), (AdminState::Drain, 4));
    assert_eq!(seen(&overrides, &file, 2), (AdminState::Active, 1));
    assert_eq!(seen(&overrides, &file, 3), (AdminState::Active, 1));
}

#[test]
fn what_the_file_says_too_is_not_kept() {
    let first = file(["", "state = \"disabled\"", ""]);
    let mut overrides = Overrides::default();
    for (last, change) in [
        (1, state(AdminState::Active)),
        (1, weight(1)),
        (2, state(AdminState::Disabled)),
    ] {
        assert_eq!(overrides.set(&first, &member(last), change), Ok(false));
    }
    assert_eq!(overrides.set(&first, &member(1), state(AdminState::Drain)), Ok(true));
    assert_eq!(overrides.set(&first, &member(1), weight(7)), Ok(true));
    assert_eq!(overrides.set(&first, &member(1), state(AdminState::Active)), Ok(true));
    assert_eq!(overrides.iter().collect::<Vec<_>>(), [(&member(1), &weight(7))]);
    // The file comes to say it itself; when it says something else again, that counts.
    let second = file(["weight = 7", "", ""]);
    assert_eq!(overrides.prune(&second), [member(1)]);
    assert_eq!(overrides, Overrides::default());
    assert_eq!(seen(&overrides, &first, 1), (AdminState::Active, 1));
}

#[test]
fn what_leaves_the_file_takes_its_override_along() {
    let first = file(["", "", ""]);
    let mut overrides = Overrides::default();
    for last in [1, 2] {
        overrides.set(&first, &member(last), state(AdminState::Drain)).unwrap();
    }
    assert_eq!(overrides.prune(&first), []);
    assert_eq!(overrides.prune(&file(["gone", "", ""])), [member(1)]);
    assert_eq!(
        seen(&overrides, &first, 1),
        (AdminState::Active, 1),
        "it comes back as another"
    );
    assert_eq!(seen(&overrides, &first, 2), (AdminState::Drain, 1));
    // Another name is the same backend; another service is not the same service.
    let renamed = |from: &str, to: &str| {
        let mut config = Config::clone(&first);
        for service in &mut config.services {
            service.name = service.name.replace(from, to).into();
            for backend in &mut service.backends {
                backend.name = backend.name.replace(from, to).into();
            }
        }
        config
    };
    assert_eq!(overrides.prune(&renamed("web2", "new")), []);
    assert_eq!(overrides.prune(&renamed("web", "other")), [member(2)]);
    assert_eq!(overrides.set(&first, &member(9), weight(2)), Ok(false), "nobody");
}

#[test]
fn everybody_with_a_weight_has_a_slot() {
    let backend = |i: u8| {
        let weight = u8::from(i > 1);
        format!("[[service.backend]]\naddress = \"10.0.0.{i}:80\"\nweight = {weight}\n")
    };
    let toml = |slots: u32| {
        format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n\
             mode = \"dsr\"\ntable-size = {slots}\n{}",
            (1..=65).map(backend).collect::<String>()
        )
    };
    let parse = |slots| Arc::new(crate::config::parse("test.toml", &toml(slots)).unwrap().config);
    let (small, large) = (parse(64), parse(128));
    let mut overrides = Overrides::default();
    overrides.set(&small, &member(1), state(AdminState::Drain)).unwrap();
    let before = overrides.clone();
    let crowded = Crowded {
        backends: 65,
        slots: 64,
    };
    assert_eq!(overrides.set(&small, &member(1), weight(1)), Err(crowded));
    assert_eq!(overrides, before);
    assert_eq!(overrides.set(&small, &member(2), weight(0)), Ok(true));
    assert_eq!(overrides.set(&small, &member(1), weight(1)), Ok(true));
    assert_eq!(overrides.set(&large, &member(2), weight(1)), Ok(true));
    // The ring shrinks: the weight goes that the file does not give.
    assert_eq!(overrides.prune(&small), [member(1)]);
    assert_eq!(overrides, before);
}

proptest! {
    /// Whatever commands and files come: the last word of a command counts, until file and override agree or the
    /// backend is gone.
    #[test]
    fn the_last_word_counts(steps in prop::collection::vec(step(), 0..40)) {
        let mut file = file(["", "", ""]);
        let mut overrides = Overrides::default();
        let mut said: BTreeMap<u8, Override> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Say(last, change) => {
                    overrides.set(&file, &member(last), change).unwrap();
                    if find(&file, &member(last)).is_some() {
                        let word = said.entry(last).or_default();
                        word.state = change.state.or(word.state);
                        word.weight = change.weight.or(word.weight);
                    }
                }
                Step::Reload(words) => {
                    file = self::file(words);
                    overrides.prune(&file);
                }
            }
            for last in 1..=3 {
                let Some((_, backend)) = find(&file, &member(last)) else {
                    said.remove(&last);
                    continue;
                };
                let word = said.entry(last).or_default();
                *word = word.beyond(backend);
                let expected = (word.state.unwrap_or(backend.state), word.weight.unwrap_or(backend.weight));
                prop_assert_eq!(seen(&overrides, &file, last), expected);
            }
            let kept: Overrides = said.iter().map(|(&last, &word)| (member(last), word)).collect();
            prop_assert_eq!(&overrides, &kept);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Say(u8, Override),
    Reload([&'static str; 3]),
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::option::of(select(AdminState::ALL.to_vec()));
    let change = (state, prop::option::of(0u16..3)).prop_map(|(state, weight)| Override { state, weight });
    let words = || select(vec!["", "gone", "weight = 0", "weight = 2", "state = \"drain\""]);
    prop_oneof![
        (1u8..=4, change).prop_map(|(last, change)| Step::Say(last, change)),
        [words(), words(), words()].prop_map(Step::Reload),
    ]
}
