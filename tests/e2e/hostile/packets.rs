//! Malformed datagrams: systematic ones first, then mutations of valid queries and noise, for ever.

use crate::good::ZONE;

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;
const SRV: u16 = 33;
const OPT: u16 = 41;
const TKEY: u16 = 249;
const TSIG: u16 = 250;
const IXFR: u16 = 251;
const AXFR: u16 = 252;
const ANY: u16 = 255;

/// EDNS options that mean something to servers, and some that mean nothing.
const OPTIONS: [u16; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 26946, 65001];

/// Longest option tried at every length.
const OPTION_LEN: usize = 280;

/// Octets and pairs of them at which parsers change their minds.
const OCTETS: [u8; 13] = [0, 1, 11, 12, 0x29, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xFF];
const PAIRS: [u16; 14] = [0, 1, 2, 3, 12, 41, 250, 255, 256, 0x3FFF, 0x7FFF, 0x8000, 0xC00C, 0xFFFF];

/// Counts of a section.
const COUNTS: [u16; 6] = [0, 1, 2, 7, 255, 65_535];

/// Longest datagram: as much as UDP over IPv4 carries.
pub(crate) const LONGEST: usize = 65_507;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A query of one question, with what follows it counted as additional records.
pub(crate) fn query(flags: u16, question: &[u8], additionals: &[&[u8]]) -> Vec<u8> {
    packet(flags, [1, 0, 0, additionals.len() as u16], &[&[question], additionals].concat())
}

pub(crate) fn question(name: &str, qtype: u16, qclass: u16) -> Vec<u8> {
    [&wire(name)[..], &qtype.to_be_bytes(), &qclass.to_be_bytes()].concat()
}

pub(crate) fn opt(size: u16, version: u8, options: &[u8]) -> Vec<u8> {
    let size = size.to_be_bytes();
    let mut record = vec![0, 0, 41, size[0], size[1], 0, version, 0, 0];
    record.extend((options.len() as u16).to_be_bytes());
    record.extend(options);
    record
}

/// A message as TCP carries it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// The header of a proxy whose client is 192.0.2.1, port 4660.
pub(crate) fn proxy_header() -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x12, 0, 12, 192, 0, 2, 1, 192, 0, 2, 53, 0x12, 0x34, 0, 53]].concat()
}

/// A query for the longest answer there is.
pub(crate) fn explain() -> Vec<u8> {
    query(0, &question(&format!("_explain.{ZONE}"), TXT, 1), &[])
}

