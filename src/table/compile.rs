//! One zone, compiled: from decisions to wire bytes.

mod scopes;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{NS, SOA},
};

use super::{
    Answer, Body, Dealt, Deck, Entry, NameIndex, Section, ZonePlan, ZoneSource,
    records::{NodeName, Records, address_data, addresses, fixed, glue, lower_wire, node_names, statics},
    wire::BodyWriter,
};
use crate::{model::Scope, plan::Family, zone::file::RrSet};

/// TTL of the SOA and its minimum where no zone file says otherwise, seconds: how long "no such name" may be believed.
/// As short as the answers themselves, since a scope may appear any moment.
const NEGATIVE_TTL: u32 = 5;

/// TTL of NS records and their glue where no zone file says otherwise, seconds: they change when servers move.
const NS_TTL: u32 = 3600;

/// SOA timers for secondaries, seconds. Nobody can transfer the zone; common values keep checkers quiet.
const SOA_REFRESH: i32 = 3600;
const SOA_RETRY: i32 = 600;
const SOA_EXPIRE: i32 = 604_800;

/// One zone, as wire bytes.
#[derive(Debug)]
pub struct CompiledZone {
    /// What the zone was compiled from.
    pub source: Arc<ZoneSource>,
    /// Every decision behind it.
    pub plan: Arc<ZonePlan>,
    /// Grows with every change; the SOA serial.
    pub epoch: u32,
    /// The apex in lower-case wire format.
    pub apex_wire: Box<[u8]>,
    /// Every owner name in lower-case wire format, empty non-terminals among them.
    pub names: NameIndex,
    /// Whether any owner is a wildcard.
    pub has_wildcards: bool,
    /// The decks, by the index in [`Answer::Dealt`].
    pub dealt: Vec<Dealt>,
    /// Cursors the zone's decks need.
    pub slots: usize,
    /// Authority section of NODATA and NXDOMAIN: the SOA (RFC 2308 section 3).
    pub negative: Body,
    parts: Parts,
}

/// What the next compile takes over wherever it is still right.
#[derive(Debug)]
struct Parts {
    /// Entries of the zone file.
    statics: Arc<Vec<(Box<[u8]>, Entry)>>,
    /// Names of the nodes in the plan's topology, and of those lent.
    nodes: Arc<BTreeMap<IpAddr, Arc<NodeName>>>,
    /// By view: SRV answers of each chain of the plan.
    services: Vec<Vec<Answer>>,
    /// Decks of each scope that is answered from, by family and view.
    decks: BTreeMap<(Scope, Family, usize), Arc<Deck>>,
}

impl CompiledZone {
    /// Memory the zone's decks take, octets: most of what the zone takes.
    pub fn octets(&self) -> usize {
        // Views may share one.
        let decks: BTreeMap<_, _> = self.parts.decks.values().map(|deck| (Arc::as_ptr(deck), deck)).collect();
        decks.values().map(|deck| deck.octets()).sum()
    }
}

/// The epoch after `previous`: the clock where that is later, so that epochs grow over restarts even without a state
/// file. Epochs are SOA serials, which wrap (RFC 1982). The clock must tick at least as often as zones are compiled:
/// epochs that run ahead of it would be taken back by the next start.
pub fn next_epoch(previous: Option<u32>, clock: u32) -> u32 {
    match previous {
        Some(previous) if !is_after(clock, previous) => previous.wrapping_add(1),
        _ => clock,
    }
}

/// Whether a serial comes after another (RFC 1982 section 3.2).
fn is_after(serial: u32, other: u32) -> bool {
    (1..1 << 31).contains(&serial.wrapping_sub(other))
}

