//! What a service of the proxy, and a pool, says of HTTP.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::duration;
use crate::model::acme::Acme;
use crate::model::proxy::{
    AccessLog, CertificateFiles, Direction, Eject, Forwarded, HashOn, HeaderAction, Http, HttpVersion, Limits,
    LogFormat, Proxy, ProxyProtocol, Queue, Retry, Route, Timeouts, Tls, TlsVersion, Upstream,
};

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn path(path: &Path) -> String {
    quoted(path.to_str().unwrap())
}

fn list(words: impl Iterator<Item = String>) -> String {
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

pub(super) fn proxy(text: &mut String, proxy: &Proxy) {
    if let Some(terms) = &proxy.tls {
        tls(text, terms);
    }
    http(text, &proxy.http);
    upstream(text, "service", &proxy.upstream);
    for route in &proxy.routes {
        self::route(text, route);
    }
}

fn tls(text: &mut String, tls: &Tls) {
    let certificate = |files: &CertificateFiles| {
        if files.key == files.certificate {
            return path(&files.certificate);
        }
        let (certificate, key) = (path(&files.certificate), path(&files.key));
        format!("{{ certificate = {certificate}, key = {key} }}")
    };
    let certificates = list(tls.certificates.iter().map(certificate));
    writeln!(text, "[service.tls]").unwrap();
    if !tls.certificates.is_empty() {
        writeln!(text, "certificates = {certificates}").unwrap();
    }
    if let Some(terms) = &tls.acme {
        acme(text, terms);
    }
    if let Some(ca) = &tls.client_ca {
        let auth = if tls.client_optional { "optional" } else { "required" };
        writeln!(text, "client-ca = {}\nclient-auth = \"{auth}\"", path(ca)).unwrap();
    }
    let version = match tls.min_version {
        TlsVersion::V1_2 => "1.2",
        TlsVersion::V1_3 => "1.3",
    };
    writeln!(text, "min-version = \"{version}\"").unwrap();
    if !tls.ciphers.is_empty() {
        let ciphers = list(tls.ciphers.iter().map(|name| quoted(name)));
        writeln!(text, "ciphers = {ciphers}").unwrap();
    }
    let alpn = |version: &HttpVersion| match version {
        HttpVersion::H1 => "\"http/1.1\"".to_owned(),
        HttpVersion::H2 => "\"h2\"".to_owned(),
    };
    writeln!(text, "alpn = {}", list(tls.alpn.iter().map(alpn))).unwrap();
    if let Some(hsts) = &tls.hsts {
        writeln!(
            text,
            "hsts = {{ max-age = \"{}\", include-subdomains = {}, preload = {} }}",
            duration(hsts.max_age),
            hsts.include_subdomains,
            hsts.preload
        )
        .unwrap();
    }
}

fn acme(text: &mut String, acme: &Acme) {
    let words = |words: &[Arc<str>]| list(words.iter().map(|word| quoted(word)));
    let authority = &acme.authority;
    let mut keys = vec![
        format!("domains = {}", words(&acme.domains)),
        format!("directory = {}", quoted(&authority.directory)),
        format!("key-type = {}", quoted(acme.key_type.label())),
        format!("challenge = {}", quoted(acme.challenge.label())),
    ];
    if !authority.contact.is_empty() {
        keys.push(format!("contact = {}", words(&authority.contact)));
    }
    if let Some(external) = &authority.external_account {
        let (id, file) = (quoted(&external.key_id), path(&external.key_file));
        keys.push(format!("external-account = {{ key-id = {id}, key-file = {file} }}"));
    }
    for (key, file) in [("ca", &authority.ca), ("storage", &authority.storage)] {
        keys.extend(file.as_ref().map(|file| format!("{key} = {}", path(file))));
    }
    writeln!(text, "acme = {{ {} }}", keys.join(", ")).unwrap();
}

fn http(text: &mut String, http: &Http) {
    let mut put = |key: &str, value: String| writeln!(text, "{key} = {value}").unwrap();
    put("[service.http]\nh2c", http.h2c.to_string());
    let redirect = http
        .redirect_to_https
        .map_or("false".to_owned(), |port| port.to_string());
    put("redirect-to-https", redirect);
    put("preserve-host", http.preserve_host.to_string());
    put("rewrite-location", http.rewrite_location.to_string());
    let label = |header: &Forwarded| quoted(header.label());
    put("forwarded", list(http.forwarded.iter().map(label)));
    for (key, prefixes) in [
        ("trusted-proxies", &http.trusted_proxies),
        ("proxy-protocol", &http.proxy_protocol),
    ] {
        put(key, list(prefixes.iter().map(|prefix| quoted(&prefix.to_string()))));
    }
    let request_id = http.request_id.as_ref().map_or("", |name| name.as_str());
    put("request-id", quoted(request_id));
    let hash_on = match &http.hash_on {
        HashOn::Source => "source".to_owned(),
        HashOn::Path => "path".to_owned(),
        HashOn::Header(name) => format!("header:{}", name.as_str()),
        HashOn::Cookie(name) => format!("cookie:{name}"),
    };
    put("hash-on", quoted(&hash_on));
    if let Some(cookie) = &http.sticky_cookie {
        let name = quoted(&cookie.name);
        let cookie = cookie.max_age.map_or(name.clone(), |age| {
            format!("{{ name = {name}, max-age = \"{}\" }}", duration(age))
        });
        put("sticky-cookie", cookie);
    }
    let rules = http.headers.iter().map(|rule| {
        let on = match rule.on {
            Direction::Request => "request",
            Direction::Response => "response",
        };
        let (action, name, value) = match &rule.action {
            HeaderAction::Set(name, value) => ("set", name, Some(value)),
            HeaderAction::Add(name, value) => ("add", name, Some(value)),
            HeaderAction::Remove(name) => ("remove", name, None),
        };
        let value = value.map_or(String::new(), |value| format!(", value = {}", quoted(value)));
        format!("{{ on = \"{on}\", {action} = {}{value} }}", quoted(name.as_str()))
    });
    put("headers", list(rules));
    if let Some(log) = &http.access_log {
        put("access-log", access_log(log));
    }
    put("timeouts", timeouts(&http.timeouts));
    put("limits", limits(&http.limits));
    let page = |(status, file): &(u16, std::path::PathBuf)| format!("\"{status}\" = {}", path(file));
    let pages: Vec<String> = http.error_pages.iter().map(page).collect();
    put("error-pages", format!("{{ {} }}", pages.join(", ")));
    put("retry-after", seconds(http.retry_after));
    let Retry {
        attempts,
        budget_percent,
    } = http.retry;
    put(
        "retry",
        format!("{{ attempts = {attempts}, budget = {budget_percent} }}"),
    );
    put("eject", http.eject.as_ref().map_or("false".to_owned(), eject));
    let Queue { length, timeout } = http.queue;
    put(
        "queue",
        format!("{{ length = {length}, timeout = {} }}", seconds(timeout)),
    );
}

fn seconds(time: Duration) -> String {
    quoted(&duration(time))
}

fn access_log(log: &AccessLog) -> String {
    let AccessLog {
        format,
        path: file,
        max_size,
        keep,
    } = log;
    let format = match format {
        LogFormat::Common => "common",
        LogFormat::Combined => "combined",
        LogFormat::Json => "json",
    };
    let turned = max_size.map_or(String::new(), |size| format!(", max-size = {size}, keep = {keep}"));
    format!("{{ format = \"{format}\", path = {}{turned} }}", path(file))
}

fn timeouts(timeouts: &Timeouts) -> String {
    let Timeouts {
        client_header,
        client_body,
        connect,
        response,
        idle,
        tunnel,
        shutdown,
    } = timeouts;
    let pairs = [
        ("client-header", client_header),
        ("client-body", client_body),
        ("connect", connect),
        ("response", response),
        ("idle", idle),
        ("tunnel", tunnel),
        ("shutdown", shutdown),
    ];
    let pairs = pairs.map(|(key, time)| format!("{key} = {}", seconds(*time)));
    format!("{{ {} }}", pairs.join(", "))
}

fn limits(limits: &Limits) -> String {
    let Limits {
        header,
        header_count,
        uri,
        body,
        streams,
        connections,
    } = limits;
    let body = body.map_or(String::new(), |body| format!("body = {body}, "));
    format!(
        "{{ header = {header}, header-count = {header_count}, uri = {uri}, {body}streams = {streams}, connections = \
         {connections} }}"
    )
}

fn eject(eject: &Eject) -> String {
    let Eject {
        errors,
        slower,
        base,
        max,
    } = eject;
    let slower = slower.map_or(String::new(), |hundredths| {
        format!("slower = {}.{:02}, ", hundredths.get() / 100, hundredths.get() % 100)
    });
    format!(
        "{{ errors = {errors}, {slower}base = {}, max = {} }}",
        seconds(*base),
        seconds(*max)
    )
}

/// `owner` is `service` or `pool`.
pub(super) fn upstream(text: &mut String, owner: &str, upstream: &Upstream) {
    let mut put = |key: &str, value: String| writeln!(text, "{key} = {value}").unwrap();
    let version = match upstream.version {
        HttpVersion::H1 => "1.1",
        HttpVersion::H2 => "2",
    };
    put(&format!("[{owner}.upstream]\nhttp"), quoted(version));
    let tls = upstream.tls.as_ref().map_or("false".to_owned(), |tls| {
        let name = tls
            .server_name
            .as_ref()
            .map_or(String::new(), |name| format!(", server-name = {}", quoted(name)));
        let ca = tls
            .ca
            .as_ref()
            .map_or(String::new(), |ca| format!(", ca = {}", path(ca)));
        format!("{{ verify = {}{name}{ca} }}", tls.verify)
    });
    put("tls", tls);
    match upstream.proxy_protocol {
        Some(ProxyProtocol::V1) => put("proxy-protocol", quoted("v1")),
        Some(ProxyProtocol::V2) => put("proxy-protocol", quoted("v2")),
        None => {}
    }
    if let Some(most) = upstream.max_connections {
        put("max-connections", most.to_string());
    }
}

fn route(text: &mut String, route: &Route) {
    let mut put = |key: &str, value: String| writeln!(text, "{key} = {value}").unwrap();
    put("[[service.route]]\npool", quoted(&route.pool));
    if let Some(host) = &route.host {
        put("host", quoted(host));
    }
    if let Some(prefix) = &route.path_prefix {
        put("path-prefix", quoted(prefix));
    }
    if let Some((name, value)) = &route.header {
        let (name, value) = (quoted(name.as_str()), quoted(value));
        put("header", format!("{{ name = {name}, value = {value} }}"));
    }
    if let Some(prefix) = &route.replace_prefix {
        put("replace-prefix", quoted(prefix));
    }
}
