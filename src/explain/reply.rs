//! What a query gets.

use std::{net::SocketAddr, sync::Arc};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Record, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use serde::Serialize;

use super::Question;
use crate::{
    server::{Asker, Counters, Responder, Settings, Transport},
    table::{Table, wire_name},
};

/// Any port a client may have.
const PORT: u16 = 40_000;

/// UDP payload size of the query: what resolvers say today (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;

/// The option of an extended DNS error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// What a query got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyStory {
    /// `UDP`, or `TCP` where the reply over UDP was truncated.
    pub transport: String,
    /// What the query is counted as.
    pub outcome: String,
    /// The rcode's name; `None` where nobody replies.
    pub rcode: Option<String>,
    /// Whether it is authoritative.
    pub authoritative: bool,
    /// Whether the reply over UDP was truncated, so that the client comes back over TCP.
    pub truncated: bool,
    /// Its length.
    pub octets: usize,
    /// The answer section, as in a zone file.
    pub answers: Vec<String>,
    /// The authority section.
    pub authorities: Vec<String>,
    /// The additional section, without OPT.
    pub additionals: Vec<String>,
    /// Extended DNS errors: code and text.
    pub extended_errors: Vec<String>,
}

/// Asks as the client would: over UDP, and over TCP if it has to.
pub(super) fn ask(table: &Table, settings: &Arc<Settings>, question: &Question, seed: u64) -> ReplyStory {
    let over_udp = ask_over(Transport::Udp, table, settings, question, seed);
    match over_udp.truncated {
        true => ReplyStory { truncated: true, ..ask_over(Transport::Tcp, table, settings, question, seed) },
        false => over_udp,
    }
}

fn ask_over(
    transport: Transport,
    table: &Table,
    settings: &Arc<Settings>,
    question: &Question,
    seed: u64,
) -> ReplyStory {
    // Its own counters, so that nobody takes it for a client's.
    let mut responder = Responder::new(&Counters::default(), settings, seed);
    let asker = Asker { transport, ..Asker::udp(SocketAddr::new(question.client, PORT)) };
    let mut reply = Vec::new();
    let outcome = responder.respond(table, &query(question), &asker, &mut reply);
    let message = Message::from_vec(&reply).ok();
    let records = |records: &[Record]| records.iter().map(record_line).collect::<Vec<_>>();
    let metadata = message.as_ref().map(|message| &message.metadata);
    ReplyStory {
        transport: transport.to_string(),
        outcome: outcome.to_string(),
        rcode: metadata.map(|metadata| rcode(metadata.response_code)),
        authoritative: metadata.is_some_and(|metadata| metadata.authoritative),
        truncated: metadata.is_some_and(|metadata| metadata.truncation),
        octets: reply.len(),
        answers: message.as_ref().map_or_else(Vec::new, |message| records(&message.answers)),
        authorities: message.as_ref().map_or_else(Vec::new, |message| records(&message.authorities)),
        additionals: message.as_ref().map_or_else(Vec::new, |message| records(&message.additionals)),
        extended_errors: message.as_ref().map_or_else(Vec::new, extended_errors),
    }
}

/// The query, with an empty OPT so that extended errors are told.
fn query(question: &Question) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(wire_name(&question.name));
    packet.extend(u16::from(question.rtype).to_be_bytes());
    packet.extend([0, 1]);
    packet.push(0);
    packet.extend(u16::from(RecordType::OPT).to_be_bytes());
    packet.extend(UDP_SIZE.to_be_bytes());
    packet.extend([0; 6]);
    packet
}

/// As its mnemonic, the way dig prints it.
pub(crate) fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => other.to_string(),
    }
}

fn record_line(record: &Record) -> String {
    format!("{} {} IN {} {}", record.name, record.ttl, record.record_type(), record.data)
}

fn extended_errors(message: &Message) -> Vec<String> {
    let options = message.edns.iter().flat_map(|edns| edns.options().get_all(EdnsCode::Unknown(EXTENDED_ERROR)));
    let told = |option: &EdnsOption| match option {
        EdnsOption::Unknown(_, data) => {
            let (code, text) = data.split_at_checked(2)?;
            let code = u16::from_be_bytes(code.try_into().ok()?);
            Some(format!("{code}: {}", String::from_utf8_lossy(text)))
        }
        _ => None,
    };
    options.filter_map(told).collect()
}
