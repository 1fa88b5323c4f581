//! Speaking with an authority: accounts, orders, and what else there is to ask. Thin: [`super::follow`] brings an order to its
//! end, and whatever fails is said with its step and name.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use instant_acme::{
    Account as Session, AccountCredentials, BodyWrapper, Error, ExternalAccountKey, HttpClient as _, Identifier,
    NewAccount, NewOrder, Order as Ordered, Problem, RevocationReason, RevocationRequest,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::http::{Client, Said};
use super::leaf::Leaf;
use super::schedule::Window;
use super::shared::Account;
use super::store::{Fault, Store};
use crate::config::Secret;
use crate::model::Hidden;
use crate::model::acme::{Acme, Challenge, ExternalAccount, Failure, Issued, Step};
use crate::net::tls::roots;

/// Longest time for an order: authorities that check take seconds, and some wait for signatures.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How far clocks may be apart: a certificate that looks as if it were over, or had not begun, makes no sense to either side.
const CLOCKS: i64 = 3_600;

/// How often something is asked again for which an authority wants another nonce: the library asks three times each.
pub(super) const NONCES: u32 = 5;

/// Longest file with a key of an external account.
const LONGEST_KEY: usize = 4_096;

/// What a task asks of whoever runs it.
pub(super) enum Wish {
    /// Show this to authorities, and nothing else of this service; answered when it is shown wherever they may come.
    Show(Arc<str>, Vec<Challenge>, oneshot::Sender<()>),
    /// There is another account with this authority, which is kept already or cannot be.
    Account(Arc<Acme>, Account),
}

/// What is ordered, and with what.
pub(super) struct Task {
    pub(super) service: Arc<str>,
    pub(super) acme: Arc<Acme>,
    pub(super) store: Store,
    /// The account that is known.
    pub(super) account: Option<Account>,
    /// What serves now, if an authority has signed it.
    pub(super) held: Option<Leaf>,
    pub(super) wishes: mpsc::Sender<Wish>,
}

/// A certificate, and whether it is on the disk.
pub(super) struct Obtained {
    pub(super) issued: Issued,
    pub(super) kept: Result<(), Failure>,
}

