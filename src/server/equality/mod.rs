//! Properties of answering as a whole: the compiled and the general path agree, whatever is asked; every reply is what
//! two libraries read without a complaint; and names are where a naive reading of the rules puts them.

mod naive;
mod queries;
mod reading;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
};

use arc_swap::ArcSwap;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RData, RecordType, rdata::TXT},
    serialize::binary::{BinDecodable, BinDecoder},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{Asker, Counters, Outcome, Responder, Settings, Transport};
use crate::{
    config::{AddressRule, Answers, Mapping, Seed, ZoneConfig},
    model::{ClusterView, Health, Member, Node, NodeHealth, NodeState, Route, Source, Told, Topology},
    table::{Table, ZonePlan, ZoneSource, compile_zone},
    zone::file::{self, RrSet, StaticZone},
};

const APEX: &str = "alternator.local.";

/// Datacenters and racks, each rack with its nodes' addresses; all up.
type Places = Vec<(String, Vec<(String, Vec<IpAddr>)>)>;

fn table(places: &Places, statics: &[&str], answers: Answers) -> Table {
    let mut zone = StaticZone::default();
    for name in statics {
        let data = vec![RData::TXT(TXT::new(vec!["static".to_owned()]))];
        let records = zone.records.entry(Name::from_ascii(format!("{name}.{APEX}")).unwrap()).or_default();
        records.insert(RecordType::TXT, RrSet { ttl: 60, data, line: 1 });
    }
    table_of(places, zone, answers)
}

/// Two networks of clients are given other addresses of some nodes; half of one of them, within, the nodes' own.
fn address_map() -> Vec<AddressRule> {
    let rule = |clients: &str, to| AddressRule { clients: Some(vec![clients.parse().unwrap()]), to };
    let network = |from: &str, to: &str| Mapping::Network { from: from.parse().unwrap(), to: to.parse().unwrap() };
    vec![
        rule("203.0.113.0/24", network("10.0.1.0/24", "198.51.100.0/24")),
        rule("2001:db8::/32", Mapping::Routes("link".to_owned())),
        rule("203.0.113.0/25", network("0.0.0.0/0", "0.0.0.0/0")),
    ]
}

/// A load balancer in front of the nodes of one network, which are told apart by their ports; of either family.
fn told(address: IpAddr) -> Arc<Told> {
    let port = match address {
        IpAddr::V4(v4) if v4.octets()[2] == 1 => Some(9000 + u16::from(v4.octets()[3])),
        IpAddr::V4(_) => None,
        IpAddr::V6(_) => Some(9999),
    };
    let route = port.map(|port| Route { address: [198, 18, 0, 1].into(), port: Some(port), https_port: None });
    Arc::new(Told { routes: route.map(|route| (Arc::from("link"), route)).into_iter().collect(), ..Told::default() })
}

/// Askers of every view.
const ASKERS: [&str; 5] = ["192.0.2.9", "203.0.113.200", "203.0.113.7", "2001:db8::7", "::ffff:203.0.113.200"];

