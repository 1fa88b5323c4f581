//! Keys of certificates, what is handed in for them, and certificates that the node signs itself.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};
use ring::rand::{SecureRandom as _, SystemRandom};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{self, CryptoRng, RngCore};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::model::Hidden;
use crate::model::acme::{Issued, KeyType};

/// Bits of a key of RSA: what every authority takes, and more costs each handshake.
const RSA_BITS: usize = 2_048;

/// A key for a certificate, and what asks an authority for one (PKCS #10).
pub(super) struct Request {
    /// PEM.
    pub(super) key: Hidden<String>,
    /// DER.
    pub(super) csr: Vec<u8>,
}

/// A new key, and a request for a certificate for these names with it. A key of RSA takes a while, so this is for threads that
/// may be held up.
///
/// # Errors
/// For people.
pub(super) fn request(key_type: KeyType, domains: &[Arc<str>]) -> Result<Request, String> {
    let key = match key_type {
        KeyType::Ecdsa => KeyPair::generate().map_err(|error| error.to_string())?,
        KeyType::Rsa => {
            let key = RsaPrivateKey::new(&mut Random, RSA_BITS).map_err(|error| error.to_string())?;
            let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
            KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_bytes())).map_err(|error| error.to_string())?
        }
    };
    let mut params = params(domains)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(|error| error.to_string())?;
    Ok(Request {
        key: Hidden(key.serialize_pem()),
        csr: csr.der().to_vec(),
    })
}

/// What serves until an authority has signed one: nobody believes it, and a service with it is up.
///
/// # Errors
/// For people.
pub(super) fn stand_in(domains: &[Arc<str>]) -> Result<Issued, String> {
    let mut params = params(domains)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Fulcrum, until a certificate is issued");
    signed_by_itself(&params, "a stand-in")
}

/// What is shown for tls-alpn-01 (RFC 8737 §3). `digest`: of the answer, by SHA-256.
///
/// # Errors
/// For people.
pub(super) fn challenge(domain: &Arc<str>, digest: &[u8]) -> Result<Issued, String> {
    let mut params = params(std::slice::from_ref(domain))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    signed_by_itself(&params, "a challenge")
}

fn params(domains: &[Arc<str>]) -> Result<CertificateParams, String> {
    let names: Vec<String> = domains.iter().map(|domain| domain.as_ref().to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

fn signed_by_itself(params: &CertificateParams, called: &str) -> Result<Issued, String> {
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params.self_signed(&key).map_err(|error| error.to_string())?;
    Ok(issued(
        &Hidden(key.serialize_pem()),
        &certificate.pem(),
        Path::new(called),
    ))
}

/// A key and a chain in one text.
pub(super) fn issued(key: &Hidden<String>, chain: &str, file: &Path) -> Issued {
    // Room for both, so that no copy of the key stays behind.
    let mut pem = Vec::with_capacity(key.0.len() + 1 + chain.len());
    pem.extend_from_slice(key.0.as_bytes());
    if !key.0.ends_with('\n') {
        pem.push(b'\n');
    }
    pem.extend_from_slice(chain.as_bytes());
    Issued {
        pem: Arc::new(Hidden(pem)),
        file: file.into(),
    }
}

/// The system's random numbers, as the crate for keys of RSA wants them.
struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        // A system without random numbers must not make keys.
        self.try_fill_bytes(bytes).expect("the system has random numbers");
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        let unavailable =
            |_| rand_core::Error::from(std::num::NonZeroU32::MIN.saturating_add(rand_core::Error::CUSTOM_START));
        SystemRandom::new().fill(bytes).map_err(unavailable)
    }
}

impl CryptoRng for Random {}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;
    use crate::acme::leaf::Leaf;

    #[test]
    fn both_kinds_of_keys_are_what_servers_take() {
        for (kind, algorithm) in [(KeyType::Ecdsa, "ECDSA"), (KeyType::Rsa, "RSA")] {
            let request = request(kind, &["a.example".into()]).unwrap();
            let key = PrivateKeyDer::from_pem_slice(request.key.0.as_bytes()).unwrap();
            let key = tokio_rustls::rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
            assert!(format!("{:?}", key.algorithm()).contains(algorithm));
            assert!(!request.csr.is_empty());
        }
    }

    #[test]
    fn a_stand_in_is_for_every_name() {
        let issued = stand_in(&["a.example".into(), "b.example".into()]).unwrap();
        assert_eq!(Leaf::of(&issued).unwrap().names, ["a.example", "b.example"]);
        assert!(!format!("{issued:?}").contains("BEGIN"), "the key is not shown");
    }

    #[test]
    fn a_challenge_has_its_digest_in_a_critical_extension() {
        let issued = challenge(&"a.example".into(), &[7; 32]).unwrap();
        let der = CertificateDer::from_pem_slice(&issued.pem.0).unwrap();
        // 1.3.6.1.5.5.7.1.31, critical, an octet string in an octet string.
        let extension = [
            &[
                0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 31, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04, 0x20,
            ][..],
            &[7; 32],
        ]
        .concat();
        assert!(der.windows(extension.len()).any(|window| window == extension));
    }
}
