//! The process as Linux sees it, under the names that Prometheus' own clients use.

use super::{header, sample};
use std::fs;

/// `USER_HZ`: 100 on every Linux architecture that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes what `/proc` says; nothing elsewhere.
pub(super) fn write(out: &mut String) {
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
        let help = "Total user and system CPU time spent in seconds.";
        metric(out, "process_cpu_seconds_total", help, "counter", seconds);
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status)) {
        metric(out, "process_resident_memory_bytes", "Resident memory size in bytes.", "gauge", bytes);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // Reading the folder holds one open itself.
        let open = files.count().saturating_sub(1);
        metric(out, "process_open_fds", "Number of open file descriptors.", "gauge", open);
    }
}

fn metric(out: &mut String, name: &str, help: &str, kind: &str, value: impl std::fmt::Display) {
    header(out, name, help, kind);
    sample(out, name, "", value);
}

/// Fields 14 and 15 of proc(5), counted behind the command's name, which may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field() {
        let stat = "7 (mill) gate (x) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(resident_bytes("VmRSS: much"), None);
    }
}
