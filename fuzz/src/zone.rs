//! Zone files: any octets are refused with places, or loaded, and then everything in them is answered.

use std::{collections::BTreeSet, fmt::Write as _, io::Write as _, path::Path, sync::Arc};

use alternator_dns::{
    config::{Problem, ZoneConfig},
    model::ClusterView,
    server::{Asker, Counters, Outcome, Responder, Transport},
    table::{CompiledZone, Table, ZonePlan, ZoneSource, compile_zone, wire_name},
    zone::file::{self, MAX_PROBLEMS, RrSet, StaticZone},
};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, RecordType},
    serialize::binary::BinEncodable,
};

/// What became of a zone file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// Refused: not even text.
    NoText,
    /// Refused, with problems.
    Refused,
    /// Loaded, without a record.
    Empty,
    /// Loaded.
    Loaded,
}

/// The file's name in problems.
const PATH: &str = "fuzzed.zone";

/// Most octets of one message: a few names of full length, escaped, and what is said of them.
const LONGEST_MESSAGE: usize = 12_000;

/// Most RRsets asked for, so that one input stays cheap.
const MOST_ASKED: usize = 64;

/// The opcode of updates, where the flags are.
const UPDATE: u8 = 5 << 3;

/// The serial that zones are compiled with.
const EPOCH: u32 = 7;

/// Checks one zone file.
pub fn check(octets: &[u8]) -> Became {
    let lines = octets.iter().filter(|octet| **octet == b'\n').count() + 1;
    let Ok(text) = std::str::from_utf8(octets) else {
        check_no_text(octets, lines);
        return Became::NoText;
    };
    let result = parse(text);
    assert_eq!(result, parse(text), "read twice");
    match result {
        Err(problems) => {
            check_problems(&problems, lines);
            Became::Refused
        }
        Ok(zone) => {
            check_zone(&zone, lines);
            // How lines end does not matter, nor does a comment behind them all.
            assert_eq!(Ok(&zone), parse(&text.replace('\n', "\r\n")).as_ref(), "with CRLF");
            assert_eq!(Ok(&zone), parse(&format!("{text}\n; the end")).as_ref(), "with a comment");
            assert_eq!(data_of(&zone), data_of(&parse(&written(&zone)).unwrap()), "written out and read again");
            check_answers(&zone);
            if zone.records.is_empty() { Became::Empty } else { Became::Loaded }
        }
    }
}

fn apex() -> Name {
    Name::from_ascii("example.test.").unwrap()
}

fn parse(text: &str) -> Result<StaticZone, Vec<Problem>> {
    file::parse(text, Path::new(PATH), &apex())
}

/// What is no UTF-8 goes the way through a real file.
fn check_no_text(octets: &[u8], lines: usize) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(octets).unwrap();
    let problems = file::load(file.path(), &apex()).unwrap_err();
    let [problem] = &problems[..] else { panic!("one problem: {problems:?}") };
    assert_eq!(problem.file.as_deref(), Some(file.path()));
    assert!(problem.line.is_some_and(|line| (1..=lines).contains(&line)), "{problem}");
}

fn check_problems(problems: &[Problem], lines: usize) {
    let (mut told, rest) = problems.split_at(problems.len().min(MAX_PROBLEMS));
    if let [more] = rest {
        assert!(more.line.is_none() && more.message.starts_with("and "), "{more}");
    } else {
        assert!(rest.is_empty(), "{} problems", problems.len());
    }
    assert!(!told.is_empty() && told.is_sorted_by_key(|problem| problem.line));
    while let [problem, others @ ..] = told {
        assert_eq!(problem.file.as_deref(), Some(Path::new(PATH)));
        assert!(problem.line.is_some_and(|line| (1..=lines).contains(&line)), "{problem}");
        assert!(!problem.message.is_empty() && problem.message.len() <= LONGEST_MESSAGE, "{problem}");
        assert!(!problem.message.contains(char::is_control), "{:?}", problem.message);
        told = others;
    }
}

fn check_zone(zone: &StaticZone, lines: usize) {
    let apex = apex();
    for (owner, sets) in &zone.records {
        assert!(apex.zone_of(owner) && *owner == owner.to_lowercase() && owner.is_fqdn(), "{owner}");
        assert!(!sets.is_empty(), "{owner}");
        assert!(sets.len() == 1 || !sets.contains_key(&RecordType::CNAME), "{owner}: a CNAME stands alone");
        for (kind, set) in sets {
            assert!(i32::try_from(set.ttl).is_ok(), "{owner} {kind}: {}", set.ttl);
            assert!((1..=lines).contains(&set.line), "{owner} {kind}: line {}", set.line);
            let distinct: BTreeSet<Vec<u8>> = set.data.iter().map(wire).collect();
            assert!(distinct.len() == set.data.len() && !distinct.is_empty(), "{owner} {kind}: duplicates");
            assert!(set.data.iter().all(|data| data.record_type() == *kind), "{owner} {kind}");
        }
    }
}

