//! Wire bytes of fixed responses, made once by hickory-proto and copied ever after.

use std::sync::Arc;

use hickory_proto::{
    rr::{DNSClass, Name, RData, RecordType},
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use super::Remark;
use crate::zone::file::MAX_ANSWER;

/// Where the question starts in every DNS message: behind the 12 octets of the header.
pub const QUESTION_OFFSET: u16 = 12;

/// A compression pointer to the question's name: the owner of every answer, so that its case is the asker's own.
const POINTER_TO_QUESTION: u16 = 0xC000 | QUESTION_OFFSET;

/// Everything of a response behind its question (without OPT), ready to copy.
///
/// Names inside may point to the apex, which is the end of the question's name; where that is depends on the
/// question, so each such pointer is filled in per response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    bytes: Box<[u8]>,
    /// Offsets in `bytes` of two-octet pointers to the apex.
    apex_pointers: Box<[u16]>,
    /// Records in the answer, authority and additional section.
    counts: [u16; 3],
    /// Where the additional section starts in `bytes`.
    additional_at: usize,
    /// What is to be said of this answer.
    remark: Option<Arc<Remark>>,
}

impl Body {
    /// The same with this to be said of it.
    pub(super) fn with_remark(self, remark: Option<Arc<Remark>>) -> Self {
        Body { remark, ..self }
    }

    /// What is to be said of this answer.
    pub fn remark(&self) -> Option<&Remark> {
        self.remark.as_deref()
    }

    /// Records in the answer, authority and additional section.
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Octets the body takes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing behind the question.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What of the body `room` octets hold. The additional section is left out where it does not fit, which is never
    /// worth a truncation (RFC 2181 section 9); where the rest does not fit either there is nothing: `None`.
    #[inline]
    pub fn within(&self, room: usize) -> Option<Part<'_>> {
        let (len, counts) = match room {
            _ if self.bytes.len() <= room => (self.bytes.len(), self.counts),
            _ if self.additional_at <= room => (self.additional_at, [self.counts[0], self.counts[1], 0]),
            _ => return None,
        };
        Some(Part { body: self, len, counts })
    }
}

/// A body, with or without its additional section.
#[derive(Clone, Copy, Debug)]
pub struct Part<'b> {
    body: &'b Body,
    len: usize,
    counts: [u16; 3],
}

impl Part<'_> {
    /// Records in the answer, authority and additional section.
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Appends it to a message whose question name holds the apex at `apex_offset`.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>, apex_offset: u16) {
        let start = out.len();
        out.extend_from_slice(&self.body.bytes[..self.len]);
        let pointer = (0xC000 | apex_offset).to_be_bytes();
        for &at in self.body.apex_pointers.iter().take_while(|at| usize::from(**at) < self.len) {
            out[start + usize::from(at)..][..2].copy_from_slice(&pointer);
        }
    }
}

/// A section of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Answer.
    Answer = 0,
    /// Authority.
    Authority = 1,
    /// Additional.
    Additional = 2,
}

/// Writes a [`Body`], section after section.
pub(super) struct BodyWriter<'a> {
    apex: &'a Name,
    bytes: Vec<u8>,
    apex_pointers: Vec<u16>,
    counts: [u16; 3],
    additional_at: Option<usize>,
}

impl<'a> BodyWriter<'a> {
    pub(super) fn new(apex: &'a Name) -> Self {
        BodyWriter { apex, bytes: Vec::new(), apex_pointers: Vec::new(), counts: [0; 3], additional_at: None }
    }

