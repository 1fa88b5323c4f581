//! What balancing costs: time of the program, of processes, and of the whole machine, and memory. Everything is read
//! before and after a sample; what was read tells nothing of who else was at work on the machine.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::bed::Bed;
use super::subject::Subject;
use crate::dataplane::kernel::{RunTime, run_time};
use crate::lab::compare::model::Cost;

/// Clocks at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    program: Option<RunTime>,
    /// Of the balancer, if it has any.
    processes: Option<Duration>,
    machine: Duration,
}

impl Clocks {
    pub(super) fn read(bed: &Bed, subject: &Subject) -> anyhow::Result<Self> {
        let program = if subject.own() {
            Some(run_time(&bed.lab.pins().join("lb"))?)
        } else {
            None
        };
        let mut processes = None;
        for process in bed.processes()? {
            let clock = clock_getcpuclockid(Pid::from_raw(process.pid))?;
            *processes.get_or_insert_default() += Duration::from(clock_gettime(clock)?);
        }
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no ticks a second")?;
        Ok(Self {
            program,
            processes,
            machine: busy(&stat, ticks).context("/proc/stat is not as expected")?,
        })
    }

    /// Adds to `cost` what `requests` have cost since `before`.
    pub(super) fn since(self, before: Self, requests: u64, cost: &mut Cost) {
        let requests = requests as f64;
        let micros = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() * 1e6 / requests;
        if let (Some(now), Some(before)) = (self.program, before.program)
            && now.runs > before.runs
        {
            let runs = (now.runs - before.runs) as f64;
            let time = now.time.saturating_sub(before.time);
            cost.program_per_packet.push(time.as_secs_f64() * 1e9 / runs);
            cost.program_per_request.push(micros(now.time, before.time));
        }
        if let (Some(now), Some(before)) = (self.processes, before.processes) {
            cost.process_per_request.push(micros(now, before));
        }
        cost.machine_per_request.push(micros(self.machine, before.machine));
    }
}

/// Time that processors were not idle, the time that a hypervisor has taken left out. Of /proc/stat.
fn busy(stat: &str, ticks: i64) -> Option<Duration> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, ..] = times[..] else {
        return None;
    };
    let sum = user + nice + system + interrupts + soft_interrupts;
    Some(Duration::from_secs_f64(sum as f64 / ticks as f64))
}

/// What the balancer's processes share with nobody, in bytes; `None` without processes.
pub(super) fn private_memory(bed: &Bed) -> anyhow::Result<Option<u64>> {
    let mut sum = None;
    for process in bed.processes()? {
        let place = format!("/proc/{}/smaps_rollup", process.pid);
        let text = fs::read_to_string(&place).with_context(|| format!("reading {place}"))?;
        *sum.get_or_insert_default() += private(&text).with_context(|| format!("{place} is not as expected"))?;
    }
    Ok(sum)
}

/// Of a `smaps_rollup`, in bytes.
fn private(rollup: &str) -> Option<u64> {
    let of = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    Some(1024 * (of("Private_Clean:")? + of("Private_Dirty:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_nobody_worked_is_not_busy() {
        let stat = "cpu  100 20 300 9000 800 7 50 66 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n";
        assert_eq!(busy(stat, 100), Some(Duration::from_millis(4770)));
        assert_eq!(busy("cpu 1 2 3\n", 100), None);
        assert_eq!(busy("", 100), None);
    }

    #[test]
    fn private_memory_is_clean_and_dirty() {
        let text = "Rss:     9000 kB\nPrivate_Clean:        4 kB\nPrivate_Dirty:      100 kB\nPrivate_Hugetlb: 0 kB\n";
        assert_eq!(private(text), Some(104 * 1024));
        assert_eq!(private("Rss: 1 kB\n"), None);
    }

    #[test]
    fn cost_is_by_packet_and_by_request() {
        let before = Clocks {
            program: Some(RunTime::default()),
            processes: None,
            machine: Duration::from_secs(1),
        };
        let now = Clocks {
            program: Some(RunTime {
                time: Duration::from_millis(1),
                runs: 10_000,
            }),
            processes: None,
            machine: Duration::from_secs(2),
        };
        let mut cost = Cost::default();
        now.since(before, 2000, &mut cost);
        assert_eq!((cost.program_per_packet[0], cost.program_per_request[0]), (100.0, 0.5));
        assert_eq!(cost.machine_per_request, [500.0]);
        assert!(cost.process_per_request.is_empty());
    }
}
