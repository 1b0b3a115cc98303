//! `alternator-dns discover`: the cluster as one node tells of it, the names it would be served by, and the names a
//! certificate needs.
//!
//! | word | meaning |
//! |---|---|
//! | [`Sighting`] | all that is told: nodes, names, what is odd |
//! | SANs | the names of a certificate (`subjectAltName`) |
//! | hint | what a seed that does not answer would have answered to |
//!
//! `sighting`, `present` and `sans` are pure.

mod hint;
mod present;
mod sans;
mod sighting;

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc, time::SystemTime};

use clap::Args;
use futures_util::{StreamExt, stream};

use self::sighting::{SeenNode, Sighting, Source};
use super::{ConfigArg, FAILED, MISCONFIGURED, check, load, run_async};
use crate::{
    app::load_zones,
    config::{Credentials, DiscoveryMode, Flags, Problem, Seed, ZoneConfig},
    discovery::{
        self, list_of, look_at,
        tables::{self, Reader, TableFailure, TableView},
    },
    http::{NodeClient, NodeIdentity},
    model::Failure,
    zone::file::StaticZone,
};

/// The tables cannot be read, so that there may be more than is told.
const INCOMPLETE: u8 = 3;

/// Addresses of seeds that are tried.
const MOST_SEEDS: usize = 16;

/// Nodes asked at the same time whether they answer, and what they run.
const AT_ONCE: usize = 16;

/// Longest body of `GET /` read; ScyllaDB's is a line.
const HEALTH_BODY: usize = 64 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Whatever a configuration file or the environment says of the cluster holds here too (ALTERNATOR_DNS_CLUSTER__SERVER_NAME,
ALTERNATOR_DNS_CLUSTER__ACCESS_KEY_ID and so on). A role needs SELECT on system.local, system.peers, system.cluster_status;
for all that can be told also on system.topology, system.client_routes, system.versions.

Exit status: 0 all is told; 1 no seed answers; 2 wrong usage or configuration; 3 the tables cannot be read, there may be more

Examples: alternator-dns discover --seed 10.0.0.1
          alternator-dns discover --seed 10.0.0.1 --scheme https --port 8043 --ca-file ca.pem --credentials-file keys
          alternator-dns discover --seed 10.0.0.1 --zone db.example.com --sans")]
pub(super) struct DiscoverArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Zone it would be served as; needed where the configuration has several
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Node to ask: an address or a host name; may be given several times, the first that answers counts
    #[arg(long = "seed", value_name = "HOST")]
    seeds: Vec<String>,
    /// Alternator port of all nodes [default: 8000]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Scheme the nodes speak: http or https [default: http]
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// Authorities that nodes' certificates come from, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Take any certificate
    #[arg(long)]
    insecure_skip_verify: bool,
    /// Role and secret to sign requests with, as the AWS tools have them
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "sans")]
    json: bool,
    /// Print only the names a certificate needs, one a line
    #[arg(long)]
    sans: bool,
    /// Names for a certificate without wildcards, those of the nodes included
    #[arg(long)]
    no_wildcards: bool,
}

pub(super) fn run(args: DiscoverArgs) -> u8 {
    let (zone, statics) = match zone(&args) {
        Ok(found) => found,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("alternator-dns: {problem}"));
            return MISCONFIGURED;
        }
    };
    run_async(|mut signals| async move {
        tokio::select! {
            code = discover(&args, &zone, &statics) => code,
            () = signals.received() => FAILED,
        }
    })
}

/// The zone that is meant, with what the flags say of its cluster.
fn zone(args: &DiscoverArgs) -> Result<(ZoneConfig, StaticZone), Vec<String>> {
    let told = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>();
    let flags = Flags {
        config: args.config.file.clone(),
        zone: args.zone.clone(),
        seeds: args.seeds.clone(),
        port: args.port,
        scheme: args.scheme.clone(),
        ..Flags::default()
    };
    let mut config = load(&flags).map_err(told)?.config;
    let wanted = args.zone.as_deref().map(|zone| zone.trim_end_matches('.').to_ascii_lowercase());
    config.zones.retain(|zone| wanted.as_ref().is_none_or(|wanted| sighting::zone_name(zone) == *wanted));
    let mut statics = load_zones(&config).map_err(told)?;
    let (Some(mut zone), Some(statics)) = (config.zones.pop(), statics.pop()) else {
        return Err(vec!["name a node to ask: --seed HOST".to_owned()]);
    };
    if !config.zones.is_empty() {
        return Err(vec!["the configuration has several zones: name one with --zone".to_owned()]);
    }
    if zone.cluster.seeds.is_empty() {
        return Err(vec!["the zone has no seeds: name a node to ask with --seed HOST".to_owned()]);
    }
    let cluster = &mut zone.cluster;
    cluster.tls.ca_file = args.ca_file.clone().or(cluster.tls.ca_file.take());
    cluster.tls.insecure_skip_verify |= args.insecure_skip_verify;
    let file = args.credentials_file.clone().map(Credentials::File);
    cluster.credentials = file.or(cluster.credentials.take());
    Ok((zone, statics))
}

