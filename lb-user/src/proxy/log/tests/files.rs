use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;

use super::*;
use crate::model::proxy::{AccessLog, LogFormat};
use crate::model::traffic::ServiceTraffic;
use crate::proxy::log::file::File;
use crate::proxy::log::writer::{Wishes, run};

fn access_log(path: &Path, max_size: Option<u64>, keep: u16) -> Arc<AccessLog> {
    Arc::new(AccessLog {
        format: LogFormat::Common,
        path: path.to_owned(),
        max_size,
        keep,
    })
}

fn finish(logs: Logs) {
    assert!(logs.finish(Duration::from_secs(60)));
}

fn number(target: &str) -> Entry<'_> {
    Entry {
        request: Some(Request {
            method: b"GET",
            target: target.as_bytes(),
            version: Version::H1_1,
        }),
        ..full()
    }
}

/// The targets in a file.
fn targets(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let target = |line: &str| line.split(' ').nth(6).unwrap().to_owned();
    text.lines().map(target).collect()
}

#[test]
fn several_threads_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::write(&path, "an older line\n").unwrap();
    let logs = Logs::start().unwrap();
    let traffic = Arc::new(ServiceTraffic::default());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let mut sink = logs.sink(access_log(&path, None, 0), Arc::clone(&traffic));
            scope.spawn(move || {
                for i in 0..2000 {
                    sink.write(&number(&format!("/{thread}/{i}")));
                    if i % 500 == 0 {
                        sink.flush();
                    }
                }
            });
        }
    });
    finish(logs);
    assert_eq!(traffic.log_lost.load(Relaxed), 0);
    let text = fs::read_to_string(&path).unwrap();
    let text = text.strip_prefix("an older line\n").unwrap();
    for thread in 0..3 {
        let of_thread = |line: &&str| line.contains(&format!("GET /{thread}/"));
        let mut lines = text.lines().filter(of_thread);
        assert!((0..2000).all(|i| lines.next().unwrap().contains(&format!("/{thread}/{i} HTTP"))));
    }
    assert_eq!(text.lines().count(), 6000);
}

#[test]
fn a_file_is_of_its_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    assert_eq!(File::new(path.clone()).append(b"x\n", None, 0), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn by_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut file = File::new(path.clone());
    for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n"] {
        assert_eq!(file.append(line.as_bytes(), Some(10), 2), 1);
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(
        ["web.log", "web.log.1", "web.log.2"].map(read),
        ["gggg\n", "eeee\nffff\n", "cccc\ndddd\n"]
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "the oldest is gone");
    assert_eq!(file.append(b"a line that is too long\n", Some(10), 2), 1);
    assert_eq!(read("web.log"), "a line that is too long\n", "none is cut");
    assert_eq!(file.append(b"hhhh\n", Some(10), 0), 1);
    assert_eq!((read("web.log"), read("web.log.1")), ("hhhh\n".into(), "gggg\n".into()));
    // One that begins with a file of an earlier run.
    assert_eq!(File::new(path).append(b"iiiiii\n", Some(10), 1), 1);
    assert_eq!(
        (read("web.log"), read("web.log.1")),
        ("iiiiii\n".into(), "hhhh\n".into())
    );
}

#[test]
fn a_rotation_that_fails_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    fs::create_dir_all(folder.path().join("web.log.1/not-empty")).unwrap();
    let mut file = File::new(path.clone());
    for line in ["aaaa\n", "bbbb\n", "cccc\n"] {
        assert_eq!(file.append(line.as_bytes(), Some(5), 1), 1);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "aaaa\nbbbb\ncccc\n");
    fs::remove_dir_all(folder.path().join("web.log.1")).unwrap();
    assert_eq!(file.append(b"dddd\n", Some(5), 1), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "dddd\n");
}

