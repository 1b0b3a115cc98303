//! Copies of queries and replies, for whoever logs them.
//!
//! Each worker has records of its own that go round: free ones come to it, full ones leave. Neither way waits: where no
//! record is free the query is not logged, and counted as lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    time::SystemTime,
};

use super::{Asker, Outcome, Transport, tally::Block};

/// Records of one worker: at 100,000 queries a second they last for 20 ms, and whoever logs looks more often.
const RECORDS: usize = 2048;

/// Octets of a message that are copied; a longer one is left out, as only lists over TCP are. With two messages a
/// record, a worker's records take 16 MiB at most, and below 1 MiB where answers are of the usual size.
const LONGEST: usize = 4096;

/// One query and what it became.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it was answered.
    pub at: SystemTime,
    /// The client.
    pub source: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// What it became.
    pub outcome: Outcome,
    /// The number of the zone that was asked; 0 for none.
    pub zone: u32,
    /// Octets of the reply; 0 where nothing was sent.
    pub reply_len: usize,
    /// Query, then reply; either is left out where it is too long.
    octets: Vec<u8>,
    query_len: usize,
}

impl Record {
    fn empty() -> Self {
        Record {
            at: SystemTime::UNIX_EPOCH,
            source: ([0, 0, 0, 0], 0).into(),
            transport: Transport::Udp,
            outcome: Outcome::Dropped,
            zone: 0,
            reply_len: 0,
            octets: Vec::new(),
            query_len: 0,
        }
    }

    /// A query and its reply.
    pub fn new(query: &[u8], reply: &[u8], asker: &Asker, outcome: Outcome, zone: u32) -> Self {
        let mut record = Record::empty();
        record.fill(query, reply, asker, outcome, zone);
        record
    }

    /// The query as received; empty where it is too long.
    pub fn query(&self) -> &[u8] {
        self.octets.get(..self.query_len).unwrap_or_default()
    }

    /// The reply as sent; empty where there was none, or it is too long.
    pub fn reply(&self) -> &[u8] {
        self.octets.get(self.query_len..).unwrap_or_default()
    }

    /// Takes this query and reply instead of those it has.
    fn fill(&mut self, query: &[u8], reply: &[u8], asker: &Asker, outcome: Outcome, zone: u32) {
        let [query, copied] = [query, reply].map(|octets| if octets.len() <= LONGEST { octets } else { &[] });
        self.octets.clear();
        self.octets.extend_from_slice(query);
        self.octets.extend_from_slice(copied);
        (self.query_len, self.reply_len) = (query.len(), reply.len());
        (self.at, self.source, self.transport) = (SystemTime::now(), asker.source, asker.transport);
        (self.outcome, self.zone) = (outcome, zone);
    }
}

/// A worker's end.
pub(super) struct Tap {
    free: Receiver<Box<Record>>,
    full: SyncSender<Box<Record>>,
    /// Records that go round already; others are made when they are needed first.
    made: usize,
    rng: fastrand::Rng,
    sample: f64,
    block: Arc<Block>,
}

impl Tap {
    /// Copies a query and its reply, where the dice say so and a record is free.
    #[cold]
    pub(super) fn copy(&mut self, query: &[u8], reply: &[u8], asker: &Asker, outcome: Outcome, zone: u32) {
        if self.sample < 1.0 && self.rng.f64() >= self.sample {
            return;
        }
        // Nobody ever waits at either end, so neither channel takes a lock.
        let mut record = match self.free.try_recv() {
            Ok(record) => record,
            Err(_) if self.made < RECORDS => {
                self.made += 1;
                Box::new(Record::empty())
            }
            Err(_) => return self.block.count_unlogged(),
        };
        record.fill(query, reply, asker, outcome, zone);
        if self.full.try_send(record).is_err() {
            self.block.count_unlogged();
        }
    }
}

/// The other end of a worker's.
pub struct Tapped {
    full: Receiver<Box<Record>>,
    free: SyncSender<Box<Record>>,
}

impl Tapped {
    /// Shows the records that are there, up to `most`; returns how many, or `None` where the worker has ended and all
    /// was shown. Never waits.
    pub fn drain(&self, most: usize, mut show: impl FnMut(&Record)) -> Option<usize> {
        for shown in 0..most {
            match self.full.try_recv() {
                Ok(record) => {
                    show(&record);
                    // The worker may be gone.
                    let _ = self.free.try_send(record);
                }
                Err(TryRecvError::Empty) => return Some(shown),
                Err(TryRecvError::Disconnected) => return (shown > 0).then_some(shown),
            }
        }
        Some(most)
    }
}

/// Where the ends of new workers are met. Cheap to clone.
#[derive(Clone, Default)]
pub struct Taps(Arc<Mutex<Vec<Tapped>>>);

impl std::fmt::Debug for Taps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taps")
    }
}

impl Taps {
    /// A tap for one more worker, which copies this share of its queries.
    pub(super) fn tap(&self, sample: f64, seed: u64, block: Arc<Block>) -> Box<Tap> {
        let (free, taken) = sync_channel(RECORDS);
        let (full, shown) = sync_channel(RECORDS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Tapped { full: shown, free });
        Box::new(Tap { free: taken, full, made: 0, rng: fastrand::Rng::with_seed(seed), sample, block })
    }

    /// The ends of workers that came since this was asked last.
    pub fn take(&self) -> Vec<Tapped> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_lost_and_counted_and_the_records_go_round() {
        let (taps, block) = (Taps::default(), Arc::<Block>::default());
        let mut tap = taps.tap(1.0, 1, block.clone());
        let [tapped] = <[Tapped; 1]>::try_from(taps.take()).ok().unwrap();
        let asker = Asker::udp("192.0.2.1:4000".parse().unwrap());
        let mut copy =
            |count: usize| (0..count).for_each(|_| tap.copy(b"query", b"reply!", &asker, Outcome::NoData, 3));
        for round in 1..=3 {
            copy(RECORDS + 7);
            assert_eq!(block.unlogged(), 7 * round);
            let mut shown = 0;
            let drained = tapped.drain(usize::MAX, |record| {
                assert_eq!((record.query(), record.reply(), record.reply_len), (&b"query"[..], &b"reply!"[..], 6));
                shown += 1;
            });
            assert_eq!((drained, shown), (Some(RECORDS), RECORDS));
        }
        copy(1);
        drop(tap);
        assert_eq!((tapped.drain(10, |_| {}), tapped.drain(10, |_| {})), (Some(1), None));
    }

    #[test]
    fn a_share_is_copied_and_long_messages_are_left_out() {
        let taps = Taps::default();
        let mut tap = taps.tap(0.25, 1, Arc::default());
        let asker = Asker::udp("192.0.2.1:4000".parse().unwrap());
        (0..4000).for_each(|_| tap.copy(b"q", &[7; LONGEST + 1], &asker, Outcome::Answered, 1));
        let mut lens = Vec::new();
        taps.take()[0]
            .drain(usize::MAX, |record| lens.push((record.query().len(), record.reply().len(), record.reply_len)));
        assert!((800..1200).contains(&lens.len()), "{} of 4000", lens.len());
        assert!(lens.iter().all(|len| *len == (1, 0, LONGEST + 1)));
    }
}
