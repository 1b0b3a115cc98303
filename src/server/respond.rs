//! One answer to one packet: the same for UDP, TCP and tests.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{
    Counters, General, Outcome,
    counters::WorkerCounters,
    edns::{Edns, OPT_LEN, append_opt, udp_limit},
    query::{Bad, HEADER_LEN, Parsed, Query, Why, parse},
};
use crate::table::{Answer, Body, Dealer, Found, Table, ZoneInTable};

/// QCLASS IN, the only one served.
const CLASS_IN: u16 = 1;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One message of a stream.
    Tcp,
}

/// One worker's answering state. A worker owns it, so nothing in it is shared but the Table.
pub struct Responder {
    table: Arc<ArcSwap<Table>>,
    dealer: Dealer,
    general: General,
    counters: Arc<WorkerCounters>,
}

impl Responder {
    /// A responder that reads this table; the seed decides where its cursors start.
    pub fn new(table: Arc<ArcSwap<Table>>, counters: &Counters, seed: u64) -> Self {
        Responder {
            general: General::new(table.clone(), seed.rotate_left(1)),
            table,
            dealer: Dealer::new(seed),
            counters: counters.worker(),
        }
    }

    /// Writes the reply to `packet` into `out` (emptied first; left empty when there is none), counts and returns what
    /// it became.
    pub fn respond(&mut self, packet: &[u8], source: SocketAddr, transport: Transport, out: &mut Vec<u8>) -> Outcome {
        out.clear();
        let outcome = match parse(packet) {
            Parsed::Drop => Outcome::Dropped,
            Parsed::Bad(bad) => refuse_bad(&bad, out),
            Parsed::Query(query) => self.answer(&query, source, transport, out),
        };
        self.counters.count(outcome);
        outcome
    }

    fn answer(&mut self, query: &Query<'_>, source: SocketAddr, transport: Transport, out: &mut Vec<u8>) -> Outcome {
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Reply::to(query, transport, out).rcode(ResponseCode::BADVERS, false);
        }
        if query.qclass != CLASS_IN {
            return Reply::to(query, transport, out).rcode(ResponseCode::Refused, false);
        }
        if is_unusual(query.qtype) {
            return self.general.answer(query, source, transport, out);
        }
        let table = self.table.load();
        let reply = Reply::to(query, transport, out);
        match table.find(query.name.as_slice()) {
            Found::Outside => reply.rcode(ResponseCode::Refused, false),
            Found::Missing(zone) => {
                zone.zone.source.demand.note();
                reply.negative(zone, ResponseCode::NXDomain)
            }
            Found::Name(zone, entry) => {
                zone.zone.source.demand.note();
                match entry.answer(query.qtype) {
                    Some(Answer::Dealt(index)) => {
                        let dealt = &zone.zone.dealt[*index];
                        let shape = dealt.deck.shape_for(source.ip());
                        let slot = zone.first_slot + dealt.slot + shape as usize;
                        let (row, records) = dealt.deck.row(self.dealer.next(slot, dealt.deck.rows()), shape);
                        reply.row(row, records)
                    }
                    Some(Answer::Fixed(body)) => reply.body(zone, body),
                    Some(Answer::Unready) => reply.rcode(ResponseCode::ServFail, false),
                    Some(Answer::Explain(_)) => self.general.answer(query, source, transport, out),
                    None if entry.alias.is_some() => self.general.answer(query, source, transport, out),
                    None => reply.negative(zone, ResponseCode::NoError),
                }
            }
        }
    }
}

/// TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY (RFC 6895 section 3.1): questions about more than one record type.
/// Types between them and 128 are unassigned, and an unknown type is NODATA like any other (RFC 3597 section 3).
pub(super) const META_TYPES: std::ops::RangeInclusive<u16> = 249..=255;

/// Types whose answer is not in the Table.
fn is_unusual(qtype: u16) -> bool {
    qtype == u16::from(RecordType::OPT) || META_TYPES.contains(&qtype)
}

fn refuse_bad(bad: &Bad<'_>, out: &mut Vec<u8>) -> Outcome {
    let (rcode, outcome) = match bad.why {
        Why::Malformed => (ResponseCode::FormErr, Outcome::FormErr),
        Why::Opcode => (ResponseCode::NotImp, Outcome::NotImp),
    };
    header(out, bad.head, bad.question);
    finish(out, rcode, false, [0; 3], bad.edns.as_ref());
    outcome
}

