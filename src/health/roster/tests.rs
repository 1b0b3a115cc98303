use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    net::Ipv4Addr,
    sync::Arc,
    time::SystemTime,
};

use proptest::prelude::*;

use super::*;
use crate::{
    health::schedule::Schedule,
    model::{Member, Node},
};

fn ms(milliseconds: u64) -> Moment {
    Duration::from_millis(milliseconds)
}

fn at(moment: Moment) -> Now {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + moment;
    Now { moment, wall: date, date }
}

fn node(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + index as u32))
}

fn topology(nodes: impl IntoIterator<Item = usize>) -> Topology {
    let member = |address| Member::new(Node { address, datacenter: Some(Arc::from("dc1")), rack: None });
    let members = nodes.into_iter().map(node).map(|address| (address, member(address))).collect();
    Topology { members, source: Source::Discovery, ..Topology::default() }
}

fn config() -> HealthConfig {
    HealthConfig {
        enabled: true,
        interval: ms(1000),
        timeout: ms(800),
        rise: 2,
        fall: 2,
        panic_threshold: 0.5,
        slow_start: Duration::ZERO,
    }
}

/// What a simulated node does with probes from a moment on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conduct {
    Answer,
    Refuse,
    Silent,
}

/// Nodes, the way to them, and a prober without sockets: the roster and the schedule driven by a list of events.
struct World {
    config: HealthConfig,
    roster: Roster,
    schedule: Schedule,
    dice: fastrand::Rng,
    /// Per node: from when on it does what, in order.
    conduct: Vec<Vec<(Moment, Conduct)>>,
    slowest: u64,
    now: Moment,
    /// Probes under way: completed when, node, started when.
    under_way: BinaryHeap<Reverse<(Moment, usize, Moment)>>,
    ripe_since: BTreeMap<IpAddr, Moment>,
}

impl World {
    fn new(nodes: usize, config: HealthConfig, seed: u64) -> Self {
        let mut world = World {
            roster: Roster::new(&config),
            schedule: Schedule::new(config.interval, seed),
            config,
            dice: fastrand::Rng::with_seed(seed),
            conduct: vec![vec![(ms(0), Conduct::Answer)]; nodes],
            slowest: 30,
            now: ms(0),
            under_way: BinaryHeap::new(),
            ripe_since: BTreeMap::new(),
        };
        world.follow(&topology(0..nodes));
        world
    }

    fn follow(&mut self, topology: &Topology) {
        self.roster.follow(topology, at(self.now));
        self.schedule.set_members(topology.members.keys(), self.now);
    }

    /// From `from` on these nodes do something else.
    fn change(&mut self, nodes: impl IntoIterator<Item = usize>, from: Moment, conduct: Conduct) {
        for index in nodes {
            self.conduct[index].push((from, conduct));
        }
    }

    fn conduct_at(&self, index: usize, moment: Moment) -> Conduct {
        self.conduct[index].iter().rev().find(|(from, _)| *from <= moment).unwrap().1
    }

    /// When a probe started now completes: an answer that would arrive after silence fell does not arrive.
    fn completion(&mut self, index: usize) -> Moment {
        let reply = self.now + ms(self.dice.u64(1..=self.slowest));
        let silent = |moment| self.conduct_at(index, moment) == Conduct::Silent;
        if silent(self.now) || silent(reply) || reply - self.now > self.config.timeout {
            self.now + self.config.timeout
        } else {
            reply
        }
    }

    fn outcome(&self, index: usize, started: Moment, completed: Moment) -> Result<(), Failure> {
        match self.conduct_at(index, started) {
            _ if completed - started >= self.config.timeout => Err(Failure::TimedOut),
            Conduct::Refuse => Err(Failure::Refused),
            _ => Ok(()),
        }
    }

