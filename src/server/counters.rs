//! What queries became, counted by each worker for itself.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Transport,
    tally::{Tally, Workers, ZoneSlots, counted_of_zone, leads},
    tap::Taps,
    tcp::{Closed, TcpCounters},
};
use crate::model::{Meter, NodeSlots};

/// What a query became. Every packet received has exactly one, so their sum is the number of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Outcome {
    /// Records in the answer section.
    Answered,
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Not our zone, not our class, or a zone transfer.
    Refused,
    /// A scope that never had a node.
    ServFail,
    /// A packet that is no well-formed query.
    FormErr,
    /// An opcode or meta type we do not implement.
    NotImp,
    /// An EDNS version other than 0.
    BadVers,
    /// A cookie that has to be brought back first, or that is wrong in a query that only asks for one.
    BadCookie,
    /// An asker that may not ask this: refused or not answered, as configured.
    Denied,
    /// Did not fit: TC, no records.
    Truncated,
    /// No reply: too short to be DNS, a response, or from an address that is surely forged.
    Dropped,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Outcome; 12] = [
        Outcome::Answered,
        Outcome::NoData,
        Outcome::NxDomain,
        Outcome::Refused,
        Outcome::ServFail,
        Outcome::FormErr,
        Outcome::NotImp,
        Outcome::BadVers,
        Outcome::BadCookie,
        Outcome::Denied,
        Outcome::Truncated,
        Outcome::Dropped,
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Answered => "answered",
            Outcome::NoData => "nodata",
            Outcome::NxDomain => "nxdomain",
            Outcome::Refused => "refused",
            Outcome::ServFail => "servfail",
            Outcome::FormErr => "formerr",
            Outcome::NotImp => "notimp",
            Outcome::BadVers => "badvers",
            Outcome::BadCookie => "badcookie",
            Outcome::Denied => "denied",
            Outcome::Truncated => "truncated",
            Outcome::Dropped => "dropped",
        })
    }
}

/// What response rate limiting did to a reply that it looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum RateLimited {
    /// Below the limit: sent.
    Passed,
    /// Above it: sent empty, with TC, so that whoever really asks comes back over TCP.
    Slipped,
    /// Above it: not sent.
    Dropped,
    /// Sent, because the limit is only tried out; would have been slipped.
    WouldSlip,
    /// Sent, because the limit is only tried out; would have been dropped.
    WouldDrop,
}

impl RateLimited {
    /// All of them, in the order of their numbers.
    pub const ALL: [RateLimited; 5] = [
        RateLimited::Passed,
        RateLimited::Slipped,
        RateLimited::Dropped,
        RateLimited::WouldSlip,
        RateLimited::WouldDrop,
    ];
}

/// Zones that are counted by themselves: twice as many as there may be at once, so that those of an earlier
/// configuration keep what was counted of them for a while. A kibibyte each, per worker.
const ZONES: u32 = 512;

/// Nodes whose leads are counted, over all zones: more than any cluster has. Counters of 8 octets each, per worker.
const NODES: u32 = 16_384;

/// Queries for one zone over one transport, by what they became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCounts {
    /// The zone; empty for queries for none of ours, or that were decided before their name was looked at.
    pub zone: String,
    /// The transport.
    pub transport: Transport,
    /// In the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
}

/// The counters of all workers; each writes only its own, and the reader sums. What workers counted that have ended is
/// kept.
#[derive(Clone, Debug)]
pub struct Counters {
    workers: Arc<Workers>,
    zones: Arc<ZoneSlots>,
    nodes: Arc<NodeSlots>,
    tcp: Arc<Mutex<TcpTotals>>,
    logged: Arc<[LogCounters; LogOutput::ALL.len()]>,
    taps: Taps,
}

/// Where the query log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum LogOutput {
    /// The file.
    File,
    /// The reader of dnstap.
    Dnstap,
}

impl LogOutput {
    /// Both, in the order of their numbers.
    pub const ALL: [LogOutput; 2] = [LogOutput::File, LogOutput::Dnstap];
}

