//! The value of a cookie that keeps a client with its backend.
//!
//! It is a SipHash-2-4 of 128 bits, keyed by the seed, of what a backend is: the service and its address. Nothing
//! is written in it that could be read or changed. A node knows the tokens of the backends that it has, and looks one up;
//! so it is the same on every node with the seed, and after every restart, and what is forged or of long ago is nobody's.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use lb_common::addr::Ipv6Be;
use lb_common::hash::Seed;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::model::MemberKey;

/// Digits of a token, in lower case.
pub const LENGTH: usize = 32;

/// The token of a backend.
#[must_use]
pub fn token(seed: Seed, member: &MemberKey) -> Arc<str> {
    let mut hasher = SipHasher24::new_with_keys(seed.0[0], seed.0[1]);
    // What it is for keeps it apart from whatever else the seed is a key of.
    hasher.write(b"fulcrum sticky cookie\0");
    let Ipv6Be([high, low]) = Ipv6Be::mapped(member.backend.ip());
    hasher.write(&high.to_ne_bytes());
    hasher.write(&low.to_ne_bytes());
    hasher.write(&member.backend.port().to_be_bytes());
    hasher.write(member.service.as_bytes());
    format!("{:032x}", hasher.finish128().as_u128()).into()
}

/// The tokens of a pool's members.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<Arc<str>, usize>);

impl Tokens {
    pub(super) fn of<'a>(tokens: impl Iterator<Item = &'a Arc<str>>) -> Self {
        Self(tokens.enumerate().map(|(i, token)| (Arc::clone(token), i)).collect())
    }

    /// Whose token it is.
    pub(super) fn decode(&self, value: &[u8]) -> Option<usize> {
        if value.len() != LENGTH {
            return None;
        }
        self.0.get(str::from_utf8(value).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([5, 6]);

    fn member(service: &str, backend: &str) -> MemberKey {
        MemberKey {
            service: service.into(),
            backend: backend.parse().unwrap(),
        }
    }

    #[test]
    fn tokens_are_as_they_have_always_been() {
        // Clients have them: a change here takes them off their backends.
        let token = token(SEED, &member("web", "10.0.0.6:80"));
        assert_eq!(&*token, "24b895b2e7a796fbde94e45e98847c82");
    }

    #[test]
    fn each_backend_has_its_own() {
        let members = [
            member("web", "10.0.0.6:80"),
            member("web", "10.0.0.6:81"),
            member("web", "10.0.0.7:80"),
            member("web", "[2001:db8::6]:80"),
            member("api", "10.0.0.6:80"),
        ];
        let tokens: Vec<_> = members.iter().map(|member| token(SEED, member)).collect();
        let known = Tokens::of(tokens.iter());
        for (i, token) in tokens.iter().enumerate() {
            assert_eq!(token.len(), LENGTH);
            assert_eq!(known.decode(token.as_bytes()), Some(i));
        }
    }

    #[test]
    fn what_was_tampered_with_is_nobodys() {
        let good = token(SEED, &member("web", "10.0.0.6:80"));
        let known = Tokens::of([&good].into_iter());
        for at in 0..LENGTH {
            let mut bad = good.as_bytes().to_vec();
            bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(known.decode(&bad), None);
        }
        let other = token(Seed([5, 7]), &member("web", "10.0.0.6:80"));
        let upper = good.to_uppercase();
        for bad in ["", "x", &good[1..], &format!("{good}0"), &other, &upper, "10.0.0.6:80"] {
            assert_eq!(known.decode(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(known.decode(&[0xff; LENGTH]), None);
    }
}
