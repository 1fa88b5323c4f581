//! What nodes and the proxy are given, and what other nodes give: the part of the [`Engine`] that shares. Which of two counts is
//! for [`super::shared`] to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::entry::Entry;
use super::shared::{News, Shown};
use super::store::{Store, account_name};
use super::{Done, Engine, Found, SHOW, Showing, now};
use crate::model::Hidden;
use crate::model::acme::{Issued, News as Told, Offer};

impl Engine {
    /// Gives the proxy and the peers what there is, where that is news.
    pub(super) fn publish(&mut self) {
        let now = now();
        let certificates = self
            .entries
            .iter()
            .filter_map(|(service, entry)| Some((Arc::clone(service), entry.serves()?)));
        let own = self.challenges.values().flatten().cloned();
        let offer = Offer {
            number: 0,
            certificates: certificates.collect(),
            challenges: own
                .chain(self.foreign.values().flat_map(|shown| shown.challenges(now)))
                .collect(),
        };
        let mut unserved = None;
        self.offers.send_if_modified(|known| {
            let number = known.number + 1;
            if known.certificates != offer.certificates {
                unserved = Some(number);
            }
            let same = unserved.is_none() && known.challenges == offer.challenges;
            if !same {
                *known = Arc::new(Offer { number, ..offer });
            }
            !same
        });
        if let Some(number) = unserved {
            // One that comes while another is waited for prolongs nothing.
            let until = self.unserved.map_or_else(|| Instant::now() + SHOW, |(_, until)| until);
            self.unserved = Some((number, until));
        }
        let records = self.records();
        self.told.send_if_modified(|known| {
            let same = known.records == records;
            if !same {
                *known = Arc::new(Told {
                    number: known.number + 1,
                    records,
                });
            }
            !same
        });
    }

    /// What peers are told: what lies in a folder that they mount is theirs already.
    fn records(&self) -> Vec<Arc<Hidden<Vec<u8>>>> {
        let own: Vec<_> = self.entries.iter().filter(|(_, entry)| !entry.is_shared()).collect();
        let mut news: Vec<News> = Vec::new();
        let mut accounts = BTreeSet::new();
        for (service, entry) in &own {
            let key = entry.account_key();
            if let Some(account) = self.accounts.get(&key)
                && accounts.insert(key.clone())
            {
                news.push(News::Account(key.1, account.clone()));
            }
            if let Some(issued) = entry.issued() {
                let pem = Hidden(issued.pem.0.clone());
                news.push(News::Certificate(service.as_ref().to_owned(), pem));
            }
        }
        if !own.is_empty() {
            let of_own = self
                .challenges
                .iter()
                .filter(|(service, _)| own.iter().any(|(name, _)| name == service));
            let open = of_own.flat_map(|(_, challenges)| challenges);
            news.push(News::Shown(Shown::new(&self.config.node.name, self.challenged, open)));
        }
        news.iter().filter_map(News::encode).map(Arc::new).collect()
    }

    /// Shows other nodes of a folder what this one shows to authorities.
    pub(super) fn show_in(&mut self, store: &Store, folder: &Path) {
        let here = |service: &Arc<str>| self.entries.get(service).is_some_and(|entry| entry.folder == folder);
        let open = self.challenges.iter().filter(|(service, _)| here(service));
        let shown = Shown::new(
            &self.config.node.name,
            self.challenged,
            open.flat_map(|(_, challenges)| challenges),
        );
        let store = store.clone();
        self.tasks.spawn_blocking(move || {
            if let Err(fault) = store.keep_shown(&shown) {
                tracing::warn!(reason = %fault, "other nodes do not show what authorities ask for");
            }
            Done::Commanded
        });
    }

    /// Answers when what there is now is shown: here, and where peers have taken in `told`, and after `after` at the earliest.
    pub(super) fn shows(&mut self, told: u64, after: Duration, reply: oneshot::Sender<()>) {
        let now = Instant::now();
        self.showing.push(Showing {
            number: self.offers.borrow().number,
            told,
            from: now + after,
            until: now + SHOW,
            reply,
        });
    }

    /// Tells those who wait, now that the proxy serves the offer of this number.
    pub(super) fn shown(&mut self, served: u64) {
        let now = Instant::now();
        let (there, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.showing).into_iter().partition(|showing| {
            let everywhere = served >= showing.number && self.peers.values().all(|taken| *taken >= showing.told);
            now >= showing.from && (everywhere || now >= showing.until)
        });
        self.showing = waiting;
        for showing in there {
            // Whoever has given up does not need it.
            let _ = showing.reply.send(());
        }
    }

