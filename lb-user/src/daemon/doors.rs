//! Where questions come in: the Unix socket, and the TCP port that monitoring asks.

use std::io::ErrorKind;

use anyhow::Result;
use tokio::sync::watch;

use crate::api;
use crate::config::{Parsed, Subject};
use crate::control::Handle;

/// Where questions come in.
#[derive(Debug)]
pub(super) struct Doors {
    socket: api::Socket,
    listener: Option<api::Listener>,
}

impl Doors {
    /// Opens both.
    ///
    /// # Errors
    /// When one of them cannot be opened; what the file says of it is in the error.
    pub(super) async fn open(parsed: &Parsed) -> Result<Self> {
        Ok(Self {
            socket: api::bind(&parsed.config.admin.socket)?,
            listener: listener(parsed).await?,
        })
    }

    /// Answers until the other end of `stopped` is gone.
    pub(super) async fn serve(self, node: Handle, stopped: watch::Receiver<()>) {
        let until = |mut stopped: watch::Receiver<()>| async move { while stopped.changed().await.is_ok() {} };
        let socket = api::serve(self.socket, node.clone(), until(stopped.clone()));
        match self.listener {
            Some(listener) => drop(tokio::join!(socket, api::serve(listener, node, until(stopped)))),
            None => socket.await,
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
