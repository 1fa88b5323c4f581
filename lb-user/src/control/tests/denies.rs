//! Who is denied at run time: when a command is answered, what is in the sheet then, and what ends it.

use std::time::Duration;

use lb_common::addr::Ipv6Be;
use lb_common::protect::prefixes::verdict;
use lb_common::protect::{Sheet as _, place};

use super::commands::Running;
use super::*;
use crate::control::denies::MOST;
use crate::model::Prefix;
use crate::model::protection::Deny;

const TWO: &str = r#"
[node]
name = "lb1"
interfaces = ["eth0"]
[[service]]
name = "web"
address = "192.0.2.10:80"
mode = "dsr"
table-size = 256
[[service.backend]]
name = "web1"
address = "10.0.0.1:80"
[[service]]
name = "api"
address = "192.0.2.20:80"
mode = "dsr"
table-size = 256
[[service.backend]]
name = "api1"
address = "10.0.0.2:80"
[[service]]
name = "shop"
address = "192.0.2.30:80"
mode = "proxy"
[[service.backend]]
name = "shop1"
address = "10.0.0.3:80"
[[pool]]
name = "spare"
[[pool.backend]]
address = "10.0.0.4:80"
"#;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn deny(text: &str, service: Option<&str>, until: Option<SystemTime>) -> Deny {
    Deny {
        prefix: prefix(text),
        service: service.map(Into::into),
        until,
    }
}

async fn two() -> Reconciler<Fake, Node> {
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(TWO)), SEED);
    assert!(reconciler.converge().await);
    reconciler
}

/// What the sheet says of who comes from there: which services drop it, by name.
fn denied(reconciler: &Reconciler<Fake, Node>, source: &str) -> Vec<&'static str> {
    let source: IpAddr = source.parse().unwrap();
    let installed = reconciler.dataplane.installed().unwrap();
    let drops = |vip: &str| {
        let key = ServiceKey::service(vip.parse().unwrap(), Protocol::Tcp);
        let place = place(installed.entries[&key]);
        reconciler.dataplane.protection().is_some_and(|sheet| {
            let known = sheet.source(place, source.is_ipv4(), &Ipv6Be::mapped(source));
            sheet.policy(place).is_some() && known & verdict::DENIED != 0
        })
    };
    let services = [
        ("web", "192.0.2.10:80"),
        ("api", "192.0.2.20:80"),
        ("shop", "192.0.2.30:80"),
    ];
    services
        .into_iter()
        .filter(|(_, vip)| drops(vip))
        .map(|(name, _)| name)
        .collect()
}

const ALL: [&str; 3] = ["web", "api", "shop"];

