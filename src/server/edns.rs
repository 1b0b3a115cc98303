//! EDNS(0), RFC 6891.

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The asker's UDP payload size, as sent.
    pub udp_size: u16,
    /// EDNS version.
    pub version: u8,
    /// DNSSEC OK; copied to the reply (RFC 3225 section 3).
    pub dnssec_ok: bool,
}

/// The UDP payload size we announce and never exceed: it crosses every common path unfragmented (the DNS flag day
/// 2020 value, which RFC 9715 section 3 recommends in substance).
pub(super) const UDP_SIZE: u16 = 1232;

/// What a UDP message may hold without EDNS (RFC 1035 section 4.2.1), and the least a size in OPT can mean
/// (RFC 6891 section 6.2.3: "Values lower than 512 MUST be treated as equal to 512").
pub(super) const PLAIN_UDP_SIZE: u16 = 512;

/// Octets of an OPT record without options.
pub(super) const OPT_LEN: usize = 11;

/// Largest reply over UDP to a query with this OPT.
pub(super) fn udp_limit(edns: Option<&Edns>) -> usize {
    usize::from(edns.map_or(PLAIN_UDP_SIZE, |edns| edns.udp_size.clamp(PLAIN_UDP_SIZE, UDP_SIZE)))
}

/// Appends our OPT: version 0, no options, DO as asked. `extended_rcode` holds the upper eight bits of the rcode.
pub(super) fn append_opt(out: &mut Vec<u8>, edns: &Edns, extended_rcode: u8) {
    let [size_high, size_low] = UDP_SIZE.to_be_bytes();
    let flags = u8::from(edns.dnssec_ok) << 7;
    let record: [u8; OPT_LEN] = [0, 0, 41, size_high, size_low, extended_rcode, 0, flags, 0, 0, 0];
    out.extend_from_slice(&record);
}
