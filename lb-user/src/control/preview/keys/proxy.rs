//! The keys of what a service says of HTTP.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::{NOT_SET, Said, Texts, list};
use crate::config::duration;
use crate::model::acme::{Acme, Authority, ExternalAccount};
use crate::model::proxy::{
    AccessLog, CertificateFiles, Direction, Eject, HeaderAction, HeaderName, HeaderRule, Hsts, Http, HttpVersion,
    Limits, LogFormat, Proxy, ProxyProtocol, Queue, Retry, Route, StickyCookie, Timeouts, Tls, TlsVersion, Upstream,
    UpstreamTls,
};

/// What it says. One that says nothing of HTTP has what is there without a word, so that only what was said differs.
pub(super) fn texts(proxy: Option<&Proxy>) -> Texts {
    let silent = Proxy::default();
    let Proxy {
        tls: own,
        http: said,
        upstream: to,
        routes,
    } = proxy.unwrap_or(&silent);
    let mut texts = tls(own.as_ref());
    texts.extend(http(said));
    texts.extend(upstream(to));
    texts.push(("route", all(routes.iter().map(route))));
    texts
}

fn tls(tls: Option<&Tls>) -> Texts {
    let Some(Tls {
        certificates,
        acme,
        client_ca,
        client_optional,
        min_version,
        ciphers,
        alpn,
        hsts,
    }) = tls
    else {
        return Vec::new();
    };
    let files = |CertificateFiles { certificate, key }: &CertificateFiles| {
        if certificate == key {
            certificate.display().to_string()
        } else {
            format!("{} and {}", certificate.display(), key.display())
        }
    };
    let hsts = hsts.map(|hsts| {
        let Hsts {
            max_age,
            include_subdomains,
            preload,
        } = hsts;
        let also = |said, word| if said { word } else { "" };
        let subdomains = also(include_subdomains, ", with subdomains");
        format!(
            "{}{subdomains}{}",
            duration::format(max_age),
            also(preload, ", preload")
        )
    });
    let min_version = match min_version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    let mut texts = vec![
        (
            "tls.certificates",
            list(&certificates.iter().map(files).collect::<Vec<_>>()).into(),
        ),
        ("tls.client-ca", path(client_ca.as_deref())),
        ("tls.client-optional", client_optional.to_string().into()),
        ("tls.min-version", min_version.into()),
        ("tls.ciphers", some(ciphers)),
        (
            "tls.alpn",
            list(&alpn.iter().map(|&version| spoken(version)).collect::<Vec<_>>()).into(),
        ),
        ("tls.hsts", or_not(hsts)),
    ];
    texts.extend(self::acme(acme.as_deref()));
    texts
}

fn acme(acme: Option<&Acme>) -> Texts {
    let Some(Acme {
        domains,
        authority,
        key_type,
        challenge,
    }) = acme
    else {
        return Vec::new();
    };
    let Authority {
        directory,
        contact,
        ca,
        external_account,
        storage,
    } = authority;
    let external = external_account
        .as_ref()
        .map(|ExternalAccount { key_id, key_file }| format!("{key_id} by {}", key_file.display()));
    vec![
        ("tls.acme.domains", list(domains).into()),
        ("tls.acme.directory", directory.to_string().into()),
        ("tls.acme.contact", some(contact)),
        ("tls.acme.ca", path(ca.as_deref())),
        ("tls.acme.external-account", or_not(external)),
        ("tls.acme.storage", path(storage.as_deref())),
        ("tls.acme.key-type", key_type.label().into()),
        ("tls.acme.challenge", challenge.label().into()),
    ]
}

fn http(http: &Http) -> Texts {
    let Http {
        h2c,
        redirect_to_https,
        preserve_host,
        rewrite_location,
        forwarded,
        trusted_proxies,
        proxy_protocol,
        request_id,
        hash_on,
        sticky_cookie,
        headers,
        access_log,
        timeouts: times,
        limits: most,
        error_pages,
        retry_after,
        retry,
        eject,
        queue,
    } = http;
    let sticky = sticky_cookie
        .as_ref()
        .map(|StickyCookie { name, max_age }| match max_age {
            Some(age) => format!("{name} for {}", duration::format(*age)),
            None => name.to_string(),
        });
    let pages = |(status, page): &(u16, std::path::PathBuf)| format!("{status} {}", page.display());
    let Retry {
        attempts,
        budget_percent,
    } = retry;
    let Queue { length, timeout } = queue;
    let mut texts = vec![
        ("http.h2c", h2c.to_string().into()),
        ("http.redirect-to-https", or_not(*redirect_to_https)),
        ("http.preserve-host", preserve_host.to_string().into()),
        ("http.rewrite-location", rewrite_location.to_string().into()),
        (
            "http.forwarded",
            some(&forwarded.iter().map(|f| f.label()).collect::<Vec<_>>()),
        ),
        ("http.trusted-proxies", some(trusted_proxies)),
        ("http.proxy-protocol", some(proxy_protocol)),
        ("http.request-id", or_not(request_id.as_ref().map(HeaderName::as_str))),
        ("http.hash-on", hash_on.to_string().into()),
        ("http.sticky-cookie", or_not(sticky)),
        ("http.headers", all(headers.iter().map(rule))),
        ("http.access-log", or_not(access_log.as_ref().map(log))),
        (
            "http.error-pages",
            some(&error_pages.iter().map(pages).collect::<Vec<_>>()),
        ),
        ("http.retry-after", time(*retry_after)),
        (
            "http.retry",
            format!("{attempts} times, {budget_percent}% of requests").into(),
        ),
        ("http.eject", or_not(eject.as_ref().map(ejected))),
        (
            "http.queue",
            format!("{length} for {}", duration::format(*timeout)).into(),
        ),
    ];
    texts.extend(timeouts(times));
    texts.extend(limits(most));
    texts
}