#[derive(Debug, Default)]
struct LogCounters {
    is_used: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// The connections of workers at work, and of those that have ended.
#[derive(Debug, Default)]
struct TcpTotals {
    blocks: Vec<Arc<TcpCounters>>,
    accepted: u64,
    closed: [u64; Closed::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        let workers = Arc::<Workers>::default();
        let (of_zones, of_nodes) = (workers.clone(), workers.clone());
        let zones = ZoneSlots::new(ZONES, move |zone| counted_of_zone(&of_zones, zone));
        let nodes = NodeSlots::new(NODES, move |node| vec![of_nodes.totals().leads(node)]);
        Counters {
            workers,
            zones: Arc::new(zones),
            nodes: Arc::new(nodes),
            tcp: Arc::default(),
            logged: Arc::default(),
            taps: Taps::default(),
        }
    }
}

impl Counters {
    /// Counters for one more worker.
    pub(super) fn worker(&self) -> Tally {
        self.workers.add(&self.zones, &self.nodes)
    }

    /// Under which numbers to count queries for the zone of this name: the same ones as ever, whenever it is asked for.
    /// Where there were too many zones it is counted as none.
    pub fn meter(&self, zone: &str) -> Arc<Meter> {
        let name = Arc::<str>::from(zone);
        let slot = self.zones.get(name.clone());
        Arc::new(slot.map_or_else(Meter::default, |slot| Meter::new(name, slot, self.nodes.clone())))
    }

    /// How many queries became this, over all workers.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.workers.totals().by_outcome()[outcome as usize]
    }

    /// Packets received, over all workers.
    pub fn total(&self) -> u64 {
        self.workers.totals().by_outcome().iter().sum()
    }

    /// What queries became, by zone and transport: all of one moment, so that their sum is the number of packets
    /// received. UDP and TCP of every zone, and other transports where a query came over them.
    pub fn by_zone(&self) -> Vec<ZoneCounts> {
        let totals = self.workers.totals();
        let zones = std::iter::once((Arc::from(""), 0, Vec::new())).chain(self.zones.all());
        let of_zone = |(name, number, before): (Arc<str>, u32, Vec<u64>)| {
            let row = |transport: Transport| {
                let mut outcomes = totals.outcomes(transport, number);
                let always = matches!(transport, Transport::Udp | Transport::Tcp);
                if !always && outcomes.iter().all(|count| *count == 0) {
                    return None;
                }
                let before = before.chunks_exact(outcomes.len()).nth(transport as usize).unwrap_or_default();
                outcomes.iter_mut().zip(before).for_each(|(count, before)| *count = count.saturating_sub(*before));
                Some(ZoneCounts { zone: name.to_string(), transport, outcomes })
            };
            Transport::ALL.into_iter().filter_map(row).collect::<Vec<_>>()
        };
        zones.flat_map(of_zone).collect()
    }

    /// How many answers each node led: zone, node, answers in which its address came first. Nodes that are not answered
    /// any more, too, as long as there is room to remember them.
    pub fn leads(&self) -> Vec<(String, IpAddr, u64)> {
        let leads = leads(&self.workers, &self.nodes);
        leads.into_iter().map(|(zone, node, led)| (zone.to_string(), node, led)).collect()
    }

    /// Replies the kernel did not take, over all workers: a full socket, or nowhere to send to. Each was counted as
    /// what its query became, too.
    pub fn unsent(&self) -> u64 {
        self.workers.totals().unsent
    }

    /// Where copies of queries come to, for the query log.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Says that this output of the query log is in use.
    pub fn use_log(&self, output: LogOutput) {
        self.logged[output as usize].is_used.store(true, Relaxed);
    }

    /// Counts queries logged, and queries that were not although they should have been, beyond those that no worker had
    /// room for.
    pub fn count_log(&self, output: LogOutput, written: u64, dropped: u64) {
        let counters = &self.logged[output as usize];
        counters.written.fetch_add(written, Relaxed);
        counters.dropped.fetch_add(dropped, Relaxed);
    }

    /// Queries that were logged there, and queries that were dropped because it was too slow, or failed. Both 0 where it
    /// is not in use.
    pub fn query_log(&self, output: LogOutput) -> (u64, u64) {
        let counters = &self.logged[output as usize];
        if !counters.is_used.load(Relaxed) {
            return (0, 0);
        }
        (counters.written.load(Relaxed), counters.dropped.load(Relaxed) + self.workers.totals().unlogged)
    }

