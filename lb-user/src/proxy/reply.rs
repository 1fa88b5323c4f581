//! What the proxy itself answers: where no backend has an answer, and where none is asked.

use std::io::Write as _;

use super::site::Site;

/// An answer: fields but for those of the connection, and a body.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// Its status.
    pub status: u16,
    /// Lines, each with its end, the length of the body among them.
    pub fields: Vec<u8>,
    /// HTML.
    pub body: Vec<u8>,
}

impl Reply {
    /// Why a request has no other answer.
    #[must_use]
    pub(super) fn of(site: &Site, status: u16) -> Self {
        let mut fields = Vec::with_capacity(256);
        let body = match site.pages.get(&status) {
            Some(page) => page.to_vec(),
            None => page(status),
        };
        // It is memory, which takes everything.
        let _ = write!(
            fields,
            "content-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
            body.len()
        );
        if status == 503 {
            let _ = write!(fields, "retry-after: {}\r\n", site.proxy.http.retry_after.as_secs());
        }
        fields.extend_from_slice(&site.response_rules.own);
        Self { status, fields, body }
    }

    /// The way to the same at https.
    #[must_use]
    pub(super) fn redirect(host: &[u8], port: u16, path: &[u8]) -> Self {
        let mut fields = b"content-length: 0\r\nlocation: https://".to_vec();
        let name = match host.iter().rposition(|&byte| byte == b':') {
            Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
            _ => host,
        };
        fields.extend_from_slice(name);
        if port != 443 {
            let _ = write!(fields, ":{port}");
        }
        if path.first() != Some(&b'/') {
            fields.push(b'/');
        } else {
            fields.extend_from_slice(path);
        }
        fields.extend_from_slice(b"\r\n");
        Self {
            // The method stays (RFC 9110 §15.4.9).
            status: 308,
            fields,
            body: Vec::new(),
        }
    }

    /// What an authority asks for that wants to see whose a name is (RFC 8555 §8.3).
    #[must_use]
    pub(super) fn challenge(answer: &str) -> Self {
        let mut fields = Vec::with_capacity(128);
        // It is memory, which takes everything.
        let _ = write!(
            fields,
            "content-type: application/octet-stream\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
            answer.len()
        );
        Self {
            status: 200,
            fields,
            body: answer.as_bytes().to_vec(),
        }
    }

    /// The head, in HTTP/1.1.
    #[must_use]
    pub(super) fn head(&self, connection: &str) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        head.extend_from_slice(&self.fields);
        head.extend_from_slice(connection.as_bytes());
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn page(status: u16) -> Vec<u8> {
    let reason = reason(status);
    let say = match status {
        503 => "<p>The service is not available at the moment. Please try again in a few seconds.</p>\n",
        502 | 504 => "<p>The service did not answer as it should. Please try again.</p>\n",
        _ => "",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{status} {reason}</title></head>\n\
         <body>\n<h1>{status} {reason}</h1>\n{say}</body>\n</html>\n"
    )
    .into_bytes()
}

/// What a status is called (RFC 9110 §15).
#[must_use]
pub(super) fn reason(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).unwrap_or("")
}
