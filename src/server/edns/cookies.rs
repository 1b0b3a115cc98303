//! DNS cookies: a mark that whoever brings it back has received a reply of ours at its address (RFC 7873), made so that
//! servers with the same secret accept each other's (RFC 9018).

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use siphasher::sip::SipHasher24;

use crate::config::{CookieConfig, CookiePolicy, CookieSecret};

/// Octets of a client's part and of our part.
pub(super) const CLIENT_LEN: usize = 8;
pub(super) const SERVER_LEN: usize = 16;

/// Octets of version, reserved octets and time, in front of the hash.
const HEAD_LEN: usize = 8;

/// The only version there is (RFC 9018 section 4.1), and the reserved octets behind it.
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// How old a cookie may be, and how far ahead its maker's clock, seconds (RFC 9018 section 4.3).
const MAX_AGE: u32 = 3600;
const MAX_AHEAD: u32 = 300;

/// From which age on a cookie is replaced, seconds: "more than half an hour old" (RFC 9018 section 4.3).
const RENEW_AGE: u32 = 1800;

/// The cookies of a server.
#[derive(Clone, Debug)]
pub struct Cookies {
    /// The first makes cookies, all are accepted. Never empty.
    secrets: Vec<CookieSecret>,
    /// Whether those who know cookies must bring a valid one over UDP.
    pub(in crate::server) is_required: bool,
}

/// What a cookie that came with a query is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Cookie {
    /// Whether it holds a valid server part.
    pub(in crate::server) is_valid: bool,
    /// Whether it holds a server part at all.
    pub(in crate::server) has_server_part: bool,
    /// What goes into the reply.
    pub(super) reply: [u8; CLIENT_LEN + SERVER_LEN],
}

impl Cookies {
    /// Cookies as configured; `None` where they are off.
    pub fn new(config: &CookieConfig) -> Result<Option<Self>, getrandom::Error> {
        Ok(Self::with(config, &Self::made_up()?))
    }

    /// The same with this secret where none is configured.
    pub(in crate::server) fn with(config: &CookieConfig, made_up: &CookieSecret) -> Option<Self> {
        if config.policy == CookiePolicy::Off {
            return None;
        }
        let mut secrets = config.secrets.clone();
        if secrets.is_empty() {
            secrets.push(*made_up);
        }
        Some(Cookies { secrets, is_required: config.policy == CookiePolicy::Required })
    }

    /// A secret that nobody knows.
    pub(in crate::server) fn made_up() -> Result<CookieSecret, getrandom::Error> {
        let mut secret = CookieSecret::default();
        getrandom::fill(&mut secret)?;
        Ok(secret)
    }

    /// Judges the cookie of a query from this address, and makes the one for the reply; `cookie` is an option's data
    /// of an allowed length. `now` is in seconds since 1970, modulo 2^32.
    pub(super) fn judge(&self, cookie: &[u8], source: IpAddr, now: u32) -> Option<Cookie> {
        let (client, server) = cookie.split_first_chunk::<CLIENT_LEN>()?;
        let is_valid = self.is_valid(client, server, source, now);
        let mut reply = [0; CLIENT_LEN + SERVER_LEN];
        reply[..CLIENT_LEN].copy_from_slice(client);
        // One that is young enough is handed back as it is, if it is of the secret in use.
        let is_kept = is_valid && age(server, now) <= RENEW_AGE && self.made(0, client, server, source);
        if is_kept {
            reply[CLIENT_LEN..].copy_from_slice(server);
        } else {
            let mut head = [0; HEAD_LEN];
            head[..4].copy_from_slice(&VERSION);
            head[4..].copy_from_slice(&now.to_be_bytes());
            reply[CLIENT_LEN..][..HEAD_LEN].copy_from_slice(&head);
            reply[CLIENT_LEN + HEAD_LEN..].copy_from_slice(&hash_of(&self.secrets[0], client, &head, source));
        }
        Some(Cookie { is_valid, has_server_part: !server.is_empty(), reply })
    }

    fn is_valid(&self, client: &[u8; CLIENT_LEN], server: &[u8], source: IpAddr, now: u32) -> bool {
        // The reserved octets are covered by the hash, whatever they are.
        server.len() == SERVER_LEN
            && server[0] == VERSION[0]
            && (age(server, now) <= MAX_AGE || age(server, now) >= MAX_AHEAD.wrapping_neg())
            && (0..self.secrets.len()).any(|secret| self.made(secret, client, server, source))
    }

    /// Whether this secret made a server part.
    fn made(&self, secret: usize, client: &[u8; CLIENT_LEN], server: &[u8], source: IpAddr) -> bool {
        let (Some(head), Some(hash)) = (server.first_chunk(), server.last_chunk()) else { return false };
        // Compared as one number, so that the time it takes tells nothing of where they differ.
        u64::from_ne_bytes(hash_of(&self.secrets[secret], client, head, source)) == u64::from_ne_bytes(*hash)
    }
}

/// Seconds since a server part was made; huge where that is in the future. Serial arithmetic (RFC 1982), as RFC 9018
/// section 4.3 asks for.
fn age(server: &[u8], now: u32) -> u32 {
    let made = server.get(4..8).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_be_bytes);
    // Ages beyond the half of the range are negative ones.
    now.wrapping_sub(made)
}

