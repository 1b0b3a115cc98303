//! One zone, compiled: from decisions to wire bytes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, NS, SOA, SRV},
};

use super::{
    Answer, Body, Dealt, Deck, Entry, NameIndex, Section, ZonePlan, ZoneSource,
    plan::seconds,
    wire::{BodyWriter, wire_name},
};
use crate::{
    model::Scope,
    plan::{Family, FamilyPlan, ScopePlan},
    zone::{file::RrSet, label::node_label},
};

/// TTL of the SOA and its minimum where no zone file says otherwise, seconds: how long "no such name" may be believed.
/// As short as the answers themselves, since a scope may appear any moment.
const NEGATIVE_TTL: u32 = 5;

/// TTL of NS records and their glue where no zone file says otherwise, seconds: they change when servers move.
const NS_TTL: u32 = 3600;

/// SOA timers for secondaries, seconds. Nobody can transfer the zone; common values keep checkers quiet.
const SOA_REFRESH: i32 = 3600;
const SOA_RETRY: i32 = 600;
const SOA_EXPIRE: i32 = 604_800;

/// The label of SRV records, in front of every scope name: `_alternator._tcp` (RFC 2782).
const SRV_LABELS: [&str; 2] = ["_alternator", "_tcp"];

/// The label of explanations, in front of every scope name.
const EXPLAIN_LABEL: &str = "_explain";

