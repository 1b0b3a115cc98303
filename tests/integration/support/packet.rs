//! Packets octet by octet, for what no library would send.

use std::net::{IpAddr, SocketAddr};

/// The id of every packet made here.
pub const ID: [u8; 2] = [0xAB, 0xCD];

/// A packet: flags, the counts of its four sections, and whatever follows.
pub fn packet(flags: u16, counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = ID.to_vec();
    bytes.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
    parts.iter().for_each(|part| bytes.extend(*part));
    bytes
}

/// A query of one question, with whatever follows it counted as `additionals` records.
pub fn query(question: &[u8], additionals: &[&[u8]]) -> Vec<u8> {
    packet(0, [1, 0, 0, additionals.len() as u16], &[&[question], additionals].concat())
}

/// A name, its case kept; `""` is the root.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A question of class IN.
pub fn question(text: &str, qtype: u16) -> Vec<u8> {
    question_of(&name(text), qtype, 1)
}

/// A question of any class, its name in wire format.
pub fn question_of(name: &[u8], qtype: u16, qclass: u16) -> Vec<u8> {
    [name, &qtype.to_be_bytes(), &qclass.to_be_bytes()].concat()
}

/// An OPT record: payload size, version, the sixteen flags (DO is the first), options.
pub fn opt(size: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41];
    bytes.extend(size.to_be_bytes());
    bytes.extend([0, version]);
    bytes.extend(flags.to_be_bytes());
    bytes.extend((options.len() as u16).to_be_bytes());
    bytes.extend(options);
    bytes
}

/// One EDNS option.
pub fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

/// What a proxy sends before the query of this client: the PROXY protocol, version 2, for UDP.
pub fn proxied(client: SocketAddr) -> Vec<u8> {
    let (family, source, destination) = match client.ip() {
        IpAddr::V4(ip) => (0x12, ip.octets().to_vec(), vec![198, 51, 100, 53]),
        IpAddr::V6(ip) => (0x22, ip.octets().to_vec(), vec![0xFD; 16]),
    };
    let addresses = [source, destination, client.port().to_be_bytes().to_vec(), vec![0, 53]].concat();
    let len = (addresses.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, family], &len, &addresses].concat()
}

/// The OPT record of a reply, octet by octet: a library's idea of it would hide how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    pub size: u16,
    pub extended_rcode: u8,
    pub version: u8,
    pub flags: u16,
    /// Codes and data, in their order.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// The OPT record of a message; panics where there are two, or where the message ends too early or too late.
pub fn opt_of(message: &[u8]) -> Option<Opt> {
    let u16_at = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let (mut at, mut found) = (12, None);
    for _ in 0..u16_at(4) {
        at = after_name(message, at) + 4;
    }
    for _ in 0..u16_at(6) + u16_at(8) + u16_at(10) {
        let owner = at;
        at = after_name(message, at);
        let data = at + 10..at + 10 + usize::from(u16_at(at + 8));
        if u16_at(at) == 41 {
            assert_eq!(message[owner], 0, "the owner of an OPT is the root");
            let [extended_rcode, version] = [message[at + 4], message[at + 5]];
            let (size, flags) = (u16_at(at + 2), u16_at(at + 6));
            let opt = Opt { size, extended_rcode, version, flags, options: options_of(&message[data.clone()]) };
            assert!(found.replace(opt).is_none(), "one OPT");
        }
        at = data.end;
    }
    assert_eq!(at, message.len(), "nothing follows the last record");
    found
}

fn options_of(mut data: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while let [code_high, code_low, len_high, len_low, rest @ ..] = data {
        let (option, after) = rest.split_at(usize::from(u16::from_be_bytes([*len_high, *len_low])));
        options.push((u16::from_be_bytes([*code_high, *code_low]), option.to_vec()));
        data = after;
    }
    assert!(data.is_empty(), "options fill their record");
    options
}

/// Where a name ends that begins here.
fn after_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            0xC0.. => return at + 2,
            label => at += 1 + usize::from(label),
        }
    }
}
