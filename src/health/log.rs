//! Transitions as log lines, and no more of them than a person can read.

use std::time::Duration;

use super::{Moment, panic::Turn, roster::Event};
use crate::{journal::ZoneJournal, model::NodeState};

/// How many nodes' transitions are logged one by one within a [`WINDOW`]; the rest is counted and summed up. A rack
/// fits; a datacenter that dies would only hide the lines that matter.
const LINES: u32 = 20;

/// The time over which [`LINES`] are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes [`Event`]s to the log and the journal.
#[derive(Debug, Default)]
pub(super) struct Log {
    window: Option<Moment>,
    lines: u32,
    unwritten: u32,
}

impl Log {
    /// Logs an event. Panic always has its line.
    pub(super) fn write(&mut self, event: &Event, now: Moment, journal: &ZoneJournal) {
        match event {
            Event::Panic { turn: Turn::Began, silent, listed } => {
                tracing::error!(
                    silent,
                    listed,
                    "panic: most nodes are silent to us while the cluster lists them; distrusting our own probes and \
                     dealing silent nodes as if they were up (nodes that refuse still leave)"
                );
                let text = format_args!("began: {silent} of {listed} nodes are silent to us; probes are distrusted");
                journal.note("panic", "prober", text);
            }
            Event::Panic { turn: Turn::Ended, silent, listed } => {
                tracing::warn!(silent, listed, "panic is over: probes are trusted again");
                journal.note("panic", "prober", "over: probes are trusted again");
            }
            Event::Node { address, from, to, failure } => {
                self.flush(now, journal);
                if !self.may_write(now) {
                    return;
                }
                let reason = failure.as_ref().map(tracing::field::display);
                match to {
                    NodeState::Down => tracing::warn!(node = %address, reason, "node is down"),
                    NodeState::Up if *from == NodeState::Joining => {
                        tracing::info!(node = %address, "node is up, first time")
                    }
                    NodeState::Up | NodeState::Joining => tracing::info!(node = %address, "node is {to} again"),
                }
                match failure {
                    Some(failure) => journal.note("node", address, format_args!("is {to}: {failure}")),
                    None => journal.note("node", address, format_args!("is {to}, was {from}")),
                }
            }
        }
    }

    fn may_write(&mut self, now: Moment) -> bool {
        self.window.get_or_insert(now);
        self.lines = self.lines.saturating_add(1);
        let written = self.lines <= LINES;
        self.unwritten = self.unwritten.saturating_add(u32::from(!written));
        written
    }

    /// Sums up what was not written, once the window is over.
    pub(super) fn flush(&mut self, now: Moment, journal: &ZoneJournal) {
        if self.window.is_some_and(|start| now >= start.saturating_add(WINDOW)) {
            if self.unwritten > 0 {
                tracing::warn!(nodes = self.unwritten, "more nodes changed state within the last second");
                journal.note("node", format_args!("{} more nodes", self.unwritten), "changed state within a second");
            }
            *self = Log::default();
        }
    }

    /// When a sum is to be written though nothing happens.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.window.filter(|_| self.unwritten > 0).map(|start| start.saturating_add(WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_per_window_and_the_rest_is_summed_up() {
        let mut log = Log::default();
        let now = Duration::from_secs(5);
        let written = (0..50).filter(|_| log.may_write(now)).count();
        assert_eq!((written, log.unwritten, log.deadline()), (LINES as usize, 30, Some(now + WINDOW)));
        let journal = crate::journal::Journal::default().of("z.test");
        log.flush(now + WINDOW / 2, &journal);
        assert_eq!(log.unwritten, 30);
        log.flush(now + WINDOW, &journal);
        assert_eq!((log.unwritten, log.deadline()), (0, None));
        assert!(log.may_write(now + WINDOW));
    }
}
