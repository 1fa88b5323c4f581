//! The answer on its way to the client: its head, what is said of the connection, and its body.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use super::{Exchange, Failed, Responder, Way};
use crate::proxy::convert;
use crate::proxy::fault::Fault;
use crate::proxy::http1::{Framing, Known, ResponseHead};
use crate::proxy::pump::{Broken, Coding, Source, Target, Terms, from_h2, pump, was_reset};
use crate::proxy::rewrite::location::Front;
use crate::proxy::rewrite::response::{self, BodyForm, Incoming};
use crate::proxy::upload::Upload;
use crate::proxy::upstream::Attached;

impl Exchange<'_> {
    /// Sends an answer to the client, with all of its body.
    pub(super) async fn deliver<F>(
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
    pub(super) fn answer(
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
}

/// An answer on its way.
pub(super) struct Answer {
    text: Vec<u8>,
    status: u16,
    coding: Coding,
    /// It has no body.
    empty: bool,
    /// The client's connection may stay.
    pub(super) stays: bool,
}

impl Responder<'_> {
    /// Waits for the backend, unless the client has ended its stream meanwhile.
    pub(super) async fn unless_gone<T>(&mut self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
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
    pub(super) async fn interim(&mut self, head: &[u8], response: &ResponseHead, is_1_1: bool) -> io::Result<()> {
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
