//! Reading a query: only what an answer depends on, in place, with every bound checked.

use super::{
    edns::{self, Edns, OPT_LEN},
    proxy,
};

/// Octets of a DNS header.
pub(super) const HEADER_LEN: usize = 12;

/// Longest name in wire format (RFC 1035 section 2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// QCLASS IN, the only one that zones are of; and ANY, which asks for whichever there is.
pub(super) const CLASS_IN: u16 = 1;
pub(super) const CLASS_ANY: u16 = 255;

const TYPE_OPT: u16 = 41;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'p> {
    /// No reply: fewer octets than a header, or a response. Answering responses lets two servers play ping-pong.
    Drop,
    /// A well-formed query with one question.
    Query(Query<'p>),
    /// Anything else gets an rcode alone.
    Bad(Bad<'p>),
}

/// A well-formed query with one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'p> {
    /// The header's first four octets: id and flags, in network byte order.
    pub head: u32,
    /// Header and question as sent; the question is echoed byte for byte.
    pub echo: &'p [u8],
    /// The question's name in lower-case wire format, the root's zero octet included.
    pub name: &'p [u8],
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// The OPT record, if there is one.
    pub edns: Option<Edns<'p>>,
}

impl<'p> Query<'p> {
    /// The question as sent.
    #[inline(always)]
    pub fn question(&self) -> &'p [u8] {
        self.echo.get(HEADER_LEN..).unwrap_or_default()
    }
}

/// A packet that is no query we can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad<'p> {
    /// The header's first four octets: id and flags, in network byte order.
    pub head: u32,
    /// The header as sent, and the question where there is exactly one that could be read.
    pub echo: &'p [u8],
    /// The OPT record, if one was read: its reply needs one too (RFC 6891 section 7).
    pub edns: Option<Edns<'p>>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not well-formed, or not exactly one question: FORMERR.
    Malformed,
    /// Well-formed, with no question and no records but an OPT: how a cookie is asked for (RFC 7873 section 5.4).
    NoQuestion,
    /// An opcode other than QUERY: NOTIMP.
    Opcode,
}

/// Room for the question's name in lower case. A worker keeps one, so that no query allocates or copies it around.
#[derive(Clone, Debug)]
pub struct NameBuffer([u8; MAX_NAME]);

impl Default for NameBuffer {
    fn default() -> Self {
        NameBuffer([0; MAX_NAME])
    }
}

impl NameBuffer {
    /// A name in lower case. Case folds within ASCII only (RFC 4343 section 3); length octets, being below 64, stay as
    /// they are, so the name is folded as a whole.
    #[inline]
    fn lower(&mut self, name: &[u8]) -> &[u8] {
        // Eight octets at a time, the last eight overlapping those before: names are too short for the processor's
        // vectors, which is what the standard library is made for.
        let lower = &mut self.0[..name.len()];
        if let Some(last) = name.last_chunk::<8>() {
            for (to, from) in lower.chunks_exact_mut(8).zip(name.chunks_exact(8)) {
                to.copy_from_slice(&lower_eight(from.try_into().unwrap_or_default()));
            }
            let at = name.len() - 8;
            lower[at..].copy_from_slice(&lower_eight(*last));
        } else {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
        }
        lower
    }
}

/// Eight octets, those of `A` to `Z` in lower case.
#[inline]
fn lower_eight(octets: [u8; 8]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let octets = u64::from_ne_bytes(octets);
    // No sum of seven bits and these carries into the next octet; its highest bit tells the comparison.
    let low = octets & !HIGH;
    let from_a = low + (0x80 - u64::from(b'A')) * ONES;
    let after_z = low + (0x7F - u64::from(b'Z')) * ONES;
    let is_upper = !octets & HIGH & from_a & !after_z;
    // The difference of the cases is one bit, 0x20.
    (octets | (is_upper >> 2)).to_ne_bytes()
}

