//! What a transport must know of a message's records, read where they are.

/// Octets of a header.
const HEADER: usize = 12;

/// Octets after a record's name: type, class, TTL, length.
const RECORD_HEAD: usize = 10;

const SOA: u16 = 6;
const OPT: u16 = 41;

/// edns-tcp-keepalive (RFC 7828).
const KEEPALIVE: u16 = 11;

/// TC, below the id in the first four octets.
const TRUNCATED: u32 = 0x0200;

/// Seconds for which an HTTP cache may keep a reply (RFC 8484 section 5.1): the smallest TTL among its answers, or as
/// long as it tells that there are none (RFC 2308 section 5). `None` for what should not be kept: errors, and whatever
/// cannot be read.
pub(super) fn freshness(reply: &[u8]) -> Option<u32> {
    let flags = u32::from_be_bytes(*reply.first_chunk()?);
    let mut rcode = flags & 0xF;
    let mut seconds: Option<u32> = None;
    for record in Records::of(reply)? {
        let record = record?;
        let lasts = match (record.section, record.rtype) {
            (_, OPT) => {
                rcode |= record.ttl >> 24 << 4;
                continue;
            }
            (Section::Answer, _) => record.ttl,
            (Section::Authority, SOA) => record.ttl.min(u32::from_be_bytes(*record.data.last_chunk()?)),
            _ => continue,
        };
        seconds = Some(seconds.unwrap_or(u32::MAX).min(lasts));
    }
    // NOERROR and NXDOMAIN, whole: all else is a failure of this moment.
    if matches!(rcode, 0 | 3) && flags & TRUNCATED == 0 { seconds } else { None }
}

/// Whether a query has the option edns-tcp-keepalive, which has no place on QUIC (RFC 9250 section 5.5.2).
pub(super) fn has_keepalive(query: &[u8]) -> bool {
    let Some(records) = Records::of(query) else { return false };
    records.flatten().filter(|record| record.rtype == OPT).any(|record| {
        let mut options = record.data;
        while let Some(([code @ .., high, low], rest)) = options.split_first_chunk::<4>() {
            if u16::from_be_bytes(*code) == KEEPALIVE {
                return true;
            }
            options = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).unwrap_or_default();
        }
        false
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Answer,
    Authority,
    Additional,
}

/// One record; its name is of no interest.
struct Record<'m> {
    section: Section,
    rtype: u16,
    ttl: u32,
    data: &'m [u8],
}

/// The records behind a message's questions. Yields `None` once, as the last, where the message ends too early.
struct Records<'m> {
    rest: &'m [u8],
    /// Left in the answer, authority and additional section.
    left: [u16; 3],
}

impl<'m> Records<'m> {
    /// `None`: the questions cannot be read.
    fn of(message: &'m [u8]) -> Option<Self> {
        let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        for _ in 0..count(4) {
            // QTYPE and QCLASS follow the name.
            rest = after_name(rest)?.get(4..)?;
        }
        Some(Records { rest, left: [count(6), count(8), count(10)] })
    }

    fn read(&mut self, section: Section) -> Option<Record<'m>> {
        let (head, rest) = after_name(self.rest)?.split_first_chunk::<RECORD_HEAD>()?;
        let [rtype @ .., _, _, t0, t1, t2, t3, high, low] = *head;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (data, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Record { section, rtype: u16::from_be_bytes(rtype), ttl: u32::from_be_bytes([t0, t1, t2, t3]), data })
    }
}

impl<'m> Iterator for Records<'m> {
    type Item = Option<Record<'m>>;

    fn next(&mut self) -> Option<Self::Item> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let index = self.left.iter().position(|left| *left > 0)?;
        self.left[index] -= 1;
        let record = self.read(sections[index]);
        if record.is_none() {
            self.left = [0; 3];
        }
        Some(record)
    }
}

