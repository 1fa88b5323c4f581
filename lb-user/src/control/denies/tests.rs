//! What is denied and what is not any more, beside a list that is searched from end to end.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

fn deny(prefix: &str, service: Option<&str>, until: Option<u64>) -> Deny {
    Deny {
        prefix: prefix.parse().unwrap(),
        service: service.map(Into::into),
        until: until.map(at),
    }
}

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn denies(all: &[(&str, Option<&str>)]) -> Denies {
    all.iter()
        .map(|&(prefix, service)| deny(prefix, service, None))
        .collect()
}

#[test]
fn one_that_is_there_is_replaced() {
    let mut denies = Denies::default();
    assert_eq!(denies.add(deny("10.1.2.3/8", None, Some(5))), Ok(None));
    assert_eq!(
        denies.add(deny("10.0.0.0/8", Some("web"), None)),
        Ok(None),
        "another owner"
    );
    let before = denies.add(deny("10.9.9.9/8", None, None)).unwrap();
    assert_eq!(
        before,
        Some(deny("10.0.0.0/8", None, Some(5))),
        "bits behind the length do not count"
    );
    assert_eq!((denies.len(), denies.next()), (2, None));
}

#[test]
fn there_are_so_many_and_no_more() {
    let address = |n: u32| Deny {
        prefix: Prefix {
            ip: std::net::Ipv4Addr::from(n).into(),
            length: 32,
        },
        service: None,
        until: None,
    };
    let mut denies: Denies = (0..MOST as u32 - 1).map(address).collect();
    assert_eq!(denies.add(deny("10.0.0.0/8", Some("web"), None)), Ok(None));
    let full = denies.clone();
    assert_eq!(denies.add(address(MOST as u32)), Err(Full));
    assert_eq!(denies, full);
    let before = denies.add(deny("0.0.0.7", None, Some(1))).unwrap();
    assert_eq!(before, Some(address(7)), "what is there takes no more room");
}

#[test]
fn what_is_not_denied_says_what_is_near() {
    let known = denies(&[
        ("10.0.0.0/8", None),
        ("10.1.0.0/16", Some("web")),
        ("10.2.0.0/16", Some("web")),
        ("192.0.2.1", None),
        ("192.0.2.7", None),
        ("2001:db8::/32", Some("api")),
        ("2001:db8::/32", Some("web")),
        ("2001:db8::/32", Some("zoo")),
        ("2001:db8:1::/48", Some("web")),
    ]);
    let refused = |prefix: &str, service: Option<&str>| {
        let service: Option<Arc<str>> = service.map(Into::into);
        let mut denies = known.clone();
        let refused = denies.remove(prefix.parse().unwrap(), service.as_ref()).unwrap_err();
        assert_eq!(denies, known);
        refused.to_string()
    };
    let cases = [
        (
            ("10.1.2.3/16", None),
            "10.1.0.0/16 is not denied by all services; web denies it by itself: name the service",
        ),
        (
            ("2001:db8::/32", None),
            "2001:db8::/32 is not denied by all services; api and 2 other services deny it by themselves: name one",
        ),
        (
            ("10.3.0.1", None),
            "10.3.0.1/32 is not denied by all services; 10.0.0.0/8 holds it, denied by all services",
        ),
        (
            ("10.1.0.1", Some("web")),
            "10.1.0.1/32 is not denied by web; 10.1.0.0/16 holds it, denied by web",
        ),
        (
            ("10.3.0.1", Some("web")),
            "10.3.0.1/32 is not denied by web; 10.0.0.0/8 holds it, denied by all services",
        ),
        (
            ("10.0.0.0/8", Some("web")),
            "10.0.0.0/8 is not denied by web; it is by all services: name no service",
        ),
        (
            ("192.0.2.0/24", None),
            "192.0.2.0/24 is not denied by all services; 2 prefixes within it are, such as 192.0.2.1/32",
        ),
        (
            ("192.0.2.2/30", None),
            "192.0.2.0/30 is not denied by all services; 192.0.2.1/32 within it is",
        ),
        (
            ("2001:db8::/31", Some("api")),
            "2001:db8::/31 is not denied by api; 2001:db8::/32 within it is",
        ),
        (
            ("198.51.100.1", None),
            "198.51.100.1/32 is not denied by all services; nothing near it is",
        ),
        (
            ("2001:db8::1", None),
            "2001:db8::1/128 is not denied by all services; 2001:db8::/32 holds it, denied by api",
        ),
    ];
    for ((prefix, service), expected) in cases {
        assert_eq!(refused(prefix, service), expected);
    }
    let mut nothing = Denies::default();
    let refused = nothing.remove("10.0.0.0/8".parse().unwrap(), None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "10.0.0.0/8 is not denied by all services; nothing is denied at run time"
    );
}

