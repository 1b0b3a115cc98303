//! Steering by hand: `drain`, `undrain`, `force-up`, `overrides`.

use std::{
    fs,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError, ServerArgs, run_client};
use crate::{
    cli::{FAILED, clean, second},
    overrides::{List, Listed, RemoveReply, SetReply, Standing, State, Told},
};

/// How often `--wait` asks: it ends at most so much later than it could.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How long `--wait` bears a server that does not reply: longer than one takes to be replaced or restarted.
const BEAR: Duration = Duration::from_secs(10);

/// Nodes told by address.
const NODES_TOLD: usize = 8;

/// What `--wait` cannot promise.
const OUTSIDE: &str = "(outside of this promise: resolvers that keep answers longer than their TTL, connections that \
                       are open, and other servers of the zone)";

#[derive(Debug, Args)]
#[command(after_help = "\
TARGET: a node (10.0.0.1), a rack (dc1/rack1), a datacenter (dc1), a network (10.0.0.0/24) or a glob (\"dc1/rack*\").
The most specific target decides; of equals, the one set last: \"drain dc1\" and \"force-up 10.0.0.1\" is an exception.

Exit status: 0 fine (with --wait: the nodes may be stopped); 1 not done, or the nodes stay answered; 2 wrong usage

Example: alternator-dns drain dc1/rack1 --for 2h --reason \"kernel upgrade\" --wait && ssh ...")]
pub(super) struct DrainArgs {
    /// Nodes to take out of the answers
    target: String,
    /// How long [default: until undrained]
    #[arg(long = "for", value_name = "DUR")]
    lasts: Option<String>,
    /// Begin only after this time
    #[arg(long = "in", value_name = "DUR")]
    begins_in: Option<String>,
    #[command(flatten)]
    why: WhyArgs,
    /// Wait until the last answer with the nodes has expired: they may be stopped then
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct ForceUpArgs {
    /// Nodes to answer whatever their probes say
    target: String,
    /// How long [default: 1h]
    #[arg(long = "for", value_name = "DUR")]
    lasts: Option<String>,
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    /// Target exactly as it was drained or forced up
    target: String,
    /// Take back only this: drain or force-up [default: whatever is set for the target]
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Take back what was set for this zone alone
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Who does it [default: the login name, and the host]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct OverridesArgs {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct WhyArgs {
    /// Why; shown wherever the override is
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// In this zone alone
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Who does it [default: the login name, and the host]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

pub(super) fn drain(args: &DrainArgs) -> u8 {
    run_client(|| async {
        let client = args.server.client()?;
        let order = order(&args.target, "drain", &args.lasts, &args.begins_in, &args.why);
        let reply: SetReply = client.post("/overrides", &order).await?;
        tell_set(&reply);
        if args.wait { wait(&client, &reply).await } else { Ok(0) }
    })
}

pub(super) fn force_up(args: &ForceUpArgs) -> u8 {
    run_client(|| async {
        let order = order(&args.target, "force-up", &args.lasts, &None, &args.why);
        tell_set(&args.server.client()?.post("/overrides", &order).await?);
        Ok(0)
    })
}

pub(super) fn undrain(args: &UndrainArgs) -> u8 {
    run_client(|| async {
        let by = args.by.clone().unwrap_or_else(whoami);
        let named = [
            ("target", Some(&args.target)),
            ("action", args.action.as_ref()),
            ("zone", args.zone.as_ref()),
            ("by", Some(&by)),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(value?))));
        let path = format!("/overrides?{}", named.collect::<Vec<_>>().join("&"));
        let reply: RemoveReply = args.server.client()?.delete(&path, &json!({})).await?;
        for gone in &reply.removed {
            println!("taken back: {}", told(gone));
        }
        warn(&reply.warnings);
        Ok(0)
    })
}

pub(super) fn list(args: &OverridesArgs) -> u8 {
    run_client(|| async {
        let List { overrides } = args.server.client()?.get("/overrides").await?;
        if overrides.is_empty() {
            println!("nobody is drained or forced up");
        } else {
            print!("{}", table(&overrides));
        }
        Ok(0)
    })
}

fn order(target: &str, action: &str, lasts: &Option<String>, begins_in: &Option<String>, why: &WhyArgs) -> Value {
    json!({
        "target": target,
        "action": action,
        "for": lasts,
        "in": begins_in,
        "zone": why.zone,
        "reason": why.reason,
        "by": why.by.clone().unwrap_or_else(whoami),
    })
}

/// `LOGIN@HOST`: who is behind this command, even when it runs as root.
fn whoami() -> String {
    let login = ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let login = login.unwrap_or_else(|| login_of(&rustix::process::getuid().as_raw().to_string()));
    let host = ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|file| fs::read_to_string(file).ok());
    match host.as_deref().map(str::trim).filter(|host| !host.is_empty()) {
        Some(host) => format!("{login}@{host}"),
        None => login,
    }
}

/// The login of a user's number, as this machine's own list has it.
fn login_of(uid: &str) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let login = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    };
    users.lines().find_map(login).unwrap_or_else(|| format!("uid{uid}"))
}

/// A value of a URL (RFC 3986 section 2.1).
fn encoded(value: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    value.bytes().map(octet).collect()
}

