//! Logs: one line per transition, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. hickory's server logs every response at info; ours are counted. HTTP/2
/// and QUIC warn of what any client can send as often as it likes.
const DEFAULT_FILTER: &str = "info,hickory_server=warn,h2=error,quinn_proto=error";

/// Starts logging. Called once, by the binary.
pub fn start(default_filter: Option<&str>) {
    // An empty variable is one that is not set, as for the configuration.
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.trim().is_empty());
    let filter = asked.as_deref().or(default_filter).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
