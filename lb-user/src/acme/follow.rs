//! An order on its way, from the first look to the certificate: whatever [`super::machine`] says is next is done.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{AuthorizationStatus, ChallengeType, Error, Order as Ordered, OrderStatus};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::http::Said;
use super::keys;
use super::machine::{Act, Name, NameState, OrderState, View, next};
use super::order::{NONCES, PATIENCE, Task, Wish, describe, is};
use crate::model::Hidden;
use crate::model::acme::{Challenge, ChallengeKind, Failure, Issued, Proof, Step};

/// Between two looks at an order, growing.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(5);

impl Task {
    /// Does what is to be done until there is a certificate.
    pub(super) async fn follow(&self, order: &mut Ordered, said: &Said) -> Result<Issued, Failure> {
        let mut names: Vec<Name> = Vec::new();
        let mut key: Option<Hidden<String>> = None;
        let mut look = FIRST_LOOK;
        let mut nonces = 0;
        let end = Instant::now() + PATIENCE;
        loop {
            let view = match self.look(order, &names, key.is_some()).await {
                Ok(view) => view,
                Err(error) if is(&error, "badNonce") && nonces < NONCES => {
                    nonces += 1;
                    continue;
                }
                Err(error) => return Err(self.refused(Step::Order, &error, said)),
            };
            names.clone_from(&view.names);
            let act = next(&view);
            let step = match act {
                Act::Show | Act::Tell(_) => Step::Challenge,
                Act::Finalise => Step::Finalise,
                Act::Fetch => Step::Certificate,
                Act::Wait | Act::Fail { .. } => Step::Order,
            };
            let done = match act {
                Act::Show => {
                    let challenges = self.challenges(order).await;
                    match challenges {
                        Ok(challenges) => {
                            self.show(challenges?).await;
                            names.iter_mut().for_each(|name| name.shown = true);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                Act::Tell(place) => self.tell(order, place).await.map(|()| names[place].told = true),
                Act::Finalise => {
                    let (kind, domains) = (self.acme.key_type, self.acme.domains.clone());
                    let made = spawn_blocking(move || keys::request(kind, &domains)).await;
                    let made = made.unwrap_or_else(|error| Err(error.to_string()));
                    let made = made.map_err(|reason| self.failure(step, None, reason))?;
                    match order.finalize_csr(&made.csr).await {
                        Ok(()) => {
                            key = Some(made.key);
                            look = FIRST_LOOK;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                Act::Wait => {
                    if Instant::now() >= end {
                        return Err(self.failure(step, None, "the authority does not come to an end".to_owned()));
                    }
                    sleep(look).await;
                    look = (look * 3 / 2).min(LAST_LOOK);
                    Ok(())
                }
                Act::Fetch => match order.certificate().await {
                    Ok(Some(chain)) => return self.received(key.as_ref(), &chain),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
                Act::Fail { step, domain, reason } => return Err(self.failure(step, domain.as_deref(), reason)),
            };
            match done {
                Ok(()) => {}
                Err(error) if is(&error, "badNonce") && nonces < NONCES => nonces += 1,
                Err(error) => return Err(self.refused(step, &error, said)),
            }
        }
    }

    /// How the order stands. `before`: what is known of its names.
    async fn look(&self, order: &mut Ordered, before: &[Name], finalised: bool) -> Result<View, Error> {
        let state = order.refresh().await?;
        let reason = state.error.as_ref().map(|problem| describe(problem).0);
        let state = match state.status {
            OrderStatus::Pending => OrderState::Pending,
            OrderStatus::Ready => OrderState::Ready,
            OrderStatus::Processing => OrderState::Processing,
            OrderStatus::Valid => OrderState::Valid,
            OrderStatus::Invalid => OrderState::Invalid,
        };
        let mut names = Vec::with_capacity(self.acme.domains.len());
        if matches!(state, OrderState::Pending | OrderState::Invalid) {
            let mut authorisations = order.authorizations();
            while let Some(handle) = authorisations.next().await {
                let mut handle = handle?;
                let place = names.len();
                let known = before.get(place);
                if known.is_some() {
                    handle.refresh().await?;
                }
                let problem = handle.challenges.iter().find_map(|challenge| challenge.error.as_ref());
                names.push(Name {
                    domain: handle.identifier().to_string().into(),
                    state: match handle.status {
                        AuthorizationStatus::Pending => NameState::Pending,
                        AuthorizationStatus::Valid => NameState::Valid,
                        _ => NameState::Lost,
                    },
                    shown: known.is_some_and(|known| known.shown),
                    told: known.is_some_and(|known| known.told),
                    reason: problem.map(|problem| describe(problem).0),
                });
            }
        }
        Ok(View {
            state,
            names,
            finalised,
            reason,
        })
    }

    /// What is shown for the names that wait.
    async fn challenges(&self, order: &mut Ordered) -> Result<Result<Vec<Challenge>, Failure>, Error> {
        let kind = self.acme.challenge;
        let mut challenges = Vec::new();
        let mut authorisations = order.authorizations();
        while let Some(handle) = authorisations.next().await {
            let mut handle = handle?;
            if handle.status != AuthorizationStatus::Pending {
                continue;
            }
            let domain: Arc<str> = handle.identifier().to_string().into();
            let Some(challenge) = handle.challenge(wanted(kind)) else {
                let reason = format!("the authority does not offer {} for this name", kind.label());
                return Ok(Err(self.failure(Step::Challenge, Some(&domain), reason)));
            };
            let answer = challenge.key_authorization();
            let proof = match kind {
                ChallengeKind::Http01 => Proof::Http {
                    token: challenge.token.as_str().into(),
                    answer: answer.as_str().into(),
                },
                ChallengeKind::TlsAlpn01 => match keys::challenge(&domain, answer.digest().as_ref()) {
                    Ok(issued) => Proof::Tls(issued),
                    Err(reason) => return Ok(Err(self.failure(Step::Challenge, Some(&domain), reason))),
                },
            };
            challenges.push(Challenge { domain, proof });
        }
        Ok(Ok(challenges))
    }

    /// Tells the authority that it may look at the name at this place.
    async fn tell(&self, order: &mut Ordered, place: usize) -> Result<(), Error> {
        let mut authorisations = order.authorizations();
        for _ in 0..place {
            if let Some(handle) = authorisations.next().await {
                handle?;
            }
        }
        let Some(handle) = authorisations.next().await else {
            return Ok(());
        };
        let mut handle = handle?;
        match handle.challenge(wanted(self.acme.challenge)) {
            Some(mut challenge) => challenge.set_ready().await,
            None => Ok(()),
        }
    }

    /// What the authority has given, with its key.
    fn received(&self, key: Option<&Hidden<String>>, chain: &str) -> Result<Issued, Failure> {
        let wrong = |reason: &str| {
            self.failure(
                Step::Certificate,
                None,
                format!("the authority has sent something else: {reason}"),
            )
        };
        let key = key.ok_or_else(|| wrong("its key is not known"))?;
        let issued = keys::issued(key, chain, &self.store.certificate_file(&self.service));
        let leaf = super::usable(&issued).map_err(|reason| wrong(&reason))?;
        if !leaf.fits(&self.acme) {
            return Err(wrong(&format!("it is for {} alone", leaf.names.join(", "))));
        }
        Ok(issued)
    }

    pub(super) async fn show(&self, challenges: Vec<Challenge>) {
        let (shown, done) = oneshot::channel();
        // Who has gone away shows nothing, and the authority will say so.
        if self
            .wishes
            .send(Wish::Show(Arc::clone(&self.service), challenges, shown))
            .await
            .is_ok()
        {
            let _ = done.await;
        }
    }
}

const fn wanted(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}