/// Compiles a plan. Whatever is the same in `previous` is taken over from there: decks, so that their rows go on
/// undisturbed, the zone file's records, names of nodes and lists of services. `seed` decides how new decks are
/// shuffled. (Cursors go by a chain's place: a chain that gains or loses a family moves those behind it to another
/// cursor, which is a random start like any other.)
pub fn compile_zone(
    source: Arc<ZoneSource>,
    plan: ZonePlan,
    epoch: u32,
    previous: Option<&CompiledZone>,
    seed: u64,
) -> CompiledZone {
    let apex = source.config.apex.to_lowercase();
    let previous = previous.filter(|previous| Arc::ptr_eq(&previous.source, &source));
    let mut compiler = Compiler {
        records: Records::default(),
        dealt: Vec::new(),
        parts: parts(&source, &plan, &apex, previous),
        soa: soa(&source, epoch),
        rng: fastrand::Rng::with_seed(seed),
        apex_wire: lower_wire(&apex),
        apex,
        source: &source,
        plan: &plan,
        previous,
    };
    compiler.statics();
    // Names of our own making come last: they give way to what the zone file and the cluster name.
    compiler.scopes();
    compiler.apex_defaults();
    compiler.nodes();
    compiler.empty_non_terminals();
    let Compiler { records, dealt, parts, apex, apex_wire, soa, .. } = compiler;

    let (soa_ttl, soa) = soa;
    let mut negative = BodyWriter::new(&apex);
    // RFC 2308 section 5: the TTL of a negative answer is the lesser of the SOA's own TTL and its minimum.
    negative.record(Section::Authority, &apex, soa_ttl.min(soa.minimum), &RData::SOA(soa));
    CompiledZone {
        negative: negative.finish(),
        has_wildcards: records.keys().any(|name| name.starts_with(b"\x01*")),
        names: records.into(),
        apex_wire,
        slots: dealt.len() * 2,
        dealt,
        parts,
        epoch,
        plan: Arc::new(plan),
        source: source.clone(),
    }
}

/// What does not depend on who serves; decks and services come later.
fn parts(source: &ZoneSource, plan: &ZonePlan, apex: &Name, previous: Option<&CompiledZone>) -> Parts {
    let nodes = match previous {
        Some(CompiledZone { plan: before, parts, .. })
            if Arc::ptr_eq(&before.topology, &plan.topology)
                && before.lent == plan.lent
                && before.views == plan.views =>
        {
            parts.nodes.clone()
        }
        _ => {
            let known = previous.map(|previous| &*previous.parts.nodes);
            Arc::new(node_names(plan, source, apex, known))
        }
    };
    let statics = previous.map_or_else(|| Arc::new(statics(source, apex)), |previous| previous.parts.statics.clone());
    Parts { statics, nodes, services: Vec::new(), decks: BTreeMap::new() }
}

/// The SOA and its TTL: the zone file's with our serial, or one of our own.
fn soa(source: &ZoneSource, epoch: u32) -> (u32, SOA) {
    let apex = &source.config.apex;
    let at_apex = source.statics.records.get(&apex.to_lowercase());
    let find = |rtype| at_apex.and_then(|records: &BTreeMap<RecordType, RrSet>| records.get(&rtype));
    if let Some(RrSet { ttl, data, .. }) = find(RecordType::SOA)
        && let Some(RData::SOA(soa)) = data.first()
    {
        let mut soa = soa.clone();
        soa.serial = epoch;
        return (*ttl, soa);
    }
    let mname = match find(RecordType::NS).and_then(|records| records.data.first()) {
        Some(RData::NS(NS(name))) => name.clone(),
        _ => below("ns1", apex).unwrap_or_else(|| apex.clone()),
    };
    let rname = below("hostmaster", apex).unwrap_or_else(|| apex.clone());
    let soa = SOA::new(mname, rname, epoch, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, NEGATIVE_TTL);
    (NEGATIVE_TTL, soa)
}

/// `label.name`, unless that is too long for a name.
fn below(label: &str, name: &Name) -> Option<Name> {
    name.prepend_label(label).ok()
}

struct Compiler<'a> {
    source: &'a ZoneSource,
    plan: &'a ZonePlan,
    previous: Option<&'a CompiledZone>,
    apex: Name,
    apex_wire: Box<[u8]>,
    soa: (u32, SOA),
    rng: fastrand::Rng,
    records: Records,
    dealt: Vec<Dealt>,
    parts: Parts,
}