/// Works with what a command has changed.
async fn commanded(reconciler: &mut Reconciler<Fake, Node>) {
    assert!(reconciler.converge().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_deny_or_one_does_and_the_others_do_not() {
    let mut reconciler = two().await;
    assert!(!reconciler.dataplane.is_protected());
    let (done, changed) = reconciler.deny(prefix("198.51.100.77/24"), None, None).unwrap();
    assert!(changed && done.deny == deny("198.51.100.0/24", None, None) && done.before.is_none());
    reconciler.deny(prefix("2001:db8::/32"), Some("api"), None).unwrap();
    reconciler.deny(prefix("203.0.113.0/24"), Some("shop"), None).unwrap();
    commanded(&mut reconciler).await;
    assert_eq!(
        denied(&reconciler, "198.51.100.1"),
        ALL,
        "with no [protection] in the file at all"
    );
    assert_eq!(denied(&reconciler, "2001:db8::1"), ["api"]);
    assert_eq!(denied(&reconciler, "203.0.113.9"), ["shop"]);
    assert!(denied(&reconciler, "198.51.101.1").is_empty());
    // The same again: nothing to write.
    let (done, changed) = reconciler.deny(prefix("198.51.100.0/24"), None, None).unwrap();
    assert!(!changed && done.before == Some(None));

    reconciler.undeny(prefix("198.51.100.9/24"), None).unwrap();
    reconciler.undeny(prefix("2001:db8::/32"), Some("api")).unwrap();
    commanded(&mut reconciler).await;
    assert!(denied(&reconciler, "198.51.100.1").is_empty() && denied(&reconciler, "2001:db8::1").is_empty());
    assert_eq!(denied(&reconciler, "203.0.113.9"), ["shop"]);
    reconciler.undeny(prefix("203.0.113.0/24"), Some("shop")).unwrap();
    commanded(&mut reconciler).await;
    assert!(!reconciler.dataplane.is_protected(), "nothing is left of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_allows_is_denied_all_the_same() {
    let toml = format!("{TWO}[protection]\nallow = [\"198.51.100.0/28\"]\ndeny = [\"198.51.100.0/24\"]\n");
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(&toml)), SEED);
    reconciler.deny(prefix("198.51.100.1"), None, None).unwrap();
    reconciler.deny(prefix("198.51.0.0/16"), Some("api"), None).unwrap();
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
    assert_eq!(denied(&reconciler, "198.51.100.2"), ["api"]);
    assert_eq!(denied(&reconciler, "198.51.100.17"), ALL, "by the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_an_end_ends() {
    let mut reconciler = two().await;
    let minute = Some(Duration::from_secs(60));
    let (done, _) = reconciler.deny(prefix("198.51.100.0/24"), None, minute).unwrap();
    let until = done.deny.until.unwrap();
    let second = until.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(second.subsec_nanos(), 0, "what is kept and shown has whole seconds");
    reconciler
        .deny(prefix("198.51.100.0/24"), Some("web"), Some(Duration::from_secs(120)))
        .unwrap();
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
    // The reconciler wakes by itself when it is over, and not much later.
    let due = reconciler.due().unwrap();
    let left = due - reconciler.now();
    assert!(left <= Duration::from_secs(61), "{left:?}");
    reconciler.ahead = Duration::from_secs(30);
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
    reconciler.ahead = Duration::from_secs(62);
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "198.51.100.1"), ["web"]);
    reconciler.ahead = Duration::from_secs(122);
    commanded(&mut reconciler).await;
    assert!(denied(&reconciler, "198.51.100.1").is_empty());
    assert!(reconciler.denies.is_empty() && !reconciler.dataplane.is_protected());
    // Another end counts in the place of the first; and one that is never.
    reconciler.deny(prefix("198.51.100.0/24"), None, minute).unwrap();
    let (done, changed) = reconciler.deny(prefix("198.51.100.0/24"), None, None).unwrap();
    assert!(changed && done.before.unwrap().is_some());
    reconciler.ahead = Duration::from_hours(24 * 365);
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wall_clock_is_waited_for_in_the_end_wherever_it_is() {
    let mut reconciler = two().await;
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    reconciler.restore_denies([deny("198.51.100.0/24", None, Some(far))].into_iter().collect());
    commanded(&mut reconciler).await;
    let due = reconciler.due().unwrap() - reconciler.now();
    assert!(due <= Duration::from_hours(1), "{due:?}");
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_is_not_over() {
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(TWO)), SEED);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let kept: Denies = [
        deny("198.51.100.0/24", None, None),
        deny("203.0.113.0/24", None, Some(past)),
        deny("203.0.113.0/24", Some("api"), None),
        deny("203.0.113.0/24", Some("gone"), None),
    ]
    .into_iter()
    .collect();
    reconciler.restore_denies(kept.clone());
    assert!(reconciler.converge().await);
    assert_eq!(denied(&reconciler, "198.51.100.1"), ALL);
    assert_eq!(
        denied(&reconciler, "203.0.113.1"),
        ["api"],
        "the other one has ended while nobody looked"
    );
    let mut running = Running::after(reconciler, Overrides::default(), kept);
    running.revisions.changed().await.unwrap();
    let Revision { number, denies, .. } = running.revisions.borrow().clone();
    assert_eq!((number, denies.len()), (1, 3), "that leaves the disk, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_leaves_takes_nothing_along_and_lets_nobody_in() {
    let mut reconciler = two().await;
    reconciler.deny(prefix("198.51.100.0/24"), Some("api"), None).unwrap();
    commanded(&mut reconciler).await;
    let in_effect = |reconciler: &Reconciler<Fake, Node>| {
        let list = reconciler.denied_list();
        list.denies.into_iter().map(|known| known.in_effect).collect::<Vec<_>>()
    };
    assert_eq!(in_effect(&reconciler), [true]);
    reconciler
        .facts
        .reconfigure(config(&TWO.replace("\"api\"", "\"other\"")));
    commanded(&mut reconciler).await;
    assert_eq!(in_effect(&reconciler), [false]);
    assert!(denied(&reconciler, "198.51.100.1").is_empty());
    reconciler.facts.reconfigure(config(TWO));
    commanded(&mut reconciler).await;
    assert_eq!(
        (in_effect(&reconciler), denied(&reconciler, "198.51.100.1")),
        (vec![true], vec!["api"])
    );
    // It can be taken back also while the service is away; by then no other can be denied there.
    reconciler
        .facts
        .reconfigure(config(&TWO.replace("\"api\"", "\"other\"")));
    let unknown = reconciler
        .deny(prefix("198.51.100.0/24"), Some("api"), None)
        .unwrap_err();
    assert!(unknown.to_string().starts_with("no service \"api\"; "), "{unknown}");
    let done = reconciler.undeny(prefix("198.51.100.0/24"), Some("api")).unwrap();
    assert!(!done.removed.in_effect);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_says_why() {
    let mut reconciler = two().await;
    let net = prefix("198.51.100.0/24");
    for refused in [
        reconciler.deny(net, Some("wbe"), None).unwrap_err().to_string(),
        reconciler.undeny(net, Some("wbe")).unwrap_err().to_string(),
    ] {
        assert_eq!(refused, "no service \"wbe\"; did you mean `web`?");
    }
    let pool = reconciler.deny(net, Some("spare"), None).unwrap_err();
    assert_eq!(
        pool.to_string(),
        "no service \"spare\"; there is: web, api, shop",
        "nobody comes to a pool"
    );
    reconciler.deny(net, None, None).unwrap();
    let refused = reconciler.undeny(prefix("198.51.100.7"), None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "198.51.100.7/32 is not denied by all services; 198.51.100.0/24 holds it, denied by all services"
    );
    reconciler.deny(prefix("198.51.100.7"), Some("web"), None).unwrap();
    let done = reconciler.undeny(prefix("198.51.100.7"), Some("web")).unwrap();
    assert_eq!(
        done.still.map(|still| still.deny),
        Some(deny("198.51.100.0/24", None, None))
    );
    let many = |n| deny(&format!("10.{}.{}.0/24", n / 256, n % 256), None, None);
    reconciler.restore_denies((0..MOST).map(many).collect());
    let full = reconciler.deny(net, None, None).unwrap_err().to_string();
    assert!(
        full.contains("65536 prefixes are denied at run time") && full.contains("[protection]"),
        "{full}"
    );
    commanded(&mut reconciler).await;
    assert_eq!(denied(&reconciler, "10.255.255.1"), ALL, "as many as there can be");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_observes_is_said() {
    let toml = format!("{TWO}[protection]\nenforcement = \"observe\"\n").replace(
        "address = \"192.0.2.20:80\"\nmode = \"dsr\"\n",
        "address = \"192.0.2.20:80\"\nmode = \"dsr\"\nprotection = { enforcement = \"enforce\" }\n",
    );
    let mut reconciler = attached(Fake::default(), Node::default(), Facts::new(config(&toml)), SEED);
    let net = prefix("198.51.100.0/24");
    let mut by = |service| reconciler.deny(net, service, None).unwrap().0.observed_by;
    assert_eq!(by(None), ["web".into(), "shop".into()]);
    assert_eq!(by(Some("shop")), ["shop".into()]);
    assert!(by(Some("api")).is_empty());
    assert_eq!(reconciler.denied_list().observed_by, ["web".into(), "shop".into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_when_it_is_in_the_maps_and_kept() {
    let mut running = Running::start(two().await, Overrides::default());
    let handle = running.handle.clone();
    let net = prefix("198.51.100.0/24");
    let answer = tokio::spawn(async move { handle.deny(net, Some("web".into()), None).await });
    let known = |revision: &Revision| !revision.denies.is_empty();
    let Revision { number, denies, .. } = running.revisions.wait_for(known).await.unwrap().clone();
    assert_eq!(
        (number, denies),
        (1, [deny("198.51.100.0/24", Some("web"), None)].into_iter().collect())
    );
    let status = running.handle.status().await.unwrap();
    assert_eq!(
        status.protection.map(|protection| protection.prefixes),
        Some(1),
        "in the maps"
    );
    assert!(!answer.is_finished(), "but not kept yet");
    let fault = Some("no space".to_owned());
    running.saved.send_replace(Saved { number, fault });
    let done = answer.await.unwrap().unwrap().unwrap();
    assert_eq!((done.fault, done.overrides_fault.as_deref()), (None, Some("no space")));
    let list = running.handle.denied().await.unwrap();
    assert_eq!(
        (list.denies.len(), list.overrides_fault.as_deref()),
        (1, Some("no space"))
    );

    let handle = running.handle.clone();
    let removed = running
        .kept(async move { handle.undeny(net, Some("web".into())).await })
        .await;
    assert!(removed.unwrap().is_ok() && running.revisions.borrow().denies.is_empty());
    assert!(running.handle.status().await.unwrap().protection.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconciler_wakes_by_itself_for_an_end() {
    let mut running = Running::start(two().await, Overrides::default());
    let handle = running.handle.clone();
    let net = prefix("198.51.100.0/24");
    let lasts = Some(Duration::from_millis(1));
    running
        .kept(async move { handle.deny(net, None, lasts).await })
        .await
        .unwrap()
        .unwrap();
    let over = |revision: &Revision| revision.denies.is_empty();
    running.revisions.wait_for(over).await.unwrap();
    assert!(running.handle.denied().await.unwrap().denies.is_empty());
    assert!(running.handle.status().await.unwrap().protection.is_none());
}
