//! The parts of a zone that stay the same from compile to compile: records of the zone file, and of nodes.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA, NS},
};

use rustc_hash::FxBuildHasher;

use super::{
    Answer, Body, Entry, Section, ZonePlan, ZoneSource,
    plan::seconds,
    wire::{BodyWriter, MAX_NAME, wire_name},
};
use crate::zone::{file::StaticZone, label::node_label};

/// The entries of a zone, by lower-case wire name.
pub(super) type Records = HashMap<Box<[u8]>, Entry, FxBuildHasher>;

/// A name in wire format, all in lower case. (Lengths of labels are no letters.)
pub(super) fn lower_wire(name: &Name) -> Box<[u8]> {
    wire_name(name).to_ascii_lowercase().into()
}

/// The name with a label put in front, unless that is too long for a name.
pub(super) fn wire_below(label: &str, name: &[u8]) -> Option<Box<[u8]>> {
    let length = u8::try_from(label.len()).ok()?;
    (1 + label.len() + name.len() <= MAX_NAME).then(|| [&[length], label.as_bytes(), name].concat().into())
}

/// Everything of the zone file but its SOA, whose serial changes.
pub(super) fn statics(source: &ZoneSource, apex: &Name) -> Vec<(Box<[u8]>, Entry)> {
    let mut all = Vec::new();
    for (name, records) in &source.statics.records {
        let mut entry = Entry::default();
        for (rtype, set) in records.iter().filter(|(rtype, _)| **rtype != RecordType::SOA) {
            let mut body = BodyWriter::new(apex);
            set.data.iter().for_each(|data| body.answer(set.ttl, data));
            if *rtype == RecordType::NS {
                glue(&mut body, &source.statics, &set.data);
            }
            if let (RecordType::CNAME, Some(RData::CNAME(target))) = (rtype, set.data.first()) {
                entry.alias = Some(target.0.clone());
            }
            entry.answers.push(fixed(*rtype, body.finish()));
        }
        all.push((lower_wire(name), entry));
    }
    all
}

/// Addresses of name servers inside the zone (RFC 1034 section 4.2.1), after their NS records.
pub(super) fn glue(body: &mut BodyWriter<'_>, statics: &StaticZone, servers: &[RData]) {
    for server in servers {
        let RData::NS(NS(name)) = server else { continue };
        let Some(records) = statics.records.get(&name.to_lowercase()) else { continue };
        for (rtype, set) in records {
            if matches!(rtype, RecordType::A | RecordType::AAAA) {
                set.data.iter().for_each(|data| body.record(Section::Additional, name, set.ttl, data));
            }
        }
    }
}

/// A node's own name, and the addresses there.
#[derive(Debug)]
pub(super) struct NodeName {
    /// Lower-case wire format.
    pub(super) name: Box<[u8]>,
    /// Where the node is seen, by view.
    seen: Box<[IpAddr]>,
    pub(super) addresses: Vec<(u16, Answer)>,
}

/// The names of all nodes, those of `previous` (of the same source) taken over. Beneath an apex of more than 213
/// octets nodes with long IPv6 addresses have none, beneath one of more than 237 those with long IPv4 addresses
/// neither: they are answered all the same, but SRV answers leave them out ([`super::Refusal::Long`]).
pub(super) fn node_names(
    plan: &ZonePlan,
    source: &ZoneSource,
    apex: &Name,
    previous: Option<&BTreeMap<IpAddr, Arc<NodeName>>>,
) -> BTreeMap<IpAddr, Arc<NodeName>> {
    let (ttl, apex_wire) = (seconds(source.config.ttl), lower_wire(apex));
    let name_of = |address: &IpAddr| {
        let seen = (0..plan.views.count()).map(|view| plan.seen(view, *address).address).collect::<Box<[_]>>();
        let known = previous.and_then(|previous| previous.get(address)).filter(|known| known.seen == seen);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let name = wire_below(&node_label(*address), &apex_wire)?;
        let addresses = seen_addresses(apex, &seen, ttl);
        Some(Arc::new(NodeName { name, seen, addresses }))
    };
    let lent = plan.lent.iter().flat_map(|loan| &loan.nodes).map(|node| &node.address);
    let addresses = plan.topology.members.keys().chain(lent);
    addresses.filter_map(|address| Some((*address, name_of(address)?))).collect()
}

/// The answers for A and AAAA of a name with one address in each view.
fn seen_addresses(apex: &Name, seen: &[IpAddr], ttl: u32) -> Vec<(u16, Answer)> {
    let mut known: BTreeMap<IpAddr, (u16, Answer)> = BTreeMap::new();
    let mut answers = Vec::new();
    for rtype in [RecordType::A, RecordType::AAAA].map(u16::from) {
        let mut in_view = |address: &IpAddr| {
            if !known.contains_key(address) {
                known.extend(addresses(apex, &[*address], ttl).into_iter().map(|answer| (*address, answer)));
            }
            known.get(address).filter(|(known, _)| *known == rtype).map(|(_, answer)| answer.clone())
        };
        answers.extend(by_view(seen.iter().map(&mut in_view).collect()).map(|answer| (rtype, answer)));
    }
    answers
}

/// One answer of those that each view has; `None` where none has any.
pub(super) fn by_view(mut answers: Vec<Option<Answer>>) -> Option<Answer> {
    let is_first = |answer: &Option<Answer>| match (answer, answers.first().and_then(Option::as_ref)) {
        (None, None) => true,
        (Some(answer), Some(first)) => answer.is_same(first),
        _ => false,
    };
    if answers.iter().all(is_first) { answers.swap_remove(0) } else { Some(Answer::ByView(answers.into())) }
}

/// The answers for A and AAAA of a name with these addresses.
pub(super) fn addresses(apex: &Name, addresses: &[IpAddr], ttl: u32) -> Vec<(u16, Answer)> {
    let mut answers = Vec::new();
    for rtype in [RecordType::A, RecordType::AAAA] {
        let mut body = BodyWriter::new(apex);
        for address in addresses.iter().filter(|address| address.is_ipv4() == (rtype == RecordType::A)) {
            body.answer(ttl, &address_data(*address));
        }
        let body = body.finish();
        if !body.is_empty() {
            answers.push(fixed(rtype, body));
        }
    }
    answers
}

pub(super) fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A::from(Ipv4Addr::from(v4.octets()))),
        IpAddr::V6(v6) => RData::AAAA(AAAA::from(Ipv6Addr::from(v6.octets()))),
    }
}

pub(super) fn fixed(rtype: RecordType, body: Body) -> (u16, Answer) {
    (u16::from(rtype), Answer::Fixed(Arc::new(body)))
}
