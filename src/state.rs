//! The state file: the last topology of each zone, for a start while the whole cluster is out of reach.
//!
//! One file per zone in `server.state_dir`, JSON, replaced atomically. It is a help, never a condition: a file that is
//! damaged or not ours is reported, set aside, and the server starts without it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::Seed,
    model::{Health, Member, Node, NodeState, Scope, Source, Told, Topology, is_usable_address},
};

/// Tells our files from others.
const FORMAT: &str = "alternator-dns state";

/// Version of the layout below; a file of another version is set aside.
const VERSION: u32 = 1;

/// Largest file read: ten thousand nodes with long names stay below.
const MAX_BYTES: u64 = 8 << 20;

/// What a state file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The zone's last epoch, so that the SOA serial goes on from there.
    pub epoch: u32,
    /// Its last topology, as [`Source::Snapshot`]; empty, as [`Source::Nothing`], where it is of another cluster.
    pub topology: Topology,
}

/// Why a state file could not be used or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It cannot be read, or is not what we wrote. It has been set aside.
    #[error("{path} is no state file of ours ({reason}); it was set aside as {aside} and is not used")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where it is now.
        aside: PathBuf,
    },
    /// The same, and it could not be set aside.
    #[error(
        "{path} is no state file of ours ({reason}); it is not used, and could not be set aside as {aside}: {source}"
    )]
    Stuck {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where it should be.
        aside: PathBuf,
        /// Why it is not there.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    format: String,
    version: u32,
    zone: String,
    epoch: u32,
    seeds: Vec<String>,
    nodes: Vec<NodeLine>,
    scopes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeLine {
    address: IpAddr,
    datacenter: Option<String>,
    rack: Option<String>,
    serves: bool,
    /// What system tables told.
    #[serde(default, skip_serializing_if = "Told::is_nothing")]
    told: Arc<Told>,
}

/// Reads a zone's state; `None` where there is no file.
///
/// Nodes of another cluster ([`is_same_cluster`]) are not taken over.
pub fn load(dir: &Path, zone: &str, seeds: &[Seed]) -> Result<Option<Remembered>, StateError> {
    load_file(&path(dir, zone), |text| parse(text, zone, seeds))
}

/// The same for whoever only looks: a file that cannot be used is left where it is. The error is the reason.
pub fn look(dir: &Path, zone: &str, seeds: &[Seed]) -> Result<Option<Remembered>, String> {
    look_at(&path(dir, zone), |text| parse(text, zone, seeds))
}

/// Reads a file of ours; `None` where there is none. One that cannot be read, or that `parse` says is wrong, is set
/// aside.
pub(crate) fn load_file<T>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, StateError> {
    look_at(path, parse).map_err(|reason| {
        // What cannot be read goes out of the way as well: a folder in the file's place could never be written over.
        let (path, aside) = (path.to_owned(), path.with_extension("json.damaged"));
        match fs::rename(&path, &aside) {
            Ok(()) => StateError::Foreign { path, reason, aside },
            Err(source) => StateError::Stuck { path, reason, aside, source },
        }
    })
}

/// [`load_file`] for whoever only looks.
pub(crate) fn look_at<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<Option<T>, String> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(text) if text.len() as u64 > MAX_BYTES => Err(format!("longer than {MAX_BYTES} bytes")),
        Ok(text) => parse(&text).map(Some),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}

fn parse(text: &[u8], zone: &str, seeds: &[Seed]) -> Result<Remembered, String> {
    let file: StateFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if file.format != FORMAT || file.version != VERSION {
        return Err(format!("format \"{}\", version {}", file.format, file.version));
    }
    if file.zone != zone {
        return Err(format!("it is of zone {}", file.zone));
    }
    let mut topology = Topology { source: Source::Snapshot, stale: true, ..Topology::default() };
    for line in file.nodes {
        if !is_usable_address(line.address) {
            return Err(format!("{} is no node's address", line.address));
        }
        let node = Node {
            address: line.address,
            datacenter: line.datacenter.map(Into::into),
            rack: line.rack.map(Into::into),
        };
        let member = Member { served_before: line.serves, told: line.told, ..Member::new(node) };
        topology.members.insert(line.address, member);
    }
    for scope in file.scopes {
        topology.seen.insert(scope.parse::<Scope>().map_err(|error| error.to_string())?);
    }
    if !is_same_cluster(seeds, &file.seeds, &topology) {
        topology = Topology::default();
    }
    Ok(Remembered { epoch: file.epoch, topology })
}

