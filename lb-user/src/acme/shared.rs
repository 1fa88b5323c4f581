//! What nodes share: accounts, certificates, and what authorities are shown. Pure.
//!
//! Nobody is asked who is right: of two accounts or certificates each node takes the same one, whatever it heard first, so all
//! end with the same.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::leaf::Leaf;
use crate::model::Hidden;
use crate::model::acme::{Acme, Challenge, Issued, Proof};

/// An account with an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// When its key was made, in seconds since 1970.
    pub(super) stamp: u64,
    /// As the library writes it, with its key.
    pub(super) credentials: Arc<Hidden<Vec<u8>>>,
}

impl Account {
    /// Does it go before `other`? That with the later key: an earlier one may have been rolled over.
    pub(super) fn beats(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| (self.stamp, &self.credentials.0) > (other.stamp, &other.credentials.0))
    }
}

/// Does a certificate go before another one of the same service? One that is for all names that are wanted, then that which was
/// issued later.
pub(super) fn beats(leaf: &Leaf, other: Option<&Leaf>, acme: &Acme) -> bool {
    let rank = |leaf: &Leaf| {
        let validity = leaf.validity;
        (
            leaf.fits(acme),
            validity.not_before,
            validity.not_after,
            Arc::clone(&leaf.der),
        )
    };
    other.is_none_or(|other| rank(leaf) > rank(other))
}

/// What one node shows to authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Which one.
    pub(super) node: String,
    /// When, in seconds since 1970.
    pub(super) at: u64,
    challenges: Vec<ShownChallenge>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ShownChallenge {
    Http {
        domain: String,
        token: String,
        answer: String,
    },
    Tls {
        domain: String,
        pem: String,
    },
}

/// Without keys, though these are good for nothing else.
impl fmt::Debug for ShownChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { domain, .. } | Self::Tls { domain, .. } => f.write_str(domain),
        }
    }
}

/// After so long nobody looks any more, and who has shown it has gone without taking it away.
const STALE: u64 = 3_600;

impl Shown {
    pub(super) fn new<'c>(node: &str, at: u64, challenges: impl Iterator<Item = &'c Challenge>) -> Self {
        let shown = |Challenge { domain, proof }: &Challenge| {
            let domain = domain.to_string();
            match proof {
                Proof::Http { token, answer } => ShownChallenge::Http {
                    domain,
                    token: token.to_string(),
                    answer: answer.to_string(),
                },
                Proof::Tls(issued) => ShownChallenge::Tls {
                    domain,
                    pem: String::from_utf8_lossy(&issued.pem.0).into_owned(),
                },
            }
        };
        Self {
            node: node.to_owned(),
            at,
            challenges: challenges.map(shown).collect(),
        }
    }

    /// What this node shows because of it, at this time.
    pub(super) fn challenges(&self, now: u64) -> Vec<Challenge> {
        if self.at.abs_diff(now) > STALE {
            return Vec::new();
        }
        let challenge = |shown: &ShownChallenge| match shown {
            ShownChallenge::Http { domain, token, answer } => Challenge {
                domain: domain.as_str().into(),
                proof: Proof::Http {
                    token: token.as_str().into(),
                    answer: answer.as_str().into(),
                },
            },
            ShownChallenge::Tls { domain, pem } => Challenge {
                domain: domain.as_str().into(),
                proof: Proof::Tls(Issued {
                    pem: Arc::new(Hidden(pem.clone().into_bytes())),
                    file: Path::new("a challenge").into(),
                }),
            },
        };
        self.challenges.iter().map(challenge).collect()
    }
}

/// What one node tells another, as it goes over the feed of peers.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Record {
    Account {
        name: String,
        stamp: u64,
        credentials: String,
    },
    Certificate {
        service: String,
        pem: String,
    },
    Shown {
        shown: Shown,
    },
}

/// The same, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// By [`super::store::account_name`].
    Account(String, Account),
    /// By service.
    Certificate(String, Hidden<Vec<u8>>),
    Shown(Shown),
}

