//! The keys of the proxy.

use std::path::Path;
use std::time::Duration;

use super::{Said, Texts, list};
use crate::config::duration;
use crate::model::proxy::{
    AccessLog, CertificateFiles, Direction, Eject, Forwarded, HashOn, HeaderAction, HeaderName, HeaderRule, Hsts, Http,
    HttpVersion, Limits, LogFormat, Proxy, ProxyProtocol, Queue, Retry, Route, StickyCookie, Timeouts, Tls, TlsVersion,
    Upstream, UpstreamTls,
};

/// What is not as it is by default. The values of headers are nobody's business: only their names are shown.
pub(super) fn texts(proxy: &Proxy) -> Texts {
    let default = all(&Proxy::default());
    let mut texts = all(proxy);
    texts.retain(|text| !default.contains(text));
    texts
}

fn all(proxy: &Proxy) -> Texts {
    let Proxy {
        tls: terms,
        http: manners,
        upstream: backends,
        routes,
    } = proxy;
    let mut texts = terms.as_ref().map_or_else(Vec::new, tls);
    texts.extend(http(manners));
    texts.extend(upstream(backends));
    texts.push(("route", secret(routes.iter().map(route))));
    texts
}

fn tls(tls: &Tls) -> Texts {
    let Tls {
        certificates,
        client_ca,
        client_optional,
        min_version,
        ciphers,
        alpn,
        hsts,
    } = tls;
    let files = |files: &CertificateFiles| {
        if files.certificate == files.key {
            files.certificate.display().to_string()
        } else {
            format!("{} and {}", files.certificate.display(), files.key.display())
        }
    };
    let version = match min_version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    let auth = match (client_ca, client_optional) {
        (None, _) => super::NOT_SET,
        (Some(_), false) => "required",
        (Some(_), true) => "optional",
    };
    let ciphers = if ciphers.is_empty() { none() } else { list(ciphers) };
    let said = |word: &str, set: bool| if set { format!(", {word}") } else { String::new() };
    let hsts = hsts.as_ref().map_or_else(none, |hsts| {
        let Hsts {
            max_age,
            include_subdomains,
            preload,
        } = hsts;
        let age = duration::format(*max_age);
        age + &said("include-subdomains", *include_subdomains) + &said("preload", *preload)
    });
    vec![
        ("tls.certificates", list(&each(certificates, files)).into()),
        ("tls.client-ca", client_ca.as_deref().map_or_else(none, file).into()),
        ("tls.client-auth", auth.into()),
        ("tls.min-version", version.into()),
        ("tls.ciphers", ciphers.into()),
        ("tls.alpn", list(&each(alpn, |version| protocol(*version))).into()),
        ("tls.hsts", hsts.into()),
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
        timeouts,
        limits,
        error_pages,
        retry_after,
        retry,
        eject,
        queue,
    } = http;
    let pages = each(error_pages, |(status, path)| format!("{status}: {}", file(path)));
    let cookie = sticky_cookie
        .as_ref()
        .map_or_else(none, |StickyCookie { name, max_age }| match max_age {
            Some(age) => format!("{name} for {}", duration::format(*age)),
            None => name.to_string(),
        });
    let Retry {
        attempts,
        budget_percent,
    } = retry;
    let Queue { length, timeout } = queue;
    let mut texts = vec![
        ("http.h2c", h2c.to_string().into()),
        (
            "http.redirect-to-https",
            redirect_to_https.map_or_else(none, |port| port.to_string()).into(),
        ),
        ("http.preserve-host", preserve_host.to_string().into()),
        ("http.rewrite-location", rewrite_location.to_string().into()),
        (
            "http.forwarded",
            list(&each(forwarded, |header: &Forwarded| header.label())).into(),
        ),
        ("http.trusted-proxies", list(trusted_proxies).into()),
        ("http.proxy-protocol", list(proxy_protocol).into()),
        (
            "http.request-id",
            request_id.as_ref().map_or("", HeaderName::as_str).into(),
        ),
        ("http.hash-on", hash(hash_on).into()),
        ("http.sticky-cookie", cookie.into()),
        ("http.headers", secret(headers.iter().map(rule))),
        ("http.access-log", access_log.as_ref().map_or_else(none, log).into()),
        ("http.error-pages", list(&pages).into()),
        ("http.retry-after", duration::format(*retry_after).into()),
        (
            "http.retry",
            format!("{attempts} attempts, budget {budget_percent}").into(),
        ),
        (
            "http.eject",
            eject.as_ref().map_or_else(|| "false".to_owned(), ejection).into(),
        ),
        (
            "http.queue",
            format!("{length} for {}", duration::format(*timeout)).into(),
        ),
    ];
    texts.extend(self::timeouts(timeouts));
    texts.extend(self::limits(limits));
    texts
}

