//! Class CHAOS: which server this is, and which software (RFC 4892).

use super::Settings;

/// QCLASS CH.
pub(super) const CLASS_CHAOS: u16 = 3;

const TYPE_TXT: u16 = 16;
const TYPE_ANY: u16 = 255;

/// The answer section for a question of class CHAOS, one record; `None` for what is not told.
pub(super) fn answer(settings: &Settings, name: &[u8], qtype: u16) -> Option<Vec<u8>> {
    let text = match name {
        b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => settings.identity.as_deref()?,
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => settings.version.as_deref()?,
        _ => return None,
    };
    if !matches!(qtype, TYPE_TXT | TYPE_ANY) {
        return None;
    }
    // A character-string of at most 255 octets; configuration allows fewer.
    let len = u8::try_from(text.len()).ok()?;
    // Owner: the question's name. TTL 0: it tells of the server that was asked just now.
    let mut record = vec![0xC0, 12, 0, TYPE_TXT as u8, 0, CLASS_CHAOS as u8, 0, 0, 0, 0];
    record.extend_from_slice(&(u16::from(len) + 1).to_be_bytes());
    record.push(len);
    record.extend_from_slice(text.as_bytes());
    Some(record)
}
