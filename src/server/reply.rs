//! Writing replies.

use hickory_proto::op::ResponseCode;

use super::{
    Outcome, Transport,
    chaos::CLASS_CHAOS,
    edns::{
        EXTENDED_ERROR, Edns, OPT_LEN, OPTION_HEAD, PADDING, PADDING_BLOCK, Told, ZONE_VERSION, ZONE_VERSION_LEN,
        append_opt, udp_limit,
    },
    query::{HEADER_LEN, Query},
};
use crate::table::{Body, Found, Remark, Table, ZoneInTable};

/// Header flags (RFC 1035 section 4.1.1), below the id in the first four octets.
const RESPONSE: u32 = 0x8000;
const AUTHORITATIVE: u32 = 0x0400;
pub(super) const TRUNCATED: u32 = 0x0200;

/// What a reply has from its query: the id, the opcode, RD (RFC 1035 section 4.1.1), and CD, which is the asker's own
/// mark and handed back by the common servers.
const COPIED: u32 = 0xFFFF_7910;

/// How many times as long as its query a datagram may be where the asker's address may be forged and the answer grows
/// with the cluster: lists of services, explanations. The asker comes back over TCP, or with a cookie. What a zone file
/// says is its author's decision, and addresses are few.
const MAX_AMPLIFICATION: usize = 5;

/// What every reply begins and ends with.
pub(super) struct Head<'q> {
    /// The query's id and flags.
    pub(super) asked: u32,
    /// Header and question as sent, or the header alone.
    pub(super) echo: &'q [u8],
    pub(super) edns: &'q Option<Edns<'q>>,
    pub(super) rcode: ResponseCode,
    /// [`AUTHORITATIVE`], [`TRUNCATED`].
    pub(super) flags: u32,
}

impl Head<'_> {
    /// Header and question.
    #[inline(always)]
    pub(super) fn write(&self, counts: [u16; 3], out: &mut Vec<u8>) {
        let [answers, authorities, additionals] = counts.map(u64::from);
        let head = (self.asked & COPIED) | RESPONSE | self.flags | u32::from(self.rcode.low());
        let questions = u64::from(self.echo.len() > HEADER_LEN);
        let additionals = additionals + u64::from(self.edns.is_some());
        let counts = questions << 48 | answers << 32 | authorities << 16 | additionals;
        let start = out.len();
        // Header and question at once, then the header as it is to be.
        out.extend_from_slice(self.echo);
        if let Some(header) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<HEADER_LEN>) {
            header[..4].copy_from_slice(&head.to_be_bytes());
            header[4..].copy_from_slice(&counts.to_be_bytes());
        }
    }
}

/// What goes into the OPT of a reply.
pub(super) struct Options<'o> {
    /// Options known before the answer.
    pub(super) told: Option<&'o Told>,
    /// What is to be said of the answer.
    pub(super) remark: Option<&'o Remark>,
    /// The zone that answers, where its version is asked for.
    pub(super) zone: Option<&'o ZoneInTable>,
}

/// Octets a reply may have.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// With everything.
    pub(super) all: usize,
    /// With the remark, which nobody asked for.
    pub(super) remark: usize,
}

/// Appends the OPT of a reply, whose beginning is at `start`. What there is no room for is left out: the remark's text
/// first, then the remark, then the zone's version.
pub(super) fn append_opt_with(
    out: &mut Vec<u8>,
    edns: &Edns<'_>,
    rcode: ResponseCode,
    options: &Options<'_>,
    start: usize,
    limits: Limits,
) {
    let opt_at = out.len();
    append_opt(out, edns, rcode.high());
    if let Some(told) = options.told {
        out.extend_from_slice(told.octets());
    }
    let end_with = |out: &Vec<u8>, len: usize| out.len() - start + OPTION_HEAD + len;
    if let Some(zone) = options.zone.filter(|_| end_with(out, ZONE_VERSION_LEN) <= limits.all) {
        let [a, b, c, d] = zone.zone.epoch.to_be_bytes();
        // The labels of the zone's name, the root's not counted; type 0: the SOA serial (RFC 9660 section 2.1).
        append_option(out, ZONE_VERSION, &[zone.zone.source.config.apex.num_labels(), 0, a, b, c, d]);
    }
    let remark = options.remark.map(|remark| [remark.data(true), remark.data(false)]);
    if let Some(data) = remark.into_iter().flatten().find(|data| end_with(out, data.len()) <= limits.remark) {
        append_option(out, EXTENDED_ERROR, data);
    }
    if options.told.is_some_and(|told| told.padding) && end_with(out, 0) <= limits.all {
        let len = end_with(out, 0);
        let padded = len.next_multiple_of(PADDING_BLOCK).min(limits.all);
        append_option(out, PADDING, &[]);
        let at = out.len() - 2;
        out[at..].copy_from_slice(&((padded - len) as u16).to_be_bytes());
        out.resize(start + padded, 0);
    }
    let len = (out.len() - opt_at - OPT_LEN) as u16;
    out[opt_at + OPT_LEN - 2..][..2].copy_from_slice(&len.to_be_bytes());
}

