//! Until when the last answer that held an address may be believed somewhere: when a drained node may be stopped.
//!
//! An address is *answered* as long as the Table served deals it, in an address answer or a list of services. (A node's
//! own name is its identity; it stays, and does not count.) When a Table without it is swapped in, queries that were
//! read before are still answered from the old one, so the address is *leaving* until nobody reads that any more, which
//! takes milliseconds. From then on its TTL runs, in whatever caches it got to; after it, the address is gone.
//!
//! Outside of this promise: resolvers and clients that keep answers for longer than their TTL says.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::{
    model::Node,
    table::{CompiledZone, Table},
};

/// How long an earlier process may have gone on answering after this one began: as long as a stop may take.
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Tables waited for at most. A reader has a Table for the time of one batch of queries; one that is held for longer
/// than so many changes is held by somebody who answers nothing from it.
const WAITED_FOR: usize = 64;

/// Addresses whose TTL runs, at most; any cluster has fewer. Where there are more, all addresses count as answered until
/// the last of them is gone.
const LEFT_AT_MOST: usize = 100_000;

/// The addresses that a zone's answers hold, and the longest TTL they are answered with, seconds.
type Held = FxHashMap<IpAddr, (Node, u32)>;

/// When an address was answered last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// Longer ago than its TTL, or never.
    Gone,
    /// Answers with it may be believed until then.
    Until(Instant),
    /// No longer, but somebody may still be answering from an older Table.
    Leaving,
    /// Now.
    Now,
}

/// Who was answered until when. Clones are the same register; the controller writes it.
#[derive(Clone, Debug)]
pub struct Departures(Arc<Mutex<Register>>);

#[derive(Debug)]
struct Register {
    /// What the Table served holds.
    now: Vec<HeldBy>,
    /// Tables that were served before and may still be read, the oldest first, and what they hold.
    before: VecDeque<(Weak<Table>, Vec<HeldBy>)>,
    /// By zone: addresses that left, and until when they may be believed.
    left: BTreeMap<String, BTreeMap<IpAddr, (Node, Instant)>>,
    /// Until when any address may be believed, whatever is known of it: an earlier process may have answered it.
    any: Instant,
    /// An earlier process answers beside this one.
    beside: bool,
    /// The longest TTL an earlier process may answer with.
    longest: Duration,
}

/// What one compiled zone holds.
#[derive(Clone, Debug)]
struct HeldBy {
    name: String,
    /// For telling whether a zone was compiled again.
    zone: Weak<CompiledZone>,
    held: Arc<Held>,
}

impl Departures {
    /// `longest`: the longest TTL that an earlier process may have answered with just before this one began.
    pub fn new(longest: Duration) -> Self {
        let any = Instant::now() + longest + PREDECESSOR_ENDS_WITHIN;
        let (now, before, left) = Default::default();
        Departures(Arc::new(Mutex::new(Register { now, before, left, any, beside: false, longest })))
    }

    /// The process that this one replaces answers as long as it is not said to have ended: nothing is gone before.
    pub fn predecessor_serves(&self) {
        self.register().beside = true;
    }

    /// The process that this one replaces has given its last answer.
    pub fn predecessor_ended(&self) {
        let mut register = self.register();
        register.beside = false;
        register.any = register.any.max(Instant::now() + register.longest);
    }

    /// Swaps a Table in, and returns the one that was served.
    pub fn swap(&self, table: &ArcSwap<Table>, new: Arc<Table>) -> Arc<Table> {
        let known = self.register().now.clone();
        let held: Vec<HeldBy> = new.zones().map(|zone| HeldBy::of(zone, &known)).collect();
        // In one step for whoever asks: at no moment is an address in neither.
        let mut register = self.register();
        let old = table.swap(new);
        let held = std::mem::replace(&mut register.now, held);
        register.before.push_back((Arc::downgrade(&old), held));
        if register.before.len() > WAITED_FOR
            && let Some((_, held)) = register.before.pop_front()
        {
            register.leave(&held, Instant::now());
        }
        old
    }

    /// Looks which Tables nobody reads any more; `now`: a moment after they were let go.
    pub fn settle(&self, now: Instant) {
        let mut register = self.register();
        let before = std::mem::take(&mut register.before);
        let (done, waiting): (VecDeque<_>, _) = before.into_iter().partition(|(table, _)| table.strong_count() == 0);
        register.before = waiting;
        for (_, held) in done {
            register.leave(&held, now);
        }
        for left in register.left.values_mut() {
            left.retain(|_, (_, until)| *until > now);
        }
        register.left.retain(|_, left| !left.is_empty());
    }

    /// Whether [`Departures::settle`] has something to look at.
    pub fn is_waiting(&self) -> bool {
        !self.register().before.is_empty()
    }

