//! Requests that are to be understood in two ways: each is refused, or the backend understands what the proxy did.
//!
//! The ways are those that have been published: CL.TE, TE.CL and TE.TE, CL.0, hop-by-hop fields that take others away,
//! bare line ends, h2c upgrades, chunk sizes and extensions. The bytes are our own.

use super::rig::{Backend, OK, Rig};

/// Cases: `= name: statuses`, and then lines that are joined, with escapes.
const CASES: &str = include_str!("smuggling.txt");

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => panic!("{text}: {other:?}"),
            },
            byte => byte,
        };
        bytes.push(byte);
    }
    bytes
}

#[tokio::test]
async fn nobody_sees_another_request_than_the_proxy() {
    let cases: Vec<&str> = CASES.split("\n= ").skip(1).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    let mut before = 0;
    for case in cases {
        let (title, text) = case.split_once('\n').unwrap();
        let (name, statuses) = title.rsplit_once(": ").unwrap();
        let statuses: Vec<u16> = statuses.split(' ').map(|status| status.parse().unwrap()).collect();
        let bytes: Vec<u8> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(unescape)
            .collect();
        let mut client = rig.client().await;
        client.send(&bytes).await;
        let mut answers = Vec::new();
        for _ in &statuses {
            answers.push(
                client
                    .response(false)
                    .await
                    .unwrap_or_else(|| panic!("{name}: {answers:?}")),
            );
        }
        let is: Vec<u16> = answers.iter().map(super::rig::Message::status).collect();
        assert_eq!(is, statuses, "{name}");
        let refused = statuses.last() != Some(&200);
        if !refused {
            client.end().await;
        }
        assert!(client.is_ended().await, "{name}: something follows");
        let seen = backend.seen();
        let passed = statuses.iter().filter(|status| **status == 200).count();
        // A body that breaks off is seen as far as it came, and by nobody as a request.
        let new = || seen[before..].iter().filter(|seen| !seen.head.starts_with("LEFT "));
        assert_eq!(new().count(), passed, "{name}: {seen:?}");
        assert!(!new().any(|seen| seen.line().contains("smuggled")), "{name}: {seen:?}");
        before = seen.len();
    }
    // Whoever comes next is answered what it asked for.
    let next = rig.ask("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(next.len(), 1);
    assert_eq!(backend.seen().last().unwrap().line(), "GET /next HTTP/1.1");
}
