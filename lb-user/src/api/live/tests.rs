use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant as Moment;

use http_body_util::BodyExt as _;
use lb_common::stats::Counters;
use serde_json::json;

use super::history::STEP;
use super::*;
use crate::api::tests::status;
use crate::control::Request;
use crate::model::tally::ServiceTally;

const READS: Rights = Rights { changes: false };

/// The name and the data of an event.
fn parsed(event: &Bytes) -> (String, serde_json::Value) {
    let text = std::str::from_utf8(event).unwrap();
    let (name, data) = text.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
    let data = data.strip_prefix("data: ").unwrap();
    (
        name.strip_prefix("event: ").unwrap().to_owned(),
        serde_json::from_str(data).unwrap(),
    )
}

/// Of a service of each kind, with so many packets.
fn tally(packets: u64) -> Tally {
    let web = ServiceTally::Balanced(Counters {
        packets,
        ..Counters::default()
    });
    let shop = ServiceTally::Proxied { requests: 10, bytes: 0 };
    Tally {
        services: [("web".into(), web), ("shop".into(), shop)].into(),
        drops: vec![(DropReason::NoBackend, 5), (DropReason::Fragment, 0)],
    }
}

async fn next(stream: &mut Stream) -> Option<(String, serde_json::Value)> {
    let frame = stream.frame().await?.unwrap().into_data().unwrap();
    Some(parsed(&frame))
}

#[test]
fn states_leave_the_processor_to_others_and_come_all_the_same() {
    let began = Instant::now();
    for (took, later) in [
        (0, 1_000),
        (10, 1_000),
        (100, 2_100),
        (250, 5_250),
        (1_000, 6_000),
        (20_000, 25_000),
    ] {
        let [took, later] = [took, later].map(|milliseconds| began + Duration::from_millis(milliseconds));
        assert_eq!(due(began, took), later);
    }
}

/// A node that makes states, in time that goes by as soon as everybody waits.
struct Source {
    live: Live,
    /// How often it was asked for its state.
    asked: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<()>,
}

