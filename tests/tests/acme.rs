//! Certificates from a real authority: both challenges, renewals under load, revocation, another key of the account, and all
//! that may go wrong, with the last good certificate serving through it.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use lb_tests::ordered::{Place, SHOP, WWW, missing, web};
use lb_tests::peers::output;
use lb_tests::proxied::vip;

/// Asks again and again, with a new connection each time, until it is dropped.
struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(place: &Place) -> Self {
        let (ends, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut curl = place.curl(SHOP, &[]);
        place.segment.client.confine(&mut curl);
        let (until, counted) = (Arc::clone(&ends), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !until.load(Relaxed) {
                let ended = curl.output().unwrap();
                counted.fetch_add(1, Relaxed);
                if ended.stdout != b"hello\n" {
                    failures.push(String::from_utf8_lossy(&ended.stderr).into_owned());
                }
            }
            failures
        });
        Self {
            ends,
            asked,
            thread: Some(thread),
        }
    }

    /// How often it has asked, and what failed.
    fn end(mut self) -> (u64, Vec<String>) {
        self.ends.store(true, Relaxed);
        let failures = self.thread.take().unwrap().join().unwrap();
        (self.asked.load(Relaxed), failures)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_serves_until_http_01_has_brought_a_certificate_for_every_name() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    // Nobody gets through to the node, so that what serves meanwhile can be seen.
    place.pebble.refuse(100);
    let _daemon = place
        .segment
        .start(&place.services(&place.pebble.acme(&[SHOP, WWW], "")))
        .await;
    let one = place.until("it was tried", |one| one.failures > 0).await;
    assert_eq!((one.origin.as_str(), one.not_after), ("stand-in", None));
    let error = one.last_error.unwrap();
    assert!(
        error.contains("step challenge") && error.contains("shop.example"),
        "{error}"
    );
    let mut curl = place.curl(SHOP, &["-k"]);
    assert_eq!(output(&place.segment.client, &mut curl), "hello\n", "the service is up");

    place.pebble.refuse(0);
    assert!(place.done(&["certificate", "renew", "web"]).contains("until "));
    let one = place.issued().await;
    assert_eq!((one.last_error, one.failures), (None, 0));
    assert!(one.renew_at.unwrap() < one.not_after.unwrap());
    assert_eq!([place.ask(SHOP), place.ask(WWW)], ["hello\n", "hello\n"]);
    // What a challenge was answered with is not there any more: a backend is asked.
    let path = format!("http://{}/.well-known/acme-challenge/x", vip(80));
    assert_eq!(place.segment.curl(&[&path]), "hello\n");
    let listed = place.done(&["certificate", "list"]);
    assert!(
        listed.contains("shop.example, www.shop.example  until ") && listed.contains("renewed in "),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_alpn_01_brings_one_whatever_the_service_asks_of_its_clients() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    // Clients show certificates, of which an authority has none.
    let acme = place
        .pebble
        .acme(&[SHOP], ", challenge = \"tls-alpn-01\", key-type = \"rsa\"");
    let terms = format!(
        "{acme}\nclient-ca = \"{}\"\nmin-version = \"1.3\"",
        place.pebble.ca.display()
    );
    let tls = web("web", 443).table("tls", terms);
    let _daemon = place.segment.start(&tls.to_string()).await;
    place.issued().await;
    let script = format!(
        "openssl s_client -connect {} -servername {SHOP} </dev/null 2>/dev/null | openssl x509 -noout -text",
        vip(443)
    );
    let told = output(&place.segment.client, Command::new("sh").args(["-c", &script]));
    assert!(
        told.contains("DNS:shop.example") && told.contains("Public-Key: (2048 bit)"),
        "{told}"
    );
    // Who wants that protocol now is turned away.
    let script = format!(
        "openssl s_client -connect {} -servername {SHOP} -alpn acme-tls/1 </dev/null 2>&1 || true",
        vip(443)
    );
    let told = output(&place.segment.client, Command::new("sh").args(["-c", &script]));
    assert!(told.contains("alert"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn short_lived_certificates_are_renewed_three_times_and_no_request_fails() {
    if missing() {
        return;
    }
    let place = Place::new(60, 20).await;
    let _daemon = place
        .segment
        .start(&place.services(&place.pebble.acme(&[SHOP], "")))
        .await;
    let mut last = place.issued().await;
    place.pebble.refuse(5);
    let load = Load::start(&place);
    for _ in 0..3 {
        let before = last.not_after;
        last = place.until("it is renewed", |one| one.not_after > before).await;
    }
    let (asked, failures) = load.end();
    assert!(
        asked > 100 && failures.is_empty(),
        "{asked}: {failures:?}\n{}",
        place.segment.node.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_taken_back_and_accounts_get_other_keys() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    let services = place.services(&place.pebble.acme(&[SHOP], ""));
    let daemon = place.segment.start(&services).await;
    let issued = place.issued().await;
    let account = || {
        let folder = place.segment.node.path("state/acme/accounts");
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(file).unwrap()
    };
    let before = account();
    let said = place.done(&["certificate", "renew", "web", "--account-key"]);
    assert!(said.contains("has another key"), "{said}");
    let after = account();
    let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["credentials"]["id"].clone();
    assert!(before != after && id(&before) == id(&after));

    let serial = place.serial();
    assert_eq!(place.pebble.status_of(&serial), "Valid");
    let said = place.done(&["certificate", "revoke", "web", "--reason", "key-compromise"]);
    assert!(said.contains("taken back"), "{said}");
    assert_eq!(place.pebble.status_of(&serial), "Revoked");
    // The account's new key has ordered another one.
    place
        .until("another one is issued", |one| {
            one.attempts > issued.attempts && one.failures == 0
        })
        .await;
    assert_ne!(place.serial(), serial);
    assert_eq!(place.ask(SHOP), "hello\n");

    // What is on the disk serves after a restart, without a word to the authority.
    let serial = place.serial();
    drop(daemon);
    let _daemon = place.segment.start(&services).await;
    assert_eq!(place.serial(), serial);
    assert!(
        place
            .refused(&["certificate", "renew", "plain"])
            .contains("there is web")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn port_80_is_open_for_http_01_alone_where_no_service_has_it() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    let tls = web("web", 443).table("tls", place.pebble.acme(&[SHOP], ""));
    let _daemon = place.segment.start(&tls.to_string()).await;
    place.issued().await;
    assert_eq!(place.ask(SHOP), "hello\n");
    // Nobody listens there any more.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "10", &format!("http://{}/", vip(80))]);
    let ended = lb_tests::peers::ended(&place.segment.client, &mut curl);
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
}
