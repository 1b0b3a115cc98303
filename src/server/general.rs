//! The general path: what is too rare to be compiled, answered through hickory from the same Table.
//!
//! The only user of hickory-server. [`General`] can answer every query, the common ones too, so that tests can hold it
//! equal to the compiled path.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt;
use hickory_proto::{
    op::{Header, HeaderCounts, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, HINFO, TXT},
    },
    serialize::binary::BinEncoder,
};
use hickory_server::{
    net::{NetError, xfer::Protocol},
    server::{Request, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponse, MessageResponseBuilder},
};

use super::{
    Asker,
    query::{HEADER_LEN, Query},
    reply::Room,
    respond::META_TYPES,
};
use crate::{
    model::Verdict,
    table::{Answer, Body, Dealer, Found, Remark, Table, ZoneInTable, explain, wire_name},
};

/// Aliases followed for one query; a chain this long is nobody's intention.
const MAX_ALIASES: usize = 8;

/// TTL of explanations, seconds: they tell of this moment.
const EXPLAIN_TTL: u32 = 0;

/// TTL of the answer to ANY, seconds. RFC 8482 section 4.2 leaves it to us; a resolver that caches it asks less often.
const ANY_TTL: u32 = 3600;

/// Answers any query through hickory's types. Cheap to clone; the clones share their cursors.
#[derive(Clone)]
pub struct General {
    dealer: Arc<Mutex<Dealer>>,
}

/// A reply as records.
#[derive(Debug, Default)]
struct Records {
    rcode: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    remark: Option<Remark>,
    /// It holds what grows with the cluster: lists of services, explanations.
    is_list: bool,
    /// The number of the node whose address comes first.
    leader: u32,
}

/// What was written.
pub(super) struct Written {
    pub(super) rcode: ResponseCode,
    pub(super) is_truncated: bool,
    pub(super) has_answers: bool,
    /// What is to be said of it.
    pub(super) remark: Option<Remark>,
    /// The number of the node whose address comes first; 0 for none.
    pub(super) leader: u32,
}

impl General {
    /// The seed decides where its cursors start.
    pub fn new(seed: u64) -> Self {
        General { dealer: Arc::new(Mutex::new(Dealer::new(seed))) }
    }

    /// Appends the answer to one parsed query, up to where its OPT goes, within the room left for records. The query is
    /// put together again from what was parsed, so that hickory never sees what an asker wrote in its options.
    #[cold]
    pub(super) fn answer(
        &self,
        table: &Table,
        query: &Query<'_>,
        asker: &Asker,
        room: Room,
        out: &mut Vec<u8>,
    ) -> Option<Written> {
        let mut packet = Vec::with_capacity(query.echo.len());
        packet.extend_from_slice(&query.head.to_be_bytes());
        packet.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(query.question());
        let protocol = if asker.transport.is_datagram() { Protocol::Udp } else { Protocol::Tcp };
        let request = Request::from_bytes(packet, asker.source, protocol).ok()?;
        let question_len = query.question().len();
        let records = self.records(table, &request);
        let room = if records.is_list { room.lists } else { room.usual };
        let limit = u16::try_from(HEADER_LEN + question_len + room).unwrap_or(u16::MAX);
        let sink = Sink { limit, question_len, reply: Arc::default() };
        // Nothing in it waits for anything, so the future is ready at once.
        let info = reply(&records, &request, sink.clone()).now_or_never()?;
        let mut written = sink.reply.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() < HEADER_LEN {
            return None;
        }
        out.append(&mut written);
        Some(Written {
            rcode: info.response_code,
            is_truncated: info.truncation,
            has_answers: info.counts().answers > 0,
            remark: records.remark,
            leader: if info.truncation { 0 } else { records.leader },
        })
    }

