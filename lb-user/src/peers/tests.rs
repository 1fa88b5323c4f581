//! Connections of peers over pipes: what is told comes, and what is wrong is counted by cause and ends the connection.

use std::sync::Mutex;

use lb_common::addr::{Ipv6Be, PortBe};
use lb_common::flow::Ports;
use lb_common::nat::NatKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::broadcast;

use super::board::Place;
use super::key::Key;
use super::seal::{LONGEST, Opener, Sealer, Side, VERSION, greet};
use super::wire::Message;
use super::*;
use crate::control::Request;
use crate::control::shared::{BATCH, Message as News};
use crate::model::Hidden;
use crate::model::acme::News as AcmeNews;
use crate::model::peers::{FlowState, Peer, SharedFlow, Taken};

const KEY: [u8; 32] = [7; 32];

fn flow(number: u32) -> SharedFlow {
    let address = |text: &str| Ipv6Be::mapped(text.parse().unwrap());
    SharedFlow {
        key: NatKey {
            source: address("192.0.2.1"),
            destination: address("192.0.2.10"),
            ports: Ports {
                source: PortBe::new(number as u16),
                destination: PortBe::new(80),
            },
            protocol: 6,
        },
        backend: (address("10.0.0.1"), PortBe::new(80)),
        age: 3,
        state: FlowState::Known {
            flags: 0,
            sequence: number,
        },
    }
}

/// A node without a data plane: it knows flows, and writes down what it takes.
struct Stage {
    _folder: tempfile::TempDir,
    board: Arc<Board>,
    listener: Arc<Listener>,
    taken: Arc<Mutex<Vec<SharedFlow>>>,
    flows: broadcast::Sender<News>,
    certificates: Certificates,
    told: watch::Sender<Arc<AcmeNews>>,
    heard: Option<mpsc::Receiver<PeerNews>>,
}

impl Stage {
    fn new(knows: Vec<SharedFlow>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, KEY).unwrap();
        let (handle, mut requests, _files) = Handle::new(8);
        let taken = Arc::<Mutex<Vec<SharedFlow>>>::default();
        let takes = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Flows(reply) => reply.send(knows.clone()).unwrap(),
                    Request::Take(flows, reply) => {
                        takes.lock().unwrap().extend(&flows);
                        let taken = flows.len() as u64;
                        reply
                            .send(Taken {
                                taken,
                                ..Taken::default()
                            })
                            .unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        let peer = Peer {
            name: "lb2".into(),
            address: "10.0.0.2:8473".parse().unwrap(),
        };
        let board = Arc::new(Board::new(&[peer], Instant::now()));
        let (told, told_of) = watch::channel(Arc::default());
        let (heard, heard_of) = mpsc::channel(8);
        let certificates = Certificates {
            told: told_of,
            taken: Arc::new(watch::channel(BTreeMap::new()).0),
            heard: heard.clone(),
        };
        let listener = Arc::new(Listener {
            certificates: heard,
            board: Arc::clone(&board),
            own: "10.0.0.1:8473".parse().unwrap(),
            key_file,
            handle,
        });
        Self {
            _folder: folder,
            board,
            listener,
            taken,
            flows: broadcast::channel(4).0,
            certificates,
            told,
            heard: Some(heard_of),
        }
    }

    fn place(&self) -> &Arc<Place> {
        &self.board.peers[0]
    }

