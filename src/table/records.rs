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
    Answer, Body, Entry, Section, ZoneSource,
    plan::seconds,
    wire::{BodyWriter, MAX_NAME, wire_name},
};
use crate::{
    model::Topology,
    zone::{file::StaticZone, label::node_label},
};

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

/// A node's own name, and the address there.
#[derive(Debug)]
pub(super) struct NodeName {
    /// Lower-case wire format.
    pub(super) name: Box<[u8]>,
    pub(super) address: (u16, Answer),
}

/// The names of all nodes, those of `previous` (of the same source) taken over. Beneath an apex of more than 213
/// octets nodes with long IPv6 addresses have none, beneath one of more than 237 those with long IPv4 addresses
/// neither: they are answered all the same, but SRV answers leave them out ([`super::Refusal::Long`]).
pub(super) fn node_names(
    topology: &Topology,
    source: &ZoneSource,
    apex: &Name,
    previous: Option<&BTreeMap<IpAddr, Arc<NodeName>>>,
) -> BTreeMap<IpAddr, Arc<NodeName>> {
    let (ttl, apex_wire) = (seconds(source.config.ttl), lower_wire(apex));
    let made = |address: &IpAddr| {
        let name = wire_below(&node_label(*address), &apex_wire)?;
        let address = addresses(apex, &[*address], ttl).into_iter().next()?;
        Some(Arc::new(NodeName { name, address }))
    };
    let known = |address: &IpAddr| previous.and_then(|previous| previous.get(address)).cloned();
    let addresses = topology.members.keys();
    addresses.filter_map(|address| Some((*address, known(address).or_else(|| made(address))?))).collect()
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