/// Whether these seeds lead to the cluster whose topology was learnt from `earlier` ones: one of them is among those, or
/// is one of its nodes. Otherwise the nodes may be another cluster's, and as long as that lives they would go on telling
/// of each other, and be answered beside or instead of the one that was asked for.
pub fn is_same_cluster(seeds: &[Seed], earlier: &[String], topology: &Topology) -> bool {
    let is_member = |seed: &Seed| matches!(seed, Seed::Address(address) if topology.members.contains_key(address));
    seeds.iter().any(|seed| earlier.contains(&seed.to_string()) || is_member(seed))
}

/// Writes a zone's state: a new file beside the old one, synced, then renamed over it.
pub fn save(
    dir: &Path,
    zone: &str,
    seeds: &[Seed],
    epoch: u32,
    topology: &Topology,
    health: &Health,
) -> Result<(), StateError> {
    let any_up = any_up(topology, health);
    let nodes = topology
        .members
        .values()
        .map(|member| NodeLine {
            address: member.node.address,
            datacenter: member.node.datacenter.as_deref().map(str::to_owned),
            rack: member.node.rack.as_deref().map(str::to_owned),
            serves: serves(member, health, any_up),
            told: member.told.clone(),
        })
        .collect();
    let seeds = seeds.iter().map(Seed::to_string).collect();
    let scopes = topology.seen.iter().map(Scope::to_string).collect();
    let (format, zone_name) = (FORMAT.to_owned(), zone.to_owned());
    let file = StateFile { format, version: VERSION, zone: zone_name, epoch, seeds, nodes, scopes };
    let path = path(dir, zone);
    let write = || replace_file(&path, &serde_json::to_vec_pretty(&file)?);
    write().map_err(|source| StateError::Io { path: path.clone(), source })
}

/// Writes a file of ours, whose name ends in `.json`: a new file beside the old one, synced, then renamed over it.
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // Of this process alone: one that takes its place writes the same file for a moment.
    let temporary = path.with_extension(format!("json.{}.new", std::process::id()));
    let mut new = File::create(&temporary)?;
    new.write_all(text)?;
    new.sync_all()?;
    fs::rename(&temporary, path)
}

/// Whether the next start should count the node as one that served. When nothing serves any more (not `any_up`), the nodes
/// that did before the incident are still the best known.
fn serves(member: &Member, health: &Health, any_up: bool) -> bool {
    let address = member.node.address;
    if health.disabled || is_up(health, address) {
        return true;
    }
    let served = || health.get(address).is_some_and(|health| health.served_until.is_some());
    !any_up && (member.served_before || served())
}

fn any_up(topology: &Topology, health: &Health) -> bool {
    topology.members.keys().any(|address| is_up(health, *address))
}

fn is_up(health: &Health, address: IpAddr) -> bool {
    health.get(address).is_some_and(|health| health.state == NodeState::Up)
}

/// A zone's file. Zone names are DNS names, which may hold any octet once unescaped; in a file name only the harmless
/// ones stay. Names of one label that stand for files of ours get a mark, since `overrides.json` is none of a zone's.
fn path(dir: &Path, zone: &str) -> PathBuf {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = zone.chars().map(|c| if harmless(c) { c } else { '%' }).collect();
    let mark = if zone.eq_ignore_ascii_case("overrides") { "%" } else { "" };
    dir.join(format!("{mark}{}.json", name.trim_start_matches('.')))
}

