//! `[service.http]`: what it says at its first level.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::fault::{Checked, Fault, fault};
use super::super::raw::{Table, Value, excerpt};
use super::super::{Reader, Subject};
use super::{Places, ejection, forwarded, headers, limits, log, names, schema, seconds, tls};
use crate::model::proxy::{HashOn, HeaderName, Http, StickyCookie};

/// Limits of `retry-after`.
const RETRY_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);

/// Limits of how long a browser keeps the cookie: 400 days are what it keeps any (RFC 6265bis §5.5).
const COOKIE_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(400 * 24 * 3_600);

/// The port of https.
const HTTPS: NonZeroU16 = NonZeroU16::new(443).expect("not 0");

impl Reader {
    /// Of `service`, which has this name.
    pub(super) fn http(&mut self, service: &Table<'_>, name: &str, places: &mut Places) -> Checked<Http> {
        let default = Http::default();
        let Some(value) = service.get("http") else {
            return Ok(default);
        };
        let http = value.table(&schema::HTTP)?;
        tls::agrees(service, &http)?;
        let boolean = |key: &'static str, default: bool| http.get(key).map_or(Ok(default), |value| value.boolean());
        places.hash_on = http.get("hash-on").map(|value| value.span());
        let access_log = http
            .get("access-log")
            .map(|value| log::access_log(&value))
            .transpose()?;
        if let Some((span, _)) = &access_log {
            self.places.insert(Subject::AccessLog(name.to_owned()), span.clone());
            places.access_log = Some(span.clone());
        }
        Ok(Http {
            h2c: boolean("h2c", default.h2c)?,
            redirect_to_https: match http.get("redirect-to-https") {
                Some(value) => redirect(&value)?,
                None => default.redirect_to_https,
            },
            preserve_host: boolean("preserve-host", default.preserve_host)?,
            rewrite_location: boolean("rewrite-location", default.rewrite_location)?,
            forwarded: match http.get("forwarded") {
                Some(value) => forwarded::headers(&value)?,
                None => default.forwarded,
            },
            trusted_proxies: forwarded::prefixes(&http, "trusted-proxies")?,
            proxy_protocol: forwarded::prefixes(&http, "proxy-protocol")?,
            request_id: match http.get("request-id") {
                Some(value) => request_id(&value)?,
                None => default.request_id,
            },
            hash_on: match http.get("hash-on") {
                Some(value) => hash_on(&value)?,
                None => default.hash_on,
            },
            sticky_cookie: match http.get("sticky-cookie") {
                Some(value) => Some(sticky_cookie(&value)?),
                None => default.sticky_cookie,
            },
            headers: headers::rules(&http)?,
            access_log: access_log.map(|(_, log)| log),
            timeouts: match http.get("timeouts") {
                Some(value) => limits::timeouts(&value)?,
                None => default.timeouts,
            },
            limits: match http.get("limits") {
                Some(value) => limits::limits(&value)?,
                None => default.limits,
            },
            error_pages: match http.get("error-pages") {
                Some(value) => self.error_pages(&value, name)?,
                None => default.error_pages,
            },
            retry_after: match http.get("retry-after") {
                Some(value) => seconds(&value, RETRY_AFTER)?,
                None => default.retry_after,
            },
            retry: match http.get("retry") {
                Some(value) => ejection::retry(&value)?,
                None => default.retry,
            },
            eject: match http.get("eject") {
                Some(value) => ejection::eject(&value)?,
                None => default.eject,
            },
            queue: match http.get("queue") {
                Some(value) => ejection::queue(&value)?,
                None => default.queue,
            },
        })
    }

    /// Files by status.
    fn error_pages(&mut self, value: &Value<'_>, service: &str) -> Checked<Vec<(u16, PathBuf)>> {
        const EXAMPLE: &str = "error-pages = { \"503\" = \"/etc/fulcrum/sorry.html\" }";
        let mut pages = Vec::new();
        for (span, text, value) in value.entries(EXAMPLE)? {
            let status = text
                .parse()
                .ok()
                .filter(|status| (400..=599).contains(status) && text.len() == 3);
            let Some(status) = status else {
                let message = format!("\"{}\" is not the status of an error", excerpt(text));
                return Err(fault(span, message).hint(format!("from 400 to 599, as in {EXAMPLE}")));
            };
            self.places
                .insert(Subject::ErrorPage(service.to_owned(), status), value.span());
            pages.push((status, value.path()?));
        }
        Ok(pages)
    }
}

/// A truth, or the port of the service that answers https.
fn redirect(value: &Value<'_>) -> Checked<Option<NonZeroU16>> {
    if let Some(truth) = value.truth() {
        return Ok(truth.then_some(HTTPS));
    }
    let fault = |fault: Box<Fault>| fault.hint("write true for port 443, or the number of another port");
    let port = value.whole(1..=u32::from(u16::MAX)).map_err(fault)? as u16;
    Ok(NonZeroU16::new(port))
}

fn request_id(value: &Value<'_>) -> Checked<Option<HeaderName>> {
    match value.string()? {
        "" => Ok(None),
        _ => names::header(value).map(Some),
    }
}

fn hash_on(value: &Value<'_>) -> Checked<HashOn> {
    let text = value.string()?;
    match text.split_once(':') {
        None if text == "source" => Ok(HashOn::Source),
        None if text == "path" => Ok(HashOn::Path),
        Some(("header", name)) => names::header_at(&value.span(), name).map(HashOn::Header),
        Some(("cookie", name)) => Ok(HashOn::Cookie(names::cookie(&value.span(), name)?.into())),
        _ => {
            let message = format!("\"{}\" is not a value of `hash-on`", excerpt(text));
            let hint = "hash-on is \"source\", \"path\", \"header:NAME\" or \"cookie:NAME\"";
            Err(value.fault(message).hint(hint))
        }
    }
}

fn sticky_cookie(value: &Value<'_>) -> Checked<StickyCookie> {
    if !value.is_table() {
        let name = value.string()?;
        return Ok(StickyCookie {
            name: names::cookie(&value.span(), name)?.into(),
            max_age: None,
        });
    }
    let table = value.table(&schema::STICKY_COOKIE)?;
    let name = table.require("name", "\"fulcrum\"")?;
    Ok(StickyCookie {
        name: names::cookie(&name.span(), name.string()?)?.into(),
        max_age: match table.get("max-age") {
            Some(value) => Some(seconds(&value, COOKIE_AGE)?),
            None => None,
        },
    })
}