fn wire(data: &RData) -> Vec<u8> {
    data.to_bytes().unwrap()
}

/// A record set: owner, type, TTL, and data, in wire format.
type Set = (Vec<u8>, u16, u32, Vec<Vec<u8>>);

/// Everything but the lines.
fn data_of(zone: &StaticZone) -> Vec<Set> {
    let sets = zone.records.iter().flat_map(|(owner, sets)| sets.iter().map(move |(kind, set)| (owner, kind, set)));
    let data = |(owner, kind, set): (&Name, &RecordType, &RrSet)| {
        (wire_name(owner), u16::from(*kind), set.ttl, set.data.iter().map(wire).collect())
    };
    sets.map(data).collect()
}

/// The zone as a file again, in another form: every octet of an owner escaped, all data as RFC 3597 has it.
fn written(zone: &StaticZone) -> String {
    let mut text = String::new();
    for (owner, sets) in &zone.records {
        let owner = owner.iter().fold(String::new(), |owner, label| {
            let label = label.iter().map(|octet| format!("\\{octet:03}"));
            owner + &label.collect::<String>() + "."
        });
        for (kind, set) in sets {
            for data in &set.data {
                let octets = wire(data);
                write!(text, "{owner} {} IN TYPE{} \\# {} ", set.ttl, u16::from(*kind), octets.len()).unwrap();
                octets.iter().for_each(|octet| write!(text, "{octet:02x}").unwrap());
                text.push('\n');
            }
        }
    }
    text
}

/// Whatever the file says is what the server answers.
fn check_answers(zone: &StaticZone) {
    let compiled = compiled(zone);
    let table = Table::new([Arc::new(compiled)]);
    let mut responder = Responder::new(&Counters::default(), &Arc::default(), 1);
    let sets = zone.records.iter().flat_map(|(owner, sets)| sets.iter().map(move |(kind, set)| (owner, kind, set)));
    for (owner, kind, set) in sets.take(MOST_ASKED) {
        let reply = ask(&mut responder, &table, owner, *kind);
        check_records(owner, *kind, set, &reply.answers);
        let reply = ask(&mut responder, &table, owner, RecordType::ANY);
        assert_eq!(reply.answers.len(), 1, "{owner} ANY");
        if let Some(RData::CNAME(target)) = set.data.first() {
            // Whatever the alias stands for is behind it.
            for (kind, behind) in zone.records.get(&target.0).into_iter().flatten().take(MOST_ASKED) {
                let reply = ask(&mut responder, &table, owner, *kind);
                let [alias, answers @ ..] = &reply.answers[..] else { panic!("{owner}: no alias") };
                assert_eq!(&alias.data, &set.data[0], "{owner}");
                if *kind != RecordType::CNAME {
                    check_records(&target.0, *kind, behind, answers);
                }
            }
        }
    }
}

/// Whether these are the records that the file has.
fn check_records(owner: &Name, kind: RecordType, set: &RrSet, answers: &[Record]) {
    let told: BTreeSet<Vec<u8>> = answers.iter().map(|record| wire(&served(&record.data))).collect();
    let written: BTreeSet<Vec<u8>> = set.data.iter().map(|data| wire(&served(data))).collect();
    assert_eq!(told, written, "{owner} {kind}");
    for record in answers {
        assert!(record.name == *owner && record.ttl == set.ttl && record.record_type() == kind, "{record}");
    }
}

/// The data as it is served: with the server's own serial.
fn served(data: &RData) -> RData {
    let mut data = data.clone();
    if let RData::SOA(soa) = &mut data {
        soa.serial = EPOCH;
    }
    data
}

/// The zone without a cluster, so that nothing but the file decides.
fn compiled(zone: &StaticZone) -> CompiledZone {
    let config = ZoneConfig::new(apex());
    let listen = vec!["192.0.2.53:53".parse().unwrap()];
    let source =
        Arc::new(ZoneSource { config, statics: zone.clone(), listen, demand: Arc::default(), meter: Arc::default() });
    let plan = ZonePlan::new(&source, &ClusterView::default());
    compile_zone(source, plan, EPOCH, None, 1)
}

fn ask(responder: &mut Responder, table: &Table, name: &Name, kind: RecordType) -> Message {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(wire_name(name));
    packet.extend(u16::from(kind).to_be_bytes());
    packet.extend([0, 1]);
    let asker = Asker { source: ([192, 0, 2, 9], 4000).into(), transport: Transport::Tcp, keepalive: 0 };
    let mut reply = Vec::new();
    let outcome = responder.respond(table, &packet, &asker, &mut reply);
    assert_eq!(outcome, Outcome::Answered, "{name} {kind}");
    assert_eq!(reply[2] & 0x06, 0x04, "{name} {kind}: authoritative, and whole");
    // hickory takes records without data in updates only.
    reply[2] |= UPDATE;
    Message::from_vec(&reply).unwrap()
}
