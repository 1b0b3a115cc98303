//! Rounds of a cluster whose system tables can be read, or cannot any more.

use super::*;
use crate::{
    config::DiscoveryMode,
    discovery::{Basis, Means},
    model::{Leaving, Scope},
};

const ALL: [u8; 8] = [1, 2, 3, 4, 11, 12, 13, 14];

/// `two_datacenters`, with all tables open.
fn open_cluster() -> Cluster {
    let cluster = two_datacenters();
    cluster.open(ALL);
    cluster
}

fn places(topology: &Topology) -> Vec<String> {
    topology.seen.iter().map(Scope::to_string).collect()
}

const PLACES: [&str; 7] = ["cluster", "dc1", "dc2", "dc1/r1", "dc1/r2", "dc2/r1", "dc2/r2"];

fn leaving(topology: &Topology) -> BTreeSet<IpAddr> {
    topology.members.values().filter(|member| member.told.leaving.is_some()).map(|member| member.node.address).collect()
}

impl Running {
    async fn until_leaving(&mut self, wanted: impl IntoIterator<Item = u8>) -> Arc<Topology> {
        let wanted = ips(wanted);
        self.until(&format!("{wanted:?} leaving"), |topology| leaving(topology) == wanted).await
    }

    /// Waits until discovery goes by `means`, and says why.
    async fn until_basis(&self, means: Means, has_reason: bool) -> Basis {
        for _ in 0..1200 {
            let basis = self.stats.basis();
            if (basis.means, basis.reason.is_some()) == (means, has_reason) {
                return basis;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("never {means:?}: {:?}", self.stats.basis());
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_and_nothing_else_finds_everything_in_one_round() {
    let cluster = open_cluster();
    let mut poller = start(&cluster, options(vec![seed(13)]));
    let topology = poller.until_listed(ALL).await;
    assert_eq!(poller.stats.rounds.load(Relaxed), 1);
    assert_eq!(places(&topology), PLACES);
    let place = |last| topology.members[&ip(last)].node.place();
    assert_eq!([place(1), place(4), place(11), place(14)], ["dc1/r1", "dc1/r2", "dc2/r1", "dc2/r2"]);
    let told = &topology.members[&ip(2)].told;
    assert_eq!((told.state.as_deref(), told.host_id.as_deref()), (Some("NORMAL"), Some("id-10.0.0.2")));
    assert_eq!(poller.until_basis(Means::Tables, false).await.mode, DiscoveryMode::Auto);
    poller.stays(90).await;
    assert!(cluster.take_log().is_empty(), "no list is asked for");
}

#[tokio::test(start_paused = true)]
async fn nodes_racks_and_datacenters_come_and_go() {
    let cluster = open_cluster();
    let mut with = options(vec![seed(1)]);
    with.cluster.scope_retention = Duration::from_secs(100);
    let mut poller = start(&cluster, with);
    poller.until_listed(ALL).await;
    cluster.with(|state| state.nodes.insert(ip(21), ("dc3", "r1", Mode::Normal)));
    cluster.open([21]);
    let topology = poller.until("dc3", |topology| places(topology).contains(&"dc3/r1".to_owned())).await;
    assert_eq!(listed(&topology), ips(ALL.into_iter().chain([21])));
    // Down for ever so long, it is an incident: the tables know the node.
    cluster.set(21, Mode::Refuses);
    poller.until_listed(ALL).await;
    poller.stays(300).await;
    assert!(places(&poller.now()).contains(&"dc3/r1".to_owned()));
    // Removed, its names stay for a while.
    cluster.with(|state| state.nodes.remove(&ip(21)));
    poller.until("left", |topology| topology.members[&ip(21)].listing == Listing::Left).await;
    poller.stays(90).await;
    let topology = poller.until("gone", |topology| topology.seen.len() == PLACES.len()).await;
    assert_eq!(places(&topology), PLACES);
    assert!(!topology.members.contains_key(&ip(21)), "the last known one goes with its names");
    poller.stays(60).await;
}

#[tokio::test(start_paused = true)]
async fn configured_names_stay_and_a_cluster_that_is_gone_keeps_all_of_them() {
    let cluster = open_cluster();
    let mut with = options(vec![seed(1)]);
    with.cluster.scope_retention = Duration::from_secs(60);
    let mut poller = start(&cluster, Options { datacenters: [("dc2".into(), vec!["r1".into()])].into(), ..with });
    poller.until_listed(ALL).await;
    for last in [11, 12, 13, 14] {
        cluster.with(|state| state.nodes.remove(&ip(last)));
    }
    sleep(Duration::from_secs(60)).await;
    let topology = poller.until("less", |topology| !places(topology).contains(&"dc2/r2".to_owned())).await;
    assert_eq!(places(&topology), ["cluster", "dc1", "dc2", "dc1/r1", "dc1/r2", "dc2/r1"]);
    cluster.set_all(&Mode::Refuses);
    poller.until("stale", |topology| topology.stale).await;
    poller.stays(200).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_decommissioned_is_told_at_once_and_whoever_gives_it_up_is_back() {
    let cluster = open_cluster();
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed(ALL).await;
    sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    cluster.with(|state| state.words.insert(ip(4), "DECOMMISSIONING"));
    let topology = poller.until_leaving([4]).await;
    assert!(began.elapsed() < Duration::from_millis(1200), "by the next round: {:?}", began.elapsed());
    assert_eq!(topology.members[&ip(4)].told.leaving, Some(Leaving::Decommissioning));
    assert_eq!(topology.members[&ip(4)].listing, Listing::Listed, "it still serves");
    poller.stays(60).await;
    cluster.with(|state| state.words.remove(&ip(4)));
    poller.until_leaving([]).await;
    cluster.with(|state| state.words.insert(ip(4), "DECOMMISSIONING"));
    poller.until_leaving([4]).await;
    cluster.with(|state| state.nodes.remove(&ip(4)));
    poller.until_listed(ALL.into_iter().filter(|last| *last != 4)).await;
}

#[tokio::test(start_paused = true)]
async fn one_reader_that_errs_changes_nothing() {
    let cluster = open_cluster();
    let mut poller = start(&cluster, options(vec![seed(1), seed(11)]));
    poller.until_listed(ALL).await;
    sleep(Duration::from_secs(5)).await;
    for mode in [Mode::Invents(99), Mode::Status(500), Mode::Normal] {
        cluster.set(2, mode);
        poller.stays(70).await;
    }
    // Cut off, it is seen by others as dead, and sees nobody.
    cluster.set(2, Mode::CutOff);
    poller.until_listed([1, 3, 4, 11, 12, 13, 14]).await;
    poller.stays(70).await;
    cluster.set(2, Mode::Normal);
    poller.until_listed(ALL).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_grant_it_goes_on_by_lists_and_says_why() {
    let cluster = open_cluster();
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed(ALL).await;
    cluster.with(|state| state.words.insert(ip(4), "DECOMMISSIONING"));
    poller.until_leaving([4]).await;
    cluster.with(|state| state.tables.values_mut().for_each(|tables| *tables = Tables::Denied));
    let basis = poller.until_basis(Means::Localnodes, true).await;
    assert!(basis.reason.unwrap().contains("GRANT SELECT ON system.local TO r"));
    // The names learnt are asked about; what was told of the leaving one is forgotten in the end.
    cluster.with(|state| state.nodes.insert(ip(5), ("dc1", "r2", Mode::Normal)));
    let topology = poller.until("the new one", |topology| topology.members.contains_key(&ip(5))).await;
    assert_eq!(leaving(&topology), ips([4]));
    let topology = poller.until("its rack", |topology| topology.members[&ip(5)].node.rack.is_some()).await;
    assert_eq!(topology.members[&ip(5)].node.place(), "dc1/r2");
    poller.until_leaving([]).await;
    poller.stays(120).await;
    cluster.open(ALL);
    poller.until_basis(Means::Tables, false).await;
    poller.until_leaving([4]).await;
}

#[tokio::test(start_paused = true)]
async fn tables_that_hang_or_are_slow_delay_nothing() {
    let cluster = open_cluster();
    cluster.with(|state| state.tables.values_mut().for_each(|tables| *tables = Tables::Slow(LIMITS.total)));
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1)]) });
    let began = Instant::now();
    poller.until_listed(ALL).await;
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    poller.stays(100).await;
    let rounds = poller.stats.rounds.load(Relaxed);
    sleep(Duration::from_secs(20)).await;
    assert!(poller.stats.rounds.load(Relaxed) - rounds >= 18, "rounds keep their pace");
    // Too slow to come first, quick enough to come last.
    cluster
        .with(|state| state.tables.values_mut().for_each(|tables| *tables = Tables::Slow(Duration::from_millis(120))));
    poller.until_basis(Means::Tables, false).await;
    cluster.with(|state| state.words.insert(ip(4), "DECOMMISSIONING"));
    poller.until_leaving([4]).await;
    poller.stays(60).await;
}

#[tokio::test(start_paused = true)]
async fn a_single_node_whose_tables_hang_is_never_stale() {
    let cluster = one_datacenter(1);
    cluster.with(|state| state.tables.insert(ip(1), Tables::Slow(LIMITS.total)));
    let mut poller = start(&cluster, options(vec![seed(1)]));
    poller.until_listed([1]).await;
    poller.stays(300).await;
    assert_eq!(poller.stats.unanswered_rounds.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn old_servers_with_tables_are_not_flat_and_stay_so_without() {
    let cluster = two_datacenters();
    cluster.set_all(&Mode::Old);
    let mut poller = start(&cluster, options(vec![seed(1), seed(11)]));
    assert!(poller.until_listed(ALL).await.flat);
    // Some are upgraded to a version that lets its tables be read: the places of all are known by them.
    cluster.open([1, 12]);
    let topology = poller.until("places", |topology| !topology.flat).await;
    assert_eq!(places(&topology), PLACES);
    poller.stays(120).await;
    cluster.with(|state| state.tables.clear());
    poller.until_basis(Means::Localnodes, true).await;
    // What was told of their states is forgotten in the end, and nothing else.
    poller.until("no states", |topology| topology.members.values().all(|member| member.told.state.is_none())).await;
    poller.stays(120).await;
    cluster.set(3, Mode::Refuses);
    poller.until_listed([1, 2, 4, 11, 12, 13, 14]).await;
    cluster.set(3, Mode::Old);
    assert!(!poller.until_listed(ALL).await.flat);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_upgrade_changes_nothing_that_is_answered() {
    let cluster = two_datacenters();
    cluster.set_all(&Mode::Old);
    let mut poller = start(&cluster, Options { datacenters: both_names(), ..options(vec![seed(1), seed(11)]) });
    poller.until_listed(ALL).await;
    for last in ALL {
        cluster.set(last, Mode::Refuses);
        poller.until("it has left", |topology| !listed(topology).contains(&ip(last))).await;
        cluster.open([last]);
        cluster.set(last, Mode::Normal);
        poller.until_listed(ALL).await;
    }
    let topology = poller.until("places", |topology| topology.seen.len() == PLACES.len() && !topology.flat).await;
    assert_eq!(topology.members[&ip(13)].node.place(), "dc2/r2");
    poller.until_basis(Means::Tables, false).await;
}

#[tokio::test(start_paused = true)]
async fn tables_alone_or_lists_alone_where_that_is_wanted() {
    let cluster = open_cluster();
    let mut with = options(vec![seed(1)]);
    with.cluster.discovery = DiscoveryMode::SystemTables;
    let mut poller = start(&cluster, with);
    poller.until_listed(ALL).await;
    cluster.with(|state| state.tables.values_mut().for_each(|tables| *tables = Tables::Denied));
    poller.until("stale", |topology| topology.stale).await;
    let basis = poller.until_basis(Means::Tables, true).await;
    assert!(basis.reason.unwrap().contains("GRANT"));
    assert!(cluster.take_log().is_empty(), "never asked for a list");
    cluster.open(ALL);
    poller.until("current", |topology| !topology.stale).await;
    poller.until_basis(Means::Tables, false).await;
    poller.stop.cancel();

    let mut with = options(vec![seed(1)]);
    with.cluster.discovery = DiscoveryMode::Localnodes;
    let mut poller = start(&cluster, with);
    poller.until_listed([1, 2, 3, 4]).await;
    poller.stays(90).await;
    assert_eq!(poller.stats.views.load(Relaxed) + poller.stats.failed_views.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_keeps_its_places_while_nobody_tells_of_them() {
    let cluster = two_datacenters();
    let member = |last, dc: &str, rack: &str| {
        let node = Node { address: ip(last), datacenter: Some(dc.into()), rack: Some(rack.into()) };
        (ip(last), Member { served_before: true, ..Member::new(node) })
    };
    let initial = Topology {
        members: [member(2, "dc1", "r1"), member(13, "dc2", "r2")].into(),
        seen: ["cluster", "dc1", "dc1/r1", "dc2", "dc2/r2"].map(|scope| scope.parse().unwrap()).into(),
        source: Source::Snapshot,
        stale: true,
        ..Topology::default()
    };
    let mut poller = start(&cluster, Options { initial, ..options(vec![seed(1)]) });
    // By lists alone, with the names of an earlier run.
    let topology = poller.until_listed(ALL).await;
    let place = |last| topology.members[&ip(last)].node.place();
    assert_eq!([place(2), place(11), place(13)], ["dc1/r1", "dc2", "dc2/r2"]);
}
