//! `acme` in `[service.tls]`: a certificate that the node orders by itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::fault::{Checked, Span, fault};
use super::super::raw::{Value, excerpt};
use super::super::service::Draft;
use super::super::{Reader, Subject};
use super::{Places, schema};
use crate::model::acme::{Acme, Authority, ChallengeKind, ExternalAccount, KeyType};
use crate::model::{Ports, Protocol, Service};

/// Most names of a certificate: no public authority takes more.
const MAX_DOMAINS: usize = 100;

/// Longest name, and longest part of one (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Longest URL, in bytes.
const MAX_URL: usize = 2_048;

impl Reader {
    pub(super) fn acme(&mut self, value: &Value<'_>, service: &str, places: &mut Places) -> Checked<Acme> {
        let acme = value.table(&schema::ACME).map_err(|fault| match fault.hint {
            Some(_) if !value.is_table() => fault
                .hint("write acme = { domains = [\"shop.example\"], directory = \"https://acme.example/directory\" }"),
            _ => fault,
        })?;
        let domains = domains(&acme.require("domains", "[\"shop.example\"]")?)?;
        let at = acme.require("directory", "\"https://acme-v02.api.letsencrypt.org/directory\"")?;
        let directory = directory(&at)?.into();
        places.acme = Some(at.span());
        let ca = acme.get("ca");
        if let Some(value) = &ca {
            self.places.insert(Subject::AcmeCa(service.to_owned()), value.span());
        }
        let path = |value: Option<Value<'_>>| value.map(|value| value.path()).transpose();
        let authority = Authority {
            directory,
            contact: match acme.get("contact") {
                Some(value) => contact(&value)?,
                None => Vec::new(),
            },
            ca: path(ca)?,
            external_account: match acme.get("external-account") {
                Some(value) => Some(self.external_account(&value)?),
                None => None,
            },
            storage: path(acme.get("storage"))?,
        };
        let key_types = [("ecdsa", KeyType::Ecdsa), ("rsa", KeyType::Rsa)];
        let challenges = [ChallengeKind::Http01, ChallengeKind::TlsAlpn01].map(|kind| (kind.label(), kind));
        Ok(Acme {
            domains,
            authority,
            key_type: match acme.get("key-type") {
                Some(value) => value.choice(&key_types)?,
                None => KeyType::default(),
            },
            challenge: match acme.get("challenge") {
                Some(value) if value.text() == Some("dns-01") => {
                    let fault = value.fault("\"dns-01\" is not a value of `challenge`");
                    return Err(fault.hint(
                        "it changes zones of a name server, which Fulcrum does not: have another client order such \
                         certificates, and name its files in `certificates`",
                    ));
                }
                Some(value) => value.choice(&challenges)?,
                None => ChallengeKind::default(),
            },
        })
    }

    fn external_account(&mut self, value: &Value<'_>) -> Checked<ExternalAccount> {
        let table = value.table(&schema::EXTERNAL_ACCOUNT)?;
        let key_id = table.require("key-id", "\"kid-1\"")?;
        let text = key_id.string()?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let hint = "write it as the authority has given it";
            return Err(key_id.fault("this is no name of a key").hint(hint));
        }
        let key = table.require("key-file", "\"/etc/fulcrum/eab.key\"")?;
        let key_file = key.path()?;
        let place = Subject::ExternalAccountKey(key_file.clone());
        self.places.entry(place).or_insert_with(|| key.span());
        Ok(ExternalAccount {
            key_id: text.into(),
            key_file,
        })
    }

    /// What services say together of those who sign.
    pub(super) fn authorities(&mut self, drafts: &[Draft]) -> Checked<()> {
        let mut known: HashMap<(&str, Option<&PathBuf>), (&Authority, &Span)> = HashMap::new();
        for draft in drafts {
            let Some(acme) = acme_of(&draft.service) else { continue };
            let Some(span) = &draft.proxy.acme else { continue };
            let authority = &acme.authority;
            let place = (&*authority.directory, authority.storage.as_ref());
            let (first, at) = *known.entry(place).or_insert((authority, span));
            if first != authority {
                let message = format!("two services speak to {} in different ways", authority.directory);
                let hint = "`contact`, `external-account` and `ca` are of the account, which they share: say the same in \
                            both, or give one of them another `storage`";
                return Err(fault(span.clone(), message).other(at.clone(), "the other").hint(hint));
            }
            self.is_reached(draft, drafts, acme, span);
        }
        Ok(())
    }

    /// A warning where the authority comes to a port that the service does not have, or that somebody has who passes on what
    /// comes.
    fn is_reached(&mut self, draft: &Draft, drafts: &[Draft], acme: &Acme, span: &Span) {
        let port = acme.challenge.port();
        let has = draft.service.vips.iter().any(|vip| vip.ports == Ports::One(port));
        if acme.challenge == ChallengeKind::TlsAlpn01 && !has {
            let message = format!("authorities look for tls-alpn-01 at port {port}, which this service does not have");
            let hint = "give the service an address with that port, or set challenge = \"http-01\"; where something in \
                        front of the node leads the port here, all is well";
            self.warnings.push(fault(span.clone(), message).hint(hint));
        }
        let is_at = |service: &Service, ip| service.vips.iter().any(|vip| vip.contains(SocketAddr::new(ip, port)));
        let passes = |other: &&Draft| {
            let service = &other.service;
            let here = || draft.service.vips.iter().any(|vip| is_at(service, vip.ip));
            service.proxy.is_none() && service.protocol == Protocol::Tcp && here()
        };
        if acme.challenge == ChallengeKind::Http01
            && let Some(other) = drafts.iter().find(passes)
        {
            let (name, mode) = (&other.service.name, other.service.mode.label());
            let message = format!("authorities look for http-01 at port {port}, which the service \"{name}\" has");
            // Whoever has many ports cannot.
            let own = other.service.vips.iter().any(|vip| vip.ports == Ports::One(port));
            let steer = if own { "set steer-challenges = true there, " } else { "" };
            let hint = format!(
                "with mode = \"{mode}\" its backends get what authorities ask for, and do not know the answer: {steer}make it \
                 mode = \"proxy\", or set challenge = \"tls-alpn-01\" here"
            );
            self.warnings.push(
                fault(span.clone(), message)
                    .other(other.header.clone(), "here")
                    .hint(hint),
            );
        }
    }
}

