//! Who the client is: what it says of itself, what proxies say that are believed, and the PROXY protocol both ways.

use super::rig::{Backend, OK, Peer, Rig};
use crate::model::proxy::ProxyProtocol;
use crate::proxy::proxy_protocol::{decode, encode};

const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\n\
                       X-Forwarded-Host: b\r\nX-Real-IP: 192.0.2.66\r\nForwarded: for=192.0.2.66\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALL: &str =
    "forwarded = [\"x-forwarded-for\", \"x-forwarded-proto\", \"x-forwarded-host\", \"x-real-ip\", \"forwarded\"]\n";

#[tokio::test]
async fn nobody_is_believed_about_himself() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(&format!("[service.http]\n{ALL}"), &[&backend]).await;
    rig.ask(SPOOFED).await;
    let seen = backend.only();
    assert_eq!(seen.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.value("x-forwarded-host"), Some("a"));
    assert_eq!(seen.value("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.value("forwarded"), Some("for=127.0.0.1;host=\"a\";proto=http"));
}

#[tokio::test]
async fn proxies_that_are_believed_are_added_to() {
    let backend = Backend::answering(OK).await;
    let rig = Rig::with(
        &format!("[service.http]\n{ALL}trusted-proxies = [\"127.0.0.0/8\"]\n"),
        &[&backend],
    )
    .await;
    rig.ask(SPOOFED).await;
    let seen = backend.only();
    assert_eq!(seen.value("x-forwarded-for"), Some("192.0.2.66, 127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.value("x-forwarded-host"), Some("b"));
    assert_eq!(seen.value("x-real-ip"), Some("192.0.2.66"));
    assert_eq!(
        seen.value("forwarded"),
        Some("for=192.0.2.66, for=127.0.0.1;host=\"a\";proto=http")
    );
}

#[tokio::test]
async fn the_proxy_protocol_is_for_whom_it_is_declared() {
    let backend = Backend::answering(OK).await;
    let text = "[service.http]\nproxy-protocol = [\"127.0.0.1\"]\ntrusted-proxies = [\"127.0.0.1\"]\n";
    let rig = Rig::with(text, &[&backend]).await;
    for (version, source, name) in [
        (ProxyProtocol::V1, "192.0.2.7:4000", "192.0.2.7"),
        (ProxyProtocol::V2, "192.0.2.8:4000", "192.0.2.8"),
        (ProxyProtocol::V2, "[2001:db8::7]:4000", "2001:db8::7"),
    ] {
        let to = if source.starts_with('[') {
            "[2001:db8::1]:80"
        } else {
            "198.51.100.1:80"
        };
        let mut bytes = encode(version, source.parse().unwrap(), to.parse().unwrap());
        bytes.extend(SPOOFED.as_bytes());
        // Whoever it names is believed no more than others.
        assert_eq!(rig.ask(&bytes).await.len(), 1);
        assert_eq!(backend.seen().last().unwrap().value("x-forwarded-for"), Some(name));
        // In pieces, too.
        let mut client = rig.client().await;
        for byte in &bytes {
            client.send([*byte]).await;
        }
        assert_eq!(client.response(false).await.unwrap().status(), 200);
    }
    // Its sender for itself.
    assert_eq!(rig.ask(["PROXY UNKNOWN\r\n", GET].concat()).await.len(), 1);
    let before = backend.seen().len();
    for bytes in [
        GET,
        "PROXY TCP4 192.0.2.7\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROXY TCP4 a b 1 2\r\n",
    ] {
        let mut client = rig.client().await;
        client.send(bytes).await;
        assert!(client.is_ended().await, "{bytes:?}");
    }
    assert_eq!(backend.seen().len(), before);
    // Others must not.
    let other = Rig::with("[service.http]\nproxy-protocol = [\"192.0.2.1\"]\n", &[&backend]).await;
    let answers = other
        .ask(["PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n", GET].concat())
        .await;
    assert_eq!(answers[0].status(), 400);
    assert_eq!(backend.seen().len(), before);
}

#[tokio::test]
async fn backends_are_told_by_it() {
    for version in ["v1", "v2"] {
        let backend = Backend::scripted(|_, mut peer: Peer, seen| async move {
            let header = loop {
                match decode(&peer.buffer) {
                    Ok(Some(header)) if !peer.buffer.is_empty() => break header,
                    _ => assert!(peer.more().await),
                }
            };
            peer.exactly(header.length).await;
            while let Some(mut request) = peer.request().await {
                request.body = format!("{:?}", header.addresses.unwrap()).into_bytes();
                seen.lock().unwrap().push(request);
                peer.send(OK).await;
            }
        })
        .await;
        let rig = Rig::with(
            &format!("[service.upstream]\nproxy-protocol = \"{version}\"\n"),
            &[&backend],
        )
        .await;
        let mut client = rig.client().await;
        let own = client.stream.local_addr().unwrap();
        client.send(GET.repeat(2)).await;
        client.end().await;
        assert_eq!(client.rest(false).await.len(), 2);
        for seen in backend.seen() {
            assert_eq!(seen.body, format!("{:?}", (own, rig.address)).into_bytes());
        }
        assert_eq!(backend.seen().len(), 2);
    }
}
