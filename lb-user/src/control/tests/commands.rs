//! Commands to a reconciler that runs: when they are answered, and what follows from them.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::*;
use crate::model::AdminState;
use crate::model::acme::Offered;
use crate::model::status as model;

/// Everything around a running reconciler. Nothing is kept until a test says so.
pub(super) struct Running {
    pub(super) handle: Handle,
    files_asked: mpsc::Receiver<FileRequest>,
    pub(super) files: watch::Sender<Arc<Config>>,
    pub(super) saved: watch::Sender<Saved>,
    pub(super) revisions: watch::Receiver<Revision>,
    in_force: watch::Receiver<Arc<Config>>,
    verdicts: mpsc::Sender<Verdict>,
    _others: (watch::Sender<Reloads>, mpsc::Sender<(IpAddr, NextHopState)>),
}

impl Running {
    pub(super) fn start(reconciler: Reconciler<Fake, Node>, loaded: Overrides) -> Self {
        let denies = reconciler.denies.clone();
        Self::after(reconciler, loaded, denies)
    }

    /// Where this was on the disk at the start.
    pub(super) fn after(mut reconciler: Reconciler<Fake, Node>, loaded: Overrides, denies: Denies) -> Self {
        reconciler.facts.restore(loaded.clone());
        let (files, config) = watch::channel(Arc::clone(&reconciler.facts.file));
        let (reload_results, results) = watch::channel(Reloads::none(SystemTime::UNIX_EPOCH));
        let (verdicts, verdict_queue) = mpsc::channel(8);
        let (routes, next_hops) = mpsc::channel(8);
        let (handle, requests, files_asked) = Handle::new(8);
        let (saved, savings) = watch::channel(Saved::default());
        let (in_force, in_force_changes) = watch::channel(Arc::clone(&reconciler.facts.config));
        let (overrides, revisions) = watch::channel(Revision {
            number: 0,
            overrides: loaded,
            denies,
        });
        let inputs = Inputs {
            config,
            reloads: results,
            verdicts: verdict_queue,
            next_hops,
            interfaces: watch::channel(Vec::new()).1,
            requests,
            saved: savings,
            offered: watch::channel(Offered::default()).1,
        };
        let outputs = Outputs {
            paths: watch::channel(Paths::new()).0,
            upstreams: watch::channel(Arc::new(reconciler.facts.upstreams())).0,
            in_force,
            commanded: overrides,
            steered: watch::Sender::new(0),
        };
        tokio::spawn(reconciler.run(inputs, outputs));
        Self {
            handle,
            files_asked,
            files,
            saved,
            revisions,
            in_force: in_force_changes,
            verdicts,
            _others: (reload_results, routes),
        }
    }

    async fn well() -> Self {
        let mut reconciler = attached(Fake::default(), Node::default(), well(ONE), SEED);
        assert!(reconciler.converge().await);
        Self::start(reconciler, Overrides::default())
    }

    /// Asks, and keeps what is to be kept.
    async fn command(&mut self, backend: &str, change: Override) -> Result<model::Overridden, OverrideRefused> {
        let handle = self.handle.clone();
        let backend = backend.to_owned();
        let command = async move { handle.command("web".into(), backend, change).await };
        self.kept(command).await.unwrap()
    }

    /// Keeps what is to be kept until this is answered.
    pub(super) async fn kept<T: Send + 'static>(&mut self, asked: impl Future<Output = T> + Send + 'static) -> T {
        let answer = tokio::spawn(asked);
        while !answer.is_finished() {
            let number = self.revisions.borrow_and_update().number;
            self.saved.send_replace(Saved { number, fault: None });
            tokio::task::yield_now().await;
        }
        answer.await.unwrap()
    }

    async fn slots(&self) -> Vec<u32> {
        let status = self.handle.status().await.unwrap();
        status.services[0].backends.iter().map(|b| b.slots).collect()
    }
}

const DRAIN: Override = Override {
    state: Some(AdminState::Drain),
    weight: None,
};

