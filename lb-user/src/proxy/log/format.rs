//! Lines.

use std::io::Write as _;
use std::time::Duration;

use super::entry::Entry;
use super::escape;
use super::stamp::Stamp;
use crate::model::proxy::LogFormat;

/// Appends the line of `entry`, with its end.
pub(super) fn write(format: LogFormat, entry: &Entry<'_>, stamp: &mut Stamp, line: &mut Vec<u8>) {
    match format {
        LogFormat::Common => common(entry, stamp, line),
        LogFormat::Combined => {
            common(entry, stamp, line);
            for header in [entry.referer, entry.user_agent] {
                line.push(b' ');
                quoted(header, line);
            }
        }
        LogFormat::Json => json(entry, stamp, line),
    }
    line.push(b'\n');
}

/// Apache's `%h %l %u %t "%r" %>s %b`.
fn common(entry: &Entry<'_>, stamp: &mut Stamp, line: &mut Vec<u8>) {
    // Writing into a Vec does not fail.
    let _ = write!(line, "{} - - ", entry.client.ip().to_canonical());
    stamp.common(entry.time, line);
    line.extend_from_slice(b" \"");
    match &entry.request {
        Some(request) => {
            escape::text(request.method, line);
            line.push(b' ');
            escape::text(request.target, line);
            line.push(b' ');
            line.extend_from_slice(request.version.label().as_bytes());
        }
        None => line.push(b'-'),
    }
    line.extend_from_slice(b"\" ");
    match entry.status {
        Some(status) => decimal(status.into(), line),
        None => line.push(b'-'),
    }
    line.push(b' ');
    match entry.body {
        0 => line.push(b'-'),
        bytes => decimal(bytes, line),
    }
}

fn quoted(value: Option<&[u8]>, line: &mut Vec<u8>) {
    line.push(b'"');
    match value {
        Some(value) => escape::text(value, line),
        None => line.push(b'-'),
    }
    line.push(b'"');
}

/// An object, always with the same names in the same order; what there was not is `null`.
fn json(entry: &Entry<'_>, stamp: &mut Stamp, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"time\":\"");
    stamp.rfc3339(entry.time, line);
    let _ = write!(
        line,
        "\",\"client\":\"{}\",\"client_port\":{}",
        entry.client.ip().to_canonical(),
        entry.client.port()
    );
    let mut object = Object(line);
    let request = entry.request.as_ref();
    object.text("method", request.map(|request| request.method));
    object.text("target", request.map(|request| request.target));
    object.text("version", request.map(|request| request.version.label().as_bytes()));
    object.text("host", entry.host);
    object.number("status", entry.status.map(u64::from));
    object.number("body_bytes", Some(entry.body));
    object.number("received_bytes", Some(entry.received));
    object.number("sent_bytes", Some(entry.sent));
    object.text("referer", entry.referer);
    object.text("user_agent", entry.user_agent);
    object.text("request_id", entry.request_id);
    object.text("service", Some(entry.service.as_bytes()));
    object.text("backend", entry.backend.map(|(name, _)| name.as_bytes()));
    object.name("backend_address");
    match entry.backend {
        Some((_, address)) => {
            let _ = write!(object.0, "\"{address}\"");
        }
        None => object.0.extend_from_slice(b"null"),
    }
    object.number("retries", Some(entry.retries.into()));
    object.text("fault", entry.fault.map(str::as_bytes));
    object.time("total_us", Some(entry.total));
    object.time("wait_us", entry.wait);
    object.time("connect_us", entry.connect);
    object.time("first_byte_us", entry.first_byte);
    let tls = entry.tls.as_ref();
    object.text("tls_version", tls.map(|tls| tls.version.as_bytes()));
    object.text("tls_cipher", tls.map(|tls| tls.cipher.as_bytes()));
    object.text(
        "tls_server_name",
        tls.and_then(|tls| tls.server_name).map(str::as_bytes),
    );
    line.push(b'}');
}

struct Object<'a>(&'a mut Vec<u8>);

impl Object<'_> {
    /// Names need no escaping.
    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: Option<&[u8]>) {
        self.name(name);
        match value {
            Some(value) => escape::json(value, self.0),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.name(name);
        match value {
            Some(value) => decimal(value, self.0),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn time(&mut self, name: &str, value: Option<Duration>) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(name, value.map(micros));
    }
}

/// In decimal digits.
pub(super) fn decimal(mut number: u64, line: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}
