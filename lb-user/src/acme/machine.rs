//! What is done next with an order (RFC 8555 §7.1.6). Pure: whoever speaks with the authority tells what it has said, and does
//! what is said here; an order that somebody else has begun, or that was left in the middle, goes on from where it stands.

use std::sync::Arc;

use crate::model::acme::Step;

/// How an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderState {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// How it stands with one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameState {
    Pending,
    Valid,
    /// Invalid, revoked, expired or deactivated: nothing comes of it any more.
    Lost,
}

/// One name of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) domain: Arc<str>,
    pub(super) state: NameState,
    /// The node shows what the authority wants to see.
    pub(super) shown: bool,
    /// The authority has been told to look.
    pub(super) told: bool,
    /// What the authority says of it.
    pub(super) reason: Option<String>,
}

/// All that is known of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) state: OrderState,
    pub(super) names: Vec<Name>,
    /// The node's key has been handed in.
    pub(super) finalised: bool,
    /// What the authority says of the order.
    pub(super) reason: Option<String>,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Show what belongs to all names that wait.
    Show,
    /// Tell the authority that it may look at the name at this place.
    Tell(usize),
    /// Hand in the key.
    Finalise,
    /// Ask again in a moment.
    Wait,
    /// Fetch the certificate.
    Fetch,
    /// Nothing comes of it.
    Fail {
        step: Step,
        /// Of which name; `None`: of all.
        domain: Option<Arc<str>>,
        reason: String,
    },
}

