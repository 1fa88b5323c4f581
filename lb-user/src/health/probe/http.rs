//! An HTTP/1.1 request, over TLS or not, whose answer's status decides, and its body where one is expected.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::link::connect;
use super::trust::Protocol;
use super::{Answer, Call, Deadline, Failure, Phase, tls};
use crate::model::{ExpectBody, HttpProbe};

/// The head of a response, in bytes, and its number of headers: more is a failure.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 128;

/// How much of a body is read, in bytes; what comes after is as if it were not there.
const MAX_BODY: usize = 64 * 1024;

const AGENT: &str = concat!("fulcrum/", env!("CARGO_PKG_VERSION"));

pub(super) async fn probe(check: &HttpProbe, call: Call<'_>) -> Result<Answer, Failure> {
    let request = request(check, call.address)?;
    let stream = connect(call).await?;
    match &check.tls {
        None => exchange(stream, request, check, call.deadline).await,
        Some(terms) => {
            let stream = tls::handshake(terms, Protocol::Http, stream, call).await?;
            exchange(stream, request, check, call.deadline).await
        }
    }
}

fn request(check: &HttpProbe, address: SocketAddr) -> Result<Request<Empty<Bytes>>, Failure> {
    let mut request = Request::builder()
        .method(check.method.as_str())
        .uri(check.path.as_str())
        .header(HOST, check.host.clone().unwrap_or_else(|| host(address)))
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failure::Local(format!("{:?} is no request target", check.path)))?;
    for (name, value) in &check.headers {
        let name = HeaderName::try_from(name).ok();
        let Some((name, mut value)) = name.zip(HeaderValue::try_from(&value.0).ok()) else {
            return Err(Failure::Local("a header cannot be sent".to_owned()));
        };
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// Sends the request and judges the response. The connection lives and dies within this call: no task is left behind.
async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
    check: &HttpProbe,
    deadline: Deadline,
) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error))?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(async {
        let response = deadline.bound(Phase::Waiting, sender.send_request(request)).await?;
        let (head, body) = match response {
            Ok(response) => response.into_parts(),
            Err(error) => return Ok(Err(error)),
        };
        let code = head.status.as_u16();
        if !check.expect_status.contain(code) {
            let wanted = check.expect_status.clone();
            return Err(Failure::Status { code, wanted });
        }
        let Some(expected) = &check.expect_body else {
            return Ok(Ok(Answer::Status(code)));
        };
        match deadline.bound(Phase::Reading, says(body, expected)).await? {
            Ok(true) => Ok(Ok(Answer::Status(code))),
            Ok(false) => Err(Failure::Body(code)),
            Err(error) => Ok(Err(error)),
        }
    });
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer?,
        ended = &mut connection => match answer.await? {
            // The connection may end, and the response be there nevertheless.
            Ok(answer) => Ok(answer),
            Err(error) => Err(ended.err().unwrap_or(error)),
        },
    };
    answer.map_err(|error| failure(&error))
}

/// Is `expected` in the body, as far as it is read? A text is looked for while the body comes.
async fn says(mut body: Incoming, expected: &ExpectBody) -> Result<bool, hyper::Error> {
    let mut read = Vec::new();
    while read.len() < MAX_BODY
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        read.extend_from_slice(&data[..data.len().min(MAX_BODY - read.len())]);
        if let ExpectBody::Text(text) = expected
            && contains(
                &read[read.len().saturating_sub(data.len() + text.len())..],
                text.as_bytes(),
            )
        {
            return Ok(true);
        }
    }
    Ok(match expected {
        ExpectBody::Text(_) => false,
        ExpectBody::Regex(pattern) => pattern.0.is_match(&read),
    })
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
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