fn table_of(places: &Places, statics: StaticZone, answers: Answers) -> Table {
    let mut config = ZoneConfig::new(Name::from_ascii(APEX).unwrap());
    config.cluster.seeds = vec![Seed::Address([10, 0, 0, 1].into())];
    config.answers = answers;
    config.address_map = address_map();
    let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
    let mut health = Health::default();
    for (dc, racks) in places {
        let known = racks.iter().map(|(rack, _)| rack.as_str().into()).collect();
        config.cluster.datacenters.insert(dc.as_str().into(), known);
        for (rack, addresses) in racks {
            for &address in addresses {
                let node = Node { address, datacenter: Some(dc.as_str().into()), rack: Some(rack.as_str().into()) };
                topology.members.insert(address, Member { told: told(address), ..Member::new(node) });
                health.nodes.insert(address, NodeHealth { state: NodeState::Up, ..NodeHealth::default() });
            }
        }
    }
    let source = Arc::new(ZoneSource {
        config,
        statics,
        listen: vec!["127.0.0.1:53".parse().unwrap()],
        demand: Arc::default(),
        meter: Arc::default(),
    });
    let view = ClusterView { topology: Arc::new(topology), health: Arc::new(health), ..ClusterView::default() };
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

fn asker(transport: Transport) -> Asker {
    asker_from(ASKERS[0], transport)
}

fn asker_from(address: &str, transport: Transport) -> Asker {
    Asker { source: SocketAddr::new(address.parse().unwrap(), 4000), transport, keepalive: 0 }
}

/// A Table with records of every sort; the size of its answers as told.
fn rich(answers: Answers) -> Arc<ArcSwap<Table>> {
    let text = format!(
        "static 60 IN TXT hello\n*.wild 60 IN TXT wild\nalias 60 IN CNAME static\nlarge 60 IN TXT {0}\nmany.wild 60 IN TXT {0}\n",
        format!("{} ", "x".repeat(250)).repeat(6)
    );
    let mut places = two_racks();
    places.push(("dc9".to_owned(), Vec::new()));
    Arc::new(ArcSwap::from_pointee(table_of(&places, file::parse(&text, "f".as_ref(), &apex()).unwrap(), answers)))
}

fn apex() -> Name {
    Name::from_ascii(APEX).unwrap()
}

static RICH: LazyLock<[Arc<ArcSwap<Table>>; 2]> = LazyLock::new(|| [rich(Answers::Auto), rich(Answers::All)]);

/// What an operator may have chosen. No cookies: theirs tell the time, which the two paths' replies may have of two
/// seconds.
static SETTINGS: LazyLock<Arc<Settings>> =
    LazyLock::new(|| Arc::new(Settings { identity: Some("ns1".to_owned()), ..Settings::default() }));

fn replies(table: &Arc<ArcSwap<Table>>, packet: &[u8], transport: Transport) -> [(Outcome, Vec<u8>); 2] {
    replies_to(table, packet, &asker(transport))
}

/// What the server's two paths say to one packet, as bytes, both with fresh cursors: equal seeds deal equal rows.
fn replies_to(table: &Arc<ArcSwap<Table>>, packet: &[u8], asker: &Asker) -> [(Outcome, Vec<u8>); 2] {
    let table = table.load();
    let (mut compiled, mut general) = (Vec::new(), Vec::new());
    let mut responder = Responder::new(&Counters::default(), &SETTINGS, 5);
    let outcome = responder.respond(&table, packet, asker, &mut compiled);
    let mut responder = Responder::new(&Counters::default(), &SETTINGS, 5u64.rotate_right(1));
    let general_outcome = responder.respond_generally(&table, packet, asker, &mut general);
    [(outcome, compiled), (general_outcome, general)]
}

/// A message as hickory reads it, if it does so to the last octet.
fn hickory(bytes: &[u8]) -> Option<Message> {
    let mut decoder = BinDecoder::new(bytes);
    let message = Message::read(&mut decoder).ok()?;
    decoder.is_empty().then_some(message)
}

/// A message as `domain` reads it, in dig's style, and where it ends.
fn domain(bytes: &[u8]) -> Option<(String, usize)> {
    let message = domain::base::Message::from_octets(bytes).ok()?;
    let mut questions = message.question();
    questions.by_ref().collect::<Result<Vec<_>, _>>().ok()?;
    let mut section = questions.answer().ok()?;
    loop {
        for record in section.by_ref() {
            record.ok()?.to_any_record::<domain::rdata::AllRecordData<_, _>>().ok()?;
        }
        let end = section.pos();
        match section.next_section().ok()? {
            Some(next) => section = next,
            None => return Some((message.display_dig_style().to_string(), end)),
        }
    }
}

/// What every reply must hold, whatever it says.
fn check_reply(packet: &[u8], read: &reading::Read, reply: &[u8], transport: Transport) -> Result<(), TestCaseError> {
    let Some(message) = hickory(reply) else { return Err(TestCaseError::fail("hickory cannot read the reply")) };
    let end = domain(reply).map(|(_, end)| end);
    prop_assert_eq!(end, Some(reply.len()), "domain cannot read the reply");
    prop_assert_eq!(&reply[..2], &packet[..2], "id");
    // QR; opcode and RD as asked, and CD; never RA, Z or AD.
    prop_assert_eq!(reply[2] & 0xF9, 0x80 | packet[2] & 0x79, "flags");
    prop_assert_eq!(reply[3] & 0xF0, packet[3] & 0x10, "flags");
    let question = read.question.clone().map_or(&[][..], |at| &packet[at]);
    prop_assert_eq!(usize::from(reply[5]), usize::from(!question.is_empty()));
    prop_assert!(reply[12..].starts_with(question), "the question, octet for octet");
    prop_assert_eq!(message.edns.is_some(), read.opt.is_some(), "an OPT if and only if one was read");
    let limit = match (transport, read.opt) {
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(size)) => usize::from(size.clamp(512, 1232)),
        _ => 65_535,
    };
    prop_assert!(reply.len() <= limit, "{} octets, limit {}", reply.len(), limit);
    Ok(())
}