fn timeouts(timeouts: &Timeouts) -> Texts {
    let Timeouts {
        client_header,
        client_body,
        connect,
        response,
        idle,
        tunnel,
        shutdown,
    } = *timeouts;
    vec![
        ("http.timeouts.client-header", time(client_header)),
        ("http.timeouts.client-body", time(client_body)),
        ("http.timeouts.connect", time(connect)),
        ("http.timeouts.response", time(response)),
        ("http.timeouts.idle", time(idle)),
        ("http.timeouts.tunnel", time(tunnel)),
        ("http.timeouts.shutdown", time(shutdown)),
    ]
}

fn limits(limits: &Limits) -> Texts {
    let Limits {
        header,
        header_count,
        uri,
        body,
        streams,
        connections,
    } = limits;
    vec![
        ("http.limits.header", header.to_string().into()),
        ("http.limits.header-count", header_count.to_string().into()),
        ("http.limits.uri", uri.to_string().into()),
        ("http.limits.body", or_not(*body)),
        ("http.limits.streams", streams.to_string().into()),
        ("http.limits.connections", connections.to_string().into()),
    ]
}

fn upstream(upstream: &Upstream) -> Texts {
    let Upstream {
        version,
        tls,
        proxy_protocol,
        max_connections,
    } = upstream;
    let tls = tls.as_ref().map(
        |UpstreamTls {
             verify,
             server_name,
             ca,
         }| {
            let mut said = if *verify { "verified" } else { "not verified" }.to_owned();
            if let Some(name) = server_name {
                said += &format!(", as {name}");
            }
            if let Some(ca) = ca {
                said += &format!(", by {}", ca.display());
            }
            said
        },
    );
    let protocol = proxy_protocol.map(|version| match version {
        ProxyProtocol::V1 => "v1",
        ProxyProtocol::V2 => "v2",
    });
    vec![
        ("upstream.version", spoken(*version).into()),
        ("upstream.tls", or_not(tls)),
        ("upstream.proxy-protocol", or_not(protocol)),
        ("upstream.max-connections", or_not(*max_connections)),
    ]
}

/// Values of headers are nobody's business.
fn route(route: &Route) -> Said {
    let Route {
        host,
        path_prefix,
        header,
        pool,
        replace_prefix,
    } = route;
    let host = host.as_deref().unwrap_or("any host");
    let mut shown = format!("{host}{}", path_prefix.as_deref().unwrap_or_default());
    let mut hidden = String::new();
    if let Some((name, value)) = header {
        shown += &format!(" with {}", name.as_str());
        hidden = value.to_string();
    }
    shown += &format!(" to {pool}");
    if let Some(prefix) = replace_prefix {
        shown += &format!(" as {prefix}");
    }
    Said { shown, hidden }
}

fn rule(HeaderRule { on, action }: &HeaderRule) -> Said {
    let on = match on {
        Direction::Request => "request",
        Direction::Response => "response",
    };
    let (verb, name, value) = match action {
        HeaderAction::Set(name, value) => ("set", name, &**value),
        HeaderAction::Add(name, value) => ("add", name, &**value),
        HeaderAction::Remove(name) => ("remove", name, ""),
    };
    Said {
        shown: format!("{verb} {} of the {on}", name.as_str()),
        hidden: value.to_owned(),
    }
}

fn log(log: &AccessLog) -> String {
    let AccessLog {
        format,
        path,
        max_size,
        keep,
    } = log;
    let format = match format {
        LogFormat::Common => "common",
        LogFormat::Combined => "combined",
        LogFormat::Json => "json",
    };
    let kept = max_size.map_or_else(String::new, |size| format!(", {size} bytes, {keep} older ones"));
    format!("{format} to {}{kept}", path.display())
}

fn ejected(eject: &Eject) -> String {
    let Eject {
        errors,
        slower,
        base,
        max,
    } = *eject;
    let slower = slower.map_or_else(String::new, |times| {
        format!(" or {:.2} times the median's time", f64::from(times.get()) / 100.0)
    });
    format!(
        "after {errors} errors{slower}, for {} to {}",
        duration::format(base),
        duration::format(max)
    )
}

const fn spoken(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::H1 => "http/1.1",
        HttpVersion::H2 => "h2",
    }
}

/// One behind the other, with what nobody is to see.
fn all(said: impl Iterator<Item = Said>) -> Said {
    let (shown, hidden): (Vec<_>, Vec<_>) = said.map(|said| (said.shown, said.hidden)).unzip();
    let shown = if shown.is_empty() {
        NOT_SET.to_owned()
    } else {
        shown.join("; ")
    };
    Said {
        shown,
        hidden: hidden.join("\n"),
    }
}

fn some(items: &[impl Display]) -> Said {
    if items.is_empty() {
        NOT_SET.into()
    } else {
        list(items).into()
    }
}

fn or_not(value: Option<impl Display>) -> Said {
    value.map_or_else(|| NOT_SET.into(), |value| value.to_string().into())
}

fn path(path: Option<&Path>) -> Said {
    or_not(path.map(Path::display))
}

fn time(time: Duration) -> Said {
    duration::format(time).into()
}
