//! What is wrong with files, and what is told of good ones.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::model::proxy::UpstreamTls;

/// One certificate, and why it is not taken.
#[track_caller]
fn fault(certificate: &Path, key: &Path) -> (Part, PathBuf, Fault) {
    let mut tls = tls(&[certificate.to_owned()]);
    tls.certificates[0].key = key.to_owned();
    let Unusable { part, file, fault } = server(&tls).unwrap_err();
    assert!(!fault.to_string().is_empty() && !fault.hint().is_empty());
    (part, file, fault)
}

/// The same of one file.
#[track_caller]
fn of_one(file: &Path) -> (Part, Fault) {
    let (part, named, fault) = fault(file, file);
    assert_eq!(named, file);
    (part, fault)
}

#[test]
fn what_is_no_file() {
    let place = Place::new();
    let certificate = Part::Certificate(0);
    let of = |file: &Path| of_one(file);
    assert_eq!(of(&place.path("none.pem")), (certificate, Unread::Missing.into()));
    assert_eq!(of(place.folder.path()), (certificate, Unread::Directory.into()));
    assert_eq!(of(Path::new("/dev/null")), (certificate, Unread::Special.into()));
    let huge = place.path("huge.pem");
    fs::File::create(&huge).unwrap().set_len(17 << 20).unwrap();
    assert_eq!(of(&huge), (certificate, Unread::Large.into()));
    // Root may read everything.
    let hidden = place.pair("hidden.pem", &["a.example"]);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&hidden).is_err() {
        assert_eq!(of(&hidden), (certificate, Unread::Denied.into()));
    }
    let error = server(&tls(&[place.path("none.pem")])).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: there is no such file", place.path("none.pem").display())
    );
}

#[test]
fn what_lacks_something() {
    let place = Place::new();
    let key = KeyPair::generate().unwrap();
    let certificate = place.signed(&["a.example"], &key);
    let key = key.serialize_pem();
    let file = |text: String| place.write("x.pem", text);
    let (of_certificate, of_key) = (Part::Certificate(0), Part::Key(0));
    assert_eq!(of_one(&file(String::new())), (of_certificate, Fault::NoCertificate));
    assert_eq!(of_one(&file(key.clone())), (of_certificate, Fault::NoCertificate));
    assert_eq!(of_one(&file(certificate.clone())), (of_key, Fault::NoKey));
    let several = format!("{certificate}{key}{key}");
    assert_eq!(of_one(&file(several)), (of_key, Fault::SeveralKeys(2)));
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(
        of_one(&file(format!("{certificate}{other}"))),
        (of_key, Fault::OtherKey)
    );
    // The chain stands before the certificate.
    let turned = format!("{}{certificate}{key}", place.authority);
    assert_eq!(of_one(&file(turned)), (of_key, Fault::OtherKey));
    let der = pem_of(&certificate);
    assert_eq!(
        of_one(&place.write("x.der", der)),
        (of_certificate, Fault::NoCertificate)
    );
    let cut = certificate.replace("-----END CERTIFICATE-----", "");
    assert!(matches!(of_one(&file(cut)), (Part::Certificate(0), Fault::Broken(_))));
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (part, fault) = of_one(&file(format!("{noise}{key}")));
    assert!(
        part == of_certificate && matches!(fault, Fault::UnfitCertificate(_)),
        "{fault}"
    );
    let noise = noise.replace("CERTIFICATE", "PRIVATE KEY");
    let (part, fault) = of_one(&file(format!("{certificate}{noise}")));
    assert!(part == of_key && matches!(fault, Fault::UnfitKey(_)), "{fault}");
}

