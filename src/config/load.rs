//! The layers: defaults < file < environment < flags. The only user of figment.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use figment::{Figment, providers::Serialized};
use hickory_proto::rr::Name;
use toml::{Table, Value, de::DeTable};

use super::{
    Config, DEFAULT_ZONE, Flags, Problem,
    document::{self, Layer},
    environment::{Environment, Setting},
    keys::PREFIX,
    name,
    place::{KeyPath, Place, Places, quoted},
    raw::Raw,
    validate::validate,
};

/// Where a configuration file is looked for when none is named; the first there is counts.
pub const SEARCH: [&str; 2] = ["alternator-dns.toml", "/etc/alternator-dns/alternator-dns.toml"];

/// What to say when there is no zone from anywhere. Its caller ends with status 2.
pub const NO_ZONE: &str = "\
no zone to serve: name a node of the cluster, or a configuration file

    alternator-dns serve --seed 10.0.0.1       serves \"alternator.local\" on 127.0.0.1:5300
    alternator-dns serve --config FILE         \"alternator-dns config\" prints one to start from
    alternator-dns demo                        needs no cluster: it simulates one";

/// A configuration that can be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration. Without zones when none was given; see [`NO_ZONE`].
    pub config: Config,
    /// The file it was read from, if there was one.
    pub file: Option<PathBuf>,
    /// What works but should be known, in reading order.
    pub warnings: Vec<Problem>,
}

/// Reads and merges all layers and judges the result. On failure every problem of all layers, in reading order: the
/// file from top to bottom, then variables and flags.
///
/// `variables` are those of [`environment`](super::environment()); `search` is [`SEARCH`] outside tests.
pub fn load(
    flags: &Flags,
    variables: impl IntoIterator<Item = (String, String)>,
    search: &[impl AsRef<Path>],
) -> Result<Loaded, Vec<Problem>> {
    let Environment { config, zone, settings: from_environment, mut problems } = Environment::read(variables);
    let from_flags = flags.settings();
    let wanted = flags.config.as_ref().or(config.as_ref());
    let (file, Layer { table, mut places, problems: in_file }) = match read_file(wanted, search) {
        Ok(found) => found.map_or_else(Default::default, |(file, layer)| (Some(file), layer)),
        Err(in_file) => {
            problems.extend(in_file);
            return Err(in_reading_order(problems));
        }
    };
    problems.extend(in_file);

    let settings = from_environment.iter().chain(&from_flags).filter(|setting| setting.is_of_zone());
    // Without a zone the rest is judged all the same, so that everything wrong is told at once.
    let zone = select_zone(flags.zone.as_deref(), zone.as_deref(), &zone_names(&table), settings)
        .map_err(|problem| problems.push(problem))
        .unwrap_or_default();
    let mut warnings: Vec<Problem> = zone.as_ref().and_then(Selected::warning).into_iter().collect();
    let layers = [
        table,
        layer_of(from_environment, zone.as_ref(), &mut places),
        layer_of(from_flags, zone.as_ref(), &mut places),
    ];
    let raw = merge(layers).map_err(|problem| vec![problem])?;

    let folder = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let judged = validate(&raw, &places, folder);
    problems.extend(judged.problems);
    warnings.extend(judged.warnings);
    match problems.is_empty() {
        true => Ok(Loaded { config: judged.config, file, warnings: in_reading_order(warnings) }),
        false => Err(in_reading_order(problems)),
    }
}