    /// Decides a reply.
    fn records(&self, table: &Table, request: &Request) -> Records {
        let refused = |rcode, remark| Records { rcode, remark, ..Records::default() };
        let Ok(info) = request.request_info() else { return refused(ResponseCode::FormErr, None) };
        match info.query.query_type() {
            RecordType::OPT => return refused(ResponseCode::FormErr, None),
            RecordType::AXFR | RecordType::IXFR => return refused(ResponseCode::Refused, Some(Remark::NOT_SUPPORTED)),
            RecordType::ANY => {}
            // TKEY, TSIG, MAILB, MAILA: meta types that ask for a service we do not have.
            other if META_TYPES.contains(&u16::from(other)) => {
                return refused(ResponseCode::NotImp, Some(Remark::NOT_SUPPORTED));
            }
            _ => {}
        }
        let name = info.query.original().name().clone();
        let mut records = Records::default();
        self.name(table, name, info.query.query_type(), info.src, &mut records);
        records
    }

    /// Answers for a name, following aliases as far as they stay within our zones (RFC 1034 section 4.3.2, step 3a).
    fn name(&self, table: &Table, mut name: Name, qtype: RecordType, source: SocketAddr, records: &mut Records) {
        for step in 0..MAX_ALIASES {
            let (zone, entry) = match table.find(&wire_name(&name.to_lowercase())) {
                Found::Outside if step == 0 => {
                    records.rcode = ResponseCode::Refused;
                    records.remark = Some(Remark::NOT_AUTHORITATIVE);
                    return;
                }
                // The alias points away from us; whoever asked goes on from there.
                Found::Outside => return,
                // Or to where the asker may not look; it is told so when it goes there.
                Found::Missing(zone) | Found::Name(zone, _) if step > 0 && !may_ask(zone, source) => return,
                Found::Missing(zone) => {
                    zone.zone.source.demand.note();
                    records.rcode = ResponseCode::NXDomain;
                    records.negative(zone, &name);
                    return;
                }
                Found::Name(zone, entry) => (zone, entry),
            };
            zone.zone.source.demand.note();
            records.authoritative = true;
            if qtype == RecordType::ANY && !entry.answers.is_empty() {
                // RFC 8482 section 4.2: one synthesised HINFO record instead of everything the name has.
                let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
                records.answers.push(Record::from_rdata(name, ANY_TTL, data));
                return;
            }
            let answer = |rtype: RecordType| zone.zone.answer(entry, u16::from(rtype), source.ip());
            match (answer(qtype), &entry.alias) {
                (Some(answer), _) => return self.add(zone, answer, name, qtype, source, records),
                (None, Some(target)) => {
                    if let Some(answer) = answer(RecordType::CNAME) {
                        self.add(zone, answer, name, RecordType::CNAME, source, records);
                    }
                    // A loop through a wildcard or another zone is not found at load: once around tells it all.
                    if records.answers.iter().any(|record| record.name == *target) {
                        return;
                    }
                    name = target.clone();
                }
                (None, None) => return records.negative(zone, &name),
            }
        }
    }

    /// Adds one compiled answer, as records of `name`.
    fn add(
        &self,
        zone: &ZoneInTable,
        answer: &Answer,
        name: Name,
        qtype: RecordType,
        source: SocketAddr,
        records: &mut Records,
    ) {
        match answer {
            Answer::Dealt(index) => {
                let dealt = &zone.zone.dealt[*index];
                records.remark = dealt.remark.as_deref().cloned();
                let shape = dealt.deck.shape_for(source.ip());
                let slot = zone.first_slot + dealt.slot + shape as usize;
                let row = self.dealer.lock().unwrap_or_else(PoisonError::into_inner).next(slot, dealt.deck.rows());
                let row = dealt.deck.row(row, shape);
                let record_len = row.octets.len() / usize::from(row.records.max(1));
                records.leader = row.leader;
                records
                    .answers
                    .extend(row.octets.chunks_exact(record_len).filter_map(|bytes| address_record(&name, bytes)));
            }
            Answer::Fixed(body) => {
                records.remark = body.remark().cloned();
                records.is_list |= qtype == RecordType::SRV;
                let Some(message) = decoded(zone, body, &name, qtype) else { return };
                records.answers.extend(message.answers);
                records.authorities.extend(message.authorities);
                records.additionals.extend(message.additionals);
            }
            Answer::Unready(remark) => {
                records.remark = remark.as_deref().cloned();
                records.rcode = ResponseCode::ServFail;
                records.authoritative = false;
                records.answers.clear();
            }
            Answer::Explain(chain) => {
                records.is_list = true;
                let record = |line| Record::from_rdata(name.clone(), EXPLAIN_TTL, RData::TXT(TXT::new(vec![line])));
                records.answers.extend(explain(&zone.zone, *chain, source.ip()).into_iter().map(record));
            }
            // Never inside another one of its kind.
            Answer::ByView(_) => {}
        }
    }
}

