//! What every reply must hold, whatever it says.

use alternator_dns::server::Transport;
use domain::{base::opt::UnknownOptData, rdata::AllRecordData};
use hickory_proto::{
    op::Message,
    serialize::binary::{BinDecodable, BinDecoder},
};

use super::reading::Read;

/// Options of EDNS.
const NSID: u16 = 3;
const SUBNET: u16 = 8;
pub const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
pub const PADDING: u16 = 12;
const EXTENDED_ERROR: u16 = 15;
const ZONE_VERSION: u16 = 19;

/// Replies are padded to a multiple of this many octets (RFC 8467 section 4.1).
pub const BLOCK: usize = 468;

/// A reply, read.
pub struct Reply {
    pub message: Message,
    /// Options of its OPT, as codes and data.
    pub options: Vec<(u16, Vec<u8>)>,
    /// As text, in dig's style.
    pub text: String,
}

/// Checks a reply to a packet against what another reading of the packet says, and returns it read.
pub(super) fn check(packet: &[u8], read: &Read, reply: &[u8], transport: Transport) -> Reply {
    let (text, options) = domain(reply);
    let message = hickory(reply, &options);
    assert_eq!(reply[..2], packet[..2], "id");
    // QR; opcode and RD as asked, and CD; never RA, Z or AD.
    assert_eq!(reply[2] & 0xF9, 0x80 | packet[2] & 0x79, "flags");
    assert_eq!(reply[3] & 0xF0, packet[3] & 0x10, "flags");
    let question = read.question.clone().map_or(&[][..], |at| &packet[at]);
    assert_eq!(usize::from(reply[5]), usize::from(!question.is_empty()), "questions");
    assert!(reply[12..].starts_with(question), "the question, octet for octet");
    assert_eq!(message.edns.is_some(), read.opt.is_some(), "an OPT if and only if one was read");
    let limit = limit(read, transport);
    assert!(reply.len() <= limit, "{} octets, limit {limit}", reply.len());
    if let Some(edns) = &message.edns {
        assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    }
    if message.metadata.truncation {
        assert!(message.answers.is_empty() && message.authorities.is_empty() && message.additionals.is_empty());
    }
    for record in message.answers.iter().chain(&message.authorities).chain(&message.additionals) {
        assert!(i32::try_from(record.ttl).is_ok(), "{record}");
    }
    Reply { message, options, text }
}

/// Octets a reply may have.
pub(super) fn limit(read: &Read, transport: Transport) -> usize {
    match (transport, read.opt) {
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(size)) => usize::from(size.clamp(512, 1232)),
        _ => 65_535,
    }
}

/// The first option of this code, among options that fill their record exactly.
pub fn option(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [code_high, code_low, len_high, len_low, rest @ ..] = options {
        let (data, rest) = rest.split_at(usize::from(u16::from_be_bytes([*len_high, *len_low])));
        if u16::from_be_bytes([*code_high, *code_low]) == wanted {
            return Some(data);
        }
        options = rest;
    }
    None
}

/// Whether the reply's options are answers to the query's, which are `asked`.
pub fn check_options(asked: &[u8], reply: &Reply, length: usize, transport: Transport) {
    let mut seen = Vec::new();
    for (code, data) in &reply.options {
        assert!(!seen.contains(code), "option {code} twice");
        seen.push(*code);
        let is_told = match *code {
            EXTENDED_ERROR => data.len() >= 2 && std::str::from_utf8(&data[2..]).is_ok() && data.len() <= 2 + 64,
            NSID => option(asked, NSID).is_some() && data == b"ns1",
            SUBNET => option(asked, SUBNET) == Some(data.as_slice()),
            COOKIE => data.len() == 24 && option(asked, COOKIE).is_some_and(|asked| asked.get(..8) == data.get(..8)),
            KEEPALIVE => {
                option(asked, KEEPALIVE).is_some()
                    && matches!(transport, Transport::Tcp | Transport::Tls)
                    && *data == 300u16.to_be_bytes()
            }
            ZONE_VERSION => option(asked, ZONE_VERSION).is_some() && data.len() == 6 && data[1..] == [0, 0, 0, 0, 7],
            PADDING => option(asked, PADDING).is_some() && transport.is_encrypted() && length.is_multiple_of(BLOCK),
            _ => false,
        };
        assert!(is_told, "option {code} with {data:?}");
    }
}

/// As hickory reads it, to the last octet.
fn hickory(reply: &[u8], options: &[(u16, Vec<u8>)]) -> Message {
    let mut reply = reply.to_vec();
    // hickory takes no message with a subnet of family 0; any other option will do for it.
    if options.contains(&(SUBNET, vec![0; 4])) {
        let subnet = [0, 8, 0, 4, 0, 0, 0, 0];
        let at = reply.windows(subnet.len()).rposition(|octets| octets == subnet).unwrap();
        reply[at] = 0xFD;
    }
    let mut decoder = BinDecoder::new(&reply);
    let message = Message::read(&mut decoder).unwrap();
    assert!(decoder.is_empty(), "hickory does not read the reply to its end");
    message
}

/// As `domain` reads it, to the last octet: in dig's style, and the options.
fn domain(reply: &[u8]) -> (String, Vec<(u16, Vec<u8>)>) {
    let message = domain::base::Message::from_octets(reply).unwrap();
    let mut questions = message.question();
    assert!(questions.by_ref().all(|question| question.is_ok()), "domain cannot read the question");
    let mut section = questions.answer().unwrap();
    loop {
        for record in section.by_ref() {
            record.unwrap().to_any_record::<AllRecordData<_, _>>().unwrap();
        }
        let end = section.pos();
        match section.next_section().unwrap() {
            Some(next) => section = next,
            None => {
                assert_eq!(end, reply.len(), "domain does not read the reply to its end");
                break;
            }
        }
    }
    let opt = message.opt();
    let options = opt.iter().flat_map(|opt| opt.opt().iter::<UnknownOptData<_>>()).map(|option| {
        let option = option.unwrap();
        (option.code().to_int(), option.data().to_vec())
    });
    (message.display_dig_style().to_string(), options.collect())
}
