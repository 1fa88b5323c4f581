//! `[service.upstream]` and `[pool.upstream]`.

use tokio_rustls::rustls::pki_types::ServerName;

use super::super::fault::Checked;
use super::super::raw::{Table, Value, excerpt};
use super::super::schema::Shape;
use super::super::{Reader, Subject};
use super::{contradiction, count, schema};
use crate::model::proxy::{HttpVersion, ProxyProtocol, Upstream, UpstreamTls};

/// Most requests at once that a backend's limit may say.
const MAX_CONNECTIONS: u32 = 1_000_000;

/// How its tables are called.
pub(super) struct Names {
    upstream: &'static Shape,
    tls: &'static Shape,
}

pub(super) static OF_SERVICE: Names = Names {
    upstream: &schema::UPSTREAM,
    tls: &schema::UPSTREAM_TLS,
};

pub(super) static OF_POOL: Names = Names {
    upstream: &schema::POOL_UPSTREAM,
    tls: &schema::POOL_UPSTREAM_TLS,
};

impl Reader {
    /// `owner` is the service or pool, which has this name.
    pub(super) fn upstream(&mut self, owner: &Table<'_>, name: &str, names: &Names) -> Checked<Upstream> {
        let Some(value) = owner.get("upstream") else {
            return Ok(Upstream::default());
        };
        let upstream = value.table(names.upstream)?;
        let versions = [("1.1", HttpVersion::H1), ("2", HttpVersion::H2)];
        let headers = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
        Ok(Upstream {
            version: match upstream.get("http") {
                Some(value) => value.choice(&versions)?,
                None => HttpVersion::default(),
            },
            tls: match upstream.get("tls") {
                Some(value) => self.upstream_tls(&value, name, names)?,
                None => None,
            },
            proxy_protocol: match upstream.get("proxy-protocol") {
                Some(value) => Some(value.choice(&headers)?),
                None => None,
            },
            max_connections: match upstream.get("max-connections") {
                Some(value) => Some(count(&value, MAX_CONNECTIONS)?),
                None => None,
            },
        })
    }

    fn upstream_tls(&mut self, value: &Value<'_>, owner: &str, names: &Names) -> Checked<Option<UpstreamTls>> {
        let plain = UpstreamTls {
            verify: true,
            server_name: None,
            ca: None,
        };
        if !value.is_table() {
            let said = value.boolean().map_err(|fault| match value.text() {
                None => fault.hint(format!("or write {}", names.tls.name)),
                Some(_) => fault,
            })?;
            self.places.insert(Subject::UpstreamCa(owner.to_owned()), value.span());
            return Ok(said.then_some(plain));
        }
        let table = value.table(names.tls)?;
        let verify = table.get("verify");
        let ca = table.get("ca");
        let checked = verify.as_ref().map_or(Ok(true), Value::boolean)?;
        if let (false, Some(ca), Some(verify)) = (checked, &ca, &verify) {
            let message = "`ca` says whom to believe, but nothing is verified";
            return Err(contradiction(ca, message, verify, "here").hint("remove `ca`, or verify = false"));
        }
        let place = ca.as_ref().unwrap_or(value).span();
        self.places.insert(Subject::UpstreamCa(owner.to_owned()), place);
        Ok(Some(UpstreamTls {
            verify: checked,
            server_name: match table.get("server-name") {
                Some(value) => Some(server_name(&value)?.into()),
                None => None,
            },
            ca: ca.map(|ca| ca.path()).transpose()?,
        }))
    }
}

fn server_name<'a>(value: &Value<'a>) -> Checked<&'a str> {
    let name = value.string()?;
    if ServerName::try_from(name).is_err() {
        let message = format!("\"{}\" is not the name of a server", excerpt(name));
        let hint = "write a host name or an IP address, without a port: \"shop.example\"";
        return Err(value.fault(message).hint(hint));
    }
    Ok(name)
}
