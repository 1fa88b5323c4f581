use std::ffi::OsString;

use tokio::sync::mpsc;

use super::*;
use crate::control::Request;

/// A manager that listens, and the daemon's side of it.
struct Listening {
    ear: UnixDatagram,
    reads: watch::Sender<Reads>,
    requests: mpsc::Receiver<Request>,
    manager: Arc<Manager>,
    _folder: tempfile::TempDir,
}

impl Listening {
    fn start(watchdog: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let manager = Arc::new(Manager::new(path.as_os_str(), watchdog).unwrap());
        let (node, requests, _) = Handle::new(8);
        let (reads, done) = watch::channel(Reads::default());
        tokio::spawn(run(Arc::clone(&manager), node, done));
        Self {
            ear,
            reads,
            requests,
            manager,
            _folder: folder,
        }
    }

    /// Answers the next question, and returns what the manager had heard until it came.
    async fn answer(&mut self, pulse: &Pulse) -> Vec<String> {
        let Some(Request::Pulse(reply)) = self.requests.recv().await else {
            panic!("another question");
        };
        let heard = self.heard();
        reply.send(pulse.clone()).unwrap();
        heard
    }

    fn heard(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        std::iter::from_fn(|| {
            let length = self.ear.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        })
        .collect()
    }
}

fn good() -> Pulse {
    Pulse {
        services: 1,
        backends: 2,
        settled: true,
        ..Pulse::default()
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_ready_when_it_is_and_lives_as_long_as_the_reconciler_answers() {
    let mut listening = Listening::start(Some(Duration::from_secs(30)));
    let unsettled = Pulse {
        settled: false,
        ..good()
    };
    assert!(listening.answer(&unsettled).await.is_empty());
    let heard = listening.answer(&unsettled).await;
    assert_eq!(
        heard,
        ["STATUS=1 service, 2 backends; not all backends have been probed yet"]
    );
    // Nothing new is not said again.
    assert!(listening.answer(&good()).await.is_empty());
    let before = Instant::now();
    let heard = listening.answer(&good()).await;
    assert_eq!(heard, ["READY=1\nWATCHDOG=1\nSTATUS=1 service, 2 backends"]);
    assert_eq!(before.elapsed(), Duration::from_secs(10), "a third of the period");
    assert_eq!(listening.answer(&good()).await, ["WATCHDOG=1"]);
    // The reconciler stands still: the question stays open, and nothing is heard any more.
    let Some(Request::Pulse(_open)) = listening.requests.recv().await else {
        panic!("another question");
    };
    assert_eq!(listening.heard(), ["WATCHDOG=1"]);
    sleep(Duration::from_secs(3600)).await;
    assert!(listening.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_over_when_the_maps_are_written() {
    let mut listening = Listening::start(None);
    listening.manager.reloading();
    listening.answer(&good()).await;
    let pulse = listening.requests.recv().await;
    assert_eq!(
        listening.heard(),
        ["READY=1\nSTATUS=1 service, 2 backends"],
        "what is read during the start is a part of it"
    );
    // A question is under way when a read begins: its answer is of before.
    let Some(Request::Pulse(reply)) = pulse else {
        panic!("another question");
    };
    listening.reads.send_modify(|reads| reads.begun += 1);
    listening.manager.reloading();
    reply.send(good()).unwrap();
    sleep(Duration::from_secs(100)).await;
    let [reloading] = &listening.heard()[..] else {
        panic!("it is not over yet")
    };
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(usec.parse::<u64>().unwrap() > 0);
    listening.reads.send_modify(|reads| reads.ended += 1);
    let refused = Pulse {
        refused: true,
        ..good()
    };
    assert!(listening.answer(&refused).await.is_empty());
    let heard = listening.answer(&refused).await;
    assert_eq!(
        heard,
        ["READY=1\nSTATUS=1 service, 2 backends; the file was refused, an older one runs"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_never_right_serves_what_it_can() {
    let mut listening = Listening::start(None);
    let faulty = Pulse {
        down: 1,
        unattached: vec!["eth1".to_owned()],
        fault: Some("map RING\nis full".to_owned()),
        ..good()
    };
    let started = Instant::now();
    let mut heard = Vec::new();
    while !heard.iter().any(|message: &String| message.starts_with("READY=1")) {
        heard.extend(listening.answer(&faulty).await);
    }
    assert!(started.elapsed() >= PATIENCE);
    assert_eq!(
        heard,
        [
            "STATUS=1 service, 2 backends, 1 down; not attached to eth1; the kernel is not as the file wants it: map RING is full",
            "READY=1"
        ]
    );
}

#[test]
fn abstract_addresses_are_addresses_too() {
    let name = format!("fulcrum-test-{}", std::process::id());
    let ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let manager = Manager::new(&OsString::from(format!("@{name}")), None).unwrap();
    manager.stopping();
    let mut bytes = [0; 100];
    let length = ear.recv(&mut bytes).unwrap();
    assert!(bytes[..length].starts_with(b"STOPPING=1\nSTATUS="));
    assert!(Manager::new(&OsString::from("/a".repeat(100)), None).is_err());
    // Nobody listens any more: no failure.
    drop(ear);
    manager.stopping();
}