impl News {
    /// `None` for what is no text.
    pub(super) fn encode(&self) -> Option<Hidden<Vec<u8>>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let mut record = match self {
            Self::Account(name, account) => Record::Account {
                name: name.clone(),
                stamp: account.stamp,
                credentials: text(&account.credentials.0)?,
            },
            Self::Certificate(service, pem) => Record::Certificate {
                service: service.clone(),
                pem: text(&pem.0)?,
            },
            Self::Shown(shown) => Record::Shown { shown: shown.clone() },
        };
        let encoded = serde_json::to_vec(&record).ok().map(Hidden);
        match &mut record {
            Record::Account { credentials: key, .. } | Record::Certificate { pem: key, .. } => key.zeroize(),
            Record::Shown { .. } => {}
        }
        encoded
    }

    /// # Errors
    /// It makes no sense: why, for people.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        Ok(
            match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
                Record::Account {
                    name,
                    stamp,
                    credentials,
                } => {
                    let credentials = Arc::new(Hidden(credentials.into_bytes()));
                    Self::Account(name, Account { stamp, credentials })
                }
                Record::Certificate { service, pem } => Self::Certificate(service, Hidden(pem.into_bytes())),
                Record::Shown { shown } => Self::Shown(shown),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::acme::tests::{account, acme, pem_of};

    fn leaf(names: &[&str], from: i32) -> Leaf {
        let issued = Issued {
            pem: Arc::new(Hidden(pem_of(names, from))),
            file: Path::new("/x").into(),
        };
        Leaf::of(&issued).unwrap()
    }

    #[test]
    fn the_later_one_that_is_for_all_names() {
        let acme = acme(&["a.example", "b.example"]);
        let (both, later, one) = (
            leaf(&["a.example", "b.example"], 2026),
            leaf(&["a.example", "b.example"], 2027),
            leaf(&["a.example"], 2028),
        );
        assert!(beats(&one, None, &acme));
        assert!(beats(&both, Some(&one), &acme) && !beats(&one, Some(&both), &acme));
        assert!(beats(&later, Some(&both), &acme) && !beats(&both, Some(&later), &acme));
        assert!(!beats(&both, Some(&both), &acme));
    }

    #[test]
    fn what_is_told_is_heard() {
        let challenges = [
            Challenge {
                domain: "a.example".into(),
                proof: Proof::Http {
                    token: "t".into(),
                    answer: "t.x".into(),
                },
            },
            Challenge {
                domain: "b.example".into(),
                proof: Proof::Tls(Issued {
                    pem: Arc::new(Hidden(b"pem".to_vec())),
                    file: Path::new("a challenge").into(),
                }),
            },
        ];
        let shown = Shown::new("lb1", 1_000_000, challenges.iter());
        assert_eq!(shown.challenges(1_000_060), challenges);
        assert_eq!(shown.challenges(1_003_601), []);
        let all = [
            News::Account("x".to_owned(), account(3)),
            News::Certificate("web".to_owned(), Hidden(b"pem".to_vec())),
            News::Shown(shown),
        ];
        for news in all {
            assert_eq!(News::decode(&news.encode().unwrap().0), Ok(news));
        }
        for wrong in ["", "{}", "{\"kind\":\"shown\"}", "{\"kind\":\"other\"}"] {
            assert!(News::decode(wrong.as_bytes()).is_err());
        }
    }

    proptest! {
        /// Whatever order nodes hear of accounts in, all end with the same one.
        #[test]
        fn nodes_agree_on_an_account(stamps in prop::collection::vec((0u64..4, 0u8..4), 1..6), turn in any::<prop::sample::Index>()) {
            let accounts: Vec<Account> = stamps
                .iter()
                .map(|(stamp, key)| Account { stamp: *stamp, credentials: Arc::new(Hidden(vec![*key])) })
                .collect();
            let end = |accounts: &mut dyn Iterator<Item = &Account>| {
                accounts.fold(None, |known: Option<&Account>, heard| if heard.beats(known) { Some(heard) } else { known }).cloned()
            };
            let turn = turn.index(accounts.len());
            let turned = end(&mut accounts[turn..].iter().chain(&accounts[..turn]));
            prop_assert_eq!(&end(&mut accounts.iter()), &turned);
            prop_assert_eq!(end(&mut accounts.iter().rev()), turned);
        }
    }
}