/// QR, and the opcode, in [`Query::head`] (RFC 1035 section 4.1.1).
const RESPONSE: u32 = 0x8000;
const OPCODE: u32 = 0x7800;

/// Counts of a header in network byte order: one question and nothing else, or one additional record with it.
const ONE_QUESTION: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const AND_ADDITIONAL: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 1];

/// Reads a packet that asks for nothing but its answer, as nearly all do: one question of class IN, with an OPT of
/// version 0 without options or with none. `None` for every other packet: [`parse`] reads those. By itself, so that
/// what it reads stays in registers.
#[inline(always)]
pub(super) fn parse_usual<'p>(packet: &'p [u8], names: &'p mut NameBuffer) -> Option<Query<'p>> {
    let (head, rest) = packet.split_first_chunk::<4>()?;
    let head = u32::from_be_bytes(*head);
    let has_opt = match *rest.first_chunk::<8>()? {
        _ if head & (RESPONSE | OPCODE) != 0 => return None,
        ONE_QUESTION => false,
        AND_ADDITIONAL => true,
        _ => return None,
    };
    let mut reader = Reader { packet, at: HEADER_LEN };
    let Question { echo, name, qtype, qclass } = reader.question()?;
    let edns = if has_opt { Some(reader.plain_opt()?) } else { None };
    (qclass == CLASS_IN).then(|| Query { head, echo, name: names.lower(name), qtype, qclass, edns })
}

/// Whether a packet gets no reply whatever else it holds: fewer octets than a header, or a response.
#[inline(always)]
pub(super) fn is_no_query(packet: &[u8]) -> bool {
    packet.len() < HEADER_LEN || packet[2] & 0x80 != 0
}

/// Reads a packet. `names` is where a query's name goes; what it holds before does not matter.
pub fn parse<'p>(packet: &'p [u8], names: &'p mut NameBuffer) -> Parsed<'p> {
    let Some((head, rest)) = packet.split_first_chunk::<4>() else { return Parsed::Drop };
    let Some(counts) = rest.first_chunk::<8>() else { return Parsed::Drop };
    let head = u32::from_be_bytes(*head);
    if head & RESPONSE != 0 {
        return Parsed::Drop;
    }
    // From nobody who may send one; it would be answered as a query with an unknown opcode.
    if proxy::starts_with_signature(packet) {
        return Parsed::Drop;
    }
    let (question, edns) = match parse_counted(packet, head, *counts) {
        Ok(read) => read,
        Err(bad) => return Parsed::Bad(bad),
    };
    let Question { echo, name, qtype, qclass } = question;
    Parsed::Query(Query { head, echo, name: names.lower(name), qtype, qclass, edns })
}

/// Reads what may be anything: as many questions and records as the header says.
fn parse_counted(packet: &[u8], head: u32, counts: [u8; 8]) -> Result<(Question<'_>, Option<Edns<'_>>), Bad<'_>> {
    let mut reader = Reader { packet, at: HEADER_LEN };
    let count = |at: usize| u16::from_be_bytes([counts[at], counts[at + 1]]);
    // An unknown opcode explains whatever else looks wrong: its message may have another shape.
    let why = if head & OPCODE != 0 { Why::Opcode } else { Why::Malformed };
    let questions = count(0);
    let header = packet.get(..HEADER_LEN).unwrap_or_default();
    let mut first = None;
    for number in 0..questions {
        let Some(question) = reader.question() else {
            return Err(Bad { head, echo: header, edns: None, why });
        };
        if number == 0 {
            first = Some(question);
        }
    }
    let Records { edns, well_formed } = reader.records(count(2), count(4), count(6));
    if questions == 0 && why == Why::Malformed && well_formed && edns.is_some() && counts[2..6] == [0; 4] {
        return Err(Bad { head, echo: header, edns, why: Why::NoQuestion });
    }
    match first {
        Some(question) if questions == 1 && well_formed && why != Why::Opcode => Ok((question, edns)),
        Some(question) if questions == 1 => Err(Bad { head, echo: question.echo, edns, why }),
        _ => Err(Bad { head, echo: header, edns, why }),
    }
}