fn source() -> Source {
    let (node, mut questions, _) = Handle::new(1);
    let (live, source) = live("lb1".to_owned());
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let running = tokio::spawn(async move {
        let answers = async {
            let mut tallied = 0;
            while let Some(question) = questions.recv().await {
                // Whoever asks may have gone.
                match question {
                    Request::Status(reply) => {
                        let mut status = status();
                        status.services[0].backends[0].counters.packets = (count.fetch_add(1, Relaxed) + 1) * 1000;
                        let _ = reply.send(status);
                    }
                    Request::Tally(reply) => {
                        tallied += 1;
                        let _ = reply.send(Some(tally(tallied * 1000)));
                    }
                    _ => return,
                }
            }
        };
        tokio::select! {
            () = source.run(node) => {}
            () = answers => {}
        }
    });
    Source { live, asked, running }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_what_was_and_goes_on_with_what_is() {
    let Source { live, .. } = source();
    tokio::time::sleep(STEP * 3).await;
    let mut stream = live
        .stream(Rights { changes: true }, true, &Connection::default())
        .unwrap();
    let (name, hello) = next(&mut stream).await.unwrap();
    assert_eq!(
        (name.as_str(), &hello["node"], &hello["changes"]),
        ("hello", &"lb1".into(), &true.into())
    );
    assert!(
        hello["drops"]["no_backend"].as_str().unwrap().contains("backends"),
        "{hello}"
    );
    let (name, history) = next(&mut stream).await.unwrap();
    assert_eq!(name, "history");
    assert_eq!(history["services"]["web"]["packets"][0], 100.0, "{history}");
    let (mut times, mut packets) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (name, state) = next(&mut stream).await.unwrap();
        assert_eq!((name.as_str(), &state["node"]), ("status", &"lb1".into()));
        times.push(Instant::now());
        packets.push(state["services"][0]["backends"][0]["packets"].as_u64().unwrap());
    }
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= INTERVAL), "{times:?}");
    assert!(packets.windows(2).all(|pair| pair[0] < pair[1]), "{packets:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_is_told_to_all_with_the_same_bytes() {
    let Source { live, .. } = source();
    let told = async || {
        let mut stream = live.stream(READS, false, &Connection::default()).unwrap();
        next(&mut stream).await.unwrap();
        stream.frame().await.unwrap().unwrap().into_data().unwrap()
    };
    // Between two points.
    tokio::time::sleep(STEP * 5 / 2).await;
    let (one, other) = (told().await, told().await);
    assert_eq!(one.as_ptr(), other.as_ptr());
    tokio::time::sleep(STEP).await;
    assert_ne!(told().await, one, "it has grown");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_nobody() {
    let Source { live, asked, .. } = source();
    let asked = || asked.load(Relaxed);
    tokio::time::sleep(STEP * 10).await;
    assert_eq!(asked(), 0);
    let stream = live.stream(READS, false, &Connection::default()).unwrap();
    tokio::time::sleep(STEP).await;
    let while_looked_at = asked();
    assert!((10..=11).contains(&while_looked_at), "{while_looked_at}");
    drop(stream);
    tokio::time::sleep(STEP * 10).await;
    assert!(asked() <= while_looked_at + 1, "{}", asked());
    let shown = serde_json::to_value(live.shared.past().history.shown()).unwrap();
    let points = shown["services"]["web"]["packets"].as_array().unwrap();
    assert!((19..=20).contains(&points.len()), "the history goes on: {shown}");
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_gets_the_newest_and_who_does_not_read_is_left() {
    let Source { live, .. } = source();
    let mut slow = live.stream(READS, false, &Connection::default()).unwrap();
    next(&mut slow).await.unwrap();
    next(&mut slow).await.unwrap();
    let (_, first) = next(&mut slow).await.unwrap();
    tokio::time::sleep(STALLED - INTERVAL * 2).await;
    let packets = |state: &serde_json::Value| state["services"][0]["backends"][0]["packets"].as_u64().unwrap();
    // One had been made ready; the next is of now, and all between are lost.
    let (_, ready) = next(&mut slow).await.unwrap();
    let (_, newest) = next(&mut slow).await.unwrap();
    assert!(packets(&ready) - packets(&first) <= 2000 && packets(&newest) - packets(&ready) > 20_000);
    tokio::time::sleep(STALLED * 2).await;
    let mut left = 0;
    while next(&mut slow).await.is_some() {
        left += 1;
    }
    assert!(left <= 1);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_end_with_the_source() {
    let Source { live, running, .. } = source();
    let mut streams: Vec<Stream> = (0..MAX_STREAMS)
        .map(|_| live.stream(READS, false, &Connection::default()).unwrap())
        .collect();
    for _ in MAX_STREAMS..1000 {
        assert_eq!(
            live.stream(READS, false, &Connection::default()).unwrap_err().status,
            503
        );
    }
    streams.pop();
    streams.push(live.stream(READS, false, &Connection::default()).unwrap());
    running.abort();
    for mut stream in streams {
        while next(&mut stream).await.is_some() {}
    }
}

#[test]
fn a_history_is_of_rates_that_are_known() {
    let mut history = History::default();
    let (now, at) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), Moment::now());
    let mut step = 0;
    let mut take = |history: &mut History, tally: &Tally, steps: u32| {
        step += steps;
        history.take(tally, now + STEP * step, at + STEP * step);
        serde_json::to_value(history.shown()).unwrap()
    };
    let shown = take(&mut history, &tally(1000), 0);
    assert_eq!((&shown["services"], &shown["drops"]), (&json!({}), &json!({})));
    let mut busy = tally(2000);
    busy.services.insert(
        "shop".into(),
        ServiceTally::Proxied {
            requests: 35,
            bytes: 100,
        },
    );
    take(&mut history, &busy, 1);
    // Begun anew, and after a sleep.
    take(&mut history, &tally(10), 1);
    let mut dropping = tally(310);
    dropping.drops[1].1 = 3;
    let shown = take(&mut history, &dropping, 3);
    let none = serde_json::Value::Null;
    assert_eq!(
        shown["services"]["web"]["packets"],
        json!([100.0, none, none, none, 10.0])
    );
    let shop = &shown["services"]["shop"];
    assert_eq!((&shop["requests"][0], &shop["bytes"][0]), (&json!(2.5), &json!(10.0)));
    assert_eq!(shown["drops"], json!({ "fragment": [0.0, 0.0, 0.0, 0.0, 0.1] }));
    assert_eq!(shown["end"], 1_000_050);
    // What leaves the file is forgotten, and an hour is all that there is.
    dropping.services.retain(|name, _| &**name == "web");
    for _ in 0..400 {
        take(&mut history, &dropping, 1);
    }
    let shown = take(&mut history, &dropping, 1);
    assert_eq!(shown["services"]["web"]["packets"].as_array().unwrap().len(), 360);
    assert!(
        shown["services"]["shop"].is_null() && shown["drops"]["fragment"].is_null(),
        "{}",
        shown["drops"]
    );
}
