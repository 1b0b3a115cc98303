//! One record as a line of JSON.

use std::net::IpAddr;

use hickory_proto::{
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};
use serde::Serialize;

use crate::server::{NameBuffer, Outcome, Parsed, Query, Record, parse};

/// Header flags (RFC 1035 section 4.1.1, RFC 4035 section 3.2), in its second 16 bits, and their names. Those that a query
/// has; TC, AA and the like of replies follow from the outcome.
const FLAGS: [(u32, &str); 3] = [(0x0100, "rd"), (0x0020, "ad"), (0x0010, "cd")];

/// Octets of a record behind its owner, up to its data.
const RECORD_HEAD: usize = 10;

/// What a line says. Fields without a value are left out.
#[derive(Serialize)]
struct Line<'a> {
    /// RFC 3339, UTC.
    time: String,
    /// Address and port.
    client: String,
    transport: String,
    /// The zone that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(flatten)]
    question: Option<Question>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<String>,
    /// The first address of the answer, which is the one that most clients go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<IpAddr>,
    /// Octets of the query and of the reply; 0 where nothing was sent.
    query_size: usize,
    size: usize,
}

/// What a query asks that can be read.
#[derive(Serialize)]
struct Question {
    id: u16,
    /// As asked, case kept.
    name: String,
    #[serde(rename = "type")]
    rtype: String,
    class: String,
    /// `rd`, `ad`, `cd`, and `do` of EDNS.
    flags: Vec<&'static str>,
    /// The size that the client takes over UDP, where it uses EDNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    edns_size: Option<u16>,
}

/// A record as a line, its end included.
pub(super) fn of(record: &Record, zone: Option<&str>) -> Vec<u8> {
    let mut names = NameBuffer::default();
    let query = match parse(record.query(), &mut names) {
        Parsed::Query(query) => Some(query),
        _ => None,
    };
    let question_len = query.as_ref().map_or(0, |query| query.question().len());
    let line = Line {
        time: humantime::format_rfc3339_millis(record.at).to_string(),
        client: record.source.to_string(),
        transport: record.transport.to_string().to_ascii_lowercase(),
        zone: zone.filter(|_| record.zone != 0),
        question: query.as_ref().and_then(question),
        outcome: record.outcome.to_string(),
        rcode: rcode(record),
        first: (record.outcome == Outcome::Answered).then(|| first(record.reply(), question_len)).flatten(),
        query_size: record.query().len(),
        size: record.reply_len,
    };
    // Nothing in it can fail to be written.
    let mut octets = serde_json::to_vec(&line).unwrap_or_default();
    octets.push(b'\n');
    octets
}

fn question(query: &Query<'_>) -> Option<Question> {
    let name = Name::read(&mut BinDecoder::new(query.question())).ok()?;
    let edns = query.edns.as_ref();
    let mut flags: Vec<&str> = FLAGS.iter().filter(|(bit, _)| query.head & bit != 0).map(|(_, name)| *name).collect();
    flags.extend(edns.filter(|edns| edns.dnssec_ok).map(|_| "do"));
    Some(Question {
        id: (query.head >> 16) as u16,
        name: name.to_string(),
        rtype: match RecordType::from(query.qtype) {
            // RFC 3597 section 5.
            RecordType::Unknown(_) => format!("TYPE{}", query.qtype),
            known => known.to_string(),
        },
        class: match DNSClass::from(query.qclass) {
            DNSClass::Unknown(_) | DNSClass::OPT(_) => format!("CLASS{}", query.qclass),
            known => known.to_string(),
        },
        flags,
        edns_size: edns.map(|edns| edns.udp_size),
    })
}

