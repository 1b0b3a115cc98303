//! Entries → records: owners, TTLs, classes and types, and which of them may stand in a zone file.

use std::{collections::BTreeSet, str::FromStr};

use hickory_proto::{
    rr::{Name, RData, RecordType},
    serialize::{binary::BinEncodable, txt::parse_ttl},
};

use super::{
    data,
    entries::{Entry, Word},
    rules,
    text::{name, shown, type_name},
};

/// Longest TTL, seconds (RFC 2181 section 8: "minimum value of 0, and a maximum value of 2147483647").
const MAX_TTL: u32 = i32::MAX.cast_unsigned();

/// One record as the file says it.
#[derive(Debug)]
pub(super) struct Record {
    /// Lower case, fully qualified, in the zone.
    pub(super) owner: Name,
    pub(super) kind: RecordType,
    pub(super) ttl: u32,
    pub(super) data: RData,
    /// The data as it goes onto the wire.
    pub(super) wire: Vec<u8>,
    /// First line of its entry.
    pub(super) line: usize,
}

/// What earlier entries say about later ones.
pub(super) struct Reader<'a> {
    apex: &'a Name,
    /// `$ORIGIN`.
    origin: Name,
    /// `$TTL` (RFC 2308 section 4).
    default_ttl: Option<u32>,
    /// RFC 1035 section 5.1: "Omitted class and TTL values are default to the last explicitly stated values."
    last_ttl: Option<u32>,
    owner: Owner,
    /// Owners of refused records: what is missing at them is not another problem.
    pub(super) damaged: BTreeSet<Name>,
}

/// The owner last stated.
#[derive(Clone)]
enum Owner {
    /// None so far.
    None,
    /// One that was refused: what follows for it is read, but says nothing more about the owner.
    Refused,
    Stated(Name),
}

impl<'a> Reader<'a> {
    /// A reader at the start of a file.
    pub(super) fn new(apex: &'a Name) -> Self {
        Reader {
            apex,
            origin: apex.clone(),
            default_ttl: None,
            last_ttl: None,
            owner: Owner::None,
            damaged: BTreeSet::new(),
        }
    }

    /// An entry could not be read: whose records follow is not known.
    pub(super) fn lose_owner(&mut self) {
        self.owner = Owner::Refused;
    }

    /// Reads one entry: a record, or nothing for a directive. Everything wrong in it is told to `problem`.
    pub(super) fn entry(&mut self, entry: &Entry<'_>, problem: &mut impl FnMut(String)) -> Option<Record> {
        match entry.words.as_slice() {
            [Word { text, quoted: false }, arguments @ ..] if text.starts_with('$') => {
                self.directive(text, arguments).unwrap_or_else(problem);
                None
            }
            words => self.record(entry, words, problem),
        }
    }

    fn directive(&mut self, directive: &str, arguments: &[Word<'_>]) -> Result<(), String> {
        match (directive.to_ascii_uppercase().as_str(), arguments) {
            ("$ORIGIN", [word]) => self.origin = name(*word, &self.origin)?,
            ("$ORIGIN", _) => return Err("$ORIGIN wants one name".to_owned()),
            ("$TTL", [word]) => self.default_ttl = Some(ttl(word.text)?),
            ("$TTL", _) => return Err("$TTL wants one time: seconds, or such as 1h30m".to_owned()),
            ("$INCLUDE", _) => {
                return Err("$INCLUDE is not supported: one zone is one file, so put the records here".to_owned());
            }
            ("$GENERATE", _) => return Err("$GENERATE is not supported: write the records out".to_owned()),
            _ => return Err(format!("unknown directive {}: there are $ORIGIN and $TTL", shown(directive))),
        }
        Ok(())
    }

    fn record(&mut self, entry: &Entry<'_>, words: &[Word<'_>], problem: &mut impl FnMut(String)) -> Option<Record> {
        let words = self.owner_then(entry, words, problem);
        let owner = match &self.owner {
            Owner::Stated(owner) => Some(owner.clone()),
            Owner::Refused | Owner::None => None,
        };
        match self.body(entry, words, owner.as_ref()) {
            Ok((kind, ttl, data, wire)) => Some(Record { owner: owner?, kind, ttl, data, wire, line: entry.line }),
            Err(message) => {
                problem(message);
                self.damaged.extend(owner);
                None
            }
        }
    }

