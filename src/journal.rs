//! The journal: the last changes of anything, with their causes, for whoever looks at a running server.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// Changes kept: some hours of an ordinary cluster's, and enough for the beginning of any incident, in less than half a
/// megabyte.
const KEPT: usize = 1000;

/// Longest text of a change, octets: causes are sentences, names of racks are free text.
const LONGEST: usize = 400;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// From 1, without gaps.
    pub number: u64,
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The zone concerned, if only one is.
    pub zone: Option<String>,
    /// What kind of thing changed: `node`, `scope`, `discovery`, `panic`, `override`, `reload`, `server`, `certificate`.
    pub kind: &'static str,
    /// What changed: `10.0.0.1`, `dc1/rack1`, ...
    pub subject: String,
    /// How, and why: `is down: connection refused`.
    pub text: String,
}

fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::model::rfc3339(*at))
}

/// The last changes. Clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    changes: Mutex<VecDeque<Change>>,
    latest: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Journal(Arc::new(Inner { changes: Mutex::default(), latest: watch::Sender::new(0) }))
    }
}

impl Journal {
    /// Notes a change that happened now. Texts are cut where they are too long.
    pub fn note(&self, zone: Option<&str>, kind: &'static str, subject: impl fmt::Display, text: impl fmt::Display) {
        let (subject, text) = (cut(subject.to_string()), cut(text.to_string()));
        let mut changes = self.changes();
        let number = *self.0.latest.borrow() + 1;
        if changes.len() == KEPT {
            changes.pop_front();
        }
        changes.push_back(Change { number, at: SystemTime::now(), zone: zone.map(str::to_owned), kind, subject, text });
        // Within the lock, so that numbers are published in order.
        self.0.latest.send_replace(number);
    }

    /// This journal, for the changes of one zone.
    pub fn of(&self, zone: &str) -> ZoneJournal {
        ZoneJournal { journal: self.clone(), zones: Arc::new(ArcSwap::from_pointee(vec![zone.into()])) }
    }

    /// This journal, for the changes of zones that are still to be told.
    pub fn of_zones(&self) -> ZoneJournal {
        ZoneJournal { journal: self.clone(), zones: Arc::default() }
    }

    /// The changes after this number, oldest first.
    pub fn since(&self, number: u64) -> Vec<Change> {
        self.changes().iter().filter(|change| change.number > number).cloned().collect()
    }

    /// The latest change's number, for whoever waits for the next; 0 while there is none.
    pub fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest.subscribe()
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal, for the changes of one zone, or of all zones on one cluster. Clones are the same.
#[derive(Clone, Debug)]
pub struct ZoneJournal {
    journal: Journal,
    zones: Arc<ArcSwap<Vec<Arc<str>>>>,
}

impl ZoneJournal {
    /// [`Journal::note`] for each of the zones, so that whoever looks at one of them misses nothing.
    pub fn note(&self, kind: &'static str, subject: impl fmt::Display, text: impl fmt::Display) {
        for zone in self.zones.load().iter() {
            self.journal.note(Some(zone), kind, &subject, &text);
        }
    }

    /// Whose changes these are from now on.
    pub fn set_zones(&self, zones: Vec<Arc<str>>) {
        self.zones.store(Arc::new(zones));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST - '…'.len_utf8()).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_changes_are_kept_in_order() {
        let journal = Journal::default();
        for number in 1..=KEPT + 5 {
            journal.note(Some("z.test"), "node", number, "is up");
        }
        let changes = journal.since(0);
        assert_eq!((changes.len(), changes[0].number, *journal.latest().borrow()), (KEPT, 6, KEPT as u64 + 5));
        assert!(changes.iter().all(|change| change.subject == change.number.to_string()));
        let last: Vec<u64> = journal.since(KEPT as u64 + 3).iter().map(|change| change.number).collect();
        assert_eq!(last, [KEPT as u64 + 4, KEPT as u64 + 5]);
        assert!(journal.since(u64::MAX).is_empty());
    }

    #[test]
    fn what_zones_share_is_noted_for_each() {
        let journal = Journal::default();
        let shared = journal.of_zones();
        shared.note("node", "10.0.0.1", "nobody looks");
        shared.set_zones(vec!["a.test".into(), "b.test".into()]);
        shared.clone().note("node", "10.0.0.1", "is up");
        let zones: Vec<Option<String>> = journal.since(0).into_iter().map(|change| change.zone).collect();
        assert_eq!(zones, [Some("a.test".to_owned()), Some("b.test".to_owned())]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let journal = Journal::default();
        journal.note(None, "node", "ß".repeat(1000), "x");
        let subject = &journal.since(0)[0].subject;
        assert!(subject.len() <= LONGEST && subject.ends_with("ß…"));
    }
}
