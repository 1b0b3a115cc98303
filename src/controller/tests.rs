//! What is compiled when, and what becomes of what was compiled before.

use std::{net::IpAddr, sync::Weak};

use hickory_proto::rr::Name;

use super::*;
use crate::{
    config::{AddressRule, DiscoveryMode, Mapping, Seed, ZoneConfig},
    model::{Health, Listing, Loan, Member, Node, Prefix, Route, Source, Told, Topology},
    table::ZoneSource,
    zone::file::StaticZone,
};

fn controller(zone: Inputs, table: Arc<ArcSwap<Table>>) -> Controller {
    Controller::new(vec![zone], table, Arc::default(), Journal::default(), Departures::new(Duration::ZERO))
}

/// A topology of this many nodes.
fn topology(nodes: u8) -> Arc<Topology> {
    let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
    for last in 0..nodes {
        let address: IpAddr = [10, 0, 0, last + 1].into();
        let node = Node { address, datacenter: None, rack: None };
        topology.members.insert(address, Member::new(node));
    }
    Arc::new(topology)
}

/// A zone whose nodes are not probed: listing decides.
fn zone() -> (watch::Sender<Arc<Topology>>, Inputs) {
    named("alternator.local.")
}

fn named(name: &str) -> (watch::Sender<Arc<Topology>>, Inputs) {
    let mut config = ZoneConfig::new(Name::from_ascii(name).unwrap());
    config.cluster.seeds = vec![Seed::Address([10, 0, 0, 1].into())];
    let source = ZoneSource {
        config,
        statics: StaticZone::default(),
        listen: Vec::new(),
        demand: Arc::default(),
        meter: Arc::default(),
    };
    let (publish, topology) = watch::channel(topology(1));
    let health = watch::Sender::new(Arc::new(Health { disabled: true, ..Health::default() }));
    let overrides = watch::Sender::default().subscribe();
    let (source, health, epochs) = (Arc::new(source), health.subscribe(), watch::Sender::new(0));
    (publish, Inputs { source, epoch: None, topology, health, elsewhere: Arc::default(), overrides, epochs })
}

/// Whoever finds nodes, the Table they lead to, who ends that, and who sends other zones.
type Controlled = (watch::Sender<Arc<Topology>>, Arc<ArcSwap<Table>>, CancellationToken, mpsc::Sender<ZoneSet>);

/// A controller at work over [`zone`].
fn controlled() -> Controlled {
    let (publish, zone) = zone();
    let (table, stop) = (Arc::new(ArcSwap::from_pointee(Table::default())), CancellationToken::new());
    let (sets, receiver) = mpsc::channel(1);
    tokio::spawn(controller(zone, table.clone()).run(receiver, stop.clone()));
    (publish, table, stop, sets)
}

/// The zone's epoch and number of nodes.
fn served(table: &ArcSwap<Table>) -> (u32, usize) {
    let table = table.load();
    let zone = table.zones().next().unwrap();
    (zone.epoch, zone.plan.nodes().count())
}

