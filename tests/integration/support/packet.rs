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
