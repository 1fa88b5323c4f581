//! Values of lab files that are more than text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::config;

/// Longest name of an interface that the kernel takes, in bytes. Hosts' names are names of interfaces, too.
const LONGEST: usize = 15;

/// Makes a type of text that is checked when it is read.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[serde(try_from = "String")]
        pub(in crate::lab) struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// A name of a lab or a process: letters, digits, `-`.
    Word, |text| word(text)
}

text! {
    /// The same for a host, a switch or an interface, whose names are short.
    Host, |text| {
        word(text)?;
        if text.len() > LONGEST {
            return Err(format!("a name of a host, switch or interface has {LONGEST} letters at most"));
        }
        Ok(())
    }
}

fn word(text: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || text.starts_with('-') || !text.chars().all(fine) {
        return Err("a name is made of letters, digits and `-`".to_owned());
    }
    Ok(())
}

/// Something on a host: `HOST/REST`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Place {
    pub(in crate::lab) host: String,
    pub(in crate::lab) rest: String,
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((host, rest)) if !host.is_empty() && !rest.is_empty() => Ok(Self {
                host: host.to_owned(),
                rest: rest.to_owned(),
            }),
            _ => Err("write HOST/NAME".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.rest)
    }
}

/// An address with the length of its subnet's prefix, as in `10.0.0.1/24`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Prefixed {
    pub(in crate::lab) ip: IpAddr,
    pub(in crate::lab) bits: u8,
}

impl TryFrom<String> for Prefixed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parsed = parts.and_then(|(ip, bits)| Some((ip.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?)));
        match parsed {
            Some((ip, bits)) if bits <= crate::net::address::host_prefix(ip) => Ok(Self { ip, bits }),
            _ => Err("write an address and the length of its prefix, as in \"10.0.0.1/24\"".to_owned()),
        }
    }
}

/// A time, as configurations have it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Span(pub(in crate::lab) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        config::duration::parse(&text)
            .map(Self)
            .ok_or_else(|| "write a time with its unit, as in \"250ms\" or \"2s\"".to_owned())
    }
}

/// Part of packets, in thousandths: `"1 %"` is 10.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Loss(pub(in crate::lab) u32);

impl TryFrom<String> for Loss {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
        match part {
            Some(part) if (0.1..=100.0).contains(&part) => Ok(Self((part * 10.0).round() as u32)),
            _ => Err("write a part of all packets, from \"0.1 %\" to \"100 %\"".to_owned()),
        }
    }
}

/// Whom requests are for: `http://NAME/PATH`, `https://...`, or `udp://ADDRESS:PORT`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(in crate::lab) struct Url {
    pub(in crate::lab) scheme: Scheme,
    /// A name or an address, without brackets.
    pub(in crate::lab) host: String,
    pub(in crate::lab) port: u16,
    /// As `Host` has it.
    pub(in crate::lab) authority: String,
    /// With its query.
    pub(in crate::lab) path: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Scheme {
    Http,
    Https,
    Udp,
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.parse::<http::Uri>().ok().and_then(|uri| {
            let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
            let (scheme, usual) = match uri.scheme_str()? {
                "http" => (Scheme::Http, Some(80)),
                "https" => (Scheme::Https, Some(443)),
                "udp" => (Scheme::Udp, None),
                _ => return None,
            };
            Some(Self {
                scheme,
                host: authority.host().trim_matches(['[', ']']).to_owned(),
                port: authority.port_u16().or(usual)?,
                authority: authority.to_string(),
                path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
                text: text.clone(),
            })
        });
        parsed.ok_or_else(|| "write http://NAME/PATH, https://NAME/PATH or udp://ADDRESS:PORT".to_owned())
    }
}

impl Url {
    /// Where it is, when a name is known to be `ip`.
    pub(in crate::lab) fn at(&self, ip: IpAddr) -> SocketAddr {
        SocketAddr::new(ip, self.port)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_say() {
        let url = |text: &str| Url::try_from(text.to_owned());
        let parsed = url("http://[fd00::1]:8080/a?b=c").unwrap();
        assert_eq!((&*parsed.host, parsed.port, &*parsed.path), ("fd00::1", 8080, "/a?b=c"));
        assert_eq!(parsed.authority, "[fd00::1]:8080");
        assert_eq!(url("https://shop.example").unwrap().port, 443);
        for bad in [
            "",
            "10.0.0.1",
            "ftp://x/",
            "udp://10.0.0.1",
            "http:///x",
            "http://me@x/",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert_eq!(Loss::try_from("2.5 %".to_owned()).unwrap().0, 25);
        for bad in ["", "2", "0 %", "101 %", "x %"] {
            assert!(Loss::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(Prefixed::try_from("10.0.0.1/24".to_owned()).unwrap().bits, 24);
        for bad in ["10.0.0.1", "10.0.0.1/33", "x/24", "10.0.0.1/"] {
            assert!(Prefixed::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["", "a b", "-a", "../x", "a/b"] {
            assert!(Word::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Host::try_from("sixteen-letters-".to_owned()).is_err());
        assert!(Place::try_from("lb/eth0".to_owned()).is_ok() && Place::try_from("lb".to_owned()).is_err());
    }
}