async fn discover(args: &DiscoverArgs, zone: &ZoneConfig, statics: &StaticZone) -> u8 {
    let wrong = |problem: &dyn std::fmt::Display| eprintln!("alternator-dns: {problem}");
    let identity = match NodeIdentity::read(&zone.cluster) {
        Ok(identity) => identity,
        Err(errors) => {
            errors.iter().for_each(|error| wrong(error));
            return MISCONFIGURED;
        }
    };
    identity.doubts(SystemTime::now()).iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let client = match NodeClient::new(&zone.cluster, &identity, discovery::LIMITS) {
        Ok(client) => client,
        Err(error) => {
            wrong(&format_args!("cannot set up TLS: {error}"));
            return MISCONFIGURED;
        }
    };
    let reader = Reader::new(zone.cluster.credentials.as_ref());
    let Some(found) = ask_seeds(&client, &reader, zone).await else { return FAILED };
    let mut nodes = found.nodes;
    ask_nodes(&client, &reader, &mut nodes, found.source).await;
    let names = sighting::names_with(zone, statics, &nodes);
    let seen = Sighting {
        zone: sighting::zone_name(zone),
        seed: found.seed,
        port: zone.cluster.port,
        source: found.source,
        reason: found.reason.map(|failure| failure.to_string()),
        datacenters: sighting::places(&nodes),
        names: sighting::scope_lines(&names, |index| check::names_of(&names, index, &zone.apex)),
        unnamed: names.refused.iter().map(ToString::to_string).collect(),
        sans: sighting::sans_of(&zone.apex, &names, &nodes, args.no_wildcards),
        nodes,
        notes: found.notes,
    };
    if args.sans {
        seen.sans.names.iter().for_each(|name| println!("{name}"));
        for name in &seen.sans.left_out {
            eprintln!("left out, because certificates hold no underscores: {name}; use the spelling with hyphens");
        }
        if let Some(reason) = &seen.reason {
            eprintln!("there may be more names: the system tables cannot be read: {reason}");
        }
    } else if args.json {
        match serde_json::to_string_pretty(&seen) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("alternator-dns: {error}");
                return FAILED;
            }
        }
    } else {
        print!("{}", present::told(&seen));
    }
    if seen.reason.is_some() { INCOMPLETE } else { 0 }
}

/// What a seed told.
struct Found {
    seed: IpAddr,
    source: Source,
    /// Why the tables were not read.
    reason: Option<TableFailure>,
    nodes: Vec<SeenNode>,
    notes: Vec<String>,
}

/// The first seed's tables that can be read; otherwise the first one's lists. Where there is neither, says why.
async fn ask_seeds(client: &NodeClient, reader: &Reader, zone: &ZoneConfig) -> Option<Found> {
    let mut listed: Option<Found> = None;
    let mut failed = Vec::new();
    for address in addresses(&zone.cluster.seeds).await {
        let mode = zone.cluster.discovery;
        let reason = match mode {
            DiscoveryMode::Localnodes => None,
            DiscoveryMode::Auto | DiscoveryMode::SystemTables => match tables::look_at(client, address, reader).await {
                Ok(view) => return Some(Found::tables(address, &view)),
                Err(failure) => Some(failure),
            },
        };
        // A node that is out of reach is not asked again, and where the tables alone count nothing else helps.
        let is_gone = |failure: &Failure| matches!(failure, Failure::Refused | Failure::Unreachable);
        let gone = matches!(&reason, Some(TableFailure::Node(failure)) if is_gone(failure));
        let lists = match &reason {
            Some(reason) if gone || mode == DiscoveryMode::SystemTables => Err(reason.to_string()),
            _ => lists(client, address, zone).await.map_err(|failure| failure.to_string()),
        };
        match lists {
            Ok((nodes, notes)) if listed.is_none() => {
                listed = Some(Found { seed: address, source: Source::Localnodes, reason, nodes, notes });
            }
            Ok(_) => {}
            Err(failure) => failed.push((address, failure)),
        }
    }
    if listed.is_none() {
        for (address, failure) in &failed {
            eprintln!("{address} port {}: {failure}", zone.cluster.port);
            if let Some(hint) = hint::other_way(&zone.cluster, *address).await {
                eprintln!("  {hint}");
            }
        }
        eprintln!("alternator-dns: no seed tells what the cluster is made of");
    }
    listed
}