fn hash(hash_on: &HashOn) -> String {
    match hash_on {
        HashOn::Source => "source".to_owned(),
        HashOn::Path => "path".to_owned(),
        HashOn::Header(name) => format!("header:{}", name.as_str()),
        HashOn::Cookie(name) => format!("cookie:{name}"),
    }
}

/// What is shown of a rule, and the value that is not.
fn rule(rule: &HeaderRule) -> (String, &str) {
    let on = match rule.on {
        Direction::Request => "request",
        Direction::Response => "response",
    };
    let (action, name, value) = match &rule.action {
        HeaderAction::Set(name, value) => ("set", name, &**value),
        HeaderAction::Add(name, value) => ("add", name, &**value),
        HeaderAction::Remove(name) => ("remove", name, ""),
    };
    (format!("{on} {action} {}", name.as_str()), value)
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
    let turned = max_size.map_or_else(String::new, |size| format!(", {keep} older ones after {size} bytes"));
    format!("{format} in {}{turned}", file(path))
}

fn ejection(eject: &Eject) -> String {
    let Eject {
        errors,
        slower,
        base,
        max,
    } = eject;
    let slower = slower.map_or_else(String::new, |hundredths| {
        format!(
            " or {}.{:02} times as slow",
            hundredths.get() / 100,
            hundredths.get() % 100
        )
    });
    let (base, max) = (duration::format(*base), duration::format(*max));
    format!("{errors} errors{slower}, {base} to {max}")
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
    } = timeouts;
    let text = |key: &'static str, time: &Duration| (key, Said::from(duration::format(*time)));
    vec![
        text("http.timeouts.client-header", client_header),
        text("http.timeouts.client-body", client_body),
        text("http.timeouts.connect", connect),
        text("http.timeouts.response", response),
        text("http.timeouts.idle", idle),
        text("http.timeouts.tunnel", tunnel),
        text("http.timeouts.shutdown", shutdown),
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
        (
            "http.limits.body",
            body.map_or_else(none, |body| body.to_string()).into(),
        ),
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
    let terms = |tls: &UpstreamTls| {
        let UpstreamTls {
            verify,
            server_name,
            ca,
        } = tls;
        let mut text = if *verify { "verified" } else { "not verified" }.to_owned();
        text += &server_name
            .as_ref()
            .map_or_else(String::new, |name| format!(", as {name}"));
        text += &ca.as_ref().map_or_else(String::new, |ca| format!(", by {}", file(ca)));
        text
    };
    let header = match proxy_protocol {
        None => super::NOT_SET,
        Some(ProxyProtocol::V1) => "v1",
        Some(ProxyProtocol::V2) => "v2",
    };
    vec![
        ("upstream.http", protocol(*version).into()),
        (
            "upstream.tls",
            tls.as_ref().map_or_else(|| "false".to_owned(), terms).into(),
        ),
        ("upstream.proxy-protocol", header.into()),
        (
            "upstream.max-connections",
            max_connections.map_or_else(none, |most| most.to_string()).into(),
        ),
    ]
}