    /// When an address was answered last in a zone.
    pub fn last_answered(&self, zone: &str, address: IpAddr) -> Answered {
        let (register, now) = (self.register(), Instant::now());
        let holds = |zones: &[HeldBy]| zones.iter().any(|held| held.name == zone && held.held.contains_key(&address));
        if holds(&register.now) {
            return Answered::Now;
        }
        if register.beside || register.before.iter().any(|(_, zones)| holds(zones)) {
            return Answered::Leaving;
        }
        let left = register.left.get(zone).and_then(|left| left.get(&address)).map(|(_, until)| *until);
        match left.unwrap_or(register.any).max(register.any) {
            until if until > now => Answered::Until(until),
            _ => Answered::Gone,
        }
    }

    /// The nodes of a zone that left its answers and are not gone yet.
    pub fn departing(&self, zone: &str) -> Vec<Node> {
        let register = self.register();
        let left = register.left.get(zone).into_iter().flat_map(BTreeMap::values).map(|(node, _)| node.clone());
        let leaving = register.before.iter().flat_map(|(_, zones)| zones).filter(|held| held.name == zone);
        let leaving = leaving.flat_map(|held| held.held.values().map(|(node, _)| node.clone()));
        let nodes: BTreeMap<IpAddr, Node> = leaving.chain(left).map(|node| (node.address, node)).collect();
        nodes.into_values().collect()
    }

    /// Never held for longer than it takes to look through a few thousand addresses.
    fn register(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    /// Nobody answers from a Table that held these any more.
    fn leave(&mut self, zones: &[HeldBy], now: Instant) {
        for HeldBy { name, held, .. } in zones {
            let current = self.now.iter().find(|current| current.name == *name).map(|current| current.held.clone());
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, held)) {
                continue;
            }
            let left = self.left.entry(name.clone()).or_default();
            for (address, (node, ttl)) in held.iter() {
                // What is answered now, for as long at least, leaves later.
                let is_outlived = |current: &Arc<Held>| current.get(address).is_some_and(|(_, now)| now >= ttl);
                if current.as_ref().is_some_and(is_outlived) {
                    continue;
                }
                let until = now + Duration::from_secs(u64::from(*ttl));
                let known = left.entry(*address).or_insert_with(|| (node.clone(), until));
                known.1 = known.1.max(until);
            }
        }
        if self.left.values().map(BTreeMap::len).sum::<usize>() > LEFT_AT_MOST {
            let untils = self.left.values().flat_map(BTreeMap::values).map(|(_, until)| *until);
            self.any = untils.fold(self.any, Instant::max);
            self.left.clear();
        }
    }
}

impl HeldBy {
    /// `known`: what zones hold that may not have been compiled again.
    fn of(zone: &Arc<CompiledZone>, known: &[HeldBy]) -> Self {
        let same = known.iter().find(|known| std::ptr::eq(known.zone.as_ptr(), Arc::as_ptr(zone)));
        same.cloned().unwrap_or_else(|| HeldBy {
            name: zone.source.config.name(),
            zone: Arc::downgrade(zone),
            held: Arc::new(held(zone)),
        })
    }
}