/// What decides whether a state is worth writing again: everything in the file but the epoch.
pub fn content(topology: &Topology, health: &Health) -> BTreeMap<IpAddr, (Node, bool, Arc<Told>)> {
    let any_up = any_up(topology, health);
    topology
        .members
        .values()
        .map(|member| (member.node.address, (member.node.clone(), serves(member, health, any_up), member.told.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Leaving, NodeHealth};

    fn topology() -> Topology {
        let mut topology = Topology { source: Source::Discovery, ..Topology::default() };
        for address in ["10.0.0.1", "fd00::1"] {
            let address: IpAddr = address.parse().unwrap();
            let node = Node { address, datacenter: Some("dc1".into()), rack: Some("r 1".into()) };
            let leaving = address.is_ipv6().then_some(Leaving::Decommissioning);
            let told = Arc::new(Told { leaving, ..Told::default() });
            topology.members.insert(address, Member { told, ..Member::new(node) });
        }
        topology.seen.insert("dc1/r 1".parse().unwrap());
        topology
    }

    fn seeds() -> Vec<Seed> {
        vec![Seed::Address([10, 0, 0, 1].into()), Seed::Host("scylla.example.com".to_owned())]
    }

    fn up() -> NodeHealth {
        NodeHealth { state: NodeState::Up, ..NodeHealth::default() }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut health = Health::default();
        health.nodes.insert("fd00::1".parse().unwrap(), up());
        assert_eq!(load(dir.path(), "z.example", &seeds()).unwrap(), None);
        save(dir.path(), "z.example", &seeds(), 7, &topology(), &health).unwrap();
        let read = load(dir.path(), "z.example", &seeds()).unwrap().unwrap();
        assert_eq!((read.epoch, read.topology.source), (7, Source::Snapshot));
        assert_eq!(read.topology.seen, topology().seen);
        let told: Vec<_> = read.topology.members.values().map(|member| member.told.leaving).collect();
        assert_eq!(told, [None, Some(Leaving::Decommissioning)]);
        let by_member = [Seed::Address("fd00::1".parse().unwrap())];
        assert_eq!(load(dir.path(), "z.example", &by_member).unwrap().unwrap(), read, "a seed that was a member");
        let served: Vec<(String, bool)> = read
            .topology
            .members
            .values()
            .map(|member| (member.node.address.to_string(), member.served_before))
            .collect();
        assert_eq!(served, [("10.0.0.1".to_owned(), false), ("fd00::1".to_owned(), true)]);
    }

    #[test]
    fn foreign_files_are_set_aside_and_never_fatal() {
        let dir = tempfile::tempdir().unwrap();
        let good = {
            save(dir.path(), "z", &seeds(), 7, &topology(), &Health::default()).unwrap();
            fs::read_to_string(dir.path().join("z.json")).unwrap()
        };
        for bad in [
            "",
            "{",
            "[]",
            "null",
            &good.replace("state\"", "else\""),
            &good.replace("10.0.0.1", "0.0.0.0"),
            &good[..40],
        ] {
            fs::write(dir.path().join("z.json"), bad).unwrap();
            let error = load(dir.path(), "z", &seeds()).unwrap_err();
            assert!(matches!(error, StateError::Foreign { .. }), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join("z.json.damaged")).unwrap(), bad);
            assert_eq!(load(dir.path(), "z", &seeds()).unwrap(), None);
        }
        // A folder cannot take the place of the file set aside before.
        fs::create_dir(dir.path().join("z.json")).unwrap();
        let error = load(dir.path(), "z", &seeds()).unwrap_err();
        assert!(matches!(error, StateError::Stuck { .. }), "{error}");
        fs::remove_file(dir.path().join("z.json.damaged")).unwrap();
        let error = load(dir.path(), "z", &seeds()).unwrap_err();
        assert!(matches!(error, StateError::Foreign { .. }), "{error}");
        assert!(dir.path().join("z.json.damaged").is_dir());
    }

    #[test]
    fn no_zone_name_leaves_the_folder() {
        assert_eq!(path(Path::new("/s"), "../../etc/passwd"), Path::new("/s/%..%etc%passwd.json"));
        assert_eq!(path(Path::new("/s"), "overrides"), Path::new("/s/%overrides.json"), "no file of operators");
    }
}
