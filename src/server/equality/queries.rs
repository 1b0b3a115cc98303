//! Packets as askers send them, and as nobody should. Strategies are boxed: nested as they are, their values would not
//! fit the stack of a test.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::APEX;

/// A packet in the making.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    id: u16,
    flags: u16,
    /// Names, types and classes; one, but for few.
    questions: Vec<(Vec<u8>, u16, u16)>,
    /// Records of the answer, authority and additional section.
    sections: [Vec<Vec<u8>>; 3],
    damage: Damage,
}

/// What happens to a packet on its way.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(Index),
    Changed(Index, u8),
    Followed(Vec<u8>),
}

impl Packet {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend((self.questions.len() as u16).to_be_bytes());
        self.sections.iter().for_each(|records| bytes.extend((records.len() as u16).to_be_bytes()));
        for (name, qtype, qclass) in &self.questions {
            bytes.extend(name);
            bytes.extend(qtype.to_be_bytes());
            bytes.extend(qclass.to_be_bytes());
        }
        self.sections.iter().flatten().for_each(|record| bytes.extend(record));
        match &self.damage {
            Damage::None => {}
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Changed(at, value) => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Damage::Followed(more) => bytes.extend(more),
        }
        bytes
    }
}

pub(super) fn packets() -> BoxedStrategy<Packet> {
    let damage = prop_oneof![
        8 => Just(Damage::None),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Changed(at, value)),
        1 => vec(any::<u8>(), 1..20).prop_map(Damage::Followed),
    ];
    let sections = (vec(junk(), 0..2), vec(junk(), 0..2), additionals());
    let sections = prop_oneof![
        3 => additionals().prop_map(|records| [Vec::new(), Vec::new(), records]),
        1 => sections.prop_map(|(answers, authorities, additionals)| [answers, authorities, additionals]),
        // An OPT where none belongs.
        1 => (opt(), additionals()).prop_map(|(opt, additionals)| [vec![opt], Vec::new(), additionals]),
    ];
    (any::<u16>(), flags(), questions(), sections, damage)
        .prop_map(|(id, flags, questions, sections, damage)| Packet { id, flags, questions, sections, damage })
        .boxed()
}

/// All bits at random, but for QR and the opcode, which are mostly zero.
fn flags() -> BoxedStrategy<u16> {
    let opcode = prop_oneof![9 => Just(0u16), 1 => 1..16u16];
    (any::<u16>(), opcode, prop::bool::weighted(0.05))
        .prop_map(|(bits, opcode, response)| bits & 0x07FF | opcode << 11 | u16::from(response) << 15)
        .boxed()
}

fn questions() -> BoxedStrategy<Vec<(Vec<u8>, u16, u16)>> {
    let class = prop_oneof![12 => Just(1u16), 1 => Just(3), 1 => Just(255), 1 => any::<u16>()];
    let question = (names(), types(), class).boxed();
    prop_oneof![20 => vec(question.clone(), 1), 1 => vec(question, 0..4)].boxed()
}

fn types() -> BoxedStrategy<u16> {
    let known = [1u16, 2, 5, 6, 12, 15, 16, 28, 33, 41, 43, 64, 65, 99, 249, 250, 251, 252, 253, 254, 255, 257];
    prop_oneof![3 => Just(1u16), 1 => Just(28), 2 => Just(16), 4 => prop::sample::select(known.to_vec()), 1 => any::<u16>()].boxed()
}

