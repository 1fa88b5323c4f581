//! A request on its way to one backend, by either version of HTTP.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use super::{Done, Exchange, Failed, Responder, Way};
use crate::proxy::convert;
use crate::proxy::fault::Fault;
use crate::proxy::http1::{Body, Framing, HeadError, ResponseHead};
use crate::proxy::io::{Deadline, TooSlow};
use crate::proxy::pump::{Broken, Coding, Source, Target, Terms, from_h2, pump};
use crate::proxy::upload::Upload;
use crate::proxy::upstream::{Connection, connection, http2};

/// Responses before the last, at most: each may take as long as the last may.
const INTERIMS: usize = 16;

impl Exchange<'_> {
    /// By a connection of HTTP/1.1.
    pub(super) async fn over_http1(
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
        let received = Cell::new(0);
        let mut timer = Deadline::default();
        let terms = self.upward(&mut timer);
        let upload = async {
            let coding = if chunked { Coding::Chunked } else { Coding::Same };
            match source {
                // Few requests have a body, and those that have none shall be small.
                Some(source) => {
                    Box::pin(pump(
                        source,
                        &mut Target::Http1(duplex, coding),
                        &text,
                        terms,
                        &received,
                    ))
                    .await
                }
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
                let told = self.deadline.within(timeouts.client_body, interim).await;
                told.map_err(Fault::from)?.map_err(Fault::Client)?;
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
                buffer: &mut *buffer,
                body: Body::of(head.framing),
            };
            self.deliver(&answer, &mut down, responder, &mut upload).await?;
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
    pub(super) async fn over_http2(
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
        let received = Cell::new(0);
        let (mut timer, mut waits) = (Deadline::default(), Deadline::default());
        let terms = self.upward(&mut timer);
        let upload = async {
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
    /// What a body may take on its way to a backend.
    fn upward<'d>(&self, deadline: &'d mut Deadline) -> Terms<'d> {
        let http = &self.site.proxy.http;
        Terms {
            deadline,
            read: http.timeouts.client_body,
            write: http.timeouts.response,
            most: http.limits.body,
        }
    }
}
