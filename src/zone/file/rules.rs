//! What a zone of this server may hold: rules about owners and types, and about the zone as a whole.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::{Name, RData, RecordType};

use super::{RrSet, StaticZone, record::Record, text::type_name};

/// Labels that are the server's own wherever they stand: what it answers there must not depend on a file.
const RESERVED: [&str; 2] = ["_alternator", "_explain"];

/// Most octets of records in one answer: a TCP message of 65,535, less its header, the longest question, and an OPT with
/// the options that may not be left out.
pub const MAX_ANSWER: usize = 65_535 - 12 - 259 - 11 - 128;

/// A record's octets beside its data, its owner compressed to a pointer (RFC 1035 sections 4.1.3 and 4.1.4).
const RECORD_OVERHEAD: usize = 12;

/// Most names of a CNAME loop that a message repeats.
const SHOWN_NAMES: usize = 8;

/// Why records may not be owned by `owner`.
pub(super) fn of_owner(owner: &Name, apex: &Name) -> Option<String> {
    if !apex.zone_of(owner) {
        return Some(format!("{} is outside the zone {}", owner.to_ascii(), apex.to_ascii()));
    }
    if let Some(label) = RESERVED.iter().find(|label| owner.iter().any(|own| own == label.as_bytes())) {
        return Some(format!("{}: the label {label} is the server's own", owner.to_ascii()));
    }
    // RFC 4592 section 2.1.1: a wildcard is a name whose "initial (i.e., leftmost or least significant) label is" "*".
    // Elsewhere "*" is an ordinary label, which nobody means.
    let misplaced = owner.iter().skip(1).any(|label| label == b"*");
    misplaced.then(|| format!("{}: \"*\" is a wildcard as the first label only", owner.to_ascii()))
}

/// Why a type may not stand at `owner`, or nowhere at all.
pub(super) fn of_type(kind: RecordType, owner: &Name, apex: &Name) -> Option<String> {
    let at_apex = owner == apex;
    let reason = match kind {
        RecordType::SOA if !at_apex => format!("stands at the apex only, {}", apex.to_ascii()),
        RecordType::NS if !at_apex => {
            "below the apex is a delegation, and this server answers the whole zone itself: remove it".to_owned()
        }
        // RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present".
        RecordType::CNAME if at_apex => "cannot stand at the apex, which has SOA and NS".to_owned(),
        RecordType::DNAME => "is not supported: write a CNAME for each name, or a wildcard CNAME".to_owned(),
        RecordType::ANAME => "is no DNS type: the server itself answers the cluster's addresses".to_owned(),
        RecordType::DS => "belongs into the parent zone, at the delegation (RFC 4034 section 5)".to_owned(),
        RecordType::NULL => "may not stand in a zone file (RFC 1035 section 3.3.10)".to_owned(),
        _ if is_dnssec(kind) => "is refused: the zone is not signed, so remove all DNSSEC records".to_owned(),
        _ if is_meta(kind) => "exists in messages only, it is no type of records".to_owned(),
        _ => return None,
    };
    Some(format!("{} {reason}", type_name(kind)))
}

fn is_dnssec(kind: RecordType) -> bool {
    use RecordType::{CDNSKEY, CDS, DNSKEY, KEY, NSEC, NSEC3, NSEC3PARAM, RRSIG, SIG, Unknown};
    const NXT: RecordType = Unknown(30);
    matches!(kind, CDNSKEY | CDS | DNSKEY | KEY | NSEC | NSEC3 | NSEC3PARAM | NXT | RRSIG | SIG)
}

/// RFC 6895 section 3.1: 0 and 65535 are reserved, 128 to 255 are for questions and meta-types; OPT is 41.
fn is_meta(kind: RecordType) -> bool {
    matches!(u16::from(kind), 0 | 41 | 128..=255 | 65535)
}

/// Builds the zone from its records, in file order. Everything wrong is told to `problem`, with its line; nothing is
/// said to be missing at the names in `damaged`.
pub(super) fn zone(
    records: &[Record],
    apex: &Name,
    damaged: &BTreeSet<Name>,
    problem: &mut impl FnMut(usize, String),
) -> StaticZone {
    let zone = rrsets(records, problem);
    for (owner, sets) in &zone.records {
        cname_stands_alone(owner, sets, problem);
    }
    for record in records {
        targets(record, &zone, |name| apex.zone_of(name) && !damaged.contains(name), problem);
    }
    cname_loops(&zone, problem);
    zone
}

