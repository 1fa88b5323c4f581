//! Handshakes between what is made for clients and what is made for backends, without a network.

use std::io;
use std::sync::Arc;

use lb_common::hash::Seed;
use rcgen::PKCS_ED25519;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CipherSuite, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection,
    SupportedProtocolVersion,
};

use super::super::{Secret, pem};
use super::*;
use crate::model::proxy::UpstreamTls;

type Ends = (ClientConnection, ServerConnection);

/// Lets both talk until nobody has anything to say.
fn shake(loaded: &Loaded, config: &Arc<ClientConfig>, name: &str) -> Result<Ends, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&loaded.config)).unwrap();
    loop {
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        let asked = sent.len();
        take(&sent, |bytes| server.read_tls(bytes));
        server.process_new_packets()?;
        let mut sent = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut sent).unwrap();
        }
        take(&sent, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
        if asked + sent.len() == 0 {
            return Ok((client, server));
        }
    }
}

fn take(bytes: &[u8], mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        read(&mut rest).unwrap();
    }
}

/// Believes the authority of `place`.
fn believer(place: &Place, http2: bool) -> Arc<ClientConfig> {
    let tls = UpstreamTls {
        verify: true,
        server_name: None,
        ca: Some(place.ca()),
    };
    client(&tls, http2).unwrap()
}

/// The same, with something else changed.
fn changed(place: &Place, change: impl FnOnce(&mut ClientConfig)) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&believer(place, true));
    change(&mut config);
    Arc::new(config)
}

