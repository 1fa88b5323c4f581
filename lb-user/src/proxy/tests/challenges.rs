//! What authorities ask for over HTTP is answered by every service, and by it alone while it is open.

use std::sync::Arc;

use super::rig::{Backend, OK, Rig};
use crate::model::acme::{Challenge, Offer, Proof};

fn offer(number: u64, tokens: &[&str]) -> Arc<Offer> {
    let open = |token: &&str| Challenge {
        domain: "a.example".into(),
        proof: Proof::Http {
            token: (*token).into(),
            answer: format!("{token}.thumb").into(),
        },
    };
    Arc::new(Offer {
        number,
        challenges: tokens.iter().map(open).collect(),
        ..Offer::default()
    })
}

#[tokio::test]
async fn a_token_is_answered_while_it_is_open_and_a_backend_asked_else() {
    for (settings, other) in [("", 200), ("[service.http]\nredirect-to-https = true\n", 308)] {
        let backend = Backend::answering(OK).await;
        let backends: &[&Backend] = if other == 200 { &[&backend] } else { &[] };
        let rig = Rig::with(settings, backends).await;
        let mut offered = rig.offered.clone();
        rig.offers.send_replace(offer(1, &["t-1", "t-2"]));
        offered.wait_for(|offered| offered.number == 1).await.unwrap();
        let ask = async |token: &str| {
            let text = format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            rig.ask(text).await.remove(0)
        };
        let answer = ask("t-2").await;
        assert_eq!((answer.status(), &answer.body[..]), (200, &b"t-2.thumb"[..]));
        assert_eq!(answer.value("content-type"), Some("application/octet-stream"));
        assert_eq!(ask("t-3").await.status(), other);
        rig.offers.send_replace(offer(2, &[]));
        offered.wait_for(|offered| offered.number == 2).await.unwrap();
        assert_eq!(ask("t-2").await.status(), other);
    }
}