/// What follows a name; pointers end it (RFC 1035 section 4.1.4).
fn after_name(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        let (len, rest) = octets.split_first()?;
        match len {
            0 => return Some(rest),
            1..=63 => octets = rest.get(usize::from(*len)..)?,
            0xC0.. => return rest.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reply to a question for `z.`: flags, counts, records.
    fn message(flags: u16, counts: [u8; 3], records: &[&[u8]]) -> Vec<u8> {
        let [answers, authorities, additionals] = counts;
        let mut message = vec![0, 0];
        message.extend(flags.to_be_bytes());
        message.extend([0, 1, 0, answers, 0, authorities, 0, additionals]);
        message.extend([1, b'z', 0, 0, 1, 0, 1]);
        message.extend(records.concat());
        message
    }

    /// A record of the question's name.
    fn record(rtype: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
        let ttl = ttl.to_be_bytes();
        [&[0xC0, 12, 0, rtype, 0, 1], &ttl[..], &[0, data.len() as u8], data].concat()
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        record(6, ttl, &[&[0; 18], &minimum.to_be_bytes()[..]].concat())
    }

    /// An OPT with the upper bits of an rcode.
    fn opt(extended: u8, options: &[u8]) -> Vec<u8> {
        [&[0, 0, 41, 4, 208, extended, 0, 0, 0, 0, options.len() as u8], options].concat()
    }

    #[test]
    fn a_reply_is_fresh_as_long_as_its_shortest_record() {
        let a = |ttl| record(1, ttl, &[10, 0, 0, 1]);
        for (about, expected, message) in [
            ("answers", Some(5), message(0x8400, [2, 0, 1], &[&a(60), &a(5), &opt(0, &[])])),
            ("additional records do not count", Some(60), message(0x8400, [1, 0, 1], &[&a(60), &a(1)])),
            ("a TTL of zero", Some(0), message(0x8400, [1, 0, 0], &[&a(0)])),
            ("no such name", Some(7), message(0x8403, [0, 1, 0], &[&soa(30, 7)])),
            ("no such type", Some(3), message(0x8400, [0, 1, 1], &[&soa(3, 7), &opt(0, &[])])),
            ("an alias to nothing", Some(7), message(0x8403, [1, 1, 0], &[&a(60), &soa(30, 7)])),
            ("nothing told", None, message(0x8400, [0, 0, 1], &[&opt(0, &[])])),
            ("SERVFAIL", None, message(0x8402, [1, 0, 0], &[&a(60)])),
            ("an extended rcode", None, message(0x8400, [1, 0, 1], &[&a(60), &opt(1, &[])])),
            ("TC", None, message(0x8600, [1, 0, 0], &[&a(60)])),
            ("cut", None, message(0x8400, [2, 0, 0], &[&a(60)])),
            ("no header", None, vec![0; 11]),
            ("a short SOA", None, message(0x8403, [0, 1, 0], &[&record(6, 1, &[1, 2, 3])])),
        ] {
            assert_eq!(freshness(&message), expected, "{about}");
        }
    }

    #[test]
    fn keepalive_is_found_among_other_options() {
        for (expected, options) in [
            (false, &[][..]),
            (true, &[0, 11, 0, 0]),
            (true, &[0, 10, 0, 2, 0, 11, 0, 11, 0, 2, 1, 1]),
            (false, &[0, 10, 0, 4, 0, 11, 0, 0]),
            (false, &[0, 10, 0, 9, 0, 11, 0, 0]),
            (false, &[0, 11]),
        ] {
            assert_eq!(has_keepalive(&message(0, [0, 0, 1], &[&opt(0, options)])), expected, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(mut message: Vec<u8>, counts: [u8; 4]) {
            if let Some(header) = message.get_mut(4..12) {
                counts.iter().enumerate().for_each(|(at, count)| header[at * 2] = count & 1);
            }
            freshness(&message);
            has_keepalive(&message);
        }
    }
}
