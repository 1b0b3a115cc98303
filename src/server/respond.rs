//! One answer to one packet: the same for every transport and for tests. In one piece, so that the way of a usual query
//! and where it leaves it for the rarer ones are seen together.

use std::sync::Arc;

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{
    Asker, Counters, General, Outcome, Settings, Transport,
    chaos::{self, CLASS_CHAOS},
    edns::{self, Edns, Teller, Told},
    limiter::Limiter,
    malformed::refuse_bad,
    query::{CLASS_ANY, CLASS_IN, NameBuffer, Parsed, Query, is_no_query, parse, parse_usual},
    reply::{Reply, outcome_of},
    tally::{Block, Tally},
    tap::Tap,
};
use crate::{
    model::Verdict,
    table::{Answer, Dealer, Found, Remark, Table, ZoneInTable},
};

/// One worker's answering state. A worker owns it, so nothing in it is shared.
///
/// Answering a query that the Table holds takes no lock, no allocation (once `out` has grown), a clock only for cookies
/// and rate limiting, and writes to no memory that another worker writes to.
pub struct Responder {
    dealer: Dealer,
    general: General,
    tally: Tally,
    settings: Arc<Settings>,
    names: NameBuffer,
    limiter: Option<Box<Limiter>>,
    tap: Option<Box<Tap>>,
    /// Whether there is anything more to do with replies: they are limited, or logged.
    has_after: bool,
    /// Whether there is to be a limiter wherever the settings have a limit.
    limits_rate: bool,
}

impl Responder {
    /// A responder; the seed decides where its cursors start.
    pub fn new(counters: &Counters, settings: &Arc<Settings>, seed: u64) -> Self {
        let tally = counters.worker();
        let tap = settings.tapped.map(|share| counters.taps().tap(share, seed.rotate_left(2), tally.block().clone()));
        Responder {
            settings: settings.clone(),
            general: General::new(seed.rotate_left(1)),
            dealer: Dealer::new(seed),
            tally,
            names: NameBuffer::default(),
            limiter: None,
            has_after: tap.is_some(),
            tap,
            limits_rate: false,
        }
    }

    /// The same that limits the rate of its replies, where the operator says so: for datagrams, whose senders may be
    /// forged.
    pub fn limiting_rate(mut self) -> Self {
        self.limits_rate = true;
        self.set_limiter();
        self
    }

    fn set_limiter(&mut self) {
        self.limiter = Limiter::new(&self.settings, self.tally.block().clone());
        self.has_after = self.limiter.is_some() || self.tap.is_some();
    }

    /// Goes by these settings from now on; whether they are others than before. What was counted towards a limit that
    /// stays the same goes on.
    #[inline]
    pub(super) fn adopt(&mut self, settings: &Arc<Settings>) -> bool {
        let is_new = !Arc::ptr_eq(&self.settings, settings);
        if is_new {
            self.replace_settings(settings.clone());
        }
        is_new
    }

    #[cold]
    fn replace_settings(&mut self, settings: Arc<Settings>) {
        let before = std::mem::replace(&mut self.settings, settings);
        let limit = |of: &Settings| (of.rate_limit.clone(), of.workers);
        if self.limits_rate && limit(&before) != limit(&self.settings) {
            self.set_limiter();
        }
    }

    /// Appends the reply to `packet` to `out` (nothing, when there is none), counts and returns what it became.
    pub fn respond(&mut self, table: &Table, packet: &[u8], asker: &Asker, out: &mut Vec<u8>) -> Outcome {
        let start = out.len();
        // What nearly everybody asks, from where anybody may.
        let usual = match self.settings.is_open_to(asker.source) {
            true => parse_usual(packet, &mut self.names),
            false => None,
        };
        let (outcome, zone) = match usual {
            Some(query) => match compiled(table, &mut self.dealer, &mut self.tally, &query, asker, None, out) {
                Some(became) => became,
                // Of a copy, so that the query itself stays in registers.
                None => generally(&self.general, &self.settings, &mut self.tally, table, &{ query }, asker, out),
            },
            None if is_no_query(packet) => unnamed(Outcome::Dropped),
            None => self.respond_rarely::<true>(table, packet, asker, out),
        };
        self.tally.count(asker.transport, outcome, zone);
        if self.has_after {
            self.after(table, packet, asker, (outcome, zone), out, start);
        }
        outcome
    }

