//! `fulcrum lab logs`: what processes of a lab have printed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::sleep;

use super::args::Logs;
use super::exec;

/// 200 ms between two looks at what is new.
const PAUSE: Duration = Duration::from_millis(200);

/// Lines of each log that are shown when nobody says how many.
const LINES: usize = 20;

/// Prints the last lines of logs; with `follow` goes on until it is interrupted.
pub(super) async fn run(args: &Logs) -> anyhow::Result<ExitCode> {
    let lab = exec::up(&args.name)?;
    let wanted = args.process.as_ref().map(|process| process.replace('/', "."));
    let is_wanted = |name: &str| {
        let of_host = |wanted: &str| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
        wanted.as_deref().is_none_or(|wanted| name == wanted || of_host(wanted))
    };
    let records = lab.recorded();
    let names: Vec<String> = records.into_iter().map(|record| record.name).collect();
    let mut logs = Vec::new();
    for name in names.iter().filter(|name| is_wanted(name)) {
        let place = lab.log(name);
        let file = File::open(&place).with_context(|| format!("opening {}", place.display()))?;
        logs.push((name.as_str(), BufReader::new(file)));
    }
    if logs.is_empty() {
        bail!("nothing of that name runs in the lab; there are: {}", names.join(", "));
    }
    for (name, log) in &mut logs {
        last(name, log, args.lines.unwrap_or(LINES))?;
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        for (name, log) in &mut logs {
            rest(name, log)?;
        }
        sleep(PAUSE).await;
    }
}

/// Prints the last lines, and stands at the end then.
fn last(name: &str, log: &mut BufReader<File>, lines: usize) -> io::Result<()> {
    let total = log.by_ref().split(b'\n').count();
    log.seek(SeekFrom::Start(0))?;
    for line in log.by_ref().split(b'\n').skip(total.saturating_sub(lines)) {
        println!("{name}: {}", String::from_utf8_lossy(&line?));
    }
    Ok(())
}

/// Prints what is new and whole.
fn rest(name: &str, log: &mut BufReader<File>) -> io::Result<()> {
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line)? > 0 {
        if !line.ends_with(b"\n") {
            // The rest of it comes later.
            log.seek_relative(-i64::try_from(line.len()).unwrap_or(0))?;
            return Ok(());
        }
        print!("{name}: {}", String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}
