//! The options of queries, and those of replies.

use std::net::IpAddr;

use super::{
    Cookie, Cookies, OPTION_HEAD,
    cookies::{self, CLIENT_LEN, SERVER_LEN},
    first,
};

/// Option codes (the DNS parameters registry of IANA).
pub(super) const NSID: u16 = 3;
pub(super) const SUBNET: u16 = 8;
pub(super) const COOKIE: u16 = 10;
pub(super) const KEEPALIVE: u16 = 11;
pub(in crate::server) const PADDING: u16 = 12;
pub(in crate::server) const EXTENDED_ERROR: u16 = 15;
pub(in crate::server) const ZONE_VERSION: u16 = 19;

/// Longest server part of a cookie (RFC 7873 section 4: 8 to 32 octets).
const MAX_SERVER_COOKIE: usize = 32;

/// Replies are padded to a multiple of this (RFC 8467 section 4.1).
pub(in crate::server) const PADDING_BLOCK: usize = 468;

/// Octets of a zone version: the count of labels, the type, a serial (RFC 9660 section 2).
pub(in crate::server) const ZONE_VERSION_LEN: usize = 6;

/// Octets that the options known before the answer can take: a cookie, an identity (configuration allows 64), a client
/// subnet with an IPv6 address, a keepalive.
const MAX_TOLD: usize =
    (OPTION_HEAD + CLIENT_LEN + SERVER_LEN) + (OPTION_HEAD + 64) + (OPTION_HEAD + 20) + (OPTION_HEAD + 2);

/// What a query's options ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Asked<'p> {
    /// The cookie, of an allowed length.
    pub(super) cookie: Option<&'p [u8]>,
    pub(super) nsid: bool,
    /// A client subnet, in every respect as it should be.
    pub(super) subnet: Option<&'p [u8]>,
    pub(super) keepalive: bool,
    pub(super) padding: bool,
    pub(super) zone_version: bool,
}

/// An option is not as its RFC says it must be: FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Malformed;

