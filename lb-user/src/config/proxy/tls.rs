//! `[service.tls]`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::super::fault::{Checked, fault};
use super::super::raw::{Table, Value, excerpt};
use super::super::{Reader, Subject};
use super::{Places, contradiction, schema, seconds};
use crate::model::proxy::{CertificateFiles, Hsts, HttpVersion, Tls, TlsVersion};

/// Suites that there are, by their IANA names, and the version that each is of. Another spelling of those of TLS 1.3 has
/// `TLS13_` in front.
const CIPHERS: [(&str, TlsVersion); 9] = [
    ("TLS_AES_256_GCM_SHA384", TlsVersion::V1_3),
    ("TLS_AES_128_GCM_SHA256", TlsVersion::V1_3),
    ("TLS_CHACHA20_POLY1305_SHA256", TlsVersion::V1_3),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", TlsVersion::V1_2),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TlsVersion::V1_2),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", TlsVersion::V1_2),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", TlsVersion::V1_2),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", TlsVersion::V1_2),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", TlsVersion::V1_2),
];

/// Most certificates of a service.
const MAX_CERTIFICATES: usize = 10_000;

/// Limits of `hsts`: 0 takes back what was said, and nothing is remembered for longer than ten years.
const HSTS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_650 * DAY);

const DAY: u64 = 24 * 3_600;

/// What the lists that browsers come with want at least.
const PRELOAD: Duration = Duration::from_secs(365 * DAY);

impl Reader {
    pub(super) fn tls(&mut self, tls: &Table<'_>, service: &str, places: &mut Places) -> Checked<Tls> {
        let acme = match tls.get("acme") {
            Some(value) => Some(Arc::new(self.acme(&value, service, places)?)),
            None => None,
        };
        let certificates = if acme.is_some() && tls.get("certificates").is_none() {
            Vec::new()
        } else {
            self.certificates(&tls.require("certificates", "[\"/etc/fulcrum/shop.pem\"]")?, service)?
        };
        let client_ca = tls.get("client-ca");
        if let Some(value) = &client_ca {
            self.places.insert(Subject::ClientCa(service.to_owned()), value.span());
        }
        let client_optional = match tls.get("client-auth") {
            Some(value) => {
                let optional = value.choice(&[("required", false), ("optional", true)])?;
                if client_ca.is_none() {
                    let message = "`client-auth` is about clients' certificates, and nobody is believed about them";
                    return Err(value
                        .fault(message)
                        .hint("add: client-ca = \"/etc/fulcrum/clients.pem\""));
                }
                optional
            }
            None => false,
        };
        let min_version = match tls.get("min-version") {
            Some(value) => value.choice(&[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)])?,
            None => TlsVersion::default(),
        };
        Ok(Tls {
            certificates,
            acme,
            client_ca: client_ca.map(|value| value.path()).transpose()?,
            client_optional,
            min_version,
            ciphers: match tls.get("ciphers") {
                Some(value) => ciphers(&value, tls, min_version)?,
                None => Vec::new(),
            },
            alpn: match tls.get("alpn") {
                Some(value) => alpn(&value)?,
                None => vec![HttpVersion::H2, HttpVersion::H1],
            },
            hsts: match tls.get("hsts") {
                Some(value) => Some(self.hsts(&value)?),
                None => None,
            },
        })
    }

    fn certificates(&mut self, value: &Value<'_>, service: &str) -> Checked<Vec<CertificateFiles>> {
        let list = value.list();
        if list.is_empty() {
            let hint = "name a PEM file: certificates = [\"/etc/fulcrum/shop.pem\"]";
            return Err(value.fault("no certificate is named").hint(hint));
        }
        if let Some(beyond) = list.get(MAX_CERTIFICATES) {
            return Err(beyond.fault(format!("a service has at most {MAX_CERTIFICATES} certificates")));
        }
        let mut all: Vec<CertificateFiles> = Vec::with_capacity(list.len());
        let mut seen = std::collections::HashMap::new();
        for (index, value) in list.iter().enumerate() {
            let (files, place, key) = if value.text().is_some() {
                let file = value.path()?;
                let files = CertificateFiles {
                    certificate: file.clone(),
                    key: file,
                };
                (files, value.span(), value.span())
            } else {
                let table = value.table(&schema::CERTIFICATE).map_err(|fault| match fault.hint {
                    // Neither a file nor a table.
                    Some(_) if !value.is_table() => {
                        fault.hint("write \"FILE\", or { certificate = \"FILE\", key = \"FILE\" }")
                    }
                    _ => fault,
                })?;
                let certificate = table.require("certificate", "\"/etc/fulcrum/shop.crt\"")?;
                let key = table.require("key", "\"/etc/fulcrum/shop.key\"")?;
                let files = CertificateFiles {
                    certificate: certificate.path()?,
                    key: key.path()?,
                };
                (files, certificate.span(), key.span())
            };
            if let Some(first) = seen.insert(files.certificate.clone(), place.clone()) {
                let message = format!("the certificate {} stands here twice", files.certificate.display());
                return Err(fault(place, message).other(first, "first here"));
            }
            self.places
                .insert(Subject::Certificate(service.to_owned(), index), place);
            self.places
                .insert(Subject::CertificateKey(service.to_owned(), index), key);
            all.push(files);
        }
        Ok(all)
    }

    fn hsts(&mut self, value: &Value<'_>) -> Checked<Hsts> {
        if !value.is_table() {
            let max_age = seconds(value, HSTS).map_err(|fault| {
                let hint = fault.hint.clone().unwrap_or_default();
                match value.text() {
                    None => fault.hint(format!("{hint}; or a table, {{ max-age = \"365d\" }}")),
                    Some(_) => fault,
                }
            })?;
            return Ok(Hsts {
                max_age,
                include_subdomains: false,
                preload: false,
            });
        }
        let table = value.table(&schema::HSTS)?;
        let said = |key: &'static str| table.get(key).map_or(Ok(false), |value| value.boolean());
        let hsts = Hsts {
            max_age: seconds(&table.require("max-age", "\"365d\"")?, HSTS)?,
            include_subdomains: said("include-subdomains")?,
            preload: said("preload")?,
        };
        if let (true, Some(place)) = (hsts.preload, table.get("preload"))
            && (!hsts.include_subdomains || hsts.max_age < PRELOAD)
        {
            let message = "no browser puts this into its list";
            let hint = "they want include-subdomains = true, and max-age = \"365d\" at least";
            self.warnings.push(place.fault(message).hint(hint));
        }
        Ok(hsts)
    }
}

