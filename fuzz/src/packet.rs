//! Packets: whatever comes is dropped, or gets one reply that two libraries read, from the compiled path as from the
//! general one.
//!
//! The first octet picks who asks, how, and what the operator chose; see [`super::world`].

use std::{sync::Arc, time::SystemTime};

use alternator_dns::{
    model::Verdict,
    server::{Asker, Counters, NameBuffer, Outcome, Parsed, Query, Responder, Settings, Transport, parse},
    table::Table,
};
use hickory_proto::rr::Name;

use super::{
    reading::{self, Fault, Read},
    reply::{self, Reply},
    world,
};

/// Longest name, octets.
const MAX_NAME: usize = 255;

/// What stands before the reply in the buffer, as a batch of replies or a length might.
const BEFORE: [u8; 3] = [0xEE; 3];

/// Where cursors start.
const SEED: u64 = 5;

/// Checks one packet.
pub fn check(input: &[u8]) -> Outcome {
    let Some((&control, packet)) = input.split_first() else { return Outcome::Dropped };
    let transport = world::transport(control);
    let asked = Asked {
        packet,
        asker: world::asker(control >> 2, transport),
        settings: world::settings(control >> 4),
        table: world::table(control & 0x40 != 0),
    };
    check_asked(&asked).0
}

/// A packet, and all that its reply depends on.
pub struct Asked<'p> {
    pub packet: &'p [u8],
    pub asker: Asker,
    pub settings: &'static Arc<Settings>,
    pub table: &'static Table,
}

impl Asked<'_> {
    /// The reply of the server.
    fn respond(&self) -> (Outcome, Vec<u8>) {
        let mut out = BEFORE.to_vec();
        let outcome = self.responder(SEED).respond(self.table, self.packet, &self.asker, &mut out);
        (outcome, behind(out))
    }

    /// The reply of the general path, its cursors starting where this seed says.
    fn respond_generally(&self, seed: u64) -> (Outcome, Vec<u8>) {
        let mut out = BEFORE.to_vec();
        let outcome = self.responder(seed).respond_generally(self.table, self.packet, &self.asker, &mut out);
        (outcome, behind(out))
    }

    fn responder(&self, seed: u64) -> Responder {
        Responder::new(&Counters::default(), self.settings, seed)
    }

    /// Whether the listener's rules keep the asker out.
    fn is_denied(&self) -> bool {
        self.settings.access.verdict(self.asker.source.ip()) != Verdict::Allowed
    }
}

/// What was appended.
fn behind(mut out: Vec<u8>) -> Vec<u8> {
    assert_eq!(out[..BEFORE.len()], BEFORE, "what stands before the reply");
    out.split_off(BEFORE.len())
}

/// Checks what becomes of a packet on both paths; the reply, read, where there is one.
pub fn check_asked(asked: &Asked<'_>) -> (Outcome, Option<Reply>) {
    let second = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    // Cookies tell the time.
    let before = second();
    let (outcome, reply) = asked.respond();
    // Equal cursors deal equal rows. Those of the general path are seeded otherwise, so that this seed is right where
    // the reply was compiled, and the same one where it came from the general path itself.
    let (mut general_outcome, mut general) = asked.respond_generally(SEED.rotate_right(1));
    if general != reply {
        let (outcome, own) = asked.respond_generally(SEED);
        if own == reply {
            (general_outcome, general) = (outcome, own);
        }
    }
    let is_same_second = before == second();
    let transport = asked.asker.transport;
    let has_keepalive = matches!(transport, Transport::Tcp | Transport::Tls);
    let read = reading::read(asked.packet, has_keepalive);
    let mut names = NameBuffer::default();
    let query = match parse(asked.packet, &mut names) {
        Parsed::Query(query) => Some(query),
        _ => None,
    };
    check_outcome(asked, &read, query.as_ref(), outcome);
    if reply.is_empty() {
        assert!(matches!(outcome, Outcome::Dropped | Outcome::Denied) && general.is_empty(), "no reply: {outcome}");
        return (outcome, None);
    }
    assert_ne!(outcome, Outcome::Dropped);
    let length = reply.len();
    let reply = reply::check(asked.packet, &read, &reply, transport);
    let general_length = general.len();
    let general = reply::check(asked.packet, &read, &general, transport);
    assert_eq!(reply.message.metadata.truncation, outcome == Outcome::Truncated, "TC");
    // The general path writes the name once more, so what just fits does not fit there.
    let is_near_limit = length + MAX_NAME > reply::limit(&read, transport);
    if general_outcome != outcome {
        assert!(is_near_limit && general_outcome == Outcome::Truncated, "{outcome}, generally {general_outcome}");
    } else if is_same_second {
        assert!(general_length <= (length + MAX_NAME).next_multiple_of(reply::BLOCK), "{length}, {general_length}");
        check_same(&reply, &general);
    }
    let options = |query: Query<'_>| query.edns.filter(|edns| edns.version == 0).map(|edns| edns.options.to_vec());
    if let Some(options) = query.map(|query| options(query).unwrap_or_default()) {
        reply::check_options(&options, &reply, length, transport);
        check_cookie(asked, &read, &options, &reply);
    }
    (outcome, Some(reply))
}