impl<'p> Asked<'p> {
    /// Reads options that fill their record exactly. Of those that come twice the first counts.
    pub(in crate::server) fn read(
        mut options: &'p [u8],
        cookies_enabled: bool,
        has_keepalive: bool,
    ) -> Result<Self, Malformed> {
        let mut asked = Asked::default();
        while let Some((code, data, rest)) = first(options) {
            options = rest;
            match code {
                // "The server MUST ignore any NSID payload data that might be present in the query" (RFC 5001
                // section 2.2).
                NSID => asked.nsid = true,
                SUBNET if subnet_is_sound(data) => asked.subnet = asked.subnet.or(Some(data)),
                // RFC 7873 section 5.2.2: any other length is FORMERR. A server without cookies ignores the option.
                COOKIE if !cookies_enabled => {}
                COOKIE if cookie_is_sound(data) => asked.cookie = asked.cookie.or(Some(data)),
                // "MUST be ignored over UDP" (RFC 7828 section 3.2.1); queries hold no time-out (section 3.1).
                KEEPALIVE if !has_keepalive => {}
                KEEPALIVE if data.is_empty() => asked.keepalive = true,
                PADDING => asked.padding = true,
                // Queries hold no version; one that does is no question for it (RFC 9660 section 3.2).
                ZONE_VERSION => asked.zone_version |= data.is_empty(),
                SUBNET | COOKIE | KEEPALIVE => return Err(Malformed),
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// A client's part alone, or with a server's part behind it.
fn cookie_is_sound(data: &[u8]) -> bool {
    data.len() == CLIENT_LEN || (CLIENT_LEN + 8..=CLIENT_LEN + MAX_SERVER_COOKIE).contains(&data.len())
}

/// RFC 7871 section 6: a known family, no more bits than it has, exactly as many octets as the bits need, the bits
/// beyond them zero, and in a query scope 0. Family 0 is what asks for no subnet to be told.
fn subnet_is_sound(data: &[u8]) -> bool {
    let Some(([family_high, family, source, 0], address)) = data.split_first_chunk::<4>() else { return false };
    let most = match [*family_high, *family] {
        [0, 0] => 0,
        [0, 1] => 32,
        [0, 2] => 128,
        _ => return false,
    };
    let beyond = match source % 8 {
        0 => 0,
        bits => 0xFF_u8 >> bits,
    };
    *source <= most
        && address.len() == usize::from(source.div_ceil(8))
        && address.last().is_none_or(|last| last & beyond == 0)
}

/// What a reply's options tell.
#[derive(Clone, Debug)]
pub(in crate::server) struct Told {
    octets: [u8; MAX_TOLD],
    len: usize,
    /// The cookie that came, judged.
    pub(in crate::server) cookie: Option<Cookie>,
    /// The zone's version is asked for.
    pub(in crate::server) zone_version: bool,
    /// The reply is to be padded.
    pub(in crate::server) padding: bool,
}

/// Who is told what.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Teller<'s> {
    pub(in crate::server) source: IpAddr,
    pub(in crate::server) cookies: Option<&'s Cookies>,
    pub(in crate::server) identity: Option<&'s str>,
    /// In units of 100 ms.
    pub(in crate::server) keepalive: u16,
    pub(in crate::server) is_encrypted: bool,
}

impl Told {
    /// What is told whatever the answer is.
    pub(in crate::server) fn new(asked: &Asked<'_>, to: &Teller<'_>) -> Self {
        let judged = to.cookies.zip(asked.cookie);
        let cookie = judged.and_then(|(cookies, cookie)| cookies.judge(cookie, to.source, cookies::now()));
        let padding = asked.padding && to.is_encrypted;
        let mut told = Told { octets: [0; MAX_TOLD], len: 0, cookie, zone_version: asked.zone_version, padding };
        if let Some(cookie) = cookie {
            told.option(COOKIE, &cookie.reply);
        }
        if let Some(identity) = to.identity.filter(|_| asked.nsid) {
            told.option(NSID, identity.as_bytes());
        }
        if let Some(subnet) = asked.subnet {
            // Scope 0, as it came: the answer suits every client (RFC 7871 section 7.2.1).
            told.option(SUBNET, subnet);
        }
        if asked.keepalive {
            told.option(KEEPALIVE, &to.keepalive.to_be_bytes());
        }
        told
    }

    fn option(&mut self, code: u16, data: &[u8]) {
        let end = self.len + OPTION_HEAD + data.len();
        // Always there: see `MAX_TOLD`.
        let Some(place) = self.octets.get_mut(self.len..end) else { return };
        place[..2].copy_from_slice(&code.to_be_bytes());
        place[2..OPTION_HEAD].copy_from_slice(&(data.len() as u16).to_be_bytes());
        place[OPTION_HEAD..].copy_from_slice(data);
        self.len = end;
    }

    /// The options known before the answer.
    pub(in crate::server) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn option(code: u16, data: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
    }

    fn read(options: &[u8]) -> Result<Asked<'_>, Malformed> {
        Asked::read(options, true, true)
    }

    #[test]
    fn client_subnets_are_as_their_rfc_says_or_malformed() {
        let good: [&[u8]; 9] = [
            &[0, 0, 0, 0],
            &[0, 1, 0, 0],
            &[0, 2, 0, 0],
            &[0, 1, 24, 0, 192, 0, 2],
            &[0, 1, 27, 0, 192, 0, 2, 0b1110_0000],
            &[0, 1, 32, 0, 192, 0, 2, 1],
            &[0, 2, 1, 0, 0x80],
            &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0],
            &[0, 2, 128, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ];
        for data in good {
            assert_eq!(read(&option(SUBNET, data)).unwrap().subnet, Some(data), "{data:?}");
        }
        let bad: [(&str, &[u8]); 14] = [
            ("empty", &[]),
            ("shorter than its head", &[0, 1, 24]),
            ("mask longer than IPv4", &[0, 1, 33, 0, 192, 0, 2, 0, 0]),
            ("mask longer than IPv6", &[0, 2, 129, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0]),
            ("IPv4 with too few octets", &[0, 1, 24, 0, 192, 0]),
            ("IPv4 with too many octets", &[0, 1, 24, 0, 192, 0, 2, 0]),
            ("IPv6 with too few octets", &[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0]),
            ("IPv6 with too many octets", &[0, 2, 8, 0, 0x20, 0]),
            ("IPv4 with bits beyond its mask", &[0, 1, 27, 0, 192, 0, 2, 0b0001_0000]),
            ("IPv6 with bits beyond its mask", &[0, 2, 1, 0, 0xC0]),
            ("a scope", &[0, 1, 24, 1, 192, 0, 2]),
            ("an unknown family", &[0, 3, 24, 0, 192, 0, 2]),
            ("a family of the high octet", &[1, 1, 24, 0, 192, 0, 2]),
            ("family 0 with a mask", &[0, 0, 8, 0, 192]),
        ];
        for (about, data) in bad {
            assert_eq!(read(&option(SUBNET, data)), Err(Malformed), "{about}");
        }
    }

    #[test]
    fn cookies_have_the_lengths_of_their_rfc() {
        for len in 0..60 {
            let data = vec![1; len];
            let good = len == 8 || (16..=40).contains(&len);
            assert_eq!(read(&option(COOKIE, &data)).is_ok(), good, "{len}");
            assert_eq!(Asked::read(&option(COOKIE, &data), false, true), Ok(Asked::default()), "off: ignored");
        }
        let two = [option(COOKIE, &[1; 8]), option(COOKIE, &[2; 8])].concat();
        assert_eq!(read(&two).unwrap().cookie, Some(&[1; 8][..]), "the first counts");
    }

    #[test]
    fn questions_hold_no_answers() {
        assert!(read(&option(KEEPALIVE, &[])).unwrap().keepalive);
        assert_eq!(read(&option(KEEPALIVE, &[0, 1])), Err(Malformed));
        assert_eq!(Asked::read(&option(KEEPALIVE, &[0, 1]), true, false), Ok(Asked::default()), "not over UDP");
        assert!(read(&option(ZONE_VERSION, &[])).unwrap().zone_version);
        assert!(!read(&option(ZONE_VERSION, &[2, 0, 0, 0, 0, 1])).unwrap().zone_version);
        assert!(read(&option(NSID, b"ignored")).unwrap().nsid);
        assert!(read(&option(PADDING, &[0; 99])).unwrap().padding);
    }

    #[test]
    fn what_is_told_always_has_room() {
        let config = crate::config::CookieConfig { secrets: vec![[1; 16]], ..Default::default() };
        let cookies = Cookies::new(&config).unwrap();
        let identity = "x".repeat(64);
        let subnet = [&[0, 2, 128, 0][..], &[0xFF; 16]].concat();
        let options = [option(KEEPALIVE, &[]), option(SUBNET, &subnet), option(NSID, &[]), option(COOKIE, &[1; 40])];
        let teller = Teller {
            source: [192, 0, 2, 1].into(),
            cookies: cookies.as_ref(),
            identity: Some(&identity),
            keepalive: 300,
            is_encrypted: false,
        };
        let options = options.concat();
        let told = Told::new(&read(&options).unwrap(), &teller);
        let len = told.octets().len();
        assert_eq!((len, len), (MAX_TOLD, 4 + 24 + 4 + 64 + 4 + 20 + 4 + 2));
        assert!(told.octets().ends_with(&option(KEEPALIVE, &[1, 44])));
    }

    proptest! {
        #[test]
        fn no_options_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes);
        }
    }
}
