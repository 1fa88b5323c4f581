//! What goes wrong with certificates: each is said with name and step, and the last good certificate serves through it.

#![allow(clippy::unwrap_used, reason = "what tests share may panic as they do")]

use std::fs;
use std::process::Command;

use lb_tests::authority::Authority;
use lb_tests::ordered::{Place, SHOP, WWW, missing};
use lb_tests::peers::output;
use lb_user::api::types::OrderedCertificate;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Asks for a new certificate, which has to fail; what the command says, without the time of it.
fn fails(place: &Place, words: &[&str]) {
    let serial = place.serial();
    let said = place.refused(&["certificate", "renew", "web"]);
    for word in words {
        assert!(
            said.contains(word),
            "no {word:?} in {said}\n{}",
            place.segment.node.log()
        );
    }
    assert!(said.contains("the last one serves on"), "{said}");
    assert_eq!(place.serial(), serial);
    assert_eq!(place.ask(SHOP), "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_are_not_there_or_not_believed_or_refuse() {
    if missing() {
        return;
    }
    let mut place = Place::new(7_776_000, 0).await;
    let services = place.services(&place.pebble.acme(&[SHOP], ""));
    let _daemon = place.segment.start(&services).await;
    place.issued().await;

    // The root is asked for before it is gone.
    let root = place.pebble.root();
    place.pebble.stop();
    let serial = place.serial();
    let said = place.refused(&["certificate", "renew", "web"]);
    assert!(
        said.contains("shop.example, step directory: 10.8.0.20:14000 cannot be reached"),
        "{said}"
    );
    assert!(
        said.contains("the last one serves on") && place.serial() == serial,
        "{said}"
    );
    let status = place.segment.node.client().status().await.unwrap();
    let OrderedCertificate {
        failures, last_error, ..
    } = &status.certificates[0];
    assert!(*failures == 1 && last_error.is_some());
    assert!(root.exists());

    // Names lead nowhere, or to somebody else: nothing is there that the authority wants to see.
    place.pebble.serve();
    place.pebble.refuse(100);
    let said = place.refused(&["certificate", "renew", "web"]);
    assert!(
        said.contains("shop.example, step challenge: ") && said.contains("connection"),
        "{said}"
    );
    assert_eq!(place.serial(), serial);
    place.pebble.refuse(0);

    // It has forgotten the node, which makes itself known again.
    let _ = place.done(&["certificate", "renew", "web"]);
    assert_ne!(place.serial(), serial);
    assert_eq!(place.ask(SHOP), "hello\n");

    // Another root.
    let node = &place.segment.node;
    let stranger = Authority::new(&node.path(""), "stranger");
    let other = services.replace(
        &place.pebble.ca.display().to_string(),
        &stranger.file.display().to_string(),
    );
    node.configure(&format!("{}{other}", node.head("eth0")));
    let _ = place.done(&["reload"]);
    fails(
        &place,
        &["shop.example, step directory", "is not believed", "UnknownIssuer"],
    );

    // pebble signs nothing for this one.
    let refused = place.services(&place.pebble.acme(&[SHOP, "blocked-domain.example"], ""));
    node.configure(&format!("{}{refused}", node.head("eth0")));
    let _ = place.done(&["reload"]);
    fails(&place, &["blocked-domain.example, step order", "rejectedIdentifier"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 0).await;
    let folder = place.segment.node.path("small");
    fs::create_dir_all(&folder).unwrap();
    let size = Some("size=192k,mode=700");
    mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    let full = Full(folder.clone());
    let acme = place
        .pebble
        .acme(&[SHOP], &format!(", storage = \"{}\"", folder.display()));
    let daemon = place.segment.start(&place.services(&acme)).await;
    place.issued().await;
    let filler = folder.join("filler");
    // It ends with ENOSPC.
    let filled = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    fails(
        &place,
        &["shop.example, step storage: cannot write", "No space left on device"],
    );
    fs::remove_file(&filler).unwrap();
    let _ = place.done(&["certificate", "renew", "web"]);
    drop(daemon);
    drop(full);
}

/// Unmounts what a test has mounted.
struct Full(std::path::PathBuf);

impl Drop for Full {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_other_clients_serve_and_are_renewed() {
    if missing() {
        return;
    }
    let place = Place::new(7_776_000, 0).await;
    place.pebble.refuse(100);
    let _daemon = place
        .segment
        .start(&place.services(&place.pebble.acme(&[SHOP, WWW], "")))
        .await;
    place.until("it was tried", |one| one.failures > 0).await;
    let folder = place.segment.node.path("letsencrypt");
    let live = folder.join("live").join(SHOP);
    fs::create_dir_all(&live).unwrap();
    let others = Authority::new(&folder, "others");
    let both = fs::read_to_string(others.issue("both.pem", &[SHOP, WWW])).unwrap();
    let key = both.find("-----BEGIN PRIVATE KEY-----").unwrap();
    fs::write(live.join("fullchain.pem"), &both[..key]).unwrap();
    fs::write(live.join("privkey.pem"), &both[key..]).unwrap();
    let import = |from: &std::path::Path| {
        [
            "certificate".to_owned(),
            "import".to_owned(),
            "web".to_owned(),
            from.display().to_string(),
        ]
    };
    let words = |words: &[String; 4]| -> Vec<String> { words.to_vec() };
    let imported = words(&import(&folder));
    let said = place.done(&imported.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.starts_with("web: until "), "{said}");
    let one = place.issued().await;
    assert!(one.renew_at.unwrap() > one.not_before.unwrap());
    let mut curl = place.curl(SHOP, &["--cacert", &others.file.display().to_string()]);
    assert_eq!(output(&place.segment.client, &mut curl), "hello\n");
    // It is written while it serves already.
    let kept = place.segment.node.path("state/acme/certificates/web.pem");
    let is_kept = |_: &OrderedCertificate| fs::read_to_string(&kept).is_ok_and(|kept| kept.contains(&both[..key]));
    place.until("it is kept", is_kept).await;

    // HAProxy's, in one file; and what does not do.
    let one = others.issue("one.pem", &[SHOP]);
    let alone = words(&import(&one));
    let said = place.refused(&alone.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("it is not for www.shop.example"), "{said}");
    let file = others.issue("haproxy.pem", &[SHOP, WWW]);
    let again = words(&import(&file));
    let said = place.done(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.starts_with("web: until "), "{said}");
    let folder = words(&import(&place.segment.node.path("")));
    let said = place.refused(&folder.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        said.contains("has no certificate of shop.example or www.shop.example"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn testssl_finds_nothing_in_a_service_with_an_issued_certificate() {
    if missing() || lb_tests::gate::root_with(&["testssl"]) == lb_tests::gate::Gate::Skip {
        return;
    }
    let place = Place::new(7_776_000, 20).await;
    let _daemon = place
        .segment
        .start(&place.services(&place.pebble.acme(&[SHOP], "")))
        .await;
    place.issued().await;
    let report = place.segment.node.path("testssl.json");
    let mut testssl = Command::new("testssl");
    testssl.args([
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "batch",
        "--nodns",
        "none",
        "--ip",
        "10.8.0.100",
    ]);
    testssl
        .arg("--add-ca")
        .arg(place.pebble.root())
        .args(["-S", "-p", "-s", "--jsonfile"])
        .arg(&report);
    testssl
        .arg(format!("https://{SHOP}/"))
        .env("HOME", place.segment.node.path(""));
    let ended = lb_tests::peers::ended(&place.segment.client, &mut testssl);
    let text = fs::read_to_string(report).unwrap_or_else(|_| panic!("{ended:?}"));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let field = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let bad = |severity: &str| ["LOW", "MEDIUM", "HIGH", "CRITICAL"].contains(&severity);
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| bad(&field(finding, "severity")))
        .map(|finding| (field(finding, "id"), field(finding, "finding")))
        .filter(|(id, _)| !OF_PEBBLE.iter().any(|(known, _)| id.starts_with(known)))
        .collect();
    assert_eq!(wrong, [], "{text}");
    let of = |id: &str| {
        findings
            .iter()
            .find(|finding| field(finding, "id").starts_with(id))
            .map(|one| field(one, "severity"))
    };
    for id in ["cert_trust", "cert_expirationStatus", "cert_signatureAlgorithm"] {
        assert_eq!(of(id).as_deref(), Some("OK"), "{id}: {text}");
    }
}

/// Findings that are not the proxy's, and why.
const OF_PEBBLE: [(&str, &str); 3] = [
    ("engine_problem", "it is about the OpenSSL that testssl.sh runs"),
    ("cert_chain_of_trust", "pebble's root is in no store of the world's"),
    ("cert_revocation", "pebble says nowhere what it has revoked"),
];