/// One zone, as wire bytes.
#[derive(Debug)]
pub struct CompiledZone {
    /// What the zone was compiled from.
    pub source: Arc<ZoneSource>,
    /// Every decision behind it.
    pub plan: ZonePlan,
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
    /// Decks of each chain by family, to be taken over by the next compile.
    decks: BTreeMap<(Vec<Scope>, Family), Arc<Deck>>,
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

/// Compiles a plan. Decks that `previous` already has for the same nodes are taken over, so that their rows (and the
/// cursors into them) go on undisturbed; `seed` decides how new ones are shuffled.
pub fn compile_zone(
    source: Arc<ZoneSource>,
    plan: ZonePlan,
    epoch: u32,
    previous: Option<&CompiledZone>,
    seed: u64,
) -> CompiledZone {
    let apex = source.config.apex.to_lowercase();
    let mut compiler = Compiler {
        records: BTreeMap::new(),
        dealt: Vec::new(),
        decks: BTreeMap::new(),
        soa: soa(&source, epoch),
        rng: fastrand::Rng::with_seed(seed),
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
    let Compiler { records, dealt, decks, apex, soa, .. } = compiler;

    let has_wildcards = records.keys().any(|name| name.iter().next() == Some(b"*"));
    let (soa_ttl, soa) = soa;
    let mut negative = BodyWriter::new(&apex);
    // RFC 2308 section 5: the TTL of a negative answer is the lesser of the SOA's own TTL and its minimum.
    negative.record(Section::Authority, &apex, soa_ttl.min(soa.minimum), &RData::SOA(soa));
    CompiledZone {
        negative: negative.finish(),
        names: records.into_iter().map(|(name, entry)| (wire_name(&name).into(), entry)).collect(),
        apex_wire: wire_name(&apex).into(),
        slots: dealt.len() * 2,
        has_wildcards,
        dealt,
        decks,
        epoch,
        plan,
        source: source.clone(),
    }
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
    soa: (u32, SOA),
    rng: fastrand::Rng,
    records: BTreeMap<Name, Entry>,
    dealt: Vec<Dealt>,
    decks: BTreeMap<(Vec<Scope>, Family), Arc<Deck>>,
}

impl Compiler<'_> {
    /// The zone file's records, and the SOA.
    fn statics(&mut self) {
        for (name, records) in &self.source.statics.records {
            for (rtype, set) in records {
                if *rtype == RecordType::SOA {
                    continue;
                }
                let mut body = BodyWriter::new(&self.apex);
                set.data.iter().for_each(|data| body.answer(set.ttl, data));
                if *rtype == RecordType::NS {
                    self.glue(&mut body, &set.data);
                }
                let entry = self.records.entry(name.clone()).or_default();
                if let (RecordType::CNAME, Some(RData::CNAME(target))) = (rtype, set.data.first()) {
                    entry.alias = Some(target.0.clone());
                }
                entry.answers.push((u16::from(*rtype), Answer::Fixed(Arc::new(body.finish()))));
            }
        }
        let mut body = BodyWriter::new(&self.apex);
        body.answer(self.soa.0, &RData::SOA(self.soa.1.clone()));
        self.fixed(&self.apex.clone(), RecordType::SOA, body.finish());
    }

    /// Addresses of name servers inside the zone (RFC 1034 section 4.2.1), after their NS records.
    fn glue(&self, body: &mut BodyWriter<'_>, servers: &[RData]) {
        for server in servers {
            let RData::NS(NS(name)) = server else { continue };
            let Some(records) = self.source.statics.records.get(&name.to_lowercase()) else { continue };
            for (rtype, set) in records {
                if matches!(rtype, RecordType::A | RecordType::AAAA) {
                    set.data.iter().for_each(|data| body.record(Section::Additional, name, set.ttl, data));
                }
            }
        }
    }

    /// NS at the apex, where no zone file has one: `ns1.zone`, at the addresses we listen on unless the name is taken.
    fn apex_defaults(&mut self) {
        let has_ns =
            self.records.get(&self.apex).is_some_and(|entry| entry.answer(u16::from(RecordType::NS)).is_some());
        let Some(server) = below("ns1", &self.apex).filter(|_| !has_ns) else { return };
        let mut body = BodyWriter::new(&self.apex);
        body.answer(NS_TTL, &RData::NS(NS(server.clone())));
        let known = self.records.contains_key(&server);
        let mut addresses: Vec<IpAddr> = self.source.listen.iter().map(|listen| listen.ip().to_canonical()).collect();
        addresses.retain(|address| !address.is_unspecified());
        addresses.sort();
        addresses.dedup();
        if known {
            self.glue(&mut body, &[RData::NS(NS(server.clone()))]);
        } else {
            for address in &addresses {
                body.record(Section::Additional, &server, NS_TTL, &address_data(*address));
            }
        }
        self.fixed(&self.apex.clone(), RecordType::NS, body.finish());
        if !known {
            self.records.entry(server.clone()).or_default();
            self.addresses(&server, &addresses, NS_TTL);
        }
    }

    /// One name per node, the targets of SRV records. They are the nodes' identities, so health does not touch them.
    fn nodes(&mut self) {
        let ttl = seconds(self.source.config.ttl);
        for address in self.plan.nodes.keys() {
            let Some(name) = below(&node_label(*address), &self.apex) else { continue };
            if !self.records.contains_key(&name) {
                self.addresses(&name, &[*address], ttl);
            }
        }
    }

    /// Every name of every scope: addresses, SRV, explanation.
    fn scopes(&mut self) {
        let plan = self.plan;
        let answers: Vec<ScopeAnswers> =
            plan.scopes.iter().enumerate().map(|(index, scope)| self.scope(index, scope)).collect();
        for (name, &chain) in &plan.names.names {
            let ScopeAnswers { addresses, services } = &answers[chain];
            self.records.entry(name.clone()).or_default().answers.extend(addresses.iter().cloned());
            let services_name = below(SRV_LABELS[1], name).and_then(|name| below(SRV_LABELS[0], &name));
            if let Some(services_name) = services_name {
                self.records
                    .entry(services_name)
                    .or_default()
                    .answers
                    .push((u16::from(RecordType::SRV), services.clone()));
            }
            if let Some(explain_name) = below(EXPLAIN_LABEL, name) {
                let explanation = (u16::from(RecordType::TXT), Answer::Explain(chain));
                self.records.entry(explain_name).or_default().answers.push(explanation);
            }
        }
    }

    fn scope(&mut self, index: usize, scope: &ScopePlan) -> ScopeAnswers {
        debug_assert_eq!(self.plan.names.chains[index], scope.chain);
        let mut addresses = Vec::new();
        for (family, rtype) in [(Family::V4, RecordType::A), (Family::V6, RecordType::AAAA)] {
            match scope.family(family) {
                FamilyPlan::Absent => {}
                FamilyPlan::Unready => addresses.push((u16::from(rtype), Answer::Unready)),
                FamilyPlan::Serve { nodes, .. } => {
                    let ttl = self.plan.family_ttl(self.source, scope.family(family));
                    let deck = self.deck(scope, family, nodes, ttl);
                    addresses.push((u16::from(rtype), Answer::Dealt(self.dealt.len())));
                    self.dealt.push(Dealt { deck, slot: self.dealt.len() * 2 });
                }
            }
        }
        let services = if scope.nodes().next().is_none() {
            Answer::Unready
        } else {
            Answer::Fixed(Arc::new(self.services(scope)))
        };
        ScopeAnswers { addresses, services }
    }

    /// The previous deck where it is still right, a new deal otherwise.
    fn deck(&mut self, scope: &ScopePlan, family: Family, nodes: &[crate::model::Node], ttl: u32) -> Arc<Deck> {
        let key = (scope.chain.clone(), family);
        let known = self.previous.and_then(|previous| previous.decks.get(&key)).filter(|deck| deck.is_for(nodes, ttl));
        let config = &self.source.config;
        let seed = self.rng.u64(..);
        let deck = known.cloned().unwrap_or_else(|| {
            Arc::new(Deck::new(nodes.to_vec(), family, ttl, config.answers, config.subnet_prefix_v4, seed))
        });
        self.decks.insert(key, deck.clone());
        deck
    }

    /// SRV of every served node (RFC 2782): the form for clients that want the whole list.
    fn services(&self, scope: &ScopePlan) -> Body {
        let ttl = self.plan.ttl(self.source, scope);
        let mut body = BodyWriter::new(&self.apex);
        for node in scope.best_nodes() {
            if let Some(target) = below(&node_label(node.address), &self.apex) {
                body.answer(ttl, &RData::SRV(SRV::new(0, 1, self.source.config.cluster.port, target)));
            }
        }
        body.finish()
    }

    fn addresses(&mut self, name: &Name, addresses: &[IpAddr], ttl: u32) {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let mut body = BodyWriter::new(&self.apex);
            for address in addresses.iter().filter(|address| address.is_ipv4() == (rtype == RecordType::A)) {
                body.answer(ttl, &address_data(*address));
            }
            let body = body.finish();
            if !body.is_empty() {
                self.fixed(name, rtype, body);
            }
        }
    }

