//! Commands, and what becomes of them.

use super::*;
use crate::model::ScriptProbe;

fn command(words: &[&str]) -> HealthKind {
    HealthKind::Script(Arc::new(ScriptProbe {
        program: words[0].into(),
        arguments: words[1..].iter().map(|&word| word.to_owned()).collect(),
        dynamic_weight: false,
    }))
}

fn shell(script: &str) -> HealthKind {
    command(&["/bin/sh", "-c", script])
}

async fn said(kind: &HealthKind, timeout: Duration) -> Result<Answer, String> {
    let result = probe(kind, "10.0.0.6:8080".parse().unwrap(), timeout).await;
    result
        .map(|success| success.answer)
        .map_err(|failure| failure.to_string())
}

#[tokio::test]
async fn the_exit_code_judges_and_the_first_line_tells_why() {
    let long = "x".repeat(300);
    let loud = format!("printf '\\n  a\\tb \\033\\n{long}' >&2; exit 3");
    let wide = format!("echo {long} >&2; exit 1");
    let cut = format!("{} (exit code 1)", "x".repeat(200));
    for (script, expected) in [
        ("exit 0", Ok(Answer::Exited)),
        ("echo trouble >&2", Ok(Answer::Exited)),
        ("exit 3", Err("exit code 3")),
        ("echo no >&2; echo really >&2; exit 2", Err("no (exit code 2)")),
        (&loud, Err("a b (exit code 3)")),
        (&wide, Err(&cut)),
        // More than a pipe holds.
        ("head -c 1000000 /dev/zero >&2; exit 4", Err("exit code 4")),
        ("kill -TERM $$", Err("ended by SIGTERM")),
    ] {
        assert_eq!(
            said(&shell(script), LONG).await,
            expected.map_err(str::to_owned),
            "{script}"
        );
    }
}

#[tokio::test]
async fn exit_codes_may_ask_for_a_weight() {
    for (code, expected) in [
        (0, Ok(Answer::Exited)),
        (1, Err("exit code 1")),
        (2, Ok(Answer::Weighs(0))),
        (7, Ok(Answer::Weighs(5))),
        (255, Ok(Answer::Weighs(253))),
    ] {
        let kind = HealthKind::Script(Arc::new(ScriptProbe {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), format!("exit {code}")],
            dynamic_weight: true,
        }));
        assert_eq!(said(&kind, LONG).await, expected.map_err(str::to_owned), "{code}");
    }
}

#[tokio::test]
async fn nothing_is_inherited_and_the_backend_is_named() {
    let script = "test $FULCRUM_SERVICE/$FULCRUM_BACKEND = web/web1 && test $FULCRUM_ADDRESS = 10.0.0.6 \
        && test $FULCRUM_PORT = 8080 && test \"$(pwd)\" = / && test -z \"$HOME\" && test -z \"$CARGO_MANIFEST_DIR\" \
        && ! read line && ls / >/dev/null";
    assert_eq!(said(&shell(script), LONG).await, Ok(Answer::Exited));
    // No shell looks at the words.
    let kind = command(&["/usr/bin/test", "$HOME; exit 1", "=", "$HOME; exit 1"]);
    assert_eq!(said(&kind, LONG).await, Ok(Answer::Exited));
}

#[tokio::test]
async fn what_cannot_be_started_is_this_nodes_fault() {
    for program in ["/nowhere/check", "/etc"] {
        let failure = said(&command(&[program]), LONG).await.unwrap_err();
        assert!(
            failure.starts_with(&format!("this node could not probe: {program}: ")),
            "{failure}"
        );
    }
}

/// Does a process live, other than as a zombie?
fn lives(id: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains("(zombie)"))
}

/// What a command has written to a file, once it is a line.
async fn line(path: &std::path::Path) -> String {
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn ended(id: &str) {
    while lives(id) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn late_ones_are_killed_with_their_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    let late = Err("timed out after 10s while running the command".to_owned());
    assert_eq!(said(&shell(&script), MEDIUM).await, late);
    ended(&line(&file).await).await;
}

#[tokio::test]
async fn those_that_nobody_waits_for_are_killed_with_their_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let kind = shell(&format!("sleep 1000 & echo $! > {}; wait", file.display()));
    let waiting = tokio::spawn(async move { said(&kind, Duration::from_secs(1000)).await });
    let child = line(&file).await;
    assert!(lives(&child));
    waiting.abort();
    ended(&child).await;
}

#[tokio::test]
async fn a_child_that_stays_behind_holds_nobody_up_for_longer_than_the_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let script = |code: u8| format!("sleep 1000 & echo $! > {}; echo no >&2; exit {code}", file.display());
    assert_eq!(said(&shell(&script(0)), LONG).await, Ok(Answer::Exited));
    let first = line(&file).await;
    assert_eq!(
        said(&shell(&script(1)), MEDIUM).await,
        Err("no (exit code 1)".to_owned())
    );
    for child in [first, line(&file).await] {
        let child = nix::unistd::Pid::from_raw(child.parse().unwrap());
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}
