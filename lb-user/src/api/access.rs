//! Who may ask what.
//!
//! The Unix socket is for whoever may open its file. Over TCP nobody can tell who asks but by the [token](super::token), so
//! what changes something takes it, and so does every question from another machine. Whoever reaches the port may read
//! what monitoring needs, and that has the names of services and backends in it; and the dashboard's page, which shows
//! nothing of its own.
//!
//! There are no cookies: a web site that makes a browser ask has no token to show. Its questions are refused besides.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HOST, ORIGIN};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::page;
use super::token::{Shown, Token};
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

/// What a caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Change something.
    pub(super) changes: bool,
}

/// Refuses what this caller may not ask, where `token` is that of the file.
pub(super) fn check<B>(caller: Caller, request: &Request<B>, token: Option<&Token>) -> Result<Rights, Problem> {
    let path = request.uri().path();
    if caller == Caller::Owner || [METRICS, HEALTHZ, READYZ].contains(&path) {
        let changes = caller == Caller::Owner;
        return Ok(Rights { changes });
    }
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if reads && page::has(path) && (caller == Caller::Local || token.is_some()) {
        return Ok(Rights { changes: false });
    }
    let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    let unauthorized = |detail: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    if is_of_another_site(request.headers()) {
        return forbidden("a browser asks for a page of another site, which is refused");
    }
    match token.map(|token| token.shown(request)) {
        Some(Shown::Right) => Ok(Rights { changes: true }),
        Some(Shown::Wrong) => unauthorized("this is not the token of the node: see [admin] token-file"),
        Some(Shown::Nothing) if caller == Caller::Remote || !reads => unauthorized(
            "send the token of [admin] token-file, as in `Authorization: Bearer TOKEN`, or use the Unix socket",
        ),
        None if caller == Caller::Remote => forbidden(
            "other machines are answered /metrics, /healthz and /readyz only, since the file has no [admin] token-file; \
             ask on the node itself",
        ),
        None if !reads => {
            forbidden("changes are made over the Unix socket only, since the file has no [admin] token-file")
        }
        Some(Shown::Nothing) | None if !names_this_machine(request) => {
            forbidden("the Host header must be an IP address or localhost")
        }
        Some(Shown::Nothing) | None => Ok(Rights { changes: false }),
    }
}

/// Does a browser ask for a page that somebody else has served? Of another port, too (Fetch Metadata, RFC 6454 §7).
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let host = headers.get(HOST).map_or(&[][..], |host| host.as_bytes());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    from.is_none_or(|(_, from)| !from.as_bytes().eq_ignore_ascii_case(host))
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

    /// What `check` says: what may be done, or the status and the detail of the refusal.
    fn asked(
        caller: Caller,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        token: Option<&str>,
    ) -> Result<bool, (u16, String)> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let token = token.map(|token| Token::new(token.as_bytes()).unwrap());
        match check(caller, &request.body(()).unwrap(), token.as_ref()) {
            Ok(rights) => Ok(rights.changes),
            Err(problem) => Err((problem.status, problem.detail)),
        }
    }

    const STATUS: &str = "/api/v1/status";

    #[test]
    fn without_a_token_the_node_alone_is_answered() {
        use Caller::{Local, Owner, Remote};
        for path in [METRICS, HEALTHZ, READYZ] {
            assert_eq!(
                asked(Remote, "GET", path, &[("host", "lb1.example:9465")], None),
                Ok(false)
            );
        }
        for path in [STATUS, "/metrics/../api/v1/status", "/"] {
            let (code, detail) = asked(Remote, "GET", path, &[("host", "10.0.0.1")], None).unwrap_err();
            assert!(code == 403 && detail.contains("no [admin] token-file"), "{detail}");
        }
        assert_eq!(asked(Owner, "POST", STATUS, &[("host", "anything")], None), Ok(true));
        let (code, detail) = asked(Local, "POST", STATUS, &[], None).unwrap_err();
        assert!(code == 403 && detail.contains("Unix socket"), "{detail}");
        assert_eq!(asked(Local, "GET", "/", &[], None), Ok(false));
        for host in [
            "127.0.0.1:9465",
            "127.0.0.1",
            "[::1]:9465",
            "[::1]",
            "localhost:9465",
            "LOCALHOST",
        ] {
            assert_eq!(
                asked(Local, "HEAD", STATUS, &[("host", host)], None),
                Ok(false),
                "{host}"
            );
        }
        for host in [
            "evil.example:9465",
            "evil.example",
            "localhost.evil.example",
            "",
            ":9465",
        ] {
            assert!(asked(Local, "GET", STATUS, &[("host", host)], None).is_err(), "{host}");
        }
    }

    #[test]
    fn with_a_token_its_bearer_may_do_everything() {
        use Caller::{Local, Owner, Remote};
        let token = Some("0123456789abcdef");
        let (right, wrong) = (
            ("authorization", "Bearer 0123456789abcdef"),
            ("authorization", "Bearer 0123456789abcdee"),
        );
        for (caller, method, path, header, expected) in [
            (Remote, "GET", METRICS, None, Ok(false)),
            (Remote, "GET", "/", None, Ok(false)),
            (Remote, "GET", "/app.js", None, Ok(false)),
            (Remote, "GET", "/nothing", None, Err(401)),
            (Remote, "POST", "/", None, Err(401)),
            (Remote, "GET", STATUS, None, Err(401)),
            (Remote, "GET", STATUS, Some(wrong), Err(401)),
            (Remote, "GET", STATUS, Some(right), Ok(true)),
            (Remote, "POST", "/api/v1/reload", Some(right), Ok(true)),
            (Local, "GET", STATUS, None, Ok(false)),
            (Local, "GET", STATUS, Some(wrong), Err(401)),
            (Local, "POST", "/api/v1/reload", None, Err(401)),
            (Local, "POST", "/api/v1/reload", Some(wrong), Err(401)),
            (Local, "POST", "/api/v1/reload", Some(right), Ok(true)),
            (Owner, "POST", "/api/v1/reload", Some(wrong), Ok(true)),
        ] {
            let headers: Vec<_> = header.into_iter().collect();
            let said = asked(caller, method, path, &headers, token).map_err(|(code, _)| code);
            assert_eq!(said, expected, "{caller:?} {method} {path} {header:?}");
        }
        // A name is no danger any more: whoever has it lead here does not have the token.
        let named = [("host", "lb1.example:9465"), right];
        assert_eq!(asked(Local, "GET", STATUS, &named, token), Ok(true));
    }

    #[test]
    fn pages_of_others_ask_in_vain() {
        let token = Some("0123456789abcdef");
        let right = ("authorization", "Bearer 0123456789abcdef");
        for (headers, refused) in [
            (vec![("origin", "http://127.0.0.1:9465")], false),
            (vec![("origin", "https://127.0.0.1:9465")], false),
            (vec![("origin", "http://127.0.0.1:3000")], true),
            (vec![("origin", "http://evil.example")], true),
            (vec![("origin", "null")], true),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("sec-fetch-site", "cross-site")], true),
        ] {
            let mut all = vec![("host", "127.0.0.1:9465"), right];
            all.extend(&headers);
            let said = asked(Caller::Local, "POST", "/api/v1/reload", &all, token);
            assert_eq!(said.is_err_and(|(code, _)| code == 403), refused, "{headers:?}");
        }
        // Following a link to the dashboard is not asking for something with somebody's rights.
        let followed = [("sec-fetch-site", "cross-site")];
        assert_eq!(asked(Caller::Local, "GET", "/", &followed, token), Ok(false));
    }
}
