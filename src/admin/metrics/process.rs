//! The process, under the names that every client library gives to these.

use std::{fmt, fs, time::SystemTime};

use super::families::Families;

/// Ticks of a second in which Linux counts the time of processes for programs: part of its interface.
const TICKS: f64 = 100.0;

/// Places of `utime` and `stime` behind the program's name in `/proc/self/stat` (proc_pid_stat(5)).
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

pub(super) fn tell(started: SystemTime, to: &mut Families<'_>) -> fmt::Result {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    to.gauge("process_start_time_seconds", "When the server started, seconds since 1970", started)?;
    if let Some(seconds) = cpu_seconds() {
        to.counter("process_cpu_seconds", "CPU time used, user's and system's, seconds", seconds)?;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (key, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Memory in use, octets"),
        ("VmSize:", "process_virtual_memory_bytes", "Memory mapped, octets"),
    ] {
        if let Some(octets) = kibibytes(&status, key) {
            to.gauge(name, help, octets)?;
        }
    }
    if let Some(threads) = number(&status, "Threads:") {
        to.gauge("process_threads", "Threads", threads)?;
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is that of this look.
        to.gauge("process_open_fds", "Descriptors in use", open.count().saturating_sub(1) as f64)?;
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    most.map_or(Ok(()), |most| to.gauge("process_max_fds", "Descriptors that may be in use", most))
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in parentheses and may hold anything, parentheses too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(USER_TIME)? + ticks(SYSTEM_TIME)?) / TICKS)
}

fn number(status: &str, key: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

fn kibibytes(status: &str, key: &str) -> Option<f64> {
    Some(number(status, key)? * 1024.0)
}