    /// Adds a record whose owner is the question's name.
    pub(super) fn answer(&mut self, ttl: u32, data: &RData) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&POINTER_TO_QUESTION.to_be_bytes());
        self.rest(start, Section::Answer, ttl, data);
    }

    /// The same, of data in wire format.
    pub(super) fn answer_wire(&mut self, ttl: u32, rtype: RecordType, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&POINTER_TO_QUESTION.to_be_bytes());
        self.rest_wire(start, Section::Answer, ttl, rtype, data);
    }

    /// Adds a record with an owner of its own, to the authority or additional section.
    pub(super) fn record(&mut self, section: Section, owner: &Name, ttl: u32, data: &RData) {
        let start = self.bytes.len();
        if section == Section::Additional {
            self.additional_at.get_or_insert(start);
        }
        if self.apex.zone_of(owner) {
            let own_labels = usize::from(owner.num_labels()) - usize::from(self.apex.num_labels());
            for label in owner.iter().take(own_labels) {
                self.bytes.push(label.len() as u8);
                self.bytes.extend_from_slice(label);
            }
            self.apex_pointers.push(self.bytes.len() as u16);
            self.bytes.extend_from_slice(&[0, 0]);
        } else {
            self.bytes.extend_from_slice(&wire_name(owner));
        }
        self.rest(start, section, ttl, data);
    }

    /// Type, class, TTL and data. A record that cannot be encoded is left out whole.
    fn rest(&mut self, start: usize, section: Section, ttl: u32, data: &RData) {
        match wire_data(data) {
            Some(bytes) => self.rest_wire(start, section, ttl, data.record_type(), &bytes),
            None => self.forget_from(start),
        }
    }

    /// A record that would not fit into any message is left out whole.
    fn rest_wire(&mut self, start: usize, section: Section, ttl: u32, rtype: RecordType, data: &[u8]) {
        if self.bytes.len() + FIXED_FIELDS + data.len() > MAX_BODY {
            self.forget_from(start);
            return;
        }
        self.bytes.extend_from_slice(&u16::from(rtype).to_be_bytes());
        self.bytes.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        // What fits a body is shorter than 65,536 octets.
        self.bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(data);
        self.counts[section as usize] += 1;
    }

    fn forget_from(&mut self, start: usize) {
        self.bytes.truncate(start);
        self.apex_pointers.retain(|&at| usize::from(at) < start);
    }

    pub(super) fn finish(self) -> Body {
        Body {
            additional_at: self.additional_at.unwrap_or(self.bytes.len()),
            bytes: self.bytes.into(),
            apex_pointers: self.apex_pointers.into(),
            counts: self.counts,
            remark: None,
        }
    }
}

/// Longest name in wire format (RFC 1035 section 2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// Octets of type, class, TTL and length in every record.
const FIXED_FIELDS: usize = 2 + 2 + 4 + 2;

/// Largest body: what zone files may hold at most, so that none of it is left out.
pub(super) const MAX_BODY: usize = MAX_ANSWER;

/// A name in uncompressed wire format, case kept.
pub fn wire_name(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for label in name.iter() {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

/// A record's data in wire format, names in it uncompressed (RFC 3597 section 4 forbids compression in new types,
/// and resolvers need it in none). `None` for data that cannot be encoded.
fn wire_data(data: &RData) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Message,
        rr::rdata::{A, NS, SOA},
    };

    use super::*;

    #[test]
    fn a_body_decodes_behind_any_question_of_its_zone() {
        let apex = Name::from_ascii("alternator.local.").unwrap();
        let ns = Name::from_ascii("ns1.alternator.local.").unwrap();
        let mut writer = BodyWriter::new(&apex);
        writer.answer(5, &RData::NS(NS(ns.clone())));
        let soa = SOA::new(ns.clone(), apex.clone(), 7, 1, 2, 3, 5);
        writer.record(Section::Authority, &apex, 5, &RData::SOA(soa.clone()));
        writer.record(Section::Additional, &ns, 5, &RData::A(A::new(10, 0, 0, 1)));
        let body = writer.finish();
        assert_eq!(body.counts(), [1, 1, 1]);

        for question in ["alternator.local.", "a.b.Alternator.LOCAL."] {
            let question = Name::from_ascii(question).unwrap();
            let mut message = vec![0, 1, 0x84, 0, 0, 1, 0, 1, 0, 1, 0, 1];
            message.extend(wire_name(&question));
            message.extend([0, 2, 0, 1]);
            let apex_offset = 12 + question.len() - apex.len();
            body.within(500).unwrap().append_to(&mut message, apex_offset as u16);
            let message = Message::from_vec(&message).unwrap();
            assert_eq!(message.answers[0].name, question);
            assert_eq!(message.authorities[0].name, apex);
            assert_eq!(message.authorities[0].data, RData::SOA(soa.clone()));
            assert_eq!(message.additionals[0].name, ns);
        }
        let without_glue = body.within(body.len() - 1).unwrap();
        assert_eq!(without_glue.counts(), [1, 1, 0], "glue is left out first");
        let mut message = Vec::new();
        without_glue.append_to(&mut message, 12);
        assert!(message.len() < body.len());
        assert!(body.within(40).is_none());
    }
}
