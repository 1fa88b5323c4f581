//! What backends say of their own address, made to say the service's: Apache's `ProxyPassReverse`,
//! `ProxyPassReverseCookiePath` and `ProxyPassReverseCookieDomain`.

use crate::model::proxy::Route;
use crate::proxy::client::Client;
use crate::proxy::upstream::Pool;

/// What a response is seen against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front<'f> {
    /// Whom it goes to.
    pub client: &'f Client,
    /// Whom the client named.
    pub host: &'f [u8],
    /// What led the request to the backend.
    pub route: Option<&'f Route>,
    /// Of the backend.
    pub pool: &'f Pool,
}

impl Front<'_> {
    /// A `location` or `content-location`; `None` where it stays.
    pub(super) fn location(&self, value: &[u8]) -> Option<Vec<u8>> {
        let (absolute, path) = match authority(value) {
            Some((authority, path)) if self.pool.names_backend(authority) => (true, path),
            Some(_) => return None,
            None if value.first() == Some(&b'/') && !value.starts_with(b"//") => (false, value),
            None => return None,
        };
        let replaced = self.path(path);
        if !absolute {
            return replaced;
        }
        let path = replaced.as_deref().unwrap_or(path);
        Some([self.client.scheme().as_bytes(), b"://", self.host, path].concat())
    }

    /// A `set-cookie`; `None` where it stays.
    pub(super) fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut changed = false;
        let mut out = Vec::with_capacity(value.len() + 16);
        for (place, part) in value.split(|&byte| byte == b';').enumerate() {
            let attribute = part.trim_ascii();
            let (name, what) = match memchr::memchr(b'=', attribute) {
                Some(equals) => (&attribute[..equals], attribute[equals + 1..].trim_ascii()),
                None => (attribute, &b""[..]),
            };
            let other = match place {
                0 => None,
                _ if name.eq_ignore_ascii_case(b"path") => self.path(what),
                _ if name.eq_ignore_ascii_case(b"domain")
                    && self.pool.names_backend(what.strip_prefix(b".").unwrap_or(what)) =>
                {
                    Some(without_port(self.host).to_vec())
                }
                _ => None,
            };
            if place > 0 {
                out.push(b';');
            }
            match other {
                None => out.extend_from_slice(part),
                Some(other) => {
                    changed = true;
                    out.push(b' ');
                    out.extend_from_slice(name);
                    out.push(b'=');
                    out.extend_from_slice(&other);
                }
            }
        }
        changed.then_some(out)
    }

    /// The service's path for one of the backend's.
    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let route = self.route?;
        let (outside, inside) = (route.path_prefix.as_ref()?, route.replace_prefix.as_ref()?);
        let (outside, inside) = (outside.trim_end_matches('/'), inside.trim_end_matches('/'));
        let rest = path.strip_prefix(inside.as_bytes())?;
        if !matches!(rest.first(), None | Some(b'/' | b'?' | b'#')) {
            return None;
        }
        let path = [outside.as_bytes(), rest].concat();
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    }
}

/// Host and port of an absolute URI, and what follows them.
fn authority(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme = [&b"http://"[..], b"https://"];
    let scheme = scheme
        .into_iter()
        .find(|scheme| uri.len() > scheme.len() && uri[..scheme.len()].eq_ignore_ascii_case(scheme))?;
    let rest = &uri[scheme.len()..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    Some(rest.split_at(end))
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}
