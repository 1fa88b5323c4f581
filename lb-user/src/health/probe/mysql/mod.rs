//! Greets a MySQL or MariaDB server, or logs in and asks what it is.
//!
//! A part of the protocol's version 10 (MySQL 4.1 and later), and no more: passwords by `mysql_native_password` and
//! `caching_sha2_password`, questions as text. What a server sends is bounded by [`packet::BUDGET`].

mod auth;
mod packet;
mod query;

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::link::connect;
use super::trust::Protocol;
use super::{Answer, Call, Phase, tls};
use crate::model::quoted;
use crate::model::{Hidden, MysqlLogin, MysqlProbe, MysqlRole};
use auth::Greeting;
use packet::{Connection, Input};

/// Longest password file, in bytes.
const MAX_PASSWORD: u64 = 4_096;

/// How much of an error's text is shown, in characters.
const MAX_TEXT: usize = 160;

const COM_QUIT: u8 = 1;

/// Why a MySQL server is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What answers is something else.
    #[error("not MySQL")]
    NotMysql,
    /// The connection ended before the conversation did.
    #[error("connection closed in the middle")]
    Closed,
    /// It says more than a probe reads.
    #[error("the server's answer is too large")]
    TooLarge,
    /// An error packet.
    #[error("error {code}: {text}")]
    Error {
        /// Number of the error.
        code: u16,
        /// What the server says of it.
        text: String,
    },
    /// The account's way to log in is another one.
    #[error("the account logs in by {0:?}, which a probe cannot; mysql_native_password and caching_sha2_password work")]
    Plugin(String),
    /// `caching_sha2_password` with nothing in the server's cache, and a connection that others can read.
    #[error(
        "the server wants the password itself, and the connection is not encrypted: set tls = true, or use an account \
             with mysql_native_password"
    )]
    NeedsTls,
    /// The server has no TLS.
    #[error("the server does not offer TLS")]
    NoTls,
    /// The server has the other role.
    #[error("a {is} (read_only is {}), wanted a {wanted}", if *.is == "primary" { "off" } else { "on" })]
    Role {
        /// What it is.
        is: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// It replicates nothing.
    #[error("not set up as a replica")]
    NoReplica,
    /// It does not replicate at the moment.
    #[error("replication is stopped")]
    Stopped,
    /// It would replicate, if its source answered; how far it is behind is not known.
    #[error("its source is out of reach")]
    NoSource,
    /// It is too far behind.
    #[error("replication is {behind:?} behind, {most:?} are allowed")]
    Lag {
        /// As the server says.
        behind: Duration,
        /// As the file says.
        most: Duration,
    },
}

pub(super) async fn probe(check: &MysqlProbe, call: Call<'_>) -> Result<Answer, super::Failure> {
    let password = match check.login.as_ref().and_then(|login| login.password_file.clone()) {
        Some(path) => {
            let read = tokio::task::spawn_blocking(move || password(&path));
            let read = call.deadline.bound(Phase::Connecting, read).await;
            let late = |_| super::Failure::Local("the password's file could not be read in time".to_owned());
            let failed = |error: tokio::task::JoinError| super::Failure::Local(error.to_string());
            read.map_err(late)?.map_err(failed)?.map_err(super::Failure::Local)?
        }
        None => Hidden(Vec::new()),
    };
    let stream = connect(call).await?;
    let talk = async {
        let mut server = Connection::new(stream);
        let greeting = greeting(&server.read().await?)?;
        let Some(login) = &check.login else {
            return Ok(None);
        };
        if login.tls.is_some() && !greeting.offers_tls() {
            return Err(Failure::NoTls.into());
        }
        let mut server = match &login.tls {
            None => server.boxed(),
            Some(terms) => {
                server.write(&auth::tls_request(&greeting)).await?;
                let (stream, sequence) = server.into_parts();
                let stream = tls::handshake(terms, Protocol::Any, stream, call).await?;
                Connection::resume(stream, sequence).boxed()
            }
        };
        converse(&mut server, &greeting, login, &password.0, check).await?;
        Ok(Some(server))
    };
    let talked: Result<_, super::Failure> = call.deadline.bound(Phase::Waiting, talk).await?;
    let Some(server) = talked? else {
        return Ok(Answer::Greeted);
    };
    // What becomes of the leave changes nothing.
    let _ = call.deadline.bound(Phase::Waiting, leave(server)).await;
    Ok(Answer::Serves(check.role))
}

/// Says goodbye and waits for the end: a server counts clients that leave without a word.
async fn leave(mut server: Connection<packet::Boxed>) {
    if server.command(COM_QUIT, b"").await.is_ok() {
        let _ = server.into_parts().0.read(&mut [0]).await;
    }
}

/// The password in a file, without the end of the line.
fn password(path: &Path) -> Result<Hidden<Vec<u8>>, String> {
    use std::io::Read as _;

    // Room for all of it, so that no copy stays behind.
    let mut bytes = Hidden(Vec::with_capacity(MAX_PASSWORD as usize + 64));
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MAX_PASSWORD + 1).read_to_end(&mut bytes.0));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.0.len() as u64 > MAX_PASSWORD {
        return Err(format!("{}: more than {MAX_PASSWORD} bytes", path.display()));
    }
    let line = bytes.0.strip_suffix(b"\n").unwrap_or(&bytes.0);
    Ok(Hidden(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
}

fn greeting(packet: &[u8]) -> Result<Greeting, Failure> {
    match packet.first() {
        Some(0xff) => Err(error(packet)),
        _ => Greeting::parse(packet).ok_or(Failure::NotMysql),
    }
}

/// An error packet. Before a login it may lack the state between number and text.
fn error(packet: &[u8]) -> Failure {
    let mut input = Input(packet);
    let code = input.u8().and_then(|_| input.u16());
    let Some(code) = code else { return Failure::NotMysql };
    let text = match input.0 {
        [b'#', state_and_text @ ..] => state_and_text.get(5..).unwrap_or_default(),
        text => text,
    };
    Failure::Error {
        code,
        text: quoted(text, MAX_TEXT),
    }
}

/// Logs in, and asks.
async fn converse(
    server: &mut Connection<packet::Boxed>,
    greeting: &Greeting,
    login: &MysqlLogin,
    password: &[u8],
    check: &MysqlProbe,
) -> Result<(), super::Failure> {
    auth::log_in(server, greeting, login, password).await?;
    if check.role != MysqlRole::Any {
        let is = query::role(server).await?;
        if is != check.role {
            let (is, wanted) = (is.label(), check.role.label());
            return Err(Failure::Role { is, wanted }.into());
        }
    }
    let Some(most) = check.max_lag else { return Ok(()) };
    match query::lag(server, check.without_source).await? {
        Some(behind) if behind > most => Err(Failure::Lag { behind, most }.into()),
        Some(_) => Ok(()),
        // A primary is behind nobody. A server that was one, and has come back to others' writes, is behind them.
        None if check.role == MysqlRole::Any && query::role(server).await? == MysqlRole::Primary => Ok(()),
        None => Err(Failure::NoReplica.into()),
    }
}

#[cfg(test)]
mod tests;