    /// Settles the owner of an entry; what is left are the other words.
    fn owner_then<'w>(
        &mut self,
        entry: &Entry<'_>,
        words: &'w [Word<'w>],
        problem: &mut impl FnMut(String),
    ) -> &'w [Word<'w>] {
        let (stated, words) = match (words, &self.owner) {
            ([owner, words @ ..], _) if !entry.starts_blank => (self.stated(*owner), words),
            (_, Owner::None) => (
                Err("no owner: a line that starts with a blank continues the owner above, but there is none".to_owned()),
                words,
            ),
            _ => return words,
        };
        self.owner = match stated {
            Ok(owner) => Owner::Stated(owner),
            Err(message) => {
                problem(message);
                Owner::Refused
            }
        };
        words
    }

    /// Type, TTL, data and the data's wire form.
    fn body(
        &mut self,
        entry: &Entry<'_>,
        words: &[Word<'_>],
        owner: Option<&Name>,
    ) -> Result<(RecordType, u32, RData, Vec<u8>), String> {
        let Head { ttl, kind, data } = Head::parse(words).map_err(|message| message + owner_hint(entry))?;
        let ttl = self.ttl(ttl)?;
        if let Some(message) = owner.and_then(|owner| rules::of_type(kind, owner, self.apex)) {
            return Err(message);
        }
        let data = data::parse(kind, data, &self.origin)?;
        let wire = to_wire(&data)?;
        Ok((kind, ttl, data, wire))
    }

    /// An owner as stated in the first column.
    fn stated(&self, word: Word<'_>) -> Result<Name, String> {
        let owner = name(word, &self.origin)?;
        rules::of_owner(&owner, self.apex).map_or(Ok(owner), Err)
    }

    /// The TTL in force for a record.
    fn ttl(&mut self, stated: Option<u32>) -> Result<u32, String> {
        self.last_ttl = stated.or(self.last_ttl);
        stated.or(self.default_ttl).or(self.last_ttl).ok_or_else(|| {
            "no TTL: write one before the type, or a line such as \"$TTL 5m\" at the top of the file".to_owned()
        })
    }
}

/// A type keyword in the first column is most likely a record whose blank was forgotten.
fn owner_hint(entry: &Entry<'_>) -> &'static str {
    let keyword = |word: &Word<'_>| word.text == "IN" || RecordType::from_str(word.text).is_ok();
    match entry.words.first().is_some_and(keyword) && !entry.starts_blank {
        true => " (a line without an owner starts with a blank)",
        false => "",
    }
}

/// `[TTL] [class] type data`, TTL and class in either order.
struct Head<'a> {
    ttl: Option<u32>,
    kind: RecordType,
    data: &'a [Word<'a>],
}

impl<'a> Head<'a> {
    fn parse(mut words: &'a [Word<'a>]) -> Result<Self, String> {
        let (mut time, mut class) = (None, None);
        while let [word, rest @ ..] = words {
            let upper = word.text.to_ascii_uppercase();
            words = rest;
            if word.quoted {
                return Err(format!("unknown type {}: types stand without quotes", shown(word.text)));
            } else if upper.starts_with(|first: char| first.is_ascii_digit()) {
                let value = ttl(word.text)?;
                if time.replace(value).is_some() {
                    return Err(format!("a second TTL, {}", shown(word.text)));
                }
            } else if is_class(&upper) {
                if class.replace(()).is_some() {
                    return Err(format!("a second class, {}", shown(word.text)));
                }
                if upper != "IN" && upper != "CLASS1" {
                    return Err(format!("class {upper} is not served: write IN, or no class"));
                }
            } else {
                return Ok(Head { ttl: time, kind: kind(&upper, word.text)?, data: words });
            }
        }
        Err("a record without type and data: write OWNER TTL TYPE DATA".to_owned())
    }
}

fn is_class(upper: &str) -> bool {
    matches!(upper, "IN" | "CH" | "HS" | "CS" | "NONE")
        || upper.strip_prefix("CLASS").is_some_and(|number| number.parse::<u16>().is_ok())
}

/// A TTL: seconds, or with the units w, d, h, m, s.
fn ttl(text: &str) -> Result<u32, String> {
    let seconds = match parse_ttl(text) {
        Ok(seconds) => u64::from(seconds),
        Err(_) if text.bytes().all(|octet| octet.is_ascii_digit()) && !text.is_empty() => u64::MAX,
        Err(_) => return Err(format!("{} is no TTL: write seconds, or such as 1h30m", shown(text))),
    };
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_TTL);
    seconds.ok_or_else(|| format!("TTL {} is too long: at most {MAX_TTL} seconds (RFC 2181 section 8)", shown(text)))
}

/// Types that people write, of which hickory knows no text form.
const NUMBERED: [(&str, u16); 14] = [
    ("AFSDB", 18),
    ("APL", 42),
    ("DHCID", 49),
    ("EUI48", 108),
    ("EUI64", 109),
    ("HIP", 55),
    ("IPSECKEY", 45),
    ("KX", 36),
    ("LOC", 29),
    ("RP", 17),
    ("SPF", 99),
    ("URI", 256),
    ("WKS", 11),
    ("ZONEMD", 63),
];

/// The type that a keyword means; `TYPE65280` as in RFC 3597 section 5.
fn kind(upper: &str, written: &str) -> Result<RecordType, String> {
    if let Some(number) = upper.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok()) {
        return Ok(RecordType::from(number));
    }
    if let Some((keyword, number)) = NUMBERED.iter().find(|(keyword, _)| *keyword == upper) {
        return Err(format!("type {keyword} has no text form here: write TYPE{number} \\# LENGTH HEX (RFC 3597)"));
    }
    RecordType::from_str(upper).map_err(|_| format!("unknown type {}", shown(written)))
}

/// The data as it goes onto the wire: what cannot be encoded is found here, not when somebody asks for it.
fn to_wire(data: &RData) -> Result<Vec<u8>, String> {
    let wire = data.to_bytes().map_err(|error| error.to_string()).and_then(|wire| match u16::try_from(wire.len()) {
        Ok(_) => Ok(wire),
        Err(_) => Err(data::too_long(wire.len())),
    });
    wire.map_err(|message| format!("{}: {message}", type_name(data.record_type())))
}