/// Speaks one version only, and believes everybody.
fn speaker(version: &'static SupportedProtocolVersion, provider: CryptoProvider, place: &Place) -> ClientConfig {
    let roots = crate::net::tls::roots(Some(&place.ca())).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Which of several files a client gets that asks for `name`.
fn shown(files: &[PathBuf], loaded: &Loaded, client: &ClientConnection) -> usize {
    let leaf = &client.peer_certificates().unwrap()[0];
    let one = |file: &PathBuf| {
        pem::pair(&tls(std::slice::from_ref(file)).certificates[0], 0)
            .ok()
            .unwrap()
    };
    assert_eq!(loaded.certificates.len(), files.len());
    files.iter().position(|file| &one(file).key.cert[0] == leaf).unwrap()
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for() {
    let place = Place::new();
    let files = [
        place.pair("a.pem", &["first.example", "127.0.0.1"]),
        place.pair("b.pem", &["shop.example", "*.shop.example"]),
        place.pair("c.pem", &["api.shop.example"]),
        place.pair("d.pem", &["shop.example"]),
    ];
    let loaded = server(&tls(&files)).unwrap();
    let client = believer(&place, true);
    for (name, expected) in [
        ("first.example", 0),
        ("shop.example", 1),
        ("SHOP.example", 1),
        ("www.shop.example", 1),
        ("api.shop.example", 2),
        ("127.0.0.1", 0),
    ] {
        let (client, _) = shake(&loaded, &client, name).unwrap();
        assert_eq!(shown(&files, &loaded, &client), expected, "{name}");
    }
    // A wildcard stands for one label; with a stranger's name the first is shown, and it is the client who minds.
    for name in ["a.b.shop.example", "other.example"] {
        let refused = shake(&loaded, &client, name).unwrap_err();
        assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
        let anybody = UpstreamTls {
            verify: false,
            server_name: None,
            ca: None,
        };
        let (client, _) = shake(&loaded, &super::client(&anybody, true).unwrap(), name).unwrap();
        assert_eq!(shown(&files, &loaded, &client), 0, "{name}");
    }
}

#[test]
fn a_client_gets_a_key_that_it_can_do_with() {
    let place = Place::new();
    let odd = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let odd = place.write("odd.pem", place.signed(&["a.example"], &odd) + &odd.serialize_pem());
    let files = [odd, place.pair("usual.pem", &["a.example"])];
    let loaded = server(&tls(&files)).unwrap();
    let (client, _) = shake(&loaded, &believer(&place, true), "a.example").unwrap();
    assert_eq!(shown(&files, &loaded, &client), 0);
    let mut provider = ring::default_provider();
    let known = &mut provider.signature_verification_algorithms;
    known.mapping = &known.mapping[..2];
    let client = Arc::new(speaker(&TLS13, provider, &place));
    let (client, _) = shake(&loaded, &client, "a.example").unwrap();
    assert_eq!(shown(&files, &loaded, &client), 1);
}

#[test]
fn protocols_are_agreed_on() {
    let place = Place::new();
    let mut tls = tls(&[place.pair("a.pem", &["a.example"])]);
    let alpn = |tls: &Tls, http2| {
        let (_, server) = shake(&server(tls).unwrap(), &believer(&place, http2), "a.example")?;
        Ok::<_, rustls::Error>(server.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(alpn(&tls, true), Ok(Some(b"h2".to_vec())));
    assert_eq!(alpn(&tls, false), Ok(Some(b"http/1.1".to_vec())));
    tls.alpn = vec![HttpVersion::H1];
    assert_eq!(alpn(&tls, true), Err(rustls::Error::NoApplicationProtocol));
    let old = changed(&place, |config| config.alpn_protocols = vec![b"http/1.0".to_vec()]);
    let (_, session) = shake(&server(&tls).unwrap(), &old, "a.example").unwrap();
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.0"[..]));
    let both = changed(&place, |config| config.alpn_protocols.insert(0, b"http/1.1".to_vec()));
    tls.alpn = vec![HttpVersion::H2, HttpVersion::H1];
    let (_, server) = shake(&server(&tls).unwrap(), &both, "a.example").unwrap();
    assert_eq!(
        server.alpn_protocol(),
        Some(&b"h2"[..]),
        "the service's wish goes first"
    );
}

#[test]
fn old_versions_are_spoken_as_the_file_says() {
    let place = Place::new();
    let mut tls = tls(&[place.pair("a.pem", &["a.example"])]);
    let version = |tls: &Tls, version| {
        let client = Arc::new(speaker(version, ring::default_provider(), &place));
        let (_, server) = shake(&server(tls).unwrap(), &client, "a.example").ok()?;
        server.protocol_version()
    };
    assert_eq!(version(&tls, &TLS12), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(version(&tls, &TLS13), Some(ProtocolVersion::TLSv1_3));
    tls.min_version = TlsVersion::V1_3;
    assert_eq!(version(&tls, &TLS12), None);
    assert_eq!(version(&tls, &TLS13), Some(ProtocolVersion::TLSv1_3));
    tls.min_version = TlsVersion::V1_2;
    tls.ciphers = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned()];
    assert_eq!(version(&tls, &TLS12), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(version(&tls, &TLS13), None);
}

#[test]
fn suites_go_in_the_order_of_the_file() {
    let place = Place::new();
    let mut tls = tls(&[place.pair("a.pem", &["a.example"])]);
    let suite = |tls: &Tls| {
        let (_, server) = shake(&server(tls).unwrap(), &believer(&place, true), "a.example").unwrap();
        server.negotiated_cipher_suite().unwrap().suite()
    };
    assert_eq!(suite(&tls), CipherSuite::TLS13_AES_128_GCM_SHA256);
    tls.ciphers = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"]
        .map(str::to_owned)
        .into();
    assert_eq!(suite(&tls), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
}

/// The names that a file may say are those that the library has.
#[test]
fn every_suite_is_known() {
    let place = Place::new();
    let certificate = place.pair("a.pem", &["a.example"]);
    let names = ring::ALL_CIPHER_SUITES
        .iter()
        .map(|suite| format!("{:?}", suite.suite()));
    let names: Vec<String> = names.collect();
    let toml = format!(
        "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\nmode = \"proxy\"\naddress = \"192.0.2.1:80\"\n\
         [service.tls]\ncertificates = [\"{}\"]\nciphers = {names:?}\n",
        certificate.display()
    );
    let parsed = crate::config::parse("test.toml", &toml).unwrap();
    let tls = parsed.config.services[0].proxy.as_ref().unwrap().tls.as_ref().unwrap();
    assert_eq!(tls.ciphers.len(), 9);
    let config = server(tls).unwrap().config;
    assert_eq!(config.crypto_provider().cipher_suites, ring::ALL_CIPHER_SUITES);
}

/// What shows a certificate of `place`.
fn with_certificate(place: &Place, believed: &Place) -> Arc<ClientConfig> {
    let file = place.pair("client.pem", &["client.example"]);
    let pair = pem::pair(&tls(&[file]).certificates[0], 0).ok().unwrap();
    let key: Arc<CertifiedKey> = pair.key;
    changed(believed, |config| {
        let key: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(key));
        config.client_auth_cert_resolver = key;
    })
}

#[test]
fn clients_show_who_they_are() {
    let (place, stranger) = (Place::new(), Place::new());
    let mut tls = tls(&[place.pair("a.pem", &["a.example"])]);
    let shake = |tls: &Tls, client: &Arc<ClientConfig>| {
        let (_, server) = shake(&server(tls).unwrap(), client, "a.example").map_err(|_| ())?;
        Ok(server.peer_certificates().is_some())
    };
    let (nobody, friend, other) = (
        believer(&place, true),
        with_certificate(&place, &place),
        with_certificate(&stranger, &place),
    );
    assert_eq!([shake(&tls, &nobody), shake(&tls, &friend)], [Ok(false), Ok(false)]);
    tls.client_ca = Some(place.ca());
    let all = |tls: &Tls| [shake(tls, &nobody), shake(tls, &friend), shake(tls, &other)];
    assert_eq!(all(&tls), [Err(()), Ok(true), Err(())]);
    tls.client_optional = true;
    assert_eq!(all(&tls), [Ok(false), Ok(true), Err(())]);
}

/// As a node with this seed serves it.
fn serves(tls: &Tls, seed: u8, service: &str) -> Loaded {
    server(tls)
        .unwrap()
        .with_tickets(&Secret::of(Seed::from_bytes([seed; 16])), service)
}

/// How each of these greets a client of one version that comes to them in turn.
fn kinds<const N: usize>(
    place: &Place,
    version: &'static SupportedProtocolVersion,
    nodes: [&Loaded; N],
) -> [HandshakeKind; N] {
    let client = Arc::new(speaker(version, ring::default_provider(), place));
    nodes.map(|node| {
        let (client, server) = shake(node, &client, "a.example").unwrap();
        assert_eq!(client.handshake_kind(), server.handshake_kind());
        server.handshake_kind().unwrap()
    })
}

#[test]
fn sessions_are_resumed() {
    let place = Place::new();
    let node = serves(&tls(&[place.pair("a.pem", &["a.example"])]), 1, "web");
    for version in [&TLS12, &TLS13] {
        let kinds = kinds(&place, version, [&node; 2]);
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
    // What is made for backends does it, too.
    let client = believer(&place, false);
    let kinds = [0, 1].map(|_| shake(&node, &client, "a.example").unwrap().0.handshake_kind().unwrap());
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[test]
fn sessions_of_one_node_are_resumed_on_another() {
    let place = Place::new();
    let one = tls(&[place.pair("a.pem", &["a.example"])]);
    // The other one has had its certificate renewed, and its daemon started anew.
    let other = tls(&[place.pair("b.pem", &["a.example"])]);
    let nodes = [serves(&one, 1, "web"), serves(&other, 1, "web"), serves(&one, 1, "web")];
    for version in [&TLS12, &TLS13] {
        let kinds = kinds(&place, version, nodes.each_ref());
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(kinds, expected, "{version:?}");
    }
}

#[test]
fn sessions_of_one_service_are_nothing_to_another() {
    let place = Place::new();
    let mut one = tls(&[place.pair("a.pem", &["a.example"])]);
    (one.client_ca, one.client_optional) = (Some(place.ca()), true);
    let own = serves(&one, 1, "web");
    let seed = serves(&one, 2, "web");
    let service = serves(&one, 1, "shop");
    let stranger = Place::new();
    let other_authority = Tls {
        client_ca: Some(stranger.ca()),
        ..one.clone()
    };
    let authority = serves(&other_authority, 1, "web");
    let nobody = serves(&Tls { client_ca: None, ..one }, 1, "web");
    for version in [&TLS12, &TLS13] {
        for other in [&seed, &service, &authority, &nobody] {
            assert_eq!(
                kinds(&place, version, [&own, other]),
                [HandshakeKind::Full; 2],
                "{version:?}"
            );
        }
        assert_eq!(
            kinds(&place, version, [&own; 2])[1],
            HandshakeKind::Resumed,
            "{version:?}"
        );
    }
}

#[test]
fn backends_are_believed_as_the_file_says() {
    let (place, stranger) = (Place::new(), Place::new());
    let backend = server(&tls(&[place.pair("a.pem", &["a.example"])])).unwrap();
    assert!(shake(&backend, &believer(&place, false), "a.example").is_ok());
    for (place, name) in [(&stranger, "a.example"), (&place, "b.example")] {
        assert!(shake(&backend, &believer(place, false), name).is_err(), "{name}");
    }
    let anybody = UpstreamTls {
        verify: false,
        server_name: None,
        ca: None,
    };
    assert!(shake(&backend, &client(&anybody, false).unwrap(), "b.example").is_ok());
}