/// RFC 9018 section 4.4: SipHash-2-4 of the client's part, version, reserved octets, time and the client's address.
fn hash_of(secret: &CookieSecret, client: &[u8; CLIENT_LEN], head: &[u8; HEAD_LEN], source: IpAddr) -> [u8; 8] {
    let mut message = [0; CLIENT_LEN + HEAD_LEN + 16];
    let (marks, address) = message.split_at_mut(CLIENT_LEN + HEAD_LEN);
    marks[..CLIENT_LEN].copy_from_slice(client);
    marks[CLIENT_LEN..].copy_from_slice(head);
    let len = match source {
        IpAddr::V4(source) => {
            address[..4].copy_from_slice(&source.octets());
            4
        }
        IpAddr::V6(source) => {
            address.copy_from_slice(&source.octets());
            16
        }
    };
    SipHasher24::new_with_key(secret).hash(&message[..CLIENT_LEN + HEAD_LEN + len]).to_le_bytes()
}

/// Seconds since 1970, modulo 2^32.
pub(super) fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    fn cookies(secrets: &[&str]) -> Cookies {
        Cookies { secrets: secrets.iter().map(|secret| hex(secret)).collect(), is_required: false }
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// The test vectors of RFC 9018 appendix A.
    #[test]
    fn cookies_are_those_of_the_standard() {
        let judged = |cookies: &Cookies, cookie: &[u8], source: &str, now| {
            let cookie = cookies.judge(cookie, source.parse().unwrap(), now).unwrap();
            (cookie.is_valid, cookie.reply)
        };
        let one = cookies(&[SECRET]);
        // A.1: learning a cookie.
        let first: [u8; 24] = hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        assert_eq!(judged(&one, &first[..8], "198.51.100.100", 1_559_731_985), (false, first));
        // A.2: the same client learns a renewed one.
        let renewed: [u8; 24] = hex("2464c4abcf10c957010000005cf7a871d4a564a1442aca77");
        assert_eq!(judged(&one, &first, "198.51.100.100", 1_559_734_385), (true, renewed));
        // A.3: another client; the reserved octets of its cookie are not zero, and it is almost two hours old.
        let other: [u8; 24] = hex("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let renewed: [u8; 24] = hex("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        assert_eq!(judged(&one, &other, "203.0.113.203", 1_559_734_700), (false, renewed));
        assert!(judged(&one, &other, "203.0.113.203", 0x5cf7_8f71 + 60).0);
        // A.4: IPv6, and a secret that was replaced.
        let two = cookies(&["445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"]);
        let source = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let old: [u8; 24] = hex("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let new: [u8; 24] = hex("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(judged(&two, &old, source, 1_559_741_961), (true, new));
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_and_renewed_after_half_of_one() {
        let (cookies, source, made) = (cookies(&[SECRET]), "192.0.2.1".parse().unwrap(), u32::MAX - 100);
        let cookie = cookies.judge(&[7; 8], source, made).unwrap().reply;
        // The clock wraps within the hour.
        for (after, is_valid, is_kept) in [
            (0, true, true),
            (1800, true, true),
            (1801, true, false),
            (3600, true, false),
            (3601, false, false),
            (u32::MAX / 2, false, false),
            (300u32.wrapping_neg(), true, false),
            (301u32.wrapping_neg(), false, false),
        ] {
            let judged = cookies.judge(&cookie, source, made.wrapping_add(after)).unwrap();
            assert_eq!((judged.is_valid, judged.reply == cookie), (is_valid, is_kept), "{after}");
        }
    }

    #[test]
    fn a_cookie_of_the_secret_before_is_good_and_replaced() {
        let (old, new) = ("00000000000000000000000000000001", "00000000000000000000000000000002");
        let source = "fd00::1".parse().unwrap();
        let cookie = cookies(&[old]).judge(&[7; 8], source, 1000).unwrap().reply;
        let judged = cookies(&[new, old]).judge(&cookie, source, 1001).unwrap();
        assert!(judged.is_valid && judged.reply != cookie);
        assert!(!cookies(&[new]).judge(&cookie, source, 1001).unwrap().is_valid);
    }

    proptest! {
        #[test]
        fn no_other_cookie_is_good(at in 0..24usize, bit in 0..8u32, len in 9..40usize, last: u8) {
            let cookies = cookies(&[SECRET]);
            let source = IpAddr::from([192, 0, 2, 1]);
            let good = cookies.judge(b"a client", source, 5000).unwrap().reply;
            let mut bad = good;
            bad[at] ^= 1 << bit;
            prop_assert!(!cookies.judge(&bad, source, 5000).unwrap().is_valid);
            let mut cut = good.to_vec();
            cut.resize(len, last);
            prop_assert_eq!(cookies.judge(&cut, source, 5000).unwrap().is_valid, cut == good);
            prop_assert!(!cookies.judge(&good, [192, 0, 2, 2].into(), 5000).unwrap().is_valid);
        }
    }
}
