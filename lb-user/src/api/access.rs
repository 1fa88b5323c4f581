//! Who may ask what.
//!
//! The Unix socket is for whoever may open its file. Over TCP nobody can tell who asks, so what changes something is not
//! to be had there, and the API only on the node itself. Whoever reaches the port may read what monitoring needs, and
//! that has the names of services and backends in it.

use std::net::{IpAddr, SocketAddr};

use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};

use super::types::Problem;

pub(super) const METRICS: &str = "/metrics";
pub(super) const HEALTHZ: &str = "/healthz";
pub(super) const READYZ: &str = "/readyz";

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may open the Unix socket.
    Owner,
    /// Some program on this machine, over TCP.
    Local,
    /// Anybody.
    Remote,
}

impl Caller {
    /// Who comes over TCP from `peer`. The kernel takes packets with a loopback source from the machine itself only.
    pub(super) fn at(peer: SocketAddr) -> Self {
        if peer.ip().to_canonical().is_loopback() {
            Self::Local
        } else {
            Self::Remote
        }
    }
}

/// Refuses what this caller may not ask.
pub(super) fn check<B>(caller: Caller, request: &Request<B>) -> Result<(), Problem> {
    if caller == Caller::Owner || [METRICS, HEALTHZ, READYZ].contains(&request.uri().path()) {
        return Ok(());
    }
    let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    if caller == Caller::Remote {
        return forbidden(
            "other machines are answered /metrics, /healthz and /readyz only, since this version has no tokens; ask on \
             the node itself",
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return forbidden("changes are made over the Unix socket only, since this version has no tokens");
    }
    if !names_this_machine(request) {
        return forbidden("the Host header must be an IP address or localhost");
    }
    Ok(())
}

/// A browser sends the name of the site whose script it runs, and a site can have its name lead to 127.0.0.1.
fn names_this_machine<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_from_loopback_is_local_in_any_clothes() {
        let caller = |peer: &str| Caller::at(peer.parse().unwrap());
        for peer in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(caller(peer), Caller::Local, "{peer}");
        }
        for peer in ["10.0.0.1:1", "[fd00::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert_eq!(caller(peer), Caller::Remote, "{peer}");
        }
    }

    #[test]
    fn everyone_gets_what_is_theirs() {
        let check = |caller, method: &str, path: &str, host: Option<&str>| {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            match check(caller, &request.body(()).unwrap()) {
                Ok(()) => None,
                Err(problem) => Some((problem.status, problem.detail)),
            }
        };
        let status = "/api/v1/status";
        for path in [METRICS, HEALTHZ, READYZ] {
            assert_eq!(check(Caller::Remote, "GET", path, Some("lb1.example:9465")), None);
        }
        let (code, detail) = check(Caller::Remote, "GET", status, Some("10.0.0.1")).unwrap();
        assert!(code == 403 && detail.contains("no tokens"), "{detail}");
        assert!(check(Caller::Remote, "GET", "/metrics/../api/v1/status", None).is_some());
        assert_eq!(check(Caller::Owner, "POST", status, Some("anything")), None);
        let (code, detail) = check(Caller::Local, "POST", status, None).unwrap();
        assert!(code == 403 && detail.contains("Unix socket"), "{detail}");
        for host in [
            "127.0.0.1:9465",
            "127.0.0.1",
            "[::1]:9465",
            "[::1]",
            "localhost:9465",
            "LOCALHOST",
        ] {
            assert_eq!(check(Caller::Local, "HEAD", status, Some(host)), None, "{host}");
        }
        for host in [
            "evil.example:9465",
            "evil.example",
            "localhost.evil.example",
            "",
            ":9465",
        ] {
            assert!(check(Caller::Local, "GET", status, Some(host)).is_some(), "{host}");
        }
    }
}
