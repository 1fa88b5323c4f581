//! Any service of the proxy and any pool: what is written reads back the same.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::super::{NODE, SERVICE, read, written};
use crate::model::acme::{Acme, Authority, ChallengeKind, ExternalAccount, KeyType};
use crate::model::proxy::{
    AccessLog, CertificateFiles, Direction, Eject, Forwarded, HashOn, HeaderAction, HeaderName, HeaderRule, Hsts, Http,
    HttpVersion, Limits, LogFormat, Proxy, ProxyProtocol, Queue, Retry, Route, StickyCookie, Timeouts, Tls, TlsVersion,
    Upstream, UpstreamTls,
};
use crate::model::{Balance, Prefix, RingSize};

fn path() -> impl Strategy<Value = PathBuf> {
    "(/[ -~äß]{1,10}){1,4}".prop_map(Into::into)
}

fn millis(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_millis)
}

fn seconds(from: u64, to: u64) -> impl Strategy<Value = Duration> {
    (from..=to).prop_map(Duration::from_secs)
}

fn number(to: u32) -> impl Strategy<Value = NonZeroU32> {
    (1..=to).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn token() -> impl Strategy<Value = String> {
    "x[a-z0-9!#$&'*+.^_`|~-]{0,20}"
}

fn header() -> impl Strategy<Value = HeaderName> {
    token().prop_map(|name| HeaderName::new(&name).unwrap())
}

fn field() -> impl Strategy<Value = Arc<str>> {
    "[!-~ä]([ -~ä\t]{0,20}[!-~ä])?".prop_map(Into::into)
}

fn tls() -> impl Strategy<Value = Tls> {
    let certificate = (path(), prop::option::of(path())).prop_map(|(certificate, key)| CertificateFiles {
        key: key.unwrap_or_else(|| certificate.clone()),
        certificate,
    });
    let certificates = prop::collection::vec(certificate, 0..4).prop_map(|mut files: Vec<CertificateFiles>| {
        files.sort_by(|a, b| a.certificate.cmp(&b.certificate));
        files.dedup_by(|a, b| a.certificate == b.certificate);
        files
    });
    let suites = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ];
    let ciphers = prop_oneof![
        Just((TlsVersion::V1_3, vec![])),
        subsequence(suites.to_vec(), 1..=3).prop_map(|names| (TlsVersion::V1_2, names)),
    ];
    let alpn = select(vec![
        vec![HttpVersion::H1],
        vec![HttpVersion::H2],
        vec![HttpVersion::H1, HttpVersion::H2],
        vec![HttpVersion::H2, HttpVersion::H1],
    ]);
    let hsts = (seconds(0, 3_650 * 86_400), any::<bool>(), any::<bool>());
    let hsts = hsts.prop_map(|(max_age, include_subdomains, preload)| Hsts {
        max_age,
        include_subdomains,
        preload,
    });
    let client_ca = (prop::option::of(path()), any::<bool>());
    // One of them at least.
    let shown = (certificates, prop::option::of(acme()));
    let shown = shown.prop_filter("nothing to show", |(files, acme)| !files.is_empty() || acme.is_some());
    (shown, client_ca, ciphers, alpn, prop::option::of(hsts)).prop_map(
        |((certificates, acme), (client_ca, optional), (min_version, ciphers), alpn, hsts)| Tls {
            certificates,
            acme: acme.map(Arc::new),
            client_optional: optional && client_ca.is_some(),
            client_ca,
            min_version,
            ciphers: ciphers.into_iter().map(str::to_owned).collect(),
            alpn,
            hsts,
        },
    )
}