const fn weight(weight: u16) -> Override {
    Override {
        state: None,
        weight: Some(weight),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_answered_when_it_is_in_the_maps_and_kept() {
    let mut running = Running::well().await;
    let handle = running.handle.clone();
    let answer = tokio::spawn(async move { handle.command("web".into(), "web1".into(), DRAIN).await });
    running.revisions.changed().await.unwrap();
    assert_eq!(running.revisions.borrow().number, 1);
    assert_eq!(running.slots().await, [0, 128, 128], "in the maps");
    assert!(!answer.is_finished(), "but not kept yet");
    let fault = Some("no space".to_owned());
    running.saved.send_replace(Saved { number: 1, fault });
    let done = timeout(Duration::from_secs(10), answer).await.unwrap().unwrap();
    let done = done.unwrap().unwrap();
    assert_eq!((done.backend.state, done.backend.slots), (AdminState::Drain, 0));
    assert_eq!(done.backend.state_in_file, Some(AdminState::Active));
    assert_eq!(
        done.overrides_fault.as_deref(),
        Some("no space"),
        "which is no reason to keep silent"
    );
    let status = running.handle.status().await.unwrap();
    assert_eq!(status.overrides_fault.as_deref(), Some("no space"));
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_states_come_and_go() {
    let mut running = Running::well().await;
    let done = running.command("web1", weight(2)).await.unwrap();
    assert_eq!((done.backend.weight, done.backend.weight_in_file), (2, Some(1)));
    assert_eq!(running.slots().await, [128, 64, 64]);
    let done = running.command("10.0.0.1:80", weight(1)).await.unwrap();
    assert_eq!((done.backend.weight, done.backend.weight_in_file), (1, None));
    assert_eq!(running.slots().await.iter().sum::<u32>(), 256);
    assert_eq!(running.revisions.borrow().overrides, Overrides::default());
    let number = running.revisions.borrow().number;
    running.command("web1", weight(1)).await.unwrap();
    assert_eq!(running.revisions.borrow().number, number, "nothing to write");
    let unknown = running.command("web9", DRAIN).await.unwrap_err();
    assert!(unknown.to_string().contains("did you mean `web1`?"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_is_not_probed_and_starts_from_scratch() {
    let mut running = Running::well().await;
    let set = |state| Override {
        state: Some(state),
        weight: None,
    };
    let probed = |running: &Running| merge::probed(&running.in_force.borrow()).count();
    running.command("web1", set(AdminState::Disabled)).await.unwrap();
    assert_eq!((probed(&running), running.slots().await), (2, vec![0, 128, 128]));
    running.command("web1", set(AdminState::Active)).await.unwrap();
    assert_eq!(
        (probed(&running), running.slots().await),
        (3, vec![0, 128, 128]),
        "nobody knows yet"
    );
    running.verdicts.send(verdict(1, Health::Up)).await.unwrap();
    while running.slots().await[0] == 0 {
        tokio::task::yield_now().await;
    }
    running.command("web1", DRAIN).await.unwrap();
    assert_eq!((probed(&running), running.slots().await), (3, vec![0, 128, 128]));
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_see_the_file_that_was_accepted_before() {
    let mut running = Running::well().await;
    running.command("web1", DRAIN).await.unwrap();
    for round in 2..20 {
        let heavy = ONE.replace("name = \"web2\"", &format!("name = \"web2\"\nweight = {round}"));
        running.files.send_replace(config(&heavy));
        let backends = running.handle.status().await.unwrap().services.remove(0).backends;
        assert_eq!(
            (backends[1].weight, backends[0].state),
            (round, AdminState::Drain),
            "over the reload"
        );
    }
    // And so does a reload that is asked for.
    let (files, handle) = (running.files.clone(), running.handle.clone());
    let reload = tokio::spawn(async move { handle.reload().await });
    let Some(FileRequest::Reload(asker)) = running.files_asked.recv().await else {
        panic!("whoever has the file is asked");
    };
    files.send_replace(config(&ONE.replace("10.0.0.1:80", "10.0.0.9:80")));
    asker.send(Ok(true)).unwrap();
    let number = running
        .revisions
        .wait_for(|kept| kept.overrides == Overrides::default())
        .await
        .unwrap()
        .number;
    assert_eq!(running.slots().await[0], 0, "nobody has judged the other one");
    assert!(
        !reload.is_finished(),
        "an override that ends is to be forgotten on the disk, too"
    );
    running.saved.send_replace(Saved { number, fault: None });
    let reloaded = reload.await.unwrap().unwrap().unwrap();
    assert_eq!(
        reloaded,
        Reloaded {
            changed: true,
            fault: None
        }
    );
    let status = running.handle.status().await.unwrap();
    assert_eq!(
        status.services[0].backends[0].state,
        AdminState::Active,
        "another server"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_counts_from_the_first_round_on() {
    let mut facts = well(ONE);
    let member = |last: u8| verdict(last, Health::Up).member;
    let kept: Overrides = [(member(1), DRAIN), (member(9), DRAIN)].into_iter().collect();
    facts.restore(kept.clone());
    let mut reconciler = attached(Fake::default(), Node::default(), facts, SEED);
    assert!(reconciler.converge().await);
    assert_eq!(slots(&reconciler), [0, 128, 128]);
    // Who is not in the file any more is forgotten, also on the disk.
    let mut running = Running::start(reconciler, kept);
    running.revisions.changed().await.unwrap();
    let Revision { number, overrides, .. } = running.revisions.borrow().clone();
    assert_eq!((number, overrides), (1, [(member(1), DRAIN)].into_iter().collect()));
}