/// What a service orders.
pub(super) fn acme_of(service: &Service) -> Option<&Arc<Acme>> {
    service.proxy.as_ref()?.tls.as_ref()?.acme.as_ref()
}

fn domains(value: &Value<'_>) -> Checked<Vec<Arc<str>>> {
    let named = value.strings()?;
    if named.is_empty() {
        return Err(value
            .fault("no domain is named")
            .hint("such as domains = [\"shop.example\"]"));
    }
    if let Some((span, _)) = named.get(MAX_DOMAINS) {
        let message = format!("a certificate is for at most {MAX_DOMAINS} names");
        return Err(fault(span.clone(), message).hint("order several, each for a service of its own"));
    }
    let mut domains: Vec<Arc<str>> = Vec::with_capacity(named.len());
    for (span, text) in named {
        let domain: Arc<str> = text.to_ascii_lowercase().into();
        if let Some((wrong, hint)) = unfit(&domain) {
            return Err(fault(span, format!("\"{}\" {wrong}", excerpt(text))).hint(hint));
        }
        if domains.contains(&domain) {
            return Err(fault(span, format!("the domain {domain} stands here twice")).hint("remove it"));
        }
        domains.push(domain);
    }
    Ok(domains)
}

/// What is wrong with a name, and what to do.
fn unfit(name: &str) -> Option<(&'static str, &'static str)> {
    let plain = "write a host name, as clients ask for it: \"shop.example\"";
    if name.starts_with("*.") {
        let hint = "authorities want dns-01 for it, which Fulcrum does not speak: name the hosts, or have another client \
                    order it and name its files in `certificates`";
        return Some(("is a wildcard", hint));
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Some(("is an address, and not a name", plain));
    }
    if !name.is_ascii() {
        let hint = "write it as name servers know it, with xn-- (RFC 5890): \"xn--mller-kva.example\"";
        return Some(("has letters that names in certificates do not have", hint));
    }
    if name.contains([':', '/']) {
        return Some(("is more than a name", "write it without scheme, port and path"));
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = name.len() <= MAX_NAME && name.split('.').all(is_label);
    (!is_name).then_some(("is not the name of a host", plain))
}

fn directory<'a>(value: &Value<'a>) -> Checked<&'a str> {
    let url = value.string()?;
    let example = "such as \"https://acme-v02.api.letsencrypt.org/directory\"";
    let parsed = url.parse::<http::Uri>().ok().filter(|_| url.len() <= MAX_URL);
    let host = parsed.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    match parsed.as_ref().and_then(|uri| uri.scheme_str()) {
        Some("https") if !host.is_empty() && !url.contains('@') => Ok(url),
        Some("http") => {
            let fault = value.fault("the directory is spoken to without TLS");
            Err(fault.hint("ACME is spoken over https only (RFC 8555 §6.1)"))
        }
        _ => {
            let message = format!("\"{}\" is not the URL of a directory", excerpt(url));
            Err(value.fault(message).hint(example))
        }
    }
}

fn contact(value: &Value<'_>) -> Checked<Vec<Arc<str>>> {
    let mut contacts: Vec<Arc<str>> = Vec::new();
    for (span, text) in value.string_or_strings()? {
        let address = text.strip_prefix("mailto:");
        let is_address = |address: &str| {
            let parts = address.split_once('@');
            parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
                && address
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b",?<>\"".contains(&byte))
        };
        match address {
            Some(address) if is_address(address) => {}
            None if is_address(text) => {
                let message = format!("the contact \"{}\" is not a URL", excerpt(text));
                return Err(fault(span, message).hint(format!("write \"mailto:{text}\"")));
            }
            _ => {
                let message = format!("\"{}\" is no contact", excerpt(text));
                return Err(fault(span, message).hint("write one address of mail: \"mailto:ops@example.com\""));
            }
        }
        if contacts.iter().any(|known| **known == *text) {
            return Err(fault(span, "this contact stands here twice").hint("remove it"));
        }
        contacts.push(text.into());
    }
    Ok(contacts)
}