impl Compiler<'_> {
    /// The zone file's records, and the SOA.
    fn statics(&mut self) {
        self.records.reserve(self.parts.statics.len() + self.parts.nodes.len());
        self.records.extend(self.parts.statics.iter().cloned());
        let mut body = BodyWriter::new(&self.apex);
        body.answer(self.soa.0, &RData::SOA(self.soa.1.clone()));
        self.add(self.apex_wire.clone(), [fixed(RecordType::SOA, body.finish())]);
    }

    fn add(&mut self, name: Box<[u8]>, answers: impl IntoIterator<Item = (u16, Answer)>) {
        self.records.entry(name).or_default().answers.extend(answers);
    }

    /// Whether a name has addresses of the zone file or of a scope, or stands for another name. (A scope answers for at
    /// least one of A and AAAA, if only that it is not ready.)
    fn is_addressed(&self, name: &[u8]) -> bool {
        let has = |entry: &Entry, rtype| entry.answer(u16::from(rtype)).is_some();
        let addressed = |entry: &Entry| has(entry, RecordType::A) || has(entry, RecordType::AAAA);
        self.records.get(name).is_some_and(|entry| entry.alias.is_some() || addressed(entry))
    }

    /// NS at the apex, where no zone file has one: `ns1.zone`, at the addresses we listen on unless it has others.
    fn apex_defaults(&mut self) {
        let has_ns =
            self.records.get(&self.apex_wire).is_some_and(|entry| entry.answer(u16::from(RecordType::NS)).is_some());
        let Some(server) = below("ns1", &self.apex).filter(|_| !has_ns) else { return };
        let mut body = BodyWriter::new(&self.apex);
        body.answer(NS_TTL, &RData::NS(NS(server.clone())));
        let mut own: Vec<IpAddr> = self.source.listen.iter().map(|listen| listen.ip().to_canonical()).collect();
        own.retain(|address| !address.is_unspecified());
        own.sort();
        own.dedup();
        let server_wire = lower_wire(&server);
        let known = self.is_addressed(&server_wire);
        if known {
            glue(&mut body, &self.source.statics, &[RData::NS(NS(server))]);
        } else {
            for address in &own {
                body.record(Section::Additional, &server, NS_TTL, &address_data(*address));
            }
        }
        let servers = fixed(RecordType::NS, body.finish());
        self.add(self.apex_wire.clone(), [servers]);
        if !known {
            self.add(server_wire, addresses(&self.apex, &own, NS_TTL));
        }
    }

    /// One name per node, the targets of SRV records. They are the nodes' identities, so health does not touch them.
    fn nodes(&mut self) {
        for node in self.parts.nodes.clone().values() {
            if !self.is_addressed(&node.name) {
                self.add(node.name.clone(), node.addresses.iter().cloned());
            }
        }
    }

    /// Every ancestor of every name exists, if only to say that it has no data (RFC 8020).
    fn empty_non_terminals(&mut self) {
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        for name in self.records.keys() {
            let mut rest = parent(name);
            while rest.len() > self.apex_wire.len() && !self.records.contains_key(rest) {
                missing.push(rest.into());
                rest = parent(rest);
            }
        }
        self.records.extend(missing.into_iter().map(|name| (name, Entry::default())));
    }
}

/// The name without its first label.
fn parent(name: &[u8]) -> &[u8] {
    name.first().and_then(|&len| name.get(1 + usize::from(len)..)).unwrap_or_default()
}

