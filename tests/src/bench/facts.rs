//! What the kernel says of the programs: instructions, what verifying them took, memory.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use lb_user::dataplane::kernel::Loaded;

use super::object::Bench;
use super::report::Report;
use super::setting::{Loading, Setting};

/// Bytes of an instruction.
const INSTRUCTION: u32 = 8;

/// Notes all of it. The sizes of maps and the time of a load are those of a plain [`Setting`].
pub(super) fn note(
    report: &mut Report,
    setting: &Setting,
    programs: &[Loaded],
    bench: &Bench,
    loading: &Loading,
) -> Result<()> {
    for program in programs {
        instructions(report, &program.name, &program.info);
    }
    for (name, program) in bench.object.programs() {
        if name == "bench_reference" {
            instructions(report, "ipip", &program.info()?);
        }
    }
    if *setting == Setting::new(setting.mode, setting.balance) {
        times(report, programs, loading);
        let maps = maps(programs)?;
        report.fact(
            "memory, all maps",
            "fulcrum",
            "bytes",
            maps.values().sum::<u64>() as f64,
        );
        for (name, bytes) in maps {
            report.fact(&format!("memory, {name}"), "fulcrum", "bytes", bytes as f64);
        }
    }
    Ok(())
}

fn instructions(report: &mut Report, name: &str, info: &ProgramInfo) {
    let mut note = |what, unit, value: Option<u32>| {
        if let Some(value) = value {
            report.fact(&format!("{what}, {name}"), name, unit, value.into());
        }
    };
    note("verified", "instructions", info.verified_instruction_count());
    let translated = info.size_translated().map(|bytes| bytes / INSTRUCTION);
    note("translated", "instructions", translated);
    note("machine code", "bytes", Some(info.size_jitted()));
}

/// The kernel notes when it begins to verify a program, so a program took until the next one came.
fn times(report: &mut Report, programs: &[Loaded], loading: &Loading) {
    let of = |program: &Loaded| Some((program.info.loaded_at()?, program.name.clone()));
    let mut begun: Vec<_> = programs.iter().filter_map(of).collect();
    begun.sort();
    let ends: Vec<_> = begun.iter().skip(1).map(|(at, _)| *at).chain([loading.end]).collect();
    for ((at, name), end) in begun.iter().zip(ends) {
        let took = end.duration_since(*at).unwrap_or_default();
        report.fact(&format!("load, {name}"), name, "ms", took.as_secs_f64() * 1e3);
    }
    report.fact("load, with maps", "fulcrum", "ms", loading.took.as_secs_f64() * 1e3);
}

/// Bytes that each map of the programs takes, by name.
fn maps(programs: &[Loaded]) -> Result<BTreeMap<String, u64>> {
    let mut maps = BTreeMap::new();
    for program in programs {
        for id in program.info.map_ids()?.unwrap_or_default() {
            let info = MapInfo::from_id(id)?;
            let name = info.name_as_str().unwrap_or("?").to_owned();
            let fd = info.fd()?;
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let text = fs::read_to_string(&path).with_context(|| path.clone())?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
            let bytes = bytes.and_then(|bytes| bytes.trim().parse().ok());
            maps.insert(name, bytes.with_context(|| format!("{path} says nothing of memory"))?);
        }
    }
    Ok(maps)
}
