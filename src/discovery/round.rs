//! One round: whom to ask about what, whom else when they do not answer, and when to stop waiting.
//!
//! Every home is a target. It is asked about in waves until enough have answered: observers of its own first, then
//! others of it, then nodes of other datacenters (any node can tell about any), then the seeds. The next wave goes
//! out when the one before has failed, or has been silent for a while; nobody waits for a node longer than the
//! round's patience. What arrives later counts in the next round, and until then the node is not asked again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    localnodes::{List, Question},
    membership::Home,
    merge::{QUORUM, Round},
    network::Network,
    observers::{Candidate, WANTED},
    poller::Poller,
    seeds::Resolved,
    stats::add,
    told::Views,
    visit::{Event, Order, Visit},
};
use crate::model::Listing;

/// The longest a round waits for answers. A node slower than this still votes, one round late.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shortest: nodes in another region take a few round trips of 100 ms, however often the operator wants to poll.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);

/// The patience when seed names must be resolved first: resolvers repeat a lost packet after a second or more.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(3);

/// A wave that is silent for this share of the patience is followed by the next: all waves get their chance.
const WAVES_IN_PATIENCE: u32 = 4;

/// Seeds are asked in the first round and every so many rounds again, so that one standing in a datacenter that
/// nobody else tells of contributes it.
const SEED_ROUNDS: u64 = 30;

/// An answer that waited longer than this for a round to begin (an idle poller) describes the past.
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(5);

/// A round in the making.
#[derive(Debug)]
pub(super) struct Gathering {
    answers: BTreeMap<(Question, IpAddr), BTreeSet<IpAddr>>,
    /// What tables told.
    pub(super) views: Views,
    targets: BTreeMap<Home, Target>,
    /// What is still to be asked of whom.
    orders: BTreeMap<IpAddr, Order>,
    /// Observers whose visits of this round are not over.
    open: BTreeSet<IpAddr>,
    /// Seeds were turned to in this round.
    seeds_asked: bool,
    deadline: Instant,
}

/// A home in this round.
#[derive(Debug, Default)]
struct Target {
    asked: BTreeSet<IpAddr>,
    voters: BTreeSet<IpAddr>,
    wave: Wave,
}

/// Who was asked about a target last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wave {
    #[default]
    First,
    Others,
    Elsewhere,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Gathering {
            answers: BTreeMap::new(),
            views: Views::new(),
            targets: BTreeMap::new(),
            orders: BTreeMap::new(),
            open: BTreeSet::new(),
            seeds_asked: false,
            deadline: Instant::now(),
        }
    }

    fn lists_anything(&self) -> bool {
        self.answers.values().any(|listed| !listed.is_empty())
    }
}