/// Names of the zone in every spelling, in random case, and others.
fn names() -> BoxedStrategy<Vec<u8>> {
    let inside = prop::sample::select(vec![
        "",
        "dc1",
        "dc1.rack1",
        "rack2.dc1",
        "dc1--rack1",
        "rack1",
        "dc9",
        "_alternator._tcp",
        "_alternator._tcp.dc1.rack2",
        "_tcp",
        "_tcp.dc1",
        "_explain",
        "_explain.dc1",
        "n-10-0-1-1",
        "n-fd00--1",
        "ns1",
        "static",
        "below.static",
        "large",
        "many.wild",
        "alias",
        "any.wild",
        "a.b.wild",
        "*.wild",
        "wild",
        "nothing",
        "a.b.c.nothing",
    ]);
    let inside = inside.prop_map(|name| if name.is_empty() { APEX.to_owned() } else { format!("{name}.{APEX}") });
    let outside =
        prop::sample::select(vec!["local.", "example.com.", ".", "xalternator.local."]).prop_map(str::to_owned);
    let told = (prop_oneof![8 => inside, 1 => outside], vec(any::<bool>(), 64)).prop_map(|(name, upper)| {
        let mut wire = wire(&name);
        wire.iter_mut().zip(upper).filter(|(_, upper)| *upper).for_each(|(octet, _)| octet.make_ascii_uppercase());
        wire
    });
    // Labels of any octets, some names too long, below the apex or not.
    let any_labels = (vec(vec(any::<u8>(), 1..64), 0..6), any::<bool>()).prop_map(|(labels, below)| {
        let labels = labels.iter().flat_map(|label| [&[label.len() as u8], &label[..]].concat());
        labels.chain(if below { wire(APEX) } else { vec![0] }).collect()
    });
    prop_oneof![
        12 => told,
        2 => any_labels,
        // A pointer, to the header and to itself.
        1 => prop::sample::select(vec![vec![0xC0, 4], vec![0xC0, 12], vec![1, b'a', 0xC0, 4]]),
    ]
    .boxed()
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn additionals() -> BoxedStrategy<Vec<Vec<u8>>> {
    prop_oneof![
        3 => Just(Vec::new()),
        6 => opt().prop_map(|opt| vec![opt]),
        1 => (junk(), opt()).prop_map(|(junk, opt)| vec![junk, opt]),
        1 => (opt(), junk()).prop_map(|(opt, junk)| vec![opt, junk]),
        1 => (opt(), opt()).prop_map(|(one, two)| vec![one, two]),
    ]
    .boxed()
}

/// A record that means nothing in a query: TXT or an unknown type, of any owner.
fn junk() -> BoxedStrategy<Vec<u8>> {
    let owner = prop_oneof![Just(vec![0]), Just(vec![0xC0, 12]), Just(vec![1, b'x', 0])];
    (owner, prop_oneof![Just(16u16), Just(65_280)], vec(any::<u8>(), 0..20))
        .prop_map(|(owner, rtype, text)| {
            // One character-string, which any type may hold.
            record(&owner, rtype, 1, [0, 0, 0, 9], &[&[text.len() as u8], &text[..]].concat())
        })
        .boxed()
}

fn opt() -> BoxedStrategy<Vec<u8>> {
    let size = prop_oneof![2 => Just(1232u16), 2 => any::<u16>(), 2 => 0..1500u16];
    let version = prop_oneof![9 => Just(0u8), 1 => any::<u8>()];
    let owner = prop_oneof![19 => Just(vec![0]), 1 => Just(vec![1, b'x', 0]), 1 => Just(vec![0xC0, 12])];
    (owner, size, version, any::<u8>(), any::<u16>(), options())
        .prop_map(|(owner, size, version, rcode, flags, options)| {
            let flags = flags.to_be_bytes();
            record(&owner, 41, size, [rcode, version, flags[0], flags[1]], &options)
        })
        .boxed()
}

/// The data of an OPT: well-formed options, known and not, or whatever.
fn options() -> BoxedStrategy<Vec<u8>> {
    let known: [(u16, &[u8]); 9] = [
        (3, &[]),                             // NSID
        (10, &[1, 2, 3, 4, 5, 6, 7, 8]),      // a client's cookie
        (8, &[0, 1, 24, 0, 192, 0, 2]),       // client subnet
        (8, &[0, 1, 33, 0, 192, 0, 2, 0, 0]), // one that is none
        (8, &[0, 2, 12, 0, 0x20, 0x10]),      // one of IPv6
        (11, &[]),                            // TCP keep-alive
        (19, &[]),                            // zone version
        (19, &[0]),                           // one that is none
        (12, &[0; 40]),                       // padding
    ];
    let option = prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(|(code, data)| (code, data.to_vec())),
        (any::<u16>(), vec(any::<u8>(), 0..20)),
    ];
    let bytes =
        |(code, data): (u16, Vec<u8>)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), &data].concat();
    let well_formed = vec(option.prop_map(bytes), 0..3).prop_map(|options| options.concat());
    prop_oneof![9 => well_formed, 1 => vec(any::<u8>(), 0..12)].boxed()
}

fn record(owner: &[u8], rtype: u16, class: u16, ttl: [u8; 4], data: &[u8]) -> Vec<u8> {
    let len = (data.len() as u16).to_be_bytes();
    [owner, &rtype.to_be_bytes(), &class.to_be_bytes(), &ttl, &len, data].concat()
}
