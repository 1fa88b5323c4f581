//! The log of the labs' server: a line for each request, in the common log format.

use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use der::DateTime;
use hyper::{Request, StatusCode};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A file that is added to.
#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().append(true).create(true).open(path);
        Ok(Self(file.with_context(|| format!("opening {}", path.display()))?))
    }

    /// Notes that an answer begins. A disk that is full costs the line, not the answer.
    #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing follows from it")]
    pub(super) fn write<B>(&self, client: IpAddr, request: &Request<B>, status: StatusCode, length: Option<u64>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let line = line(now.unwrap_or_default(), client, request, status, length);
        // One write, so that lines do not mix.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

/// `now` is the time since 1970.
fn line<B>(now: Duration, client: IpAddr, request: &Request<B>, status: StatusCode, length: Option<u64>) -> String {
    let time = DateTime::from_unix_duration(now).unwrap_or(DateTime::INFINITY);
    let length = length.map_or_else(|| "-".to_owned(), |length| length.to_string());
    format!(
        "{client} - - [{:02}/{}/{}:{:02}:{:02}:{:02} +0000] \"{} {} {:?}\" {} {length}\n",
        time.day(),
        MONTHS[usize::from(time.month() - 1) % 12],
        time.year(),
        time.hour(),
        time.minutes(),
        time.seconds(),
        request.method(),
        request.uri(),
        request.version(),
        status.as_u16(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_in_the_common_format() {
        let request = Request::get("/a?b").body(()).unwrap();
        let client = "10.0.0.2".parse().unwrap();
        let now = Duration::from_secs(971_186_136);
        assert_eq!(
            line(now, client, &request, StatusCode::OK, Some(7)),
            "10.0.0.2 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b HTTP/1.1\" 200 7\n"
        );
        assert!(line(now, client, &request, StatusCode::NOT_FOUND, None).ends_with(" 404 -\n"));
    }
}
