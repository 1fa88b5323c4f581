//! HTTP towards authorities, as the ACME library wants it: one connection for each request, over TLS, bounded in time and size.
//!
//! The library has a client of its own, which would bring a second stack of TLS settings, and keeps from us what decides here:
//! how long an authority does not want to hear of us, and what time it has.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, DATE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::model::chain;

/// Longest wait for an answer, from the connection on.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time for which an authority is left alone because it says so: who means more says so again.
const ALONE: Duration = Duration::from_secs(24 * 3_600);

/// Largest answer: room for chains of large keys.
const LONGEST: usize = 1 << 20;

/// What an authority has said beside its answers, last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<Heard>>);

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    wait: Option<Duration>,
    /// Its clock is so many seconds before this node's; less than 0: behind.
    ahead: Option<i64>,
}

impl Said {
    /// How long it does not want to hear of the node, by its last answer.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.lock().wait
    }

    /// How far its clock is from this node's, in seconds; above 0: before.
    pub(super) fn ahead(&self) -> Option<i64> {
        self.lock().ahead
    }

    fn hear(&self, headers: &HeaderMap, now: SystemTime) {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let ahead = date.map(|date| match date.duration_since(now) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        });
        // Seconds, or a date by its own clock.
        let wait = text(RETRY_AFTER).and_then(|after| match after.trim().parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => httpdate::parse_http_date(after)
                .ok()?
                .duration_since(date.unwrap_or(now))
                .ok(),
        });
        let wait = wait.map(|wait| wait.min(ALONE));
        *self.lock() = Heard { wait, ahead };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    said: Said,
    /// Plain HTTP is spoken, too: in tests alone, with a server in the same process.
    #[cfg(test)]
    plain: bool,
}

impl Client {
    /// One that believes `tls`, and what authorities say beside.
    pub(super) fn new(tls: Arc<ClientConfig>) -> (Self, Said) {
        let said = Said::default();
        let client = Self {
            tls,
            said: said.clone(),
            #[cfg(test)]
            plain: true,
        };
        (client, said)
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        match timeout(PATIENCE, self.ask(request)).await {
            Ok(answer) => answer.map_err(Error::Other),
            Err(_) => Err(other(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn ask(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Box<dyn std::error::Error + Send + Sync>> {
        let (mut parts, body) = request.into_parts();
        let host = parts.uri.host().ok_or("the URL has no host")?.to_owned();
        // As they stand in URLs.
        let bare = host.trim_matches(['[', ']']).to_owned();
        let secure = parts.uri.scheme_str() == Some("https");
        let port = parts.uri.port_u16().unwrap_or(443);
        let authority = parts
            .uri
            .authority()
            .map(|authority| authority.as_str().to_owned())
            .unwrap_or_default();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        parts.uri = path.parse()?;
        parts.headers.insert(HOST, authority.parse()?);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        parts.headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("fulcrum/", env!("CARGO_PKG_VERSION"))),
        );
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let request = Request::from_parts(parts, Full::new(body));
        let tcp = TcpStream::connect((&*bare, port))
            .await
            .map_err(|error| format!("{authority} cannot be reached: {error}"))?;
        tcp.set_nodelay(true)?;
        let response = if secure {
            let name = ServerName::try_from(bare)?;
            let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
            let stream = stream.map_err(|error| format!("{authority} is not believed: {}", chain(&error)))?;
            send(TokioIo::new(stream), request).await?
        } else {
            #[cfg(test)]
            if self.plain {
                let response = send(TokioIo::new(tcp), request).await?;
                return Ok(self.heard(response));
            }
            return Err("the authority wants to be spoken to without TLS".into());
        };
        Ok(self.heard(response))
    }

    fn heard(&self, response: Response<Full<Bytes>>) -> BytesResponse {
        #[expect(clippy::disallowed_methods, reason = "clocks are compared")]
        self.said.hear(response.headers(), SystemTime::now());
        BytesResponse::from(response)
    }
}

async fn send<S>(
    stream: TokioIo<S>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await?;
    let exchange = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::from_parts(parts, Full::new(body)))
    };
    // The connection is driven for as long as there is something to come.
    let (answer, ()) = tokio::join!(exchange, async {
        // How it ends says the answer, or nothing.
        let _ = connection.await;
    });
    answer
}

fn other(message: String) -> Error {
    Error::Other(message.into())
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_beside_answers() {
        let heard = |date: &str, after: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, date.parse().unwrap());
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            let said = Said::default();
            said.hear(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
            (said.ahead(), said.wait().map(|wait| wait.as_secs()))
        };
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(heard(date, "120"), (Some(0), Some(120)));
        assert_eq!(heard("Mon, 07 Nov 1994 08:49:37 GMT", "x"), (Some(86_400), None));
        assert_eq!(
            heard("Sat, 05 Nov 1994 08:49:37 GMT", "Sat, 05 Nov 1994 08:50:37 GMT"),
            (Some(-86_400), Some(60))
        );
        assert_eq!(heard(date, "18446744073709551615"), (Some(0), Some(86_400)));
        assert_eq!(heard("x", "Sun, 06 Nov 1994 08:49:47 GMT"), (None, Some(10)));
        assert_eq!(heard(date, "Sun, 06 Nov 1994 08:49:36 GMT"), (Some(0), None));
    }
}