/// Groups records by owner and type. Duplicates are dropped silently (RFC 2181 section 5: "duplicate records ... must
/// be suppressed").
fn rrsets(records: &[Record], problem: &mut impl FnMut(usize, String)) -> StaticZone {
    let mut zone = StaticZone::default();
    let mut seen = BTreeSet::new();
    let mut sizes: BTreeMap<(&Name, RecordType), usize> = BTreeMap::new();
    for record in records {
        let (owner, kind) = (&record.owner, record.kind);
        let set = zone.records.entry(owner.clone()).or_default().entry(kind).or_insert_with(|| RrSet {
            ttl: record.ttl,
            data: Vec::new(),
            line: record.line,
        });
        if set.ttl != record.ttl {
            let (here, there, line) = (record.ttl, set.ttl, set.line);
            let message = format!("TTL {here}, but {there} on line {line}: one TTL for all (RFC 2181 section 5.2)");
            problem(record.line, format!("{} {}: {message}", owner.to_ascii(), type_name(kind)));
        }
        if !seen.insert((owner, kind, &record.wire)) {
            continue;
        }
        if matches!(kind, RecordType::SOA | RecordType::CNAME) && !set.data.is_empty() {
            let first = set.line;
            problem(record.line, format!("{} has a second {kind}: the first is on line {first}", owner.to_ascii()));
            continue;
        }
        let size = sizes.entry((owner, kind)).or_default();
        let before = *size;
        *size += RECORD_OVERHEAD + record.wire.len();
        if before <= MAX_ANSWER && *size > MAX_ANSWER {
            let message = format!("more records than fit into a DNS message: at most {MAX_ANSWER} octets");
            problem(record.line, format!("{} {}: {message}", owner.to_ascii(), type_name(kind)));
        }
        set.data.push(record.data.clone());
    }
    zone
}

/// RFC 2181 section 10.1: a name with a CNAME has no other data.
fn cname_stands_alone(owner: &Name, sets: &BTreeMap<RecordType, RrSet>, problem: &mut impl FnMut(usize, String)) {
    let Some(cname) = sets.get(&RecordType::CNAME) else { return };
    for (kind, set) in sets.iter().filter(|(kind, _)| **kind != RecordType::CNAME) {
        let (cname_line, line) = (cname.line, set.line);
        let kind = type_name(*kind);
        let message = format!("has a CNAME on line {cname_line} and {kind} on line {line}: a CNAME stands alone");
        problem(cname_line.max(line), format!("{} {message}", owner.to_ascii()));
    }
}

/// Name servers, mail exchangers and services of this zone are named by names that have addresses.
fn targets(record: &Record, zone: &StaticZone, ours: impl Fn(&Name) -> bool, problem: &mut impl FnMut(usize, String)) {
    let target = match &record.data {
        RData::NS(target) => &target.0,
        RData::MX(mx) => &mx.exchange,
        RData::SRV(srv) => &srv.target,
        _ => return,
    };
    let (kind, name, sets) = (record.kind, target.to_ascii(), zone.records.get(target));
    let has = |kind| sets.is_some_and(|sets| sets.contains_key(&kind));
    if has(RecordType::CNAME) {
        // RFC 2181 section 10.3 for NS and MX, RFC 2782 for SRV: "the name MUST NOT be an alias".
        problem(record.line, format!("{kind}: {name} is a CNAME: name a host with addresses itself"));
    } else if kind == RecordType::NS && ours(target) && !has(RecordType::A) && !has(RecordType::AAAA) {
        problem(
            record.line,
            match *target == record.owner {
                // NS stands at the apex only.
                true => format!("NS: {name} answers with the cluster's nodes: name the DNS server itself, such as ns1"),
                false => format!("NS: {name} lies in this zone without an address: add \"{name} A ADDRESS\""),
            },
        );
    }
}

/// CNAMEs that lead back to themselves. A wildcard counts only where it is named: which names it covers is not known
/// before the cluster's own names are.
fn cname_loops(zone: &StaticZone, problem: &mut impl FnMut(usize, String)) {
    let cname_of = |name: &Name| match zone.records.get(name)?.get(&RecordType::CNAME)?.data.first()? {
        RData::CNAME(target) => Some(target.0.clone()),
        _ => None,
    };
    let mut done: BTreeSet<Name> = BTreeSet::new();
    for start in zone.records.keys() {
        let mut chain: Vec<Name> = Vec::new();
        let mut on_chain: BTreeMap<Name, usize> = BTreeMap::new();
        let mut next = Some(start.clone());
        while let Some(name) = next.take_if(|name| !done.contains(name)) {
            if let Some(first) = on_chain.get(&name) {
                report_loop(&chain[*first..], zone, problem);
                break;
            }
            next = cname_of(&name);
            on_chain.insert(name.clone(), chain.len());
            chain.push(name);
        }
        done.extend(chain);
    }
}

fn report_loop(names: &[Name], zone: &StaticZone, problem: &mut impl FnMut(usize, String)) {
    let line_of = |name: &Name| Some(zone.records.get(name)?.get(&RecordType::CNAME)?.line);
    // Told from its first line on, whatever name it was entered at.
    let first = (0..names.len()).min_by_key(|at| line_of(&names[*at])).unwrap_or_default();
    let around = names[first..].iter().chain(&names[..=first]);
    let mut told: Vec<String> = around.take(SHOWN_NAMES).map(Name::to_ascii).collect();
    if names.len() >= SHOWN_NAMES {
        told.push("...".to_owned());
    }
    problem(line_of(&names[first]).unwrap_or_default(), format!("CNAME loop: {}", told.join(" -> ")));
}