fn append_option(out: &mut Vec<u8>, code: u16, data: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}

/// Octets left for records.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Of most answers.
    pub(super) usual: usize,
    /// Of those that grow with the cluster.
    pub(super) lists: usize,
}

/// A reply to be written to a well-formed query.
pub(super) struct Reply<'q, 'o> {
    pub(super) query: &'q Query<'q>,
    pub(super) told: Option<&'q Told>,
    pub(super) transport: Transport,
    /// Where a zone's version is looked up.
    pub(super) table: &'q Table,
    pub(super) out: &'o mut Vec<u8>,
}

impl<'q> Reply<'q, '_> {
    /// Hands over the same reply to a copy of the query. What is passed on by reference has to be kept in memory, from
    /// its making on; a copy only from here on.
    #[inline(always)]
    pub(super) fn apart<R>(self, write: impl FnOnce(Reply<'_, '_>) -> R) -> R {
        let query = *self.query;
        let Reply { told, transport, table, out, .. } = self;
        write(Reply { query: &query, told, transport, table, out })
    }

    /// Octets the reply may have.
    #[inline(always)]
    fn limit(&self) -> usize {
        match self.transport.is_datagram() {
            true => udp_limit(self.query.edns.as_ref()),
            false => usize::from(u16::MAX),
        }
    }

    /// Octets left for records within a limit.
    #[inline(always)]
    fn room_in(&self, limit: usize) -> usize {
        let told = self.told.map_or(0, |told| told.octets().len());
        let opt = if self.query.edns.is_some() { OPT_LEN + told } else { 0 };
        limit.saturating_sub(self.query.echo.len() + opt)
    }

    /// Whether somebody else may have sent the query in the asker's name.
    pub(super) fn may_be_forged(&self) -> bool {
        let is_verified = self.told.is_some_and(|told| told.cookie.is_some_and(|cookie| cookie.is_valid));
        self.transport.is_datagram() && !is_verified
    }

    /// Octets the reply may have where it is longer than anybody needs.
    fn cautious_limit(&self) -> usize {
        if !self.may_be_forged() {
            return self.limit();
        }
        let opt = self.query.edns.map_or(0, |edns| OPT_LEN + edns.options.len());
        self.limit().min(MAX_AMPLIFICATION * (self.query.echo.len() + opt))
    }

    /// Octets left for records of answers that grow with the cluster.
    fn cautious_room(&self) -> usize {
        self.room_in(self.cautious_limit())
    }

    /// Octets left for records.
    pub(super) fn room(&self) -> Room {
        Room { usual: self.room_in(self.limit()), lists: self.cautious_room() }
    }

    #[inline]
    fn head(&self, rcode: ResponseCode, flags: u32) -> Head<'q> {
        Head { asked: self.query.head, echo: self.query.echo, edns: &self.query.edns, rcode, flags }
    }

    /// No records at all, and no authority claimed.
    #[cold]
    pub(super) fn rcode(self, rcode: ResponseCode, remark: Option<&Remark>) -> Outcome {
        let start = self.out.len();
        self.head(rcode, 0).write([0; 3], self.out);
        self.end(rcode, remark, start);
        outcome_of(rcode, false)
    }

    /// A dealt row.
    #[inline(always)]
    pub(super) fn row(self, row: &[u8], records: u16, remark: Option<&Remark>) -> Outcome {
        if row.len() > self.room_in(self.limit()) {
            return self.apart(|reply| reply.truncated(ResponseCode::NoError));
        }
        let start = self.out.len();
        self.head(ResponseCode::NoError, AUTHORITATIVE).write([records, 0, 0], self.out);
        self.out.extend_from_slice(row);
        self.end(ResponseCode::NoError, remark, start);
        Outcome::Answered
    }

    /// NODATA or NXDOMAIN: the SOA in the authority section.
    pub(super) fn negative(self, zone: &ZoneInTable, rcode: ResponseCode) -> Outcome {
        let room = self.room_in(self.limit());
        self.body(zone, &zone.zone.negative, rcode, room)
    }

    /// A fixed answer; one that is a list grows with the cluster.
    pub(super) fn fixed(self, zone: &ZoneInTable, body: &Body, is_list: bool) -> Outcome {
        let room = if is_list { self.cautious_room() } else { self.room_in(self.limit()) };
        self.body(zone, body, ResponseCode::NoError, room)
    }

    fn body(self, zone: &ZoneInTable, body: &Body, rcode: ResponseCode, room: usize) -> Outcome {
        let Some(part) = body.within(room) else { return self.truncated(rcode) };
        let start = self.out.len();
        self.head(rcode, AUTHORITATIVE).write(part.counts(), self.out);
        // The apex is the end of the question's name.
        let apex = HEADER_LEN + self.query.name.len() - zone.zone.apex_wire.len();
        part.append_to(self.out, apex as u16);
        self.end(rcode, body.remark(), start);
        outcome_of(rcode, part.counts()[0] > 0)
    }

    /// TC, no records, OPT kept: a cut RRset would be taken for a whole one by clients that ignore TC.
    #[cold]
    pub(super) fn truncated(self, rcode: ResponseCode) -> Outcome {
        let start = self.out.len();
        self.head(rcode, AUTHORITATIVE | TRUNCATED).write([0; 3], self.out);
        self.end(rcode, None, start);
        Outcome::Truncated
    }

    /// What others wrote behind header and question, whose counts are set already but for the OPT's.
    #[cold]
    pub(super) fn written(self, rcode: ResponseCode, remark: Option<&Remark>, start: usize) {
        if self.query.edns.is_some()
            && let Some(additionals) = self.out.get_mut(start + 10..start + 12)
        {
            let count = u16::from_be_bytes([additionals[0], additionals[1]]).saturating_add(1);
            additionals.copy_from_slice(&count.to_be_bytes());
        }
        self.end(rcode, remark, start);
    }

    /// The OPT, if the query had one.
    #[inline(always)]
    fn end(self, rcode: ResponseCode, remark: Option<&Remark>, start: usize) {
        let Some(edns) = &self.query.edns else { return };
        if self.told.is_none() && remark.is_none() {
            return append_opt(self.out, edns, rcode.high());
        }
        let edns = *edns;
        self.apart(|reply| reply.end_with_options(&edns, rcode, remark, start));
    }

    #[inline(never)]
    fn end_with_options(self, edns: &Edns<'_>, rcode: ResponseCode, remark: Option<&Remark>, start: usize) {
        // Only what a zone answers has its version (RFC 9660 section 3.2): who may not ask for one learns nothing of it.
        let is_of_zone = matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::ServFail)
            && self.query.qclass != CLASS_CHAOS;
        let asked = is_of_zone && self.told.is_some_and(|told| told.zone_version);
        let zone = asked.then(|| self.table.find(self.query.name)).and_then(|found| match found {
            Found::Missing(zone) | Found::Name(zone, _) => Some(zone),
            Found::Outside => None,
        });
        let limits = Limits { all: self.limit(), remark: self.cautious_limit() };
        let options = Options { told: self.told, remark, zone };
        append_opt_with(self.out, edns, rcode, &options, start, limits);
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
        ResponseCode::BADCOOKIE => Outcome::BadCookie,
        _ => Outcome::ServFail,
    }
}
