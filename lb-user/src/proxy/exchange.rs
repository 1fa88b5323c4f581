//! A request and its answer: one way for both versions of HTTP, on both sides.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;

use super::choose::{Ask, Ending, Outcome, hash};
use super::client::Client;
use super::convert;
use super::cookies::cookie;
use super::fault::Fault;
use super::http1::{Body, Framing, HeadError, Known, RequestHead, ResponseHead};
use super::io::{Deadline, Duplex, TooSlow};
use super::pump::{Broken, Coding, Source, Target, Terms, from_h2, pump, was_reset};
use super::record::Record;
use super::reply::Reply;
use super::rewrite::location::Front;
use super::rewrite::request::{self, Outgoing};
use super::rewrite::response::{self, BodyForm, Incoming};
use super::site::Site;
use super::upload::Upload;
use super::upstream::{Attached, Connection, Pool, Transport, connection, http2};
use super::worker::Served;
use crate::model::proxy::{HashOn, Route};

/// Responses before the last, at most: each may take as long as the last may.
const INTERIMS: usize = 16;

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

    /// By a connection of HTTP/1.1.
    async fn over_http1(
        &mut self,
        way: Way<'_>,
        connection: &mut Connection,
        source: &mut Option<Source<'_>>,
        responder: &mut Responder<'_>,
    ) -> Result<Done, Failed> {
        let timeouts = self.site.proxy.http.timeouts;
        let plain = source.is_none() && matches!(responder, Responder::Http1(_));
        let upgrade = plain && self.request.wants_upgrade(self.head);
        let chunked = matches!(source, Some(Source::Http2(_))) && self.request.framing == Framing::None;
        let text = self.request_text(way, upgrade, chunked, false);
        let Connection {
            duplex,
            buffer,
            deadline,
            ..
        } = connection;
        let duplex = &*duplex;
        let most = self.site.proxy.http.limits.body;
        let received = Cell::new(0);
        let mut timer = Deadline::default();
        let upload = async {
            let terms = Terms {
                deadline: &mut timer,
                read: timeouts.client_body,
                write: timeouts.response,
                most,
            };
            let coding = if chunked { Coding::Chunked } else { Coding::Same };
            match source {
                Some(source) => pump(source, &mut Target::Http1(duplex, coding), &text, terms, &received).await,
                None => {
                    let written = terms.deadline.within(terms.write, duplex.write(&text, &[])).await;
                    written.map_err(|TooSlow| Broken::TargetSlow)?.map_err(Broken::Target)
                }
            }
        };
        let upload = pin!(upload);
        let mut upload = Upload::new(upload);
        let mut head = ResponseHead::default();
        let outcome = async {
            let mut interims = 0..INTERIMS;
            loop {
                let read = connection::head(duplex, buffer, &mut head, &self.site.bounds, self.is_head());
                upload
                    .beside(deadline, timeouts.response, responder.unless_gone(read))
                    .await?;
                if !head.is_interim() {
                    break;
                }
                interims.next().ok_or(Fault::Response(HeadError::TooLarge))?;
                let interim = responder.interim(&buffer.bytes()[..head.length], &head, self.request.is_1_1);
                interim.await.map_err(Fault::Client)?;
                buffer.consume(head.length);
            }
            if head.status == 101 && !upgrade {
                return Err(Fault::Response(HeadError::StatusLine).into());
            }
            // Whoever is answered before the body was wanted has to know that it will not be read (RFC 9110 §10.1.1).
            self.closing |= !upload.is_whole();
            let answer = self.answer(way, (&buffer.bytes()[..head.length], &head), responder, false);
            buffer.consume(head.length);
            let mut down = Source::Http1 {
                duplex,
                buffer,
                body: Body::of(head.framing),
            };
            self.deliver(&answer, &mut down, responder, &mut upload).await?;
            let Source::Http1 { buffer, .. } = down else {
                unreachable!("it was made so")
            };
            Ok(Done {
                status: head.status,
                // What comes behind an answer is nobody's: the backend does not count as the proxy does.
                reusable: upload.is_whole() && head.keeps_connection() && buffer.is_empty(),
                stays: upload.is_whole() && answer.stays,
            })
        };
        let outcome = outcome.await;
        self.record.received += received.get();
        self.record.asked += received.get();
        outcome
    }

    /// By a stream of HTTP/2.
    async fn over_http2(
        &mut self,
        way: Way<'_>,
        mut place: http2::Place,
        source: &mut Option<Source<'_>>,
        responder: &mut Responder<'_>,
    ) -> Result<Done, Failed> {
        let timeouts = self.site.proxy.http.timeouts;
        let text = self.request_text(way, false, false, true);
        let request = convert::request(&text, self.client.scheme()).map_err(Fault::Request)?;
        let refused = |error: h2::Error| match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => Fault::Connect(from_h2(error)),
            _ => Fault::NoAnswer(from_h2(error)),
        };
        let ready = poll_fn(|cx| place.requests.poll_ready(cx));
        let ready = self
            .deadline
            .within(timeouts.connect, ready)
            .await
            .map_err(|TooSlow| Fault::ConnectSlow)?;
        ready.map_err(|error| Fault::Connect(from_h2(error)))?;
        let (answer, mut stream) = place
            .requests
            .send_request(request, source.is_none())
            .map_err(refused)?;
        let most = self.site.proxy.http.limits.body;
        let received = Cell::new(0);
        let (mut timer, mut waits) = (Deadline::default(), Deadline::default());
        let upload = async {
            let terms = Terms {
                deadline: &mut timer,
                read: timeouts.client_body,
                write: timeouts.response,
                most,
            };
            match source {
                Some(source) => pump(source, &mut Target::Http2(&mut stream), &[], terms, &received).await,
                None => Ok(()),
            }
        };
        let upload = pin!(upload);
        let mut upload = Upload::new(upload);
        let outcome = async {
            let answer = responder.unless_gone(async { answer.await.map_err(refused) });
            let (parts, body) = upload.beside(&mut waits, timeouts.response, answer).await?.into_parts();
            let mut bytes = Vec::with_capacity(512);
            convert::response_text(&parts, &mut bytes);
            let mut head = ResponseHead::default();
            match head.read(&bytes, &self.site.bounds, self.is_head()) {
                Ok(true) => {}
                Ok(false) => return Err(Fault::Response(HeadError::TooLarge).into()),
                Err(error) => return Err(Fault::Response(error).into()),
            }
            if body.is_end_stream() {
                head.framing = Framing::None;
            }
            self.closing |= !upload.is_whole();
            let answer = self.answer(way, (&bytes, &head), responder, true);
            self.deliver(&answer, &mut Source::Http2(body), responder, &mut upload)
                .await?;
            Ok(Done {
                status: head.status,
                reusable: true,
                stays: upload.is_whole() && answer.stays,
            })
        };
        let outcome = outcome.await;
        self.record.received += received.get();
        self.record.asked += received.get();
        outcome
    }

    /// Sends an answer to the client, with all of its body.
    async fn deliver<F>(
        &mut self,
        answer: &Answer,
        down: &mut Source<'_>,
        responder: &mut Responder<'_>,
        upload: &mut Upload<'_, F>,
    ) -> Result<(), Failed>
    where
        F: Future<Output = Result<(), Broken>>,
    {
        let timeouts = self.site.proxy.http.timeouts;
        let told = |fault| Failed {
            fault,
            told: Some(answer.status),
        };
        let sent = Cell::new(0);
        let terms = Terms {
            deadline: &mut *self.deadline,
            read: timeouts.response,
            write: timeouts.client_body,
            most: None,
        };
        let done = match responder {
            Responder::Http1(client) => {
                let mut target = Target::Http1(client, answer.coding);
                let pumping = pump(down, &mut target, &answer.text, terms, &sent);
                upload.alongside(pumping).await
            }
            Responder::Http2(respond) => {
                let response = convert::response(&answer.text).map_err(Fault::Response)?;
                let sending = respond.send_response(response, answer.empty);
                let mut stream = sending.map_err(|error| told(Fault::Client(from_h2(error))))?;
                if answer.empty {
                    Ok(Ok(()))
                } else {
                    let mut target = Target::Http2(&mut stream);
                    let pumping = pump(down, &mut target, &[], terms, &sent);
                    upload.alongside(pumping).await
                }
            }
        };
        self.record.sent += sent.get();
        self.record.answer += sent.get();
        done.map_err(told)?.map_err(|broken| {
            told(match broken {
                Broken::Malformed(error) => Fault::ResponseBody(error),
                Broken::Source(error) => Fault::Truncated(error),
                Broken::SourceSlow | Broken::TooMuch => Fault::BackendSlow,
                Broken::Target(error) => Fault::Client(error),
                Broken::TargetSlow => Fault::ClientSlow,
            })
        })
    }

    /// The head for the client, and how the body follows.
    fn answer(
        &mut self,
        way: Way<'_>,
        (head, response): (&[u8], &ResponseHead),
        responder: &Responder<'_>,
        from_http2: bool,
    ) -> Answer {
        let now = self.record.begun.elapsed();
        self.record.answer += head.len() as u64;
        self.record.answered = Some(now);
        self.record.status = response.status;
        way.pool
            .answered(way.attached, now.saturating_sub(self.record.connected.unwrap_or(now)));
        if let Some(heartbeat) = response.fields.find(Known::XHeartbeat) {
            way.pool
                .heartbeat(way.attached, heartbeat.value.of(head), Instant::now());
        }
        let (coding, body, delimited) = match (response.framing, self.request.is_1_1) {
            (Framing::None | Framing::Length(_), _) | (Framing::Chunked, true) => (Coding::Same, BodyForm::Same, true),
            (Framing::Chunked, false) => (Coding::Plain, BodyForm::Plain, false),
            (Framing::Close, true) if from_http2 => (Coding::Chunked, BodyForm::Chunked, true),
            (Framing::Close, _) => (Coding::Plain, BodyForm::Same, false),
        };
        let stays = delimited && self.may_stay();
        let (connection, body, stays) = match responder {
            Responder::Http2(_) => (response::Connection::Unsaid, BodyForm::Plain, true),
            Responder::Http1(_) if response.status == 101 => (response::Connection::Upgrade, body, true),
            Responder::Http1(_) if !stays => (response::Connection::Close, body, false),
            Responder::Http1(_) if !self.request.is_1_1 => (response::Connection::KeepAlive, body, true),
            Responder::Http1(_) => (response::Connection::Unsaid, body, true),
        };
        let cookie = self.sticky(way.attached);
        let incoming = Incoming {
            head,
            response,
            site: self.site,
            front: Front {
                client: self.client,
                host: self.request.host.of(self.head),
                route: way.route,
                pool: way.pool,
            },
            cookie: cookie.as_deref(),
            connection,
            body,
        };
        let mut text = Vec::with_capacity(head.len() + 256);
        response::write(&incoming, &mut text);
        self.record.sent_head = text.len() as u64;
        Answer {
            text,
            status: response.status,
            coding,
            empty: response.framing == Framing::None,
            stays,
        }
    }

    /// The cookie that leads back to the backend, unless the client has it.
    fn sticky(&self, attached: &Attached) -> Option<String> {
        let sticky = self
            .site
            .proxy
            .http
            .sticky_cookie
            .as_ref()
            .filter(|_| !attached.lease.is_kept())?;
        let mut cookie = format!(
            "{}={}; Path=/; HttpOnly; SameSite=Lax",
            sticky.name,
            attached.lease.token()
        );
        if self.client.tls.is_some() {
            cookie.push_str("; Secure");
        }
        if let Some(age) = sticky.max_age {
            cookie.push_str(&format!("; Max-Age={}", age.as_secs()));
        }
        Some(cookie)
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

/// An answer on its way.
struct Answer {
    text: Vec<u8>,
    status: u16,
    coding: Coding,
    /// It has no body.
    empty: bool,
    /// The client's connection may stay.
    stays: bool,
}

impl Responder<'_> {
    /// Waits for the backend, unless the client has ended its stream meanwhile.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            match self {
                Self::Http2(respond) => respond.poll_reset(cx).map(|reset| Err(Fault::Client(was_reset(reset)))),
                Self::Http1(_) => Poll::Pending,
            }
        })
        .await
    }

    /// Passes on a response before the last (RFC 9110 §15.2). HTTP/1.0 knows none.
    async fn interim(&mut self, head: &[u8], response: &ResponseHead, is_1_1: bool) -> io::Result<()> {
        match self {
            Self::Http1(client) if is_1_1 => {
                let mut text = Vec::with_capacity(head.len());
                let _ = write!(text, "HTTP/1.1 {} ", response.status);
                text.extend_from_slice(response.reason.of(head));
                text.extend_from_slice(b"\r\n");
                for field in response.fields.all() {
                    // It has no body, and says nothing of the connection to the client.
                    let own = field.nominated || field.known.is_hop_by_hop() || field.known == Known::ContentLength;
                    if !own {
                        text.extend_from_slice(field.line.of(head));
                    }
                }
                text.extend_from_slice(b"\r\n");
                client.write(&text, &[]).await
            }
            Self::Http1(_) => Ok(()),
            Self::Http2(respond) => match convert::response(head) {
                Ok(response) => respond.send_informational(response).map_err(from_h2),
                Err(_) => Ok(()),
            },
        }
    }
}
