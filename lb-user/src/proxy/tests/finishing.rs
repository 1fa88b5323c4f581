//! Before the proxy's addresses go elsewhere: what is under way is finished, connections end, and then nobody new is let in.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::http2::{H2C, connect, get, request};
use super::rig::{Backend, OK, Peer, Rig, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Waits until so many connections are open, and of them so many late ones.
async fn open(rig: &Rig, all: u32, late: u32) {
    soon(async {
        while rig.traffic.open() != (all, late) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Answers what it is asked when the gate has a place for it.
async fn gated(gate: &Arc<Semaphore>) -> Backend {
    let gate = Arc::clone(gate);
    Backend::scripted(move |_, mut peer, seen| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some(request) = peer.request().await {
                seen.lock().unwrap().push(request);
                gate.acquire().await.unwrap().forget();
                peer.send(OK).await;
            }
        }
    })
    .await
}

async fn asked(backend: &Backend, times: usize) {
    soon(async {
        while backend.seen().len() < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_are_finished_and_connections_end() {
    let gate = Arc::new(Semaphore::new(1));
    let backend = gated(&gate).await;
    let rig = Rig::with("", &[&backend]).await;
    let (mut idle, mut busy) = (rig.client().await, rig.client().await);
    idle.send(GET).await;
    assert_eq!(idle.response(false).await.unwrap().value("connection"), None);
    busy.send(GET).await;
    asked(&backend, 2).await;
    open(&rig, 2, 0).await;
    rig.finishing.send_replace(true);
    assert!(idle.is_ended().await, "who asks for nothing is sent away");
    open(&rig, 1, 0).await;

    // Who comes now may ask for one thing.
    let mut late = rig.client().await;
    late.send(GET).await;
    asked(&backend, 3).await;
    open(&rig, 2, 1).await;
    gate.add_permits(2);
    for mut client in [busy, late] {
        let answer = client.response(false).await.unwrap();
        assert_eq!((answer.status(), answer.value("connection")), (200, Some("close")));
        assert!(client.is_ended().await);
    }
    open(&rig, 0, 0).await;

    // It goes on.
    rig.finishing.send_replace(false);
    gate.add_permits(2);
    let mut client = rig.client().await;
    soon(async {
        // The thread hears of it some time.
        loop {
            gate.add_permits(1);
            client.send(GET).await;
            let answer = client.response(false).await.unwrap();
            if answer.value("connection").is_none() {
                return;
            }
            client = rig.client().await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_says_nothing_is_sent_away_whatever_he_was_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let certificate = folder.path().join("shop.pem");
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    std::fs::write(&certificate, pem).unwrap();
    let tls = format!(
        "[service.tls]\ncertificates = [\"{}\"]\n[service.http]\n",
        certificate.display()
    );
    let backend = Backend::answering(OK).await;
    let proxy_protocol = "[service.http]\nproxy-protocol = [\"127.0.0.1\"]\n";
    for text in ["[service.http]\n", H2C, proxy_protocol, &tls] {
        // Else he would be, after this.
        let rig = Rig::with(&format!("{text}timeouts = {{ client-header = \"1h\" }}\n"), &[&backend]).await;
        let mut mute = rig.client().await;
        open(&rig, 1, 0).await;
        rig.finishing.send_replace(true);
        assert!(mute.is_ended().await, "{text}");
        open(&rig, 0, 0).await;
    }
}

#[tokio::test]
async fn http2_may_ask_once_and_is_told_to_go() {
    let gate = Arc::new(Semaphore::new(0));
    let backend = gated(&gate).await;
    let rig = Rig::with(H2C, &[&backend]).await;
    let before = connect(rig.address).await;
    let under_way = tokio::spawn(async move { get(&before, request("GET", "/")).await });
    asked(&backend, 1).await;
    let mut idle = rig.client().await;
    open(&rig, 2, 0).await;
    rig.finishing.send_replace(true);
    assert!(idle.is_ended().await, "the thread has heard of it");
    open(&rig, 1, 0).await;
    let mut after = connect(rig.address).await;
    open(&rig, 2, 1).await;
    let late = tokio::spawn(async move {
        let answer = get(&after, request("GET", "/")).await;
        // What is told arrives at some time.
        soon(async {
            while let Ok(ready) = after.ready().await {
                after = ready;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        answer
    });
    asked(&backend, 2).await;
    gate.add_permits(2);
    for answer in [under_way, late] {
        assert_eq!(soon(answer).await.unwrap().unwrap().0, 200);
    }
    open(&rig, 0, 0).await;
}

/// What a socket that listens has dropped.
fn dropped(socket: RawFd) -> u32 {
    let mut values = [0u32; 9];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most so many bytes, and they are there.
    let got = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(got, 0);
    values[8]
}

#[tokio::test]
async fn nobody_is_let_in_while_it_is_held() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with("", &[&backend]).await;
    let mut known = rig.client().await;
    let (_, socket) = rig.listening.descriptors()[0];
    rig.listening.hold(true);
    let connecting = tokio::spawn(TcpStream::connect(rig.address));
    soon(async {
        while dropped(socket) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!connecting.is_finished());
    // Who was there is served.
    known.send(GET).await;
    assert_eq!(known.response(false).await.unwrap().status(), 200);
    rig.listening.hold(false);
    let mut late = Peer::new(soon(connecting).await.unwrap().unwrap());
    late.send(GET).await;
    assert_eq!(late.response(false).await.unwrap().status(), 200);
}