    /// Limits what is sent, and copies it for the log. The reply stands in `out`, from `start` on.
    #[cold]
    fn after(
        &mut self,
        table: &Table,
        packet: &[u8],
        asker: &Asker,
        (outcome, zone): Became,
        out: &mut Vec<u8>,
        start: usize,
    ) {
        if let Some(limiter) = &mut self.limiter {
            limiter.judge(table, packet, asker, outcome, out, start);
        }
        if let Some(tap) = &mut self.tap {
            tap.copy(packet, out.get(start..).unwrap_or_default(), asker, outcome, zone);
        }
    }

    /// The same with every well-formed query answered by the general path, nothing counted and nothing limited: for
    /// tests, and for fuzz/.
    #[doc(hidden)]
    pub fn respond_generally(&mut self, table: &Table, packet: &[u8], asker: &Asker, out: &mut Vec<u8>) -> Outcome {
        self.respond_rarely::<false>(table, packet, asker, out).0
    }

    /// Decides about a packet of any kind.
    #[inline(never)]
    fn respond_rarely<const COMPILED: bool>(
        &mut self,
        table: &Table,
        packet: &[u8],
        asker: &Asker,
        out: &mut Vec<u8>,
    ) -> Became {
        let Responder { dealer, general, tally, settings, names, limiter, .. } = self;
        if settings.is_forged(asker.source) {
            return unnamed(Outcome::Dropped);
        }
        let parsed = parse(packet, names);
        let verdict = settings.access.verdict(asker.source.ip());
        match parsed {
            Parsed::Drop => unnamed(Outcome::Dropped),
            _ if verdict == Verdict::Drop => unnamed(Outcome::Denied),
            Parsed::Bad(bad) => {
                let (outcome, is_verified) = refuse_bad(settings, &bad, asker, out);
                limiter.iter_mut().for_each(|limiter| limiter.is_verified = is_verified);
                unnamed(outcome)
            }
            Parsed::Query(query) => {
                let told = match &query.edns {
                    Some(edns) if !edns.options.is_empty() && edns.version == 0 => match told(settings, edns, asker) {
                        Ok(told) => Some(told),
                        Err(edns::Malformed) => {
                            let reply = Reply { query: &query, told: None, transport: asker.transport, table, out };
                            return unnamed(match verdict {
                                Verdict::Refuse => deny(reply),
                                _ => reply.rcode(ResponseCode::FormErr, None),
                            });
                        }
                    },
                    _ => None,
                };
                if verdict == Verdict::Refuse {
                    let told = told.as_ref();
                    return unnamed(deny(Reply { query: &query, told, transport: asker.transport, table, out }));
                }
                if let (Some(limiter), Some(told)) = (limiter, &told) {
                    limiter.is_verified = told.cookie.is_some_and(|cookie| cookie.is_valid);
                }
                let told = told.as_ref();
                let answering = Answering { table, settings, asker, query: &query, told };
                let became = match answering.before(out) {
                    Some(outcome) => Some(unnamed(outcome)),
                    None if COMPILED => compiled(table, dealer, tally, &query, asker, told, out),
                    None => None,
                };
                match became {
                    Some(became) => became,
                    None => {
                        let (outcome, zone, leader) = answering.general(general, out);
                        if COMPILED {
                            tally.lead(leader);
                        }
                        (outcome, zone)
                    }
                }
            }
        }
    }

    /// What the operator chose about answering.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters of this worker that no query has.
    pub(super) fn counters(&self) -> &Block {
        self.tally.block()
    }

    /// Counts a packet that holds no query to be read.
    pub(super) fn drop_unread(&mut self, transport: Transport) {
        self.tally.count(transport, Outcome::Dropped, 0);
    }
}

/// What a query became, and the number of the zone that it is counted for. A pair of numbers, which comes back in
/// registers.
type Became = (Outcome, u32);

/// Decided before anybody looked for a zone.
#[inline(always)]
fn unnamed(outcome: Outcome) -> Became {
    (outcome, 0)
}

