//! Observers' tables in a round: when they are read, and which answers follow from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    localnodes::Question,
    membership::{Home, Membership},
    names::Names,
    network::Network,
    observers::Readiness,
    poller::Poller,
    round::LATE_ANSWER,
    stats::add,
    tables::{TableFailure, TableView},
    visit::{Order, Turn},
};
use crate::config::DiscoveryMode;

/// Tables come first for one part in this many of a round's patience; the rest is for the lists, where they take longer.
const SHARE_OF_FIRST: u32 = 2;

/// Tables that come last leave one part in this many of the patience, so that the visit is over when the next round begins.
const MARGIN_OF_LAST: u32 = 10;

/// Least time between two rounds that read tables in `auto`; a little less than the usual interval, whose rounds are not to
/// be missed by a hair.
const TABLES_LEAST: Duration = Duration::from_millis(800);

/// So many members more make tables be read a second more seldom. A scan of `cluster_status` costs ScyllaDB its nodes times
/// their tokens, on one shard; lists cost it nothing, and are asked for in the rounds between.
const MEMBERS_A_SECOND: u32 = 25;

impl<N: Network> Poller<N> {
    /// Decides whether the round that begins reads tables, where lists would do.
    pub(super) fn pace_tables(&mut self) {
        let now = Instant::now();
        self.reads_tables = now >= self.tables_due;
        if self.reads_tables {
            self.tables_due = now + self.tables_interval();
        }
    }

    /// Time between two rounds that read tables.
    pub(super) fn tables_interval(&self) -> Duration {
        let members = u32::try_from(self.membership.entries.len()).unwrap_or(u32::MAX);
        TABLES_LEAST.max(Duration::from_secs((members / MEMBERS_A_SECOND).into()))
    }

    /// When a visit that begins now is to read the tables.
    pub(super) fn turn(&self, observer: IpAddr) -> Turn {
        let patience = self.patience();
        match (self.cluster.discovery, self.observers.readiness(observer)) {
            (DiscoveryMode::SystemTables, _) => Turn::Only,
            (DiscoveryMode::Localnodes, _) | (DiscoveryMode::Auto, Readiness::Resting) => Turn::Never,
            (DiscoveryMode::Auto, _) if !self.reads_tables => Turn::Never,
            (DiscoveryMode::Auto, Readiness::Ready) => Turn::First(Instant::now() + patience / SHARE_OF_FIRST),
            (DiscoveryMode::Auto, Readiness::Slow) => Turn::Last(Instant::now() + patience - patience / MARGIN_OF_LAST),
        }
    }

    /// Takes in an observer's tables: the answers that it would have given otherwise, and the view itself.
    pub(super) fn take_view(&mut self, observer: IpAddr, view: TableView, order: &Order, took: Duration, at: Instant) {
        self.stats.count_success(took);
        add(&self.stats.views, 1);
        add(&self.stats.skipped_entries, view.skipped);
        self.observers.read(observer, took > self.patience() / SHARE_OF_FIRST);
        if at.elapsed() > LATE_ANSWER {
            return;
        }
        self.names.learn(&view);
        let everything = order.everything || self.membership.lacks_places();
        for (question, listed) in answers(&view, order, everything, &self.names, &self.membership) {
            self.note_answer(observer, question, listed);
        }
        self.gathering.views.insert(observer, Arc::new(view));
    }

    /// Notes that an observer's tables could not be read.
    pub(super) fn take_no_view(&mut self, observer: IpAddr, failure: TableFailure) {
        add(&self.stats.failed_views, 1);
        self.observers.unread(observer, failure);
    }
}

