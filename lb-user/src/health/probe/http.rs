//! An HTTP/1.1 request whose answer's status decides. Only the head of the response is read.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;

use super::{Answer, Deadline, Failure, Phase, tcp};
use crate::model::HttpProbe;

/// The head of a response, in bytes, and its number of headers: more is a failure.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 128;

const AGENT: &str = concat!("fulcrum/", env!("CARGO_PKG_VERSION"));

pub(super) async fn probe(check: &HttpProbe, address: SocketAddr, deadline: Deadline) -> Result<Answer, Failure> {
    let request = Request::get(check.path.as_str())
        .header(HOST, host(address))
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failure::Local(format!("{:?} is no request target", check.path)))?;
    let stream = tcp::connect(address, deadline).await?;
    let status = deadline.bound(Phase::Waiting, exchange(stream, request)).await??;
    if (200..400).contains(&status) {
        Ok(Answer::Status(status))
    } else {
        Err(Failure::Status(status))
    }
}

/// Sends the request and returns the status. The connection lives and dies within this call: no task is left behind.
async fn exchange(stream: tokio::net::TcpStream, request: Request<Empty<Bytes>>) -> Result<u16, Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error))?;
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut response => response,
        ended = &mut connection => match response.await {
            // The connection may end, and the response be there nevertheless.
            Ok(response) => Ok(response),
            Err(error) => Err(ended.err().unwrap_or(error)),
        },
    };
    response
        .map(|head| head.status().as_u16())
        .map_err(|error| failure(&error))
}

/// The `Host` of a backend: its address, without the zone that a link-local one has on this node (RFC 6874 §1).
fn host(address: SocketAddr) -> String {
    SocketAddr::new(address.ip(), address.port()).to_string()
}

fn failure(error: &hyper::Error) -> Failure {
    if let Some(io) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        return match io.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code).into(),
            None => Failure::Closed,
        };
    }
    if error.is_parse_too_large() {
        Failure::TooLarge
    } else if error.is_parse() {
        Failure::NotHttp
    } else {
        Failure::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_brackets_but_no_zone() {
        for (address, expected) in [
            ("10.0.0.6:80", "10.0.0.6:80"),
            ("[2001:db8::6]:8080", "[2001:db8::6]:8080"),
            ("[fe80::6%3]:80", "[fe80::6]:80"),
        ] {
            assert_eq!(host(address.parse().unwrap()), expected);
        }
    }
}