/// What a query with options is told, whatever its answer is.
#[inline(never)]
pub(super) fn told(settings: &Settings, edns: &Edns<'_>, asker: &Asker) -> Result<Told, edns::Malformed> {
    let has_keepalive = asker.transport.has_keepalive();
    let asked = edns::Asked::read(edns.options, settings.cookies.is_some(), has_keepalive)?;
    let teller = Teller {
        source: asker.source.ip(),
        cookies: settings.cookies.as_ref(),
        identity: settings.identity.as_deref(),
        keepalive: asker.keepalive,
        is_encrypted: asker.transport.is_encrypted(),
    };
    Ok(Told::new(&asked, &teller))
}

/// Answers from what is compiled; `None` for what only the general path can answer. All arguments by themselves: a
/// structure of them would have to be kept in memory, and be read again after each octet that is written. What is called
/// and not inlined gets copies ([`Reply::apart`]) for the same reason.
#[inline(always)]
fn compiled(
    table: &Table,
    dealer: &mut Dealer,
    tally: &mut Tally,
    query: &Query<'_>,
    asker: &Asker,
    told: Option<&Told>,
    out: &mut Vec<u8>,
) -> Option<Became> {
    if is_unusual(query.qtype) {
        return None;
    }
    let reply = Reply { query, told, transport: asker.transport, table, out };
    let (zone, entry) = match table.find(query.name) {
        Found::Outside => {
            let refused = |reply: Reply<'_, '_>| reply.rcode(ResponseCode::Refused, Some(&Remark::NOT_AUTHORITATIVE));
            return Some(unnamed(reply.apart(refused)));
        }
        Found::Missing(zone) => (zone, None),
        Found::Name(zone, entry) => (zone, Some(entry)),
    };
    if !zone.zone.source.config.access.is_open()
        && let denied @ (Verdict::Refuse | Verdict::Drop) = zone_verdict(zone, asker)
    {
        return Some((reply.apart(|reply| deny_by(denied, reply)), zone.meter));
    }
    zone.zone.source.demand.note();
    let negative = |rcode| move |reply: Reply<'_, '_>| reply.negative(zone, rcode);
    let Some(entry) = entry else { return Some((reply.apart(negative(ResponseCode::NXDomain)), zone.meter)) };
    let outcome = match zone.zone.answer(entry, query.qtype, asker.source.ip()) {
        Some(Answer::Dealt(index)) => {
            let dealt = &zone.zone.dealt[*index];
            let shape = dealt.deck.shape_for(asker.source.ip());
            let slot = zone.first_slot + dealt.slot + shape as usize;
            let row = dealt.deck.row(dealer.next(slot, dealt.deck.rows()), shape);
            let outcome = reply.row(row.octets, row.records, dealt.remark.as_deref());
            if outcome == Outcome::Answered {
                tally.lead(row.leader);
            }
            outcome
        }
        Some(Answer::Fixed(body)) => {
            let is_list = query.qtype == u16::from(RecordType::SRV);
            reply.apart(|reply| reply.fixed(zone, body, is_list))
        }
        Some(Answer::Unready(remark)) => reply.apart(|reply| reply.rcode(ResponseCode::ServFail, remark.as_deref())),
        // An answer for a view is none of these inside; the general path has no answer for it either.
        Some(Answer::Explain(_) | Answer::ByView(_)) => return None,
        None if entry.alias.is_some() => return None,
        None => reply.apart(negative(ResponseCode::NoError)),
    };
    Some((outcome, zone.meter))
}

/// Answers a usual query through hickory.
#[cold]
fn generally(
    general: &General,
    settings: &Settings,
    tally: &mut Tally,
    table: &Table,
    query: &Query<'_>,
    asker: &Asker,
    out: &mut Vec<u8>,
) -> Became {
    let (outcome, zone, leader) = Answering { table, settings, asker, query, told: None }.general(general, out);
    tally.lead(leader);
    (outcome, zone)
}

/// What a zone's own rules say of an asker.
#[cold]
fn zone_verdict(zone: &ZoneInTable, asker: &Asker) -> Verdict {
    zone.zone.source.config.access.verdict(asker.source.ip())
}