/// What is shown of a route, and the value that is not.
fn route(route: &Route) -> (String, &str) {
    let Route {
        host,
        path_prefix,
        header,
        pool,
        replace_prefix,
    } = route;
    let (host, path) = (host.as_deref().unwrap_or("*"), path_prefix.as_deref().unwrap_or("/"));
    let name = header
        .as_ref()
        .map_or_else(String::new, |(name, _)| format!(" with {}", name.as_str()));
    let other = replace_prefix
        .as_ref()
        .map_or_else(String::new, |prefix| format!(" as {prefix}"));
    let value = header.as_ref().map_or("", |(_, value)| &**value);
    (format!("{host}{path}{name} to {pool}{other}"), value)
}

/// Texts, and values that are compared without being shown.
fn secret<'a>(items: impl Iterator<Item = (String, &'a str)>) -> Said {
    let (shown, hidden): (Vec<String>, Vec<&str>) = items.unzip();
    Said {
        shown: shown.join(", "),
        hidden: hidden.join("\n"),
    }
}

fn protocol(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::H1 => "http/1.1",
        HttpVersion::H2 => "h2",
    }
}

fn each<T, U>(items: &[T], text: impl Fn(&T) -> U) -> Vec<U> {
    items.iter().map(text).collect()
}

fn file(path: &Path) -> String {
    path.display().to_string()
}

fn none() -> String {
    super::NOT_SET.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::control::preview::keys::of_service;
    use crate::model::Service;

    const BEGINNING: &str =
        "[node]\ninterfaces = [\"eth0\"]\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10:80\"\n";

    fn service(text: &str) -> Service {
        let file = parse("test.toml", &format!("{BEGINNING}{text}")).unwrap_or_else(|error| panic!("{error}"));
        file.config.services.into_iter().next().unwrap()
    }

    /// Keys with what they say before and after.
    fn changes(old: &str, new: &str) -> Vec<(&'static str, String, String)> {
        let changes = of_service(&service(old), &service(new));
        changes
            .into_iter()
            .map(|change| (change.key, change.from, change.to))
            .collect()
    }

    #[test]
    fn only_what_differs_from_the_default_is_set() {
        let told = |key, from: &str, to: &str| (key, from.to_owned(), to.to_owned());
        let old = "mode = \"proxy\"\n[service.http]\n";
        assert_eq!(changes(old, "mode = \"proxy\"\n"), []);
        let http = format!("{old}timeouts = {{ idle = \"5s\" }}\neject = {{ slower = 2.5 }}\n");
        let expected = [
            told("http.eject", "not set", "5 errors or 2.50 times as slow, 10s to 5m"),
            told("http.timeouts.idle", "not set", "5s"),
        ];
        assert_eq!(changes(old, &http), expected);
        let tls =
            "mode = \"proxy\"\n[service.tls]\ncertificates = [\"/a.pem\", { certificate = \"/b\", key = \"/c\" }]\n";
        let shown: Vec<_> = changes(old, tls).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(shown, ["tls.certificates", "tls.min-version", "tls.alpn"]);
        assert!(changes(old, tls)[0].2 == "/a.pem, /b and /c");
        let mode: Vec<_> = changes("mode = \"nat\"\nbalance = \"round-robin\"\n", "mode = \"proxy\"\n");
        assert_eq!(mode, [told("mode", "nat", "proxy")]);
    }

    #[test]
    fn values_of_headers_are_compared_and_not_shown() {
        let with = |value: &str| {
            let rule = format!("{{ on = \"request\", set = \"authorization\", value = \"{value}\" }}");
            format!("mode = \"proxy\"\n[service.http]\nheaders = [{rule}]\n")
        };
        let told = changes(&with("secret one"), &with("secret two"));
        assert!(
            told.len() == 1 && told[0].0 == "http.headers" && told[0].1 == told[0].2,
            "{told:?}"
        );
        assert!(!told[0].1.contains("secret") && told[0].1.contains("request set authorization"));
        assert_eq!(changes(&with("secret"), &with("secret")), []);
    }
}
