//! `[[pool]]`: backends that routes lead to. To the rest of the program it is a service of `mode = "proxy"` that nobody
//! can ask for.

use std::sync::Arc;

use super::super::backend::{self, Front};
use super::super::fault::Checked;
use super::super::health::Asker;
use super::super::nat;
use super::super::raw::Table;
use super::super::service::{self, Draft};
use super::super::{Reader, Subject, balance, schema};
use super::{Places, upstream};
use crate::model::proxy::Proxy;
use crate::model::{Mode, Nat, Protocol, Service, Tunnel};

impl Reader {
    pub(in super::super) fn pool(&mut self, table: &Table<'_>) -> Checked<Draft> {
        let name = table.require("name", "\"api\"")?;
        let text = name.name()?;
        self.places
            .insert(Subject::Service(text.to_owned()), table.span.clone());
        let balance = balance::balance(table, Mode::Proxy)?;
        let table_size = table.get("table-size");
        let ring = balance::ring(table_size.as_ref())?;
        let drain_timeout = service::drain_timeout(table)?;
        let asker = Asker {
            mode: Mode::Proxy,
            protocol: Protocol::Tcp,
            shape: &schema::POOL_HEALTH,
            header: &table.span,
        };
        let health = self.health(table.get("health"), &asker)?;
        let upstream = self.upstream(table, text, &upstream::OF_POOL)?;
        let front = Front {
            what: "pool",
            shape: &schema::POOL_BACKEND,
            mode: Mode::Proxy,
            vips: &[],
        };
        let backend::Backends { placed, named } = backend::backends(table, &front)?;
        let (backend_spans, backends) = placed.into_iter().unzip();
        let draft = Draft {
            service: Service {
                name: text.into(),
                vips: Vec::new(),
                protocol: Protocol::Tcp,
                mode: Mode::Proxy,
                balance,
                table_size: ring,
                nat: Nat::default(),
                tunnel: Tunnel::default(),
                idle_timeout: Protocol::Tcp.idle_timeout(),
                drain_timeout,
                track: true,
                undeclared: None,
                protection: None,
                proxy: Some(Arc::new(Proxy {
                    upstream,
                    ..Proxy::default()
                })),
                health,
                backends,
                named,
            },
            header: table.span.clone(),
            name: name.span(),
            vips: Vec::new(),
            backends: backend_spans,
            table_size: table_size.map(|value| value.span()),
            undeclared: None,
            nat: nat::Places {
                source: table.span.clone(),
                ports: table.span.clone(),
            },
            proxy: Places::default(),
        };
        self.shares(&draft)?;
        Ok(draft)
    }
}
