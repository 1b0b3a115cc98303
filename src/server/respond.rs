//! One answer to one packet: the same for UDP, TCP and tests.

use std::sync::Arc;

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{
    Asker, Counters, General, Outcome, Settings, Transport,
    counters::WorkerCounters,
    edns::{Edns, OPT_LEN, append_opt, udp_limit},
    query::{Bad, HEADER_LEN, NameBuffer, Parsed, Query, Why, parse},
};
use crate::table::{Answer, Body, Dealer, Found, Table, ZoneInTable};

/// QCLASS IN, the only one served.
const CLASS_IN: u16 = 1;

/// Header flags (RFC 1035 section 4.1.1), below the id in the first four octets.
const RESPONSE: u32 = 0x8000;
const AUTHORITATIVE: u32 = 0x0400;
const TRUNCATED: u32 = 0x0200;

/// What a reply has from its query: the id, the opcode, RD (RFC 1035 section 4.1.1), and CD, which is the asker's own
/// mark and handed back by the common servers.
const COPIED: u32 = 0xFFFF_7910;

/// One worker's answering state. A worker owns it, so nothing in it is shared.
///
/// Answering a query that the Table holds takes no lock, no clock, no allocation (once `out` has grown), and writes to
/// no memory that another worker writes to.
pub struct Responder {
    dealer: Dealer,
    general: General,
    counters: Arc<WorkerCounters>,
    settings: Arc<Settings>,
    names: NameBuffer,
}

impl Responder {
    /// A responder; the seed decides where its cursors start.
    pub fn new(counters: &Counters, settings: &Arc<Settings>, seed: u64) -> Self {
        Responder {
            settings: settings.clone(),
            general: General::new(seed.rotate_left(1)),
            dealer: Dealer::new(seed),
            counters: counters.worker(),
            names: NameBuffer::default(),
        }
    }

    /// Appends the reply to `packet` to `out` (nothing, when there is none), counts and returns what it became.
    pub fn respond(&mut self, table: &Table, packet: &[u8], asker: &Asker, out: &mut Vec<u8>) -> Outcome {
        let outcome = match parse(packet, &mut self.names) {
            Parsed::Drop => Outcome::Dropped,
            Parsed::Bad(bad) => refuse_bad(&bad, out),
            Parsed::Query(query) => answer(table, &mut self.dealer, &query, asker, out)
                .unwrap_or_else(|| self.general.answer(table, &query, asker, out)),
        };
        self.counters.count(outcome);
        outcome
    }

    /// What the operator chose about answering.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters of this worker.
    pub(super) fn counters(&self) -> &WorkerCounters {
        &self.counters
    }
}

/// Answers from what is compiled; `None` for what only the general path can answer.
#[inline(always)]
fn answer(table: &Table, dealer: &mut Dealer, query: &Query<'_>, asker: &Asker, out: &mut Vec<u8>) -> Option<Outcome> {
    let reply = Reply::to(query, asker.transport, out);
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return Some(reply.rcode(ResponseCode::BADVERS));
    }
    if query.qclass != CLASS_IN {
        return Some(reply.rcode(ResponseCode::Refused));
    }
    if is_unusual(query.qtype) {
        return None;
    }
    let (zone, entry) = match table.find(query.name) {
        Found::Outside => return Some(reply.rcode(ResponseCode::Refused)),
        Found::Missing(zone) => {
            zone.zone.source.demand.note();
            return Some(reply.negative(zone, ResponseCode::NXDomain));
        }
        Found::Name(zone, entry) => (zone, entry),
    };
    zone.zone.source.demand.note();
    match entry.answer(query.qtype) {
        Some(Answer::Dealt(index)) => {
            let dealt = &zone.zone.dealt[*index];
            let shape = dealt.deck.shape_for(asker.source.ip());
            let slot = zone.first_slot + dealt.slot + shape as usize;
            let (row, records) = dealt.deck.row(dealer.next(slot, dealt.deck.rows()), shape);
            Some(reply.row(row, records))
        }
        Some(Answer::Fixed(body)) => Some(reply.body(zone, body, ResponseCode::NoError)),
        Some(Answer::Unready) => Some(reply.rcode(ResponseCode::ServFail)),
        Some(Answer::Explain(_)) => None,
        None if entry.alias.is_some() => None,
        None => Some(reply.negative(zone, ResponseCode::NoError)),
    }
}

/// TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY (RFC 6895 section 3.1): questions about more than one record type.
/// Types between them and 128 are unassigned, and an unknown type is NODATA like any other (RFC 3597 section 3).
pub(super) const META_TYPES: std::ops::RangeInclusive<u16> = 249..=255;

