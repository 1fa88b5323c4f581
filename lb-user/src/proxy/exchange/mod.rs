//! A request and its answer: one way for both versions of HTTP, on both sides.

mod answer;
mod over;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;

use super::challenges;
use super::choose::{Ask, Ending, Outcome, hash};
use super::client::Client;
use super::convert;
use super::cookies::cookie;
use super::fault::Fault;
use super::http1::{Framing, RequestHead};
use super::io::{Deadline, Duplex};
use super::pump::Source;
use super::record::Record;
use super::reply::Reply;
use super::rewrite::request::{self, Outgoing};
use super::site::Site;
use super::upstream::{Attached, Connection, Pool, Transport};
use super::worker::Served;
use crate::model::proxy::{HashOn, Route};

/// A request, of whatever version.
#[derive(Debug)]
pub(super) struct Exchange<'x> {
    /// Whose it is.
    pub site: &'x Rc<Site>,
    /// Whom it comes from.
    pub client: &'x Client,
    /// Its bytes, and where things stand in them.
    pub head: &'x [u8],
    /// As above.
    pub request: &'x RequestHead,
    /// The client's timer.
    pub deadline: &'x mut Deadline,
    /// What becomes of it.
    pub record: &'x mut Record,
    /// The connection shall not stay.
    pub closing: bool,
    /// Its service, which may come to its end meanwhile: then no connection stays.
    pub served: &'x Served,
}

/// Whom the answer goes to.
#[derive(Debug)]
pub(super) enum Responder<'r> {
    /// A connection of HTTP/1.
    Http1(&'r Duplex),
    /// A stream of HTTP/2.
    Http2(&'r mut SendResponse<Bytes>),
}

/// What becomes of the client's connection.
#[derive(Debug)]
pub(super) enum Afterwards {
    /// It may carry another request.
    Keep,
    /// It ends, after what has been said on it.
    Close,
    /// It ends in the middle of an answer, and shall not look as if that were whole.
    Abort,
    /// It becomes another one, with the backend at its other end.
    Tunnel(Box<Connection>, Box<Attached>, Rc<Pool>),
}

/// What an attempt needs of where it goes.
#[derive(Clone, Copy)]
struct Way<'w> {
    route: Option<&'w Route>,
    pool: &'w Rc<Pool>,
    attached: &'w Attached,
}

/// An attempt that came to its end.
struct Done {
    status: u16,
    /// The connection to the backend is good for more.
    reusable: bool,
    /// So is the client's.
    stays: bool,
}

/// An attempt that came to nothing.
struct Failed {
    fault: Fault,
    /// The client has been told the beginning of an answer, of this status.
    told: Option<u16>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, told: None }
    }
}

impl Failed {
    const fn ending(&self) -> Ending {
        match (&self.fault, self.told) {
            (fault, Some(status)) if fault.is_backends() => Ending::Broken(status),
            (fault, None) if fault.is_before_request() => Ending::Unreached,
            (fault, None) if fault.is_backends() => Ending::Failed,
            _ => Ending::Abandoned,
        }
    }
}

