//! `alternator-dns reload`: has a running server load everything again, and tells what came of it.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::client::{ServerArgs, run_client};

#[derive(Debug, Args)]
#[command(after_help = "\
Reads the configuration, zone files and certificates again, with the environment and the options the server was started
with. Where anything is wrong, nothing changes, and every reason is printed. What takes a restart is named.

Exit status: 0 reloaded; 1 not: see the reasons, or the server cannot be reached; 2 wrong usage")]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Reloaded {
    result: String,
}

pub(super) fn run(args: &ReloadArgs) -> u8 {
    run_client(async || {
        let reloaded: Reloaded = args.server.client()?.post("/reload", &json!({})).await?;
        println!("{}", reloaded.result);
        Ok(0)
    })
}