/// The two paths say the same, but for padding.
fn check_same(reply: &Reply, general: &Reply) {
    let (one, other) = (&reply.message, &general.message);
    assert_eq!((one.metadata, &one.queries), (other.metadata, &other.queries), "the two paths");
    assert_eq!(one.answers, other.answers, "the two paths");
    assert_eq!((&one.authorities, &one.additionals), (&other.authorities, &other.additionals), "the two paths");
    let unpadded = |reply: &Reply| {
        let options = reply.options.iter().filter(|(code, _)| *code != reply::PADDING);
        options.cloned().collect::<Vec<_>>()
    };
    assert_eq!(unpadded(reply), unpadded(general), "the two paths");
    if unpadded(reply).len() == reply.options.len() {
        assert_eq!(reply.text, general.text, "the two paths");
    }
}

/// What a packet becomes follows from what another reading says of it, but for the names it asks for.
fn check_outcome(asked: &Asked<'_>, read: &Read, query: Option<&Query<'_>>, outcome: Outcome) {
    let has_cookies = asked.settings.cookies.is_some();
    // A source that is one of our own addresses and ports.
    if read.verdict == reading::Verdict::Drop || asked.asker.source == world::asker(3, asked.asker.transport).source {
        return assert_eq!(outcome, Outcome::Dropped, "{:?}", read.verdict);
    }
    let is_well_formed =
        matches!(read.verdict, reading::Verdict::Query | reading::Verdict::Malformed(Fault::OptionData));
    assert_eq!(query.is_some(), is_well_formed, "{:?}", read.verdict);
    let cookie = query.and_then(|query| query.edns).filter(|edns| edns.version == 0);
    let cookie = cookie.and_then(|edns| reply::option(edns.options, reply::COOKIE));
    let is_cookie_sound = cookie.is_none_or(|cookie| matches!(cookie.len(), 8 | 16..=40));
    match read.verdict {
        _ if asked.is_denied() => assert!(matches!(outcome, Outcome::Denied | Outcome::FormErr), "{outcome}"),
        reading::Verdict::Malformed(Fault::OptionData) => assert_eq!(outcome, Outcome::FormErr),
        _ if has_cookies && !is_cookie_sound => assert_eq!(outcome, Outcome::FormErr),
        reading::Verdict::Opcode => assert_eq!(outcome, Outcome::NotImp),
        // How a cookie is asked for.
        reading::Verdict::Malformed(Fault::Questions) if asked.packet[4..6] == [0, 0] => {
            assert!(matches!(outcome, Outcome::FormErr | Outcome::NoData | Outcome::BadCookie | Outcome::BadVers));
        }
        reading::Verdict::Malformed(_) => assert_eq!(outcome, Outcome::FormErr, "{:?}", read.verdict),
        _ => assert_ne!(outcome, Outcome::Dropped, "every query has a reply"),
    }
}

/// A cookie that we gave is good: whoever brings it back is answered, and keeps it.
fn check_cookie(asked: &Asked<'_>, read: &Read, options: &[u8], reply: &Reply) {
    let Some((_, cookie)) = reply.options.iter().find(|(code, _)| *code == reply::COOKIE) else { return };
    let Some(question) = read.question.clone() else { return };
    if reply::option(options, reply::COOKIE) == Some(cookie) {
        return;
    }
    let mut packet = [&asked.packet[..4], &[0, 1, 0, 0, 0, 0, 0, 1], &asked.packet[question]].concat();
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 28, 0, 10, 0, 24]);
    packet.extend(cookie);
    let again = Asked { packet: &packet, ..*asked };
    let (outcome, bytes) = again.respond();
    let read = reading::read(&packet, true);
    let kept = reply::check(&packet, &read, &bytes, asked.asker.transport);
    assert_ne!(outcome, Outcome::BadCookie);
    assert!(kept.options.contains(&(reply::COOKIE, cookie.clone())), "the cookie that was brought back");
}

/// Whether a name lies in the zone that not everybody may ask.
pub fn is_closed(name: &Name) -> bool {
    Name::from_ascii(world::CLOSED).unwrap().zone_of(name)
}
