//! What is asked, and what must come back.

use std::{net::Ipv4Addr, str::FromStr};

/// Octets of a DNS header.
const HEADER: usize = 12;

/// Longest query made: header, longest name, type and class, an OPT record.
pub(crate) const MAX_QUERY: usize = HEADER + 255 + 4 + OPT.len();

/// Largest response code in a header without EDNS.
const MAX_CODE: u16 = 15;

/// Type A and class IN (RFC 1035, section 3.2).
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// An OPT record that takes 1,232 octets, without options (RFC 6891, section 6.1.2).
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// A query, ready but for its id, and the reply it must get. Written as `NAME:TYPE:RCODE:ANSWERS`, the type and the
/// code as numbers: `alternator.local:1:0:6`. A network may follow, in which every address of the answer must lie:
/// `dc1.alternator.local:1:0:6:127.1.0.0/16`.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    packet: Vec<u8>,
    /// Where the question ends; from the header to there a reply repeats it.
    end: usize,
    code: u16,
    answers: u16,
    inside: Option<Network>,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    bits: u32,
    mask: u32,
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Shorter than what it must repeat.
    Short,
    /// No reply, or to another kind of request.
    Kind,
    /// Truncated.
    Truncated,
    /// Another response code.
    Code,
    /// Another number of answers.
    Answers,
    /// Another question.
    Question,
    /// An answer that is no A record, or whose address lies elsewhere.
    Address,
}

impl FromStr for Question {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, qtype, code, answers, ref rest @ ..] = parts[..] else {
            return Err("not NAME:TYPE:RCODE:ANSWERS".to_owned());
        };
        let inside = match rest {
            [] => None,
            [network] => Some(network.parse()?),
            _ => return Err("too many colons".to_owned()),
        };
        let number = |text: &str| text.parse::<u16>().map_err(|error| format!("{text}: {error}"));
        let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            let len = u8::try_from(label.len()).ok().filter(|len| *len < 64).ok_or("a label is too long")?;
            packet.push(len);
            packet.extend_from_slice(label.as_bytes());
        }
        packet.push(0);
        packet.extend_from_slice(&number(qtype)?.to_be_bytes());
        packet.extend_from_slice(&CLASS_IN.to_be_bytes());
        let end = packet.len();
        if end + OPT.len() > MAX_QUERY {
            return Err("the name is too long".to_owned());
        }
        let code = number(code)?;
        if code > MAX_CODE {
            return Err(format!("{code} is no response code"));
        }
        Ok(Question { packet, end, code, answers: number(answers)?, inside })
    }
}

impl Question {
    /// The same query with EDNS.
    pub(crate) fn with_edns(mut self) -> Self {
        self.packet.extend_from_slice(&OPT);
        self.packet[11] = 1;
        self
    }

    /// Octets of the query.
    pub(crate) fn len(&self) -> usize {
        self.packet.len()
    }

    /// Appends the query with this id.
    pub(crate) fn write(&self, id: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&self.packet[2..]);
    }

    /// Checks a reply whose id is already known to be right.
    pub(crate) fn check(&self, reply: &[u8]) -> Result<(), Wrong> {
        if reply.len() < self.end {
            return Err(Wrong::Short);
        }
        // QR set and opcode QUERY; then TC; then RCODE (RFC 1035, section 4.1.1).
        if reply[2] & 0xf8 != 0x80 {
            return Err(Wrong::Kind);
        }
        if reply[2] & 0x02 != 0 {
            return Err(Wrong::Truncated);
        }
        if u16::from(reply[3] & 0x0f) != self.code {
            return Err(Wrong::Code);
        }
        if reply[6..8] != self.answers.to_be_bytes() {
            return Err(Wrong::Answers);
        }
        if reply[4..6] != [0, 1] || reply[HEADER..self.end] != self.packet[HEADER..self.end] {
            return Err(Wrong::Question);
        }
        let inside = |network| addresses_inside(&reply[self.end..], self.answers, network);
        self.inside.is_none_or(|network| inside(network).is_some()).then_some(()).ok_or(Wrong::Address)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, len) = text.split_once('/').ok_or("no \"/\"")?;
        let address: Ipv4Addr = address.parse().map_err(|_| format!("{address} is no IPv4 address"))?;
        let len: u32 = len.parse().ok().filter(|len| *len <= 32).ok_or("no length of 0 to 32")?;
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
        Ok(Network { bits: address.to_bits() & mask, mask })
    }
}

