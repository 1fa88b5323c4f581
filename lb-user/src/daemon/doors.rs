//! Where questions come in: the Unix socket, and the TCP port that monitoring asks.

use std::io::ErrorKind;

use anyhow::Result;
use tokio::sync::watch;

use crate::api::{self, Desk, Token};
use crate::config::{Parsed, Subject};
use crate::control::Handle;

/// Where questions come in.
#[derive(Debug)]
pub(super) struct Doors {
    /// The node's name.
    name: String,
    socket: api::Socket,
    listener: Option<api::Listener>,
    token: watch::Sender<Option<Token>>,
}

impl Doors {
    /// Opens both; over TCP, bearers of the token may do everything.
    ///
    /// # Errors
    /// When one of them cannot be opened; what the file says of it is in the error.
    pub(super) async fn open(parsed: &Parsed, token: Option<Token>) -> Result<Self> {
        Ok(Self {
            name: parsed.config.node.name.clone(),
            socket: api::bind(&parsed.config.admin.socket)?,
            listener: listener(parsed).await?,
            token: watch::Sender::new(token),
        })
    }

    /// Where another token is put in its place.
    pub(super) fn tokens(&self) -> watch::Sender<Option<Token>> {
        self.token.clone()
    }

    /// Answers until the other end of `stopped` is gone.
    pub(super) async fn serve(self, node: Handle, stopped: watch::Receiver<()>) {
        let until = |mut stopped: watch::Receiver<()>| async move { while stopped.changed().await.is_ok() {} };
        let (live, states) = api::live(self.name);
        let desk = Desk {
            node: node.clone(),
            token: self.token.subscribe(),
            live,
        };
        let states = {
            let stopped = stopped.clone();
            async {
                // Streams end with it.
                tokio::select! {
                    () = states.run(node) => {}
                    () = until(stopped) => {}
                }
            }
        };
        let socket = api::serve(self.socket, desk.clone(), until(stopped.clone()));
        match self.listener {
            Some(listener) => drop(tokio::join!(states, socket, api::serve(listener, desk, until(stopped)))),
            None => drop(tokio::join!(states, socket)),
        }
    }
}

/// Listens where `[admin] listen` says.
async fn listener(parsed: &Parsed) -> Result<Option<api::Listener>> {
    let Some(address) = parsed.config.admin.listen else {
        return Ok(None);
    };
    let error = match api::listen(address).await {
        Ok(listener) => {
            tracing::info!(%address, "listening");
            if !address.ip().is_loopback() && parsed.config.admin.token_file.is_none() {
                tracing::info!(
                    "other machines are answered /metrics, /healthz and /readyz only, since the file has no [admin] token-file"
                );
            }
            return Ok(Some(listener));
        }
        Err(error) => error,
    };
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "another program, perhaps another fulcrum, listens there: choose another port, or \"\" for none"
        }
        ErrorKind::AddrNotAvailable => "no interface that is up has this address: choose another one, or \"\" for none",
        _ => "choose another address, or \"\" for none",
    };
    let message = format!("`[admin] listen`: cannot listen on {address}: {error}");
    Err(parsed.error_at(&Subject::Listen, message, hint).into())
}
