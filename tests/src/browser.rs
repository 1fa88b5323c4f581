//! Chromium without a window, driven over its debugging pipe (Chrome DevTools Protocol): JSON messages, each ended by NUL.

use std::io::{BufRead as _, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use lb_user::net::Namespace;
use serde_json::{Value, json};

use crate::node::DEADLINE;
use crate::segment::Process;

/// The program, as Debian calls it.
pub const CHROMIUM: &str = "chromium-headless-shell";

/// It reads from descriptor 3 and writes to 4, which a shell makes of what it is started with. Tests run as root, whom the
/// browser's own sandbox refuses.
const START: &str = r#"exec "$@" --no-sandbox --disable-gpu --no-first-run --no-proxy-server --disable-background-networking \
    --remote-debugging-pipe about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser in a namespace, with one page. Killed on drop.
pub struct Browser {
    /// Ends with the browser.
    _process: Process,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last: u64,
    complaints: Vec<Complaint>,
    /// Its profile; goes after the process.
    _folder: tempfile::TempDir,
}

/// What the browser's console says of a page that is no note: errors, warnings, exceptions, violations of its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Who complains: `network` for answers that are no success, `javascript`, `security` and others.
    pub source: String,
    /// What it is about.
    pub text: String,
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn start(namespace: &Namespace) -> Self {
        let folder = crate::leftovers::folder();
        let profile = format!("--user-data-dir={}", folder.path().display());
        let mut command = Command::new("sh");
        command
            .args(["-c", START, "sh", CHROMIUM, &profile])
            .stdin(Stdio::piped());
        let mut process = Process::start(namespace, &mut command);
        let requests = process.child.stdin.take().expect("a pipe");
        let (sender, messages) = channel();
        let mut output = process.take_output();
        std::thread::spawn(move || {
            loop {
                let mut message = Vec::new();
                let read = output.read_until(0, &mut message);
                if !matches!(read, Ok(1..)) || message.pop() != Some(0) {
                    return;
                }
                let message = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            _process: process,
            requests,
            messages,
            session: None,
            last: 0,
            complaints: Vec::new(),
            _folder: folder,
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.ask(domain, &json!({}));
        }
        browser
    }

    /// Calls a method, and returns its result.
    ///
    /// # Panics
    /// When the browser refuses, ends, or does not answer in time.
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        let mut text = request.to_string().into_bytes();
        text.push(0);
        self.requests.write_all(&text).expect("the browser reads");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut message = match self.messages.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => panic!("{method}: not answered within {DEADLINE:?}: {params}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            };
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.complaints.extend(complaint(&message));
        }
    }

    /// Opens an address, and waits until its page is loaded.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {}", opened["errorText"]);
        self.until("document.readyState === 'complete'");
    }

    /// The value of an expression on the page; of a promise, what comes of it.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut said = self.ask("Runtime.evaluate", &params);
        assert!(
            said["exceptionDetails"].is_null(),
            "{expression}: {}",
            said["exceptionDetails"]
        );
        said["result"]["value"].take()
    }

    /// Waits until a condition holds on the page, looking at it each time that the page changes.
    ///
    /// # Panics
    /// When it does not in time, with what the page shows.
    pub fn until(&mut self, condition: &str) {
        let patience = DEADLINE.as_millis() / 2;
        let held = self.evaluate(&format!("({WAIT})(() => {condition}, {patience})"));
        if held != true {
            let shown = self.evaluate("document.body.innerText");
            panic!(
                "not within {patience} ms: {condition}\n{}\n{:?}",
                shown.as_str().unwrap_or_default(),
                self.complaints
            );
        }
    }

    /// Clicks on what a selector finds first.
    ///
    /// # Panics
    /// When there is no such thing, or it is hidden or switched off.
    pub fn click(&mut self, selector: &str) {
        let clicked = self.evaluate(&format!(
            "(() => {{ const it = document.querySelector({selector:?}); \
             if (!it || it.disabled || !it.checkVisibility()) return false; it.click(); return true; }})()"
        ));
        assert_eq!(clicked, true, "{selector} cannot be clicked");
    }

    /// Types into the field that has the focus.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn write(&mut self, text: &str) {
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// Presses a key, such as `Escape` or `Tab`, by its code on Windows.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.ask("Input.dispatchKeyEvent", &event);
        }
    }

    /// Gives the page another size, in CSS pixels, and a colour scheme: `light` or `dark`.
    ///
    /// # Panics
    /// When the browser refuses.
    pub fn show_as(&mut self, width: u32, height: u32, scheme: &str) {
        // As on a telephone, scroll bars take no room.
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// What the console has complained about since this was asked last.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub fn complaints(&mut self) -> Vec<Complaint> {
        // What it has said before it answers this is there, too.
        self.evaluate("0");
        std::mem::take(&mut self.complaints)
    }
}

/// Looks at a condition whenever the page changes; false after some milliseconds.
const WAIT: &str = "(holds, patience) => new Promise((done) => {
    if (holds()) return done(true);
    const end = (held) => { observer.disconnect(); clearInterval(timer); clearTimeout(deadline); done(held); };
    const look = () => holds() && end(true);
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    // What is no part of the document, such as the state of a load.
    const timer = setInterval(look, 50);
    const deadline = setTimeout(() => end(false), patience);
})";

/// What a message complains about, if it does.
fn complaint(message: &Value) -> Option<Complaint> {
    let params = &message["params"];
    let (source, text) = match message["method"].as_str()? {
        "Runtime.exceptionThrown" => ("javascript", params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled"
            if ["error", "warning", "assert"]
                .iter()
                .any(|kind| params["type"] == *kind) =>
        {
            ("javascript", params["args"].to_string())
        }
        "Log.entryAdded"
            if ["error", "warning"]
                .iter()
                .any(|level| params["entry"]["level"] == *level) =>
        {
            let entry = &params["entry"];
            let text = format!("{} {}", entry["text"], entry["url"]);
            (entry["source"].as_str()?, text)
        }
        _ => return None,
    };
    Some(Complaint {
        source: source.to_owned(),
        text,
    })
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its children with it, where it is asked; the process's own drop does not ask.
        let close = json!({ "id": self.last + 1, "method": "Browser.close" });
        let asked = self.requests.write_all(format!("{close}\0").as_bytes());
        let deadline = Instant::now() + DEADLINE;
        while asked.is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.messages.recv_timeout(left).is_err() {
                break;
            }
        }
    }
}
