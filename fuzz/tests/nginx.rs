//! Messages that the proxy takes, read by a real nginx: it may refuse them, and must not understand them in another way. Needs
//! nginx on this machine, and nothing else: it listens at a socket in a folder of the test's own.

mod chance;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chance::{Chance, changed, corpus};
use lb_user::proxy::http1::{Body, Bounds, Field, Known, RequestHead};

/// Messages that are made of the corpus, and tried where the proxy takes them.
const MADE: usize = 200_000;

const BOUNDS: Bounds = Bounds {
    bytes: 4096,
    fields: 64,
    target: 1024,
};

/// What follows a message, to see that both find its end at the same place.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";

/// An nginx that says how it understands each request.
struct Nginx {
    process: Child,
    socket: PathBuf,
}

impl Nginx {
    /// `None` where there is none, which a run that may skip nothing does not accept.
    fn start() -> Option<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (place, socket) = (folder.display(), folder.join("s"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};"))
            .concat();
        let file = format!(
            "daemon off; master_process off; pid {place}/pid; error_log /dev/null;\nevents {{}}\nhttp {{\n\
             access_log off; {temporary} keepalive_requests 1000000; client_body_timeout 5s;\n\
             server {{ listen unix:{place}/s;\nlocation / {{ \
             return 200 \"$request_method $request_uri $http_host $content_length $http_transfer_encoding\"; }}\n}}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), file).unwrap();
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg("/dev/null");
        match command.stdin(Stdio::null()).spawn() {
            Ok(process) => Some(Self { process, socket }),
            Err(error) => {
                let why = format!("nginx does not start: {error}");
                assert!(std::env::var_os("FULCRUM_NO_SKIP").is_none(), "refusing to skip: {why}");
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    fn connect(&self) -> UnixStream {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return stream,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// Statuses and bodies of all that it answers.
    fn ask(&self, bytes: &[u8]) -> Vec<(u16, String)> {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // One that has refused already does not listen any more.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        if let Err(error) = stream.read_to_end(&mut said) {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset,
                "{}",
                bytes.escape_ascii()
            );
        }
        let mut answers = Vec::new();
        let mut rest = &said[..];
        while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
            let status = head
                .get(9..12)
                .and_then(|status| status.parse().ok())
                .expect("a status");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            rest = &rest[end + 4..];
            let body = &rest[..length.min(rest.len())];
            if status >= 200 {
                answers.push((status, String::from_utf8_lossy(body).into_owned()));
            }
            rest = &rest[body.len()..];
        }
        answers
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(folder) = self.socket.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Where a message ends that the proxy takes, with its body.
fn taken(bytes: &[u8]) -> Option<(RequestHead, usize)> {
    let mut head = RequestHead::default();
    if !matches!(head.read(bytes, &BOUNDS), Ok(true)) {
        return None;
    }
    let mut body = Body::of(head.framing);
    let length = body.pass(&bytes[head.length..]).ok()?;
    body.is_over().then(|| (head.clone(), head.length + length))
}

/// True when nginx takes it, too.
fn compare(nginx: &Nginx, bytes: &[u8]) -> Option<bool> {
    let (head, length) = taken(bytes)?;
    // These have no body, and no answer to a request that is none of nginx's.
    if matches!(head.method.of(bytes), b"HEAD" | b"CONNECT") {
        return None;
    }
    let message = &bytes[..length];
    let text = message.escape_ascii().to_string();
    let answers = nginx.ask(&[message, NEXT.as_bytes()].concat());
    let Some((200, first)) = answers.first() else {
        return Some(false);
    };
    let mut words = first.split(' ');
    assert_eq!(words.next().map(str::as_bytes), Some(head.method.of(bytes)), "{text}");
    let target = words.next().map(str::as_bytes);
    let own = head.path.of(bytes);
    assert_eq!(target, Some(if own.is_empty() { b"/" } else { own }), "{text}");
    if !head.host.is_empty() {
        let host = words.next().unwrap();
        assert!(
            host.is_empty() || host.as_bytes().eq_ignore_ascii_case(head.host.of(bytes)),
            "{text}: {host}"
        );
    }
    // nginx looks for the word wherever it stands, and ends a connection that need not end.
    let close = |field: &&Field| {
        String::from_utf8_lossy(field.value.of(bytes))
            .to_ascii_lowercase()
            .contains("close")
    };
    let closes = head.fields.find(Known::Connection).filter(close).is_some();
    if head.keeps_connection() && !closes {
        let second = answers
            .get(1)
            .map(|(status, said)| (*status, said.trim_end().to_owned()));
        assert_eq!(second, Some((200, "GET /next next".to_owned())), "{text}: {answers:?}");
    }
    assert!(answers.len() <= 2, "{text}");
    Some(true)
}

#[test]
fn nginx_sees_the_same_messages() {
    let Some(nginx) = Nginx::start() else { return };
    let mut seeds: Vec<Vec<u8>> = corpus("http_head").into_iter().map(|(_, bytes)| bytes).collect();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    seeds.extend(
        corpus("http_body")
            .into_iter()
            .map(|(_, bytes)| [head, &bytes[..]].concat()),
    );
    let mut chance = Chance(7);
    let (mut both, mut proxy) = (0, 0);
    for number in 0..seeds.len() + MADE {
        let bytes = match seeds.get(number) {
            Some(seed) => seed.clone(),
            None => changed(&seeds[chance.below(seeds.len())], &mut chance),
        };
        match compare(&nginx, &bytes) {
            Some(true) => both += 1,
            Some(false) => proxy += 1,
            None => {}
        }
    }
    eprintln!("{both} messages are taken by both, {proxy} by the proxy alone");
    assert!(both > 500, "too few to say anything: {both}");
}
