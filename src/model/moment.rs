//! Moments as text.

use std::time::{Duration, SystemTime};

/// The last second that has a year of four digits, as RFC 3339 wants it.
pub(super) const LAST_SECOND: u64 = 253_402_300_799;

/// A moment in RFC 3339, UTC, with milliseconds. Moments outside of 1970 to 9999 are told as the nearest one within.
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(within(at)).to_string()
}

/// [`rfc3339`] to the second.
pub fn rfc3339_seconds(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(within(at)).to_string()
}

/// Whether a moment has a text of its own.
pub fn has_text(at: SystemTime) -> bool {
    within(at) == at
}

fn within(at: SystemTime) -> SystemTime {
    at.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_has_a_text() {
        let epoch = SystemTime::UNIX_EPOCH;
        let last = epoch + Duration::from_secs(LAST_SECOND);
        for (at, text, is_own) in [
            (epoch, "1970-01-01T00:00:00.000Z", true),
            (epoch - Duration::from_millis(1), "1970-01-01T00:00:00.000Z", false),
            (last, "9999-12-31T23:59:59.000Z", true),
            (last + Duration::from_secs(1), "9999-12-31T23:59:59.000Z", false),
        ] {
            assert_eq!((rfc3339(at).as_str(), has_text(at)), (text, is_own));
        }
        assert_eq!(rfc3339_seconds(epoch + Duration::from_millis(1999)), "1970-01-01T00:00:01Z");
    }
}