/// The bytes of a PEM text's first section.
fn pem_of(text: &str) -> Vec<u8> {
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

#[test]
fn what_needs_a_passphrase() {
    let place = Place::new();
    let key = KeyPair::generate().unwrap();
    let certificate = place.signed(&["a.example"], &key);
    let modern = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
        -----END RSA PRIVATE KEY-----\n";
    for key in [modern, old, &modern.replace('\n', "\r\n")] {
        let one = place.write("x.pem", format!("{certificate}{key}"));
        assert_eq!(of_one(&one).1, Fault::Encrypted);
        let (crt, key) = (place.write("x.crt", &certificate), place.write("x.key", key));
        assert_eq!(fault(&crt, &key), (Part::Key(0), key, Fault::Encrypted));
    }
}

#[test]
fn two_files() {
    let place = Place::new();
    let key = KeyPair::generate().unwrap();
    let certificate = place.write("x.crt", place.signed(&["a.example"], &key) + &place.authority);
    let other = place.write("x.key", key.serialize_pem());
    let mut tls = tls(std::slice::from_ref(&certificate));
    tls.certificates[0].key = other;
    let loaded = server(&tls).unwrap();
    assert_eq!(loaded.certificates[0].file, certificate);
    let missing = place.path("none.key");
    assert_eq!(
        fault(&certificate, &missing),
        (Part::Key(0), missing, Unread::Missing.into())
    );
}

#[test]
fn the_one_that_is_wrong_is_named() {
    let place = Place::new();
    let good = place.pair("a.pem", &["a.example"]);
    let bad = place.write("b.pem", "");
    let unusable = server(&tls(&[good, bad.clone()])).unwrap_err();
    assert_eq!(
        unusable,
        Unusable::new(Part::Certificate(1), &bad, Fault::NoCertificate)
    );
}

#[test]
fn what_is_told_of_certificates() {
    let place = Place::new();
    let file = place.pair("a.pem", &["Shop.example", "*.shop.example", "192.0.2.1"]);
    let loaded = server(&tls(std::slice::from_ref(&file))).unwrap();
    let expected = Certificate {
        names: vec!["shop.example".to_owned(), "*.shop.example".to_owned()],
        not_before: 1_577_836_800,
        not_after: 2_208_988_800,
        file,
    };
    assert_eq!(loaded.certificates, [expected]);
}

#[test]
fn what_has_not_changed_has_the_same_digest() {
    let place = Place::new();
    let file = place.pair("a.pem", &["a.example"]);
    let mut tls = tls(std::slice::from_ref(&file));
    let first = server(&tls).unwrap().digest;
    assert_eq!(server(&tls).unwrap().digest, first);
    tls.min_version = TlsVersion::V1_3;
    assert_ne!(server(&tls).unwrap().digest, first);
    tls.min_version = TlsVersion::V1_2;
    place.pair("a.pem", &["a.example"]);
    assert_ne!(server(&tls).unwrap().digest, first);
}

#[test]
fn dates() {
    let place = Place::new();
    let loaded = server(&tls(&[place.pair("a.pem", &["a.example"])])).unwrap();
    let (from, to) = (1_577_836_800, 2_208_988_800);
    let day = 86_400;
    let at = |now| {
        loaded
            .in_date(now)
            .map_err(|unusable| (unusable.part, unusable.fault.to_string()))
    };
    let said = |text: &str| Err((Part::Certificate(0), text.to_owned()));
    assert_eq!([at(from), at(IN_2030), at(to)], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(at(to + 1), said("the certificate has expired, less than a day ago"));
    assert_eq!(at(to + 2 * day), said("the certificate has expired, 1 day ago"));
    assert_eq!(at(to + 7 * day + 1), said("the certificate has expired, 7 days ago"));
    assert_eq!(
        at(from - 1),
        said("the certificate is not valid yet, and begins in less than a day")
    );
    assert_eq!(
        at(from - 3 * day),
        said("the certificate is not valid yet, and begins in 3 days")
    );
}

#[test]
fn authorities_that_nobody_can_believe() {
    let place = Place::new();
    let mut clients = tls(&[place.pair("a.pem", &["a.example"])]);
    for (file, fault) in [
        (place.path("none.pem"), Fault::from(Unread::Missing)),
        (place.write("empty.pem", ""), Fault::Distrust(Distrust::Empty)),
    ] {
        clients.client_ca = Some(file.clone());
        let expected = Unusable::new(Part::ClientCa, &file, fault.clone());
        assert_eq!(server(&clients).unwrap_err(), expected);
        let backends = UpstreamTls {
            verify: true,
            server_name: None,
            ca: Some(file.clone()),
        };
        assert_eq!(
            client(&backends, false).unwrap_err(),
            Unusable::new(Part::BackendCa, &file, fault)
        );
    }
}