/// The nodes that a zone's answers hold.
fn held(zone: &CompiledZone) -> Held {
    let mut held = Held::default();
    let mut note = |node: &Node, ttl: u32| {
        let known = held.entry(node.address).or_insert_with(|| (node.clone(), ttl));
        known.1 = known.1.max(ttl);
    };
    for dealt in &zone.dealt {
        dealt.deck.nodes().iter().for_each(|node| note(node, dealt.deck.ttl()));
    }
    for scope in &zone.plan.scopes {
        let ttl = zone.plan.ttl(&zone.source, scope);
        scope.best_nodes().for_each(|node| note(node, ttl));
    }
    held
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;
    use crate::{
        config::{Seed, ZoneConfig},
        model::{ClusterView, Health, Member, Source, Topology},
        table::{ZonePlan, ZoneSource, compile_zone},
        zone::file::StaticZone,
    };

    const ZONE: &str = "z.test";

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// A Table whose one zone answers these nodes.
    fn table(nodes: &[u8], ttl: u64) -> Arc<Table> {
        let mut config = ZoneConfig::new(Name::from_ascii("z.test.").unwrap());
        config.cluster.seeds = vec![Seed::Address(address(1))];
        config.ttl = Duration::from_secs(ttl);
        let source = ZoneSource {
            config,
            statics: StaticZone::default(),
            listen: Vec::new(),
            demand: Arc::default(),
            meter: Arc::default(),
        };
        let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
        for last in nodes {
            let node = Node { address: address(*last), datacenter: None, rack: None };
            let member = Member::new(node);
            topology.members.insert(address(*last), member);
        }
        let health = Arc::new(Health { disabled: true, ..Health::default() });
        let view = ClusterView { topology: Arc::new(topology), health, ..ClusterView::default() };
        let plan = ZonePlan::new(&source, &view);
        let zone = compile_zone(Arc::new(source), plan, 1, None, 1);
        Arc::new(Table::new([Arc::new(zone)]))
    }

    /// A register without a predecessor, and the Table served.
    fn begin(first: &Arc<Table>) -> (Departures, ArcSwap<Table>) {
        let departures = Departures::new(Duration::ZERO);
        departures.register().any = Instant::now();
        let served = ArcSwap::from_pointee(Table::default());
        departures.swap(&served, first.clone());
        (departures, served)
    }

    #[test]
    fn an_address_is_gone_a_ttl_after_its_last_reader() {
        let (departures, served) = begin(&table(&[1, 2], 60));
        let answered = |last| departures.last_answered(ZONE, address(last));
        assert_eq!([1, 2, 3].map(answered), [Answered::Now, Answered::Now, Answered::Gone]);
        assert_eq!(departures.last_answered("other.test", address(1)), Answered::Gone);
        let reader = served.load();
        drop(departures.swap(&served, table(&[1], 60)));
        departures.settle(Instant::now());
        assert_eq!([1, 2].map(answered), [Answered::Now, Answered::Leaving], "somebody still reads");
        assert!(departures.is_waiting());
        drop(reader);
        let let_go = Instant::now();
        departures.settle(let_go);
        let until = let_go + Duration::from_secs(60);
        assert_eq!([1, 2].map(answered), [Answered::Now, Answered::Until(until)]);
        assert_eq!(departures.departing(ZONE).iter().map(|node| node.address).collect::<Vec<_>>(), [address(2)]);
        assert!(!departures.is_waiting());
        // As it would be a minute later.
        departures.settle(until);
        assert_eq!((answered(2), departures.departing(ZONE)), (Answered::Gone, Vec::new()));
        // One that comes back is answered.
        drop(departures.swap(&served, table(&[1, 2], 60)));
        assert_eq!(answered(2), Answered::Now);
    }

    #[test]
    fn the_longest_ttl_counts_though_the_last_was_shorter() {
        let (departures, served) = begin(&table(&[1, 2], 60));
        let start = Instant::now();
        for next in [table(&[1, 2], 1), table(&[1], 1)] {
            drop(departures.swap(&served, next));
            departures.settle(start);
        }
        let answered = |last| departures.last_answered(ZONE, address(last));
        assert_eq!(answered(2), Answered::Until(start + Duration::from_secs(60)));
        assert_eq!(answered(1), Answered::Now);
    }

    #[test]
    fn what_an_earlier_process_answered_may_be_believed_for_a_ttl() {
        let start = Instant::now();
        let departures = Departures::new(Duration::from_secs(60));
        let Answered::Until(until) = departures.last_answered(ZONE, address(1)) else { panic!() };
        assert!(until >= start + Duration::from_secs(60), "it may have answered until just now");
        departures.predecessor_serves();
        assert_eq!(departures.last_answered(ZONE, address(1)), Answered::Leaving, "it may answer at any time");
        let ended = Instant::now();
        departures.predecessor_ended();
        let Answered::Until(until) = departures.last_answered(ZONE, address(1)) else { panic!() };
        assert!(until >= ended + Duration::from_secs(60));
    }

    #[test]
    fn readers_that_never_let_go_are_not_waited_for_for_ever() {
        let (departures, served) = begin(&table(&[1, 2], 60));
        let mut held = Vec::new();
        for turn in 0..=WAITED_FOR {
            held.push(departures.swap(&served, table(&[if turn % 2 == 0 { 1 } else { 3 }], 60)));
        }
        departures.settle(Instant::now());
        assert_eq!(departures.register().before.len(), WAITED_FOR);
        let answered = |last| departures.last_answered(ZONE, address(last));
        assert!(matches!(answered(2), Answered::Until(_)), "counted as let go");
        assert_eq!([1, 3].map(answered), [Answered::Now, Answered::Leaving]);
    }

    #[test]
    fn more_addresses_than_can_be_kept_make_all_wait() {
        let (departures, _served) = begin(&table(&[1], 60));
        let node = |number: u32| Node { address: IpAddr::V4(number.into()), datacenter: None, rack: None };
        let many = (0..=LEFT_AT_MOST as u32).map(|number| (node(number).address, (node(number), 60))).collect();
        let held = HeldBy { name: "other.test".to_owned(), zone: Weak::new(), held: Arc::new(many) };
        let now = Instant::now();
        departures.register().leave(&[held], now);
        assert!(departures.register().left.is_empty());
        assert_eq!(departures.last_answered(ZONE, address(9)), Answered::Until(now + Duration::from_secs(60)));
    }
}
