//! A simulated Alternator cluster on loopback addresses.