#[cfg(test)]
mod views_tests;

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        time::{Duration, SystemTime},
    };

    use hickory_proto::op::Message;

    use super::{
        super::{Shape, names::tests::zone, wire_name},
        *,
    };
    use crate::{
        config::ZoneConfig,
        model::{ClusterView, Failure, Health, Member, Node, NodeHealth, NodeState, Topology},
        plan::Weights,
        zone::file::{self, StaticZone},
    };

    /// When everything is looked at.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    /// Up for long.
    fn up() -> NodeHealth {
        NodeHealth { state: NodeState::Up, since: Some(SystemTime::UNIX_EPOCH), ..NodeHealth::default() }
    }

    fn died() -> NodeHealth {
        NodeHealth {
            state: NodeState::Down,
            failure: Some(Failure::Refused),
            served_until: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)),
            ..NodeHealth::default()
        }
    }

    /// These nodes: address, place, health.
    fn view(nodes: &[(&str, &str, NodeHealth)]) -> ClusterView {
        let (mut topology, mut health) = (Topology::default(), Health::default());
        for (address, place, node_health) in nodes {
            let address: IpAddr = address.parse().unwrap();
            let (dc, rack) = place.split_once('/').unwrap();
            let node = Node { address, datacenter: Some(dc.into()), rack: Some(rack.into()) };
            topology.members.insert(address, Member::new(node));
            health.nodes.insert(address, node_health.clone());
        }
        ClusterView { topology: Arc::new(topology), health: Arc::new(health), now: now(), ..ClusterView::default() }
    }

    /// A zone over these nodes.
    fn compiled(config: ZoneConfig, statics: StaticZone, nodes: &[(&str, &str, NodeHealth)]) -> CompiledZone {
        let listen = vec!["192.0.2.53:53".parse().unwrap()];
        let source = Arc::new(ZoneSource { config, statics, listen, demand: Arc::default(), meter: Arc::default() });
        let plan = ZonePlan::new(&source, &view(nodes));
        compile_zone(source, plan, 7, None, 1)
    }

    /// The zone again, over these nodes.
    fn again(zone: &CompiledZone, nodes: &[(&str, &str, NodeHealth)]) -> CompiledZone {
        let plan = ZonePlan::after(Some(&zone.plan), &zone.source, &view(nodes));
        compile_zone(zone.source.clone(), plan, 8, Some(zone), 2)
    }

    fn answers(zone: &CompiledZone, name: &str) -> Vec<(u16, Answer)> {
        zone.names.get(&wire_name(&Name::from_ascii(name).unwrap())).unwrap().answers.clone()
    }

    fn answer(zone: &CompiledZone, name: &str, rtype: RecordType) -> Answer {
        let of_type = answers(zone, name).into_iter().filter(|(known, _)| *known == u16::from(rtype));
        let [(_, answer)] = &of_type.collect::<Vec<_>>()[..] else { panic!("one answer for {name} {rtype}") };
        answer.clone()
    }

    /// A fixed answer, decoded.
    fn fixed(zone: &CompiledZone, name: &str, rtype: RecordType) -> Message {
        let Answer::Fixed(body) = answer(zone, name, rtype) else { panic!("{name} {rtype} is not fixed") };
        let question = wire_name(&Name::from_ascii(name).unwrap());
        let mut message = vec![0, 0, 0x84, 0, 0, 1];
        body.counts().iter().for_each(|count| message.extend(count.to_be_bytes()));
        message.extend(&question);
        message.extend(u16::from(rtype).to_be_bytes());
        message.extend([0, 1]);
        let apex_offset = 12 + question.len() - zone.apex_wire.len();
        body.within(usize::from(u16::MAX)).unwrap().append_to(&mut message, apex_offset as u16);
        Message::from_vec(&message).unwrap()
    }

    fn ttl(zone: &CompiledZone, name: &str, rtype: RecordType) -> u32 {
        let Answer::Dealt(index) = answer(zone, name, rtype) else { panic!("{name} {rtype} is not dealt") };
        let row = zone.dealt[index].deck.row(0, Shape::Single).octets;
        u32::from_be_bytes(row[6..10].try_into().unwrap())
    }

    #[test]
    fn a_dead_family_spoils_neither_the_services_nor_the_ttl_of_the_other() {
        let nodes = [("10.0.0.1", "dc1/r1", up()), ("fd00::1", "dc1/r1", died())];
        let half = compiled(zone(&[("dc1", &["r1"])], &[]), StaticZone::default(), &nodes);
        let services = fixed(&half, "_alternator._tcp.dc1.alternator.local.", RecordType::SRV);
        let targets: Vec<String> = services.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(targets, ["0 1 8000 n-10-0-0-1.alternator.local."]);
        assert_eq!(services.answers[0].ttl, 5);
        assert_eq!(ttl(&half, "dc1.alternator.local.", RecordType::A), 5);
        assert_eq!(ttl(&half, "dc1.alternator.local.", RecordType::AAAA), 1);
        // With nothing left, both last known good nodes are services.
        let nodes = [("10.0.0.1", "dc1/r1", died()), ("fd00::1", "dc1/r1", died())];
        let dead = compiled(zone(&[("dc1", &["r1"])], &[]), StaticZone::default(), &nodes);
        let services = fixed(&dead, "_alternator._tcp.dc1.alternator.local.", RecordType::SRV);
        assert_eq!(services.answers.iter().map(|record| record.ttl).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn glue_of_a_default_name_server_is_what_its_name_answers() {
        let apex = Name::from_ascii("alternator.local.").unwrap();
        let statics = file::parse("ns1.alternator.local. 60 IN A 203.0.113.5\n", "f".as_ref(), &apex).unwrap();
        for (statics, address, ttl) in [(statics, "203.0.113.5", 60), (StaticZone::default(), "192.0.2.53", NS_TTL)] {
            let compiled = compiled(zone(&[], &[]), statics, &[]);
            let glue = fixed(&compiled, "alternator.local.", RecordType::NS).additionals;
            assert_eq!(
                glue.iter().map(|record| (record.data.to_string(), record.ttl)).collect::<Vec<_>>(),
                [(address.to_owned(), ttl)]
            );
            let answer = fixed(&compiled, "ns1.alternator.local.", RecordType::A);
            assert_eq!(answer.answers[0].data, glue[0].data);
        }
    }

    #[test]
    fn only_what_a_change_touches_is_made_again() {
        let mut nodes = vec![
            ("10.0.0.1", "dc1/r1", up()),
            ("10.0.0.2", "dc1/r1", up()),
            ("10.0.0.3", "dc1/r2", up()),
            ("10.0.0.4", "dc2/r1", up()),
        ];
        let config = zone(&[("dc1", &["r1", "r2"]), ("dc2", &["r1"])], &[]);
        let first = compiled(config, StaticZone::default(), &nodes);
        let taken_over = |before: &CompiledZone, now: &CompiledZone| -> Vec<String> {
            let same_deck = |scope: &Scope| {
                let deck = |zone: &CompiledZone| zone.parts.decks[&(scope.clone(), Family::V4, 0)].clone();
                Arc::ptr_eq(&deck(before), &deck(now))
            };
            now.parts
                .decks
                .keys()
                .map(|(scope, ..)| scope)
                .filter(|scope| same_deck(scope))
                .map(Scope::to_string)
                .collect()
        };
        let body = |zone: &CompiledZone, name: &str, rtype| match answer(zone, name, rtype) {
            Answer::Fixed(body) => body,
            other => panic!("{other:?}"),
        };

        nodes[0].2 = died();
        let second = again(&first, &nodes);
        assert_eq!(taken_over(&first, &second), ["dc2", "dc1/r2", "dc2/r1"]);
        for (name, rtype, same) in [
            ("_alternator._tcp.dc1.alternator.local.", RecordType::SRV, false),
            ("_alternator._tcp.dc2.alternator.local.", RecordType::SRV, true),
            ("n-10-0-0-1.alternator.local.", RecordType::A, true),
        ] {
            assert_eq!(Arc::ptr_eq(&body(&first, name, rtype), &body(&second, name, rtype)), same, "{name}");
        }
        // Its rack is gone as well: the rack's name has the deck of its datacenter.
        nodes[1].2 = died();
        let third = again(&second, &nodes);
        assert_eq!(taken_over(&second, &third), ["dc2", "dc1/r2", "dc2/r1"].map(str::to_owned));
        let deck = |name| match answer(&third, name, RecordType::A) {
            Answer::Dealt(index) => third.dealt[index].deck.clone(),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&deck("r1.dc1.alternator.local."), &deck("dc1.alternator.local.")));
        // A node that joins leaves the names of the others as they are, and has its own.
        nodes.push(("10.0.0.5", "dc2/r1", up()));
        let fourth = again(&third, &nodes);
        let name = "n-10-0-0-4.alternator.local.";
        assert!(Arc::ptr_eq(&body(&third, name, RecordType::A), &body(&fourth, name, RecordType::A)));
        assert_eq!(fixed(&fourth, "n-10-0-0-5.alternator.local.", RecordType::A).answers.len(), 1);
        assert_eq!(taken_over(&third, &fourth), ["dc1", "dc1/r2"]);
    }

    #[test]
    fn a_probe_that_fails_shortens_the_answers_with_its_node_and_deals_nothing_anew() {
        let nodes = |second: NodeHealth| {
            [("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", second), ("10.0.0.3", "dc1/r2", up())]
        };
        let first = compiled(zone(&[("dc1", &["r1", "r2"])], &[]), StaticZone::default(), &nodes(up()));
        let failing = NodeHealth { failure: Some(Failure::TimedOut), ..up() };
        let second = again(&first, &nodes(failing));
        for (name, seconds) in [("", 1), ("dc1.", 1), ("dc1.r1.", 1), ("dc1.r2.", 5)] {
            let name = format!("{name}alternator.local.");
            assert_eq!(ttl(&second, &name, RecordType::A), seconds, "{name}");
            let services = fixed(&second, &format!("_alternator._tcp.{name}"), RecordType::SRV).answers;
            assert!(services.iter().all(|record| record.ttl == seconds), "{name}");
        }
        let rows = |zone: &CompiledZone, index: usize| -> Vec<Vec<u8>> {
            let deck = &zone.dealt[index].deck;
            (0..deck.rows()).map(|row| deck.row(row, Shape::Single).octets[10..].to_vec()).collect()
        };
        for index in 0..first.dealt.len() {
            assert_eq!(rows(&first, index), rows(&second, index));
            assert_eq!(first.dealt[index].slot, second.dealt[index].slot);
        }
    }

    #[test]
    fn a_node_that_joins_leads_less_and_its_steps_deal_nothing_anew() {
        let young = |seconds| NodeHealth { since: Some(now() - Duration::from_secs(seconds)), ..up() };
        let nodes =
            |health| [("10.0.0.1", "dc1/r1", up()), ("10.0.0.2", "dc1/r1", health), ("10.0.0.3", "dc1/r2", up())];
        let config = zone(&[("dc1", &["r1", "r2"])], &[]);
        let mut zone = compiled(config, StaticZone::default(), &nodes(young(0)));
        let deck = |zone: &CompiledZone, name: &str| match answer(zone, name, RecordType::A) {
            Answer::Dealt(index) => zone.dealt[index].deck.clone(),
            other => panic!("{other:?}"),
        };
        let first = deck(&zone, "dc1.alternator.local.");
        assert_eq!((first.weights(), zone.plan.weight([10, 0, 0, 2].into())), (Some(&[10, 1, 10][..]), Some(0.1)));
        assert_eq!(zone.plan.next_change.0, Some(now() + Duration::from_nanos(3_333_333_334)));
        assert_eq!(deck(&zone, "r2.dc1.alternator.local.").weights(), None, "nobody of this rack has just joined");
        zone = again(&zone, &nodes(young(15)));
        assert_eq!(deck(&zone, "dc1.alternator.local.").weights(), Some(&[2, 1, 2][..]));
        zone = again(&zone, &nodes(young(30)));
        let last = deck(&zone, "dc1.alternator.local.");
        assert_eq!((last.weights(), zone.plan.next_change.0), (None, None));
        assert_eq!(*last, Deck::clone(&first).with_weights(&Weights::default()), "the same rows");
    }

    /// Whatever is taken over, the zone is what it would be had it been compiled from nothing.
    #[test]
    fn what_is_taken_over_is_what_would_be_made() {
        let config = zone(&[("dc1", &["r1", "r2"]), ("dc2", &["r1"])], &[]);
        let mut rng = fastrand::Rng::with_seed(3);
        let places = ["dc1/r1", "dc1/r2", "dc2/r1"];
        let addresses: Vec<String> = (1..=9).map(|last| format!("10.0.0.{last}")).collect();
        let mut zone = compiled(config.clone(), StaticZone::default(), &[]);
        for round in 0..200 {
            let mut nodes = Vec::new();
            for (index, address) in addresses.iter().enumerate() {
                let health = match rng.u8(..6) {
                    0 => continue,
                    1 => died(),
                    2 => NodeHealth { failure: Some(Failure::TimedOut), ..up() },
                    3 => NodeHealth { since: Some(now() - Duration::from_secs(rng.u64(..30))), ..up() },
                    _ => up(),
                };
                nodes.push((address.as_str(), places[index % 3], health));
            }
            zone = again(&zone, &nodes);
            let anew = ZonePlan::new(&zone.source, &view(&nodes));
            assert_eq!(*zone.plan, anew, "round {round}");
            let anew = compile_zone(zone.source.clone(), anew, 8, None, 2);
            assert_eq!(zone.names.len(), anew.names.len());
            for (name, entry) in anew.names.iter() {
                for ((rtype, expected), (_, found)) in entry.answers.iter().zip(&zone.names.get(name).unwrap().answers)
                {
                    let dealt = |zone: &CompiledZone, index: usize| {
                        let deck = zone.dealt[index].deck.clone();
                        let leaders = (0..deck.rows()).map(|row| deck.row(row, Shape::Single).octets.to_vec());
                        let (mut leaders, weights) = (leaders.collect::<Vec<_>>(), deck.weights().map(<[u32]>::to_vec));
                        leaders.sort_unstable();
                        (deck.nodes().to_vec(), deck.ttl(), weights, leaders)
                    };
                    let same = match (expected, found) {
                        (Answer::Fixed(expected), Answer::Fixed(found)) => expected == found,
                        (Answer::Dealt(expected), Answer::Dealt(found)) => {
                            dealt(&anew, *expected) == dealt(&zone, *found)
                        }
                        (Answer::Explain(expected), Answer::Explain(found)) => expected == found,
                        (expected, found) => matches!((expected, found), (Answer::Unready(_), Answer::Unready(_))),
                    };
                    assert!(same, "round {round}: {name:?} {rtype}");
                }
            }
        }
    }

    #[test]
    fn names_of_our_own_making_give_way_to_addresses_only() {
        let apex = Name::from_ascii("alternator.local.").unwrap();
        let nodes = [("10.0.0.1", "dc1/r1", up())];
        for (record, given) in [
            ("TXT text", Some("10.0.0.1")),
            ("A 203.0.113.5", Some("203.0.113.5")),
            ("AAAA 2001:db8::1", None),
            ("CNAME dc1", None),
        ] {
            let name = "n-10-0-0-1.alternator.local.";
            let statics = file::parse(&format!("{name} 60 IN {record}\n"), "f".as_ref(), &apex).unwrap();
            let compiled = compiled(zone(&[("dc1", &["r1"])], &[]), statics, &nodes);
            let found = answers(&compiled, name).iter().any(|(known, _)| *known == u16::from(RecordType::A));
            let told = found.then(|| fixed(&compiled, name, RecordType::A).answers[0].data.to_string());
            assert_eq!(told.as_deref(), given, "beside {record}");
        }
        let statics = file::parse("ns1.alternator.local. 60 IN TXT text\n", "f".as_ref(), &apex).unwrap();
        let compiled = compiled(zone(&[], &[]), statics, &[]);
        let server = fixed(&compiled, "ns1.alternator.local.", RecordType::A);
        assert_eq!(server.answers[0].data.to_string(), "192.0.2.53");
        let glue = fixed(&compiled, "alternator.local.", RecordType::NS).additionals;
        assert_eq!(glue[0].data, server.answers[0].data);
        assert_eq!(fixed(&compiled, "ns1.alternator.local.", RecordType::TXT).answers.len(), 1);
    }

    #[test]
    fn a_scope_wins_over_a_name_of_our_own_making() {
        let nodes = [("10.0.0.1", "ns1/r1", up()), ("10.0.0.2", "n-10-0-0-1/r1", up())];
        let config = zone(&[("ns1", &["r1"]), ("n-10-0-0-1", &["r1"])], &[]);
        let compiled = compiled(config, StaticZone::default(), &nodes);
        for name in ["ns1.alternator.local.", "n-10-0-0-1.alternator.local."] {
            assert!(matches!(answer(&compiled, name, RecordType::A), Answer::Dealt(_)), "{name}");
        }
    }

    #[test]
    fn explanations_fit_a_message_however_long_the_names_are() {
        let rack = "r".repeat(250);
        let place = format!("dc1/{rack}");
        let addresses: Vec<String> = (0..500u32).map(|n| Ipv4Addr::from(0x0A00_0000 + n).to_string()).collect();
        let health = |index: usize| if index < 250 { up() } else { died() };
        let nodes: Vec<(&str, &str, NodeHealth)> = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| (address.as_str(), place.as_str(), health(index)))
            .collect();
        let compiled = compiled(zone(&[("dc1", &[&rack])], &[]), StaticZone::default(), &nodes);
        // Owner pointer, type, class, TTL, length, and the length octet of the one character-string.
        let lines = super::super::explain(
            &compiled,
            compiled.plan.names.names[&compiled.source.config.apex],
            [192, 0, 2, 1].into(),
        );
        let octets: usize = lines.iter().map(|line| 12 + 1 + line.len()).sum();
        assert!(octets <= 65_535 - 12 - 259 - 11, "{octets} octets");
    }

    #[test]
    fn epochs_follow_the_clock_and_grow_without_it() {
        assert_eq!(next_epoch(None, 7), 7);
        assert_eq!(next_epoch(Some(7), 100), 100);
        assert_eq!(next_epoch(Some(100), 100), 101);
        assert_eq!(next_epoch(Some(100), 7), 101, "the clock was set back");
        assert_eq!(next_epoch(Some(u32::MAX), u32::MAX), 0, "serials wrap");
        assert_eq!(next_epoch(Some(u32::MAX - 5), 3), 3);
    }
}
