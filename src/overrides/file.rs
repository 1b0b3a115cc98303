//! The file of overrides, for configuration management.
//!
//! ```toml
//! [[override]]
//! target = "dc1/rack1"
//! action = "drain"                  # or "force-up", which needs an end
//! until = 2026-11-21T22:00:00Z      # left out: as long as it stands here
//! reason = "rack move"
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::SystemTime,
};

use toml::de::{DeTable, DeValue};

use super::{
    order::{Order, Span},
    store::MAX_OVERRIDES,
};
use crate::{
    config::Problem,
    model::{Origin, Override},
};

/// Largest file read: a thousand overrides with long reasons are smaller.
const MAX_FILE: u64 = 1 << 20;

/// The keys of an override.
const KEYS: [&str; 8] = ["target", "action", "zone", "from", "until", "for", "reason", "by"];

/// What one look at the file found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    /// The text; `None` where there is no file.
    text: Option<Vec<u8>>,
    /// When it was changed last.
    changed: Option<SystemTime>,
}

/// The overrides in a file, or everything that is wrong with it; none where there is no file.
pub(super) fn read(path: &Path, now: SystemTime) -> Result<Vec<Override>, Vec<Problem>> {
    let look = look(path).map_err(|error| vec![Problem::new(error.to_string()).in_file(path)])?;
    parse(path, &look, now)
}

/// Looks whether a file is fine; everything that is wrong with it.
pub fn check(path: &Path) -> Result<(), Vec<Problem>> {
    read(path, SystemTime::now()).map(drop)
}

/// Reads the file. `Err` for what is there and cannot be read.
fn look(path: &Path) -> io::Result<Look> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    // A pipe would be waited for.
    match fs::metadata(path) {
        Ok(of) if !of.is_file() => return Err(io::Error::other("it is no file")),
        Err(error) if missing(&error) => return Ok(Look { text: None, changed: None }),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let file = match File::open(path) {
        Err(error) if missing(&error) => return Ok(Look { text: None, changed: None }),
        file => file?,
    };
    let (mut text, changed) = (Vec::new(), file.metadata()?.modified().ok());
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    Ok(Look { text: Some(text), changed })
}

/// The overrides in a file's text. When it was changed is when they were set.
fn parse(path: &Path, look: &Look, now: SystemTime) -> Result<Vec<Override>, Vec<Problem>> {
    let Some(text) = &look.text else { return Ok(Vec::new()) };
    let whole = |message: String| vec![Problem::new(message).in_file(path)];
    if text.len() as u64 > MAX_FILE {
        return Err(whole("larger than 1 MiB, which no file of overrides is".to_owned()));
    }
    let text = str::from_utf8(text).map_err(|error| {
        let line = line(text, error.valid_up_to());
        vec![Problem::new("no UTF-8 text").in_file(path).at_line(line)]
    })?;
    let root = DeTable::parse(text).map_err(|error| {
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let at = error.span().map_or(0, |span| span.start);
        vec![Problem::new(message).in_file(path).at_line(line(text.as_bytes(), at))]
    })?;
    let mut reader = Reader { path, text, problems: Vec::new() };
    let overrides = reader.root(root.get_ref(), look.changed.map_or(now, |changed| changed.min(now)), now);
    // In the order in which they are read, not in that of the keys' names.
    reader.problems.sort();
    if reader.problems.is_empty() { Ok(overrides) } else { Err(reader.problems) }
}

