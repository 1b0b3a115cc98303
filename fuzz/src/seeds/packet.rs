//! Packets, each behind the octet that picks who asks; see [`super::super`]'s `world`.

use alternator_dns::server::Outcome;

use super::super::{kinds, world};

/// How packets come: datagrams and streams, by the lowest two bits.
const UDP: u8 = 0;
const TCP: u8 = 1;
const TLS: u8 = 2;
const HTTPS: u8 = 3;

/// Who asks, by the next two bits.
const NEAR: u8 = 1 << 2;
const OVER_IPV6: u8 = 2 << 2;
const OURSELVES: u8 = 3 << 2;

/// What the operator chose, by the next two: identity and cookies, cookies required, rules of access.
const TOLD: u8 = 1 << 4;
const REQUIRED: u8 = 2 << 4;
const RULES: u8 = 3 << 4;

/// Answers as long as they get.
const ALL: u8 = 1 << 6;

const A: u16 = 1;
const SRV: u16 = 33;
const TXT: u16 = 16;

/// A packet in the making: a query for A of the cluster, without EDNS.
struct Packet {
    flags: [u8; 2],
    counts: [u8; 4],
    rest: Vec<u8>,
}

impl Packet {
    fn of(rest: Vec<u8>) -> Self {
        Packet { flags: [1, 0], counts: [1, 0, 0, 0], rest }
    }

    fn with(mut self, record: &[u8]) -> Self {
        self.counts[3] += 1;
        self.rest.extend(record);
        self
    }

    fn behind(&self, control: u8) -> Vec<u8> {
        let [questions, answers, authorities, additionals] = self.counts;
        let header =
            [0xAB, 0xCD, self.flags[0], self.flags[1], 0, questions, 0, answers, 0, authorities, 0, additionals];
        [&[control], &header[..], &self.rest].concat()
    }
}

/// A question, the name's case as written.
fn question(name: &str, qtype: u16, class: u16) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    octets.push(0);
    octets.extend(qtype.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets
}

fn query(name: &str, qtype: u16) -> Packet {
    Packet::of(question(name, qtype, 1))
}

fn apex() -> Packet {
    query(world::CLUSTER, A)
}

/// An OPT with these options.
fn opt(size: u16, version: u8, options: &[u8]) -> Vec<u8> {
    let [high, low] = size.to_be_bytes();
    [&[0, 0, 41, high, low, 0, version, 0x80, 0, 0, options.len() as u8], options].concat()
}

fn option(code: u8, data: &[u8]) -> Vec<u8> {
    [&[0, code, 0, data.len() as u8], data].concat()
}

pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let of_cluster =
        |kind: &kinds::Kind| kind.outcome == Outcome::Answered && kind.packet.ends_with(b"\x05local\0\0\x01\0\x01");
    for kind in kinds::kinds(kinds::Edns::No).into_iter().filter(of_cluster) {
        let name: String = kind.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let near = if kind.name.contains("near") { NEAR } else { 0 };
        all.push((format!("kind-{}", name.to_lowercase()), [&[UDP | near], &kind.packet[..]].concat()));
    }
    let mut add = |name: &str, octets: Vec<u8>| all.push((name.to_owned(), octets));
    add("nothing", Vec::new());
    for (name, packet) in names() {
        add(name, packet.behind(UDP));
    }
    for (name, packet) in sections() {
        add(name, packet.behind(UDP));
    }
    for (name, packet) in edns() {
        add(name, packet.behind(UDP | TOLD));
    }
    for (name, data) in subnets() {
        add(name, apex().with(&opt(1232, 0, &option(8, data))).behind(UDP));
    }
    let subnets: Vec<u8> = SUBNETS.iter().flat_map(|data| option(8, data)).collect();
    add("subnet-several", apex().with(&opt(1232, 0, &subnets)).behind(TCP));
    for (name, length) in [("cookie-7", 7), ("cookie-8", 8), ("cookie-15", 15), ("cookie-16", 16), ("cookie-41", 41)] {
        add(name, apex().with(&opt(1232, 0, &option(10, &[7; 41][..length]))).behind(UDP | REQUIRED));
    }
    let cookie = opt(1232, 0, &option(10, &[7; 8]));
    let none = |flags, rest: &[u8]| Packet { flags, counts: [0, 0, 0, 0], rest: Vec::new() }.with(rest);
    add("cookie-alone", none([0, 0], &cookie).behind(UDP | TOLD));
    add("cookie-alone-wrong", none([0, 0], &opt(1232, 0, &option(10, &[7; 24]))).behind(UDP | TOLD));
    add("opt-alone", none([0, 0], &opt(1232, 0, &[])).behind(UDP));
    let everything = [option(10, &[1; 8]), option(3, b""), option(11, b""), option(12, &[0; 9]), option(19, b"")];
    let everything = opt(4096, 0, &[everything.concat(), option(8, &[0, 1, 24, 0, 192, 0, 2])].concat());
    add("options-over-tcp", apex().with(&everything).behind(TCP | TOLD));
    add("options-over-tls", apex().with(&everything).behind(TLS | REQUIRED));
    add("options-over-https", query("x.y.z.alternator.local", A).with(&everything).behind(HTTPS | TOLD | OVER_IPV6));
    add("options-remark", query("to-unready.alternator.local", A).with(&everything).behind(UDP | TOLD));
    add("services-all", query("_alternator._tcp.alternator.local", SRV).with(&opt(512, 0, &[])).behind(UDP | ALL));
    add("services-over-tcp", query("_alternator._tcp.alternator.local", SRV).behind(TCP | ALL));
    add("explain", query("_explain.dc1.alternator.local", TXT).behind(UDP));
    add("any", query("aLTernator.Local", 255).with(&opt(1, 0, &[])).behind(UDP | OVER_IPV6));
    add("from-ourselves", apex().behind(UDP | OURSELVES));
    add("denied", apex().with(&cookie).behind(UDP | RULES | NEAR));
    add("denied-by-zone", query("www.closed.test", A).behind(UDP | OVER_IPV6));
    add("allowed-by-zone", query("www.closed.test", A).behind(UDP | RULES));
    all
}

