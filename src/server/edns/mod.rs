//! EDNS(0), RFC 6891: the OPT record of queries and replies, and its options.
//!
//! | option | RFC | what we do |
//! |---|---|---|
//! | 3 NSID | 5001 | `server.identity`, to whoever asks |
//! | 8 client subnet | 7871 | checked, and echoed with scope 0: answers do not depend on it |
//! | 10 cookie | 7873, 9018 | [`Cookies`] |
//! | 11 TCP keepalive | 7828 | the idle time-out, over TCP and TLS |
//! | 12 padding | 7830, 8467 | replies of whole blocks, where nobody can read along |
//! | 15 extended error | 8914 | [`Remark`](crate::table::Remark), the first to be left out where room is short |
//! | 19 zone version | 9660 | the SOA serial |
//!
//! Options we do not know are ignored (RFC 6891 section 6.1.2).

mod cookies;
mod options;

pub use self::cookies::Cookies;
pub(super) use self::{
    cookies::Cookie,
    options::{Asked, EXTENDED_ERROR, Malformed, PADDING, PADDING_BLOCK, Teller, Told, ZONE_VERSION, ZONE_VERSION_LEN},
};

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'p> {
    /// The asker's UDP payload size, as sent.
    pub udp_size: u16,
    /// EDNS version.
    pub version: u8,
    /// DNSSEC OK; copied to the reply (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// The options as sent. In version 0, they fill the record exactly.
    pub options: &'p [u8],
}

/// The UDP payload size we announce and never exceed: it crosses every common path unfragmented (the DNS flag day
/// 2020 value, which RFC 9715 section 3 recommends in substance).
pub(super) const UDP_SIZE: u16 = 1232;

/// What a UDP message may hold without EDNS (RFC 1035 section 4.2.1), and the least a size in OPT can mean
/// (RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512").
pub(super) const PLAIN_UDP_SIZE: u16 = 512;

/// Octets of an OPT record without options.
pub(super) const OPT_LEN: usize = 11;

/// Octets in front of an option's data: its code and its length.
pub(super) const OPTION_HEAD: usize = 4;

/// Largest reply over UDP to a query with this OPT.
#[inline]
pub(super) fn udp_limit(edns: Option<&Edns<'_>>) -> usize {
    usize::from(edns.map_or(PLAIN_UDP_SIZE, |edns| edns.udp_size.clamp(PLAIN_UDP_SIZE, UDP_SIZE)))
}

/// Appends our OPT: version 0, no options, DO as asked. `extended_rcode` holds the upper eight bits of the rcode.
#[inline]
pub(super) fn append_opt(out: &mut Vec<u8>, edns: &Edns<'_>, extended_rcode: u8) {
    let [size_high, size_low] = UDP_SIZE.to_be_bytes();
    let flags = u8::from(edns.dnssec_ok) << 7;
    let record: [u8; OPT_LEN] = [0, 0, 41, size_high, size_low, extended_rcode, 0, flags, 0, 0, 0];
    out.extend_from_slice(&record);
}

/// Whether options fill an OPT's data exactly. Which options they are does not matter here.
pub(super) fn well_formed(mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let Some((_, _, rest)) = first(data) else { return false };
        data = rest;
    }
    true
}

/// The first option: its code, its data, and what follows; `None` where there is none, or it goes beyond the end.
#[inline]
fn first(data: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([code_high, code_low, len_high, len_low], rest) = data.split_first_chunk::<OPTION_HEAD>()?;
    let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*len_high, *len_low])))?;
    Some((u16::from_be_bytes([*code_high, *code_low]), data, rest))
}