impl Found {
    fn tables(seed: IpAddr, view: &TableView) -> Self {
        let (nodes, notes) = (sighting::nodes_of(view), sighting::notes_of(view));
        Found { seed, source: Source::SystemTables, reason: None, nodes, notes }
    }
}

/// The addresses of all seeds, in their order. Says which cannot be resolved.
async fn addresses(seeds: &[Seed]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for seed in seeds {
        match check::resolve(seed).await {
            Ok(addresses) => all.extend(addresses),
            Err(error) => eprintln!("{seed}: cannot be resolved: {error}"),
        }
    }
    all.truncate(MOST_SEEDS);
    all
}

/// The nodes in a node's lists: of its own datacenter, whichever that is, and of those that are configured.
async fn lists(client: &NodeClient, node: IpAddr, zone: &ZoneConfig) -> Result<(Vec<SeenNode>, Vec<String>), Failure> {
    let own = look_at(client, node).await?;
    let mut nodes: BTreeMap<IpAddr, SeenNode> =
        own.addresses.iter().map(|&address| (address, SeenNode::listed(address))).collect();
    let mut notes = Vec::new();
    let mut skipped = 0;
    if own.ignores_places == Some(true) {
        notes.push(
            "the node ignores dc and rack (older than ScyllaDB 2025.1): datacenters and racks cannot be told apart"
                .to_owned(),
        );
    } else {
        for (dc, racks) in &zone.cluster.datacenters {
            let list = list_of(client, node, dc, None).await?;
            skipped += list.skipped;
            for address in list.addresses {
                nodes.entry(address).or_insert_with(|| SeenNode::listed(address)).datacenter = Some(dc.to_string());
            }
            for rack in racks {
                for address in list_of(client, node, dc, Some(rack)).await?.addresses {
                    let seen = nodes.entry(address).or_insert_with(|| SeenNode::listed(address));
                    (seen.datacenter, seen.rack) = (Some(dc.to_string()), Some(rack.to_string()));
                }
            }
        }
    }
    // Its own datacenter may be among those asked for.
    let skipped = own.skipped.max(skipped);
    if skipped > 0 {
        notes.push(format!(
            "{} no usable address",
            sighting::counted(skipped, "entry of its lists is", "entries of its lists are")
        ));
    }
    let mut nodes: Vec<SeenNode> = nodes.into_values().collect();
    nodes.sort_by(|a, b| (&a.datacenter, &a.rack, a.address).cmp(&(&b.datacenter, &b.rack, b.address)));
    Ok((nodes, notes))
}

/// Asks every node whether its port answers, and what it runs: only a node itself tells its release.
async fn ask_nodes(client: &NodeClient, reader: &Reader, nodes: &mut [SeenNode], source: Source) {
    let answers = nodes.iter().map(|node| {
        let address = node.address;
        async move {
            let answers = match client.get(address, "/", HEALTH_BODY).await {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(Failure::Status(reply.status)),
                Err(failure) => Err(failure),
            };
            let asked = answers.is_ok() && source == Source::SystemTables;
            let version: Option<Arc<str>> =
                if asked { tables::release_of(client, address, reader).await.ok().flatten() } else { None };
            (answers, version)
        }
    });
    let answers: Vec<_> = stream::iter(answers.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await;
    for (node, (answers, version)) in nodes.iter_mut().zip(answers) {
        node.answers = Some(answers.map_or_else(|failure| failure.to_string(), |()| "yes".to_owned()));
        node.version = version.map(|version| version.to_string()).or_else(|| node.version.take());
    }
}