/// See the module.
pub(super) fn next(view: &View) -> Act {
    let lost = view.names.iter().find(|name| name.state == NameState::Lost);
    let refused = |step| Act::Fail {
        step,
        domain: None,
        reason: view
            .reason
            .clone()
            .unwrap_or_else(|| "the authority refuses it".to_owned()),
    };
    match (view.state, lost) {
        (OrderState::Valid, _) => Act::Fetch,
        (OrderState::Processing, _) => Act::Wait,
        (OrderState::Pending | OrderState::Invalid, Some(name)) => Act::Fail {
            step: Step::Challenge,
            domain: Some(Arc::clone(&name.domain)),
            reason: name
                .reason
                .clone()
                .unwrap_or_else(|| "the authority does not say why".to_owned()),
        },
        (OrderState::Invalid, None) if view.finalised => refused(Step::Finalise),
        (OrderState::Invalid, None) => refused(Step::Order),
        // An authority that says so after it has the key is one that has refused it.
        (OrderState::Ready, _) if view.finalised => Act::Wait,
        (OrderState::Ready, _) => Act::Finalise,
        (OrderState::Pending, None) => {
            let waits = |name: &Name| name.state == NameState::Pending && !name.told;
            match view.names.iter().position(waits) {
                None => Act::Wait,
                Some(_) if view.names.iter().any(|name| waits(name) && !name.shown) => Act::Show,
                Some(place) => Act::Tell(place),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(domain: &str, state: NameState) -> Name {
        Name {
            domain: domain.into(),
            state,
            shown: false,
            told: false,
            reason: None,
        }
    }

    fn view(state: OrderState, names: Vec<Name>) -> View {
        View {
            state,
            names,
            finalised: false,
            reason: None,
        }
    }

    #[test]
    fn from_the_names_to_the_certificate() {
        use NameState::{Pending, Valid};
        let mut order = view(
            OrderState::Pending,
            vec![name("a", Pending), name("b", Valid), name("c", Pending)],
        );
        assert_eq!(next(&order), Act::Show);
        order.names.iter_mut().for_each(|name| name.shown = true);
        assert_eq!(next(&order), Act::Tell(0));
        order.names[0].told = true;
        assert_eq!(next(&order), Act::Tell(2));
        order.names[2].told = true;
        assert_eq!(next(&order), Act::Wait);
        order.state = OrderState::Ready;
        assert_eq!(next(&order), Act::Finalise);
        order.finalised = true;
        order.state = OrderState::Processing;
        assert_eq!(next(&order), Act::Wait);
        order.state = OrderState::Valid;
        assert_eq!(next(&order), Act::Fetch);
    }

    #[test]
    fn what_fails_names_its_step() {
        let mut order = view(
            OrderState::Invalid,
            vec![name("a", NameState::Valid), name("b", NameState::Lost)],
        );
        order.names[1].reason = Some("connection refused".to_owned());
        let fail = |step, domain: Option<&str>, reason: &str| Act::Fail {
            step,
            domain: domain.map(Into::into),
            reason: reason.to_owned(),
        };
        assert_eq!(next(&order), fail(Step::Challenge, Some("b"), "connection refused"));
        order.names.pop();
        assert_eq!(next(&order), fail(Step::Order, None, "the authority refuses it"));
        order.finalised = true;
        order.reason = Some("bad key".to_owned());
        assert_eq!(next(&order), fail(Step::Finalise, None, "bad key"));
    }

    /// An authority that decides by what it is given: names turn out as `verdicts` say, once they are told of.
    #[derive(Debug)]
    struct Authority {
        verdicts: Vec<bool>,
        known: Vec<bool>,
        accepts: bool,
        patience: usize,
    }

    fn authority() -> impl Strategy<Value = Authority> {
        let names = prop::collection::vec((any::<bool>(), any::<bool>()), 1..8);
        (names, any::<bool>(), 0usize..4).prop_map(|(names, accepts, patience)| Authority {
            verdicts: names.iter().map(|(verdict, _)| *verdict).collect(),
            known: names.iter().map(|(_, known)| *known).collect(),
            accepts,
            patience,
        })
    }

    proptest! {
        /// Every order ends: with a certificate where the authority agrees with all, and with a reason else. Nobody is told of
        /// a name twice, or before it is shown, and no key is handed in early or twice.
        #[test]
        fn an_order_comes_to_its_end(authority in authority()) {
            let names = authority.known.iter().enumerate().map(|(at, known)| {
                name(&format!("n{at}"), if *known { NameState::Valid } else { NameState::Pending })
            });
            let mut order = view(OrderState::Pending, names.collect());
            let mut told = vec![0; order.names.len()];
            let mut waited = 0;
            let good = (0..told.len()).all(|at| authority.known[at] || authority.verdicts[at]);
            let end = 'order: {
                for _ in 0..100 {
                    match next(&order) {
                        Act::Show => order.names.iter_mut().for_each(|name| name.shown = true),
                        Act::Tell(at) => {
                            prop_assert!(order.names[at].shown);
                            told[at] += 1;
                            order.names[at].told = true;
                        }
                        Act::Finalise => {
                            prop_assert!(order.names.iter().all(|name| name.state == NameState::Valid) && !order.finalised);
                            order.finalised = true;
                            order.state = OrderState::Processing;
                            waited = 0;
                        }
                        Act::Wait => {
                            waited += 1;
                            if waited <= authority.patience {
                                continue;
                            }
                            if order.finalised {
                                order.state = if authority.accepts { OrderState::Valid } else { OrderState::Invalid };
                                continue;
                            }
                            for (at, name) in order.names.iter_mut().enumerate().filter(|(_, name)| name.told) {
                                name.state = if authority.verdicts[at] { NameState::Valid } else { NameState::Lost };
                            }
                            order.state = match () {
                                () if order.names.iter().any(|name| name.state == NameState::Lost) => OrderState::Invalid,
                                () if order.names.iter().all(|name| name.state == NameState::Valid) => OrderState::Ready,
                                () => OrderState::Pending,
                            };
                        }
                        end @ (Act::Fetch | Act::Fail { .. }) => break 'order end,
                    }
                }
                prop_assert!(false, "it does not end: {order:?}");
                Act::Wait
            };
            prop_assert_eq!(end == Act::Fetch, good && authority.accepts);
            prop_assert!(told.iter().all(|times| *times <= 1));
        }
    }
}
