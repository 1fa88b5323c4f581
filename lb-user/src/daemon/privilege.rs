//! What the daemon must be allowed to do.

use std::fs;

/// Capabilities by bit (capabilities(7)), and what each is needed for.
const NEEDED: [(u32, &str, &str); 3] = [
    (
        12,
        "CAP_NET_ADMIN",
        "attach to interfaces, set addresses and neighbours",
    ),
    (38, "CAP_PERFMON", "load programs that compute with packet pointers"),
    (39, "CAP_BPF", "load programs and maps"),
];

/// Names the capabilities that this process lacks, and what to do; `None` when it has all.
#[must_use]
pub fn missing() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    lacking(effective(&status)?)
}

/// The effective set in /proc/PID/status.
fn effective(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

fn lacking(effective: u64) -> Option<String> {
    let lacking: Vec<String> = NEEDED
        .iter()
        .filter(|(bit, ..)| effective & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} (to {purpose})"))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    Some(format!(
        "missing {}; run as root, or give the process these capabilities",
        lacking.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(lacking(u64::MAX), None);
        let text = lacking(!(1 << 39)).unwrap();
        assert!(
            text.contains("CAP_BPF (to load programs and maps)") && !text.contains("CAP_NET_ADMIN"),
            "{text}"
        );
        assert!(lacking(0).unwrap().contains("CAP_NET_ADMIN"));
    }
}