impl Task {
    /// Orders a certificate. What has been shown meanwhile is taken away, whatever comes of it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn obtain(&self) -> Result<Obtained, Failure> {
        let store = self.store.clone();
        self.blocking(move || store.try_room()).await?;
        let (client, said) = self.directory().await?;
        let known = match &self.account {
            Some(account) => self.order(&self.restore(&client, account, &said).await?, &said).await?,
            None => None,
        };
        let mut order = match known {
            Some(order) => order,
            // The authority has never heard of the node, or has forgotten it.
            None => {
                let session = self.register(&client, &said).await?;
                let refused = || {
                    self.failure(
                        Step::Account,
                        None,
                        "the authority does not know its own account".to_owned(),
                    )
                };
                self.order(&session, &said).await?.ok_or_else(refused)?
            }
        };
        let obtained = tokio::time::timeout(PATIENCE, self.follow(&mut order, &said)).await;
        self.show(Vec::new()).await;
        let issued = obtained.unwrap_or_else(|_| {
            let reason = format!("the authority has not come to an end within {} s", PATIENCE.as_secs());
            Err(self.failure(Step::Order, None, reason))
        })?;
        let (store, service, pem) = (self.store.clone(), Arc::clone(&self.service), issued.clone());
        let kept = self.blocking(move || store.keep_certificate(&service, &pem)).await;
        Ok(Obtained { issued, kept })
    }

    /// Takes a certificate back, at its authority.
    ///
    /// # Errors
    /// Why it is still good.
    pub(super) async fn revoke(&self, leaf: &Leaf, reason: RevocationReason) -> Result<(), Failure> {
        let (session, said) = self.session().await?;
        let certificate = CertificateDer::from(leaf.der.as_ref());
        for _ in 1..NONCES {
            let request = RevocationRequest {
                certificate: &certificate,
                reason: Some(reason.clone()),
            };
            match session.revoke(&request).await {
                Err(error) if is(&error, "badNonce") => {}
                // Somebody has done so before.
                Err(error) if is(&error, "alreadyRevoked") => return Ok(()),
                done => return done.map_err(|error| self.refused(Step::Revocation, &error, &said)),
            }
        }
        Err(self.nonces(Step::Revocation))
    }

    /// Gives the account another key (RFC 8555 §7.3.5). When this returns, the account that is kept has it.
    ///
    /// # Errors
    /// Why it has the one that it had; or, with the step of storage, why nobody would know it after a restart.
    pub(super) async fn roll_over(&self) -> Result<(), Failure> {
        let store = self.store.clone();
        self.blocking(move || store.try_room()).await?;
        let (mut session, said) = self.session().await?;
        for _ in 1..NONCES {
            match session.update_key().await {
                Err(error) if is(&error, "badNonce") => {}
                Err(error) => return Err(self.refused(Step::Account, &error, &said)),
                Ok(credentials) => return self.keep(&credentials).await.map(|_| ()),
            }
        }
        Err(self.nonces(Step::Account))
    }

    /// When the authority wants the certificate to be renewed, and when it may be asked again; `None`: it does not say such things
    /// (RFC 9773).
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) async fn suggestion(&self) -> Result<Option<(Window, Duration)>, Failure> {
        let Some(identifier) = self.held.as_ref().and_then(Leaf::identifier) else {
            return Ok(None);
        };
        let (session, said) = self.session().await?;
        match session.renewal_info(&identifier).await {
            Ok((info, again)) => {
                let second = |time: i64| u64::try_from(time).unwrap_or_default();
                let window = info.suggested_window;
                let window = Window {
                    start: second(window.start.unix_timestamp()),
                    end: second(window.end.unix_timestamp()),
                };
                Ok(Some((window, again)))
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(self.refused(Step::Certificate, &error, &said)),
        }
    }

    /// An authority that knows the node.
    async fn session(&self) -> Result<(Session, Said), Failure> {
        let (client, said) = self.directory().await?;
        let session = match &self.account {
            Some(account) => self.restore(&client, account, &said).await?,
            None => self.register(&client, &said).await?,
        };
        Ok((session, said))
    }

    async fn restore(&self, client: &Client, account: &Account, said: &Said) -> Result<Session, Failure> {
        let credentials: AccountCredentials = serde_json::from_slice(&account.credentials.0)
            .map_err(|error| self.failure(Step::Account, None, format!("the account cannot be used: {error}")))?;
        let session = Session::builder_with_http(Box::new(client.clone()))
            .from_credentials(credentials)
            .await;
        session.map_err(|error| self.refused(Step::Account, &error, said))
    }

    /// Makes sure that the authority is there, and that it is the same day on both sides.
    async fn directory(&self) -> Result<(Client, Said), Failure> {
        let authority = &self.acme.authority;
        let wrong = |reason: String| self.failure(Step::Directory, None, reason);
        let ca = authority.ca.clone();
        let believed = spawn_blocking(move || roots(ca.as_deref()))
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let believed = believed.map_err(|distrust| {
            let file = authority.ca.as_ref().map(|ca| format!("{}: ", ca.display()));
            wrong(format!("{}{distrust}", file.unwrap_or_default()))
        })?;
        let (client, said) = Client::new(Arc::new(super::client_config(believed).map_err(wrong)?));
        let request = Request::get(&*authority.directory).body(BodyWrapper::<Bytes>::default());
        let request = request.map_err(|error| wrong(error.to_string()))?;
        let answer = client
            .request(request)
            .await
            .map_err(|error| self.refused(Step::Directory, &error, &said))?;
        let status = answer.parts.status;
        if !status.is_success() {
            let mut failure = wrong(format!("{} answers with {status}", authority.directory));
            failure.wait = said.wait();
            return Err(failure);
        }
        match said.ahead() {
            Some(ahead) if ahead.abs() > CLOCKS => Err(wrong(format!(
                "this node's clock is {} that of {}: set it right",
                apart(ahead),
                authority.directory
            ))),
            _ => Ok((client, said)),
        }
    }

    /// Makes the node known, and keeps that.
    async fn register(&self, client: &Client, said: &Said) -> Result<Session, Failure> {
        let authority = &self.acme.authority;
        let external = match &authority.external_account {
            Some(external) => {
                let (external, id) = (external.clone(), external.key_id.to_string());
                let key = spawn_blocking(move || external_key(&external)).await;
                let key = key.unwrap_or_else(|error| Err(error.to_string()));
                let key = key.map_err(|reason| self.failure(Step::Account, None, reason))?;
                Some(ExternalAccountKey::new(id, &key.0))
            }
            None => None,
        };
        let contact: Vec<&str> = authority.contact.iter().map(|contact| &**contact).collect();
        let account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        for _ in 1..NONCES {
            let builder = Session::builder_with_http(Box::new(client.clone()));
            match builder
                .create(&account, authority.directory.to_string(), external.as_ref())
                .await
            {
                Err(error) if is(&error, "badNonce") => {}
                Err(error) => return Err(self.refused(Step::Account, &error, said)),
                Ok((session, credentials)) => {
                    self.keep(&credentials).await?;
                    return Ok(session);
                }
            }
        }
        Err(self.nonces(Step::Account))
    }

    /// Keeps an account, and tells of it, also where it cannot be kept.
    async fn keep(&self, credentials: &AccountCredentials) -> Result<(), Failure> {
        let account = Account {
            stamp: super::now(),
            credentials: Arc::new(Hidden(serde_json::to_vec(credentials).unwrap_or_default())),
        };
        // Who has gone away does not need it.
        let _ = self
            .wishes
            .send(Wish::Account(Arc::clone(&self.acme), account.clone()))
            .await;
        let (store, authority) = (self.store.clone(), self.acme.authority.clone());
        self.blocking(move || store.keep_account(&authority, &account)).await
    }

    /// `None`: the authority does not know this account.
    async fn order(&self, session: &Session, said: &Said) -> Result<Option<Ordered>, Failure> {
        let names: Vec<Identifier> = self
            .acme
            .domains
            .iter()
            .map(|domain| Identifier::Dns(domain.to_string()))
            .collect();
        // An authority counts what replaces another one less (RFC 9773 §5).
        let mut replaced = self.held.as_ref().and_then(Leaf::identifier);
        for _ in 1..NONCES {
            let mut order = NewOrder::new(&names);
            if let Some(identifier) = &replaced {
                order = order.replaces(identifier.clone());
            }
            match session.new_order(&order).await {
                Ok(order) => return Ok(Some(order)),
                Err(error) if is(&error, "badNonce") => {}
                Err(error) if is(&error, "accountDoesNotExist") => return Ok(None),
                // Of another authority, or replaced already.
                Err(error) if replaced.is_some() && !is(&error, "rateLimited") => {
                    tracing::debug!(service = %self.service, %error, "the order does not say what it replaces");
                    replaced = None;
                }
                Err(error) => return Err(self.refused(Step::Order, &error, said)),
            }
        }
        Err(self.nonces(Step::Order))
    }

    async fn blocking(&self, work: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Result<(), Failure> {
        let done = spawn_blocking(work).await.map_err(|error| error.to_string());
        let done = done.and_then(|done| done.map_err(|fault| fault.to_string()));
        done.map_err(|reason| self.failure(Step::Storage, None, reason))
    }

    fn nonces(&self, step: Step) -> Failure {
        let reason = "the authority does not take its own nonces (badNonce)";
        self.failure(step, None, reason.to_owned())
    }

    /// `domain`: which, or all.
    pub(super) fn failure(&self, step: Step, domain: Option<&str>, reason: String) -> Failure {
        Failure {
            step,
            domain: domain
                .map_or_else(|| self.acme.domains.join(", "), str::to_owned)
                .into(),
            reason,
            wait: None,
        }
    }

    /// Something that an authority, or the way to it, has said.
    pub(super) fn refused(&self, step: Step, error: &Error, said: &Said) -> Failure {
        match error {
            Error::Api(problem) => {
                let (reason, domain) = describe(problem);
                let mut failure = self.failure(step, domain.as_deref(), reason);
                failure.wait = said.wait();
                failure
            }
            // Whatever was to be done, there is nobody to do it.
            Error::Other(error) => self.failure(step, None, error.to_string()),
            Error::Json(error) => {
                let reason = format!("{} does not speak ACME: {error}", self.acme.authority.directory);
                self.failure(step, None, reason)
            }
            error => self.failure(step, None, error.to_string()),
        }
    }
}

/// Is it this kind of error (RFC 8555 §6.7)?
pub(super) fn is(error: &Error, kind: &str) -> bool {
    let kind_of =
        |problem: &Problem| problem.r#type.as_deref().and_then(|name| name.strip_prefix(PREFIX)) == Some(kind);
    matches!(error, Error::Api(problem) if kind_of(problem))
}

const PREFIX: &str = "urn:ietf:params:acme:error:";

/// What a problem says, for people, and of which name.
pub(super) fn describe(problem: &Problem) -> (String, Option<String>) {
    let first = problem.subproblems.first();
    let of_name = first.and_then(|first| Some(first.identifier.as_ref()?.authorized(false).to_string()));
    let detail = first
        .and_then(|first| first.detail.as_ref())
        .or(problem.detail.as_ref());
    let kind = first
        .and_then(|first| first.r#type.as_deref())
        .or(problem.r#type.as_deref())
        .unwrap_or_default();
    let kind = kind.strip_prefix(PREFIX).unwrap_or(kind);
    let reason = match (detail, kind) {
        (Some(detail), "") => detail.clone(),
        (Some(detail), kind) => format!("{detail} ({kind})"),
        (None, "") => "the authority does not say why".to_owned(),
        (None, kind) => kind.to_owned(),
    };
    (reason, of_name)
}

/// `ahead`: of the other clock, in seconds.
fn apart(ahead: i64) -> String {
    let hours = (ahead.unsigned_abs() + 1_800) / 3_600;
    let by = match hours {
        0..48 => format!("{hours} h"),
        _ => format!("{} days", hours / 24),
    };
    format!("{by} {}", if ahead > 0 { "behind" } else { "ahead of" })
}

/// The key of an external account, in base64url.
///
/// # Errors
/// What is wrong with the file, for people.
pub(super) fn external_key(external: &ExternalAccount) -> Result<Hidden<Vec<u8>>, String> {
    let path: &Path = &external.key_file;
    let wrong = |reason: String| format!("{}: {reason}", path.display());
    let secret = Secret::read(path, LONGEST_KEY).map_err(|error| wrong(error.to_string()))?;
    let text = secret.bytes.0.trim_ascii();
    let engine = if text.ends_with(b"=") {
        &BASE64_URL_SAFE
    } else {
        &BASE64_URL_SAFE_NO_PAD
    };
    match engine.decode(text) {
        Ok(key) if !key.is_empty() => Ok(Hidden(key)),
        _ => Err(wrong("it is not a key in base64url".to_owned())),
    }
}

/// By their numbers (RFC 5280 §5.3.1), those that a subscriber may say.
pub(super) fn reason(code: u8) -> RevocationReason {
    match code {
        1 => RevocationReason::KeyCompromise,
        3 => RevocationReason::AffiliationChanged,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        _ => RevocationReason::Unspecified,
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_with_their_kind_and_name() {
        let problem = |json: &str| describe(&serde_json::from_str(json).unwrap());
        let one = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#;
        assert_eq!(problem(one), ("too many (rateLimited)".to_owned(), None));
        let several = r#"{"type": "urn:ietf:params:acme:error:compound", "detail": "some", "subproblems": [
            {"type": "urn:ietf:params:acme:error:caa", "detail": "no", "identifier": {"type": "dns", "value": "a.example"}}]}"#;
        assert_eq!(problem(several), ("no (caa)".to_owned(), Some("a.example".to_owned())));
        assert_eq!(problem("{}").0, "the authority does not say why");
    }

    #[test]
    fn clocks_are_compared_in_words() {
        assert_eq!(apart(86_400), "24 h behind");
        assert_eq!(apart(-7_200), "2 h ahead of");
        assert_eq!(apart(-3 * 86_400), "3 days ahead of");
    }

    #[test]
    fn keys_of_external_accounts_are_in_base64url() {
        let folder = tempfile::tempdir().unwrap();
        let external = ExternalAccount {
            key_id: "k".into(),
            key_file: folder.path().join("eab.key"),
        };
        let read = |text: &str| {
            std::fs::write(&external.key_file, text).unwrap();
            external_key(&external)
        };
        assert_eq!(read("AAECAw\n").unwrap().0, [0, 1, 2, 3]);
        assert_eq!(read("AAECAw==").unwrap().0, [0, 1, 2, 3]);
        assert!(
            read("not it!")
                .unwrap_err()
                .ends_with("eab.key: it is not a key in base64url")
        );
        assert!(read("").unwrap_err().contains("base64url"));
        std::fs::remove_file(&external.key_file).unwrap();
        assert!(external_key(&external).unwrap_err().contains("No such file"));
    }
}