    /// Goes from event to event until `end`, showing the published health after each.
    fn run(&mut self, end: Moment, mut look: impl FnMut(Moment, &Health)) {
        loop {
            for address in self.roster.awaited().collect::<Vec<_>>() {
                self.schedule.hurry(address, self.now);
            }
            while let Some(address) = self.schedule.start(self.now) {
                let index = (0..self.conduct.len()).find(|&index| node(index) == address).unwrap();
                let completion = self.completion(index);
                self.under_way.push(Reverse((completion, index, self.now)));
            }
            self.check_that_nobody_is_held_for_long();
            look(self.now, &self.roster.health());
            let completes = self.under_way.peek().map(|Reverse((completed, ..))| *completed);
            let next = [completes, self.schedule.next_start(), self.roster.deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if completes.is_some_and(|completes| completes <= self.now) {
                let Reverse((completed, index, started)) = self.under_way.pop().unwrap();
                let result = self.outcome(index, started, completed);
                self.roster.record(node(index), Probe { started, result }, at(self.now));
                self.schedule.finish(node(index), self.roster.pace(node(index)), self.now);
            } else {
                self.roster.weigh(at(self.now));
            }
        }
    }

    /// The bound promised in `panic`.
    fn check_that_nobody_is_held_for_long(&mut self) {
        let ripe: BTreeSet<IpAddr> = (self.roster.members.iter())
            .filter(|(_, seat)| seat.tracker.is_ripe(self.roster.thresholds.fall))
            .map(|(&address, _)| address)
            .collect();
        if self.roster.panic.distrusted() {
            self.ripe_since.clear();
            return;
        }
        self.ripe_since.retain(|address, _| ripe.contains(address));
        for address in ripe {
            let since = *self.ripe_since.entry(address).or_insert(self.now);
            // Where the members exceed the places of a lane, they wait for one another.
            let turns = 1 + self.conduct.len() as u32 / 192;
            let bound = self.config.timeout * 2 * turns + self.config.interval / 10;
            assert!(self.now - since <= bound, "{address} is held since {since:?}, now {:?}", self.now);
        }
    }
}

/// The nodes a planner deals: all are listed.
fn dealt(health: &Health) -> BTreeSet<IpAddr> {
    let silent = |failure: &Option<Failure>| failure.as_ref().is_some_and(Failure::is_silence);
    (health.nodes.iter())
        .filter(|(_, node)| node.state == NodeState::Up || (health.panic && silent(&node.failure)))
        .map(|(&address, _)| address)
        .collect()
}

fn all(nodes: usize) -> BTreeSet<IpAddr> {
    (0..nodes).map(node).collect()
}

#[test]
fn a_cluster_that_answers_is_up_after_a_fraction_of_a_second() {
    let mut world = World::new(10, config(), 1);
    world.run(ms(170), |_, _| {});
    assert_eq!(dealt(&world.roster.health()), all(10));
}

#[test]
fn one_silent_node_of_three_leaves_without_delay() {
    for seed in 0..200 {
        let mut world = World::new(3, config(), seed);
        world.change([1], ms(5000 + seed * 7), Conduct::Silent);
        let mut ripe = None;
        let mut left = None;
        world.run(ms(9500), |now, health| {
            assert!(!health.panic);
            // Down without hold would be at the second time-out in a row: the node's second failure.
            if dealt(health).len() == 2 && left.is_none() && now > ms(5000) {
                left = Some(now);
            }
            if health.of(node(1)).failure.is_some() && ripe.is_none() {
                ripe = Some(now + ms(800));
            }
        });
        let (left, ripe) = (left.unwrap(), ripe.unwrap());
        assert!(left - ripe <= ms(30), "a round trip at most: {:?}", left - ripe);
        assert!(left <= ms(5000 + seed * 7) + ms(1100 + 2 * 800 + 30), "{left:?}");
    }
}

#[test]
fn refused_nodes_leave_soon_however_many_they_are() {
    for seed in 0..50 {
        let mut world = World::new(10, config(), seed);
        world.change(0..6, ms(5000), Conduct::Refuse);
        world.run(ms(5000), |_, _| {});
        world.run(ms(5000 + 1600 + 60), |_, health| assert!(!health.panic));
        assert_eq!(dealt(&world.roster.health()), (6..10).map(node).collect());
        world.run(ms(20_000), |_, health| assert!(!health.panic));
        assert_eq!(dealt(&world.roster.health()), (6..10).map(node).collect());
    }
}

#[test]
fn a_refused_node_is_not_brought_back_by_panic() {
    let mut world = World::new(10, config(), 3);
    world.change([9], ms(5000), Conduct::Refuse);
    world.change(0..6, ms(10_000), Conduct::Silent);
    world.run(ms(10_000), |_, _| {});
    let mut panicked = false;
    world.run(ms(30_000), |_, health| {
        panicked |= health.panic;
        assert_eq!(dealt(health), (0..9).map(node).collect());
    });
    assert!(panicked);
}

#[test]
fn evidence_takes_a_node_out_in_the_middle_of_panic() {
    let mut world = World::new(10, config(), 3);
    world.change(0..7, ms(5000), Conduct::Silent);
    world.change([0], ms(15_000), Conduct::Refuse);
    world.run(ms(30_000), |_, _| {});
    assert!(world.roster.health().panic);
    assert_eq!(dealt(&world.roster.health()), (1..10).map(node).collect());
}

#[test]
fn panic_ends_when_the_cluster_stops_listing_the_silent_nodes() {
    let mut world = World::new(10, config(), 3);
    world.change(0..6, ms(5000), Conduct::Silent);
    world.run(ms(20_000), |_, _| {});
    assert!(world.roster.health().panic);
    world.follow(&topology(5..10));
    world.run(ms(30_000), |_, _| {});
    let health = world.roster.health();
    assert!(!health.panic && health.nodes.len() == 5);
    assert_eq!(health.of(node(5)).state, NodeState::Down, "one silent node of five is just dead");
}

#[test]
fn nodes_that_the_cluster_lists_no_more_neither_count_nor_are_held() {
    let mut world = World::new(10, config(), 3);
    world.run(ms(5000), |_, _| {});
    let mut left = topology(0..10);
    for member in left.members.values_mut().take(6) {
        member.listing = Listing::Left;
    }
    world.follow(&left);
    world.change(0..7, ms(5000), Conduct::Silent);
    world.run(ms(5000 + 1100 + 2 * 800 + 30), |_, health| assert!(!health.panic));
    assert_eq!(dealt(&world.roster.health()), (7..10).map(node).collect(), "one silent of four listed");
    world.change([7, 8], ms(10_000), Conduct::Silent);
    world.run(ms(20_000), |_, _| {});
    let health = world.roster.health();
    assert!(health.panic);
    assert_eq!(health.of(node(0)).state, NodeState::Down);
}

#[test]
fn a_node_not_listed_leaves_in_the_middle_of_panic() {
    let mut world = World::new(10, config(), 3);
    world.change(0..7, ms(5000), Conduct::Silent);
    world.run(ms(15_000), |_, _| {});
    let mut left = topology(0..10);
    if let Some(member) = left.members.get_mut(&node(0)) {
        member.listing = Listing::Left;
    }
    world.follow(&left);
    let health = world.roster.health();
    assert!(health.panic);
    assert_eq!((health.of(node(0)).state, health.of(node(1)).state), (NodeState::Down, NodeState::Up));
}

#[test]
fn more_nodes_than_places_fall_silent_and_no_answer_changes() {
    let mut world = World::new(500, config(), 3);
    world.run(ms(4000), |_, _| {});
    assert_eq!(dealt(&world.roster.health()), all(500));
    world.change(0..300, ms(4000), Conduct::Silent);
    let mut panicked = None;
    world.run(ms(9000), |now, health| {
        if health.panic {
            panicked.get_or_insert(now);
        }
        assert!(health.nodes.values().all(|node| node.state == NodeState::Up), "{now:?}");
    });
    assert!(panicked.is_some_and(|panicked| panicked <= ms(4000 + 1100 + 3 * 800)), "{panicked:?}");
    for index in 300..500 {
        let latest = world.roster.members[&node(index)].tracker.latest_started();
        assert!(latest.is_some_and(|latest| world.now - latest <= ms(1200)), "node {index} waits for hung ones");
    }
}

#[test]
fn a_silent_start_is_panic_and_deals_nodes_that_never_answered() {
    let mut world = World::new(10, config(), 3);
    world.conduct = vec![vec![(ms(0), Conduct::Silent)]; 10];
    world.run(ms(3000), |_, _| {});
    let health = world.roster.health();
    assert!(health.panic && health.nodes.values().all(|node| node.state == NodeState::Joining));
    assert_eq!(dealt(&health).len(), 10);
}

#[test]
fn a_silent_start_from_a_snapshot_is_no_panic() {
    let mut snapshot = topology(0..10);
    snapshot.stale = true;
    for member in snapshot.members.values_mut().take(4) {
        member.served_before = true;
    }
    let mut world = World::new(10, config(), 3);
    world.conduct = vec![vec![(ms(0), Conduct::Silent)]; 10];
    world.follow(&snapshot);
    world.run(ms(5000), |_, health| {
        assert!(!health.panic);
        let known = health.nodes.values().filter(|node| node.served_until == Some(SystemTime::UNIX_EPOCH)).count();
        assert_eq!(known, 4);
    });
}

#[test]
fn a_removed_node_is_not_revived_by_a_late_result_and_returns_with_its_history() {
    let mut world = World::new(4, config(), 3);
    world.change([3], ms(5000), Conduct::Refuse);
    world.run(ms(10_000), |_, _| {});
    let before = world.roster.health().of(node(3));
    assert_eq!(before.state, NodeState::Down);
    world.follow(&topology(0..3));
    world.roster.record(node(3), Probe { started: world.now, result: Ok(()) }, at(world.now));
    assert!(!world.roster.health().nodes.contains_key(&node(3)));
    world.run(ms(20_000), |_, _| {});
    world.follow(&topology(0..4));
    assert_eq!(world.roster.health().of(node(3)), before);
}

#[test]
fn a_node_that_drops_out_briefly_is_still_up_and_after_long_it_is_asked_first() {
    let mut world = World::new(4, config(), 3);
    world.run(ms(5000), |_, _| {});
    for (gap, state) in [(2000, NodeState::Up), (60_000, NodeState::Down)] {
        world.follow(&topology(0..3));
        world.run(world.now + ms(gap), |_, _| {});
        world.follow(&topology(0..4));
        assert_eq!(world.roster.health().of(node(3)).state, state, "after {gap} ms");
        world.run(world.now + ms(2000), |_, _| {});
        assert_eq!(world.roster.health().of(node(3)).state, NodeState::Up);
    }
}

#[test]
fn histories_are_bounded_in_number_and_age() {
    let mut roster = Roster::new(&config());
    for round in 0..20 {
        roster.follow(&topology(round * 100..round * 100 + 100), at(ms(round as u64 * 1000)));
    }
    assert_eq!(roster.absent.len(), HISTORY_NODES);
    assert!(roster.absent.contains_key(&node(1899)) && !roster.absent.contains_key(&node(0)));
    roster.follow(&topology([]), at(ms(100_000) + HISTORY_AGE));
    assert_eq!(roster.absent.len(), 100, "those that left just now");
}

#[test]
fn what_an_earlier_prober_knew_goes_on_without_a_change() {
    for (silent, panic) in [(1, false), (3, true)] {
        let mut world = World::new(5, config(), 3);
        world.run(ms(3000), |_, _| {});
        world.change([0], ms(3000), Conduct::Refuse);
        world.change(1..1 + silent, ms(3000), Conduct::Silent);
        world.run(ms(9000), |_, _| {});
        let health = world.roster.health();
        assert_eq!((health.panic, health.of(node(0)).state), (panic, NodeState::Down));
        // Other settings, a new prober: nobody sees a difference, then or after.
        let mut next = Roster::new(&HealthConfig { interval: ms(500), ..config() });
        next.resume(&health, at(world.now));
        next.follow(&topology(0..5), at(world.now));
        assert_eq!((next.health(), next.take_changed()), (health.clone(), false));
        (world.roster, world.schedule) = (next, Schedule::new(ms(500), 4));
        world.schedule.set_members(topology(0..5).members.keys(), world.now);
        world.under_way.clear();
        world.run(ms(15_000), |_, _| {});
        assert_eq!(world.roster.health(), health);
    }
}

#[test]
fn a_mere_success_is_no_change() {
    let mut world = World::new(4, config(), 3);
    world.run(ms(3000), |_, _| {});
    assert!(world.roster.take_changed());
    world.run(ms(30_000), |_, _| {});
    assert!(!world.roster.take_changed());
    world.change([0], ms(30_000), Conduct::Refuse);
    world.run(ms(32_000), |_, _| {});
    assert!(world.roster.take_changed());
}

fn any_config() -> impl Strategy<Value = HealthConfig> {
    // A time-out of at least a quarter of the interval: shorter ones make no sense, and the hold of panic counts on
    // more than the jitter.
    (500u64..2000, 0.25f64..2.0, 1u32..4, 1u32..4, 0.2f64..0.9).prop_map(|(interval, share, rise, fall, threshold)| {
        HealthConfig {
            enabled: true,
            interval: ms(interval),
            timeout: ms(interval).mul_f64(share),
            rise,
            fall,
            panic_threshold: threshold,
            slow_start: Duration::ZERO,
        }
    })
}

/// The smallest number of nodes that is more than the threshold.
fn beyond(nodes: usize, config: &HealthConfig) -> usize {
    (1..=nodes).find(|&count| count as f64 > config.panic_threshold * nodes as f64 + 1e-9).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Entering and leaving panic: the answers never change, whatever the phases of the probes.
    #[test]
    fn answers_stay_as_they_are_when_most_nodes_fall_silent_and_return(
        config in any_config(), nodes in 3usize..30, more in 0usize..30, outage in 0u64..4000, lasts in 0u64..20_000,
        seed in any::<u64>(), slowest in 2u64..100,
    ) {
        let silent = (beyond(nodes, &config) + more).min(nodes);
        let outage = ms(10_000 + outage);
        // An outage too short to be seen at most nodes is a few nodes' failure.
        let soon = config.interval.mul_f64(1.1) + config.timeout;
        let back = outage + soon + ms(lasts);
        let mut world = World::new(nodes, config.clone(), seed);
        world.slowest = slowest;
        world.change(0..silent, outage, Conduct::Silent);
        world.change(0..silent, back, Conduct::Answer);
        world.run(ms(10_000), |_, _| {});
        prop_assert_eq!(dealt(&world.roster.health()), all(nodes));
        let mut panicked = None;
        let mut lost = None;
        world.run(back + ms(30_000), |now, health| {
            if health.panic {
                panicked.get_or_insert(now);
            }
            if dealt(health) != all(nodes) || health.nodes.values().any(|node| node.state != NodeState::Up) {
                lost.get_or_insert(now);
            }
        });
        prop_assert_eq!(lost, None);
        prop_assert!(panicked.is_some_and(|panicked| panicked <= outage + soon), "{:?}", panicked);
        prop_assert!(!world.roster.health().panic);
    }

    /// The same with nodes that were dead before: once dealt under panic, none is lost while it becomes Up.
    #[test]
    fn nodes_that_panic_brought_back_stay_when_the_network_returns(
        config in any_config(), nodes in 3usize..30, dead in 1usize..5, seed in any::<u64>(), lasts in 0u64..10_000,
    ) {
        let all_silent = beyond(nodes, &config);
        let dead = dead.min(all_silent - 1);
        let mut world = World::new(nodes, config, seed);
        world.change(0..dead, ms(5000), Conduct::Silent);
        world.change(0..all_silent, ms(20_000), Conduct::Silent);
        let back = ms(30_000 + lasts);
        world.change(0..all_silent, back, Conduct::Answer);
        world.run(ms(20_000), |_, _| {});
        prop_assert_eq!(dealt(&world.roster.health()).len(), nodes - dead);
        world.run(back, |_, _| {});
        prop_assert!(world.roster.health().panic);
        let mut lost = None;
        world.run(back + ms(30_000), |now, health| {
            if dealt(health) != all(nodes) {
                lost.get_or_insert(now);
            }
        });
        prop_assert_eq!(lost, None);
        prop_assert!(!world.roster.health().panic);
    }

    /// All nodes silent, discovery's observers too: whenever the topology becomes stale, and current again, the same
    /// nodes stay Up.
    #[test]
    fn going_stale_changes_no_answer(
        config in any_config(), nodes in 1usize..20, stale_after in 0u64..10_000, seed in any::<u64>(),
    ) {
        let mut world = World::new(nodes, config, seed);
        let outage = ms(10_000);
        world.change(0..nodes, outage, Conduct::Silent);
        world.change(0..nodes, ms(40_000), Conduct::Answer);
        let mut lost = None;
        let mut look = |now, health: &Health| {
            if dealt(health) != all(nodes) {
                lost.get_or_insert(now);
            }
        };
        world.run(outage, |_, _| {});
        world.run(outage + ms(stale_after), &mut look);
        let current = topology(0..nodes);
        world.follow(&Topology { stale: true, ..current.clone() });
        world.run(ms(45_000), &mut look);
        world.follow(&current);
        world.run(ms(80_000), &mut look);
        prop_assert_eq!(lost, None);
        prop_assert!(!world.roster.health().panic);
    }

    /// Any mixture of conducts: nobody is held beyond the bound (checked at each step), a node is Up only after it
    /// answered, and in the end everybody is what it deserves.
    #[test]
    fn any_history_ends_well(
        config in any_config(),
        nodes in 1usize..12,
        changes in prop::collection::vec((0usize..12, 0u64..30_000, 0u8..3), 0..40),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(nodes, config, seed);
        let mut changes = changes;
        changes.sort_by_key(|change| change.1);
        for (index, from, what) in changes {
            let what = [Conduct::Answer, Conduct::Refuse, Conduct::Silent][what as usize];
            world.change([index % nodes], ms(from), what);
        }
        world.run(ms(60_000), |_, _| {});
        let health = world.roster.health();
        for index in 0..nodes {
            let conduct = world.conduct_at(index, ms(60_000));
            let health_of = health.of(node(index));
            match conduct {
                Conduct::Answer => prop_assert_eq!(health_of.state, NodeState::Up),
                Conduct::Refuse => prop_assert!(health_of.state != NodeState::Up),
                Conduct::Silent => prop_assert!(health.panic || health_of.state != NodeState::Up),
            }
        }
    }
}
