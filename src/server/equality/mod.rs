//! Properties of answering as a whole: the compiled and the general path agree, and names are where a naive reading of
//! the rules puts them.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType, rdata::TXT},
};
use proptest::prelude::*;

use super::{Counters, General, Outcome, Responder, Transport, query};
use crate::{
    config::{Answers, Seed, ZoneConfig},
    model::{ClusterView, Health, Listing, Member, Node, NodeHealth, NodeState, Scope, Source, Topology},
    table::{Table, ZonePlan, ZoneSource, compile_zone},
    zone::file::{RrSet, StaticZone},
};

const APEX: &str = "alternator.local.";

/// Datacenters and racks, each rack with its nodes' addresses; all up.
type Places = Vec<(String, Vec<(String, Vec<std::net::IpAddr>)>)>;

fn table(places: &Places, statics: &[&str], answers: Answers) -> Table {
    let mut config = ZoneConfig::new(Name::from_ascii(APEX).unwrap());
    config.cluster.seeds = vec![Seed::Address([10, 0, 0, 1].into())];
    config.answers = answers;
    let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
    let mut health = Health::default();
    for (dc, racks) in places {
        let known = racks.iter().map(|(rack, _)| rack.as_str().into()).collect();
        config.cluster.datacenters.insert(dc.as_str().into(), known);
        for (rack, addresses) in racks {
            for &address in addresses {
                let node = Node { address, datacenter: Some(dc.as_str().into()), rack: Some(rack.as_str().into()) };
                topology.members.insert(address, Member { node, listing: Listing::Listed, served_before: false });
                health.nodes.insert(address, NodeHealth { state: NodeState::Up, ..NodeHealth::default() });
            }
        }
    }
    let mut zone = StaticZone::default();
    for name in statics {
        let data = vec![RData::TXT(TXT::new(vec!["static".to_owned()]))];
        let records = zone.records.entry(Name::from_ascii(format!("{name}.{APEX}")).unwrap()).or_default();
        records.insert(RecordType::TXT, RrSet { ttl: 60, data, line: 1 });
    }
    let source = Arc::new(ZoneSource {
        config,
        statics: zone,
        listen: vec!["127.0.0.1:53".parse().unwrap()],
        demand: Arc::default(),
    });
    let view = ClusterView { topology: Arc::new(topology), health: Arc::new(health) };
    let plan = ZonePlan::new(&source, &view);
    Table::new([Arc::new(compile_zone(source, plan, 7, None, 1))])
}

fn two_racks() -> Places {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    vec![(
        "dc1".to_owned(),
        vec![
            ("rack1".to_owned(), addresses(&["10.0.1.1", "10.0.1.2", "fd00::1"])),
            ("rack2".to_owned(), addresses(&["10.0.2.1", "10.0.2.2", "10.0.2.3"])),
        ],
    )]
}