    /// The name of the zone of this number.
    pub fn zone_name(&self, number: u32) -> Option<Arc<str>> {
        self.zones.key(number)
    }

    /// To how many replies response rate limiting did this, over all workers. Replies that it does not look at, as
    /// those over TCP, are in none of these.
    pub fn rate_limited(&self, what: RateLimited) -> u64 {
        self.workers.totals().rate_limited[what as usize]
    }

    /// A block for the connections of one more worker.
    pub(super) fn tcp_worker(&self) -> Arc<TcpCounters> {
        let block = Arc::new(TcpCounters::default());
        self.connections().blocks.push(block.clone());
        block
    }

    /// TCP connections accepted, over all workers. Each is open, or was closed for exactly one reason.
    pub fn tcp_accepted(&self) -> u64 {
        let tcp = self.connections();
        tcp.accepted + tcp.blocks.iter().map(|block| block.accepted()).sum::<u64>()
    }

    /// TCP connections open now, over all workers.
    pub fn tcp_open(&self) -> u64 {
        self.connections().blocks.iter().map(|block| block.open()).sum()
    }

    /// TCP connections closed for this reason, over all workers.
    pub fn tcp(&self, why: Closed) -> u64 {
        let tcp = self.connections();
        tcp.closed[why as usize] + tcp.blocks.iter().map(|block| block.closed(why)).sum::<u64>()
    }

    fn connections(&self) -> MutexGuard<'_, TcpTotals> {
        let mut tcp = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        tcp.retire();
        tcp
    }
}

impl TcpTotals {
    /// Takes over what ended workers counted, and lets go of their counters.
    fn retire(&mut self) {
        for block in std::mem::take(&mut self.blocks) {
            // Nobody else has it: the worker is gone, and all that it wrote is to be seen.
            match Arc::try_unwrap(block) {
                Ok(block) => {
                    self.accepted += block.accepted();
                    Closed::ALL.into_iter().for_each(|why| self.closed[why as usize] += block.closed(why));
                    // What it did not live to close was closed with it.
                    self.closed[Closed::Stopped as usize] += block.open();
                }
                Err(block) => self.blocks.push(block),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_number() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        for (index, what) in RateLimited::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, index);
        }
    }

    fn outcomes(of: &[(Outcome, u64)]) -> [u64; Outcome::ALL.len()] {
        let mut outcomes = [0; Outcome::ALL.len()];
        of.iter().for_each(|(outcome, count)| outcomes[*outcome as usize] = *count);
        outcomes
    }

    fn count(worker: &mut Tally, transport: Transport, outcome: Outcome, zone: u32, leader: u32) {
        worker.count(transport, outcome, zone);
        worker.lead(leader);
    }

    #[test]
    fn workers_are_summed() {
        let counters = Counters::default();
        let (mut one, mut two) = (counters.worker(), counters.worker());
        count(&mut one, Transport::Udp, Outcome::NoData, 0, 0);
        count(&mut two, Transport::Udp, Outcome::NoData, 0, 0);
        count(&mut two, Transport::Udp, Outcome::Dropped, 0, 0);
        assert_eq!((counters.get(Outcome::NoData), counters.total()), (2, 3));
    }

    #[test]
    fn each_zone_and_transport_has_its_own_counts() {
        let counters = Counters::default();
        let zones: Vec<Arc<Meter>> = (0..300).map(|number| counters.meter(&format!("z{number}.test"))).collect();
        let mut worker = counters.worker();
        for zone in &zones {
            count(&mut worker, Transport::Udp, Outcome::Answered, zone.zone(), 0);
        }
        count(&mut worker, Transport::Quic, Outcome::NxDomain, zones[299].zone(), 0);
        count(&mut worker, Transport::Tcp, Outcome::FormErr, 0, 0);
        let by_zone = counters.by_zone();
        let row = |zone: &str, transport, of: &[(Outcome, u64)]| {
            let row = by_zone.iter().find(|row| row.zone == zone && row.transport == transport);
            assert_eq!(row.unwrap().outcomes, outcomes(of), "{zone} {transport}");
        };
        row("z0.test", Transport::Udp, &[(Outcome::Answered, 1)]);
        row("z299.test", Transport::Udp, &[(Outcome::Answered, 1)]);
        row("z299.test", Transport::Quic, &[(Outcome::NxDomain, 1)]);
        row("z299.test", Transport::Tcp, &[]);
        row("", Transport::Tcp, &[(Outcome::FormErr, 1)]);
        assert!(by_zone.iter().all(|row| row.transport != Transport::Tls), "no query came over TLS");
        assert_eq!(by_zone.iter().flat_map(|row| row.outcomes).sum::<u64>(), counters.total());
    }