fn acme() -> impl Strategy<Value = Acme> {
    let domains = prop::collection::btree_set("([a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\\.){1,3}[a-z]{2,8}", 1..4);
    let contact = prop::collection::btree_set("mailto:[a-z0-9.+]{1,10}@[a-z0-9.]{1,10}", 0..3);
    let external = ("[!-~]{1,20}", path()).prop_map(|(key_id, key_file)| ExternalAccount {
        key_id: key_id.into(),
        key_file,
    });
    let authority = (
        "https://[a-z]{1,10}\\.example(:[1-9][0-9]{1,3})?/[a-z0-9/]{0,20}",
        contact,
        prop::option::of(path()),
        prop::option::of(external),
        prop::option::of(path()),
    )
        .prop_map(|(directory, contact, ca, external_account, storage)| Authority {
            directory: directory.into(),
            contact: contact.into_iter().map(Into::into).collect(),
            ca,
            external_account,
            storage,
        });
    let key_type = select(vec![KeyType::Ecdsa, KeyType::Rsa]);
    let challenge = select(vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01]);
    (domains, authority, key_type, challenge).prop_map(|(domains, authority, key_type, challenge)| Acme {
        domains: domains.into_iter().map(Into::into).collect(),
        authority,
        key_type,
        challenge,
    })
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let prefix = (any::<bool>(), any::<u128>(), 0u8..=128).prop_map(|(v6, bits, length)| {
        let (ip, length) = if v6 {
            // Not one of IPv4 in IPv6's form.
            let bits = bits | 1 << 127;
            (std::net::IpAddr::V6(bits.into()), length)
        } else {
            (std::net::IpAddr::V4((bits as u32).into()), length % 33)
        };
        let prefix = Prefix { ip, length };
        Prefix {
            ip: prefix.first(),
            length,
        }
    });
    let apart = |mut prefixes: Vec<Prefix>| {
        prefixes.sort_by_key(|prefix| (prefix.ip, prefix.length));
        prefixes.dedup();
        prefixes
    };
    let usable = |prefix: &Prefix| !matches!(prefix.ip, std::net::IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    prop::collection::vec(prefix.prop_filter("mapped", usable), 0..4).prop_map(apart)
}

fn rules() -> impl Strategy<Value = Vec<HeaderRule>> {
    let on = select(vec![Direction::Request, Direction::Response]);
    let action = prop_oneof![
        (header(), field()).prop_map(|(name, value)| HeaderAction::Set(name, value)),
        (header(), field()).prop_map(|(name, value)| HeaderAction::Add(name, value)),
        header().prop_map(HeaderAction::Remove),
    ];
    prop::collection::vec((on, action).prop_map(|(on, action)| HeaderRule { on, action }), 0..4)
}