/// One query as bytes.
fn packet(name: &str, qtype: RecordType, class: DNSClass, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut query = Query::query(Name::from_ascii(name).unwrap(), qtype);
    query.set_query_class(class);
    message.add_query(query);
    if let Some((size, dnssec_ok)) = edns {
        let mut edns = Edns::new();
        // hickory raises smaller sizes to 512; what smaller ones do is tested over real sockets.
        edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn source() -> SocketAddr {
    "192.0.2.9:4000".parse().unwrap()
}

/// What both paths say to one packet, decoded; both with fresh cursors of the same seed.
fn both(table: &Arc<ArcSwap<Table>>, packet: &[u8], transport: Transport) -> [(Outcome, Message); 2] {
    let mut compiled = Vec::new();
    // The same seed gives the compiled path's cursors and this general path's the same first rows.
    let mut responder = Responder::new(table.clone(), &Counters::default(), 5);
    let outcome = responder.respond(&table.load(), packet, source(), transport, &mut compiled);
    let mut names = query::NameBuffer::default();
    let query::Parsed::Query(query) = query::parse(packet, &mut names) else { panic!("a well-formed query") };
    let mut general = Vec::new();
    let general_outcome =
        General::new(table.clone(), 5).answer(&table.load(), &query, source(), transport, &mut general);
    [(outcome, compiled), (general_outcome, general)]
        .map(|(outcome, bytes)| (outcome, Message::from_vec(&bytes).unwrap()))
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("alternator.local."),
        Just("Alternator.LOCAL."),
        Just("dc1.alternator.local."),
        Just("dC1.rAck1.alternator.local."),
        Just("rack2.dc1.alternator.local."),
        Just("dc1--rack1.alternator.local."),
        Just("rack1.alternator.local."),
        Just("_alternator._tcp.dc1.alternator.local."),
        Just("_tcp.alternator.local."),
        Just("n-10-0-1-1.alternator.local."),
        Just("n-fd00--1.alternator.local."),
        Just("ns1.alternator.local."),
        Just("static.alternator.local."),
        Just("below.wild.alternator.local."),
        Just("nothing.alternator.local."),
        Just("a.b.c.nothing.alternator.local."),
        Just("local."),
        Just("example.com."),
        Just("."),
    ]
    .prop_map(str::to_owned)
}

fn types() -> impl Strategy<Value = RecordType> {
    prop_oneof![
        Just(RecordType::A),
        Just(RecordType::AAAA),
        Just(RecordType::SRV),
        Just(RecordType::SOA),
        Just(RecordType::NS),
        Just(RecordType::TXT),
        Just(RecordType::MX),
        Just(RecordType::Unknown(65_280)),
        Just(RecordType::ANY),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_compiled_and_the_general_path_agree(
        name in names(),
        qtype in types(),
        class in prop_oneof![4 => Just(DNSClass::IN), 1 => Just(DNSClass::CH), 1 => Just(DNSClass::ANY)],
        edns in proptest::option::of((512u16..5000, any::<bool>())),
        tcp: bool,
        all: bool,
    ) {
        let answers = if all { Answers::All } else { Answers::Auto };
        let table = Arc::new(ArcSwap::from_pointee(table(&two_racks(), &["static", "*.wild"], answers)));
        let packet = packet(&name, qtype, class, edns);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let [(outcome, compiled), (general_outcome, general)] = both(&table, &packet, transport);
        prop_assert_eq!(outcome, general_outcome);
        prop_assert_eq!(compiled.metadata, general.metadata);
        prop_assert_eq!(&compiled.queries, &general.queries);
        prop_assert_eq!(&compiled.answers, &general.answers);
        prop_assert_eq!(&compiled.authorities, &general.authorities);
        prop_assert_eq!(&compiled.additionals, &general.additionals);
        prop_assert_eq!(&compiled.edns, &general.edns);
        if transport == Transport::Udp {
            let limit = edns.map_or(512, |(size, _)| size.clamp(512, 1232));
            prop_assert!(compiled.to_vec().unwrap().len() <= usize::from(limit));
        }
    }

    #[test]
    fn names_are_where_a_naive_reading_puts_them(
        layout in proptest::collection::btree_map("[a-c]", proptest::collection::btree_set("[a-d]", 0..3), 1..4),
        statics in proptest::collection::btree_set("[d-f](\\.[a-g]){0,2}", 0..3),
        labels in proptest::collection::vec(prop_oneof![3 => "[a-g]", 1 => "[a-c]--[a-d]", 1 => Just("_explain".to_owned()), 1 => Just("_tcp".to_owned())], 0..4),
    ) {
        let mut next = 0u8;
        let places: Places = layout.iter().map(|(dc, racks)| {
            let racks = racks.iter().map(|rack| {
                next += 1;
                (rack.clone(), vec![[10, 0, next, 1].into()])
            });
            (dc.clone(), racks.collect())
        }).collect();
        let statics: Vec<&str> = statics.iter().map(String::as_str).collect();
        let table = Arc::new(ArcSwap::from_pointee(table(&places, &statics, Answers::All)));
        let name = labels.iter().map(|label| format!("{label}.")).collect::<String>() + APEX;
        let packet = packet(&name, RecordType::A, DNSClass::IN, None);
        let mut reply = Vec::new();
        let mut responder = Responder::new(table.clone(), &Counters::default(), 1);
        responder.respond(&table.load(), &packet, source(), Transport::Tcp, &mut reply);
        let reply = Message::from_vec(&reply).unwrap();
        let addresses: BTreeSet<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        prop_assert_eq!((reply.metadata.response_code, addresses), naive(&places, &statics, &labels), "{}", name);
    }
}

/// The rules of names, read one after another without any index.
fn naive(places: &Places, statics: &[&str], labels: &[String]) -> (ResponseCode, BTreeSet<String>) {
    let scope = |labels: &[String]| -> Option<Scope> {
        let text = labels.join(".");
        if statics.contains(&text.as_str()) {
            return None;
        }
        if labels.is_empty() {
            return Some(Scope::Cluster);
        }
        let mut found = None;
        for (dc, racks) in places {
            if text == *dc {
                return Some(Scope::Datacenter(dc.as_str().into()));
            }
            for (rack, _) in racks {
                let scope = Scope::Rack(dc.as_str().into(), rack.as_str().into());
                if text == format!("{dc}.{rack}") {
                    return Some(scope);
                }
                if text == format!("{rack}.{dc}") || text == format!("{dc}--{rack}") {
                    found = Some(scope);
                }
            }
        }
        found
    };
    let nodes = |scope: &Scope| -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (dc, racks) in places {
            for (rack, addresses) in racks {
                let place = Node {
                    address: addresses[0],
                    datacenter: Some(dc.as_str().into()),
                    rack: Some(rack.as_str().into()),
                };
                if scope.contains(&place) {
                    all.extend(addresses.iter().map(ToString::to_string));
                }
            }
        }
        all
    };
    if let Some(scope) = scope(labels) {
        let found = nodes(&scope);
        // A configured datacenter without racks has no nodes here: nothing was ever known of it.
        let code = if found.is_empty() { ResponseCode::ServFail } else { ResponseCode::NoError };
        return (code, found);
    }
    // Everything that exists, to see whether the name or something below it does.
    let mut existing: Vec<String> = statics.iter().map(|name| (*name).to_owned()).collect();
    let mut scopes = vec![String::new()];
    for (dc, racks) in places {
        scopes.push(dc.clone());
        for (rack, _) in racks {
            scopes.extend([format!("{dc}.{rack}"), format!("{rack}.{dc}"), format!("{dc}--{rack}")]);
        }
    }
    for name in scopes.iter().filter(|name| !statics.contains(&name.as_str())) {
        let dot = if name.is_empty() { "" } else { "." };
        existing.extend([format!("_explain{dot}{name}"), format!("_alternator._tcp{dot}{name}"), name.clone()]);
    }
    let text = labels.join(".");
    let exists = existing.iter().any(|name| *name == text || name.ends_with(&format!(".{text}")));
    (if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }, BTreeSet::new())
}
