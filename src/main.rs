//! The `alternator-dns` program. Everything is in the library; see its front page for the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    alternator_dns::cli::run()
}