    #[test]
    fn a_zone_that_is_made_anew_goes_on_counting() {
        let counters = Counters::default();
        let mut worker = counters.worker();
        for _ in 0..3 {
            let zone = counters.meter("z.test").zone();
            count(&mut worker, Transport::Udp, Outcome::Answered, zone, 0);
        }
        let rows = counters.by_zone();
        let row = rows.iter().find(|row| row.zone == "z.test" && row.transport == Transport::Udp).unwrap();
        assert_eq!(row.outcomes, outcomes(&[(Outcome::Answered, 3)]));
    }

    #[test]
    fn a_zone_that_takes_over_a_number_begins_with_nothing() {
        let counters = Counters::default();
        let mut worker = counters.worker();
        for number in 0..=ZONES {
            let zone = counters.meter(&format!("z{number}.test")).zone();
            count(&mut worker, Transport::Udp, Outcome::Answered, zone, 0);
        }
        let rows = counters.by_zone();
        assert!(rows.iter().all(|row| row.zone != "z0.test"), "the one gone for longest gave way");
        let last = rows.iter().find(|row| row.zone == format!("z{ZONES}.test")).unwrap();
        assert_eq!(last.outcomes, outcomes(&[(Outcome::Answered, 1)]));
    }

    #[test]
    fn leads_are_counted_by_zone_and_node() {
        let counters = Counters::default();
        let (a, b, node) = (counters.meter("a.test"), counters.meter("b.test"), IpAddr::from([10, 0, 0, 1]));
        let slots: Vec<_> = [&a, &b].iter().map(|meter| meter.node(node).unwrap()).collect();
        let mut worker = counters.worker();
        (0..2).for_each(|_| count(&mut worker, Transport::Udp, Outcome::Answered, a.zone(), slots[0].number()));
        count(&mut worker, Transport::Udp, Outcome::Answered, b.zone(), slots[1].number());
        count(&mut worker, Transport::Udp, Outcome::Answered, b.zone(), 0);
        let led = [("a.test".to_owned(), node, 2), ("b.test".to_owned(), node, 1)];
        assert_eq!(counters.leads(), led);
        drop(slots);
        assert_eq!(counters.leads(), led, "also when nobody answers with it");
    }

    #[test]
    fn what_ended_workers_counted_stays_and_their_counters_go() {
        let counters = Counters::default();
        for round in 1..=100 {
            let (mut worker, tcp) = (counters.worker(), counters.tcp_worker());
            count(&mut worker, Transport::Udp, Outcome::Answered, 0, 0);
            worker.block().unsent(2);
            worker.block().rate_limited(RateLimited::Passed);
            tcp.count_accepted();
            tcp.count_accepted();
            tcp.count_closed(Closed::Idle);
            let (total, unsent, passed) =
                (counters.total(), counters.unsent(), counters.rate_limited(RateLimited::Passed));
            assert_eq!((total, unsent, passed), (round, 2 * round, round));
            assert_eq!((counters.tcp_accepted(), counters.tcp_open()), (2 * round, 1));
            drop((worker, tcp));
            assert_eq!((counters.total(), counters.unsent()), (round, 2 * round));
            assert_eq!((counters.tcp_accepted(), counters.tcp_open()), (2 * round, 0));
            assert_eq!((counters.tcp(Closed::Idle), counters.tcp(Closed::Stopped)), (round, round));
        }
        assert_eq!((counters.workers.len(), counters.connections().blocks.len()), (0, 0));
    }
}