#[test]
fn reopened_after_a_rename() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("web.log"), folder.path().join("old.log"));
    let (to, from) = sync_channel(8);
    let wishes = Wishes::default();
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = Sink::new(to, access_log(&path, None, 0), Arc::clone(&traffic));
    let mut file = File::new(path.clone());
    file.append(b"1\n", None, 0);
    fs::rename(&path, &old).unwrap();
    file.append(b"2\n", None, 0);
    assert!(!path.exists(), "nobody has said so");
    file.reopen();
    assert_eq!(fs::read_to_string(&path).unwrap(), "", "it is there at once");
    file.append(b"3\n", None, 0);
    assert_eq!(fs::read_to_string(&old).unwrap(), "1\n2\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
    sink.write(&number("/4"));
    drop(sink);
    run(&from, &wishes);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn half_a_line_gets_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut file = File::new(path.clone());
    assert_eq!(file.append(b"1\nhal", None, 0), 1, "as where the disk is full");
    assert_eq!(file.append(b"2\n", None, 0), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "1\nhal\n2\n");
}

#[test]
fn what_is_not_used_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let mut file = File::new(path.clone());
    file.append(b"1\n", None, 0);
    assert!(file.reopen());
    fs::remove_file(&path).unwrap();
    assert!(!file.reopen(), "no line has come since");
    assert!(!path.exists());
}

#[test]
fn a_wish_reaches_the_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("web.log"), folder.path().join("old.log"));
    let logs = Logs::start().unwrap();
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = logs.sink(access_log(&path, None, 0), Arc::clone(&traffic));
    let appears = |what: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::yield_now();
        }
    };
    sink.write(&number("/1"));
    sink.flush();
    appears(&|| fs::read(&path).is_ok_and(|bytes| bytes.ends_with(b"\n")));
    fs::rename(&path, &old).unwrap();
    logs.reopen();
    appears(&|| path.exists());
    sink.write(&number("/2"));
    drop(sink);
    finish(logs);
    assert_eq!(
        (targets(&old), targets(&path)),
        (vec!["/1".to_owned()], vec!["/2".to_owned()])
    );
}

#[test]
fn what_finds_no_room_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    let (to, from) = sync_channel(2);
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = Sink::new(to, access_log(&path, None, 0), Arc::clone(&traffic));
    for i in 0..15 {
        sink.write(&number(&format!("/{i}")));
        if i % 3 == 2 {
            sink.flush();
        }
    }
    assert_eq!(traffic.log_lost.load(Relaxed), 9, "two batches of three wait");
    drop(sink);
    run(&from, &Wishes::default());
    assert_eq!(targets(&path), ["/0", "/1", "/2", "/3", "/4", "/5"]);
}

#[test]
fn a_batch_is_handed_on_when_it_is_full() {
    let (to, from) = sync_channel(2);
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = Sink::new(to, access_log(Path::new("/nowhere"), None, 0), traffic);
    let target = "/".repeat(8 << 10);
    for _ in 0..9 {
        sink.write(&number(&target));
    }
    assert_eq!(from.try_iter().count(), 1);
}

#[test]
fn after_the_end_lines_are_lost() {
    let logs = Logs::start().unwrap();
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = logs.sink(access_log(Path::new("/nowhere"), None, 0), Arc::clone(&traffic));
    finish(logs);
    sink.write(&full());
    drop(sink);
    assert_eq!(traffic.log_lost.load(Relaxed), 1);
}

#[test]
fn a_missing_folder_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/web.log");
    let mut file = File::new(path.clone());
    assert_eq!(file.append(b"1\n2\n", None, 0), 0);
    file.reopen();
    fs::create_dir(folder.path().join("logs")).unwrap();
    assert_eq!(file.append(b"3\n", None, 0), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
}

#[test]
fn a_full_disk_is_tried_again() {
    // Linux' own device of which no byte is ever free.
    let mut file = File::new("/dev/full".into());
    assert_eq!(file.append(b"1\n2\n", Some(1), 1), 0);
    assert_eq!(file.append(b"3\n", Some(1), 1), 0);
    let (to, from) = sync_channel(8);
    let traffic = Arc::new(ServiceTraffic::default());
    let mut sink = Sink::new(to, access_log(Path::new("/dev/full"), None, 0), Arc::clone(&traffic));
    for _ in 0..3 {
        sink.write(&full());
    }
    drop(sink);
    run(&from, &Wishes::default());
    assert_eq!(traffic.log_lost.load(Relaxed), 3);
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.log");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(File::new(path).append(b"1\n", None, 0), 0);
}
