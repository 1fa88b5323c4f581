//! Tickets of TLS sessions (RFC 5077, RFC 8446 §4.6.1) that every node opens that has the same seed, whenever it was
//! started: their keys follow from the seed and the time, so that nodes agree without talking.
//!
//! A ticket says of which [`EPOCH`] it is, and has a salt of its own. From the seed, both, and what the ticket is bound to,
//! HKDF (RFC 5869) makes a key that seals this one ticket. So nothing is kept, and no number of tickets wears a key out.
//!
//! ```text
//! epoch: u64 | salt: [u8; 24] | sealed by ChaCha20-Poly1305, with the epoch as additional data | tag: [u8; 16]
//! ```
//!
//! What it cannot give is forward secrecy towards whoever gets the seed: such a one opens every ticket that was ever
//! recorded.

use std::time::Duration;

use lb_common::hash::Seed;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, hkdf};
use tokio_rustls::rustls::server::ProducesTickets;

use super::now;
use crate::model::Hidden;

/// 12 h; a ticket is good for one of them at least, and for less than three: that before and that after are taken too, the
/// latter since clocks of nodes differ.
const EPOCH: Duration = Duration::from_secs(12 * 3_600);

/// Nothing else that is made of the seed begins so.
const LABEL: &[u8] = b"fulcrum tls session tickets 1";

const EPOCH_LENGTH: usize = size_of::<u64>();
const SALT_LENGTH: usize = 24;

static SEAL: &aead::Algorithm = &aead::CHACHA20_POLY1305;

/// A key is made for one ticket, so it seals with one nonce.
const NONCE: [u8; aead::NONCE_LEN] = [0; aead::NONCE_LEN];

/// What keys are made of, for the whole fleet.
#[derive(Clone, Debug)]
pub struct Secret(hkdf::Prk);

impl Secret {
    /// From the seed that a fleet shares.
    #[must_use]
    pub fn of(seed: Seed) -> Self {
        let [low, high] = seed.0.map(u64::to_le_bytes);
        let both = Hidden([low, high].concat());
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(&both.0))
    }

    /// Tickets that are good where `bound` is the same, and nowhere else.
    pub(super) fn tickets(&self, bound: [u8; 32]) -> Tickets {
        Tickets {
            secret: self.0.clone(),
            bound,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tickets {
    secret: hkdf::Prk,
    bound: [u8; 32],
}

impl Tickets {
    fn key(&self, epoch: &[u8], salt: &[u8]) -> Option<aead::LessSafeKey> {
        let info = [&self.bound, epoch, salt];
        let key = self.secret.expand(&info, SEAL).ok()?;
        Some(aead::LessSafeKey::new(key.into()))
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let epoch = (now / EPOCH.as_secs()).to_be_bytes();
        let mut salt = [0; SALT_LENGTH];
        SystemRandom::new().fill(&mut salt).ok()?;
        let key = self.key(&epoch, &salt)?;
        let mut ticket = Vec::with_capacity(EPOCH_LENGTH + SALT_LENGTH + plain.len() + SEAL.tag_len());
        ticket.extend(epoch);
        ticket.extend(salt);
        ticket.extend(plain);
        let nonce = aead::Nonce::assume_unique_for_key(NONCE);
        let sealed = &mut ticket[EPOCH_LENGTH + SALT_LENGTH..];
        let tag = key
            .seal_in_place_separate_tag(nonce, aead::Aad::from(epoch), sealed)
            .ok()?;
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (epoch, rest) = ticket.split_first_chunk::<EPOCH_LENGTH>()?;
        let (salt, sealed) = rest.split_first_chunk::<SALT_LENGTH>()?;
        if u64::from_be_bytes(*epoch).abs_diff(now / EPOCH.as_secs()) > 1 {
            return None;
        }
        let key = self.key(epoch, salt)?;
        let mut plain = sealed.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(NONCE);
        let length = key
            .open_in_place(nonce, aead::Aad::from(*epoch), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // For as long as it is good for certain.
        u32::try_from(EPOCH.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3_600;

    /// Of a node with this seed, for what this stands for.
    fn node(seed: u8, bound: u8) -> Tickets {
        Secret::of(Seed::from_bytes([seed; 16])).tickets([bound; 32])
    }

    #[test]
    fn a_ticket_of_one_node_opens_on_the_other() {
        let [one, other] = [node(1, 7), node(1, 7)];
        let ticket = one.seal(b"a session", DAY).unwrap();
        assert_eq!(other.open(&ticket, DAY).as_deref(), Some(&b"a session"[..]));
        // Nobody sees by two tickets that they are of one session.
        let again = one.seal(b"a session", DAY).unwrap();
        assert_ne!(again[EPOCH_LENGTH..], ticket[EPOCH_LENGTH..]);
        assert_eq!(node(2, 7).open(&ticket, DAY), None, "another seed");
        assert_eq!(node(1, 8).open(&ticket, DAY), None, "another service");
    }

    #[test]
    fn a_ticket_is_good_for_as_long_as_it_says_whatever_clocks_say() {
        let (epoch, tickets) = (EPOCH.as_secs(), node(1, 7));
        let at = |now| tickets.seal(b"a session", now).unwrap();
        let opens = |ticket: &[u8], now| tickets.open(ticket, now).is_some();
        for made in [3 * epoch, 4 * epoch - 1] {
            let ticket = at(made);
            // The clock of who opens it is behind, or right.
            assert!(opens(&ticket, made - epoch) && opens(&ticket, made + u64::from(tickets.lifetime())));
            assert!(opens(&ticket, 2 * epoch) && opens(&ticket, 5 * epoch - 1));
            assert!(!opens(&ticket, 2 * epoch - 1) && !opens(&ticket, 5 * epoch));
        }
        // Whose clock stands at the beginning of time serves all the same.
        assert!(opens(&at(0), 0));
    }

    #[test]
    fn an_epoch_cannot_be_put_off() {
        let (epoch, tickets) = (EPOCH.as_secs(), node(1, 7));
        let mut ticket = tickets.seal(b"a session", 3 * epoch).unwrap();
        ticket[..EPOCH_LENGTH].copy_from_slice(&5u64.to_be_bytes());
        assert_eq!(tickets.open(&ticket, 5 * epoch), None);
    }

    proptest! {
        #[test]
        fn whatever_is_changed_opens_nothing(place: prop::sample::Index, bit in 0..8u8, length: prop::sample::Index) {
            let tickets = node(1, 7);
            let ticket = tickets.seal(b"a session", DAY).unwrap();
            let mut changed = ticket.clone();
            changed[place.index(ticket.len())] ^= 1 << bit;
            prop_assert_eq!(tickets.open(&changed, DAY), None);
            prop_assert_eq!(tickets.open(&ticket[..length.index(ticket.len())], DAY), None);
        }

        #[test]
        fn garbage_opens_nothing(mut garbage: Vec<u8>) {
            let tickets = node(1, 7);
            prop_assert_eq!(tickets.open(&garbage, DAY), None);
            // As if it were of this time.
            garbage.splice(..garbage.len().min(EPOCH_LENGTH), 2u64.to_be_bytes());
            prop_assert_eq!(tickets.open(&garbage, DAY), None);
        }
    }
}
