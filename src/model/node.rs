//! One Alternator node.

use std::{net::IpAddr, sync::Arc};

/// One Alternator node: an address and where it stands.
///
/// Datacenter and rack are ScyllaDB's own spelling (case-sensitive free text); DNS labels are made from them in
/// `zone::label`. `None` means "not learnt", which is normal when the configuration names no datacenters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// The address clients connect to; IPv4-mapped IPv6 addresses are stored as IPv4.
    pub address: IpAddr,
    /// Datacenter, in ScyllaDB's spelling.
    pub datacenter: Option<Arc<str>>,
    /// Rack within the datacenter, in ScyllaDB's spelling.
    pub rack: Option<Arc<str>>,
}

impl Node {
    /// The node's place for people: `dc1/rack1`, `dc1`, or `-` where nothing is known.
    pub fn place(&self) -> String {
        match (&self.datacenter, &self.rack) {
            (Some(dc), Some(rack)) => format!("{dc}/{rack}"),
            (Some(dc), None) => dc.to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// Whether an address can be a client's destination: not unspecified, multicast or broadcast.
///
/// A list from a node may hold such entries (`rpc_address: 0.0.0.0` without a broadcast address is the usual cause).
/// Loopback is usable: development clusters live there.
pub fn is_usable_address(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_nobody_can_connect_to_are_not_usable() {
        for bad in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(!is_usable_address(bad.parse().unwrap()), "{bad}");
        }
        for good in ["10.0.0.1", "127.0.0.1", "::1", "fd00::1"] {
            assert!(is_usable_address(good.parse().unwrap()), "{good}");
        }
    }
}