fn tell_set(reply: &SetReply) {
    if let Some(replaced) = &reply.replaced {
        println!("replaces: {}", told(replaced));
    }
    println!("set: {}", told(&reply.known));
    let addresses: Vec<&str> = reply.nodes.iter().take(NODES_TOLD).map(|node| node.address.as_str()).collect();
    match (reply.matches, reply.matches - addresses.len().min(reply.matches)) {
        (0, _) => {}
        (1, _) => println!("nodes: {}", addresses.join(", ")),
        (many, 0) => println!("nodes: {} ({many})", addresses.join(", ")),
        (many, more) => println!("nodes: {} and {more} more ({many})", addresses.join(", ")),
    }
    warn(&reply.warnings);
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("alternator-dns: warning: {}", clean(warning)));
}

/// `drain dc1/rack1 from ... until ... by ops@host: why`.
fn told(known: &Told) -> String {
    let action = &known.action;
    let zone = known.zone.as_ref().map_or_else(String::new, |zone| format!(" in zone {zone}"));
    let until = known.until.as_deref().map_or_else(|| "undrained".to_owned(), second);
    let until = if known.until.is_none() && known.action != "drain" { "taken back".to_owned() } else { until };
    let reason = if known.reason.is_empty() { String::new() } else { format!(": {}", known.reason) };
    format!("{action} {}{zone} from {} until {until} by {}{reason}", known.target, second(&known.from), known.by)
}

/// The list in columns.
fn table(overrides: &[Listed]) -> String {
    let head = ["TARGET", "ACTION", "STATE", "NODES", "ZONE", "FROM", "UNTIL", "BY", "ORIGIN", "REASON"];
    let row = |listed: &Listed| {
        let known = &listed.known;
        [
            known.target.clone(),
            known.action.clone(),
            if listed.in_force { "in force" } else { "pending" }.to_owned(),
            listed.matches.to_string(),
            known.zone.clone().unwrap_or_else(|| "all".to_owned()),
            second(&known.from),
            known.until.as_deref().map_or_else(|| "-".to_owned(), second),
            known.by.clone(),
            known.origin.clone(),
            known.reason.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(overrides.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 10]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Waits until the nodes of a drain may be stopped.
async fn wait(client: &Client, set: &SetReply) -> Result<u8, ClientError> {
    let mut named = vec![("target", set.known.target.as_str())];
    named.extend(set.known.zone.as_deref().map(|zone| ("zone", zone)));
    let (mut before, mut silent_since, mut is_known) = (String::new(), None, false);
    let target = &set.known.target;
    loop {
        let standing: Standing = match client.get_with("/drain-state", &named).await {
            Ok(standing) => standing,
            // It may be in the middle of being replaced.
            Err(error @ ClientError::Unreachable(_)) => {
                // Its successor may know other nodes.
                is_known = false;
                if silent_since.get_or_insert_with(Instant::now).elapsed() > BEAR {
                    return Err(error);
                }
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        silent_since = None;
        // The cluster may have forgotten the nodes that were waited for; they are told of until their TTL is over.
        let is_forgotten = is_known && standing.nodes.is_empty();
        if standing.nodes.is_empty() && !is_forgotten {
            eprintln!("alternator-dns: not safe to say: no node is known that \"{target}\" means");
            return Ok(FAILED);
        }
        is_known = true;
        if standing.safe || is_forgotten {
            println!("safe to stop now: the last answer with {target} has expired {OUTSIDE}");
            return Ok(0);
        }
        if let Some(why) = &standing.stays {
            eprintln!("alternator-dns: not safe to stop: {why}");
            return Ok(FAILED);
        }
        let now = progress(&standing);
        if now != before {
            println!("{now}");
            before = now;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Where the nodes are on their way out; changes once a second at most.
fn progress(standing: &Standing) -> String {
    let count = |state| standing.nodes.iter().filter(|node| node.state == state).count();
    let (pending, leaving, all) = (count(State::Pending), count(State::Leaving), standing.nodes.len());
    match standing.safe_in {
        Some(seconds) => format!("waiting: out of all answers; caches may hold the last ones for {seconds:.0} s"),
        None => format!("waiting: {pending} of {all} nodes still answered, {leaving} in the last answers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_urls_are_encoded() {
        assert_eq!(encoded("dc1/r*k 1&ß"), "dc1%2Fr%2Ak%201%26%C3%9F");
    }

    #[test]
    fn the_list_is_in_columns() {
        let known = Told {
            target: "dc1/rack1".to_owned(),
            action: "force-up".to_owned(),
            zone: None,
            from: "2026-11-21T12:00:00.000Z".to_owned(),
            until: Some("2026-11-21T14:00:00.000Z".to_owned()),
            set_at: "2026-11-21T12:00:00.000Z".to_owned(),
            by: "ops@host".to_owned(),
            reason: "why".to_owned(),
            origin: "api".to_owned(),
        };
        assert_eq!(
            told(&known),
            "force-up dc1/rack1 from 2026-11-21 12:00:00Z until 2026-11-21 14:00:00Z by ops@host: why"
        );
        let listed = table(&[Listed { known, in_force: true, matches: 3 }]);
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("in force"));
        assert!(lines[1].ends_with("ops@host  api     why"), "{listed}");
    }
}
