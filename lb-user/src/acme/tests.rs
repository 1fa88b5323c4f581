//! What the tests of this module have in common; and the engine against an authority in the same process.

mod mock;

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::shared::Account;
use super::store::Store;
use crate::model::Hidden;
use crate::model::acme::{Acme, Authority, ChallengeKind, Issued, KeyType};

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