impl Records {
    /// The SOA of the zone, in the authority section.
    fn negative(&mut self, zone: &ZoneInTable, name: &Name) {
        self.authoritative = true;
        if let Some(message) = decoded(zone, &zone.zone.negative, name, RecordType::SOA) {
            self.authorities.extend(message.authorities);
        }
    }
}

/// Whether a zone's own rules let the asker ask for it.
fn may_ask(zone: &ZoneInTable, source: SocketAddr) -> bool {
    zone.zone.source.config.access.verdict(source.ip()) == Verdict::Allowed
}

/// One record of a dealt row: pointer, type, class, TTL, length, address.
fn address_record(name: &Name, bytes: &[u8]) -> Option<Record> {
    let ttl = u32::from_be_bytes(bytes.get(6..10)?.try_into().ok()?);
    let data = match bytes.get(12..)? {
        v4 if v4.len() == 4 => RData::A(A::from(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?))),
        v6 => RData::AAAA(AAAA::from(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(v6).ok()?))),
    };
    Some(Record::from_rdata(name.clone(), ttl, data))
}

/// A compiled body read back into records, behind a question for `name`.
fn decoded(zone: &ZoneInTable, body: &Body, name: &Name, qtype: RecordType) -> Option<Message> {
    // Called an update (RFC 2136), since hickory takes records without data (RFC 3597 section 5) in no other message.
    let mut bytes = vec![0, 0, 0xA8, 0, 0, 1];
    body.counts().iter().for_each(|count| bytes.extend_from_slice(&count.to_be_bytes()));
    // A wildcard's body or an alias' has the same form; its pointers to the apex need a name that ends in the apex.
    let wire = wire_name(name);
    let apex = 12 + wire.len().checked_sub(zone.zone.apex_wire.len())?;
    bytes.extend_from_slice(&wire);
    bytes.extend_from_slice(&u16::from(qtype).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    body.within(usize::from(u16::MAX))?.append_to(&mut bytes, u16::try_from(apex).ok()?);
    Message::from_vec(&bytes).ok()
}

/// Writes a reply to the sink.
async fn reply(records: &Records, request: &Request, mut sink: impl ResponseHandler) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = records.rcode;
    metadata.authoritative = records.authoritative;
    let response = MessageResponseBuilder::new(&request.queries, None).build(
        metadata,
        &records.answers,
        &records.authorities,
        [],
        &records.additionals,
    );
    match sink.send_response(response).await {
        Ok(info) => info,
        Err(error) => {
            tracing::debug!(%error, "a reply could not be written");
            let mut metadata = Metadata::new(request.metadata.id, MessageType::Response, OpCode::Query);
            metadata.response_code = ResponseCode::ServFail;
            Header { metadata, counts: HeaderCounts::default() }.into()
        }
    }
}

/// Takes hickory's response as bytes, within a size.
#[derive(Clone)]
struct Sink {
    limit: u16,
    question_len: usize,
    reply: Arc<Mutex<Vec<u8>>>,
}

#[async_trait::async_trait]
impl ResponseHandler for Sink {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(self.limit);
        let info = response.destructive_emit(&mut encoder)?;
        if info.truncation {
            // hickory keeps the records that fit; a cut RRset would be taken for a whole one by clients that ignore TC.
            bytes.truncate(HEADER_LEN + self.question_len);
            bytes[6..HEADER_LEN].fill(0);
        }
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
        Ok(info)
    }
}