    /// A connection that the node hears; `true` in the end.
    fn hears(&self) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (near, far) = duplex(1 << 20);
        let (listener, place) = (Arc::clone(&self.listener), Arc::clone(self.place()));
        (near, tokio::spawn(async move { listener.hear(&place, far).await }))
    }

    /// A connection by which the node tells.
    fn tells(&self) -> DuplexStream {
        let (near, far) = duplex(1 << 20);
        let caller = Caller {
            place: Arc::clone(self.place()),
            own: "10.0.0.1:0".parse().unwrap(),
            key_file: self.listener.key_file.clone(),
            handle: self.listener.handle.clone(),
            flows: self.flows.clone(),
            certificates: self.certificates.clone(),
        };
        tokio::spawn(async move { caller.told(far).await });
        near
    }

    fn refused(&self) -> Vec<(&'static str, u64)> {
        let all = self.board.status(Instant::now()).refused;
        assert_eq!(all.len(), Refused::ALL.len());
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// The other side of a connection, as somebody who has the key.
struct Other {
    stream: DuplexStream,
    sealer: Sealer,
    opener: Opener,
}

impl Other {
    async fn greet(mut stream: DuplexStream, key: [u8; 32], side: Side) -> Self {
        let key = Key::new(Hidden(key.to_vec())).unwrap();
        let (sealer, opener) = greet(&mut stream, &key, side).await.unwrap();
        Self { stream, sealer, opener }
    }

    async fn say(&mut self, message: &Message) {
        let (_, sealed) = self.sealer.seal(&message.encode()).unwrap();
        self.stream.write_all(&sealed).await.unwrap();
    }

    async fn hear(&mut self) -> Message {
        let (_, bytes) = self.opener.read(&mut self.stream).await.unwrap();
        Message::decode(&bytes).unwrap()
    }
}

async fn is_over(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn what_is_told_is_taken_and_said_to_be() {
    let stage = Stage::new(Vec::new());
    assert!(!stage.board.status(Instant::now()).settled, "somebody may come");
    let (stream, hears) = stage.hears();
    let mut other = Other::greet(stream, KEY, Side::Caller).await;
    assert_eq!(other.hear().await, Message::Alive, "it has the key");
    let flows: Vec<_> = (0..BATCH as u32).map(flow).collect();
    for (number, message) in [Message::Alive, Message::Flows(flows.clone()), Message::Whole]
        .iter()
        .enumerate()
    {
        other.say(message).await;
        assert_eq!(other.hear().await, Message::Taken(number as u64));
    }
    assert_eq!(*stage.taken.lock().unwrap(), flows);
    let status = stage.board.status(Instant::now());
    assert!(status.settled && status.peers[0].heard, "{status:?}");
    assert_eq!(status.peers[0].received.taken, BATCH as u64);
    drop(other);
    hears.await.unwrap();
    assert!(!stage.board.status(Instant::now()).peers[0].heard);
    assert_eq!(stage.refused(), [], "it went by itself");
}

#[tokio::test]
async fn a_caller_tells_what_is_known_then_what_is_new() {
    let known: Vec<_> = (0..BATCH as u32 + 1).map(flow).collect();
    let stage = Stage::new(known.clone());
    let mut other = Other::greet(stage.tells(), KEY, Side::Listener).await;
    assert_eq!(other.hear().await, Message::Alive, "it has the key");
    other.say(&Message::Alive).await;
    assert_eq!(other.hear().await, Message::Flows(known[..BATCH].to_vec()));
    assert_eq!(other.hear().await, Message::Flows(known[BATCH..].to_vec()));
    assert_eq!(other.hear().await, Message::Whole);
    let status = |now| stage.board.status(now).peers[0].clone();
    let later = Instant::now() + Duration::from_secs(2);
    assert!(
        status(later).lag >= Duration::from_secs(2),
        "nothing of it has been taken"
    );
    // The first message was number 0.
    other.say(&Message::Taken(2)).await;
    stage
        .flows
        .send(News {
            flows: [flow(9)].into(),
            at: Instant::now(),
        })
        .unwrap();
    let news = loop {
        match other.hear().await {
            Message::Alive => {}
            news => break news,
        }
    };
    assert_eq!(news, Message::Flows(vec![flow(9)]));
    let told = status(Instant::now());
    assert_eq!((told.connected, told.sent, told.syncs), (Ok(()), BATCH as u64 + 2, 1));
}

#[tokio::test]
async fn who_is_too_slow_is_told_everything_again() {
    let stage = Stage::new(vec![flow(1)]);
    let mut other = Other::greet(stage.tells(), KEY, Side::Listener).await;
    other.say(&Message::Alive).await;
    while other.hear().await != Message::Whole {}
    // More than wait: all before the caller has a chance to look.
    for number in 0..9 {
        stage
            .flows
            .send(News {
                flows: [flow(number)].into(),
                at: Instant::now(),
            })
            .unwrap();
    }
    let mut all = Vec::new();
    loop {
        match other.hear().await {
            Message::Flows(flows) => all.extend(flows),
            Message::Whole => break,
            _ => {}
        }
    }
    assert_eq!(all, [flow(1)], "and what waits comes after it");
}

#[tokio::test]
async fn another_key_opens_nothing() {
    let stage = Stage::new(vec![flow(1)]);
    let (stream, hears) = stage.hears();
    let mut other = Other::greet(stream, [8; 32], Side::Caller).await;
    other.say(&Message::Flows(vec![flow(1)])).await;
    hears.await.unwrap();
    assert_eq!(stage.refused(), [("key", 1)]);
    assert!(stage.taken.lock().unwrap().is_empty());
    assert!(
        other.opener.read(&mut other.stream).await.is_err(),
        "nor is the answer for him"
    );

    let mut other = Other::greet(stage.tells(), [8; 32], Side::Listener).await;
    other.say(&Message::Alive).await;
    is_over(&mut other.stream).await;
    let status = stage.board.status(Instant::now());
    assert_eq!(status.peers[0].sent, 0, "he is told nothing");
    let why = status.peers[0].connected.clone().unwrap_err();
    assert!(why.contains("another key"), "{why}");
}

#[tokio::test]
async fn what_was_recorded_is_of_no_use() {
    let stage = Stage::new(Vec::new());
    let (stream, hears) = stage.hears();
    let mut other = Other::greet(stream, KEY, Side::Caller).await;
    let (_, sealed) = other.sealer.seal(&Message::Flows(vec![flow(1)]).encode()).unwrap();
    for _ in 0..2 {
        other.stream.write_all(&sealed).await.unwrap();
    }
    hears.await.unwrap();
    assert_eq!(stage.refused(), [("replayed", 1)]);
    // In another connection the same bytes are sealed with another key.
    let (stream, hears) = stage.hears();
    let mut again = Other::greet(stream, KEY, Side::Caller).await;
    again.stream.write_all(&sealed).await.unwrap();
    hears.await.unwrap();
    assert_eq!(stage.refused(), [("key", 1), ("replayed", 1)]);
    assert_eq!(*stage.taken.lock().unwrap(), [flow(1)]);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let stage = Stage::new(Vec::new());
    let after_greeting = async |bytes: &dyn Fn(&mut Sealer) -> Vec<u8>| {
        let (stream, hears) = stage.hears();
        let mut other = Other::greet(stream, KEY, Side::Caller).await;
        let bytes = bytes(&mut other.sealer);
        other.stream.write_all(&bytes).await.unwrap();
        hears.await.unwrap();
    };
    let sealed = |message: Vec<u8>| move |sealer: &mut Sealer| sealer.seal(&message).unwrap().1;
    after_greeting(&sealed(Vec::new())).await;
    after_greeting(&sealed(vec![1, 2, 3])).await;
    after_greeting(&sealed(Message::Taken(0).encode())).await;
    // The first message is lost.
    after_greeting(&|sealer| {
        sealer.seal(&[3]).unwrap();
        sealer.seal(&[3]).unwrap().1
    })
    .await;
    for length in [0, 15, LONGEST as u32 + 17, u32::MAX] {
        after_greeting(&|_| [&length.to_be_bytes()[..], &[0; 8]].concat()).await;
    }
    assert_eq!(stage.refused(), [("malformed", 8)]);

    for greeting in [
        &b"GET / HTTP/1.1\r\nHost: 10.0.0.1:8473\r\nAccept: */*\r\n\r\n"[..],
        &[0; 38],
    ] {
        let (mut stream, hears) = stage.hears();
        stream.write_all(greeting).await.unwrap();
        is_over(&mut stream).await;
        hears.await.unwrap();
    }
    assert_eq!(stage.refused(), [("version", 2), ("malformed", 8)]);
}

#[tokio::test]
async fn another_version_says_which() {
    let stage = Stage::new(Vec::new());
    let mut stream = stage.tells();
    let mut greeting = [0; 38];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting[4..6], VERSION.to_be_bytes());
    greeting[5] = 9;
    stream.write_all(&greeting).await.unwrap();
    is_over(&mut stream).await;
    let why = stage.board.status(Instant::now()).peers[0]
        .connected
        .clone()
        .unwrap_err();
    assert!(why.contains("version 9"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection() {
    let stage = Stage::new(Vec::new());
    let (mute, hears) = stage.hears();
    hears.await.unwrap();
    drop(mute);
    let (stream, hears) = stage.hears();
    let mut other = Other::greet(stream, KEY, Side::Caller).await;
    other.say(&Message::Alive).await;
    hears.await.unwrap();
    assert_eq!(stage.refused(), [("silent", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_there_is_not_waited_for_long() {
    let stage = Stage::new(Vec::new());
    let settled = |seconds| {
        stage
            .board
            .status(Instant::now() + Duration::from_secs(seconds))
            .settled
    };
    assert!(!settled(4) && settled(5));
    // One that is there has more to tell.
    let (stream, _hears) = stage.hears();
    let mut other = Other::greet(stream, KEY, Side::Caller).await;
    other.say(&Message::Flows(vec![flow(1)])).await;
    other.hear().await;
    other.hear().await;
    assert!(!settled(59) && settled(60));
    other.say(&Message::Whole).await;
    other.hear().await;
    assert!(settled(0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_told_more_than_it_can_write_down() {
    let known: Vec<_> = (0..20 * BATCH as u32).map(flow).collect();
    let stage = Stage::new(known.clone());
    let mut other = Other::greet(stage.tells(), KEY, Side::Listener).await;
    other.say(&Message::Alive).await;
    let begun = Instant::now();
    while other.hear().await != Message::Whole {}
    // Time passes here only where somebody waits for it.
    let (least, took) = (Duration::from_secs(1) * known.len() as u32 / 100_000, begun.elapsed());
    assert!(took >= least && took < 2 * least, "{took:?}");
}

fn piece(text: &str) -> Arc<Hidden<Vec<u8>>> {
    Arc::new(Hidden(text.as_bytes().to_vec()))
}

#[tokio::test]
async fn what_is_told_of_certificates_is_told_once_and_known_to_be_taken() {
    let stage = Stage::new(vec![]);
    let taken = || stage.certificates.taken.borrow().get("lb2").copied();
    stage.told.send_replace(Arc::new(AcmeNews {
        number: 4,
        records: vec![piece("a"), piece("b")],
    }));
    let mut other = Other::greet(stage.tells(), KEY, Side::Listener).await;
    assert_eq!(other.hear().await, Message::Alive, "it has the key");
    other.say(&Message::Alive).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match other.hear().await {
            Message::Certificate(bytes) => heard.push(String::from_utf8(bytes.0.clone()).unwrap()),
            Message::Alive | Message::Whole => {}
            message => panic!("{message:?}"),
        }
    }
    assert_eq!((heard, taken()), (vec!["a".to_owned(), "b".to_owned()], None));
    // All that was said before the number of the last, which nobody here has counted.
    other.say(&Message::Taken(u64::from(u32::MAX))).await;
    let mut known = stage.certificates.taken.subscribe();
    known.wait_for(|known| known.get("lb2") == Some(&4)).await.unwrap();
    stage.told.send_replace(Arc::new(AcmeNews {
        number: 5,
        records: vec![piece("a"), piece("c")],
    }));
    loop {
        match other.hear().await {
            Message::Certificate(bytes) => break assert_eq!(bytes.0, b"c"),
            Message::Alive => {}
            message => panic!("{message:?}"),
        }
    }
    drop(other);
    known.wait_for(std::collections::BTreeMap::is_empty).await.unwrap();
}

#[tokio::test]
async fn what_a_peer_tells_of_certificates_is_taken_in_before_it_is_said_to_be() {
    let mut stage = Stage::new(vec![]);
    let mut news = stage.heard.take().unwrap();
    let (near, _hears) = stage.hears();
    let mut other = Other::greet(near, KEY, Side::Caller).await;
    other.say(&Message::Certificate(Hidden(b"x".to_vec()))).await;
    assert_eq!(other.hear().await, Message::Alive);
    let PeerNews { peer, bytes, reply } = news.recv().await.unwrap();
    assert_eq!((&*peer, &bytes.0[..]), ("lb2", &b"x"[..]));
    reply.send(()).unwrap();
    assert_eq!(other.hear().await, Message::Taken(0));
}