/// The reply to whom rules keep out.
#[cold]
fn deny_by(verdict: Verdict, reply: Reply<'_, '_>) -> Outcome {
    if verdict == Verdict::Drop { Outcome::Denied } else { deny(reply) }
}

/// One well-formed query that is looked at closely.
struct Answering<'a> {
    table: &'a Table,
    settings: &'a Settings,
    asker: &'a Asker,
    query: &'a Query<'a>,
    told: Option<&'a Told>,
}

impl<'a> Answering<'a> {
    #[inline(always)]
    fn reply<'o>(&self, out: &'o mut Vec<u8>) -> Reply<'a, 'o> {
        let Answering { table, query, told, asker, .. } = *self;
        Reply { query, told, transport: asker.transport, table, out }
    }

    /// What is decided before any name is looked up.
    #[inline(always)]
    fn before(&self, out: &mut Vec<u8>) -> Option<Outcome> {
        let query = self.query;
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Some(self.reply(out).rcode(ResponseCode::BADVERS, None));
        }
        if let Some(told) = self.told
            && self.asker.transport.is_datagram()
            && self.settings.needs_cookie(told)
        {
            return Some(self.reply(out).rcode(ResponseCode::BADCOOKIE, None));
        }
        if !matches!(query.qclass, CLASS_IN | CLASS_ANY) {
            return Some(self.other_class(out));
        }
        None
    }

    #[cold]
    fn other_class(&self, out: &mut Vec<u8>) -> Outcome {
        let reply = self.reply(out);
        let known = (self.query.qclass == CLASS_CHAOS)
            .then(|| chaos::answer(self.settings, self.query.name, self.query.qtype))
            .flatten();
        match known {
            Some(record) => reply.row(&record, 1, None),
            None => reply.rcode(ResponseCode::Refused, Some(&Remark::NOT_SUPPORTED)),
        }
    }

    /// Answers through hickory: the outcome, the numbers of the zone and of the node that leads.
    #[cold]
    fn general(&self, general: &General, out: &mut Vec<u8>) -> (Outcome, u32, u32) {
        let found = self.table.find(self.query.name);
        let meter = match found {
            Found::Missing(zone) | Found::Name(zone, _) => zone.meter,
            Found::Outside => 0,
        };
        if let Found::Missing(zone) | Found::Name(zone, _) = found
            && let denied @ (Verdict::Refuse | Verdict::Drop) = zone_verdict(zone, self.asker)
        {
            return (deny_by(denied, self.reply(out)), meter, 0);
        }
        // An explanation is work that grows with the cluster, and too long for a forger's victim anyway.
        if let Found::Name(zone, entry) = found
            && let Some(Answer::Explain(_)) = zone.zone.answer(entry, self.query.qtype, self.asker.source.ip())
            && self.reply(out).may_be_forged()
        {
            return (self.reply(out).truncated(ResponseCode::NoError), meter, 0);
        }
        let start = out.len();
        let room = self.reply(out).room();
        let Some(written) = general.answer(self.table, self.query, self.asker, room, out) else {
            return (self.reply(out).rcode(ResponseCode::ServFail, None), meter, 0);
        };
        // What is said of an answer comes with it.
        let remark = written.remark.as_ref().filter(|_| !written.is_truncated);
        self.reply(out).written(written.rcode, remark, start);
        let outcome =
            if written.is_truncated { Outcome::Truncated } else { outcome_of(written.rcode, written.has_answers) };
        (outcome, meter, written.leader)
    }
}

/// REFUSED, since the asker may not ask this.
#[cold]
fn deny(reply: Reply<'_, '_>) -> Outcome {
    reply.rcode(ResponseCode::Refused, Some(&Remark::PROHIBITED));
    Outcome::Denied
}

/// TKEY, TSIG, IXFR, AXFR, MAILB, MAILA, ANY (RFC 6895 section 3.1): questions about more than one record type.
/// Types between them and 128 are unassigned, and an unknown type is NODATA like any other (RFC 3597 section 3).
pub(super) const META_TYPES: std::ops::RangeInclusive<u16> = 249..=255;

/// Types whose answer is not in the Table.
fn is_unusual(qtype: u16) -> bool {
    qtype == u16::from(RecordType::OPT) || META_TYPES.contains(&qtype)
}
