//! The file: TOML text to a layer, every value of the kind its key wants, every line known.
//!
//! figment stops at the first error and knows no lines, so a file is judged here, before it is merged: unknown keys
//! and wrong kinds are reported all at once and left out of the layer.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use toml::{
    Spanned, Table, Value,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    Problem,
    keys::{self, Key, Kind, Section},
    name,
    place::{KeyPath, Place, Places, quoted},
};

/// Largest file read. A thousand zones with a hundred seeds each are smaller; what is larger is some other file.
const MAX_FILE: u64 = 1 << 20;

/// Most syntax errors told; after that many, the first ones are what there is to mend.
const MAX_SYNTAX: usize = 10;

/// One layer of the configuration, before the merge.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// The values; zones under their canonical names.
    pub(super) table: Table,
    /// Where they were written.
    pub(super) places: Places,
    /// What was wrong with the layer itself.
    pub(super) problems: Vec<Problem>,
}

/// The text of a configuration file.
pub(super) fn read_text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("larger than 1 MiB, which no configuration is"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = Lines::of(&error.as_bytes()[..good]).line(good);
        io::Error::other(format!("line {line} is not UTF-8 text"))
    })
}

/// Reads a file's text into a layer. `Err` when the text is no TOML at all.
pub(super) fn parse(file: &Path, text: &str) -> Result<Layer, Vec<Problem>> {
    let lines = Lines::of(text.as_bytes());
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_problems(file, text, &lines, &errors));
    }
    let mut reader = Reader { lines, places: Places::in_file(file), problems: Vec::new() };
    let table = reader.section(Section::Root, &KeyPath::root(), root.get_ref());
    Ok(Layer { table, places: reader.places, problems: reader.problems })
}

/// One problem for each line that is no TOML: further errors in a line follow from its first.
fn syntax_problems(file: &Path, text: &str, lines: &Lines, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut first = BTreeMap::new();
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        first.entry(lines.line(offset)).or_insert((offset, error.message()));
    }
    let told = first.into_iter().take(MAX_SYNTAX);
    told.map(|(line, (offset, message))| {
        let column = lines.column(text, offset);
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Problem::new(format!("column {column}: {message}")).in_file(file).at_line(line)
    })
    .collect()
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        Lines(std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect())
    }

    /// The line of an offset, from 1.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    /// The column of an offset in characters, from 1.
    fn column(&self, text: &str, offset: usize) -> usize {
        let start = self.0[self.line(offset) - 1];
        text.get(start..offset).map_or(1, |before| before.chars().count() + 1)
    }
}

/// Walks the document along the known keys.
struct Reader {
    lines: Lines,
    places: Places,
    problems: Vec<Problem>,
}