/// The line of an offset, from 1.
fn line(text: &[u8], at: usize) -> usize {
    1 + text.iter().take(at).filter(|octet| **octet == b'\n').count()
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn wrong(&mut self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        let line = line(self.text.as_bytes(), at);
        self.problems.push(Problem::new(message).in_file(self.path).at_line(line).at_key(key));
    }

    fn root(&mut self, root: &DeTable<'_>, set_at: SystemTime, now: SystemTime) -> Vec<Override> {
        let mut overrides = Vec::new();
        for (key, value) in root {
            let at = key.span().start;
            match value.get_ref() {
                DeValue::Array(items) if key.get_ref() == "override" => {
                    if items.len() > MAX_OVERRIDES {
                        self.wrong(
                            at,
                            "override",
                            format!("at most {MAX_OVERRIDES} overrides, these are {}", items.len()),
                        );
                        continue;
                    }
                    for (index, item) in items.iter().enumerate() {
                        overrides.extend(self.item(index + 1, item.span().start, item.get_ref(), set_at, now));
                    }
                }
                _ => self.wrong(at, key.get_ref().to_string(), "only tables [[override]] stand in this file"),
            }
        }
        overrides
    }

    /// One override, the `number`th of the file.
    fn item(
        &mut self,
        number: usize,
        at: usize,
        item: &DeValue<'_>,
        set_at: SystemTime,
        now: SystemTime,
    ) -> Option<Override> {
        let name = |key: &str| format!("override[{number}].{key}");
        let DeValue::Table(table) = item else {
            self.wrong(at, format!("override[{number}]"), "write each override as a table [[override]]");
            return None;
        };
        let (before, mut places, mut texts) = (self.problems.len(), BTreeMap::new(), BTreeMap::new());
        for (key, value) in table {
            let (known, at) = (key.get_ref().as_ref(), value.span().start);
            places.insert(known, at);
            match value.get_ref() {
                _ if !KEYS.contains(&known) => {
                    self.wrong(at, name(known), format!("unknown key; an override takes {}", KEYS.join(", ")));
                }
                DeValue::String(text) => drop(texts.insert(known, text.to_string())),
                DeValue::Datetime(time) if matches!(known, "from" | "until") => {
                    drop(texts.insert(known, time.to_string()));
                }
                _ => self.wrong(at, name(known), "write a text in quotes"),
            }
        }
        for needed in ["target", "action"] {
            if !places.contains_key(needed) {
                self.wrong(at, name(needed), "missing");
            }
        }
        if self.problems.len() > before {
            return None;
        }
        let order = Order {
            target: texts.remove("target").unwrap_or_default(),
            action: texts.remove("action").unwrap_or_default(),
            zone: texts.remove("zone"),
            lasts: texts.remove("for").map(Span::Text),
            begins_in: None,
            from: texts.remove("from"),
            until: texts.remove("until"),
            reason: texts.remove("reason"),
            by: texts.remove("by"),
        };
        let by = self.path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
        match order.judge(Origin::File, now, &by) {
            // What has no beginning of its own was begun when it was written.
            Ok(known) => Some(Override { set_at, from: order.from.as_ref().map_or(set_at, |_| known.from), ..known }),
            Err(faults) => {
                for fault in faults {
                    let at = places.get(fault.key).copied().unwrap_or(at);
                    self.wrong(at, name(fault.key), fault.message);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400)
    }

    fn read(text: &str) -> Result<Vec<Override>, Vec<String>> {
        let look = Look { text: Some(text.into()), changed: Some(noon() - Duration::from_secs(60)) };
        let read = parse(Path::new("o.toml"), &look, noon());
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_says_who_is_drained_and_until_when() {
        let read = read(
            "# comment\n[[override]]\ntarget = \"dc1/rack1\"\naction = \"drain\"\nreason = \"rack move\"\n\n\
             [[override]]\ntarget = \"10.0.0.1\"\naction = \"force-up\"\nfrom = 2026-11-21T12:00:00Z\nfor = \"2h\"\n\
             zone = \"Z.test.\"\nby = \"ansible\"\n[[override]]\ntarget = \"*\"\naction = \"drain\"\n\
             until = \"2026-11-21T13:00:00+01:00\"\n",
        );
        let told: Vec<String> = read.unwrap().iter().map(|known| format!("{}: {known}", known.target)).collect();
        assert_eq!(
            told,
            [
                "dc1/rack1: drained by o.toml since 2026-11-21 11:59Z: rack move",
                "10.0.0.1: forced up by ansible since 2026-11-21 12:00Z until 14:00Z",
                "*: drained by o.toml since 2026-11-21 11:59Z until 12:00Z",
            ]
        );
        let missing = Look { text: None, changed: None };
        assert_eq!(parse(Path::new("o.toml"), &missing, noon()), Ok(Vec::new()));
    }

    #[test]
    fn everything_wrong_is_told_with_its_line() {
        assert_eq!(
            read(
                "[[override]]\ntarget = \"dc1/\"\naction = \"stop\"\n[[override]]\ntarget = \"dc1\"\nfor = \"2h\"\n\
                 [[override]]\ntarget = \"dc1\"\naction = \"force-up\"\n[[override]]\ntarget = 5\nactoin = \"drain\"\n\
                 [[override]]\ntarget = \"dc1\"\naction = \"drain\"\nfor = \"2h\"\n[server]\n"
            )
            .unwrap_err(),
            [
                "o.toml:2: override[1].target: \"dc1/\" has an empty part: a rack is \"datacenter/rack\", a node its \
                 address alone, and only a glob has up to three parts (\"dc1/*/10.0.0.*\")",
                "o.toml:3: override[1].action: \"stop\" is no action: write \"drain\" or \"force-up\"",
                "o.toml:4: override[2].action: missing",
                "o.toml:7: override[3].until: force-up overrules what probes see: write until when",
                "o.toml:10: override[4].action: missing",
                "o.toml:11: override[4].target: write a text in quotes",
                "o.toml:12: override[4].actoin: unknown key; an override takes target, action, zone, from, until, for, \
                 reason, by",
                "o.toml:16: override[5].for: a file says \"for\" only together with \"from\"; or write \"until\"",
                "o.toml:17: server: only tables [[override]] stand in this file",
            ]
        );
        assert!(read("[[override]\n").unwrap_err()[0].starts_with("o.toml:1: "));
        assert!(read("override = 5").unwrap_err()[0].contains("only tables"));
        assert!(read("override = [5]").unwrap_err()[0].contains("as a table"));
        let many = "[[override]]\ntarget = \"*\"\naction = \"drain\"\n".repeat(MAX_OVERRIDES + 1);
        assert!(read(&many).unwrap_err()[0].contains("at most 1000 overrides, these are 1001"));
    }
}
