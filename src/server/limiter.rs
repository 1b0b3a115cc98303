//! Response rate limiting of one worker's replies, once they are written.

use std::{sync::Arc, time::Instant};

use hickory_proto::op::ResponseCode;

use super::{
    Asker, Outcome, Settings, edns,
    query::{NameBuffer, Parsed, parse},
    rate_limit::{Class, Limited, RateLimit},
    reply::{Head, TRUNCATED},
    tally::Block,
};
use crate::table::{Found, Table};

/// What takes replies back, or cuts them, where their kind is sent to its like too often.
pub(super) struct Limiter {
    limit: RateLimit,
    /// When its clock began.
    began: Instant,
    /// Whether the query that is being answered brought a valid cookie.
    pub(super) is_verified: bool,
}

impl Limiter {
    /// The limiter of one worker; `None` where nothing is limited.
    pub(super) fn new(settings: &Settings, counters: Arc<Block>) -> Option<Box<Self>> {
        let limit = RateLimit::new(&settings.rate_limit, settings.workers, counters)?;
        Some(Box::new(Limiter { limit, began: Instant::now(), is_verified: false }))
    }

    /// Judges the reply to a packet, which stands at the end of `out`, from `start` on.
    #[cold]
    pub(super) fn judge(
        &mut self,
        table: &Table,
        packet: &[u8],
        asker: &Asker,
        outcome: Outcome,
        out: &mut Vec<u8>,
        start: usize,
    ) {
        if std::mem::take(&mut self.is_verified) || !asker.transport.is_datagram() || out.len() == start {
            return;
        }
        let Some(class) = Class::of(outcome) else { return };
        let mut names = NameBuffer::default();
        let (zone, echo, edns) = match parse(packet, &mut names) {
            Parsed::Query(query) => (zone_number(table, query.name), query.echo, query.edns),
            Parsed::Bad(bad) => (0, bad.echo, bad.edns),
            Parsed::Drop => return,
        };
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match self.limit.check(asker.source.ip(), class, zone, now) {
            Limited::Pass => {}
            Limited::Drop => out.truncate(start),
            // As long as the query at most, so that nothing is gained by forging it.
            Limited::Slip => {
                out.truncate(start);
                let asked = packet.first_chunk().map_or(0, |head| u32::from_be_bytes(*head));
                let head = Head { asked, echo, edns: &edns, rcode: ResponseCode::NoError, flags: TRUNCATED };
                head.write([0; 3], out);
                edns.iter().for_each(|edns| edns::append_opt(out, edns, 0));
            }
        }
    }
}

/// A number for the zone that answers for a name; 0 for none.
fn zone_number(table: &Table, name: &[u8]) -> u64 {
    match table.find(name) {
        Found::Missing(zone) | Found::Name(zone, _) => Arc::as_ptr(&zone.zone.source) as usize as u64,
        Found::Outside => 0,
    }
}