fn packet(flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    bytes.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
    parts.iter().for_each(|part| bytes.extend(*part));
    bytes
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A record owned by the question's name.
fn record(rtype: u16, class: u16, data: &[u8]) -> Vec<u8> {
    [&[0xC0, 12][..], &rtype.to_be_bytes(), &class.to_be_bytes(), &[0; 4], &(data.len() as u16).to_be_bytes(), data]
        .concat()
}

/// Well-formed messages of every kind, which others are made from.
fn valid() -> Vec<Vec<u8>> {
    let apex = question(ZONE, A, 1);
    let with = |options: &[u8]| query(0x0100, &apex, &[&opt(1232, 0, options)]);
    let of = |name: &str, qtype| query(0, &question(name, qtype, 1), &[]);
    let soa = record(SOA, 1, &[&[0, 0][..], &[0; 20]].concat());
    let tsig = [&wire("key.test")[..], &[0, 250, 0, 255, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]].concat();
    let long = format!("{}.{ZONE}", ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(40)].join("."));
    let cookie = [&b"a client"[..], &[1, 0, 0, 0, 0x69, 0x20, 0, 0], b"and hash"].concat();
    let subnets = [&[0, 1, 24, 0, 192, 0, 2][..], &[0, 2, 56, 0, 0x20, 1, 0xD, 0xB8, 0, 0, 0], &[0, 0, 0, 0]];
    let many = [option(3, &[]), option(8, subnets[0]), option(10, &cookie), option(12, &[0; 9]), option(19, &[])];
    let mut valid = vec![
        of(ZONE, A),
        of(ZONE, 28),
        of(ZONE, 2),
        of(ZONE, SOA),
        of(ZONE, ANY),
        of(ZONE, 65_280),
        of(&format!("dc1.{ZONE}"), A),
        of(&format!("dc1.rack1.{ZONE}"), A),
        of(&format!("_alternator._tcp.{ZONE}"), SRV),
        of(&format!("no.such.name.{ZONE}"), A),
        of("example.com", A),
        of("", A),
        of(&long, A),
        explain(),
        with(&[]),
        with(&option(3, &[])),
        with(&option(10, &cookie[..8])),
        with(&option(10, &cookie)),
        with(&option(11, &[])),
        with(&option(65_001, b"whatever")),
        with(&many.concat()),
        query(0, &apex, &[&opt(512, 1, &[])]),
        query(0, &apex, &[&tsig]),
        query(0, &question("id.server", TXT, 3), &[&opt(1232, 0, &[])]),
        query(0, &question("version.bind", TXT, 3), &[]),
        query(0, &question(ZONE, OPT, 1), &[]),
        query(0, &question(ZONE, TKEY, 255), &[]),
        query(0, &question(ZONE, TSIG, 255), &[]),
        query(0, &question(ZONE, AXFR, 1), &[]),
        packet(0, [1, 0, 1, 0], &[&question(ZONE, IXFR, 1), &soa]),
        // NOTIFY, UPDATE, IQUERY, two questions, only a cookie.
        packet(0x2400, [1, 1, 0, 0], &[&question(ZONE, SOA, 1), &soa]),
        packet(0x2800, [1, 0, 1, 0], &[&question(ZONE, SOA, 1), &record(A, 1, &[10, 0, 0, 9])]),
        packet(0x0800, [0, 1, 0, 0], &[&[0], &record(A, 1, &[10, 0, 0, 9])[2..]]),
        packet(0, [2, 0, 0, 0], &[&apex, &question("example.com", A, 1)]),
        packet(0, [0, 0, 0, 1], &[&opt(1232, 0, &option(10, &cookie[..8]))]),
    ];
    valid.extend(subnets.map(|subnet| with(&option(8, subnet))));
    valid
}

/// What can be counted through.
fn systematic() -> impl Iterator<Item = Vec<u8>> + Send {
    let apex = || question(ZONE, A, 1);
    let plain = [Vec::new(), opt(1232, 0, &[])];
    // Every point at which every valid message can be cut.
    let cut = valid().into_iter().flat_map(|whole| (0..whole.len()).map(move |len| whole[..len].to_vec()));
    // Every opcode, every rcode, every flag, with and without EDNS.
    let flags = plain.into_iter().flat_map(move |opt| {
        (0..=u16::MAX).map(move |flags| {
            let additionals: &[&[u8]] = if opt.is_empty() { &[] } else { &[&opt] };
            query(flags, &question(ZONE, A, 1), additionals)
        })
    });
    // Counts that are not true.
    let all = || COUNTS.into_iter();
    let counts = all().flat_map(move |a| {
        all().flat_map(move |b| all().flat_map(move |c| all().map(move |d| packet(0, [a, b, c, d], &[&apex()]))))
    });
    // Options of every length, as long as they say, shorter and longer.
    let options = OPTIONS.into_iter().flat_map(|code| {
        (0..OPTION_LEN).flat_map(move |len| {
            [-1, 0, 1, 300].into_iter().map(move |lie: i32| {
                let mut option = option(code, &vec![len as u8; len]);
                option[2..4].copy_from_slice(&((len as i32 + lie) as u16).to_be_bytes());
                query(0, &question(ZONE, A, 1), &[&opt(1232, 0, &option)])
            })
        })
    });
    // An OPT of every size, and of every version.
    let sizes = (0..=u16::MAX).step_by(7).map(|size| query(0, &question(ZONE, A, 1), &[&opt(size, 0, &[])]));
    let versions = (0..=255).map(|version| query(0, &question(ZONE, A, 1), &[&opt(1232, version, &[9; 7])]));
    // Every type of two classes.
    let types = [1, 3]
        .into_iter()
        .flat_map(|class| (0..=u16::MAX).step_by(5).map(move |qtype| query(0, &question(ZONE, qtype, class), &[])));
    cut.chain(flags).chain(counts).chain(options).chain(sizes).chain(versions).chain(types)
}