/// A reply under way: header and question are written, the rest follows.
struct Reply<'a, 'p> {
    query: &'a Query<'p>,
    out: &'a mut Vec<u8>,
    /// Octets left for records.
    room: usize,
}

impl<'a, 'p> Reply<'a, 'p> {
    fn to(query: &'a Query<'p>, transport: Transport, out: &'a mut Vec<u8>) -> Self {
        header(out, query.head, query.question);
        let limit = match transport {
            Transport::Udp => udp_limit(query.edns.as_ref()),
            Transport::Tcp => usize::from(u16::MAX),
        };
        let opt = if query.edns.is_some() { OPT_LEN } else { 0 };
        Reply { room: limit.saturating_sub(out.len() + opt), query, out }
    }

    /// No records at all.
    fn rcode(self, rcode: ResponseCode, authoritative: bool) -> Outcome {
        finish(self.out, rcode, authoritative, [0; 3], self.query.edns.as_ref());
        outcome_of(rcode, false)
    }

    /// A dealt row.
    fn row(self, row: &[u8], records: u16) -> Outcome {
        if row.len() > self.room {
            return self.truncated(ResponseCode::NoError);
        }
        self.out.extend_from_slice(row);
        finish(self.out, ResponseCode::NoError, true, [records, 0, 0], self.query.edns.as_ref());
        Outcome::Answered
    }

    /// A fixed answer.
    fn body(self, zone: &ZoneInTable, body: &Body) -> Outcome {
        self.append(zone, body, ResponseCode::NoError)
    }

    /// NODATA or NXDOMAIN: the SOA in the authority section.
    fn negative(self, zone: &ZoneInTable, rcode: ResponseCode) -> Outcome {
        self.append(zone, &zone.zone.negative, rcode)
    }

    fn append(self, zone: &ZoneInTable, body: &Body, rcode: ResponseCode) -> Outcome {
        let apex = HEADER_LEN + self.query.name.as_slice().len() - zone.zone.apex_wire.len();
        match body.append_to(self.out, apex as u16, self.room) {
            None => self.truncated(rcode),
            Some(counts) => {
                finish(self.out, rcode, true, counts, self.query.edns.as_ref());
                outcome_of(rcode, counts[0] > 0)
            }
        }
    }

    /// TC, no records, OPT kept: a cut RRset would be taken for a whole one by clients that ignore TC.
    fn truncated(self, rcode: ResponseCode) -> Outcome {
        finish(self.out, rcode, true, [0; 3], self.query.edns.as_ref());
        self.out[2] |= 0x02;
        Outcome::Truncated
    }
}

/// What a reply with this rcode counts as.
pub(super) fn outcome_of(rcode: ResponseCode, has_answers: bool) -> Outcome {
    match rcode {
        ResponseCode::NoError if has_answers => Outcome::Answered,
        ResponseCode::NoError => Outcome::NoData,
        ResponseCode::NXDomain => Outcome::NxDomain,
        ResponseCode::Refused => Outcome::Refused,
        ResponseCode::FormErr => Outcome::FormErr,
        ResponseCode::NotImp => Outcome::NotImp,
        ResponseCode::BADVERS => Outcome::BadVers,
        _ => Outcome::ServFail,
    }
}

/// Header and question. RD is copied (RFC 1035 section 4.1.1), and so is CD: it is the asker's own mark, and the common
/// servers hand it back.
fn header(out: &mut Vec<u8>, head: [u8; 4], question: &[u8]) {
    out.clear();
    out.extend_from_slice(&[head[0], head[1], 0x80 | (head[2] & 0x79), head[3] & 0x10]);
    out.extend_from_slice(&[0, u8::from(!question.is_empty()), 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question);
}

/// The OPT, if the query had one, and the header fields known only now.
fn finish(out: &mut Vec<u8>, rcode: ResponseCode, authoritative: bool, counts: [u16; 3], edns: Option<&Edns>) {
    let [answers, authorities, mut additionals] = counts;
    if let Some(edns) = edns {
        append_opt(out, edns, rcode.high());
        additionals += 1;
    }
    out[2] |= u8::from(authoritative) << 2;
    out[3] |= rcode.low();
    for (at, count) in [(6, answers), (8, authorities), (10, additionals)] {
        out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }
}
