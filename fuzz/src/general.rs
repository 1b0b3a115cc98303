//! Questions for what only the general path answers: aliases, explanations, wildcards, types that ask for more than
//! one; over all transports at once, and the answers held together.
//!
//! The first octet picks who asks and what the operator chose, as for packets, the next two are the type, the fourth
//! picks zone, class and EDNS, and the rest is a name: labels between dots, below the zone.

use alternator_dns::server::{Outcome, Transport};
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

use super::{
    packet::{Asked, check_asked, is_closed},
    world,
};

/// Aliases followed for one query.
const MOST_ALIASES: usize = 8;

/// Longest name, and longest label, octets.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// Checks one question.
pub fn check(input: &[u8]) -> Outcome {
    let Some(([control, type_high, type_low, choice], name)) = input.split_first_chunk::<4>() else {
        return Outcome::Dropped;
    };
    let qtype = u16::from_be_bytes([*type_high, *type_low]);
    let class: u16 = if choice & 0x10 != 0 { 255 } else { 1 };
    let zone = [world::CLUSTER, world::BELOW, world::CLOSED, "."][usize::from(choice & 3)];
    let name = wire(name, zone);
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(&name);
    packet.extend(qtype.to_be_bytes());
    packet.extend(class.to_be_bytes());
    if choice & 0x0C != 0 {
        packet[11] = 1;
        let size: u16 = if choice & 4 != 0 { 1232 } else { 600 };
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0, 0, choice & 0x80, 0, 0, 4, 0, 19, 0, 0]);
    }
    let ask = |transport| {
        let asker = world::asker(control >> 2, transport);
        let (settings, table) = (world::settings(control >> 4), world::table(control & 0x40 != 0));
        let (outcome, reply) = check_asked(&Asked { packet: &packet, asker, settings, table });
        (outcome, reply.map(|reply| reply.message))
    };
    let (udp_outcome, udp) = ask(Transport::Udp);
    let (outcome, reply) = ask(Transport::Tcp);
    let Some(reply) = reply else {
        assert!(udp.is_none() && udp_outcome == outcome);
        return outcome;
    };
    assert_ne!(outcome, Outcome::Truncated, "over TCP everything fits");
    let udp = udp.unwrap();
    assert!(udp_outcome == outcome || udp_outcome == Outcome::Truncated, "{udp_outcome} over UDP, {outcome} over TCP");
    if udp_outcome != Outcome::Truncated {
        // Of additional records UDP may leave some out.
        assert_eq!((&udp.answers, &udp.authorities), (&reply.answers, &reply.authorities), "over UDP and TCP");
    }
    let is_friend = control >> 2 & 3 == 0;
    let told = reply.answers.iter().chain(&reply.authorities).chain(&reply.additionals);
    assert!(is_friend || told.into_iter().all(|record| !is_closed(&record.name)), "records of a zone that is closed");
    let qname = reply.queries[0].name().clone();
    match reply.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {
            assert!(reply.metadata.authoritative);
            check_chain(&qname, RecordType::from(qtype), &reply.answers);
            check_authority(&reply.answers, &reply.authorities, reply.metadata.response_code);
        }
        rcode => {
            assert!(!reply.metadata.authoritative, "{rcode}");
            assert!(
                reply.answers.is_empty() && reply.authorities.is_empty() && reply.additionals.is_empty(),
                "{rcode}"
            );
        }
    }
    if udp_outcome == Outcome::Truncated { udp_outcome } else { outcome }
}

/// Labels between dots, below a zone, as far as they fit.
fn wire(name: &[u8], zone: &str) -> Vec<u8> {
    let apex = alternator_dns::table::wire_name(&Name::from_ascii(zone).unwrap());
    let mut wire = Vec::new();
    for label in name.split(|octet| *octet == b'.').filter(|label| !label.is_empty()) {
        let label = &label[..label.len().min(MAX_LABEL)];
        if wire.len() + 1 + label.len() + apex.len() > MAX_NAME {
            break;
        }
        wire.push(label.len() as u8);
        wire.extend(label);
    }
    wire.extend(apex);
    wire
}

/// The answer section is aliases from the name that was asked for to the one that is answered for, each once, and what
/// is wanted of that one.
fn check_chain(qname: &Name, qtype: RecordType, answers: &[Record]) {
    for (number, record) in answers.iter().enumerate() {
        assert!(!answers[..number].contains(record), "twice: {record}");
    }
    let mut owner = qname.clone();
    let mut rest = answers;
    let mut aliases = 0;
    if !matches!(qtype, RecordType::CNAME | RecordType::ANY) {
        while let [alias, others @ ..] = rest
            && let RData::CNAME(target) = &alias.data
        {
            assert_eq!(alias.name, owner, "an alias of another name");
            (owner, rest, aliases) = (target.0.clone(), others, aliases + 1);
        }
    }
    assert!(aliases <= MOST_ALIASES, "{aliases} aliases");
    for record in rest {
        assert_eq!(record.name, owner, "a record of another name: {record}");
        assert_eq!(record.ttl, rest[0].ttl, "TTLs differ: {record}");
        match qtype {
            RecordType::ANY => assert!(rest.len() == 1 && record.record_type() == RecordType::HINFO, "{record}"),
            _ => assert_eq!(record.record_type(), qtype, "{record}"),
        }
    }
}

/// One SOA where there is nothing to answer, as the last thing said; none otherwise.
fn check_authority(answers: &[Record], authorities: &[Record], rcode: ResponseCode) {
    match (answers.last().map(Record::record_type), authorities) {
        (_, [soa]) => assert_eq!(soa.record_type(), RecordType::SOA, "{soa}"),
        (None, []) => panic!("nothing, not even an SOA"),
        (Some(_), []) => assert_eq!(rcode, ResponseCode::NoError, "NXDOMAIN without an SOA"),
        (_, several) => panic!("{several:?}"),
    }
}
