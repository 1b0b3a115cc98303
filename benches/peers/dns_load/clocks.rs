//! The run's clock, and what the server's processes have used of theirs.

use std::{io, time::Instant};

use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The CPU clocks of processes: user and system time of all their threads, those that ended included, to the
/// nanosecond.
#[derive(Debug)]
pub(crate) struct CpuClocks(Vec<ClockId>);

impl CpuClocks {
    pub(crate) fn of(processes: &[i32]) -> io::Result<Self> {
        let clock = |pid: &i32| Ok(clock_getcpuclockid(Pid::from_raw(*pid))?);
        Ok(CpuClocks(processes.iter().map(clock).collect::<io::Result<_>>()?))
    }

    /// This process's own.
    pub(crate) fn own() -> Self {
        CpuClocks(vec![ClockId::CLOCK_PROCESS_CPUTIME_ID])
    }

    /// Nanoseconds used by all of them. Fails when a process is gone.
    pub(crate) fn read(&self) -> io::Result<u64> {
        self.0.iter().try_fold(0, |sum, clock| {
            let used = clock.now()?;
            Ok(sum + used.tv_sec() as u64 * 1_000_000_000 + used.tv_nsec() as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above every process there can be on Linux (PID_MAX_LIMIT).
    const NOBODY: i32 = (1 << 22) + 1;

    #[test]
    fn a_process_has_used_what_its_own_clock_says() {
        let me = CpuClocks::of(&[std::process::id() as i32]).unwrap();
        let before = CpuClocks::own().read().unwrap();
        let seen = me.read().unwrap();
        assert!(before <= seen && seen <= CpuClocks::own().read().unwrap());
        CpuClocks::of(&[NOBODY]).unwrap_err();
    }
}
