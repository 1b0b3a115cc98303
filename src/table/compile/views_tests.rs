//! What names answer in each view.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hickory_proto::{
    op::Message,
    rr::{Name, RecordType},
};
use proptest::prelude::*;

use super::{
    super::{Answer, CompiledZone, Shape, ZonePlan, ZoneSource, compile_zone, names::tests::zone, story, wire_name},
    super::{Found, Table},
};
use crate::{
    config::{AddressRule, Answers, Mapping, ZoneConfig},
    model::{ClusterView, Health, Member, Meter, Node, NodeHealth, NodeState, Route, Slots, Told, Topology},
    zone::file::StaticZone,
};

/// Who asks: in the network of the first rules, in that of the second, and anybody else.
const NAT: &str = "203.0.113.9";
const LINK: &str = "192.0.2.9";
const INSIDE: &str = "10.9.9.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(clients: Option<&str>, from: &str, to: &str) -> AddressRule {
    let to = Mapping::Network { from: from.parse().unwrap(), to: to.parse().unwrap() };
    AddressRule { clients: clients.map(|clients| vec![clients.parse().unwrap()]), to }
}

fn routes(clients: Option<&str>) -> AddressRule {
    let clients = clients.map(|clients| vec![clients.parse().unwrap()]);
    AddressRule { clients, to: Mapping::Routes("link".to_owned()) }
}

/// A node: address, place, whether it is up, the address and port of its route.
type Known<'a> = (&'a str, &'a str, bool, Option<(&'a str, u16)>);

fn view(nodes: &[Known<'_>]) -> ClusterView {
    let (mut topology, mut health) = (Topology::default(), Health::default());
    for (address, place, is_up, route) in nodes {
        let (dc, rack) = place.split_once('/').unwrap();
        let node = Node { address: ip(address), datacenter: Some(dc.into()), rack: Some(rack.into()) };
        let route = route.map(|(to, port)| Route { address: ip(to), port: Some(port), https_port: None });
        let routes = route.map(|route| (Arc::from("link"), route)).into_iter().collect();
        let told = Arc::new(Told { routes, ..Told::default() });
        topology.members.insert(node.address, Member { told, ..Member::new(node) });
        let state = if *is_up { NodeState::Up } else { NodeState::Joining };
        health.nodes.insert(ip(address), NodeHealth { state, ..NodeHealth::default() });
    }
    ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() }
}

fn source(config: ZoneConfig, rules: Vec<AddressRule>, meter: Meter) -> Arc<ZoneSource> {
    let config = ZoneConfig { address_map: rules, ..config };
    let (statics, listen, demand) = (StaticZone::default(), Vec::new(), Arc::default());
    Arc::new(ZoneSource { config, statics, listen, demand, meter: Arc::new(meter) })
}