struct Question<'p> {
    /// The message up to the end of the question.
    echo: &'p [u8],
    name: &'p [u8],
    qtype: u16,
    qclass: u16,
}

/// What the sections behind the question hold.
struct Records<'p> {
    edns: Option<Edns<'p>>,
    well_formed: bool,
}

struct Reader<'p> {
    packet: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.packet.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A question. Its name may not be compressed: there is nothing before it that a pointer could sensibly mean.
    #[inline(always)]
    fn question(&mut self) -> Option<Question<'p>> {
        let start = self.at;
        loop {
            let label = usize::from(*self.packet.get(self.at)?);
            self.at += 1 + label;
            if label > 63 || self.at - start > MAX_NAME {
                return None;
            }
            if label == 0 {
                break;
            }
        }
        let (before, behind) = self.packet.split_at_checked(self.at)?;
        let [type_high, type_low, class_high, class_low] = *behind.first_chunk()?;
        self.at += 4;
        Some(Question {
            echo: self.packet.get(..self.at)?,
            name: before.get(start..)?,
            qtype: u16::from_be_bytes([type_high, type_low]),
            qclass: u16::from_be_bytes([class_high, class_low]),
        })
    }

    /// An OPT record of version 0 without options (RFC 6891 section 6.1.2), if that is what comes next.
    #[inline(always)]
    fn plain_opt(&self) -> Option<Edns<'p>> {
        let record = self.packet.get(self.at..)?.first_chunk::<OPT_LEN>()?;
        let [0, 0, 41, size_high, size_low, _, 0, flags, _, 0, 0] = *record else { return None };
        let udp_size = u16::from_be_bytes([size_high, size_low]);
        Some(Edns { udp_size, version: 0, dnssec_ok: flags & 0x80 != 0, options: &[] })
    }

    /// The records behind the question. Answers and authorities in a query mean nothing, but must be well-formed;
    /// what follows the last record is ignored.
    fn records(&mut self, answers: u16, authorities: u16, additionals: u16) -> Records<'p> {
        let mut records = Records { edns: None, well_formed: true };
        let before = u32::from(answers) + u32::from(authorities);
        for number in 0..before + u32::from(additionals) {
            let read = match self.record() {
                Some((record, _)) if record.rtype != TYPE_OPT => continue,
                // RFC 6891 section 6.1.1: one OPT at most, in the additional section, owned by the root.
                Some((record, data)) if number >= before && records.edns.is_none() && record.owner_is_root => {
                    let edns = record.edns(data);
                    records.edns = Some(edns);
                    // What the options of another version look like is not ours to judge; it gets BADVERS.
                    edns.version > 0 || edns::well_formed(data)
                }
                _ => false,
            };
            if !read {
                records.well_formed = false;
                return records;
            }
        }
        records
    }

    /// The next record and its data.
    fn record(&mut self) -> Option<(RecordHead, &'p [u8])> {
        let owner_is_root = self.packet.get(self.at) == Some(&0);
        self.skip_name()?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let (ttl_high, ttl_low) = (self.u16()?, self.u16()?);
        let len = usize::from(self.u16()?);
        let data = self.packet.get(self.at..self.at + len)?;
        self.at += len;
        Some((RecordHead { owner_is_root, rtype, class, ttl: [ttl_high.to_be_bytes(), ttl_low.to_be_bytes()] }, data))
    }

    /// Passes over a name, which may end in a compression pointer.
    fn skip_name(&mut self) -> Option<()> {
        let start = self.at;
        loop {
            let label = usize::from(*self.packet.get(self.at)?);
            match label {
                0 => self.at += 1,
                1..=63 => {
                    self.at += 1 + label;
                    if self.at - start > MAX_NAME {
                        return None;
                    }
                    continue;
                }
                0xC0.. => self.at += 2,
                _ => return None,
            }
            return (self.at <= self.packet.len()).then_some(());
        }
    }
}

