//! An authority in the same process, which answers what a test wants, over plain HTTP: for what a real one cannot be brought to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::leaf::Leaf;
use super::super::order::{Task, Wish};
use super::super::schedule::Window;
use super::super::store::Store;
use super::{account, acme, issued};
use crate::model::acme::{Failure, Step};

/// What is answered at a path: status, header lines, body.
type Answers = BTreeMap<&'static str, (u16, String, String)>;

struct Mock {
    address: std::net::SocketAddr,
    /// Paths that were asked for.
    asked: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
    store: Store,
}

impl Mock {
    /// `more`: instead of what a good authority answers.
    async fn new(date: SystemTime, more: &[(&'static str, u16, &str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let at = |path: &str| format!("http://{address}{path}");
        let directory = serde_json::json!({
            "newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"),
            "renewalInfo": at("/ari"),
        });
        let mut answers: Answers = BTreeMap::new();
        answers.insert("/directory", (200, String::new(), directory.to_string()));
        answers.insert("/nonce", (200, "Replay-Nonce: n\r\n".to_owned(), String::new()));
        answers.insert(
            "/account",
            (201, format!("Location: {}\r\n", at("/account/1")), "{}".to_owned()),
        );
        for (path, status, headers, body) in more {
            answers.insert(path, (*status, (*headers).to_owned(), (*body).to_owned()));
        }
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let list = Arc::clone(&asked);
        let date = httpdate::fmt_http_date(date);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = Vec::new();
                while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                    if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let line = String::from_utf8_lossy(&text).into_owned();
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                list.lock().unwrap().push(path.clone());
                let known = answers
                    .iter()
                    .find(|(known, _)| path == **known || path.starts_with(&format!("{known}/")));
                let (status, headers, body) = known.map_or((404, "", ""), |(_, (status, headers, body))| {
                    (*status, &**headers, &**body)
                });
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nDate: {date}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let folder = tempfile::tempdir().unwrap();
        Self {
            address,
            asked,
            store: Store::new(folder.path().join("acme")),
            folder,
        }
    }

    fn task(&self, held: Option<Leaf>) -> Task {
        let mut acme = acme(&["shop.example"]);
        acme.authority.directory = format!("http://{}/directory", self.address).into();
        // Who takes part in TLS is of no concern.
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, super::pem_of(&["ca.example"], 2026)).unwrap();
        acme.authority.ca = Some(ca);
        let (wishes, mut wished) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(wish) = wished.recv().await {
                if let Wish::Show(_, _, done) = wish {
                    let _ = done.send(());
                }
            }
        });
        Task {
            service: "web".into(),
            acme: Arc::new(acme),
            store: self.store.clone(),
            account: None,
            held,
            wishes,
        }
    }

    async fn fails(&self) -> Failure {
        self.task(None).obtain().await.map(|_| ()).unwrap_err()
    }

    fn has_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

#[expect(clippy::disallowed_methods, reason = "clocks are compared")]
fn now() -> SystemTime {
    SystemTime::now()
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

#[tokio::test]
async fn one_that_has_had_enough_says_until_when() {
    let problem = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many orders"}"#;
    let mock = Mock::new(
        now(),
        &[("/order", 429, "Retry-After: 7200\r\nReplay-Nonce: m\r\n", problem)],
    )
    .await;
    let failure = mock.fails().await;
    assert_eq!(
        failure.to_string(),
        "shop.example, step order: too many orders (rateLimited)"
    );
    assert_eq!(failure.wait, Some(Duration::from_secs(7_200)));
    // The account is there all the same.
    let account = mock.store.account(&mock.task(None).acme.authority).unwrap();
    assert!(account.is_some());
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_a_day_is_said_before_an_account_is_made() {
    for (date, words) in [
        (now() + DAY, "24 h behind that of"),
        (now() - 2 * DAY, "2 days ahead of that of"),
    ] {
        let mock = Mock::new(date, &[]).await;
        let failure = mock.fails().await;
        assert_eq!(failure.step, Step::Directory);
        assert!(
            failure.reason.contains(words) && failure.reason.contains("set it right"),
            "{failure}"
        );
        assert!(mock.has_asked("/directory") && !mock.has_asked("/account"));
    }
}

#[tokio::test]
async fn what_is_no_directory_is_said() {
    let mock = Mock::new(now(), &[("/directory", 503, "Retry-After: 60\r\n", "")]).await;
    let failure = mock.fails().await;
    assert!(
        failure
            .reason
            .ends_with("/directory answers with 503 Service Unavailable"),
        "{failure}"
    );
    assert_eq!(failure.wait, Some(Duration::from_secs(60)));
    let mock = Mock::new(now(), &[("/directory", 200, "", "<html>")]).await;
    let failure = mock.fails().await;
    assert!(failure.reason.contains("does not speak ACME"), "{failure}");
}

#[tokio::test]
async fn an_authority_says_when_to_renew() {
    let said = r#"{"suggestedWindow": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}"#;
    let mock = Mock::new(now(), &[("/ari", 200, "Retry-After: 21600\r\n", said)]).await;
    let held = Leaf::of(&super::super::leaf::tests::issued(&["shop.example"])).unwrap();
    let (window, again) = mock.task(Some(held.clone())).suggestion().await.unwrap().unwrap();
    assert_eq!(
        window,
        Window {
            start: 1_772_323_200,
            end: 1_772_409_600
        }
    );
    assert!((21_000..=21_600).contains(&again.as_secs()));
    assert!(mock.has_asked("/ari/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    // One that nobody knows by its issuer is not asked about.
    let alone = Leaf::of(&issued(&mock.store, "web", "shop.example")).unwrap();
    assert_eq!(mock.task(Some(alone)).suggestion().await.unwrap(), None);
}

#[tokio::test]
async fn an_account_that_it_has_forgotten_is_made_anew() {
    let problem = r#"{"type": "urn:ietf:params:acme:error:accountDoesNotExist", "detail": "who?"}"#;
    let mock = Mock::new(now(), &[("/order", 400, "Replay-Nonce: m\r\n", problem)]).await;
    let mut task = mock.task(None);
    let mut known = account(1);
    let text = String::from_utf8(known.credentials.0.clone()).unwrap();
    let directory = task.acme.authority.directory.to_string();
    let text = text.replace("https://ca.example/directory", &directory);
    known.credentials = Arc::new(crate::model::Hidden(text.into_bytes()));
    task.account = Some(known);
    let failure = task.obtain().await.map(|_| ()).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "shop.example, step account: the authority does not know its own account"
    );
    assert!(mock.has_asked("/account"));
}
