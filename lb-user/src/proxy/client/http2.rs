//! Clients of HTTP/2: many requests at once, served by one task, so that what they are answered leaves together.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::io::AsyncWrite as _;

use super::{Client, LINGER, last};
use crate::proxy::convert;
use crate::proxy::exchange::{Exchange, Responder};
use crate::proxy::fault::Fault;
use crate::proxy::http1::{Framing, HeadError, RequestHead};
use crate::proxy::io::coalesce::Coalesced;
use crate::proxy::io::{Deadline, Stream};
use crate::proxy::pump::Source;
use crate::proxy::record::Record;
use crate::proxy::reply::Reply;
use crate::proxy::site::Site;
use crate::proxy::worker::Served;

/// Bytes that a client may send ahead, on a stream and on a connection: as much memory as a client can take.
const WINDOW: (u32, u32) = (64 * 1024, 256 * 1024);

/// Streams that a client has ended at once or that it ended wrongly, and which the library has to remember. More, and the
/// connection ends: nobody but who means harm does so (CVE-2023-44487).
const RESETS: usize = 50;

/// Bytes of answers that wait for a client's window, for each stream.
const SENDING: usize = 128 * 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(stream: Stream, client: Client, served: &Rc<Served>) {
    let site = served.site();
    let limits = &site.proxy.http.limits;
    let timeouts = &site.proxy.http.timeouts;
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW.0)
        .initial_connection_window_size(WINDOW.1)
        .max_concurrent_streams(limits.streams.get())
        .max_header_list_size(limits.header)
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(RESETS))
        .max_send_buffer_size(SENDING);
    let io = Coalesced::new(stream);
    let mut deadline = Deadline::default();
    let mut handshake = Box::pin(builder.handshake::<_, Bytes>(io.clone()));
    let begun = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        // Its settings leave at once.
        let _ = io.poll_send(cx);
        polled
    });
    let Ok(Ok(connection)) = deadline.within(timeouts.client_header, begun).await else {
        return;
    };
    drop(handshake);
    let client = Rc::new(client);
    let mut task = Task {
        connection,
        io,
        deadline,
        requests: FuturesUnordered::new(),
        idle_since: tokio::time::Instant::now(),
        asked: false,
        going: false,
        ended: false,
    };
    let (mut closing, mut told) = (std::pin::pin!(served.closing()), false);
    let mut last = std::pin::pin!(last(served));
    let start = |request, respond| serve_request(request, respond, Rc::clone(&client), Rc::clone(served));
    poll_fn(|cx| {
        told = told || closing.as_mut().poll(cx).is_ready();
        // Who has just come may ask once: if it were sent away each time, it would never get an answer.
        if told && !task.going && (task.asked || last.as_mut().poll(cx).is_ready()) {
            task.going = true;
            // Those that have begun come to their end.
            task.connection.graceful_shutdown();
        }
        let polled = task.poll(cx, timeouts.idle, &start);
        if told && !task.going && task.asked {
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await;
    // The last words, for a client that takes them. How it ends is nobody's concern any more.
    let Task {
        mut io, mut deadline, ..
    } = task;
    let _ = deadline
        .within(LINGER.0, poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)))
        .await;
}

struct Task<F> {
    connection: h2::server::Connection<Coalesced, Bytes>,
    io: Coalesced,
    deadline: Deadline,
    requests: FuturesUnordered<F>,
    idle_since: tokio::time::Instant,
    /// It has had a request.
    asked: bool,
    /// The client has been told to go.
    going: bool,
    /// Nothing more is read.
    ended: bool,
}

