//! Zone files in RFC 1035 master format.
//!
//! The way of a file: text → entries and words, each with its line (`entries`) → records (`record`, with names and
//! strings from `text`, data from `data` and `service`) → the zone as a whole (`rules`). Every step goes on after a
//! problem, so that one reading finds all of them.
//!
//! Beyond RFC 1035: `$TTL` (RFC 2308), TTLs with units (`1h30m`), any type as `TYPE65280 \# LENGTH HEX` (RFC 3597).
//! Not supported, and refused: `$INCLUDE`, `$GENERATE`, delegations, DNAME, DNSSEC records, classes other than IN.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use hickory_proto::rr::{Name, RData, RecordType};

use crate::config::Problem;

mod data;
mod entries;
mod record;
mod rules;
mod service;
#[cfg(test)]
mod tests;
mod text;

pub use self::rules::MAX_ANSWER;
use self::{
    entries::{Entries, Entry, Fault},
    record::Reader,
};

/// Longest zone file read, octets. Static records are a few beside the cluster's names; this bounds what a wrong path
/// costs in memory and time.
pub const MAX_FILE: usize = 4 << 20;

/// Most entries in a zone file, for the same reason.
pub const MAX_ENTRIES: usize = 50_000;

/// Most problems reported: a file that is no zone file at all has one in every line.
pub const MAX_PROBLEMS: usize = 200;

/// The static records of one zone, validated: every owner lies in the zone, names are lower case, at most one SOA and
/// only at the apex, a CNAME stands alone and never at the apex, no zone cuts, no DNAME, no DNSSEC records, no
/// wildcard label but the first, none of the server's own labels `_alternator` and `_explain`, an address for every
/// name server inside the zone, and every RRset fits into a message.
///
/// A zone without SOA or NS is complete: the server makes them. The serial of an SOA given here is not served: the
/// server puts its own in, which grows with every change of its answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StaticZone {
    /// RRsets by owner (fully qualified, lower case) and type.
    pub records: BTreeMap<Name, BTreeMap<RecordType, RrSet>>,
}

/// All records of one owner and type.
#[derive(Clone, Debug, PartialEq)]
pub struct RrSet {
    /// The one TTL of all its records, seconds (RFC 2181 section 5.2).
    pub ttl: u32,
    /// The data, in file order, without duplicates.
    pub data: Vec<RData>,
    /// Line of the first record, for messages.
    pub line: usize,
}

/// Reads and validates a zone file; on any problem, all of them, in the order of lines.
pub fn load(path: &Path, apex: &Name) -> Result<StaticZone, Vec<Problem>> {
    let octets = read(path).map_err(|message| vec![Problem::new(message).in_file(path)])?;
    match std::str::from_utf8(&octets) {
        Ok(text) => parse(text, path, apex),
        Err(error) => {
            let before = &octets[..error.valid_up_to()];
            let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
            let octet = octets[before.len()];
            let message =
                format!("octet {octet:#04x} is not UTF-8 text: save the file as UTF-8, or write \\{octet:03}");
            Err(vec![Problem::new(message).in_file(path).at_line(line)])
        }
    }
}

/// Validates the text of a zone file; `path` is for messages.
pub fn parse(text: &str, path: &Path, apex: &Name) -> Result<StaticZone, Vec<Problem>> {
    let mut apex = apex.to_lowercase();
    apex.set_fqdn(true);
    let mut problems: Vec<(usize, String)> = Vec::new();
    let mut records = Vec::new();
    if text.len() > MAX_FILE {
        return Err(vec![Problem::new(too_large()).in_file(path)]);
    }
    // Editors on Windows put a byte order mark before the first word.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(&apex);
    for (count, entry) in Entries::of(text).enumerate() {
        match entry {
            Ok(Entry { line, .. }) | Err(Fault { line, .. }) if count >= MAX_ENTRIES => {
                problems.push((line, format!("more than {MAX_ENTRIES} entries: the rest is not read")));
                break;
            }
            Ok(entry) => records.extend(reader.entry(&entry, &mut |message| problems.push((entry.line, message)))),
            Err(fault) => {
                problems.push((fault.line, fault.message));
                reader.lose_owner();
            }
        }
    }
    let damaged = &reader.damaged;
    let zone = rules::zone(&records, &apex, damaged, &mut |line, message| problems.push((line, message)));
    if problems.is_empty() { Ok(zone) } else { Err(report(problems, path)) }
}

/// At most `MAX_FILE` octets of a regular file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "no such zone file".to_owned(),
        io::ErrorKind::PermissionDenied => "the zone file may not be read: permission denied".to_owned(),
        _ => format!("the zone file cannot be read: {error}"),
    };
    // Asked before opening, because opening a pipe waits for its writer.
    if !path.metadata().map_err(explain)?.is_file() {
        return Err("is no regular file: a zone file is wanted".to_owned());
    }
    let mut octets = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut octets)).map_err(explain)?;
    if octets.len() > MAX_FILE { Err(too_large()) } else { Ok(octets) }
}

fn too_large() -> String {
    format!("the zone file is larger than {} MiB", MAX_FILE >> 20)
}

/// The problems in the order of lines, the first `MAX_PROBLEMS` of them.
fn report(mut problems: Vec<(usize, String)>, path: &Path) -> Vec<Problem> {
    problems.sort_by_key(|(line, _)| *line);
    let left_out = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    let mut reported: Vec<Problem> =
        problems.into_iter().map(|(line, message)| Problem::new(message).in_file(path).at_line(line)).collect();
    if left_out > 0 {
        reported.push(Problem::new(format!("and {left_out} more problems")).in_file(path));
    }
    reported
}
