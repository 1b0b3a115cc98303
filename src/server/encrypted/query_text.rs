//! A query in a URL: `?dns=` and base64url (RFC 8484 section 4.1.1).

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::desk::MAX_QUERY;

/// RFC 8484 says without padding; clients that pad are understood.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why there is no query in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// No `dns=`.
    Missing,
    /// Not base64url.
    Encoding,
    /// Longer than any query.
    TooLong,
}

/// The query in what follows the `?` of a URL; other variables are not looked at.
pub(super) fn decode(variables: &str) -> Result<Vec<u8>, Error> {
    let text = variables.split('&').find_map(|variable| variable.strip_prefix("dns=")).ok_or(Error::Missing)?;
    // Padding is the one thing that a client may have had to escape.
    let text = match text.split_once('%') {
        Some((text, "3D" | "3d" | "3D%3D" | "3d%3d")) => text,
        _ => text,
    };
    if text.is_empty() {
        return Err(Error::Missing);
    }
    // Three octets in four characters.
    if text.len() / 4 * 3 > MAX_QUERY {
        return Err(Error::TooLong);
    }
    let query = BASE64.decode(text).map_err(|_| Error::Encoding)?;
    if query.len() > MAX_QUERY { Err(Error::TooLong) } else { Ok(query) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 8484 section 4.1.1.
        let example = "dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";
        let query = decode(example).unwrap();
        assert_eq!((query.len(), &query[12..16]), (33, &b"\x03www"[..]));
        for other in ["a=b&dns=AAAB", "dns=AAAB&x", "dns=AAAB&dns=zzz"] {
            assert_eq!(decode(other).unwrap(), [0, 0, 1], "{other}");
        }
    }

    #[test]
    fn padding_is_understood_however_it_comes() {
        for text in ["dns=-_8", "dns=-_8=", "dns=-_8%3D", "dns=-_8%3d"] {
            assert_eq!(decode(text).unwrap(), [0xFB, 0xFF], "{text}");
        }
        assert_eq!(decode("dns=-w%3D%3D").unwrap(), [0xFB]);
    }

    #[test]
    fn what_is_none_is_told_apart() {
        for (expected, text) in [
            (Error::Missing, String::new()),
            (Error::Missing, "dn=AAAB".to_owned()),
            (Error::Missing, "dns=".to_owned()),
            (Error::Encoding, "dns=+/8".to_owned()),
            (Error::Encoding, "dns=AAA\u{e4}".to_owned()),
            (Error::Encoding, "dns=A".to_owned()),
            (Error::Encoding, "dns=AA%41".to_owned()),
            (Error::TooLong, format!("dns={}", "A".repeat(5464))),
            (Error::TooLong, format!("dns={}", "A".repeat(1 << 20))),
        ] {
            assert_eq!(decode(&text), Err(expected), "{}", &text[..text.len().min(20)]);
        }
        assert_eq!(decode(&format!("dns={}", "A".repeat(5462))).unwrap().len(), MAX_QUERY);
    }
}
