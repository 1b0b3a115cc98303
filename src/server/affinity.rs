//! Keeping a worker on one CPU.

/// The CPUs this process may use.
#[cfg(target_os = "linux")]
pub(super) fn cpus() -> Vec<usize> {
    use nix::{
        sched::{CpuSet, sched_getaffinity},
        unistd::Pid,
    };
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect()
}

/// Keeps the calling thread on this CPU.
#[cfg(target_os = "linux")]
pub(super) fn pin(cpu: usize) {
    use nix::{
        sched::{CpuSet, sched_setaffinity},
        unistd::Pid,
    };
    let mut only = CpuSet::new();
    if let Err(error) = only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only)) {
        tracing::warn!(cpu, %error, "a worker cannot be kept on its CPU");
    }
}

/// The CPUs this process may use: nothing is known of them here.
#[cfg(not(target_os = "linux"))]
pub(super) fn cpus() -> Vec<usize> {
    tracing::warn!("pin_workers has no effect on this system");
    Vec::new()
}

/// Keeps the calling thread on this CPU: not here.
#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_one_cpu() {
        let all = cpus();
        let last = *all.last().unwrap();
        // A thread of its own: the others of the test process stay free.
        let pinned = std::thread::spawn(move || {
            pin(last);
            cpus()
        });
        assert_eq!(pinned.join().unwrap(), [last]);
        assert_eq!(cpus(), all);
    }
}