fn log() -> impl Strategy<Value = AccessLog> {
    let format = select(vec![LogFormat::Common, LogFormat::Combined, LogFormat::Json]);
    let turned = prop::option::of((4_096u64..=1 << 40, 1u16..=1_000));
    (path(), format, turned).prop_map(|(path, format, turned)| AccessLog {
        format,
        path,
        max_size: turned.map(|(size, _)| size),
        keep: turned.map_or(5, |(_, keep)| keep),
    })
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let day = 86_400_000;
    let one = || millis(1, day);
    let some = (
        one(),
        one(),
        one(),
        one(),
        one(),
        millis(1, 30 * day),
        millis(0, 3_600_000),
    );
    some.prop_map(
        |(client_header, client_body, connect, response, idle, tunnel, shutdown)| Timeouts {
            client_header,
            client_body,
            connect,
            response,
            idle,
            tunnel,
            shutdown,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let body = prop::option::of(0u64..=1 << 50);
    let header = (1_024u32..=1 << 20, any::<Index>());
    (header, 1u16..=10_000, body, number(10_000), number(10_000_000)).prop_map(
        |((header, uri), header_count, body, streams, connections)| Limits {
            header,
            header_count,
            uri: 64 + uri.index(header as usize - 63) as u32,
            body,
            streams,
            connections,
        },
    )
}

fn failures() -> impl Strategy<Value = (Retry, Option<Eject>, Queue)> {
    let retry = (0u8..=10, 0u8..=100).prop_map(|(attempts, budget_percent)| Retry {
        attempts,
        budget_percent,
    });
    let slower = prop::option::of((110u32..=100_000).prop_map(|n| NonZeroU32::new(n).unwrap()));
    let eject = (number(1_000), slower, millis(100, 86_400_000), millis(100, 86_400_000)).prop_map(
        |(errors, slower, one, other)| Eject {
            errors,
            slower,
            base: one.min(other),
            max: one.max(other),
        },
    );
    let queue = (0u32..=1_000_000, millis(1, 3_600_000)).prop_map(|(length, timeout)| Queue { length, timeout });
    (retry, prop::option::of(eject), queue)
}

fn http() -> impl Strategy<Value = Http> {
    let forwarded = subsequence(Forwarded::ALL.to_vec(), 0..=6).prop_shuffle();
    let hash_on = prop_oneof![
        Just(HashOn::Source),
        Just(HashOn::Path),
        header().prop_map(HashOn::Header),
        token().prop_map(|name| HashOn::Cookie(name.into())),
    ];
    let cookie = (token(), prop::option::of(seconds(1, 400 * 86_400)));
    let cookie = cookie.prop_map(|(name, max_age)| StickyCookie {
        name: name.into(),
        max_age,
    });
    let pages = prop::collection::btree_map(400u16..=599, path(), 0..3);
    let first = (
        any::<(bool, bool, bool)>(),
        prop::option::of(1u16..),
        forwarded,
        (prefixes(), prefixes()),
        prop::option::of(header()),
        hash_on,
        prop::option::of(cookie),
    );
    let second = (
        rules(),
        prop::option::of(log()),
        timeouts(),
        limits(),
        pages,
        seconds(1, 86_400),
        failures(),
    );
    (first, second).prop_map(|(first, second)| {
        let ((h2c, preserve_host, rewrite_location), redirect, forwarded, prefixes, request_id, hash_on, cookie) =
            first;
        let (headers, access_log, timeouts, limits, pages, retry_after, (retry, eject, queue)) = second;
        Http {
            h2c,
            redirect_to_https: redirect.and_then(NonZeroU16::new),
            preserve_host,
            rewrite_location,
            forwarded,
            trusted_proxies: prefixes.0,
            proxy_protocol: prefixes.1,
            request_id,
            hash_on,
            sticky_cookie: cookie,
            headers,
            access_log,
            timeouts,
            limits,
            error_pages: pages.into_iter().collect(),
            retry_after,
            retry,
            eject,
            queue,
        }
    })
}

fn upstream() -> impl Strategy<Value = Upstream> {
    let name = prop::option::of("[a-z]{1,9}\\.example");
    let tls = (any::<bool>(), name, prop::option::of(path())).prop_map(|(verify, name, ca)| UpstreamTls {
        verify,
        server_name: name.map(Into::into),
        ca: ca.filter(|_| verify),
    });
    let version = select(vec![HttpVersion::H1, HttpVersion::H2]);
    let header = select(vec![None, Some(ProxyProtocol::V1), Some(ProxyProtocol::V2)]);
    (
        version,
        prop::option::of(tls),
        header,
        prop::option::of(number(1_000_000)),
    )
        .prop_map(|(version, tls, proxy_protocol, max_connections)| Upstream {
            version,
            tls,
            proxy_protocol,
            max_connections,
        })
}

/// To one of two pools.
fn routes() -> impl Strategy<Value = Vec<Route>> {
    let host = prop::option::of("(\\*\\.)?[a-z0-9-]{1,9}(\\.[a-z_]{1,9}){0,2}");
    let prefix = || "/|(/[a-z%A-Z0-9~!$&'()*+,;=:@-]{1,9}){1,3}";
    let prefix = prop::option::of((prefix(), prop::option::of(prefix())));
    let header = prop::option::of((header(), field()));
    let route = (host, prefix, header, select(vec!["p0", "p1"])).prop_map(|(host, prefix, header, pool)| {
        let (path_prefix, replace_prefix) = prefix.map_or((None, None), |(path, other)| (Some(path), other));
        Route {
            host: host.map(Into::into),
            path_prefix: path_prefix.map(Into::into),
            header,
            pool: pool.into(),
            replace_prefix: replace_prefix.map(Into::into),
        }
    });
    prop::collection::vec(route, 0..4)
}

fn balance() -> impl Strategy<Value = Balance> {
    select(vec![
        Balance::Maglev,
        Balance::RoundRobin,
        Balance::ByRequests,
        Balance::ByTraffic,
        Balance::ByBusyness,
        Balance::Heartbeat,
        Balance::PeakEwma,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_reads_back_the_same(
        tls in prop::option::of(self::tls()),
        mut http in self::http(),
        upstream in self::upstream(),
        routes in self::routes(),
        pools in prop::collection::vec((self::upstream(), self::balance(), 6u32..=12), 2),
        balance in self::balance(),
        protection in super::super::protection::any_protection(),
    ) {
        if tls.is_some() {
            http.h2c = false;
            http.redirect_to_https = None;
        }
        let text = format!("{NODE}{}[[pool]]\nname = \"p0\"\n[[pool]]\nname = \"p1\"\n\
            [[pool.backend]]\naddress = \"10.0.0.9:80\"\n", SERVICE.replace("dsr", "proxy"));
        let mut config = read(&text).unwrap().config;
        config.services[0].balance = balance;
        config.services[0].proxy = Some(Arc::new(Proxy { tls, http, upstream, routes }));
        for (service, (upstream, balance, log2)) in config.services[1..].iter_mut().zip(pools) {
            service.proxy = Some(Arc::new(Proxy { upstream, ..Proxy::default() }));
            service.balance = balance;
            service.table_size = RingSize::new(1 << log2).unwrap();
        }
        let config = super::super::protection::with(config, protection);
        let text = written::config(&config);
        let parsed = read(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parsed.config, config);
        parsed.warnings.iter().for_each(|warning| drop(warning.to_string()));
    }
}
