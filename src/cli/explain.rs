//! `alternator-dns explain`: how the answer to one question comes about, asked from a running server or made from files.

use std::{fmt::Display, sync::Arc, time::SystemTime};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    FAILED, MISCONFIGURED, clean,
    client::{ClientError, ServerArgs, run_client},
    load,
};
use crate::{
    app::load_zones,
    config::{Config, Flags, NO_ZONE, ZoneConfig},
    explain::{Question, explain},
    model::{ClusterView, Health, Overrides, Topology},
    overrides, state,
    table::{Table, ZonePlan, ZoneSource, compile_zone},
    zone::file::StaticZone,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 told, whatever the answer is; 1 the server cannot be reached, or does not tell; 2 wrong usage

Examples:
  alternator-dns explain dc1.rack1.alternator.local
  alternator-dns explain alternator.local --type AAAA --client 10.0.0.7
  alternator-dns explain alternator.local --offline --config alternator-dns.toml")]
pub(super) struct ExplainArgs {
    /// The name asked for
    #[arg(value_name = "NAME")]
    name: String,
    /// The type asked for [default: A]
    #[arg(long = "type", value_name = "TYPE")]
    rtype: Option<String>,
    /// Who asks: what may be asked, and how many addresses are answered, depends on it [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Ask no server: what one would answer right after a start, by configuration and state file
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// An explanation as text.
#[derive(Deserialize)]
struct Lines {
    lines: Vec<String>,
}

pub(super) fn run(args: &ExplainArgs) -> u8 {
    // The server understands the same, but what is mistyped need not travel.
    let question = match Question::read(&args.name, args.rtype.as_deref(), args.client.as_deref()) {
        Ok(question) => question,
        Err(error) => return wrong(&[error]),
    };
    if args.offline {
        return offline(args, &question);
    }
    run_client(async || {
        let client = args.server.client()?;
        let (rtype, asker) = (question.rtype.to_string(), question.client.to_string());
        let format = if args.json { "json" } else { "lines" };
        let variables = [("name", &*args.name), ("type", &*rtype), ("client", &*asker), ("format", format)];
        if args.json {
            let told: Value = client.get_with("/explain", &variables).await?;
            println!("{told:#}");
        } else {
            let told: Lines = client.get_with("/explain", &variables).await?;
            told.lines.iter().for_each(|line| println!("{}", clean(line)));
        }
        Ok::<u8, ClientError>(0)
    })
}

fn wrong(problems: &[impl Display]) -> u8 {
    problems.iter().for_each(|problem| eprintln!("alternator-dns: {problem}"));
    MISCONFIGURED
}

fn offline(args: &ExplainArgs, question: &Question) -> u8 {
    if args.server.is_named() {
        return wrong(&["--offline asks no server: leave out --server, or --offline"]);
    }
    let flags = Flags { config: args.server.config_file(), ..Flags::default() };
    let config = match load(&flags) {
        Ok(loaded) => loaded.config,
        Err(problems) => return wrong(&problems),
    };
    if config.zones.is_empty() {
        return wrong(&[NO_ZONE]);
    }
    let statics = match load_zones(&config) {
        Ok(statics) => statics,
        Err(problems) => return wrong(&problems),
    };
    let overrides = match overrides::look(config.server.state_dir.as_deref(), config.server.overrides.as_deref()) {
        Ok((overrides, damaged)) => {
            damaged.iter().for_each(|reason| eprintln!("alternator-dns: without the saved overrides: {reason}"));
            Arc::new(overrides)
        }
        Err(problems) => return wrong(&problems),
    };
    let table = table(&config, statics, &overrides);
    let explanation = explain(&table, &config.server, question, fastrand::u64(..));
    if args.json {
        match serde_json::to_string_pretty(&explanation) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("alternator-dns: {error}");
                return FAILED;
            }
        }
    } else {
        print!("{explanation}");
    }
    0
}

/// What a server would serve right after a start.
fn table(config: &Config, statics: Vec<StaticZone>, overrides: &Arc<Overrides>) -> Table {
    let zones = config.zones.iter().zip(statics).map(|(zone, statics)| {
        let (epoch, topology) = remembered(config, zone);
        let health = Health { disabled: !zone.health.enabled, ..Health::default() };
        let view = ClusterView {
            topology: Arc::new(topology),
            health: Arc::new(health),
            overrides: overrides.clone(),
            // At a start nobody is known to serve.
            loan: None,
            unheard: false,
            now: SystemTime::now(),
        };
        let source = Arc::new(ZoneSource {
            config: zone.clone(),
            statics,
            listen: config.server.listen.clone(),
            demand: Arc::default(),
            meter: Arc::default(),
        });
        let plan = ZonePlan::new(&source, &view);
        Arc::new(compile_zone(source, plan, epoch, None, fastrand::u64(..)))
    });
    Table::new(zones)
}

/// Epoch and topology of the state file; nothing where there is none. The file is left where it is, whatever is wrong
/// with it: it is the server's.
fn remembered(config: &Config, zone: &ZoneConfig) -> (u32, Topology) {
    let Some(dir) = &config.server.state_dir else { return Default::default() };
    match state::look(dir, &zone.name(), &zone.cluster.seeds) {
        Ok(Some(known)) => (known.epoch, known.topology.of_places(zone.only_places().as_ref())),
        Ok(None) => Default::default(),
        Err(reason) => {
            eprintln!("alternator-dns: {}: without the state file: {reason}", zone.name());
            Default::default()
        }
    }
}