    /// Do clients get the certificates that there are, now that the proxy serves the offer of this number? Until then nothing is
    /// said of them, so that whoever hears of one gets it; a proxy that does not take it is not waited for.
    pub(super) fn is_served(&mut self, served: u64) -> bool {
        self.unserved = self.unserved.filter(|(number, _)| *number > served);
        self.unserved.is_none_or(|(_, until)| Instant::now() >= until)
    }

    /// Takes what a peer tells.
    pub(super) fn hear(&mut self, peer: &Arc<str>, bytes: &[u8]) {
        let news = match News::decode(bytes) {
            Ok(news) => news,
            Err(reason) => {
                tracing::warn!(%peer, reason, "what a peer tells of certificates makes no sense");
                return;
            }
        };
        match news {
            News::Certificate(service, pem) => {
                let Some(entry) = self.entries.get_mut(&*service) else {
                    return;
                };
                let issued = Issued {
                    pem: Arc::new(pem),
                    file: entry.store.certificate_file(&service).into(),
                };
                if !entry.take(issued, true) {
                    return;
                }
                tracing::info!(service, %peer, "a certificate comes from a peer");
            }
            News::Account(name, account) => {
                let of = |entry: &&Entry| !entry.is_shared() && account_name(&entry.acme.authority) == name;
                let Some(entry) = self.entries.values().find(of) else {
                    return;
                };
                let key = entry.account_key();
                if !account.beats(self.accounts.get(&key)) {
                    return;
                }
                let (store, authority, kept) = (entry.store.clone(), entry.acme.authority.clone(), account.clone());
                self.tasks.spawn_blocking(move || {
                    if let Err(fault) = store.keep_account(&authority, &kept) {
                        tracing::error!(reason = %fault, "an account that a peer has told of cannot be kept");
                    }
                    Done::Commanded
                });
                self.accounts.insert(key, account);
            }
            News::Shown(shown) => {
                self.foreign.insert(Arc::clone(peer), shown);
            }
        }
        self.publish();
    }

    /// Once a second: what others have done, and what could not be kept.
    pub(super) fn look(&mut self) {
        let now = now();
        for (service, entry) in &mut self.entries {
            if let Some(issued) = entry.unkept(now) {
                let (store, service) = (entry.store.clone(), Arc::clone(service));
                self.tasks.spawn_blocking(move || {
                    let kept = store.keep_certificate(&service, &issued);
                    Done::Kept(service, kept.map_err(|fault| fault.to_string()))
                });
            }
        }
        let shared: BTreeMap<PathBuf, Store> = self
            .entries
            .values()
            .filter(|entry| entry.is_shared() && !self.looking.contains(&entry.folder))
            .map(|entry| (entry.folder.clone(), entry.store.clone()))
            .collect();
        for (folder, store) in shared {
            let of_folder = self.entries.iter().filter(|(_, entry)| entry.folder == folder);
            let services: Vec<_> = of_folder
                .map(|(service, entry)| (Arc::clone(service), entry.acme.authority.clone()))
                .collect();
            self.looking.insert(folder);
            self.tasks.spawn_blocking(move || {
                let certificate =
                    |(service, _): &(Arc<str>, _)| Some((Arc::clone(service), store.certificate(service).ok()??));
                let account =
                    |(_, authority): &(_, _)| Some((account_name(authority), store.account(authority).ok()??));
                let found = Found {
                    certificates: services.iter().filter_map(certificate).collect(),
                    accounts: services.iter().filter_map(account).collect(),
                    shown: store.shown(),
                };
                Done::Looked(store, found)
            });
        }
        let stale = |shown: &Shown| shown.challenges(now).is_empty();
        if self.foreign.values().any(stale) {
            self.foreign.retain(|_, shown| !stale(shown));
            self.publish();
        }
    }

    /// Takes what others have left in a folder that they share.
    pub(super) fn looked(&mut self, store: &Store, found: Found) {
        let Some(folder) = self
            .entries
            .values()
            .find(|entry| entry.store == *store)
            .map(|entry| entry.folder.clone())
        else {
            self.looking.clear();
            return;
        };
        self.looking.remove(&folder);
        let mut news = false;
        for (service, issued) in found.certificates {
            news |= self
                .entries
                .get_mut(&service)
                .is_some_and(|entry| entry.take(issued, false));
        }
        for (name, account) in found.accounts {
            let key = (folder.clone(), name);
            if account.beats(self.accounts.get(&key)) {
                self.accounts.insert(key, account);
                news = true;
            }
        }
        if let Some(shown) = found.shown.filter(|shown| shown.node != self.config.node.name) {
            let from: Arc<str> = folder.display().to_string().into();
            news |= self.foreign.get(&from) != Some(&shown);
            self.foreign.insert(from, shown);
        }
        if news {
            self.publish();
        }
    }
}