impl<N: Network> Poller<N> {
    /// Asks around once; `None` when told to stop.
    pub(super) async fn gather(&mut self) -> Option<Round> {
        self.begin_round();
        let hedge = self.patience() / WAVES_IN_PATIENCE;
        let mut next_wave = Instant::now() + hedge;
        loop {
            self.dispatch();
            if self.gathering.open.is_empty() && !self.hosts.holds_answers() {
                if self.send_waves(WANTED) {
                    continue;
                }
                if !self.waits_for_seeds() {
                    break;
                }
            }
            let deadline = self.gathering.deadline;
            if Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                Some(event) = self.events.recv() => self.take(event),
                () = sleep_until(next_wave.min(deadline)) => {
                    self.send_waves(QUORUM);
                    next_wave = Instant::now() + hedge;
                }
            }
        }
        self.release_answers(true);
        let gathering = std::mem::replace(&mut self.gathering, Gathering::new());
        let flat = self.observers.flat().filter(|flat| *flat || self.tells_places(&gathering));
        let Gathering { answers, views, .. } = gathering;
        Some(Round { answers, legacy: self.observers.legacy(), views, flat })
    }

    /// Whether somebody told of a named datacenter in the round, or there is none to tell of. Until then a cluster that
    /// was flat stays so: its scopes would be empty in between.
    fn tells_places(&self, gathering: &Gathering) -> bool {
        let mut questions = gathering.answers.keys().map(|(question, _)| question);
        self.names.is_empty() || questions.any(|question| matches!(question, Question::Datacenter(_)))
    }

    /// How long this round may wait. A poller that asks often should not be held up for long by one slow node.
    pub(super) fn patience(&self) -> Duration {
        self.cluster.active_interval.clamp(LEAST_PATIENCE, PATIENCE)
    }

    fn begin_round(&mut self) {
        self.round += 1;
        self.pace_tables();
        self.gathering = Gathering::new();
        self.gathering.deadline = Instant::now() + self.patience();
        let known = self.names.datacenters().map(|dc| Home::Named(dc.clone()));
        // Where every server is legacy, nobody can tell about a datacenter without members.
        let known = known.filter(|_| self.observers.flat() != Some(true));
        for home in self.membership.homes().into_iter().chain(known) {
            self.gathering.targets.entry(home).or_default();
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        let homes: Vec<Home> = self.gathering.targets.keys().cloned().collect();
        for home in &homes {
            let observers = self.first_observers(home);
            self.order(home, observers);
        }
        if self.round % SEED_ROUNDS == 1 {
            self.ask_seeds();
        }
    }

    /// The first wave: observers of the home itself, filled up from elsewhere where it has too few that answer.
    fn first_observers(&mut self, home: &Home) -> Vec<IpAddr> {
        let mut observers = self.pick(self.own(home, true), WANTED);
        if observers.len() < WANTED {
            observers.extend(self.pick_elsewhere(home, WANTED - observers.len()));
        }
        if observers.is_empty() { self.pick(self.own(home, false), WANTED) } else { observers }
    }

    /// Sends the next wave for each target with fewer votes than `enough`; turns to the seeds when the waves are used
    /// up and a target, or the whole round, has no answer. Whether anybody is to be asked by it.
    ///
    /// Where observers failed, all votes wanted are worth asking others for, because one that errs is outvoted by two
    /// and not by one; where they are only slow, a quorum is.
    fn send_waves(&mut self, enough: usize) -> bool {
        let lacking = |target: &Target| target.voters.len() < enough;
        let homes: Vec<Home> =
            self.gathering.targets.iter().filter(|(_, target)| lacking(target)).map(|(home, _)| home.clone()).collect();
        let mut asks = false;
        let mut unanswered = !self.gathering.lists_anything() && self.gathering.open.is_empty();
        for home in homes {
            let observers = self.next_observers(&home);
            let silent = self.gathering.targets.get(&home).is_some_and(|target| target.voters.is_empty());
            unanswered |= silent && observers.is_empty();
            asks |= !observers.is_empty();
            self.order(&home, observers);
        }
        if !asks && unanswered && !self.gathering.seeds_asked {
            self.ask_seeds();
            asks = !self.gathering.orders.is_empty();
        }
        asks
    }

    /// Observers of the next wave that has any. Nodes that rest are disturbed only while nobody has answered.
    fn next_observers(&mut self, home: &Home) -> Vec<IpAddr> {
        while let Some(target) = self.gathering.targets.get_mut(home) {
            let awake_only = !target.voters.is_empty();
            let wanted = WANTED.saturating_sub(target.voters.len());
            target.wave = match target.wave {
                Wave::First => Wave::Others,
                Wave::Others => Wave::Elsewhere,
                Wave::Elsewhere => break,
            };
            let observers = if target.wave == Wave::Others {
                self.pick(self.own(home, awake_only), wanted)
            } else {
                self.pick_elsewhere(home, wanted)
            };
            if !observers.is_empty() {
                return observers;
            }
        }
        Vec::new()
    }

    /// Members of a home that can be asked now; `awake`: without those that left or rest.
    fn own(&self, home: &Home, awake: bool) -> Vec<Candidate> {
        let members = self.membership.entries.iter().filter(|(_, entry)| entry.home == *home);
        let fit = members
            .filter(|(node, entry)| !awake || (entry.listing == Listing::Listed && !self.observers.rests(**node)));
        let candidates = fit.map(|(&node, entry)| (node, entry.rack.clone()));
        candidates.filter(|(node, _)| self.is_free_for(*node, home)).collect()
    }

    /// Members of other homes that can tell about a named one; those that get questions in this round anyway first,
    /// because their connections are open.
    fn pick_elsewhere(&mut self, home: &Home, wanted: usize) -> Vec<IpAddr> {
        if !matches!(home, Home::Named(_)) {
            return Vec::new();
        }
        let elsewhere = self.membership.entries.iter().filter(|(node, entry)| {
            entry.home != *home
                && entry.listing == Listing::Listed
                && !self.observers.rests(**node)
                && !self.observers.ignores_places(**node)
                && self.is_free_for(**node, home)
        });
        let (busy, idle): (Vec<Candidate>, Vec<Candidate>) = elsewhere
            .map(|(&node, entry)| (node, entry.rack.clone()))
            .partition(|(node, _)| self.gathering.orders.contains_key(node) || self.gathering.open.contains(node));
        let mut picked = self.pick(busy, wanted);
        picked.extend(self.pick(idle, wanted - picked.len()));
        picked
    }

    fn pick(&mut self, candidates: Vec<Candidate>, wanted: usize) -> Vec<IpAddr> {
        self.observers.pick(candidates, wanted, &mut self.rng)
    }

    /// Whether a node was not yet asked about the home in this round and has no request of an earlier one under way.
    fn is_free_for(&self, node: IpAddr, home: &Home) -> bool {
        let asked = self.gathering.targets.get(home).is_some_and(|target| target.asked.contains(&node));
        !asked && (!self.observers.in_flight(node) || self.gathering.open.contains(&node))
    }

    /// Puts the questions about a home on the observers' lists.
    fn order(&mut self, home: &Home, observers: Vec<IpAddr>) {
        for observer in observers {
            self.gathering.targets.entry(home.clone()).or_default().asked.insert(observer);
            let order = self.gathering.orders.entry(observer).or_default();
            match home {
                Home::Named(dc) => {
                    order.questions.push(Question::Datacenter(dc.clone()));
                    let racks = self.names.racks(dc);
                    order.questions.extend(racks.map(|rack| Question::Rack(dc.clone(), rack.clone())));
                }
                Home::Nameless(_) | Home::Unknown => order.plain = true,
            }
        }
    }

    /// Turns to the seeds: those with an address at once, the others when their names are resolved.
    fn ask_seeds(&mut self) {
        self.gathering.seeds_asked = true;
        self.order_of_seeds(self.seeds.at_hand());
        for (seed, name) in self.seeds.begin_look_ups() {
            let (network, events) = (self.network.clone(), self.sender.clone());
            self.tasks.spawn(async move {
                let result = network.look_up(&name).await;
                let _ = events.send(Event::Resolved(Resolved { seed, result })).await;
            });
        }
        let wait = if self.seeds.resolving() { LOOK_UP_PATIENCE } else { self.patience() };
        self.extend_deadline(wait);
    }

    /// Gives seeds their time when nobody else has answered.
    fn extend_deadline(&mut self, wait: Duration) {
        if !self.gathering.lists_anything() {
            self.gathering.deadline = self.gathering.deadline.max(Instant::now() + wait);
        }
    }

    /// Asks seeds everything: a seed may stand in any datacenter, or be the only one to tell about all of them.
    fn order_of_seeds(&mut self, seeds: Vec<IpAddr>) {
        let homes: Vec<Home> = self.names.datacenters().map(|dc| Home::Named(dc.clone())).collect();
        for seed in seeds {
            if self.observers.in_flight(seed) && !self.gathering.open.contains(&seed) {
                continue;
            }
            let order = self.gathering.orders.entry(seed).or_default();
            (order.plain, order.everything) = (true, true);
            for home in &homes {
                if self.is_free_for(seed, home) {
                    self.order(home, vec![seed]);
                }
            }
        }
    }

    /// Whether a look-up may still bring somebody to ask, and nobody else has answered.
    fn waits_for_seeds(&self) -> bool {
        self.gathering.seeds_asked && self.seeds.resolving() && !self.gathering.lists_anything()
    }

    /// Begins the visits that can begin: one at a time per node.
    fn dispatch(&mut self) {
        let ready: Vec<IpAddr> =
            self.gathering.orders.keys().copied().filter(|&node| !self.observers.in_flight(node)).collect();
        for observer in ready {
            let Some(order) = self.gathering.orders.remove(&observer) else { continue };
            let visit = Visit {
                network: self.network.clone(),
                observer,
                capability: self.observers.begin(observer, self.round),
                order,
                turn: self.turn(observer),
                reader: self.reader.clone(),
                events: self.sender.clone(),
                stats: self.stats.clone(),
            };
            self.gathering.open.insert(observer);
            self.tasks.spawn(visit.run());
        }
        // Ended tasks are collected here; what they had to say came by the channel. A panic in one is a bug, and goes
        // on: without its last word the node would never be asked again, and nobody would know why.
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Takes in what a task says, in time or late.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Answer { observer, question, list, at } => self.take_answer(observer, question, list, at),
            Event::View { observer, view, order, took, at } => self.take_view(observer, view, &order, took, at),
            Event::NoView { observer, failure } => self.take_no_view(observer, failure),
            Event::Checked { observer, capability } => self.observers.checked(observer, capability),
            Event::Done { observer, failure } => {
                if let Some(failure) = &failure {
                    self.stats.count_failure(failure);
                    self.gathering.orders.remove(&observer);
                }
                self.observers.end(observer, failure.as_ref());
                self.gathering.open.remove(&observer);
            }
            Event::Host { name, result } => self.take_host(&name, result),
            Event::Resolved(resolved) => {
                if resolved.result.is_err() {
                    add(&self.stats.unresolved_seeds, 1);
                }
                let addresses = self.seeds.resolved(resolved);
                self.order_of_seeds(addresses);
                self.extend_deadline(self.patience());
            }
        }
    }

    fn take_answer(&mut self, observer: IpAddr, question: Question, list: List, at: Instant) {
        add(&self.stats.answers, 1);
        self.observers.report_skips(observer, &list);
        if at.elapsed() <= LATE_ANSWER {
            self.take_list(observer, question, list, at);
        }
    }

    /// An answer, from wherever it was learnt.
    pub(super) fn note_answer(&mut self, observer: IpAddr, question: Question, listed: BTreeSet<IpAddr>) {
        let home = match &question {
            Question::Datacenter(dc) => Some(Home::Named(dc.clone())),
            Question::Plain => Some(self.membership.home_of(observer))
                .filter(|home| !matches!(home, Home::Named(_)) || self.observers.ignores_places(observer)),
            Question::Rack(..) | Question::Impossible => None,
        };
        if let Some(target) = home.and_then(|home| self.gathering.targets.get_mut(&home)) {
            target.voters.insert(observer);
        }
        if !self.gathering.lists_anything() && !listed.is_empty() {
            // Somebody is there: from here on the others get no more than the usual time.
            self.gathering.deadline = self.gathering.deadline.min(Instant::now() + self.patience());
        }
        self.gathering.answers.insert((question, observer), listed);
    }
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "live_tests.rs"]
mod live_tests;
