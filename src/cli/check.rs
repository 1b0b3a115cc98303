//! `alternator-dns check`: everything `serve` would load, every problem at once, and the names that would be served.

use std::{
    collections::BTreeSet,
    fmt::Write,
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hickory_proto::rr::Name;

use super::{CheckArgs, FAILED, MISCONFIGURED, load, run_async};
use crate::{
    app::{load_identities, load_keys, load_zones, problems_of_zone_files},
    config::{Config, Flags, NO_ZONE, Problem, Seed, ZoneConfig},
    discovery,
    http::{NodeClient, NodeIdentity},
    model::Scope,
    overrides,
    server::encrypted,
    table::{ScopeNames, scope_names},
    zone::file::StaticZone,
};

/// How long a seed's name may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// Longest body of `GET /` read; ScyllaDB's is a line.
const HEALTH_BODY: usize = 64 * 1024;

/// Addresses of a node's list that are printed.
const ADDRESSES_TOLD: usize = 8;

pub(super) fn run(args: CheckArgs) -> u8 {
    let flags = Flags { config: args.config.file, ..Flags::default() };
    let loaded = match load(&flags) {
        Ok(loaded) => loaded,
        Err(mut problems) => {
            let config = problems.iter().find_map(|problem| problem.file.clone());
            problems.extend(config.iter().flat_map(|file| problems_of_zone_files(file)));
            return not_fine(&problems);
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    if loaded.config.zones.is_empty() {
        eprintln!("{NO_ZONE}");
        return MISCONFIGURED;
    }
    let (statics, identities) =
        match (load_zones(&loaded.config), load_identities(&loaded.config), load_keys(&loaded.config)) {
            (Ok(statics), Ok(identities), Ok(_)) => (statics, identities),
            (statics, identities, keys) => {
                let problems = [statics.err(), identities.err(), keys.err()];
                return not_fine(&problems.into_iter().flatten().flatten().collect::<Vec<_>>());
            }
        };
    for (zone, identity) in loaded.config.zones.iter().zip(&identities) {
        let doubts = identity.doubts(SystemTime::now());
        doubts.iter().for_each(|doubt| eprintln!("warning: zones.{:?}: {doubt}", zone.name()));
    }
    match encrypted::check(&loaded.config.server.tls, SystemTime::now()) {
        Ok(None) => {}
        Ok(Some(warning)) => eprintln!("warning: {warning}"),
        Err(error) => {
            eprintln!("{error}\n1 problem");
            return MISCONFIGURED;
        }
    }
    if let Some(Err(problems)) = loaded.config.server.overrides.as_deref().map(overrides::check) {
        return not_fine(&problems);
    }
    let source = loaded.file.map_or_else(|| "flags and environment".to_owned(), |file| file.display().to_string());
    println!("{source}: fine");
    for ((zone, statics), identity) in loaded.config.zones.iter().zip(&statics).zip(&identities) {
        print!("\n{}", told_zone(zone, statics, identity));
    }
    if !args.probe {
        return 0;
    }
    run_async(|mut signals| async move {
        tokio::select! {
            code = probe(&loaded.config, &identities) => code,
            // Caught signals end nothing by themselves, and seeds that hang take many seconds each.
            () = signals.received() => FAILED,
        }
    })
}

fn not_fine(problems: &[Problem]) -> u8 {
    for problem in problems {
        eprintln!("{problem}");
    }
    let plural = if problems.len() == 1 { "" } else { "s" };
    eprintln!("{} problem{plural}", problems.len());
    MISCONFIGURED
}

/// One zone and its names, a scope a line: its first name, what it stands for, its other names.
fn told_zone(zone: &ZoneConfig, statics: &StaticZone, identity: &NodeIdentity) -> String {
    let mut text = format!("zone {}\n", zone.name());
    // Writing to a String cannot fail.
    if zone.cluster.seeds.is_empty() {
        let _ = writeln!(text, "  no seeds: only static records");
    } else {
        let names = scope_names(zone, &BTreeSet::new(), statics);
        for (index, chain) in names.chains.iter().enumerate() {
            let chain: Vec<String> = chain.iter().map(Scope::to_string).collect();
            let mut spelt = names_of(&names, index, &zone.apex);
            if spelt.is_empty() {
                continue;
            }
            let first = spelt.remove(0);
            let also = if spelt.is_empty() { String::new() } else { format!("   also {}", spelt.join(", ")) };
            let _ = writeln!(text, "  {first:<40} {}{also}", chain.join(" > "));
        }
        for refusal in &names.refused {
            let _ = writeln!(text, "  warning: {refusal}");
        }
        if zone.cluster.datacenters.is_empty() && zone.scopes.is_empty() {
            let _ = writeln!(text, "  (no datacenter is named, so only the zone's own name answers)");
        }
    }
    if let Some(verified) = identity.told() {
        let _ = writeln!(text, "  nodes over https, {verified}");
    }
    let records: usize = statics.records.values().flat_map(|sets| sets.values()).map(|set| set.data.len()).sum();
    if records > 0 {
        let _ = writeln!(text, "  {records} static records at {} names", statics.records.len());
    }
    text
}

/// The names of a chain, the one users type first: fewest hyphens, then the order of labels as documented.
pub(super) fn names_of(names: &ScopeNames, chain: usize, apex: &Name) -> Vec<String> {
    let mut of_chain: Vec<&Name> =
        names.names.iter().filter(|(_, index)| **index == chain).map(|(name, _)| name).collect();
    let dc = names.chains[chain].first().and_then(Scope::datacenter).and_then(|dc| crate::zone::label::slug(dc));
    of_chain.sort_by_key(|name| {
        let first = name.iter().next().map(|label| String::from_utf8_lossy(label).into_owned());
        (*name != apex && first != dc, name.num_labels() < apex.num_labels() + 2, (*name).clone())
    });
    of_chain.into_iter().map(|name| name.to_ascii().trim_end_matches('.').to_owned()).collect()
}

/// Asks every seed. Fine where each zone has a seed that answers.
async fn probe(config: &Config, identities: &[NodeIdentity]) -> u8 {
    let mut code = 0;
    for (zone, identity) in config.zones.iter().zip(identities) {
        println!("\nseeds of {}", zone.name());
        let client = match NodeClient::new(&zone.cluster, identity, discovery::LIMITS) {
            Ok(client) => client,
            Err(error) => {
                eprintln!("  cannot set up TLS: {error}");
                return MISCONFIGURED;
            }
        };
        let mut answered = 0;
        for seed in &zone.cluster.seeds {
            answered += probe_seed(&client, seed, zone.cluster.port).await;
        }
        if answered == 0 && !zone.cluster.seeds.is_empty() {
            println!("  no seed answers: the zone would have nothing to answer");
            code = MISCONFIGURED;
        }
    }
    code
}

/// Tells of one seed; returns how many of its addresses answered.
async fn probe_seed(client: &NodeClient, seed: &Seed, port: u16) -> usize {
    let addresses = match resolve(seed).await {
        Ok(addresses) => addresses,
        Err(error) => {
            println!("  {seed}: cannot be resolved: {error}");
            return 0;
        }
    };
    let mut answered = 0;
    for address in addresses {
        let name = if seed.to_string() == address.to_string() { String::new() } else { format!("{seed} = ") };
        let health = match client.get(address, "/", HEALTH_BODY).await {
            Ok(reply) if reply.status == 200 => "serves".to_owned(),
            Ok(reply) => format!("GET / failed: status {}", reply.status),
            Err(failure) => format!("GET / failed: {failure}"),
        };
        match discovery::look_at(client, address).await {
            Err(failure) => println!("  {name}{address} port {port}: /localnodes failed: {failure}; {health}"),
            Ok(sight) => {
                answered += 1;
                let told: Vec<String> = sight.addresses.iter().take(ADDRESSES_TOLD).map(ToString::to_string).collect();
                let more = if sight.addresses.len() > ADDRESSES_TOLD { ", ..." } else { "" };
                let count = sight.addresses.len();
                println!("  {name}{address} port {port}: lists {count}: {}{more}; {health}", told.join(", "));
                if sight.skipped > 0 {
                    println!("    {} entries of its list are no usable address", sight.skipped);
                }
                if sight.ignores_places == Some(true) {
                    println!(
                        "    this node ignores dc/rack (older than ScyllaDB 2025.1): datacenters and racks cannot be \
                         told apart"
                    );
                }
            }
        }
    }
    answered
}

/// The addresses a seed stands for.
pub(super) async fn resolve(seed: &Seed) -> io::Result<Vec<IpAddr>> {
    let name = match seed {
        Seed::Address(address) => return Ok(vec![*address]),
        Seed::Host(name) => name,
    };
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name.as_str(), 0))).await??;
    let addresses: BTreeSet<IpAddr> = found.map(|socket| socket.ip().to_canonical()).collect();
    Ok(addresses.into_iter().collect())
}