async fn until_served(table: &ArcSwap<Table>, nodes: usize) {
    let wait = async {
        while served(table).1 != nodes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

fn compile(zone: &mut Zone) -> bool {
    let view = zone.look();
    zone.compile(view, &BTreeMap::new())
}

#[test]
fn what_changes_nothing_is_not_compiled() {
    let (publish, inputs) = zone();
    let mut zone = Zone::new(inputs);
    assert!(compile(&mut zone));
    publish.send_replace(topology(1));
    assert!(!compile(&mut zone), "the same topology again");
    publish.send_replace(topology(2));
    let before = zone.compiled.as_ref().map(|compiled| compiled.epoch);
    assert!(compile(&mut zone));
    assert!(zone.compiled.as_ref().map(|compiled| compiled.epoch) > before, "the serial grows");
}

/// Tables of a zone with this many nodes more, as often as told.
fn change(publish: &watch::Sender<Arc<Topology>>, controller: &mut Controller, nodes: u8) -> Weak<Table> {
    publish.send_replace(topology(nodes));
    controller.turn(None);
    Arc::downgrade(&controller.table.load_full())
}

#[test]
fn a_table_that_is_read_outlives_its_reader_and_is_then_freed() {
    let (publish, zone) = zone();
    let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
    let table = controller.table.clone();
    let first = change(&publish, &mut controller, 2);
    let reader = table.load();
    let second = change(&publish, &mut controller, 3);
    change(&publish, &mut controller, 4);
    assert_eq!((first.strong_count() > 0, second.strong_count()), (true, 1), "what nobody reads waits for its turn");
    drop(reader);
    assert_eq!(first.strong_count(), 1, "a reader that has done frees nothing");
    controller.retired.free();
    assert_eq!((first.strong_count(), second.strong_count()), (0, 0));
    assert!(controller.retired.is_empty());
}

#[test]
fn of_a_thousand_changes_only_the_tables_in_use_are_left() {
    let (publish, zone) = zone();
    let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
    let (mut tables, mut decks) = (Vec::new(), Vec::new());
    let table = controller.table.clone();
    // One that never lets go.
    let held = table.load_full();
    let live = |weak: &Weak<_>| weak.strong_count() > 0;
    for round in 0..1000u32 {
        let reader = table.load();
        tables.push(change(&publish, &mut controller, 2 + (round % 50) as u8));
        let now = table.load();
        decks.extend(now.zones().flat_map(|zone| &zone.dealt).map(|dealt| Arc::downgrade(&dealt.deck)));
        drop(reader);
        let in_use = tables.iter().filter(|table| live(table)).count();
        assert!(in_use <= 2, "{in_use} Tables after {round} changes: the one served, the one before");
    }
    controller.retired.free();
    assert_eq!(decks.iter().filter(|deck| deck.strong_count() > 0).count(), 1, "decks of the Table served");
    drop(held);
    controller.retired.free();
    assert!(controller.retired.is_empty());
}

#[test]
fn readers_that_never_let_go_do_not_make_it_keep_ever_more() {
    let (publish, zone) = zone();
    let mut controller = controller(zone, Arc::new(ArcSwap::from_pointee(Table::default())));
    let table = controller.table.clone();
    let held: Vec<Arc<Table>> = (0..100u8)
        .map(|nodes| {
            change(&publish, &mut controller, 2 + nodes);
            table.load_full()
        })
        .collect();
    let kept = held.iter().filter(|table| Arc::strong_count(table) > 1).count();
    assert_eq!(kept, 1 + retired::KEPT, "the one served, and those that wait");
}

#[tokio::test]
async fn a_table_is_freed_though_no_change_follows() {
    let (publish, table, stop, _sets) = controlled();
    let first = Arc::downgrade(&table.load_full());
    publish.send_replace(topology(2));
    until_served(&table, 2).await;
    let freed = async {
        while first.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn a_storm_of_changes_costs_one_compile_per_interval() {
    let (publish, table, stop, _sets) = controlled();
    let mut epochs = std::collections::BTreeSet::from([served(&table).0]);
    let start = Instant::now();
    for round in 0..200u32 {
        publish.send_replace(topology(2 + (round % 3) as u8));
        tokio::time::sleep(Duration::from_millis(1)).await;
        epochs.insert(served(&table).0);
    }
    publish.send_replace(topology(9));
    until_served(&table, 9).await;
    let compiles = epochs.len();
    let most = start.elapsed().as_millis() / COMPILE_EVERY.as_millis() + 2;
    assert!(compiles as u128 <= most, "{compiles} compiles, {most} allowed");
    stop.cancel();
}

/// The zones followed, and the Table they lead to.
fn turned(controller: &mut Controller, zones: &[&Inputs]) -> Arc<Table> {
    let zones = zones.iter().map(|inputs| (*inputs).clone()).collect();
    controller.turn(Some(ZoneSet { zones, served: oneshot::channel().0 }));
    controller.table.load_full()
}

/// The same zone with another TTL, hence another source.
fn other_ttl(inputs: &Inputs) -> Inputs {
    let mut source = (*inputs.source).clone();
    source.config.ttl += Duration::from_secs(1);
    Inputs { source: Arc::new(source), ..inputs.clone() }
}

#[test]
fn zones_come_change_and_go_and_the_others_are_not_touched() {
    let ((_first, first), (_second, second)) = (named("first.test."), named("second.test."));
    let mut controller = controller(first.clone(), Arc::new(ArcSwap::from_pointee(Table::default())));
    let zone_of = |table: &Table, inputs: &Inputs| {
        table.zones().find(|zone| zone.source.config.apex == inputs.source.config.apex).cloned()
    };
    let before = controller.table.load_full();
    let same = turned(&mut controller, &[&first]);
    assert!(Arc::ptr_eq(&before, &same), "nothing changed, nothing is swapped");
    let kept = zone_of(&before, &first).unwrap();

    let added = turned(&mut controller, &[&second, &first]);
    let is_kept = |table: &Table| zone_of(table, &first).is_some_and(|zone| Arc::ptr_eq(&zone, &kept));
    assert!(is_kept(&added));
    let old = zone_of(&added, &second).unwrap();
    let changed = other_ttl(&second);
    let table = turned(&mut controller, &[&first, &changed]);
    let new = zone_of(&table, &second).unwrap();
    assert!(is_kept(&table) && Arc::ptr_eq(&new.source, &changed.source) && new.epoch > old.epoch);
    let gone = turned(&mut controller, &[&first]);
    assert!(is_kept(&gone) && gone.zones().count() == 1);
    let again = turned(&mut controller, &[&first, &second]);
    assert!(is_kept(&again) && zone_of(&again, &second).is_some());
    assert_eq!(turned(&mut controller, &[]).zones().count(), 0);
}

#[test]
fn other_seeds_leave_the_old_answers_until_there_are_new_ones() {
    let (_publish, old) = zone();
    let mut controller = controller(old.clone(), Arc::new(ArcSwap::from_pointee(Table::default())));
    let before = controller.table.load_full();
    let (publish, topology) = watch::channel(Arc::new(Topology::default()));
    let new = Inputs { topology, ..other_ttl(&old) };
    assert!(Arc::ptr_eq(&turned(&mut controller, &[&new]), &before), "nobody is known yet");
    assert!(controller.due().is_some_and(|due| due > Instant::now()), "that does not last for ever");
    publish.send_replace(topology_of_one(9));
    controller.turn(None);
    let table = controller.table.load_full();
    let nodes: Vec<IpAddr> = table.zones().flat_map(|zone| zone.plan.nodes().map(|node| node.address)).collect();
    assert_eq!(nodes, [IpAddr::from([10, 0, 0, 9])]);
    assert_eq!(controller.due(), None);
}

/// A zone without nodes, so far, that falls back to another.
fn falling_back(name: &str, zone: &str) -> (watch::Sender<Arc<Topology>>, Inputs) {
    let (publish, inputs) = named(name);
    publish.send_replace(topology(0));
    let mut source = (*inputs.source).clone();
    source.config.fallback_zone = Some(Name::from_ascii(zone).unwrap());
    (publish, Inputs { source: Arc::new(source), ..inputs })
}

#[test]
fn zones_lend_what_they_have_of_their_own_and_whoever_borrows_follows() {
    // Each falls back to the next, and the last to the first.
    let (_first, first) = falling_back("first.test.", "second.test.");
    let (publish_second, second) = falling_back("second.test.", "third.test.");
    let (publish_third, third) = falling_back("third.test.", "first.test.");
    let zones = [&first, &second, &third];
    let table = Arc::new(ArcSwap::from_pointee(Table::default()));
    let mut controller = controller(first.clone(), table);
    turned(&mut controller, &zones);
    let told = |table: &Table| {
        let of = |inputs: &&Inputs| {
            let zone = table.zones().find(|zone| zone.source.config.apex == inputs.source.config.apex).unwrap();
            let lender = zone.plan.lent.as_ref().map_or("own", |loan| &loan.zone);
            format!("{lender} {}", zone.plan.scopes[0].nodes().count())
        };
        zones.iter().map(of).collect::<Vec<_>>()
    };
    let mut publish = |publish: &watch::Sender<Arc<Topology>>, nodes: u8| {
        publish.send_replace(topology(nodes));
        controller.turn(None);
        controller.table.load_full()
    };
    assert_eq!(told(&publish(&publish_third, 3)), ["own 0", "third.test 3", "own 3"], "nothing is lent on");
    assert_eq!(told(&publish(&publish_second, 1)), ["second.test 1", "own 1", "own 3"]);
    assert_eq!(told(&publish(&publish_second, 2)), ["second.test 2", "own 2", "own 3"]);
    // Of whom nobody borrows, nobody else is touched.
    let first =
        |table: Arc<Table>| table.zones().find(|zone| zone.source.config.name() == "first.test").cloned().unwrap();
    let (earlier, later) = (first(publish(&publish_third, 4)), first(publish(&publish_third, 5)));
    assert!(Arc::ptr_eq(&earlier, &later));
    assert_eq!(told(&publish(&publish_third, 0)), ["second.test 2", "own 2", "own 0"]);
}

/// The node with this last octet.
fn topology_of_one(last: u8) -> Arc<Topology> {
    let mut topology = (*topology(last)).clone();
    topology.members.retain(|address, _| *address == IpAddr::from([10, 0, 0, last]));
    Arc::new(topology)
}

#[tokio::test]
async fn a_set_of_zones_is_served_when_its_sender_is_told() {
    let (_publish, table, stop, sets) = controlled();
    let (_other, other) = named("other.test.");
    let (served, told) = oneshot::channel();
    sets.send(ZoneSet { zones: vec![other], served }).await.ok().unwrap();
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap().unwrap();
    let names: Vec<String> = table.load().zones().map(|zone| zone.source.config.name()).collect();
    assert_eq!(names, ["other.test"]);
    stop.cancel();
}

/// What each lends alone, as a controller would find it.
fn lends(lender: &Inputs) -> BTreeMap<Name, Arc<Loan>> {
    let mut lender = Zone::new(lender.clone());
    let view = lender.look();
    let (_, asks) = falling_back("other.test.", &format!("{}.", lender.inputs.source.config.name()));
    let mut asks = Zone::new(asks);
    let none = asks.look();
    loans::loans(&[lender, asks], &[view, none])
}

#[test]
fn nothing_is_waited_for_longer_because_the_clock_was_set_back() {
    let (_publish, inputs) = falling_back("first.test.", "second.test.");
    let (_other, other) = named("second.test.");
    let mut zone = Zone::new(inputs);
    let mut view = zone.look();
    view.now -= Duration::from_secs(3600);
    zone.compile(view, &lends(&other));
    assert!(zone.compiled.unwrap().plan.lent.is_some());
}

#[test]
fn nodes_lent_are_seen_by_the_rules_of_their_own_zone() {
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    let rule = |clients: &str, from: &str, to: &str| AddressRule {
        clients: (clients != "*").then(|| vec![prefix(clients)]),
        to: Mapping::Network { from: prefix(from), to: prefix(to) },
    };
    let with = |inputs: Inputs, rules: Vec<AddressRule>| {
        let mut source = (*inputs.source).clone();
        source.config.address_map = rules;
        Inputs { source: Arc::new(source), ..inputs }
    };
    // Both clusters have a node of this address.
    let (publish, inputs) = falling_back("first.test.", "second.test.");
    let mut dead = (*topology(1)).clone();
    dead.members.values_mut().for_each(|member| member.listing = Listing::Left);
    publish.send_replace(Arc::new(dead));
    let inputs = with(
        inputs,
        vec![
            rule("*", "10.0.0.0/24", "172.16.0.0/24"),
            rule("203.0.113.0/24", "10.0.0.0/24", "172.17.0.0/24"),
            rule("192.0.2.0/24", "10.0.0.0/24", "172.18.0.0/24"),
        ],
    );
    let (publish, other) = named("second.test.");
    let mut alive = (*topology(2)).clone();
    let route = Route { address: "2001:db8::2".parse().unwrap(), port: Some(9001), https_port: None };
    let told = Told { routes: [("link".into(), route)].into(), ..Told::default() };
    alive.members.get_mut(&IpAddr::from([10, 0, 0, 2])).unwrap().told = Arc::new(told);
    publish.send_replace(Arc::new(alive));
    let routes =
        |clients: &str| AddressRule { clients: Some(vec![prefix(clients)]), to: Mapping::Routes("link".into()) };
    let other =
        with(other, vec![rule("203.0.113.128/25", "10.0.0.0/24", "198.51.100.0/24"), routes("2001:db8:1::/48")]);
    let mut zone = Zone::new(inputs);
    let view = zone.look();
    zone.compile(view, &lends(&other));
    let plan = zone.compiled.unwrap().plan.clone();
    assert!(!plan.has_own() && plan.is_ready());
    for (client, first, second) in [
        ("203.0.113.1", "10.0.0.1 8000", "10.0.0.2 8000"),
        ("203.0.113.200", "198.51.100.1 8000", "198.51.100.2 8000"),
        ("192.0.2.1", "10.0.0.1 8000", "10.0.0.2 8000"),
        ("2001:db8:1::7", "10.0.0.1 8000", "2001:db8::2 9001"),
        ("::1", "10.0.0.1 8000", "10.0.0.2 8000"),
    ] {
        let view = plan.views.of(client.parse().unwrap());
        let seen = [1, 2].map(|last| plan.seen(view, [10, 0, 0, last].into()));
        let told = seen.map(|seen| format!("{} {}", seen.address, seen.port.unwrap_or_default()));
        assert_eq!(told, [first, second], "{client}");
        let scope = &plan.scopes_in(view)[0];
        let of_v4 = if second.contains("::") { 1 } else { 2 };
        assert_eq!(scope.v4.nodes().len(), of_v4, "{client}");
    }
}

#[test]
fn what_only_other_zones_on_the_cluster_name_is_theirs() {
    let (publish, mut inputs) = named("first.test.");
    let mut source = (*inputs.source).clone();
    source.config.cluster.discovery = DiscoveryMode::Localnodes;
    inputs.source = Arc::new(source);
    let mut all = (*topology(4)).clone();
    for (last, datacenter) in [(1, Some("dc1")), (2, Some("dc1")), (3, Some("dc2")), (4, None)] {
        let member = all.members.get_mut(&IpAddr::from([10, 0, 0, last])).unwrap();
        member.node.datacenter = datacenter.map(Arc::from);
    }
    publish.send_replace(Arc::new(all));
    let nodes = |inputs: &Inputs| Zone::new(inputs.clone()).look().topology.members.len();
    assert_eq!(nodes(&inputs), 4, "alone");
    inputs.elsewhere = Arc::new(["dc1".into(), "dc2".into()].into());
    assert_eq!(nodes(&inputs), 3, "the seed is in dc1");
    let mut source = (*inputs.source).clone();
    source.config.cluster.discovery = DiscoveryMode::Auto;
    inputs.source = Arc::new(source);
    assert_eq!(nodes(&inputs), 4, "names are learnt");
}