/// Malformed datagrams, without an end. Their ids are below 0x8000.
pub(crate) struct Packets {
    dice: fastrand::Rng,
    valid: Vec<Vec<u8>>,
    systematic: Box<dyn Iterator<Item = Vec<u8>> + Send>,
}

impl Packets {
    /// The systematic ones first.
    pub(crate) fn new(seed: u64) -> Self {
        Packets { systematic: Box::new(systematic()), ..Packets::random(seed) }
    }

    /// None but random ones.
    pub(crate) fn random(seed: u64) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        Packets { dice, valid: valid(), systematic: Box::new(std::iter::empty()) }
    }

    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut packet = match self.systematic.next() {
            Some(packet) => packet,
            None => match self.dice.u8(..16) {
                0 => self.noise(64),
                1 => self.noise(600),
                2 => self.proxied(),
                _ => self.mutated(),
            },
        };
        // What is longer than a query can be is slow to send: one in a thousand is.
        if self.dice.u16(..1000) == 0 {
            let most = if self.dice.u8(..8) == 0 { LONGEST } else { 6000 };
            let len = self.dice.usize(packet.len()..=most.max(packet.len()));
            let filler = self.dice.u8(..);
            packet.resize(len, filler);
        }
        if let Some(first) = packet.first_mut() {
            *first &= 0x7F;
        }
        packet
    }

    /// A query behind a PROXY header, whole or not.
    pub(crate) fn proxied(&mut self) -> Vec<u8> {
        let body = self.noise(60);
        let command = [0x20, 0x21, 0x22, 0x11, self.dice.u8(..)][self.dice.usize(..5)];
        let family = [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, self.dice.u8(..)][self.dice.usize(..7)];
        let len = if self.dice.bool() { body.len() as u16 } else { self.dice.u16(..) };
        let valid = self.one_valid();
        let mut packet = [SIGNATURE, &[command, family], &len.to_be_bytes(), &body, &valid].concat();
        match self.dice.u8(..8) {
            0 => packet.truncate(self.dice.usize(..28)),
            1 => packet = [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], &valid].concat(),
            _ => {}
        }
        packet
    }

    fn one_valid(&mut self) -> Vec<u8> {
        self.valid[self.dice.usize(..self.valid.len())].clone()
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        let len = self.dice.usize(..=most);
        std::iter::repeat_with(|| self.dice.u8(..)).take(len).collect()
    }

    fn mutated(&mut self) -> Vec<u8> {
        let mut packet = self.one_valid();
        for _ in 0..self.dice.usize(1..=3) {
            self.mutate(&mut packet);
        }
        packet
    }

    fn mutate(&mut self, packet: &mut Vec<u8>) {
        let len = packet.len();
        if len < 14 {
            return packet.extend(self.noise(40));
        }
        let at = self.dice.usize(..len);
        let end = self.dice.usize(at..=len.min(at + 24));
        match self.dice.u8(..12) {
            0 => packet[at] ^= 1 << self.dice.u8(..8),
            1 => packet[at] = OCTETS[self.dice.usize(..OCTETS.len())],
            2 => packet.truncate(at),
            3 => drop(packet.drain(at..end)),
            4 => drop(packet.splice(at..at, self.noise(12))),
            5 => {
                let part = packet[at..end].to_vec();
                drop(packet.splice(at..at, part));
            }
            6 => {
                let count = COUNTS[self.dice.usize(..COUNTS.len())];
                packet[4 + 2 * self.dice.usize(..4)..][..2].copy_from_slice(&count.to_be_bytes());
            }
            7 => {
                let other = self.one_valid();
                packet.truncate(at);
                packet.extend(&other[self.dice.usize(..other.len())..]);
            }
            8 => packet[at..end].iter_mut().for_each(|octet| *octet = self.dice.u8(..)),
            9 => packet.extend(self.noise(64)),
            10 => {
                let pair = PAIRS[self.dice.usize(..PAIRS.len())];
                packet[at.min(len - 2)..][..2].copy_from_slice(&pair.to_be_bytes());
            }
            // A pointer where a name begins, to anywhere.
            _ => drop(packet.splice(12..13, [0xC0, self.dice.u8(..)])),
        }
    }
}
