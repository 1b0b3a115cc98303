//! `alternator-dns compare`: asks several servers over DNS, as clients do, and says whether they tell the same.
//!
//! | word | meaning |
//! |---|---|
//! | instance | one server, by its address |
//! | [`View`] | what one instance tells of one name |
//! | look | every instance asked for every name, all at about the same time |
//!
//! Epochs of two instances are never equal, each has its own clock: content decides, epochs only tell how long ago it
//! changed. Changes reach instances at different moments, so only what differs in several looks is a difference.

mod asking;
mod findings;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use clap::Args;
use futures_util::{StreamExt, future::join_all, stream};
use hickory_proto::rr::Name;
use tokio::time::{sleep, timeout};

use self::{
    asking::{Instance, State, View},
    findings::Findings,
};
use super::{ConfigArg, FAILED, MISCONFIGURED, dns::Failure, load, run_async};
use crate::{
    app::load_zones,
    config::{Flags, ZoneConfig},
    table::scope_names,
    zone::file::StaticZone,
};

/// The port of DNS.
const PORT: u16 = 53;

/// How many looks there are before a difference is one, and the pause between two: a change in the cluster is in all
/// answers within a few seconds.
const LOOKS: usize = 3;

/// See [`LOOKS`].
const PAUSE: Duration = Duration::from_secs(2);

/// How long one look may take; what is not known by then counts as silence.
const LOOK_WITHIN: Duration = Duration::from_secs(20);

/// Names that an instance is asked for at the same time: few enough to be no burden.
const AT_ONCE: usize = 8;

/// How long a host's name may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 they agree; 1 they differ, one of them is silent, or none serves the zone; 2 wrong usage or configuration

Example: alternator-dns compare 192.0.2.53 192.0.2.54 --zone alternator.example.com")]
pub(super) struct CompareArgs {
    /// Servers to compare, two or more: an address or a name, with a port if that is not 53
    #[arg(value_name = "HOST[:PORT]", required = true)]
    hosts: Vec<String>,
    /// Zone to compare; may be given several times [default: all zones of the configuration]
    #[arg(long = "zone", value_name = "NAME")]
    zones: Vec<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A zone and the names asked for, its own first.
#[derive(Debug)]
struct Zone {
    apex: Name,
    names: Vec<Name>,
}

/// What one instance tells of one zone.
#[derive(Debug)]
struct Sight {
    state: Result<State, Failure>,
    /// Of each name, in the order of the zone's.
    views: Vec<Result<View, Failure>>,
}

pub(super) fn run(args: CompareArgs) -> u8 {
    let wrong = |problem: String| {
        eprintln!("alternator-dns: {problem}");
        MISCONFIGURED
    };
    if args.hosts.len() < 2 {
        return wrong("one server has nothing to be compared with: name two or more".to_owned());
    }
    let zones = match zones(&args) {
        Ok(zones) => zones,
        Err(problem) => return wrong(problem),
    };
    run_async(|mut signals| async move {
        tokio::select! {
            code = compare(&args, &zones) => code.unwrap_or_else(wrong),
            () = signals.received() => FAILED,
        }
    })
}

/// The zones to compare, and their names as far as the configuration tells them.
fn zones(args: &CompareArgs) -> Result<Vec<Zone>, String> {
    let mut wanted = Vec::new();
    for text in &args.zones {
        let mut name = Name::from_ascii(text).map_err(|error| format!("--zone {text}: {error}"))?.to_lowercase();
        name.set_fqdn(true);
        wanted.push(name);
    }
    let mut known = match configured(args) {
        // One that was merely found is no obstacle to zones that are named.
        Err(_) if !wanted.is_empty() && args.config.file.is_none() => {
            eprintln!("alternator-dns: the configuration found has mistakes (\"alternator-dns check\" tells them)");
            Vec::new()
        }
        known => known?,
    };
    if wanted.is_empty() {
        return match known.is_empty() {
            true => Err("no zone: name one with --zone, or a configuration with --config".to_owned()),
            false => Ok(known),
        };
    }
    let of = |apex: Name| {
        let found = known.iter().position(|zone| zone.apex == apex);
        found.map(|at| known.swap_remove(at)).unwrap_or_else(|| {
            let zone = apex.to_ascii();
            let zone = zone.trim_end_matches('.');
            eprintln!("alternator-dns: {zone} is in no configuration here: only the zone's own name is compared");
            Zone { names: vec![apex.clone()], apex }
        })
    };
    Ok(wanted.into_iter().map(of).collect())
}

/// The zones of the configuration that is named, or found, with all names of their scopes.
fn configured(args: &CompareArgs) -> Result<Vec<Zone>, String> {
    let lines =
        |problems: Vec<crate::config::Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let flags = Flags { config: args.config.file.clone(), ..Flags::default() };
    let loaded = load(&flags).map_err(lines)?;
    let statics = load_zones(&loaded.config).map_err(lines)?;
    let of = |(zone, statics): (&ZoneConfig, &StaticZone)| {
        let mut names = vec![zone.apex.clone()];
        if !zone.cluster.seeds.is_empty() {
            let all = scope_names(zone, &BTreeSet::new(), statics).names;
            names.extend(all.into_keys().filter(|name| *name != zone.apex));
        }
        Zone { apex: zone.apex.clone(), names }
    };
    Ok(loaded.config.zones.iter().zip(&statics).map(of).collect())
}

/// The address of a host, the first of several.
async fn resolve(host: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, PORT));
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| format!("{host}: {port} is no port"))?),
        None => (host, PORT),
    };
    let found = timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, port))).await;
    let mut found = found
        .map_err(|_| format!("{host}: its name takes too long to resolve"))?
        .map_err(|error| format!("{host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host}: its name has no address"))
}