/// Names that are hard to read.
fn names() -> Vec<(&'static str, Packet)> {
    let labels = |length: u8, count: usize| [&[length], &vec![b'a'; usize::from(length)][..]].concat().repeat(count);
    let end = [0, 0, 1, 0, 1];
    vec![
        ("name-compressed", Packet::of(vec![0xC0, 12, 0, 1, 0, 1])),
        ("name-compressed-behind", Packet::of(vec![1, b'a', 0xC0, 12, 0, 1, 0, 1])),
        ("name-255", Packet::of([labels(62, 4), vec![1, b'b'], end.to_vec()].concat())),
        ("name-256", Packet::of([labels(62, 4), vec![2, b'b', b'b'], end.to_vec()].concat())),
        ("name-127-labels", Packet::of([labels(1, 127), end.to_vec()].concat())),
        ("name-64-label", Packet::of([labels(63, 1), vec![64], vec![b'a'; 64], end.to_vec()].concat())),
        ("name-extended", Packet::of([&[0x41, 1, 2][..], &end].concat())),
        ("name-cut", Packet::of(vec![3, b'w', b'w'])),
        ("name-zeros", Packet::of([&[3, 0, 0, 0][..], &question(world::CLUSTER, A, 1)].concat())),
        ("type-cut", Packet::of(question(world::CLUSTER, A, 1)[..19].to_vec())),
        ("class-cut", Packet::of(question(world::CLUSTER, A, 1)[..21].to_vec())),
        ("class-any", Packet::of(question(world::CLUSTER, A, 255))),
        ("class-hesiod", Packet::of(question(world::CLUSTER, A, 4))),
        ("class-none", Packet::of(question(world::CLUSTER, A, 254))),
        ("type-300", query(world::CLUSTER, 300)),
        ("type-opt", query(world::CLUSTER, 41)),
        ("type-axfr", query(world::CLUSTER, 252)),
        ("type-tkey", query(world::CLUSTER, 249)),
        ("root", query(".", 2)),
        ("chaos-id", Packet::of(question("id.server", TXT, 3))),
        ("chaos-version", Packet::of(question("VERSION.bind", 255, 3))),
    ]
}