impl Reader {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::Line(self.lines.line(spanned.span().start))
    }

    fn wrong(&mut self, path: &KeyPath, place: Place, message: impl Into<String>) {
        self.places.note_table(path.clone(), place);
        self.problems.push(self.places.problem(path, message.into()));
        self.places.refuse(path.clone());
    }

    /// A table with known keys.
    fn section(&mut self, section: Section, path: &KeyPath, table: &DeTable<'_>) -> Table {
        let mut out = Table::new();
        for (name, value) in table {
            let path = path.key(name.get_ref());
            let Some(key) = keys::find(section, name.get_ref()) else {
                let place = self.place(name);
                self.wrong(&path, place, keys::unknown(section, &path));
                continue;
            };
            if let Some(value) = self.value(key, &path, value) {
                out.insert(key.name.to_owned(), value);
            }
        }
        out
    }

    /// The value of a known key, if it is of its kind.
    fn value(&mut self, key: &Key, path: &KeyPath, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let place = self.place(value);
        match (key.kind, value.get_ref()) {
            (Kind::Section(section), DeValue::Table(table)) => {
                self.places.note_table(path.clone(), place);
                Some(Value::Table(self.section(section, path, table)))
            }
            (Kind::Zones, DeValue::Table(zones)) => {
                self.places.note_table(path.clone(), place);
                Some(Value::Table(self.zones(zones)))
            }
            (Kind::Tables(section), DeValue::Array(items)) => {
                self.places.note(path.clone(), place);
                let tables = items.iter().enumerate().map(|item| self.table(section, path, item));
                Some(Value::Array(tables.collect()))
            }
            (Kind::Datacenters, DeValue::Table(datacenters)) => {
                self.places.note(path.clone(), place);
                Some(Value::Table(self.datacenters(path, datacenters)))
            }
            (Kind::List, DeValue::Array(items)) => {
                self.places.note(path.clone(), place);
                Some(self.list(path, items))
            }
            (kind, value) => match scalar(kind, value) {
                Some(value) => {
                    self.places.note(path.clone(), place);
                    Some(value)
                }
                None => {
                    self.wrong(path, place, wrong_kind(key, path, value));
                    None
                }
            },
        }
    }

    /// `[zones]`, in the order written, so that of two spellings of one zone the second is the one too many.
    fn zones(&mut self, zones: &DeTable<'_>) -> Table {
        let mut written: Vec<_> = zones.iter().collect();
        written.sort_by_key(|(name, _)| name.span().start);
        let mut out = Table::new();
        for (written, value) in written {
            let place = self.place(written);
            let canonical = name::canonical(written.get_ref());
            let path = KeyPath::zone(&canonical);
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong(&path, place, "must be a table; a zone begins with its name in brackets");
                continue;
            };
            if out.contains_key(&canonical) {
                let path = KeyPath::zone(written.get_ref());
                let first = match self.places.place(&KeyPath::zone(&canonical)) {
                    Some(Place::Line(line)) => format!(" in line {line}"),
                    _ => String::new(),
                };
                let spelled = quoted(written.get_ref());
                self.wrong(&path, place, format!("{spelled} is the same zone as {}{first}", quoted(&canonical)));
                self.section(Section::Zone, &path, table);
                continue;
            }
            self.places.note_table(path.clone(), place);
            let zone = self.section(Section::Zone, &path, table);
            out.insert(canonical, Value::Table(zone));
        }
        out
    }

    /// One of a list of tables. One of another kind keeps its number, so that the places of those behind it stay right.
    fn table(&mut self, section: Section, path: &KeyPath, (index, item): (usize, &Spanned<DeValue<'_>>)) -> Value {
        let path = path.item(index);
        let place = self.place(item);
        let DeValue::Table(table) = item.get_ref() else {
            self.wrong(&path, place, format!("must be a table, such as {}", section.example()));
            self.places.refuse(path.key("chain"));
            return Value::Table(Table::new());
        };
        self.places.note_table(path.clone(), place);
        Value::Table(self.section(section, &path, table))
    }

    fn datacenters(&mut self, path: &KeyPath, datacenters: &DeTable<'_>) -> Table {
        let mut out = Table::new();
        for (name, racks) in datacenters {
            let path = path.key(name.get_ref());
            let place = self.place(racks);
            match racks.get_ref() {
                DeValue::Array(items) => {
                    self.places.note(path.clone(), place);
                    let racks = self.list(&path, items);
                    out.insert(name.get_ref().to_string(), racks);
                }
                _ => self.wrong(&path, place, "must be a list of racks, such as [\"rack1\"]; [] when none is known"),
            }
        }
        out
    }

    /// A list of texts; every item of another kind is a problem of its own.
    fn list(&mut self, path: &KeyPath, items: &[Spanned<DeValue<'_>>]) -> Value {
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.item(index);
            let place = self.place(item);
            if let DeValue::String(text) = item.get_ref() {
                self.places.note(path, place);
                out.push(Value::String(text.to_string()));
            } else {
                let kind = item.get_ref().type_str();
                self.wrong(&path, place, format!("item {} must be text in quotes, not {}", index + 1, a(kind)));
                // Keeps the numbers of the items behind it right; refused already, so nobody judges it.
                out.push(Value::String(String::new()));
            }
        }
        Value::Array(out)
    }
}

/// A plain value as its kind wants it, or nothing.
fn scalar(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    Some(match (kind, value) {
        (Kind::Text | Kind::Duration | Kind::Answers, DeValue::String(text)) => Value::String(text.to_string()),
        (Kind::Answers, DeValue::Integer(number)) => Value::String(integer(number)?.to_string()),
        (Kind::Integer, DeValue::Integer(number)) => Value::Integer(integer(number)?),
        (Kind::Fraction, DeValue::Integer(number)) => Value::Float(integer(number)? as f64),
        (Kind::Fraction, DeValue::Float(number)) => Value::Float(number.as_str().parse().ok()?),
        (Kind::Switch, DeValue::Boolean(switch)) => Value::Boolean(*switch),
        _ => return None,
    })
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What to say of a value of the wrong kind: the value as it would be right, where that can be told.
fn wrong_kind(key: &Key, path: &KeyPath, value: &DeValue<'_>) -> String {
    let Key { name, kind, example, .. } = key;
    match (kind, value) {
        (Kind::Duration, DeValue::Integer(number)) => {
            format!("a duration needs a unit: {name} = \"{number}s\"")
        }
        (Kind::Integer | Kind::Fraction, DeValue::String(text)) if text.trim().parse::<f64>().is_ok() => {
            format!("must be a number without quotes: {name} = {}", text.trim())
        }
        (Kind::Integer | Kind::Answers, DeValue::Integer(_)) => format!("the number is too large: {name} = {example}"),
        (Kind::Switch, DeValue::String(text)) if text.parse::<bool>().is_ok() => {
            format!("must be true or false without quotes: {name} = {text}")
        }
        (Kind::List, DeValue::String(text)) => format!("must be a list: {name} = [{}]", quoted(text)),
        (Kind::Zones, _) => format!("must be a table, which begins with {example}"),
        (Kind::Section(_), _) => format!("must be a table, which begins with [{path}]"),
        (Kind::Tables(_), _) => format!("must be a list of tables; each begins with [[{path}]]"),
        _ => format!("must be {}, not {}: {name} = {example}", kind.noun(), a(value.type_str())),
    }
}

/// The kind of a TOML value with its article.
fn a(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
