//! What a certificate says of itself: for whom it is, when, and how an authority knows it.

use std::sync::Arc;

use der::asn1::AnyRef;
use der::{Decode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use instant_acme::CertificateIdentifier;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, Der};

use crate::model::acme::{Acme, Issued};
use crate::model::hex;
use crate::net::tls::{Validity, validity};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The certificate itself.
    pub(super) der: Arc<[u8]>,
    /// Hosts that it is for, in lower case.
    pub(super) names: Vec<String>,
    /// When it is valid.
    pub(super) validity: Validity,
}

impl Leaf {
    /// The first certificate of a text of PEM.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn of(issued: &Issued) -> Result<Self, String> {
        let der = CertificateDer::pem_slice_iter(&issued.pem.0)
            .next()
            .ok_or("there is no certificate in it")?
            .map_err(|error| format!("it is not PEM: {error}"))?;
        let parsed = webpki::EndEntityCert::try_from(&der).map_err(|error| format!("it cannot be used: {error}"))?;
        Ok(Self {
            names: parsed.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            validity: validity(&der).ok_or("it does not say when it is valid")?,
            der: der.as_ref().into(),
        })
    }

    /// Is it for all names that the file has? Its key may be of another kind until it is renewed.
    pub(super) fn fits(&self, acme: &Acme) -> bool {
        let has = |domain: &Arc<str>| self.names.iter().any(|name| **name == **domain);
        acme.domains.iter().all(has)
    }

    /// How its authority knows it (RFC 9773 §4.1); `None`: it does not say who has signed it.
    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let fields = Fields::of(&self.der)?;
        let authority = fields.authority_key?;
        let identifier = CertificateIdentifier::new(Der::from_slice(authority), Der::from_slice(fields.serial));
        Some(identifier.into_owned())
    }

    /// What tells it from others, by SHA-256.
    pub(super) fn digest(&self) -> String {
        hex::encode(&Sha256::digest(&self.der))
    }

    /// From 0 to 1, and the same for the same certificate.
    pub(super) fn chance(&self) -> f64 {
        let digest = Sha256::digest(&self.der);
        let [a, b, c, d, ..] = digest.as_slice() else {
            return 0.5;
        };
        f64::from(u32::from_be_bytes([*a, *b, *c, *d])) / f64::from(u32::MAX)
    }
}

/// Parts of a certificate (RFC 5280 §4.1).
struct Fields<'a> {
    serial: &'a [u8],
    /// What the authority's key is called (§4.2.1.1).
    authority_key: Option<&'a [u8]>,
}

/// `authorityKeyIdentifier`, 2.5.29.35.
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];

impl<'a> Fields<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut fields = elements(sequence(sequence(certificate)?)?)?.into_iter();
        let first = fields.next()?;
        let serial = if first.tag().is_context_specific() {
            fields.next()?
        } else {
            first
        };
        let is_extensions = |field: &AnyRef<'_>| {
            field.tag()
                == Tag::ContextSpecific {
                    constructed: true,
                    number: TagNumber::N3,
                }
        };
        let authority_key = fields
            .find(is_extensions)
            .and_then(|field| authority_key(field.value()));
        Some(Self {
            serial: serial.value(),
            authority_key,
        })
    }
}

/// `keyIdentifier [0]` of the extension, which is an octet string around a sequence.
fn authority_key(extensions: &[u8]) -> Option<&[u8]> {
    for extension in elements(sequence(extensions)?)? {
        let parts = elements(extension.value())?;
        let (Some(name), Some(value)) = (parts.first(), parts.last()) else {
            continue;
        };
        if name.value() == AUTHORITY_KEY {
            let is_key = |part: &AnyRef<'_>| {
                part.tag()
                    == Tag::ContextSpecific {
                        constructed: false,
                        number: TagNumber::N0,
                    }
            };
            return elements(sequence(value.value())?)?
                .into_iter()
                .find(is_key)
                .map(AnyRef::value);
        }
    }
    None
}

/// What is in the sequence that `bytes` begin with.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let sequence = AnyRef::decode(&mut SliceReader::new(bytes).ok()?).ok()?;
    (sequence.tag() == Tag::Sequence).then(|| sequence.value())
}

/// One after the other.
fn elements(bytes: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(elements)
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber, date_time_ymd};

    use super::*;
    use crate::model::Hidden;
    use crate::model::acme::{Authority, ChallengeKind, KeyType};

    pub(in crate::acme) fn issued(names: &[&str]) -> Issued {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // The example of RFC 9773, section 4.1.
        let key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde, 0x01,
            0xc8, 0xd4,
        ];
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.to_vec());
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x87, 0x65, 0x43, 0x21]));
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2026, 4, 1);
        let pem = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem();
        Issued {
            pem: Arc::new(Hidden(pem.into_bytes())),
            file: std::path::Path::new("/x.pem").into(),
        }
    }

    #[test]
    fn authorities_know_it_as_rfc_9773_says() {
        let leaf = Leaf::of(&issued(&["A.example"])).unwrap();
        let identifier = leaf.identifier().unwrap();
        assert_eq!(identifier.authority_key_identifier, "aYhba4dGQEHhs3uEe6CuLN4ByNQ");
        assert_eq!(identifier.serial, "AIdlQyE");
        assert_eq!(leaf.names, ["a.example"]);
        assert_eq!(leaf.validity.not_after - leaf.validity.not_before, 90 * 24 * 3_600);
        assert!((0.0..=1.0).contains(&leaf.chance()));
        assert_eq!(leaf.chance().to_bits(), leaf.clone().chance().to_bits());
    }

    #[test]
    fn it_fits_when_it_has_every_name() {
        let acme = |domains: &[&str]| Acme {
            domains: domains.iter().map(|&domain| domain.into()).collect(),
            authority: Authority {
                directory: "https://ca.example/".into(),
                contact: Vec::new(),
                ca: None,
                external_account: None,
                storage: None,
            },
            key_type: KeyType::Rsa,
            challenge: ChallengeKind::Http01,
        };
        let leaf = Leaf::of(&issued(&["a.example", "b.example"])).unwrap();
        assert!(leaf.fits(&acme(&["b.example"])) && leaf.fits(&acme(&["a.example", "b.example"])));
        assert!(!leaf.fits(&acme(&["a.example", "c.example"])));
    }

    #[test]
    fn what_is_none_is_said() {
        let of = |pem: &str| {
            let issued = Issued {
                pem: Arc::new(Hidden(pem.as_bytes().to_vec())),
                file: std::path::Path::new("/x.pem").into(),
            };
            Leaf::of(&issued).unwrap_err()
        };
        assert_eq!(of(""), "there is no certificate in it");
        assert!(of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("cannot be used"));
    }
}