/// Types whose answer is not in the Table.
fn is_unusual(qtype: u16) -> bool {
    qtype == u16::from(RecordType::OPT) || META_TYPES.contains(&qtype)
}

#[cold]
fn refuse_bad(bad: &Bad<'_>, out: &mut Vec<u8>) -> Outcome {
    let (rcode, outcome) = match bad.why {
        Why::Malformed => (ResponseCode::FormErr, Outcome::FormErr),
        Why::Opcode => (ResponseCode::NotImp, Outcome::NotImp),
    };
    let head = Head { asked: bad.head, question: bad.question, edns: &bad.edns, rcode, flags: 0 };
    head.write([0; 3], out);
    head.write_opt(out);
    outcome
}

/// What every reply begins and ends with.
struct Head<'q> {
    /// The query's id and flags.
    asked: u32,
    question: &'q [u8],
    edns: &'q Option<Edns>,
    rcode: ResponseCode,
    /// [`AUTHORITATIVE`], [`TRUNCATED`].
    flags: u32,
}

impl Head<'_> {
    /// Header and question.
    #[inline(always)]
    fn write(&self, counts: [u16; 3], out: &mut Vec<u8>) {
        let [answers, authorities, additionals] = counts.map(u64::from);
        let head = (self.asked & COPIED) | RESPONSE | self.flags | u32::from(self.rcode.low());
        let questions = u64::from(!self.question.is_empty());
        let additionals = additionals + u64::from(self.edns.is_some());
        let counts = questions << 48 | answers << 32 | authorities << 16 | additionals;
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&head.to_be_bytes());
        header[4..].copy_from_slice(&counts.to_be_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(self.question);
    }

    /// The OPT, if the query had one.
    #[inline]
    fn write_opt(&self, out: &mut Vec<u8>) {
        if let Some(edns) = self.edns {
            append_opt(out, edns, self.rcode.high());
        }
    }
}

/// A reply to be written.
struct Reply<'q, 'o> {
    query: &'q Query<'q>,
    out: &'o mut Vec<u8>,
    /// Octets left for records.
    room: usize,
}

impl<'q, 'o> Reply<'q, 'o> {
    #[inline(always)]
    fn to(query: &'q Query<'q>, transport: Transport, out: &'o mut Vec<u8>) -> Self {
        let limit = if transport.is_datagram() { udp_limit(query.edns.as_ref()) } else { usize::from(u16::MAX) };
        let opt = if query.edns.is_some() { OPT_LEN } else { 0 };
        Reply { room: limit.saturating_sub(HEADER_LEN + query.question.len() + opt), query, out }
    }

    #[inline]
    fn head(&self, rcode: ResponseCode, flags: u32) -> Head<'q> {
        Head { asked: self.query.head, question: self.query.question, edns: &self.query.edns, rcode, flags }
    }

    /// No records at all, and no authority claimed.
    fn rcode(self, rcode: ResponseCode) -> Outcome {
        let head = self.head(rcode, 0);
        head.write([0; 3], self.out);
        head.write_opt(self.out);
        outcome_of(rcode, false)
    }

    /// A dealt row.
    #[inline(always)]
    fn row(self, row: &[u8], records: u16) -> Outcome {
        if row.len() > self.room {
            return self.truncated(ResponseCode::NoError);
        }
        let head = self.head(ResponseCode::NoError, AUTHORITATIVE);
        head.write([records, 0, 0], self.out);
        self.out.extend_from_slice(row);
        head.write_opt(self.out);
        Outcome::Answered
    }

    /// NODATA or NXDOMAIN: the SOA in the authority section.
    fn negative(self, zone: &ZoneInTable, rcode: ResponseCode) -> Outcome {
        self.body(zone, &zone.zone.negative, rcode)
    }

    /// A fixed answer.
    fn body(self, zone: &ZoneInTable, body: &Body, rcode: ResponseCode) -> Outcome {
        let Some(part) = body.within(self.room) else { return self.truncated(rcode) };
        let head = self.head(rcode, AUTHORITATIVE);
        head.write(part.counts(), self.out);
        // The apex is the end of the question's name.
        let apex = HEADER_LEN + self.query.name.len() - zone.zone.apex_wire.len();
        part.append_to(self.out, apex as u16);
        head.write_opt(self.out);
        outcome_of(rcode, part.counts()[0] > 0)
    }

    /// TC, no records, OPT kept: a cut RRset would be taken for a whole one by clients that ignore TC.
    fn truncated(self, rcode: ResponseCode) -> Outcome {
        let head = self.head(rcode, AUTHORITATIVE | TRUNCATED);
        head.write([0; 3], self.out);
        head.write_opt(self.out);
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
