//! dnstap's messages, and the frames that carry them.
//!
//! A frame is its length in four octets, network order, and the octets. A length of 0 is the escape to a control frame:
//! a length, a type, and fields with their own lengths (<https://farsightsec.github.io/fstrm/>). A message is a protocol
//! buffer of dnstap.proto; of its fields only those here are written.

use std::{
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::server::{Record, Transport};

/// What the frames carry, as both sides say.
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// The field of a control frame that says so.
const FIELD_CONTENT_TYPE: u32 = 1;

/// The longest control frame that is read; fstrm allows no longer one.
pub(super) const LONGEST_CONTROL: usize = 512;

/// Types of control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Control {
    /// The reader takes this content.
    Accept = 1,
    /// Data follow.
    Start = 2,
    /// No more of them.
    Stop = 3,
    /// This writer is there.
    Ready = 4,
}

/// A control frame to the reader.
pub(super) fn control(kind: Control) -> Vec<u8> {
    let mut body = (kind as u32).to_be_bytes().to_vec();
    if kind != Control::Stop {
        body.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    let len = (body.len() as u32).to_be_bytes();
    [&[0; 4], &len[..], &body].concat()
}

/// Whether the reader accepts; `None` until its frame is whole, an error where it is something else.
pub(super) fn is_accepted(received: &[u8]) -> Result<Option<()>, &'static str> {
    let word = |at: usize| received.get(at..at + 4)?.first_chunk().map(|octets| u32::from_be_bytes(*octets));
    let (Some(escape), Some(len)) = (word(0), word(4)) else { return Ok(None) };
    if escape != 0 || len < 4 || len as usize > LONGEST_CONTROL {
        return Err("it does not speak frame streams");
    }
    let Some(body) = received.get(8..8 + len as usize) else { return Ok(None) };
    let is_accept = word(8) == Some(Control::Accept as u32);
    let takes_dnstap = body.windows(CONTENT_TYPE.len()).any(|window| window == CONTENT_TYPE);
    if is_accept && takes_dnstap { Ok(Some(())) } else { Err("it does not take dnstap") }
}

/// The frames of a record: the query, and the reply where there was one.
pub(super) fn of(record: &Record, identity: Option<&[u8]>) -> Vec<u8> {
    let mut frames = Vec::new();
    let kinds = [(MessageKind::AuthQuery, record.query()), (MessageKind::AuthResponse, record.reply())];
    for (kind, _) in kinds.into_iter().filter(|(_, octets)| !octets.is_empty()) {
        let payload = dnstap(record, kind, identity);
        frames.extend((payload.len() as u32).to_be_bytes());
        frames.extend(payload);
    }
    frames
}

/// `Message.Type`: as an authoritative server sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum MessageKind {
    AuthQuery = 1,
    AuthResponse = 2,
}

fn dnstap(record: &Record, kind: MessageKind, identity: Option<&[u8]>) -> Vec<u8> {
    let mut outer = Fields::default();
    if let Some(identity) = identity {
        outer.octets(1, identity);
    }
    outer.octets(2, concat!("alternator-dns ", env!("CARGO_PKG_VERSION")).as_bytes());
    outer.octets(14, &message(record, kind));
    // Type MESSAGE, the only one there is.
    outer.number(15, 1);
    outer.0
}

fn message(record: &Record, kind: MessageKind) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.number(1, kind as u64);
    let source = SocketAddr::new(record.source.ip().to_canonical(), record.source.port());
    let (family, address) = match source.ip() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    fields.number(2, family);
    fields.number(
        3,
        match record.transport {
            Transport::Udp => 1,
            Transport::Tcp => 2,
            Transport::Tls => 3,
            Transport::Https => 4,
            Transport::Quic => 7,
        },
    );
    fields.octets(4, &address);
    fields.number(6, u64::from(source.port()));
    time(&mut fields, 8, record.at);
    match kind {
        MessageKind::AuthQuery => fields.octets(10, record.query()),
        MessageKind::AuthResponse => {
            time(&mut fields, 12, record.at);
            fields.octets(14, record.reply());
        }
    }
    fields.0
}

/// Seconds, and in the next field nanoseconds.
fn time(fields: &mut Fields, field: u64, at: SystemTime) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    fields.number(field, since.as_secs());
    fields.fixed(field + 1, since.subsec_nanos());
}

/// Fields of a protocol buffer, as its wire format has them (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn octets(&mut self, field: u64, octets: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(octets.len() as u64);
        self.0.extend_from_slice(octets);
    }

    fn fixed(&mut self, field: u64, number: u32) {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Asker, Outcome};

    #[test]
    fn an_acceptance_is_read_when_it_is_whole() {
        let frame = control(Control::Accept);
        for end in 0..frame.len() {
            assert_eq!(is_accepted(&frame[..end]), Ok(None), "{end}");
        }
        assert_eq!(is_accepted(&frame), Ok(Some(())));
        assert!(is_accepted(&control(Control::Stop)).is_err());
        assert!(is_accepted(b"HTTP/1.1 400 Bad Request").is_err());
        let other = String::from_utf8(frame).unwrap().replace("dnstap.Dnstap", "another.Thing");
        assert!(is_accepted(other.as_bytes()).is_err());
    }

    #[test]
    fn a_message_is_the_fields_of_the_format() {
        let asker = Asker::udp("192.0.2.9:4000".parse().unwrap());
        let mut record = Record::new(b"QQ", b"", &asker, Outcome::Dropped, 0);
        record.at = UNIX_EPOCH + std::time::Duration::new(300, 7);
        let message =
            [&[8, 1, 16, 1, 24, 1, 34, 4, 192, 0, 2, 9, 48, 0xA0, 0x1F, 64, 0xAC, 2, 77, 7, 0, 0, 0, 82, 2][..], b"QQ"]
                .concat();
        let version = concat!("alternator-dns ", env!("CARGO_PKG_VERSION"));
        let payload = [
            &[10, 3][..],
            b"ns1",
            &[18, version.len() as u8],
            version.as_bytes(),
            &[114, message.len() as u8],
            &message,
            &[120, 1],
        ]
        .concat();
        let frames = of(&record, Some(b"ns1"));
        assert_eq!(frames[..4], (payload.len() as u32).to_be_bytes());
        assert_eq!(frames[4..], payload, "the query only: there was no reply");
    }
}
