//! DNS over TLS, HTTPS and QUIC: each as such, and what all have in common.

mod abuse;
mod answers;
mod certificates;
pub mod clients;
mod https;
mod limits;
mod quic;
mod sessions;
mod tls;