/// Few prefixes that lie within each other, few services, and few times.
fn some() -> impl Strategy<Value = Deny> {
    let prefix = (0..4u32, 0..=32u8, any::<bool>()).prop_map(|(bits, length, v4)| {
        let ip = match v4 {
            true => std::net::Ipv4Addr::from(bits << 30).into(),
            false => std::net::Ipv6Addr::from(u128::from(bits) << 126).into(),
        };
        Prefix { ip, length }.cleared()
    });
    let service = prop::option::of(prop::sample::select(vec!["web", "api"]));
    (prefix, service, prop::option::of(0..6u64)).prop_map(|(prefix, service, until)| Deny {
        prefix,
        service: service.map(Into::into),
        until: until.map(at),
    })
}

proptest! {
    #[test]
    fn as_a_list_would_say(
        steps in prop::collection::vec((some(), 0..3u8), 0..40),
        now in 0..7u64,
        asked in some(),
    ) {
        let mut denies = Denies::default();
        let mut list: Vec<Deny> = Vec::new();
        let same = |a: &Deny, b: &Deny| (a.prefix, &a.service) == (b.prefix, &b.service);
        for (step, kind) in steps {
            let found = list.iter().position(|deny| same(deny, &step));
            let before = found.map(|found| list.remove(found));
            if kind == 0 {
                let removed = denies.remove(step.prefix, step.service.as_ref());
                prop_assert_eq!(removed.ok(), before);
            } else {
                prop_assert_eq!(denies.add(step.clone()).unwrap(), before);
                list.push(step);
            }
        }
        let sorted = |mut list: Vec<Deny>| {
            list.sort_by_key(|deny| (deny.service.clone(), deny.prefix));
            list
        };
        prop_assert_eq!(denies.iter().collect::<Vec<_>>(), sorted(list.clone()));
        prop_assert_eq!(&list.iter().cloned().collect::<Denies>(), &denies, "however it came to be");
        prop_assert_eq!(denies.next(), list.iter().filter_map(|deny| deny.until).min());

        let covers = |deny: &&Deny| {
            let by = deny.service.is_none() || deny.service == asked.service;
            by && deny.prefix.length <= asked.prefix.length && deny.prefix.holds(asked.prefix.ip) && !same(deny, &asked)
        };
        let longest = list.iter().filter(covers).map(|deny| deny.prefix.length).max();
        let found = denies.covering(asked.prefix, asked.service.as_ref());
        prop_assert_eq!(found.as_ref().map(|deny| deny.prefix.length), longest);
        prop_assert!(found.is_none_or(|found| covers(&&found)));

        let (over, left): (Vec<_>, Vec<_>) = list.into_iter().partition(|deny| deny.until.is_some_and(|until| until <= at(now)));
        prop_assert_eq!(denies.expire(at(now)), sorted(over));
        prop_assert_eq!(&left.into_iter().collect::<Denies>(), &denies);
        for (service, list) in [None, Some("web".into()), Some("api".into())].map(|s: Option<Arc<str>>| (s.clone(), denies.list(s.as_ref()))) {
            let expected: Vec<_> = denies.iter().filter(|deny| deny.service == service).map(|deny| deny.prefix).collect();
            prop_assert_eq!(&*list, &*expected);
        }
    }
}
