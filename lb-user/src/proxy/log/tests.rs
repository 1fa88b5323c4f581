//! Lines byte by byte, and what becomes of them.

mod files;
mod lines;

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// A request with all that can be known of one.
fn full() -> Entry<'static> {
    Entry {
        client: "192.0.2.7:50000".parse().unwrap(),
        time: UNIX_EPOCH + Duration::from_millis(1_795_877_320_250),
        request: Some(Request {
            method: b"GET",
            target: b"/shop?q=a%20b",
            version: Version::H1_1,
        }),
        status: Some(200),
        body: 2326,
        referer: Some(b"https://example.com/start"),
        user_agent: Some(b"curl/8.14.1"),
        host: Some(b"shop.example.com"),
        service: "web",
        backend: Some(("web1", SocketAddr::from(([10, 0, 0, 6], 80)))),
        total: Duration::from_micros(12_345),
        wait: Some(Duration::from_micros(40)),
        connect: Some(Duration::from_micros(300)),
        first_byte: Some(Duration::from_micros(9_000)),
        received: 180,
        sent: 2600,
        tls: Some(TlsFacts {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: Some("shop.example.com"),
        }),
        request_id: Some(b"5f1c"),
        retries: 1,
        fault: Some("no \"connection\""),
    }
}

/// One of which next to nothing is.
fn empty() -> Entry<'static> {
    Entry {
        client: "[2001:db8::7]:443".parse().unwrap(),
        time: UNIX_EPOCH,
        request: None,
        status: None,
        body: 0,
        referer: None,
        user_agent: None,
        host: None,
        service: "web",
        backend: None,
        total: Duration::ZERO,
        wait: None,
        connect: None,
        first_byte: None,
        received: 0,
        sent: 0,
        tls: None,
        request_id: None,
        retries: 0,
        fault: None,
    }
}
