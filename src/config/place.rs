//! Where a value was written: the key, and the file, variable or flag it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use super::Problem;

/// Longest value a message repeats; the rest is cut, because a message is one line on a terminal.
const SHOWN: usize = 80;

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Name(String),
    Item(usize),
}

/// The way from the root of the configuration to a value.
///
/// Prints as TOML spells it: `zones."alternator.local".ttl`. Items of lists print as their list; the line tells which.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The root.
    pub(super) fn root() -> Self {
        KeyPath::default()
    }

    /// The zone of that name.
    pub(super) fn zone(name: &str) -> Self {
        KeyPath::root().key("zones").key(name)
    }

    /// A key below this one.
    pub(super) fn key(&self, name: &str) -> Self {
        self.step(Step::Name(name.to_owned()))
    }

    /// An item of this list, from 0.
    pub(super) fn item(&self, index: usize) -> Self {
        self.step(Step::Item(index))
    }

    /// The last name.
    pub(super) fn last(&self) -> &str {
        let name = self.0.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Item(_) => None,
        });
        name.unwrap_or_default()
    }

    /// The names, from the root.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Item(_) => None,
        })
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        KeyPath(steps)
    }

    fn parent(&self) -> Option<Self> {
        let (_, steps) = self.0.split_last()?;
        Some(KeyPath(steps.to_vec()))
    }

    fn starts_with(&self, other: &KeyPath) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            match bare {
                true => f.write_str(name)?,
                false => f.write_str(&quoted(name))?,
            }
        }
        Ok(())
    }
}

/// A value as a message repeats it: in quotes, control characters escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, in this line, from 1.
    Line(usize),
    /// In the environment variable of that name.
    Variable(String),
    /// In the flag of that name, such as `--ttl`.
    Flag(&'static str),
}

impl Place {
    /// A problem with what was written outside the file, which the message names.
    pub(super) fn problem(&self, message: impl fmt::Display) -> Problem {
        Problem::new(format!("{self}: {message}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Variable(name) => f.write_str(name),
            Place::Flag(name) => f.write_str(name),
        }
    }
}

/// Where every value was written; the last layer that set a value wins, as in the merge itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    file: Option<PathBuf>,
    known: BTreeMap<KeyPath, Place>,
    refused: BTreeSet<KeyPath>,
}

impl Places {
    /// Places in this file.
    pub(super) fn in_file(file: &Path) -> Self {
        Places { file: Some(file.to_owned()), ..Places::default() }
    }

    /// A value was written here. Replaces what an earlier layer said of it and of its items.
    pub(super) fn note(&mut self, path: KeyPath, place: Place) {
        // What lies below a path follows it in order, so this looks at nothing else: a list may be long.
        let below = |known: &&KeyPath| known.starts_with(&path);
        let known: Vec<_> = self.known.range(&path..).map(|(known, _)| known).take_while(below).cloned().collect();
        let refused: Vec<_> = self.refused.range(&path..).take_while(below).cloned().collect();
        for path in &known {
            self.known.remove(path);
        }
        for path in &refused {
            self.refused.remove(path);
        }
        self.known.insert(path, place);
    }

    /// A table begins here, if no earlier layer began it.
    pub(super) fn note_table(&mut self, path: KeyPath, place: Place) {
        self.known.entry(path).or_insert(place);
    }

    /// Where the value was written; for one that was left out, where the nearest table around it begins.
    pub(super) fn place(&self, path: &KeyPath) -> Option<&Place> {
        let mut path = path.clone();
        loop {
            if let Some(place) = self.known.get(&path) {
                return Some(place);
            }
            path = path.parent()?;
        }
    }

    /// The value was refused already: checks that would only repeat this in other words keep silent.
    pub(super) fn refuse(&mut self, path: KeyPath) {
        self.refused.insert(path);
    }

    /// Whether the value was refused already.
    pub(super) fn is_refused(&self, path: &KeyPath) -> bool {
        self.refused.contains(path)
    }

    /// A problem with the value, told with its place.
    pub(super) fn problem(&self, path: &KeyPath, message: impl fmt::Display) -> Problem {
        match self.place(path) {
            Some(place @ (Place::Variable(_) | Place::Flag(_))) => place.problem(message),
            Some(Place::Line(line)) => {
                let file = self.file.clone().unwrap_or_default();
                Problem::new(message.to_string()).in_file(file).at_line(*line).at_key(path.to_string())
            }
            None => Problem::new(message.to_string()).at_key(path.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_toml_spells_them() {
        let zone = KeyPath::zone("alternator.local");
        assert_eq!(zone.key("ttl").to_string(), "zones.\"alternator.local\".ttl");
        assert_eq!(zone.key("scopes").item(3).key("chain").to_string(), "zones.\"alternator.local\".scopes.chain");
        assert_eq!(KeyPath::zone("intern").key("").to_string(), "zones.intern.\"\"");
    }

    #[test]
    fn a_missing_value_is_reported_at_the_table_it_belongs_in() {
        let mut places = Places::in_file(Path::new("a.toml"));
        places.note_table(KeyPath::zone("a"), Place::Line(3));
        let problem = places.problem(&KeyPath::zone("a").key("cluster").key("seeds"), "missing");
        assert_eq!(problem.to_string(), "a.toml:3: zones.a.cluster.seeds: missing");
    }

    #[test]
    fn a_later_layer_takes_over_a_list_and_its_items() {
        let mut places = Places::in_file(Path::new("a.toml"));
        let seeds = KeyPath::zone("a").key("cluster").key("seeds");
        places.note(seeds.clone(), Place::Line(4));
        places.note(seeds.item(0), Place::Line(5));
        places.note(seeds.clone(), Place::Flag("--seed"));
        assert_eq!(places.problem(&seeds.item(0), "bad").to_string(), "--seed: bad");
    }

    #[test]
    fn long_and_odd_values_stay_on_one_line() {
        assert_eq!(quoted("a\n\u{1b}[31m"), "\"a\\n\\u{1b}[31m\"");
        assert_eq!(quoted(&"ä".repeat(200)).chars().count(), SHOWN + 5);
    }
}
