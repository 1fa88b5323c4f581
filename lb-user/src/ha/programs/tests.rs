//! Programs that are told, and scripts that are watched. They are shells that leave lines in a file.

use std::fs;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::model::vrrp::VrrpVersion;

fn shell(line: String) -> Program {
    Program {
        path: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), line],
    }
}

fn router(notify: impl IntoIterator<Item = (Occasion, Program)>) -> Arc<VirtualRouter> {
    Arc::new(VirtualRouter {
        name: "VI_1".into(),
        interface: "eth0".into(),
        id: NonZeroU8::MIN,
        version: VrrpVersion::V3,
        priority: NonZeroU8::MIN,
        interval: Duration::from_secs(1),
        peers: Vec::new(),
        source: None,
        addresses: vec![[192, 0, 2, 10].into(), [192, 0, 2, 11].into()],
        preempt: true,
        preempt_delay: Duration::ZERO,
        start_delay: Duration::ZERO,
        sync_group: None,
        notify: notify
            .into_iter()
            .map(|(occasion, program)| (occasion, Arc::new(program)))
            .collect(),
        tracks: Vec::new(),
    })
}

fn change(occasion: Occasion, router: &Arc<VirtualRouter>) -> Option<Change> {
    Some(Change {
        occasion,
        priority: 110,
        router: Arc::clone(router),
    })
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_program_is_told_what_has_changed() {
    let folder = Folder::new();
    let out = folder.path("out").display().to_string();
    let says = format!(
        "echo $0 $* >> {out}; echo $FULCRUM_VRRP_NAME $FULCRUM_VRRP_STATE $FULCRUM_VRRP_PRIORITY \
         $FULCRUM_VRRP_INTERFACE $FULCRUM_VRRP_ADDRESSES >> {out}"
    );
    let router = router([(Occasion::Master, shell(says))]);
    let (changes, told) = watch::channel(change(Occasion::Master, &router));
    let (fault, faults) = watch::channel(Some("an older one".to_owned()));
    drop(changes);
    tell(Programs::default(), told, fault).await;
    // A shell's first argument is its $0.
    let expected = ["INSTANCE VI_1 MASTER 110", "VI_1 MASTER 110 eth0 192.0.2.10 192.0.2.11"];
    assert_eq!(folder.lines("out"), expected);
    assert_eq!(*faults.borrow(), None);
}

/// It is run again until it succeeds, and what it says is known meanwhile.
#[tokio::test]
async fn one_that_fails_is_run_again() {
    let folder = Folder::new();
    let out = folder.path("out").display().to_string();
    let third = format!("echo again >> {out}; test $(wc -l < {out}) = 2 || {{ echo not yet >&2; exit 3; }}");
    let router = router([(Occasion::Backup, shell(third))]);
    let (changes, told) = watch::channel(change(Occasion::Backup, &router));
    let (fault, mut faults) = watch::channel(None);
    let teller = tokio::spawn(tell(Programs::default(), told, fault));
    let said = faults.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(said.ends_with("not yet (exit code 3)"), "{said}");
    faults.wait_for(Option::is_none).await.unwrap();
    assert_eq!(folder.lines("out").len(), 2);
    drop(changes);
    teller.await.unwrap();
}

/// A newer change ends the program of an older one.
#[tokio::test]
async fn nobody_waits_for_the_past() {
    let folder = Folder::new();
    let (begun, out) = (folder.path("begun"), folder.path("out").display().to_string());
    let router = router([
        (
            Occasion::Backup,
            shell(format!("echo > {}; sleep 1000", begun.display())),
        ),
        (Occasion::Master, shell(format!("echo master >> {out}"))),
    ]);
    let (changes, told) = watch::channel(change(Occasion::Backup, &router));
    let (fault, _faults) = watch::channel(None);
    let teller = tokio::spawn(tell(Programs::default(), told, fault));
    while !begun.exists() {
        tokio::task::yield_now().await;
    }
    changes.send_replace(change(Occasion::Master, &router));
    drop(changes);
    teller.await.unwrap();
    assert_eq!(folder.lines("out"), ["master"]);
}

/// A script that is run again and again, and what is said of it.
fn watched(line: &str, interval: Duration, timeout: Duration) -> mpsc::Receiver<((), bool)> {
    let script = Script {
        program: shell(line.to_owned()),
        interval,
        timeout,
        rise: NonZeroU32::new(2).unwrap(),
        fall: NonZeroU32::new(3).unwrap(),
    };
    let (said, news) = mpsc::channel(1);
    tokio::spawn(watch(Programs::default(), script, (), said));
    news
}

/// Longer than anything takes here.
const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_first_end_of_a_script_counts_at_once_and_one_that_takes_too_long_has_failed() {
    assert_eq!(watched("exit 0", NEVER, NEVER).recv().await, Some(((), true)));
    assert_eq!(watched("exit 1", NEVER, NEVER).recv().await, Some(((), false)));
    let slow = watched("sleep 1000", NEVER, Duration::from_millis(20)).recv().await;
    assert_eq!(slow, Some(((), false)));
}

#[tokio::test]
async fn a_script_is_up_and_down_by_its_exit_codes() {
    let folder = Folder::new();
    let (state, out) = (folder.path("state"), folder.path("out"));
    fs::write(&state, "0").unwrap();
    // Whoever has left a line knows its exit code: what is written later counts for those behind.
    let line = format!("code=$(cat {}); echo >> {}; exit $code", state.display(), out.display());
    let mut news = watched(&line, Duration::from_millis(20), NEVER);
    let runs = || lines(&out).len();
    assert_eq!(news.recv().await, Some(((), true)));
    let before = runs();
    fs::write(&state, "1").unwrap();
    assert_eq!(news.recv().await, Some(((), false)));
    assert!(runs() >= before + 3);
    let before = runs();
    fs::write(&state, "0").unwrap();
    assert_eq!(news.recv().await, Some(((), true)));
    assert!(runs() >= before + 2);
}
