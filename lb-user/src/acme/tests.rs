//! What the tests of this module have in common; and the engine against an authority in the same process.

mod mock;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::shared::Account;
use super::store::Store;
use super::{SHOW, Setup, load, run};
use crate::control::CertificateRequest;
use crate::model::Hidden;
use crate::model::acme::{Acme, AcmeStatus, Authority, ChallengeKind, Issued, KeyType, Origin};
use crate::model::vrrp::HaStatus;

pub(super) fn authority() -> Authority {
    Authority {
        directory: "https://ca.example/directory".into(),
        contact: Vec::new(),
        ca: None,
        external_account: None,
        storage: None,
    }
}

pub(super) fn acme(domains: &[&str]) -> Acme {
    Acme {
        domains: domains.iter().map(|&domain| domain.into()).collect(),
        authority: authority(),
        key_type: KeyType::Ecdsa,
        challenge: ChallengeKind::Http01,
    }
}

/// An account that nobody knows.
pub(super) fn account(stamp: u64) -> Account {
    let json = r#"{"id":"https://ca.example/acct/1","key_pkcs8":"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJVWC_QzOTCS5vtsJp2IG-UDc8cdDfeoKtxSZxaznM-mhRANCAAQenCPoGgPFTdPJ7VLLKt56RxPlYT1wNXnHc54PEyBg3LxKaH0-sJkX0mL8LyPEdsfL_Oz4TxHkWLJGrXVtNhfH","directory":"https://ca.example/directory"}"#;
    Account {
        stamp,
        credentials: Arc::new(Hidden(json.as_bytes().to_vec())),
    }
}

/// Key and certificate, from the beginning of this year on, for a year.
pub(super) fn pem_of(names: &[&str], year: i32) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + 1, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (key.serialize_pem() + &certificate.pem()).into_bytes()
}

pub(super) fn issued(store: &Store, service: &str, name: &str) -> Issued {
    Issued {
        pem: Arc::new(Hidden(pem_of(&[name], 2026))),
        file: store.certificate_file(service).into(),
    }
}

#[test]
fn a_certificate_has_its_own_key() {
    let one = pem_of(&["a.example"], 2026);
    let other = String::from_utf8(pem_of(&["a.example"], 2026)).unwrap();
    let usable = |pem: Vec<u8>| {
        let issued = Issued {
            pem: Arc::new(Hidden(pem)),
            file: Path::new("/x").into(),
        };
        super::usable(&issued).map(|leaf| leaf.names)
    };
    let text = String::from_utf8(one.clone()).unwrap();
    assert_eq!(usable(one), Ok(vec!["a.example".to_owned()]));
    let begin = "-----BEGIN CERTIFICATE-----";
    let mixed = text.split(begin).next().unwrap().to_owned() + begin + other.split(begin).nth(1).unwrap();
    assert_eq!(
        usable(mixed.into_bytes()).unwrap_err(),
        "the private key is not that of the certificate"
    );
    let alone = begin.to_owned() + text.split(begin).nth(1).unwrap();
    assert!(usable(alone.into_bytes()).unwrap_err().starts_with("it has no key"));
}

/// Whoever hears of a certificate gets it: nothing is said of one that the proxy does not serve yet, but for so long only.
#[tokio::test(start_paused = true)]
async fn a_certificate_is_said_to_be_there_once_it_serves() {
    for serves in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nstate-dir = \"{}\"\n[[service]]\nname = \"web\"\n\
             address = \"192.0.2.10:443\"\nmode = \"proxy\"\n[service.tls]\n\
             acme = {{ domains = [\"a.example\"], directory = \"https://ca.example/\" }}\n",
            folder.path().display()
        );
        let parsed = crate::config::parse("x.toml", &text).unwrap_or_else(|error| panic!("{error}"));
        // Another node is master of that address and orders, so that no authority is asked.
        let roles = HaStatus::example();
        let (offers, offer) = watch::channel(Arc::new(load(&parsed.config)));
        let (_configs, configs) = watch::channel(Arc::new(parsed.config));
        let (served, offered) = watch::channel(0);
        let (said, mut status) = watch::channel(AcmeStatus::default());
        let (ask, requests) = mpsc::channel(1);
        let (_roles, ha) = watch::channel(roles);
        let (_taken, taken) = watch::channel(BTreeMap::new());
        let (_heard, heard) = mpsc::channel(1);
        tokio::spawn(run(Setup {
            configs,
            offers,
            offered,
            status: said,
            requests,
            ha,
            told: watch::Sender::new(Arc::default()),
            taken,
            heard,
        }));
        let stands_in = |status: &AcmeStatus| status[0].origin == Origin::StandIn;
        status.wait_for(|status| !status.is_empty()).await.unwrap();
        assert!(stands_in(&status.borrow()));
        let (reply, imported) = oneshot::channel();
        let pem = Hidden(pem_of(&["a.example"], 2040));
        let service = "web".to_owned();
        let import = CertificateRequest::Import { service, pem, reply };
        ask.send(import).await.unwrap();
        assert_eq!(imported.await.unwrap().unwrap().origin, Origin::Issued);
        // Once it answers another one, it has said what it says because of the first.
        let (reply, renewed) = oneshot::channel();
        let renew = CertificateRequest::Renew {
            service: "nobody".to_owned(),
            account_key: false,
            reply,
        };
        ask.send(renew).await.unwrap();
        renewed.await.unwrap().unwrap_err();
        assert!(stands_in(&status.borrow()));
        let begun = Instant::now();
        if serves {
            served.send_replace(offer.borrow().number);
        }
        status.wait_for(|status| !stands_in(status)).await.unwrap();
        assert_eq!(begun.elapsed() < SHOW, serves);
    }
}
