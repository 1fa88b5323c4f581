//! Handshakes with certificates of our own making.

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::*;
use crate::model::{ExpectBody, TlsCheck};

/// The end of the year 2048 and the beginning of 2100, which are written in different ways (RFC 5280 §4.1.2.5).
const NOT_AFTER: [((i32, u8, u8), u64); 2] = [((2048, 12, 31), 2_492_985_600), ((2100, 1, 1), 4_102_444_800)];

/// An authority, and its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { issuer, file }
    }

    /// Believes this authority, and wants a name.
    fn terms(&self, name: Option<&str>) -> TlsCheck {
        TlsCheck {
            server_name: name.map(str::to_owned),
            verify: true,
            ca: Some(self.file.path().to_owned()),
        }
    }

    /// What a server needs that has a certificate of this authority.
    fn config(&self, params: &CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server_config(certificate.der().to_vec(), &key)
    }
}

fn server_config(certificate: Vec<u8>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key)
        .unwrap()
}

/// A certificate for two names and an address, until a day.
fn params((year, month, day): (i32, u8, u8)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::DnsName(Ia5String::try_from("shop.example").unwrap()),
        SanType::IpAddress("127.0.0.1".parse().unwrap()),
    ];
    params.not_after = date_time_ymd(year, month, day);
    params
}

/// A server that answers each connection's first bytes with `response`.
async fn server(config: ServerConfig, response: &'static [u8]) -> SocketAddr {
    let (listener, address) = listener().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(response).await;
                let _ = stream.read(&mut [0; 4096]).await;
            });
        }
    });
    address
}

async fn shake(terms: TlsCheck, address: SocketAddr) -> (Result<Answer, String>, Option<u64>) {
    let (result, counts) = probe_and_count(&HealthKind::Tls(Arc::new(terms)), address, LONG).await;
    let result = result
        .map(|success| success.answer)
        .map_err(|failure| failure.to_string());
    (result, counts.certificate_not_after)
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_good_and_its_end_is_noted() {
    let authority = Authority::new("one");
    for (day, end) in NOT_AFTER {
        let address = server(authority.config(&params(day)), b"").await;
        for name in [Some("shop.example"), Some("127.0.0.1"), None] {
            let seen = shake(authority.terms(name), address).await;
            assert_eq!(seen, (Ok(Answer::Encrypted), Some(end)), "{name:?}");
        }
    }
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let authority = Authority::new("one");
    for version in [&TLS12, &TLS13] {
        let key = KeyPair::generate().unwrap();
        let certificate = params(NOT_AFTER[0].0).signed_by(&key, &authority.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().to_vec().into()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let address = server(config, b"").await;
        for verify in [true, false] {
            let mut terms = authority.terms(None);
            terms.verify = verify;
            assert_eq!(shake(terms, address).await.0, Ok(Answer::Encrypted), "{version:?}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let authority = Authority::new("one");
    let (day, end) = NOT_AFTER[0];
    let good = server(authority.config(&params(day)), b"").await;
    let (result, _) = shake(authority.terms(Some("other.example")), good).await;
    assert_eq!(result, Err("the certificate is not for other.example".to_owned()));
    let (result, _) = shake(Authority::new("another").terms(None), good).await;
    assert_eq!(result, Err("the certificate's issuer is unknown".to_owned()));

    let expired = server(authority.config(&params((2001, 1, 1))), b"").await;
    let (result, noted) = shake(authority.terms(None), expired).await;
    assert_eq!(result, Err("the certificate has expired".to_owned()));
    assert_eq!(noted, Some(978_307_200), "also of one that is refused");
    let mut later = params(day);
    later.not_before = date_time_ymd(2048, 1, 1);
    let later = server(authority.config(&later), b"").await;
    let (result, _) = shake(authority.terms(None), later).await;
    assert_eq!(result, Err("the certificate is not valid yet".to_owned()));

    // Nobody's, for nobody, and out of date: good enough for whoever does not ask.
    let key = KeyPair::generate().unwrap();
    let selfmade = params((2001, 1, 1)).self_signed(&key).unwrap();
    let selfmade = server(server_config(selfmade.der().to_vec(), &key), b"").await;
    let nobody = TlsCheck {
        server_name: Some("other.example".to_owned()),
        verify: false,
        ca: None,
    };
    for (address, end) in [(selfmade, 978_307_200), (good, end)] {
        assert_eq!(shake(nobody.clone(), address).await, (Ok(Answer::Encrypted), Some(end)));
    }
    let (result, _) = shake(authority.terms(None), selfmade).await;
    assert!(result.is_err());
}

#[tokio::test]
async fn https_is_http_inside() {
    let authority = Authority::new("one");
    let kind = |body: &str| {
        HealthKind::Http(Arc::new(HttpProbe {
            tls: Some(authority.terms(Some("shop.example"))),
            expect_body: Some(ExpectBody::Text(body.to_owned())),
            ..HttpProbe::default()
        }))
    };
    let mut config = authority.config(&params(NOT_AFTER[0].0));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let address = server(config, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let (result, counts) = probe_and_count(&kind("ok"), address, LONG).await;
    assert_eq!(result.unwrap().answer, Answer::Status(200));
    assert_eq!(counts.certificate_not_after, Some(NOT_AFTER[0].1));
    let (result, counts) = probe_and_count(&kind("no"), address, LONG).await;
    assert_eq!(result.unwrap_err(), Failure::Body(200));
    assert!(
        counts.certificate_not_after.is_some(),
        "a bad answer has a certificate, too"
    );

    let mut config = authority.config(&params(NOT_AFTER[0].0));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = server(config, b"").await;
    let failure = probe(&kind("ok"), address, LONG).await.unwrap_err().to_string();
    assert_eq!(failure, "the backend refused the TLS handshake: NoApplicationProtocol");
}

#[tokio::test]
async fn what_is_not_tls_is_told_apart() {
    let kind = HealthKind::Tls(Arc::new(TlsCheck {
        verify: false,
        ..TlsCheck::default()
    }));
    let (address, _server) = served(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    // That server reads a whole head first.
    let failure = probe(&kind, address, MEDIUM).await.unwrap_err().to_string();
    assert_eq!(failure, "timed out after 10s while waiting for the TLS handshake");
    for (said, reset, expected) in [
        (b"220 mail.example ESMTP\r\n".as_slice(), false, "not TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false, "not TLS"),
        (b"", false, "connection closed in the TLS handshake"),
        (b"", true, "connection reset"),
        (
            b"\x15\x03\x01\0\x02\x02\x28",
            false,
            "the backend refused the TLS handshake: HandshakeFailure",
        ),
    ] {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            if reset {
                stream.set_zero_linger().unwrap();
                return;
            }
            stream.write_all(said).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
        });
        let failure = probe(&kind, address, LONG).await.unwrap_err().to_string();
        assert_eq!(failure, expected);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_this_nodes_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, missing) = (folder.path().join("empty"), folder.path().join("missing"));
    std::fs::write(&empty, "").unwrap();
    let (_listener, address) = listener().await;
    for (path, said) in [(empty, "no certificate in it"), (missing, "o such file")] {
        let terms = TlsCheck {
            ca: Some(path.clone()),
            ..TlsCheck::default()
        };
        let failure = probe(&HealthKind::Tls(Arc::new(terms)), address, LONG)
            .await
            .unwrap_err();
        let Failure::Local(text) = failure else {
            panic!("{failure}")
        };
        assert!(text.contains(path.to_str().unwrap()) && text.contains(said), "{text}");
    }
}
