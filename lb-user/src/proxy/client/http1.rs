//! Clients of HTTP/1: one request after the other, on one connection.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{Client, LINGER, last};
use crate::proxy::choose::{Ending, Outcome};
use crate::proxy::exchange::{Afterwards, Exchange, Responder};
use crate::proxy::fault::Fault;
use crate::proxy::http1::{Body, Framing, RequestHead};
use crate::proxy::io::{Buffer, Deadline, Duplex, Stream, TooSlow};
use crate::proxy::pump::Source;
use crate::proxy::record::Record;
use crate::proxy::reply::Reply;
use crate::proxy::site::Site;
use crate::proxy::tunnel;
use crate::proxy::worker::Served;

/// What became of waiting for a request.
enum Next {
    Request,
    /// The client has gone, or is to go without a word.
    End,
    Refused(Fault),
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: Stream, client: Client, served: &Rc<Served>) {
    let duplex = Duplex::new(stream);
    let mut connection = Connection {
        duplex: &duplex,
        buffer: Buffer::none(),
        client,
        served,
        deadline: Deadline::default(),
        first: true,
    };
    let linger = connection.run().await;
    let Connection {
        mut deadline,
        mut buffer,
        ..
    } = connection;
    if linger {
        // How it ends is nobody's concern any more.
        let _ = deadline.within(LINGER.0, drain(&duplex, &mut buffer)).await;
    }
}

struct Connection<'c> {
    duplex: &'c Duplex,
    buffer: Buffer,
    client: Client,
    served: &'c Rc<Served>,
    deadline: Deadline,
    /// It has had no request.
    first: bool,
}

impl Connection<'_> {
    /// True when what was said last is to reach the client.
    async fn run(&mut self) -> bool {
        loop {
            let mut head = RequestHead::default();
            let site = match self.next(&mut head).await {
                (Next::Request, site) => site,
                (Next::End, _) => return false,
                (Next::Refused(fault), site) => return self.refuse(&site, &fault).await,
            };
            self.first = false;
            // It lives only as long as the request does: a connection that idles is small.
            match Box::pin(self.request(&site, head)).await {
                Afterwards::Keep => {}
                Afterwards::Close => return true,
                Afterwards::Abort => {
                    // The client is to see that something is missing.
                    self.duplex.abandon();
                    return false;
                }
                Afterwards::Tunnel(mut backend, attached, pool) => {
                    let limit = site.proxy.http.timeouts.tunnel;
                    let client = (self.duplex, &mut self.buffer);
                    let (sent, received) = tunnel::run(client, (&backend.duplex, &mut backend.buffer), limit).await;
                    site.traffic.received.fetch_add(sent, Relaxed);
                    site.traffic.sent.fetch_add(received, Relaxed);
                    let outcome = Outcome {
                        ending: Ending::Answered(101),
                        sent,
                        received,
                    };
                    drop(backend);
                    pool.end(*attached, &outcome);
                    return false;
                }
            }
        }
    }

    /// Waits for a request, and reads its head.
    async fn next(&mut self, head: &mut RequestHead) -> (Next, Rc<Site>) {
        if self.buffer.is_empty() {
            self.buffer.rest();
            let site = self.served.site();
            let timeouts = &site.proxy.http.timeouts;
            let limit = if self.first {
                timeouts.client_header
            } else {
                timeouts.idle
            };
            let idle = async {
                tokio::select! {
                    biased;
                    readable = self.duplex.readable() => readable.is_ok(),
                    () = last(self.served) => false,
                }
            };
            if !matches!(self.deadline.within(limit, idle).await, Ok(true)) {
                return (Next::End, site);
            }
        }
        let site = self.served.site();
        let limit = site.proxy.http.timeouts.client_header;
        let Self { duplex, buffer, .. } = self;
        let read = async {
            let mut skipped = false;
            loop {
                // One empty line may stand before a request (RFC 9112 §2.2).
                if let ([b'\r', b'\n', ..], false) = (buffer.bytes(), skipped) {
                    buffer.consume(2);
                    skipped = true;
                }
                if !buffer.is_empty() && buffer.bytes() != b"\r" {
                    match head.read(buffer.bytes(), &site.bounds) {
                        Ok(true) => return Next::Request,
                        Ok(false) => {}
                        Err(error) => return Next::Refused(Fault::Request(error)),
                    }
                }
                match duplex.read(buffer).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Next::End,
                }
            }
        };
        let next = match self.deadline.within(limit, read).await {
            Ok(next) => next,
            Err(TooSlow) if self.buffer.is_empty() => Next::End,
            Err(TooSlow) => Next::Refused(Fault::ClientSlow),
        };
        (next, site)
    }

    async fn request(&mut self, site: &Rc<Site>, head: RequestHead) -> Afterwards {
        let begun = Instant::now();
        let text = self.buffer.split_to(head.length);
        let ip = self.client.ip(site, text.bytes(), &head);
        let mut record = Record::new(begun, ip);
        record.id = site.request_id(&self.client, text.bytes(), &head, self.served);
        let exchange = Exchange {
            site,
            client: &self.client,
            head: text.bytes(),
            request: &head,
            deadline: &mut self.deadline,
            record: &mut record,
            closing: false,
            served: self.served,
        };
        let mut source = (head.framing != Framing::None).then(|| Source::Http1 {
            duplex: self.duplex,
            buffer: &mut self.buffer,
            body: Body::of(head.framing),
        });
        let afterwards = exchange.serve(&mut source, Responder::Http1(self.duplex)).await;
        self.served.finish(site, &self.client, text.bytes(), &head, &record, 0);
        afterwards
    }

    /// Answers what was no request. True when the answer is to reach the client.
    async fn refuse(&mut self, site: &Rc<Site>, fault: &Fault) -> bool {
        site.traffic.invalid.fetch_add(1, Relaxed);
        let Some(status) = fault.status() else {
            return false;
        };
        let mut record = Record::new(Instant::now(), self.client.address.ip().to_canonical());
        record.status = status;
        record.fault = Some(fault.to_string());
        let reply = Reply::of(site, status);
        record.sent = reply.body.len() as u64;
        let head = reply.head("connection: close\r\n");
        let limit = site.proxy.http.timeouts.client_body;
        let written = self.deadline.within(limit, self.duplex.write(&head, &reply.body)).await;
        self.served
            .finish(site, &self.client, b"", &RequestHead::default(), &record, 0);
        matches!(written, Ok(Ok(())))
    }
}

/// Says that nothing more comes, and lets the client finish.
async fn drain(duplex: &Duplex, buffer: &mut Buffer) -> io::Result<()> {
    duplex.shutdown().await?;
    let mut left = LINGER.1;
    while left > 0 {
        let length = duplex.read(buffer).await?;
        if length == 0 {
            break;
        }
        buffer.consume(buffer.len());
        left = left.saturating_sub(length);
    }
    Ok(())
}