/// Walks the answer section; `None` when it holds anything but A records in the network.
fn addresses_inside(mut section: &[u8], answers: u16, network: Network) -> Option<()> {
    for _ in 0..answers {
        section = after_name(section)?;
        let (fixed, rest) = section.split_first_chunk::<10>()?;
        let (address, rest) = rest.split_first_chunk::<4>()?;
        let field = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let is_a = field(0) == TYPE_A && field(2) == CLASS_IN && field(8) == 4;
        if !is_a || u32::from_be_bytes(*address) & network.mask != network.bits {
            return None;
        }
        section = rest;
    }
    Some(())
}

/// What follows a name, which may end in a pointer (RFC 1035, section 4.1.4).
fn after_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&len, rest) = bytes.split_first()?;
        match len {
            0 => return Some(rest),
            0xc0.. => return rest.get(1..),
            _ => bytes = rest.get(usize::from(len)..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(question: &Question, addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut reply = question.packet[..question.end].to_vec();
        reply[2] |= 0x84;
        reply[7] = u8::try_from(addresses.len()).unwrap();
        reply[11] = 0;
        for address in addresses {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            reply.extend_from_slice(address);
        }
        reply
    }

    #[test]
    fn a_query_is_what_the_rfc_says() {
        let question: Question = "a.bc:28:0:1".parse().unwrap();
        let mut out = Vec::new();
        question.write(0x1234, &mut out);
        assert_eq!(out, b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x1c\0\x01");
        let question = question.with_edns();
        out.clear();
        question.write(1, &mut out);
        assert_eq!((out[11], out.len()), (1, question.len()));
        assert_eq!(out[question.end..], OPT);
        for bad in ["a:1:0", "a:1:0:x", "a:1:16:0", "a:70000:0:0", "a:1:0:1:x", "a:1:0:1:0.0.0.0/0:"] {
            bad.parse::<Question>().unwrap_err();
        }
    }

    #[test]
    fn replies_are_looked_at_closely() {
        let plain = "a.bc:1:0:2".parse::<Question>().unwrap().with_edns();
        let question = "a.bc:1:0:2:127.1.0.0/16".parse::<Question>().unwrap().with_edns();
        let good = reply(&question, &[[127, 1, 0, 1], [127, 1, 255, 2]]);
        assert_eq!((plain.check(&good), question.check(&good)), (Ok(()), Ok(())));
        let changed = |at: usize, to: u8| {
            let mut bad = good.clone();
            bad[at] = to;
            question.check(&bad)
        };
        assert_eq!(changed(2, 0x04), Err(Wrong::Kind), "a query");
        assert_eq!(changed(2, 0x8c), Err(Wrong::Kind), "another opcode");
        assert_eq!(changed(2, 0x86), Err(Wrong::Truncated));
        assert_eq!(changed(3, 0x03), Err(Wrong::Code));
        assert_eq!(changed(7, 1), Err(Wrong::Answers));
        assert_eq!(changed(5, 0), Err(Wrong::Question), "none");
        assert_eq!(changed(13, b'A'), Err(Wrong::Question), "another spelling");
        assert_eq!(changed(question.end + 3, 28), Err(Wrong::Address), "another type");
        assert_eq!(changed(good.len() - 3, 2), Err(Wrong::Address), "elsewhere");
        for len in 0..question.end {
            assert_eq!(question.check(&good[..len]), Err(Wrong::Short));
        }
        for len in question.end..good.len() {
            assert_eq!(question.check(&good[..len]), Err(Wrong::Address));
        }
    }

    #[test]
    fn networks_have_a_length() {
        for bad in ["127.0.0.1", "127.0.0.1/33", "127.0.0/8", "x/8"] {
            bad.parse::<Network>().unwrap_err();
        }
        let all: Network = "127.0.0.1/0".parse().unwrap();
        assert_eq!((all.bits, all.mask), (0, 0));
        let one: Network = "127.0.0.1/32".parse().unwrap();
        assert_eq!((one.bits, one.mask), (0x7f00_0001, u32::MAX));
    }
}