impl Exchange<'_> {
    /// Answers the request. `source`: its body, unless there is none; what the backend did not want of it is left there.
    pub(super) async fn serve(mut self, source: &mut Option<Source<'_>>, mut responder: Responder<'_>) -> Afterwards {
        let http = &self.site.proxy.http;
        let too_much =
            matches!((self.request.framing, http.limits.body), (Framing::Length(is), Some(most)) if is > most);
        let refused = match () {
            () if self.request.method.of(self.head) == b"CONNECT" => Some(Fault::Method),
            () if too_much => Some(Fault::TooMuch),
            () => None,
        };
        if let Some(fault) = refused {
            return Box::pin(self.fail(&fault, source.as_ref(), responder)).await;
        }
        if let Some(token) = challenges::token(self.request.path_alone(self.head))
            && let Some(answer) = self.served.answers().http(token)
        {
            return Box::pin(self.reply(&Reply::challenge(answer), source.as_ref(), responder)).await;
        }
        if let Some(port) = http.redirect_to_https {
            let reply = Reply::redirect(
                self.request.host.of(self.head),
                port.get(),
                self.request.path.of(self.head),
            );
            return Box::pin(self.reply(&reply, source.as_ref(), responder)).await;
        }
        let site = Rc::clone(self.site);
        let (route, pool) = site.route(self.head, self.request);
        pool.count_request(self.record.begun);
        match self.attempts(route, pool, source, &mut responder).await {
            Ok(afterwards) => afterwards,
            Err(Failed { fault, told: None }) => Box::pin(self.fail(&fault, source.as_ref(), responder)).await,
            Err(Failed { fault, told: Some(_) }) => {
                self.record.fault = Some(fault.to_string());
                if let Responder::Http2(response) = responder {
                    response.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                Afterwards::Abort
            }
        }
    }

    /// Tries one backend, and others where that is safe. What is rare has memory of its own here, so that the usual request
    /// is small.
    async fn attempts(
        &mut self,
        route: Option<&Route>,
        pool: &Rc<Pool>,
        source: &mut Option<Source<'_>>,
        responder: &mut Responder<'_>,
    ) -> Result<Afterwards, Failed> {
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut stale = false;
        let hash = self.hash();
        loop {
            let sticky = self.site.proxy.http.sticky_cookie.as_ref();
            let ask = Ask {
                hash,
                cookie: sticky.and_then(|sticky| cookie(self.head, &self.request.fields, sticky.name.as_bytes())),
                exclude: &tried,
                now: Instant::now(),
            };
            let attached = match pool.try_attach(&ask)? {
                Some(attached) => attached,
                None => {
                    let attached = Box::pin(pool.wait(&ask)).await?;
                    self.record.waited = Some(ask.now.elapsed());
                    attached
                }
            };
            let member = attached.lease.member();
            self.record.backend = Some((member.name.clone(), member.address));
            self.record.answered = None;
            let before = (self.record.asked, self.record.answer);
            let way = Way {
                route,
                pool,
                attached: &attached,
            };
            let mut reused = false;
            let from = self.record.begun.elapsed();
            let outcome = match pool.connect(&attached, (self.client.address, self.client.local)).await {
                Err(fault) => Err(fault.into()),
                Ok(transport) => {
                    let now = self.record.begun.elapsed();
                    self.record.connected = Some(now);
                    reused = transport.is_reused();
                    self.record.connect = (!reused).then(|| now.saturating_sub(from));
                    match transport {
                        Transport::Http1(mut connection) => {
                            match self.over_http1(way, &mut connection, source, responder).await {
                                Ok(Done { status: 101, .. }) => {
                                    return Ok(Afterwards::Tunnel(connection, Box::new(attached), Rc::clone(pool)));
                                }
                                Ok(done) => {
                                    if done.reusable {
                                        pool.keep(&attached, *connection);
                                    }
                                    Ok(done)
                                }
                                Err(failed) => Err(failed),
                            }
                        }
                        Transport::Http2(place) => Box::pin(self.over_http2(way, place, source, responder)).await,
                    }
                }
            };
            let (sent, received) = (self.record.asked - before.0, self.record.answer - before.1);
            let said = |ending| Outcome { ending, sent, received };
            let failed = match outcome {
                Ok(done) => {
                    pool.end(attached, &said(Ending::Answered(done.status)));
                    return Ok(if done.stays {
                        Afterwards::Keep
                    } else {
                        Afterwards::Close
                    });
                }
                Err(failed) => failed,
            };
            let repeatable = failed.told.is_none()
                && failed.fault.is_backends()
                && (failed.fault.is_before_request() || source.is_none() && self.is_idempotent());
            // A backend may end a connection that idles at the very moment at which it is used, which is nobody's fault.
            if reused && !stale && repeatable && matches!(failed.fault, Fault::NoAnswer(_)) {
                stale = true;
                pool.end(attached, &said(Ending::Abandoned));
                continue;
            }
            let again = repeatable
                && self.record.retries < self.site.proxy.http.retry.attempts
                && pool.may_retry(&attached, Instant::now());
            tried.push(attached.backend.address);
            pool.end(attached, &said(failed.ending()));
            if !again {
                return Err(failed);
            }
            self.record.retries += 1;
        }
    }

    /// The head for the backend.
    fn request_text(&mut self, way: Way<'_>, upgrade: bool, chunked: bool, http2: bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.head.len() + 512);
        let outgoing = Outgoing {
            head: self.head,
            request: self.request,
            site: self.site,
            client: self.client,
            route: way.route,
            backend: &way.attached.backend,
            id: self.record.id.as_deref(),
            upgrade,
            chunked,
            http2,
        };
        request::write(&outgoing, &mut text);
        self.record.asked += text.len() as u64;
        text
    }

    /// What a ring is asked with.
    fn hash(&self) -> u64 {
        let site = self.site;
        let value = match &site.proxy.http.hash_on {
            HashOn::Source => None,
            HashOn::Path => Some(self.request.path_alone(self.head)),
            HashOn::Header(name) => self.request.fields.value(self.head, name.as_str()),
            HashOn::Cookie(name) => cookie(self.head, &self.request.fields, name.as_bytes()),
        };
        match value {
            Some(value) => hash::bytes(site.seed, value),
            None => hash::source(site.seed, self.record.ip),
        }
    }

    fn is_head(&self) -> bool {
        self.request.method.of(self.head) == b"HEAD"
    }

    /// Is the same when it is done twice (RFC 9110 §9.2.2)?
    fn is_idempotent(&self) -> bool {
        matches!(
            self.request.method.of(self.head),
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
        )
    }

    /// Tells the client why there is no answer.
    async fn fail(mut self, fault: &Fault, source: Option<&Source<'_>>, responder: Responder<'_>) -> Afterwards {
        self.record.fault = Some(fault.to_string());
        if matches!(fault, Fault::RequestBody(_) | Fault::TooMuch | Fault::ClientSlow) {
            self.site.traffic.invalid.fetch_add(1, Relaxed);
        }
        // Whatever comes behind such a body is not to be trusted.
        self.closing |= matches!(
            fault,
            Fault::RequestBody(_) | Fault::TooMuch | Fault::ClientSlow | Fault::Method
        );
        let Some(status) = fault.status() else {
            self.record.status = Fault::GONE;
            if let Responder::Http2(respond) = responder {
                respond.send_reset(h2::Reason::CANCEL);
            }
            return Afterwards::Abort;
        };
        let reply = Reply::of(self.site, status);
        self.reply(&reply, source, responder).await
    }

    /// May the connection have another request after this one, for all that is known by now?
    fn may_stay(&self) -> bool {
        !self.closing && !self.served.is_closing() && self.request.keeps_connection()
    }

    /// Answers by itself.
    async fn reply(self, reply: &Reply, source: Option<&Source<'_>>, responder: Responder<'_>) -> Afterwards {
        self.record.status = reply.status;
        let body = if self.is_head() { &[][..] } else { &reply.body };
        self.record.sent += body.len() as u64;
        match responder {
            Responder::Http1(client) => {
                let over = source.is_none_or(|source| matches!(source, Source::Http1 { body, .. } if body.is_over()));
                let stays = over && self.may_stay();
                let said = match (stays, self.request.is_1_1) {
                    (false, _) => "connection: close\r\n",
                    (true, false) => "connection: keep-alive\r\n",
                    (true, true) => "",
                };
                let head = reply.head(said);
                let limit = self.site.proxy.http.timeouts.client_body;
                match self.deadline.within(limit, client.write(&head, body)).await {
                    Ok(Ok(())) if stays => Afterwards::Keep,
                    Ok(Ok(())) => Afterwards::Close,
                    _ => Afterwards::Abort,
                }
            }
            Responder::Http2(respond) => {
                if let Ok(response) = convert::response(&reply.head(""))
                    && let Ok(mut stream) = respond.send_response(response, body.is_empty())
                    && !body.is_empty()
                {
                    // It is small, and waits for the client's window by itself. Of one who has gone nobody hears.
                    let _ = stream.send_data(Bytes::copy_from_slice(body), true);
                }
                Afterwards::Keep
            }
        }
    }
}