/// Looks until the instances agree, a few times at most, and tells what was found last.
async fn compare(args: &CompareArgs, zones: &[Zone]) -> Result<u8, String> {
    let mut instances = Vec::new();
    for (host, address) in args.hosts.iter().zip(join_all(args.hosts.iter().map(|host| resolve(host))).await) {
        instances.push(Instance { host: host.clone(), address: address? });
    }
    let mut differing: Option<BTreeSet<(usize, usize)>> = None;
    for look in 1.. {
        let sights = join_all(instances.iter().map(|instance| look_at(instance, zones))).await;
        let findings = Findings::new(&instances, zones, &sights, SystemTime::now());
        let differs = findings.differing();
        let lasting = match differing.take() {
            Some(before) => before.intersection(&differs).copied().collect(),
            None => differs,
        };
        if look == LOOKS || (lasting.is_empty() && !findings.is_any_silent()) {
            let findings = findings.only(&lasting);
            match args.json {
                true => println!("{}", findings.json()),
                false => print!("{}", findings.text()),
            }
            return Ok(if findings.agree() { 0 } else { FAILED });
        }
        differing = Some(lasting);
        sleep(PAUSE).await;
    }
    Ok(FAILED)
}

/// One instance's part of a look.
async fn look_at(instance: &Instance, zones: &[Zone]) -> Vec<Sight> {
    let mut sights = Vec::new();
    let whole = async {
        for zone in zones {
            let state = instance.state(&zone.apex).await;
            let mut views = Vec::new();
            // Who is silent at once need not be asked for every name.
            if state.is_ok() {
                views = stream::iter(&zone.names).map(|name| instance.view(name)).buffered(AT_ONCE).collect().await;
            }
            sights.push(Sight { state, views });
        }
    };
    let _ = timeout(LOOK_WITHIN, whole).await;
    sights.resize_with(zones.len(), || Sight { state: Err(Failure::Silent), views: Vec::new() });
    for (sight, zone) in sights.iter_mut().zip(zones) {
        sight.views.resize_with(zone.names.len(), || Err(Failure::Silent));
    }
    sights
}