fn compiled(rules: Vec<AddressRule>, nodes: &[Known<'_>]) -> CompiledZone {
    let config = ZoneConfig { answers: Answers::All, ..zone(&[("dc1", &["r1", "r2"])], &[]) };
    let source = source(config, rules, Meter::default());
    let plan = ZonePlan::new(&source, &view(nodes));
    compile_zone(source, plan, 7, None, 1)
}

fn again(zone: &CompiledZone, nodes: &[Known<'_>]) -> CompiledZone {
    let plan = ZonePlan::after(Some(&zone.plan), &zone.source, &view(nodes));
    compile_zone(zone.source.clone(), plan, 8, Some(zone), 2)
}

/// What an asker gets for a name below the apex: the records' data, sorted; `NODATA`, `SERVFAIL`.
fn ask(zone: &CompiledZone, from: &str, name: &str, rtype: RecordType) -> Vec<String> {
    let name = Name::from_ascii(format!("{name}alternator.local.")).unwrap();
    let entry = zone.names.get(&wire_name(&name)).unwrap_or_else(|| panic!("no {name}"));
    let mut told = match zone.answer(entry, rtype.into(), ip(from)) {
        None => vec!["NODATA".to_owned()],
        Some(Answer::Unready(_)) => vec!["SERVFAIL".to_owned()],
        Some(Answer::Dealt(index)) => {
            let deck = &zone.dealt[*index].deck;
            deck.addresses(0, Shape::Several).iter().map(IpAddr::to_string).collect()
        }
        Some(Answer::Fixed(body)) => {
            let question = wire_name(&name);
            let mut message = vec![0, 0, 0x84, 0, 0, 1];
            body.counts().iter().for_each(|count| message.extend(count.to_be_bytes()));
            message.extend(&question);
            message.extend(u16::from(rtype).to_be_bytes());
            message.extend([0, 1]);
            let apex = 12 + question.len() - zone.apex_wire.len();
            body.within(usize::from(u16::MAX)).unwrap().append_to(&mut message, apex as u16);
            let message = Message::from_vec(&message).unwrap();
            message.answers.iter().map(|record| record.data.to_string()).collect()
        }
        Some(other) => panic!("{other:?}"),
    };
    told.sort();
    told
}

#[test]
fn each_view_has_its_own_addresses_of_the_same_nodes() {
    let rules = vec![network(Some("203.0.113.0/24"), "10.0.0.0/24", "198.51.100.0/24")];
    let nodes = [("10.0.0.1", "dc1/r1", true, None), ("10.0.1.2", "dc1/r2", true, None)];
    let zone = compiled(rules, &nodes);
    assert_eq!(ask(&zone, INSIDE, "", RecordType::A), ["10.0.0.1", "10.0.1.2"]);
    assert_eq!(ask(&zone, NAT, "", RecordType::A), ["10.0.1.2", "198.51.100.1"], "the other node is not mapped");
    assert_eq!(ask(&zone, "::ffff:203.0.113.9", "dc1.r1.", RecordType::A), ["198.51.100.1"]);
    // Names are those of the nodes' own addresses, and so are the targets of services.
    assert_eq!(ask(&zone, NAT, "n-10-0-0-1.", RecordType::A), ["198.51.100.1"]);
    assert_eq!(ask(&zone, INSIDE, "n-10-0-0-1.", RecordType::A), ["10.0.0.1"]);
    assert_eq!(ask(&zone, NAT, "n-10-0-1-2.", RecordType::A), ["10.0.1.2"]);
    let services = ["0 1 8000 n-10-0-0-1.alternator.local.", "0 1 8000 n-10-0-1-2.alternator.local."];
    assert_eq!(ask(&zone, NAT, "_alternator._tcp.", RecordType::SRV), services);
    // What is the same for everybody is there once.
    let answer = |name: &str, rtype: RecordType| {
        let entry = zone.names.get(&wire_name(&Name::from_ascii(format!("{name}alternator.local.")).unwrap())).unwrap();
        entry.answer(rtype.into()).unwrap().clone()
    };
    assert!(matches!(answer("dc1.r2.", RecordType::A), Answer::Dealt(_)));
    assert!(matches!(answer("n-10-0-1-2.", RecordType::A), Answer::Fixed(_)));
    assert!(matches!(answer("_alternator._tcp.", RecordType::SRV), Answer::Fixed(_)));
    assert!(matches!(answer("", RecordType::A), Answer::ByView(_)));
}

#[test]
fn nodes_behind_one_address_are_one_record_and_a_service_each() {
    let rules = vec![routes(Some("192.0.2.0/24")), network(None, "10.0.0.0/24", "198.51.100.0/24")];
    let nodes = [
        ("10.0.0.1", "dc1/r1", true, Some(("192.0.2.1", 9001))),
        ("10.0.0.2", "dc1/r1", true, Some(("192.0.2.1", 9002))),
        ("10.0.0.3", "dc1/r2", true, Some(("192.0.2.1", 9003))),
        ("10.0.0.4", "dc1/r2", true, None),
    ];
    let zone = compiled(rules, &nodes);
    // Of the node without a route the rule for everybody holds.
    assert_eq!(ask(&zone, LINK, "", RecordType::A), ["192.0.2.1", "198.51.100.4"]);
    assert_eq!(ask(&zone, LINK, "dc1.r1.", RecordType::A), ["192.0.2.1"]);
    assert_eq!(
        ask(&zone, LINK, "_alternator._tcp.", RecordType::SRV),
        [
            "0 1 8000 n-10-0-0-4.alternator.local.",
            "0 1 9001 n-10-0-0-1.alternator.local.",
            "0 1 9002 n-10-0-0-2.alternator.local.",
            "0 1 9003 n-10-0-0-3.alternator.local.",
        ]
    );
    assert_eq!(ask(&zone, LINK, "n-10-0-0-3.", RecordType::A), ["192.0.2.1"]);
    assert_eq!(ask(&zone, INSIDE, "_alternator._tcp.dc1.r1.", RecordType::SRV).len(), 2);
    // The shared address leads for its three nodes.
    let entry = zone.names.get(&zone.apex_wire).unwrap();
    let Some(Answer::Dealt(index)) = zone.answer(entry, 1, ip(LINK)) else { panic!() };
    let deck = &zone.dealt[*index].deck;
    let first = |row| deck.addresses(row, Shape::Single)[0];
    let shared = (0..deck.rows()).filter(|row| first(*row) == ip("192.0.2.1")).count();
    assert_eq!((shared * 4, deck.distinct(), deck.nodes().len()), (deck.rows() * 3, 2, 4));
    // A port that changes in the cluster's table changes the services and nothing else.
    let mut changed = nodes;
    changed[1].3 = Some(("192.0.2.1", 9102));
    let later = again(&zone, &changed);
    let services = ask(&later, LINK, "_alternator._tcp.dc1.r1.", RecordType::SRV);
    assert_eq!(services, ["0 1 9001 n-10-0-0-1.alternator.local.", "0 1 9102 n-10-0-0-2.alternator.local."]);
    let Some(Answer::Dealt(index)) = later.answer(later.names.get(&later.apex_wire).unwrap(), 1, ip(LINK)) else {
        panic!()
    };
    assert!(Arc::ptr_eq(deck, &later.dealt[*index].deck));
    // And an address that changes there changes the node's name.
    changed[0].3 = Some(("192.0.2.7", 9001));
    let later = again(&later, &changed);
    assert_eq!(ask(&later, LINK, "n-10-0-0-1.", RecordType::A), ["192.0.2.7"]);
    assert_eq!(ask(&later, LINK, "dc1.r1.", RecordType::A), ["192.0.2.1", "192.0.2.7"]);
}

#[test]
fn a_route_may_lead_to_the_other_family_and_the_node_counts_there() {
    let nodes = [
        ("fd00::1", "dc1/r1", true, Some(("192.0.2.1", 9001))),
        ("fd00::2", "dc1/r1", true, None),
        ("fd00::3", "dc1/r2", true, Some(("192.0.2.3", 9003))),
    ];
    let zone = compiled(vec![routes(Some("192.0.2.0/24"))], &nodes);
    let families = |zone: &CompiledZone, from: &str, name: &str| {
        [RecordType::A, RecordType::AAAA].map(|rtype| ask(zone, from, name, rtype).join(" "))
    };
    assert_eq!(families(&zone, INSIDE, ""), ["NODATA", "fd00::1 fd00::2 fd00::3"]);
    assert_eq!(families(&zone, LINK, ""), ["192.0.2.1 192.0.2.3", "fd00::2"]);
    assert_eq!(families(&zone, LINK, "dc1.r2."), ["192.0.2.3", "NODATA"]);
    assert_eq!(families(&zone, LINK, "n-fd00--1."), ["192.0.2.1", "NODATA"]);
    assert_eq!(families(&zone, INSIDE, "n-fd00--1."), ["NODATA", "fd00::1"]);
    assert_eq!(ask(&zone, LINK, "_alternator._tcp.", RecordType::SRV).len(), 3);
    // A rack whose only node of the family is lost falls back within the family that the view sees.
    let lost = [("fd00::3", "dc1/r2", false, Some(("192.0.2.3", 9003))), nodes[0], nodes[1]];
    let zone = again(&zone, &lost);
    assert_eq!(families(&zone, LINK, "dc1.r2."), ["192.0.2.1", "NODATA"]);
    // And before anything is known, it is the seen family that is not ready.
    let unready = nodes.map(|(address, place, _, route)| (address, place, false, route));
    let zone = compiled(vec![routes(Some("192.0.2.0/24"))], &unready);
    assert_eq!(families(&zone, LINK, "dc1.r2."), ["SERVFAIL", "NODATA"]);
    assert_eq!(families(&zone, INSIDE, "dc1.r2."), ["NODATA", "SERVFAIL"]);
}

#[test]
fn an_explanation_says_what_is_mapped_and_what_is_not() {
    let rules = vec![routes(Some("203.0.113.0/24"))];
    let nodes = [
        ("10.0.0.1", "dc1/r1", true, Some(("192.0.2.1", 9001))),
        ("10.0.0.9", "dc1/r1", true, None),
        ("10.0.0.3", "dc1/r2", false, Some(("192.0.2.3", 9003))),
    ];
    let zone = compiled(rules, &nodes);
    let lines = |from: &str| story(&zone, zone.plan.names.names[&zone.source.config.apex], ip(from)).unwrap().lines();
    let told = lines(NAT);
    for expected in [
        "view: rules for clients of 203.0.113.0/24",
        "view: node 10.0.0.9 is not mapped: its own address",
        "in 10.0.0.1 dc1/r1: up, seen at 192.0.2.1, port 9001",
        "in 10.0.0.9 dc1/r1: up",
    ] {
        assert!(told.iter().any(|line| line == expected), "{expected} in {told:#?}");
    }
    assert!(told.iter().any(|line| line.starts_with("out 10.0.0.3") && line.contains("192.0.2.3")), "{told:#?}");
    let told = lines(INSIDE);
    assert!(told.iter().any(|line| line == "view: no rule for clients of 10.9.9.9: nodes' own addresses"), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("not mapped")));
    // Without any rules there is nothing to be said.
    let zone = compiled(Vec::new(), &nodes);
    assert!(!super::super::explain(&zone, 0, ip(NAT)).iter().any(|line| line.starts_with("view")));
    // Of many nodes that are not mapped, some are told.
    let many: Vec<String> = (1..=60).map(|last| format!("10.0.1.{last}")).collect();
    let many: Vec<Known<'_>> = many.iter().map(|address| (address.as_str(), "dc1/r1", true, None)).collect();
    let zone = compiled(vec![routes(None)], &many);
    let told = super::super::explain(&zone, zone.plan.names.names[&zone.source.config.apex], ip(NAT));
    assert_eq!(told.iter().filter(|line| line.contains("is not mapped")).count(), 8);
    assert!(told.iter().any(|line| line == "view: ... and 52 more nodes"), "{told:#?}");
    assert!(told.iter().any(|line| line == "view: no rule for clients of 203.0.113.9: rules for everybody"));
}

#[test]
fn a_view_that_sees_what_another_sees_has_its_decks() {
    let mapped = |clients: &str| network(Some(clients), "10.0.0.0/24", "198.51.100.0/24");
    // The last two have different rules that come to the same.
    let unused = network(Some("192.0.2.0/24"), "172.16.0.0/24", "198.51.100.0/24");
    let rules = vec![mapped("203.0.113.0/24"), mapped("192.0.2.0/24"), unused, mapped("198.18.0.0/15")];
    let nodes = [("10.0.0.1", "dc1/r1", true, None), ("10.0.0.2", "dc1/r2", true, None)];
    let zone = compiled(rules, &nodes);
    assert_eq!(zone.plan.views.count(), 4);
    let index = |from: &str| {
        let entry = zone.names.get(&zone.apex_wire).unwrap();
        let Some(Answer::Dealt(index)) = zone.answer(entry, 1, ip(from)) else { panic!() };
        *index
    };
    assert_eq!((index(NAT), index(LINK)), (index("198.18.5.5"), index(NAT)), "and their cursor");
    let alone = compiled(Vec::new(), &nodes);
    assert_eq!(zone.octets(), 2 * alone.octets(), "one set of decks for all of them");
    assert!(zone.dealt.len() == 2 * alone.dealt.len() && index(INSIDE) < alone.dealt.len());
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0_u8..3, 1_u8..6).prop_map(|(net, last)| IpAddr::from([10, 0, net, last])),
        1 => (1_u16..6).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In every view, over a whole deck, each node leads equally often, at the address that it is seen at, and nobody
    /// else does; no answer has an address twice; and all nodes are in one of the two families.
    #[test]
    fn every_view_deals_every_node_equally(
        nodes in proptest::collection::btree_map(addresses(), (0_usize..2, proptest::option::of(addresses())), 1..12),
        wide in proptest::option::of(16_u8..=32),
        everybody: bool,
        seed: u64,
    ) {
        let mut rules = vec![routes(Some("192.0.2.0/24"))];
        if let Some(len) = wide {
            let prefix = |address: [u8; 4]| crate::model::Prefix::around(address.into(), len);
            let to = Mapping::Network { from: prefix([10, 0, 1, 3]), to: prefix([198, 51, 100, 0]) };
            rules.push(AddressRule { clients: Some(vec!["203.0.113.0/24".parse().unwrap()]), to });
        }
        if everybody {
            rules.push(network(None, "10.0.2.0/24", "10.0.0.0/24"));
        }
        let slots = Arc::new(Slots::new(1000, |_| Vec::new()));
        let zones = Slots::new(10, |_| Vec::new());
        let meter = Meter::new("z".into(), zones.get("z").unwrap(), slots.clone());
        let texts: Vec<_> = nodes.iter().map(|(address, (rack, route))| {
            (address.to_string(), format!("dc1/r{}", rack + 1), route.map(|route| route.to_string()))
        }).collect();
        let known: Vec<Known<'_>> = texts.iter().map(|(address, place, route)| {
            (address.as_str(), place.as_str(), true, route.as_deref().map(|route| (route, 9000)))
        }).collect();
        let source = source(zone(&[("dc1", &["r1", "r2"])], &[]), rules, meter);
        let plan = ZonePlan::new(&source, &view(&known));
        let compiled = Arc::new(compile_zone(source, plan, 7, None, seed));
        let table = Table::new([compiled.clone()]);
        let Found::Name(_, entry) = table.find(&compiled.apex_wire) else { panic!() };
        for client in [INSIDE, LINK, NAT] {
            let number = compiled.plan.views.of(ip(client));
            let mut all = BTreeSet::new();
            for rtype in [1, 28] {
                let Some(answer) = compiled.answer(entry, rtype, ip(client)) else { continue };
                let Answer::Dealt(index) = answer else { panic!("{answer:?}") };
                let deck = &compiled.dealt[*index].deck;
                let mut led: BTreeMap<IpAddr, usize> = BTreeMap::new();
                for row in 0..deck.rows() {
                    let told = deck.addresses(row, Shape::Several);
                    prop_assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "twice in {:?}", told);
                    prop_assert!(told.iter().all(|address| address.is_ipv4() == (rtype == 1)));
                    let (_, leader) = slots.key(deck.row(row, Shape::Single).leader).unwrap();
                    prop_assert_eq!(compiled.plan.seen(number, leader).address, told[0]);
                    *led.entry(leader).or_default() += 1;
                }
                let (least, most) = (led.values().min().unwrap(), led.values().max().unwrap());
                prop_assert_eq!(least, most, "{:?} for {}", led, client);
                prop_assert!(led.keys().all(|node| all.insert(*node)), "in both families");
            }
            prop_assert_eq!(all, nodes.keys().copied().collect::<BTreeSet<_>>(), "for {}", client);
        }
    }
}