/// The rcode of a reply by its common name; those of EDNS are known by the outcome.
fn rcode(record: &Record) -> Option<String> {
    let low = record.reply().get(3)? & 15;
    Some(match (record.outcome, low) {
        (Outcome::BadVers, _) => "BADVERS".to_owned(),
        (Outcome::BadCookie, _) => "BADCOOKIE".to_owned(),
        (_, 0) => "NOERROR".to_owned(),
        (_, 1) => "FORMERR".to_owned(),
        (_, 2) => "SERVFAIL".to_owned(),
        (_, 3) => "NXDOMAIN".to_owned(),
        (_, 4) => "NOTIMP".to_owned(),
        (_, 5) => "REFUSED".to_owned(),
        (_, other) => format!("RCODE{other}"),
    })
}

/// The address in the first record of a reply, where it is of the question's name and that is what it holds.
fn first(reply: &[u8], question_len: usize) -> Option<IpAddr> {
    let record = reply.get(12 + question_len..)?;
    // Our owners are pointers to the question's name.
    let record = record.strip_prefix(&[0xC0, 12])?;
    let (head, data) = record.split_at_checked(RECORD_HEAD)?;
    match (head, data) {
        ([0, 1, 0, 1, .., 0, 4], data) => Some(IpAddr::from(*data.first_chunk::<4>()?)),
        ([0, 28, 0, 1, .., 0, 16], data) => Some(IpAddr::from(*data.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::server::Asker;

    fn read(query: &[u8], reply: &[u8], outcome: Outcome, zone: u32) -> Value {
        let asker = Asker::udp("192.0.2.9:4000".parse().unwrap());
        let octets = of(&Record::new(query, reply, &asker, outcome, zone), Some("z.test"));
        assert_eq!(octets.iter().filter(|octet| **octet == b'\n').count(), 1, "one line");
        let mut line: Value = serde_json::from_slice(&octets).unwrap();
        let time = line.as_object_mut().unwrap().remove("time").unwrap();
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
        line
    }

    const QUESTION: &[u8] = b"\x03A\"b\x01z\x04test\x00\x00\x01\x00\x01";

    #[test]
    fn a_line_tells_question_outcome_and_the_first_address() {
        let opt = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
        let query = [&[0x12, 0x34, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 1], QUESTION, &opt].concat();
        let address = [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 1];
        let reply = [&[0x12, 0x34, 0x85, 0x10, 0, 1, 0, 1, 0, 0, 0, 0], QUESTION, &address].concat();
        let expected = json!({
            "client": "192.0.2.9:4000", "transport": "udp", "zone": "z.test", "id": 0x1234, "name": "A\\\"b.z.test.",
            "type": "A", "class": "IN", "flags": ["rd", "cd", "do"], "edns_size": 1232, "outcome": "answered",
            "rcode": "NOERROR", "first": "10.0.0.1", "query_size": query.len(), "size": reply.len(),
        });
        let mut line = read(&query, &reply, Outcome::Answered, 1);
        // However the library writes a quotation mark in a name, it is one name.
        let name = line["name"].take();
        assert!(name.as_str().unwrap().to_lowercase().ends_with("b.z.test."), "{name}");
        line["name"] = expected["name"].clone();
        assert_eq!(line, expected);
    }

    #[test]
    fn what_cannot_be_read_has_a_line_too() {
        let junk = json!({
            "client": "192.0.2.9:4000", "transport": "udp", "outcome": "dropped", "query_size": 5, "size": 0,
        });
        assert_eq!(read(b"short", b"", Outcome::Dropped, 0), junk);
        let unknown = [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01z\x00\xFF\x28\x00\x07"].concat();
        let line = read(&unknown, &[0, 1, 0x80, 9], Outcome::Refused, 0);
        assert_eq!(
            [&line["type"], &line["class"], &line["rcode"]],
            [&json!("TYPE65320"), &json!("CLASS7"), &json!("RCODE9")]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_octets_panic(query in proptest::collection::vec(0u8.., 0..200), reply in proptest::collection::vec(0u8.., 0..200)) {
            read(&query, &reply, Outcome::Answered, 1);
        }
    }
}