impl<F: Future<Output = ()>> Task<F> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
        start: impl Fn(http::Request<RecvStream>, SendResponse<Bytes>) -> F,
    ) -> Poll<()> {
        loop {
            let mut moved = false;
            while !self.ended {
                match self.connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        self.requests.push(start(request, respond));
                        self.asked = true;
                        moved = true;
                    }
                    Poll::Ready(Some(Err(_)) | None) => self.ended = true,
                    Poll::Pending => break,
                }
            }
            while let Poll::Ready(Some(())) = self.requests.poll_next_unpin(cx) {
                moved = true;
                self.idle_since = tokio::time::Instant::now();
            }
            if self.ended {
                return Poll::Ready(());
            }
            if !moved {
                break;
            }
        }
        // What requests have said meanwhile becomes frames.
        if let Poll::Ready(closed) = self.connection.poll_closed(cx) {
            let _ = closed;
            self.ended = true;
            return Poll::Ready(());
        }
        if let Poll::Ready(Err(_)) = self.io.poll_send(cx) {
            return Poll::Ready(());
        }
        if self.requests.is_empty() {
            let end = self.idle_since + idle;
            if self.deadline.poll(end, cx).is_ready() {
                if self.going {
                    return Poll::Ready(());
                }
                self.going = true;
                self.connection.graceful_shutdown();
                self.idle_since = tokio::time::Instant::now();
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

async fn serve_request(
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: Rc<Client>,
    served: Rc<Served>,
) {
    let begun = Instant::now();
    let site = served.site();
    let (parts, body) = request.into_parts();
    let mut text = Vec::with_capacity(512);
    convert::request_text(&parts, &mut text);
    let mut head = RequestHead::default();
    // The same scanner as for HTTP/1.1: one door.
    let fault = match head.read(&text, &site.bounds) {
        Ok(true) => None,
        Ok(false) => Some(HeadError::TooLarge),
        Err(error) => Some(error),
    };
    if let Some(fault) = fault {
        refuse(&site, &Fault::Request(fault), &mut respond, &client, &served);
        return;
    }
    let ip = client.ip(&site, &text, &head);
    let mut record = Record::new(begun, ip);
    record.id = site.request_id(&client, &text, &head, &served);
    let mut source = (!body.is_end_stream()).then_some(Source::Http2(body));
    if source.is_none() {
        head.framing = Framing::None;
    }
    let mut deadline = Deadline::default();
    let exchange = Exchange {
        site: &site,
        client: &client,
        head: &text,
        request: &head,
        deadline: &mut deadline,
        record: &mut record,
        closing: false,
        served: &served,
    };
    exchange.serve(&mut source, Responder::Http2(&mut respond)).await;
    served.finish(&site, &client, &text, &head, &record, 1);
    if let Some(Source::Http2(body)) = source {
        // Some clients take an end of the stream before they have sent all for the end of the answer, too.
        let _ = Box::pin(deadline.within(LINGER.0, drain(body))).await;
    }
}

/// Takes what is left of a body, for nobody.
async fn drain(mut body: RecvStream) {
    let mut left = LINGER.1;
    while let Some(Ok(data)) = body.data().await {
        let more = body.flow_control().release_capacity(data.len());
        left = left.saturating_sub(data.len());
        if left == 0 || more.is_err() {
            return;
        }
    }
}

/// Answers what was no request.
fn refuse(site: &Rc<Site>, fault: &Fault, respond: &mut SendResponse<Bytes>, client: &Client, served: &Served) {
    site.traffic.invalid.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut record = Record::new(Instant::now(), client.address.ip().to_canonical());
    record.fault = Some(fault.to_string());
    match fault.status() {
        None => respond.send_reset(Reason::PROTOCOL_ERROR),
        Some(status) => {
            record.status = status;
            let reply = Reply::of(site, status);
            record.sent = reply.body.len() as u64;
            if let Ok(response) = convert::response(&reply.head(""))
                && let Ok(mut stream) = respond.send_response(response, false)
            {
                // Of one who has gone nobody hears.
                let _ = stream.send_data(Bytes::from(reply.body), true);
            }
        }
    }
    served.finish(site, client, b"", &RequestHead::default(), &record, 1);
}