/// Reads the file wanted, or the first one there is where files are looked for.
fn read_file(wanted: Option<&PathBuf>, search: &[impl AsRef<Path>]) -> Result<Option<(PathBuf, Layer)>, Vec<Problem>> {
    let searched = search.iter().map(|path| (path.as_ref(), false));
    let candidates: Vec<_> = match wanted {
        Some(path) => vec![(path.as_path(), true)],
        None => searched.collect(),
    };
    for (path, required) in candidates {
        match document::read_text(path) {
            Ok(text) => return document::parse(path, &text).map(|layer| Some((path.to_owned(), layer))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
            Err(error) => return Err(vec![Problem::new(format!("cannot be read: {error}")).in_file(path)]),
        }
    }
    Ok(None)
}

/// The zone that variables and flags apply to.
#[derive(Debug)]
struct Selected {
    name: String,
    place: Place,
    /// Nobody named it: seeds were given and nothing else.
    assumed: bool,
}

impl Selected {
    fn warning(&self) -> Option<Problem> {
        let name = quoted(&self.name);
        self.assumed.then(|| self.place.problem(format!("no zone is named, so it is {name}; --zone names another")))
    }
}

/// The zone that variables and flags apply to: the one named, else the only one of the file, else, when there are
/// seeds, the usual one.
fn select_zone<'a>(
    flag: Option<&str>,
    variable: Option<&str>,
    in_file: &[String],
    settings: impl Iterator<Item = &'a Setting>,
) -> Result<Option<Selected>, Problem> {
    let named = match (flag, variable) {
        (Some(zone), _) => Some((zone, Place::Flag("--zone"))),
        (None, Some(zone)) => Some((zone, Place::Variable(format!("{PREFIX}ZONE")))),
        (None, None) => None,
    };
    if let Some((zone, place)) = named {
        return Ok(Some(Selected { name: name::canonical(zone), place, assumed: false }));
    }
    let settings: Vec<_> = settings.collect();
    let Some(last) = settings.last() else { return Ok(None) };
    match in_file {
        [] => {
            let seeds = settings.iter().rev().find(|setting| setting.key.name == "seeds");
            let place = seeds.map(|seeds| seeds.place.clone());
            Ok(place.map(|place| Selected { name: DEFAULT_ZONE.to_owned(), place, assumed: true }))
        }
        [only] => Ok(Some(Selected { name: only.clone(), place: last.place.clone(), assumed: false })),
        several => {
            let set: Vec<_> = settings.iter().map(|setting| setting.place.to_string()).collect();
            let zones: Vec<_> = several.iter().map(|zone| quoted(zone)).collect();
            let (set, zones) = (set.join(", "), zones.join(", "));
            Err(Problem::new(format!("{set}: for which zone? The file has {zones}; name one with --zone")))
        }
    }
}

fn zone_names(table: &Table) -> Vec<String> {
    let zones = table.get("zones").and_then(Value::as_table);
    zones.map(|zones| zones.keys().cloned().collect()).unwrap_or_default()
}

/// Settings as a layer of their own, with the zone they apply to; those of a zone are dropped when there is none.
fn layer_of(settings: Vec<Setting>, zone: Option<&Selected>, places: &mut Places) -> Table {
    let mut table = Table::new();
    if let Some(zone) = zone {
        let path = KeyPath::zone(&zone.name);
        open(&mut table, path.names());
        places.note_table(path, zone.place.clone());
    }
    for Setting { key, value, place } in settings {
        let zone = match zone {
            Some(zone) => zone.name.as_str(),
            None if key.section.is_of_server() => "",
            None => continue,
        };
        let path = key.path(zone);
        let names: Vec<_> = path.names().collect();
        if let [tables @ .., last] = names.as_slice() {
            open(&mut table, tables.iter().copied()).insert((*last).to_owned(), value);
        }
        places.note(path, place);
    }
    table
}

/// The table below these names, made where it is missing.
fn open(mut table: &mut Table, names: impl Iterator<Item = impl Into<String>>) -> &mut Table {
    for name in names {
        let entry = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            *entry = Value::Table(Table::new());
        }
        let Value::Table(inner) = entry else { unreachable!("just made a table") };
        table = inner;
    }
    table
}

/// Merges the layers, the last one winning; tables are merged, everything else is replaced.
fn merge(layers: impl IntoIterator<Item = Table>) -> Result<Raw, Problem> {
    let merged = layers.into_iter().fold(Figment::new(), |figment, table| figment.merge(Serialized::defaults(table)));
    // Every layer was checked against the known keys, so this fails only where the two disagree.
    merged.extract().map_err(|error| Problem::new(error.to_string()))
}

/// From the top of the file to its end, then what has no line, in the order found.
fn in_reading_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.file.is_none(), problem.line));
    problems
}

/// The addresses under `listen` of `[server]` or `[admin]` in a configuration file, as far as it can be read: for finding a
/// server that goes on although its file is not fine any more. `None` where the file does not say.
pub fn listen_of(config: &Path, section: &str) -> Option<Vec<SocketAddr>> {
    let text = std::fs::read_to_string(config).ok()?;
    let (root, _) = DeTable::parse_recoverable(&text);
    let listen = root.get_ref().get(section)?.get_ref().as_table()?.get("listen")?.get_ref().as_array()?;
    Some(listen.iter().filter_map(|address| address.get_ref().as_str()?.parse().ok()).collect())
}

/// The zone files that a configuration file names, as far as it can be read: for looking into them although the
/// configuration is not fine. Apex and path of each.
pub fn zone_files(config: &Path) -> Vec<(Name, PathBuf)> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let Ok(table) = text.parse::<Table>() else { return Vec::new() };
    let zones = table.get("zones").and_then(Value::as_table);
    let file = |(name, zone): (&String, &Value)| {
        let file = zone.get("file")?.as_str().filter(|file| !file.is_empty())?;
        let mut apex = Name::from_ascii(name).ok()?.to_lowercase();
        apex.set_fqdn(true);
        Some((apex, config.parent().unwrap_or(Path::new("")).join(file)))
    };
    zones.into_iter().flatten().filter_map(file).collect()
}