struct RecordHead {
    owner_is_root: bool,
    rtype: u16,
    class: u16,
    ttl: [[u8; 2]; 2],
}

impl RecordHead {
    /// RFC 6891 section 6.1.3: the class is the payload size; the TTL is extended rcode, version, DO and zeros.
    fn edns<'p>(&self, options: &'p [u8]) -> Edns<'p> {
        Edns { udp_size: self.class, version: self.ttl[0][1], dnssec_ok: self.ttl[1][0] & 0x80 != 0, options }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUESTION: &[u8] = b"\x03WwW\x05local\x00\x00\x01\x00\x01";

    fn packet(flags: [u8; 2], counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0xAB, 0xCD, flags[0], flags[1]];
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        rest.iter().for_each(|part| bytes.extend(*part));
        bytes
    }

    fn opt(size: u16, version: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 41];
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, version, 0x80, 0]);
        bytes.extend((options.len() as u16).to_be_bytes());
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_plain_query_is_read_in_place() {
        let bytes = packet([1, 0], [1, 0, 0, 0], &[QUESTION]);
        let mut names = NameBuffer::default();
        let Parsed::Query(query) = parse(&bytes, &mut names) else { panic!() };
        assert_eq!(query.question(), QUESTION);
        assert_eq!(query.name, b"\x03www\x05local\x00");
        assert_eq!((query.qtype, query.qclass, query.edns), (1, 1, None));
    }

    #[test]
    fn short_packets_and_responses_are_dropped() {
        let mut names = NameBuffer::default();
        assert_eq!(parse(&[0; 11], &mut names), Parsed::Drop);
        assert_eq!(parse(&packet([0x80, 0], [1, 0, 0, 0], &[QUESTION]), &mut names), Parsed::Drop);
        assert_eq!(parse(&packet([0x80, 0], [1, 0, 0, 0], &[b"\xff"]), &mut names), Parsed::Drop, "malformed ones too");
    }

    #[test]
    fn an_opt_is_read_and_its_options_are_checked() {
        let good = packet([0, 0], [1, 0, 0, 1], &[QUESTION, &opt(4096, 0, &[0, 10, 0, 2, 1, 2, 0xFF, 0xFF, 0, 0])]);
        let mut names = NameBuffer::default();
        let Parsed::Query(query) = parse(&good, &mut names) else { panic!() };
        assert_eq!(
            query.edns,
            Some(Edns { udp_size: 4096, version: 0, dnssec_ok: true, options: &[0, 10, 0, 2, 1, 2, 0xFF, 0xFF, 0, 0] })
        );
        let overrun = packet([0, 0], [1, 0, 0, 1], &[QUESTION, &opt(4096, 0, &[0, 10, 0, 3, 1, 2])]);
        let later = packet([0, 0], [1, 0, 0, 1], &[QUESTION, &opt(4096, 1, &[0, 10, 0, 3, 1, 2])]);
        assert!(
            matches!(parse(&later, &mut NameBuffer::default()), Parsed::Query(_)),
            "another version's options are not judged"
        );
        let Parsed::Bad(bad) = parse(&overrun, &mut names) else { panic!() };
        assert_eq!((bad.why, &bad.echo[HEADER_LEN..], bad.edns.is_some()), (Why::Malformed, QUESTION, true));
    }

    #[test]
    fn what_is_no_single_question_is_malformed() {
        let plain = opt(512, 0, &[]);
        let cases: [(&str, Vec<u8>); 9] = [
            ("no question", packet([0, 0], [0, 0, 0, 0], &[])),
            ("two questions", packet([0, 0], [2, 0, 0, 0], &[QUESTION, QUESTION])),
            ("65535 questions", packet([0, 0], [0xFFFF, 0, 0, 0], &[QUESTION])),
            ("cut question", packet([0, 0], [1, 0, 0, 0], &[&QUESTION[..12]])),
            ("compressed question", packet([0, 0], [1, 0, 0, 0], &[b"\xc0\x0c\x00\x01\x00\x01"])),
            ("extended label", packet([0, 0], [1, 0, 0, 0], &[b"\x41\x00\x00\x01\x00\x01"])),
            ("two OPT", packet([0, 0], [1, 0, 0, 2], &[QUESTION, &plain, &plain])),
            ("OPT in the answer section", packet([0, 0], [1, 1, 0, 0], &[QUESTION, &plain])),
            ("records missing", packet([0, 0], [1, 0, 0, 1], &[QUESTION])),
        ];
        for (name, bytes) in cases {
            assert!(
                matches!(parse(&bytes, &mut NameBuffer::default()), Parsed::Bad(Bad { why: Why::Malformed, .. })),
                "{name}"
            );
        }
        let no_question_but_opt = packet([0, 0], [0, 0, 0, 1], &[&plain]);
        assert!(matches!(
            parse(&no_question_but_opt, &mut NameBuffer::default()),
            Parsed::Bad(Bad { edns: Some(_), .. })
        ));
    }

    #[test]
    fn other_opcodes_are_told_apart_from_malformed_packets() {
        for opcode in 1..16u8 {
            let bytes = packet([opcode << 3, 0], [1, 0, 0, 0], &[QUESTION]);
            assert!(
                matches!(parse(&bytes, &mut NameBuffer::default()), Parsed::Bad(Bad { why: Why::Opcode, .. })),
                "{opcode}"
            );
        }
    }

    #[test]
    fn proxy_headers_are_no_queries() {
        let mut names = NameBuffer::default();
        for kind in [0x11, 0x12] {
            let header = proxy::tests::header(0x21, kind, &[7; 12]);
            let behind = [&header[..], &packet([1, 0], [1, 0, 0, 0], &[QUESTION])].concat();
            assert!([header, behind].iter().all(|bytes| matches!(parse(bytes, &mut names), Parsed::Drop)));
        }
    }

    #[test]
    fn names_at_and_over_the_limit() {
        let name = |lens: &[usize]| -> Vec<u8> {
            let mut bytes: Vec<u8> = Vec::new();
            for &len in lens {
                bytes.push(len as u8);
                bytes.extend(std::iter::repeat_n(b'a', len));
            }
            bytes.extend([0, 0, 1, 0, 1]);
            bytes
        };
        let longest = packet([0, 0], [1, 0, 0, 0], &[&name(&[63, 63, 63, 61])]);
        assert!(matches!(parse(&longest, &mut NameBuffer::default()), Parsed::Query(_)));
        let too_long = packet([0, 0], [1, 0, 0, 0], &[&name(&[63, 63, 63, 62])]);
        assert!(matches!(parse(&too_long, &mut NameBuffer::default()), Parsed::Bad(_)));
    }

    proptest! {
        #[test]
        fn names_are_folded_as_the_standard_library_folds_them(name in proptest::collection::vec(any::<u8>(), 0..255)) {
            let mut names = NameBuffer::default();
            prop_assert_eq!(names.lower(&name), name.to_ascii_lowercase());
        }

        #[test]
        fn no_packet_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&bytes, &mut NameBuffer::default());
        }

        #[test]
        fn no_mutation_of_a_good_query_panics(at in 0usize..80, value: u8, cut in 0usize..80) {
            let mut bytes = packet([1, 0], [1, 0, 0, 1], &[QUESTION, &opt(1232, 0, &[0, 10, 0, 2, 1, 2])]);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(cut.max(1));
            parse(&bytes, &mut NameBuffer::default());
        }
    }
}
