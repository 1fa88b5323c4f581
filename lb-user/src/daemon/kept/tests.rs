//! Files that are written are read, others are set aside, and what cannot be written is tried again.

use std::fs;
use std::time::UNIX_EPOCH;

use super::*;
use crate::control::Override;
use crate::model::protection::Deny;
use crate::model::{AdminState, MemberKey};

fn some_overrides() -> Overrides {
    let member = |service: &str, backend: &str| MemberKey {
        service: service.into(),
        backend: backend.parse().unwrap(),
    };
    let said = |state, weight| Override { state, weight };
    [
        (member("web", "10.0.0.6:80"), said(Some(AdminState::Drain), None)),
        (
            member("web", "[2001:db8::6]:80"),
            said(Some(AdminState::Active), Some(65535)),
        ),
    ]
    .into_iter()
    .collect()
}

const OVERRIDES: &str = r#"{
  "version": 1,
  "overrides": [
    {
      "service": "web",
      "backend": "10.0.0.6:80",
      "state": "drain"
    },
    {
      "service": "web",
      "backend": "[2001:db8::6]:80",
      "state": "active",
      "weight": 65535
    }
  ]
}
"#;

fn some_denies() -> Denies {
    let deny = |prefix: &str, service: Option<&str>, until: Option<u64>| Deny {
        prefix: prefix.parse().unwrap(),
        service: service.map(Into::into),
        until: until.map(|second| UNIX_EPOCH + Duration::from_secs(second)),
    };
    [
        deny("198.51.100.0/24", None, None),
        deny("2001:db8::/32", Some("web"), Some(1_795_877_320)),
    ]
    .into_iter()
    .collect()
}

const DENIES: &str = r#"{
  "version": 1,
  "denies": [
    {
      "prefix": "198.51.100.0/24"
    },
    {
      "prefix": "2001:db8::/32",
      "service": "web",
      "until": 1795877320
    }
  ]
}
"#;

fn revision(number: u64, overrides: Overrides, denies: Denies) -> Revision {
    Revision {
        number,
        overrides,
        denies,
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&folder.path().join("state"));
    assert_eq!(store.load(), (Revision::default(), None), "no file is no fault");
    let some = revision(1, some_overrides(), some_denies());
    assert_eq!(
        store.write(Revision::default(), &some),
        (revision(0, some_overrides(), some_denies()), None)
    );
    assert_eq!(fs::read_to_string(&store.overrides.path).unwrap(), OVERRIDES);
    assert_eq!(fs::read_to_string(&store.denies.path).unwrap(), DENIES);
    let (loaded, fault) = store.load();
    assert_eq!((&loaded, fault), (&revision(0, some_overrides(), some_denies()), None));
    let mut drains = some_overrides();
    drains.draining = true;
    fs::remove_file(&store.denies.path).unwrap();
    let (disk, _) = store.write(loaded, &revision(2, drains.clone(), some_denies()));
    assert_eq!(
        store.load(),
        (revision(0, drains, Denies::default()), None),
        "what has not changed is not written"
    );
    store.write(disk, &Revision::default());
    assert_eq!(store.load(), (Revision::default(), None));
    assert!(store.denies.path.exists());
}

#[test]
fn a_broken_file_is_set_aside() {
    let overrides = [
        ("", "EOF"),
        ("{\"version\": 1", "EOF"),
        ("[]", "invalid length"),
        (&OVERRIDES.replace("drain", "drian"), "\"drian\" is not a state"),
        (&OVERRIDES.replace("65535", "65536"), "65536"),
        (&OVERRIDES.replace("10.0.0.6:80", "web1"), "invalid socket address"),
        (&OVERRIDES.replace("weight", "wieght"), "unknown field `wieght`"),
        (
            &OVERRIDES.replace("\"version\": 1", "\"version\": 2"),
            "its version is 2, not 1",
        ),
    ];
    let many = format!(
        r#"{{"version": 1, "denies": [{}{{"prefix": "::"}}]}}"#,
        r#"{"prefix": "::1"},"#.repeat(65_536)
    );
    let denies = [
        ("", "EOF"),
        (&DENIES[..DENIES.len() / 2], "EOF"),
        ("\0\0\0", "expected value"),
        (&DENIES.replace("198.51.100.0/24", "198.51.100.0/33"), "32 at most"),
        (&DENIES.replace("2001:db8::/32", "::ffff:10.0.0.1"), "IPv6 clothes"),
        (&DENIES.replace("1795877320", "-1"), "invalid value: integer `-1`"),
        (
            &DENIES.replace("1795877320", "18446744073709551615"),
            "18446744073709551615 is not a time",
        ),
        (&DENIES.replace("service", "sevrice"), "unknown field `sevrice`"),
        (
            &DENIES.replace("\"version\": 1", "\"version\": 2"),
            "its version is 2, not 1",
        ),
        (&many, "more than 65536 prefixes"),
    ];
    let overrides = overrides.map(|(text, why)| ("overrides.json", text, why));
    let denies = denies.map(|(text, why)| ("denies.json", text, why));
    for (name, text, why) in overrides.into_iter().chain(denies) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        // The other one is good, and stays.
        fs::write(&store.overrides.path, OVERRIDES).unwrap();
        fs::write(&store.denies.path, DENIES).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let left = match name {
            "denies.json" => revision(0, some_overrides(), Denies::default()),
            _ => revision(0, Overrides::default(), some_denies()),
        };
        let (loaded, fault) = store.load();
        assert_eq!(loaded, left);
        let fault = fault.unwrap();
        assert!(fault.contains(why) && fault.contains("it is now"), "{fault}");
        let aside = folder.path().join(name).with_extension("json.broken");
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
        assert_eq!(store.load(), (left, None), "said once");
    }
}

#[test]
fn two_broken_files_are_two_faults() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    fs::write(&store.overrides.path, "{").unwrap();
    fs::write(&store.denies.path, "{").unwrap();
    let (loaded, fault) = store.load();
    assert_eq!(loaded, Revision::default());
    let fault = fault.unwrap();
    assert!(
        fault.contains("overrides.json cannot") && fault.contains("denies.json cannot"),
        "{fault}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_said_and_tried_again() {
    for blocked in ["overrides.json", "denies.json"] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        // A folder in its place: not even root can write over that.
        let path = folder.path().join(blocked);
        fs::create_dir(&path).unwrap();
        let (commanded, revisions) = watch::channel(Revision::default());
        let (saved, mut savings) = watch::channel(Saved::default());
        let running = tokio::spawn(store.clone().run(Revision::default(), revisions, saved));
        commanded.send_replace(revision(1, some_overrides(), some_denies()));
        savings.changed().await.unwrap();
        let Saved { number, fault } = savings.borrow_and_update().clone();
        let fault = fault.unwrap();
        assert!(
            number == 1 && fault.contains("forgotten by a restart: cannot write") && fault.contains(blocked),
            "{fault}"
        );
        fs::remove_dir(&path).unwrap();
        let well = Saved { number: 1, fault: None };
        savings.wait_for(|saved| *saved == well).await.unwrap();
        assert_eq!(store.load(), (revision(0, some_overrides(), some_denies()), None));
        drop(commanded);
        running.await.unwrap();
    }
}
