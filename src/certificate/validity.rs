//! When a certificate is valid: the one thing of it that rustls does not tell and an operator must know.

use std::time::SystemTime;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version of a certificate, `[0] EXPLICIT`.
const VERSION: u8 = 0xA0;

/// The first and the last second at which a certificate is valid (RFC 5280 section 4.1.2.5), as in
/// `2027-01-31T23:59:59Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first.
    pub not_before: String,
    /// The last.
    pub not_after: String,
}

/// The last second at which a certificate is valid. `None` for what cannot be read.
pub fn not_after(certificate: &[u8]) -> Option<String> {
    validity(certificate).map(|validity| validity.not_after)
}

/// When a certificate is valid. `None` for what cannot be read.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (tag, certificate, _) = element(certificate)?;
    let (inner, content, _) = element(certificate)?;
    if (tag, inner) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let mut rest = content;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer.
    for expected in [INTEGER, SEQUENCE, SEQUENCE] {
        let (tag, _, after) = element(rest)?;
        if tag != expected {
            return None;
        }
        rest = after;
    }
    let (_, times, _) = element(rest)?;
    let (tag, not_before, after) = element(times)?;
    let not_before = readable(tag, std::str::from_utf8(not_before).ok()?)?;
    let (tag, not_after, _) = element(after)?;
    Some(Validity { not_before, not_after: readable(tag, std::str::from_utf8(not_after).ok()?)? })
}

/// Whether a time told by [`validity`] is over.
pub fn is_over(not_after: &str, now: SystemTime) -> bool {
    // Both are of one form, so the texts are in the order of the times.
    *not_after < *humantime::format_rfc3339_seconds(now).to_string()
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, the only forms in certificates.
fn readable(tag: u8, time: &str) -> Option<String> {
    let digits = time.strip_suffix('Z').filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))?;
    let (century, digits) = match (tag, digits.len()) {
        (UTC_TIME, 12) if *digits < *"50" => ("20", digits),
        (UTC_TIME, 12) => ("19", digits),
        (GENERALIZED_TIME, 14) => digits.split_at(2),
        _ => return None,
    };
    let part = |at: usize| &digits[at..at + 2];
    Some(format!("{century}{}-{}-{}T{}:{}:{}Z", part(0), part(2), part(4), part(6), part(8), part(10)))
}

/// One element of DER: its tag, its content, and what follows it.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([tag, first], mut rest) = octets.split_first_chunk::<2>()?;
    let mut len = usize::from(*first);
    if len >= 0x80 {
        let (digits, after) = rest.split_at_checked(len - 0x80)?;
        if !(1..=4).contains(&digits.len()) {
            return None;
        }
        len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(len)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(["dns.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 2);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        // Both forms of time: RFC 5280 changes from one to the other in 2050.
        assert_eq!(not_after(&made(2031, 2, 28)).unwrap(), "2031-02-28T00:00:00Z");
        assert_eq!(not_after(&made(2049, 12, 31)).unwrap(), "2049-12-31T00:00:00Z");
        assert_eq!(not_after(&made(2050, 1, 1)).unwrap(), "2050-01-01T00:00:00Z");
        assert_eq!(readable(UTC_TIME, "991231235959Z").unwrap(), "1999-12-31T23:59:59Z");
    }

    #[test]
    fn the_beginning_of_a_certificate_is_read() {
        let validity = validity(&made(2050, 1, 1)).unwrap();
        assert_eq!((&*validity.not_before, &*validity.not_after), ("2026-01-02T00:00:00Z", "2050-01-01T00:00:00Z"));
    }

    #[test]
    fn a_certificate_is_over_after_its_last_second() {
        let last = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert!(!is_over("2030-01-01T00:00:00Z", last));
        assert!(is_over("2030-01-01T00:00:00Z", last + Duration::from_secs(1)));
    }

    #[test]
    fn no_cut_or_changed_certificate_panics() {
        let whole = made(2031, 2, 28);
        for len in 0..whole.len() {
            not_after(&whole[..len]);
            for octet in [0, 0x80, 0x84, 0xFF] {
                let mut changed = whole.clone();
                changed[len] = octet;
                not_after(&changed);
            }
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(octets: Vec<u8>) {
            not_after(&octets);
        }
    }
}