    fn fixed(&mut self, name: &Name, rtype: RecordType, body: Body) {
        let answer = (u16::from(rtype), Answer::Fixed(Arc::new(body)));
        self.records.entry(name.clone()).or_default().answers.push(answer);
    }

    /// Every ancestor of every name exists, if only to say that it has no data (RFC 8020).
    fn empty_non_terminals(&mut self) {
        let names: Vec<Name> = self.records.keys().cloned().collect();
        for name in names {
            let mut ancestor = name.base_name();
            while self.apex.zone_of(&ancestor) && ancestor != self.apex && !self.records.contains_key(&ancestor) {
                self.records.insert(ancestor.clone(), Entry::default());
                ancestor = ancestor.base_name();
            }
        }
    }
}

/// What all names of one chain share.
struct ScopeAnswers {
    addresses: Vec<(u16, Answer)>,
    services: Answer,
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A::from(Ipv4Addr::from(v4.octets()))),
        IpAddr::V6(v6) => RData::AAAA(AAAA::from(Ipv6Addr::from(v6.octets()))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hickory_proto::op::Message;

    use super::{super::names::tests::zone, *};
    use crate::{
        config::ZoneConfig,
        model::{ClusterView, Failure, Health, Listing, Member, Node, NodeHealth, NodeState, Topology},
        zone::file::{self, StaticZone},
    };

    fn up() -> NodeHealth {
        NodeHealth { state: NodeState::Up, ..NodeHealth::default() }
    }

    fn died() -> NodeHealth {
        NodeHealth {
            state: NodeState::Down,
            failure: Some(Failure::Refused),
            served_until: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)),
            ..NodeHealth::default()
        }
    }

    /// A zone over these nodes: address, place, health.
    fn compiled(config: ZoneConfig, statics: StaticZone, nodes: &[(&str, &str, NodeHealth)]) -> CompiledZone {
        let (mut topology, mut health) = (Topology::default(), Health::default());
        for (address, place, node_health) in nodes {
            let address: IpAddr = address.parse().unwrap();
            let (dc, rack) = place.split_once('/').unwrap();
            let node = Node { address, datacenter: Some(dc.into()), rack: Some(rack.into()) };
            topology.members.insert(address, Member { node, listing: Listing::Listed, served_before: false });
            health.nodes.insert(address, node_health.clone());
        }
        let listen = vec!["192.0.2.53:53".parse().unwrap()];
        let source = Arc::new(ZoneSource { config, statics, listen, demand: Arc::default() });
        let view = ClusterView { topology: Arc::new(topology), health: Arc::new(health) };
        let plan = ZonePlan::new(&source, &view);
        compile_zone(source, plan, 7, None, 1)
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
        let row = zone.dealt[index].deck.row(0, crate::table::Shape::Single).0;
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
        let lines = super::super::explain(&compiled, compiled.plan.names.names[&compiled.source.config.apex]);
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