fn ciphers(value: &Value<'_>, tls: &Table<'_>, least: TlsVersion) -> Checked<Vec<String>> {
    let mut chosen: Vec<String> = Vec::new();
    for (span, text) in value.strings()? {
        let name = text.strip_prefix("TLS13_").map(|rest| format!("TLS_{rest}"));
        let name = name.unwrap_or_else(|| text.to_owned());
        let known = |(known, version): &(&str, TlsVersion)| {
            *known == name && (*version == TlsVersion::V1_3 || !text.starts_with("TLS13_"))
        };
        let Some((_, version)) = CIPHERS.iter().find(|cipher| known(cipher)) else {
            let names = CIPHERS.map(|(name, _)| name).join(", ");
            let message = format!("\"{}\" is not a cipher suite that there is", excerpt(text));
            return Err(fault(span, message).hint(format!("those are: {names}")));
        };
        if *version < least {
            let fault = fault(span, format!("{name} is of TLS 1.2, which is not spoken"));
            let fault = match tls.get("min-version") {
                Some(least) => fault.other(least.span(), "the oldest version"),
                None => fault,
            };
            return Err(fault.hint("remove it, or set min-version = \"1.2\""));
        }
        if chosen.contains(&name) {
            return Err(fault(span, format!("{name} stands here twice")));
        }
        chosen.push(name);
    }
    if chosen.is_empty() {
        let hint = "leave `ciphers` out for all that are safe";
        return Err(value.fault("no cipher suite is left").hint(hint));
    }
    Ok(chosen)
}

fn alpn(value: &Value<'_>) -> Checked<Vec<HttpVersion>> {
    let versions = [("h2", HttpVersion::H2), ("http/1.1", HttpVersion::H1)];
    let mut chosen = Vec::new();
    let list = value.list();
    for one in &list {
        let version = one.choice(&versions)?;
        if chosen.contains(&version) {
            return Err(one.fault("this protocol stands here twice"));
        }
        chosen.push(version);
    }
    if chosen.is_empty() {
        let hint = "such as alpn = [\"http/1.1\"]";
        return Err(value.fault("no protocol is offered").hint(hint));
    }
    Ok(chosen)
}

/// What a service over TLS cannot say besides.
pub(super) fn agrees(service: &Table<'_>, http: &Table<'_>) -> Checked<()> {
    let Some(tls) = service.get("tls") else {
        return Ok(());
    };
    if let Some(value) = http.get("h2c").filter(|value| value.truth() == Some(true)) {
        let message = "`h2c` is HTTP/2 without TLS, and this service has TLS";
        return Err(
            contradiction(&value, message, &tls, "here").hint("remove it: `alpn` in [service.tls] offers HTTP/2")
        );
    }
    if let Some(value) = http.get("redirect-to-https").filter(|v| v.truth() != Some(false)) {
        let message = "this service is https already: it would lead its clients to itself";
        let hint = "make it two services, on ports 80 and 443, and redirect on the first";
        return Err(contradiction(&value, message, &tls, "here").hint(hint));
    }
    Ok(())
}