/// What the observer would have answered: to everything it was asked, and, where it is asked for everything, about each
/// datacenter of which no node is listed yet. Racks are those with names, known before or learnt from the view.
fn answers(
    view: &TableView,
    order: &Order,
    everything: bool,
    names: &Names,
    membership: &Membership,
) -> BTreeMap<Question, BTreeSet<IpAddr>> {
    let mut answers: BTreeMap<Question, BTreeSet<IpAddr>> = BTreeMap::new();
    let asked = order.questions.iter().filter_map(|question| match question {
        Question::Datacenter(dc) => Some(dc.clone()),
        _ => None,
    });
    let mut about: BTreeSet<Arc<str>> = asked.collect();
    if order.plain
        && let Some(own) = &view.own_datacenter
    {
        answers.insert(Question::Plain, BTreeSet::new());
        about.extend(names.has(own).then(|| own.clone()));
    }
    if everything {
        let known = view.nodes.iter().map(|node| &node.datacenter).filter(|dc| names.has(dc));
        let unlisted = |dc: &&Arc<str>| membership.listed_in(&Home::Named((*dc).clone())).next().is_none();
        let unlisted: BTreeSet<Arc<str>> =
            known.collect::<BTreeSet<_>>().into_iter().filter(unlisted).cloned().collect();
        about.extend(unlisted);
    }
    for dc in &about {
        answers.insert(Question::Datacenter(dc.clone()), BTreeSet::new());
        for rack in names.racks(dc) {
            answers.insert(Question::Rack(dc.clone(), rack.clone()), BTreeSet::new());
        }
    }
    for node in view.nodes.iter().filter(|node| node.listed) {
        let (dc, rack) = (&node.datacenter, &node.rack);
        let is_own = view.own_datacenter.as_ref() == Some(dc);
        let questions = [
            is_own.then_some(Question::Plain),
            Some(Question::Datacenter(dc.clone())),
            rack.as_ref().map(|rack| Question::Rack(dc.clone(), rack.clone())),
        ];
        for question in questions.into_iter().flatten() {
            if let Some(listed) = answers.get_mut(&question) {
                listed.insert(node.address);
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        discovery::names::tests::view,
        model::{Source, Topology},
    };

    fn asked(plain: bool, questions: &[Question]) -> Order {
        Order { plain, questions: questions.to_vec(), everything: false }
    }

    /// `question: last octets`.
    fn told(view: &TableView, order: &Order, everything: bool, membership: &Membership) -> Vec<String> {
        let mut names = Names::new(BTreeMap::new(), DiscoveryMode::Auto, &Topology::default());
        names.learn(view);
        let last = |address: &IpAddr| address.to_string().rsplit('.').next().unwrap_or_default().to_owned();
        let tell = |(question, listed): (Question, BTreeSet<IpAddr>)| {
            let listed: Vec<String> = listed.iter().map(last).collect();
            format!("{}: {}", question.path().trim_start_matches("/localnodes"), listed.join(" "))
        };
        answers(view, order, everything, &names, membership).into_iter().map(tell).collect()
    }

    #[test]
    fn a_view_answers_what_was_asked_as_lists_would() {
        let mut view = view(&[(1, "dc1", "r1"), (2, "dc1", "r2"), (3, "dc1", "r2"), (11, "dc2", "r1")]);
        view.nodes[2].listed = false;
        let nobody = Membership::default();
        let dc1 = Question::Datacenter("dc1".into());
        let by_name = ["?dc=dc1: 1 2", "?dc=dc1&rack=r1: 1", "?dc=dc1&rack=r2: 2"];
        assert_eq!(told(&view, &asked(false, std::slice::from_ref(&dc1)), false, &nobody), by_name);
        let plain = [&[": 1 2"][..], &by_name].concat();
        assert_eq!(told(&view, &asked(true, &[]), false, &nobody), plain);
        let unknown = Question::Datacenter("dc9".into());
        assert_eq!(told(&view, &asked(false, &[unknown]), false, &nobody), ["?dc=dc9: "]);
        view.own_datacenter = None;
        assert_eq!(told(&view, &asked(true, &[dc1]), false, &nobody), by_name);
    }

    #[test]
    fn a_seed_tells_every_datacenter_that_has_no_members() {
        let view = view(&[(1, "dc1", "r1"), (11, "dc2", "r1"), (21, "dc3", "r1")]);
        let mut membership = Membership::default();
        membership.list([10, 0, 0, 11].into(), &Home::Named("dc2".into()));
        membership.source = Source::Discovery;
        let all = [": 1", "?dc=dc1: 1", "?dc=dc3: 21", "?dc=dc1&rack=r1: 1", "?dc=dc3&rack=r1: 21"];
        assert_eq!(told(&view, &asked(true, &[]), true, &membership), all);
    }
}