/// Headers and sections that are hard to read.
fn sections() -> Vec<(&'static str, Packet)> {
    let junk = [0xC0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x'];
    let cut = |at: usize| apex().with(&junk[..at]);
    let counted =
        |counts, rest: &[u8]| Packet { counts, ..Packet::of([question(world::CLUSTER, A, 1), rest.to_vec()].concat()) };
    vec![
        ("questions-none", Packet { counts: [0; 4], ..Packet::of(Vec::new()) }),
        ("questions-none-but-there", Packet { counts: [0; 4], ..apex() }),
        ("questions-two", counted([2, 0, 0, 0], &question("b.test", A, 1))),
        ("questions-255", counted([255, 0, 0, 0], &[])),
        ("response", Packet { flags: [0x80, 0], ..apex() }),
        ("truncated-flag", Packet { flags: [2, 0], ..apex() }),
        ("all-flags", Packet { flags: [0x07, 0xFF], ..apex() }),
        ("inverse-query", Packet { flags: [0x08, 0], counts: [0, 1, 0, 0], rest: junk.to_vec() }),
        ("update", Packet { flags: [0x28, 0], ..apex() }),
        (
            "stateful-operations",
            Packet { flags: [0x30, 0], counts: [0; 4], rest: vec![0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0] },
        ),
        ("records-everywhere", counted([1, 1, 1, 1], &junk.repeat(3))),
        ("records-missing", counted([1, 1, 0, 0], &[])),
        ("record-owner-cut", cut(1)),
        ("record-head-cut", cut(9)),
        ("record-length-cut", cut(11)),
        ("record-data-cut", cut(13)),
        ("more-behind", Packet::of([question(world::CLUSTER, A, 1), vec![0; 20]].concat())),
        (
            "proxy-header",
            Packet::of(b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x10\0\0\x35".to_vec()),
        ),
    ]
}

/// OPT records that are hard to read.
fn edns() -> Vec<(&'static str, Packet)> {
    let plain = opt(4096, 0, &[]);
    let mut owned = vec![1, b'x'];
    owned.extend(&plain);
    let in_answers = || {
        let mut packet = apex().with(&opt(512, 0, &[]));
        packet.counts = [1, 1, 0, 0];
        packet
    };
    let mut long = plain.clone();
    long[10] = 1;
    vec![
        ("opt-twice", apex().with(&plain).with(&plain)),
        ("opt-owned", apex().with(&owned)),
        ("opt-in-answers", in_answers()),
        ("opt-size-1", apex().with(&opt(1, 0, &[]))),
        ("opt-size-511", apex().with(&opt(511, 0, &[]))),
        ("opt-size-65535", apex().with(&opt(65_535, 0, &[]))),
        ("opt-version-1", apex().with(&opt(1232, 1, &option(10, &[1])))),
        ("opt-version-255", query("nothing.test", A).with(&opt(1232, 255, b"\0\x03\0\x09"))),
        ("opt-cut", apex().with(&plain[..7])),
        ("opt-length-past-end", apex().with(&long)),
        ("option-past-end", apex().with(&opt(1232, 0, b"\0\x03\0\x01"))),
        ("option-cut", apex().with(&opt(1232, 0, b"\0\x03\0"))),
        ("option-unknown", apex().with(&opt(1232, 0, &[option(200, b"abc"), option(201, b"")].concat()))),
        ("option-nsid", apex().with(&opt(1232, 0, &option(3, b"payload")))),
        ("option-zone-version", query("no.such.alternator.local", A).with(&opt(1232, 0, &option(19, b"")))),
        ("option-zone-version-data", apex().with(&opt(1232, 0, &option(19, b"\x02\0")))),
        ("option-keepalive-data", apex().with(&opt(1232, 0, &option(11, b"\x01\x2c")))),
    ]
}

/// Well-formed subnets.
const SUBNETS: [&[u8]; 4] =
    [&[0, 1, 24, 0, 192, 0, 2], &[0, 2, 0, 0], &[0, 0, 0, 0], &[0, 2, 61, 0, 32, 1, 13, 184, 0, 0, 0, 8]];

/// Subnets that are malformed, each in another way.
fn subnets() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("subnet-empty", &[]),
        ("subnet-short", &[0, 1, 24]),
        ("subnet-too-many-bits", &[0, 1, 33, 0, 192, 0, 2, 0, 0]),
        ("subnet-too-many-bits-6", &[0, 2, 129, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]),
        ("subnet-too-few-octets", &[0, 1, 24, 0, 192, 0]),
        ("subnet-too-many-octets", &[0, 1, 24, 0, 192, 0, 2, 0]),
        ("subnet-bits-beyond", &[0, 1, 23, 0, 192, 0, 3]),
        ("subnet-scope", &[0, 1, 24, 1, 192, 0, 2]),
        ("subnet-family-3", &[0, 3, 0, 0]),
        ("subnet-family-257", &[1, 1, 24, 0, 192, 0, 2]),
        ("subnet-family-0-bits", &[0, 0, 8, 0, 192]),
    ]
}
