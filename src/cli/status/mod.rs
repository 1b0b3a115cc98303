//! `alternator-dns status`: what a running server believes, why, and since when, on one screen.

mod rates;
mod screen;

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use self::{
    rates::Rates,
    screen::{Paint, screen},
};
use super::{
    clean,
    client::{Client, ClientError, ServerArgs, run_client},
    is_unread,
};
use crate::admin::Status;

/// Time between two looks of `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Changes told.
const CHANGES: u64 = 10;

/// Clears the screen and goes to its beginning (ECMA-48 ED, CUP).
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 told; 1 the server cannot be reached, or does not tell; 2 wrong usage

Examples:
  alternator-dns status
  alternator-dns status --watch --server dns1.example:8053 --token-file token
  alternator-dns status --json | jq '.zones[].nodes[] | select(.in | not)'")]
pub(super) struct StatusArgs {
    /// Tell again every second; to a file or pipe, whenever something changed
    #[arg(long)]
    watch: bool,
    /// The whole status, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// One change of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Change {
    at: String,
    zone: Option<String>,
    kind: String,
    subject: String,
    text: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Changes {
    changes: Vec<Change>,
}

pub(super) fn run(args: &StatusArgs) -> u8 {
    run_client(async || {
        let client = args.server.client()?;
        match (args.watch, args.json) {
            (false, true) => {
                let status: Value = client.get("/status.json").await?;
                println!("{status:#}");
            }
            (false, false) => {
                let look = Look::of(&client).await?;
                let paint = Paint::new(io::stdout().is_terminal());
                print!("{}", screen(client.server(), &look.status, &look.changes, &Rates::default(), paint));
            }
            (true, is_json) => watch(&client, is_json).await,
        }
        Ok(0)
    })
}

/// What is seen of a server at one moment.
struct Look {
    status: Status,
    changes: Vec<Change>,
}

impl Look {
    async fn of(client: &Client) -> Result<Self, ClientError> {
        let status: Status = client.get("/status.json").await?;
        let since = status.events.latest.saturating_sub(CHANGES).to_string();
        let Changes { changes } = client.get_with("/events.json", &[("since", &since)]).await?;
        Ok(Look { status, changes })
    }

    /// What is another with each change, and with nothing else.
    fn mark(&self) -> String {
        let mut mark = format!("{:?} {} ", self.status.server.reload, self.status.events.latest);
        for zone in &self.status.zones {
            mark.push_str(&format!("{} {} ", zone.name, zone.epoch));
        }
        mark
    }
}

/// Tells again and again, until somebody ends it or nobody reads it.
async fn watch(client: &Client, is_json: bool) {
    let is_terminal = io::stdout().is_terminal();
    let (mut rates, mut mark) = (Rates::default(), None);
    loop {
        match Look::of(client).await {
            Ok(look) => {
                rates.add(&look.status);
                let new = Some(look.mark());
                if is_json {
                    if mark != new {
                        println!("{}", serde_json::to_value(&look.status).unwrap_or_default());
                    }
                } else if is_terminal || mark != new {
                    let clear = if is_terminal { CLEAR } else { "" };
                    let text = screen(client.server(), &look.status, &look.changes, &rates, Paint::new(is_terminal));
                    print!("{clear}{text}");
                    if !is_terminal {
                        println!("");
                    }
                }
                mark = new;
            }
            Err(error) => {
                let new = Some(error.to_string());
                if mark != new {
                    let clear = if is_terminal && !is_json { CLEAR } else { "" };
                    eprintln!("{clear}alternator-dns: {}; trying on", clean(&error.to_string()));
                }
                mark = new;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if is_unread() {
            return;
        }
    }
}