/// Whether both libraries take a packet for a query with one question.
fn both_accept(packet: &[u8]) -> bool {
    let one = |message: Message| {
        message.queries.len() == 1
            && message.metadata.message_type == MessageType::Query
            && message.metadata.op_code == OpCode::Query
    };
    let sole = domain::base::Message::from_octets(packet).is_ok_and(|message| message.sole_question().is_ok());
    Message::from_vec(packet).is_ok_and(one) && sole && domain(packet).is_some()
}

/// What both paths say to one packet, decoded.
fn both(table: &Arc<ArcSwap<Table>>, packet: &[u8], transport: Transport) -> [(Outcome, Message); 2] {
    replies(table, packet, transport).map(decoded)
}

fn decoded((outcome, bytes): (Outcome, Vec<u8>)) -> (Outcome, Message) {
    (outcome, Message::from_vec(&bytes).unwrap())
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
        from in prop::sample::select(ASKERS.to_vec()),
    ) {
        let answers = if all { Answers::All } else { Answers::Auto };
        let table = Arc::new(ArcSwap::from_pointee(table(&two_racks(), &["static", "*.wild"], answers)));
        let packet = packet(&name, qtype, class, edns);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let asker = asker_from(from, transport);
        let replies = replies_to(&table, &packet, &asker);
        let [(outcome, compiled), (general_outcome, general)] = replies.map(decoded);
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
        let mut responder = Responder::new(&Counters::default(), &SETTINGS, 1);
        responder.respond(&table.load(), &packet, &asker(Transport::Tcp), &mut reply);
        let reply = Message::from_vec(&reply).unwrap();
        let addresses: BTreeSet<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
        prop_assert_eq!((reply.metadata.response_code, addresses), naive::addresses(&places, &statics, &labels), "{}", name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_is_sent_both_paths_and_both_libraries_agree(
        packet in queries::packets(),
        tcp: bool,
        all: bool,
        from in prop::sample::select(ASKERS.to_vec()),
    ) {
        let (packet, table) = (packet.bytes(), &RICH[usize::from(all)]);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let asker = asker_from(from, transport);
        let [(outcome, reply), (general_outcome, general)] = replies_to(table, &packet, &asker);
        let read = reading::read(&packet, transport == Transport::Tcp);
        let expected = match read.verdict {
            reading::Verdict::Drop => Some(Outcome::Dropped),
            reading::Verdict::Opcode => Some(Outcome::NotImp),
            reading::Verdict::Malformed(_) => Some(Outcome::FormErr),
            reading::Verdict::LaterVersion => Some(Outcome::BadVers),
            reading::Verdict::Query => None,
        };
        if let Some(expected) = expected {
            prop_assert_eq!(outcome, expected, "{:?}", read.verdict);
        }
        if outcome == Outcome::Dropped {
            prop_assert!(reply.is_empty());
            prop_assert_eq!(expected, Some(Outcome::Dropped), "every query has a reply");
            return Ok(());
        }
        check_reply(&packet, &read, &reply, transport)?;
        prop_assert_eq!(reply[2] & 0x02 != 0, outcome == Outcome::Truncated, "TC");
        if outcome == Outcome::FormErr && both_accept(&packet) {
            prop_assert!(read.is_refused_on_purpose(&packet), "{:?}", read.verdict);
        }
        check_reply(&packet, &read, &general, transport)?;
        prop_assert_eq!(outcome, general_outcome);
        prop_assert_eq!(hickory(&reply), hickory(&general));
        prop_assert_eq!(domain(&reply).map(|(text, _)| text), domain(&general).map(|(text, _)| text));
    }
}

/// Whether the random packets reach everything the property is about.
#[test]
fn what_is_sent_has_every_outcome_and_every_fault() {
    let mut runner = TestRunner::deterministic();
    let (mut outcomes, mut faults) = (BTreeSet::new(), BTreeSet::new());
    let (mut generally, mut spared) = (0, 0);
    for number in 0..4000 {
        let packet = queries::packets().new_tree(&mut runner).unwrap().current().bytes();
        let mut reply = Vec::new();
        let table = &RICH[number % 2];
        let mut responder = Responder::new(&Counters::default(), &SETTINGS, 5);
        outcomes.insert(responder.respond(&table.load(), &packet, &asker(Transport::Udp), &mut reply));
        let read = reading::read(&packet, false);
        if let reading::Verdict::Malformed(fault) = read.verdict {
            faults.insert(fault);
        }
        generally += usize::from(read.verdict == reading::Verdict::Query);
        spared += usize::from(both_accept(&packet) && read.is_refused_on_purpose(&packet));
    }
    // Of cookies and of who may ask other tests tell.
    let others = [Outcome::BadCookie, Outcome::Denied];
    assert_eq!(outcomes, Outcome::ALL.into_iter().filter(|outcome| !others.contains(outcome)).collect());
    assert_eq!(faults, reading::Fault::ALL.into());
    assert!(generally > 1500 && spared > 50, "{generally} queries, {spared} refused on purpose");
}

/// More addresses than five times the query is long, which only lists of services and explanations may not have.
#[test]
fn addresses_are_told_whole_on_both_paths_and_behind_aliases() {
    let addresses = (1..=20).map(|number| [10, 0, 1, number].into()).collect();
    let places = vec![("dc1".to_owned(), vec![("rack1".to_owned(), addresses)])];
    let statics = file::parse("a 60 IN CNAME dc1\n", "f".as_ref(), &apex()).unwrap();
    let table = Arc::new(ArcSwap::from_pointee(table_of(&places, statics, Answers::All)));
    for (name, records) in [(APEX, 20), ("a.alternator.local.", 21)] {
        let packet = packet(name, RecordType::A, DNSClass::IN, None);
        for (outcome, reply) in both(&table, &packet, Transport::Udp) {
            assert_eq!((outcome, reply.answers.len()), (Outcome::Answered, records), "{name}");
        }
    }
}

/// RFC 3597 sections 3 and 5: data of any length, none among them.
#[test]
fn records_without_data_are_behind_aliases_too() {
    let statics = file::parse("a 60 IN CNAME b\nb 60 IN TYPE65280 \\# 0\n", "f".as_ref(), &apex()).unwrap();
    let table = Arc::new(ArcSwap::from_pointee(table_of(&two_racks(), statics, Answers::Auto)));
    for (name, records) in [("b.alternator.local.", 1), ("a.alternator.local.", 2)] {
        let packet = packet(name, RecordType::Unknown(65_280), DNSClass::IN, None);
        for (outcome, reply) in replies(&table, &packet, Transport::Udp) {
            assert_eq!((outcome, &reply[6..8]), (Outcome::Answered, &[0, records][..]), "{name}");
            assert!(domain(&reply).is_some_and(|(_, end)| end == reply.len()), "{name}");
        }
    }
}

/// What is left out says nothing of itself: the asker comes back for it.
#[test]
fn truncated_replies_have_no_remark_on_either_path() {
    let addresses = (1..=60).map(|number| [10, 0, 1, number].into()).collect();
    let racks = vec![("rack1".to_owned(), addresses), ("rack2".to_owned(), Vec::new())];
    let places = vec![("dc1".to_owned(), racks)];
    let table = Arc::new(ArcSwap::from_pointee(table(&places, &[], Answers::All)));
    let packet = packet("rack2.dc1.alternator.local.", RecordType::A, DNSClass::IN, Some((512, false)));
    for (transport, outcome, has_remark) in
        [(Transport::Udp, Outcome::Truncated, false), (Transport::Tcp, Outcome::Answered, true)]
    {
        let [compiled, general] = both(&table, &packet, transport);
        assert_eq!((compiled.0, general.0), (outcome, outcome));
        for message in [compiled.1, general.1] {
            let options = message.edns.unwrap().options().options.len();
            assert_eq!(options, usize::from(has_remark), "{transport:?}");
        }
    }
}

/// Each view has addresses of its own on both paths, also behind an alias, and the same name's address and ports.
#[test]
fn both_paths_answer_by_the_askers_view() {
    let statics = file::parse("a 60 IN CNAME dc1.rack1\n", "f".as_ref(), &apex()).unwrap();
    let table = Arc::new(ArcSwap::from_pointee(table_of(&two_racks(), statics, Answers::All)));
    let own = ["10.0.1.1", "10.0.1.2"];
    for (name, own, mapped, linked) in [
        ("a.alternator.local.", &own[..], &["198.51.100.1", "198.51.100.2"][..], &["198.18.0.1"][..]),
        ("rack1.dc1.alternator.local.", &own, &["198.51.100.1", "198.51.100.2"], &["198.18.0.1"]),
        ("n-10-0-1-1.alternator.local.", &own[..1], &["198.51.100.1"], &["198.18.0.1"]),
        // Of another family for those who are behind the load balancer.
        ("n-fd00--1.alternator.local.", &[], &[], &["198.18.0.1"]),
    ] {
        let packet = packet(name, RecordType::A, DNSClass::IN, None);
        for (from, expected) in ASKERS.into_iter().zip([own, mapped, own, linked, mapped]) {
            for (_, reply) in replies_to(&table, &packet, &asker_from(from, Transport::Udp)).map(decoded) {
                let mut told: Vec<String> = reply
                    .answers
                    .iter()
                    .filter(|record| record.record_type() == RecordType::A)
                    .map(|record| record.data.to_string())
                    .collect();
                told.sort();
                assert_eq!(told, expected, "{name} for {from}");
            }
        }
    }
}
