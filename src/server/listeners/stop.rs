//! How workers are told to begin and to end, and how it is noticed when one ends unbidden.

use std::sync::{
    Arc, Condvar, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;

use crate::server::Passed;

/// Tells the workers of a listener to stop; they look several times a second.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Stop(Arc<Order>);

#[derive(Debug, Default)]
struct Order {
    is_set: AtomicBool,
    /// Who goes on with what is not done, where anybody does.
    heir: OnceLock<Heir>,
}

/// Takes connections that another process is to go on with.
pub(in crate::server) type Heir = mpsc::UnboundedSender<Passed>;

impl Stop {
    #[inline]
    pub(in crate::server) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Acquire)
    }

    pub(in crate::server) fn set(&self) {
        self.0.is_set.store(true, Ordering::Release);
    }

    /// Tells them to leave what comes from now on, and connections between two queries, to another process that has the
    /// same sockets.
    pub(in crate::server) fn set_for(&self, heir: Heir) {
        let _ = self.0.heir.set(heir);
        self.set();
    }

    /// Who goes on.
    pub(in crate::server) fn heir(&self) -> Option<&Heir> {
        self.0.heir.get()
    }
}

/// Reports a worker that ended although nobody told it to.
pub(in crate::server) struct Guard {
    pub(in crate::server) name: String,
    pub(in crate::server) stop: Stop,
    pub(in crate::server) report: mpsc::Sender<String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.stop.is_set() {
            // One report is enough to end the process; a full channel already has it.
            let _ = self.report.try_send(std::mem::take(&mut self.name));
        }
    }
}

/// What new workers wait at until all of a change is certain: a thread that cannot be started must leave everything as
/// it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<Option<bool>>, Condvar)>);

/// Who has the gate; whoever waits there when it is dropped is sent away.
#[derive(Debug, Default)]
pub(super) struct GateKeeper(Gate);

impl GateKeeper {
    pub(super) fn gate(&self) -> &Gate {
        &self.0
    }

    /// Lets the workers begin.
    pub(super) fn open(&self) {
        self.0.decide(true);
    }
}

impl Drop for GateKeeper {
    fn drop(&mut self) {
        self.0.decide(false);
    }
}

impl Gate {
    fn decide(&self, passes: bool) {
        let (decided, waiting) = &*self.0;
        decided.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(passes);
        waiting.notify_all();
    }

    /// Waits for the decision; whether the worker may begin.
    pub(super) fn passes(&self) -> bool {
        let (decided, waiting) = &*self.0;
        let decided = decided.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = waiting.wait_while(decided, |decided| decided.is_none());
        decided.unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn only_an_unbidden_end_is_reported() {
        let (report, mut ended) = mpsc::channel(1);
        for (name, is_told) in [("told", true), ("returns", false), ("panics", false)] {
            let stop = Stop::default();
            let guard = Guard { name: name.to_owned(), stop: stop.clone(), report: report.clone() };
            let worker = thread::spawn(move || {
                let _guard = guard;
                if is_told {
                    stop.set();
                }
                assert_ne!(name, "panics", "on purpose");
            });
            assert_eq!(worker.join().is_err(), name == "panics");
            assert_eq!(ended.try_recv().ok().as_deref(), (!is_told).then_some(name));
        }
    }

    #[test]
    fn a_gate_is_decided_once() {
        let opened = GateKeeper::default();
        let gate = opened.gate().clone();
        let waits = thread::spawn(move || gate.passes());
        opened.open();
        assert!(waits.join().unwrap());
        let gate = opened.gate().clone();
        drop(opened);
        assert!(gate.passes(), "it was opened before");
        let gate = GateKeeper::default().gate().clone();
        assert!(!gate.passes(), "nobody is left to open it");
    }
}
