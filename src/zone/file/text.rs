//! Words → octets and names: the quoting rules of RFC 1035 section 5.1.
//!
//! hickory's own readers are not used for these: they take `\DDD` as octal in names ("the octet corresponding to the
//! decimal number"), garble it in strings, refuse an underscore inside a label, and split a quoted string that stands
//! between parentheses.

use hickory_proto::rr::{Name, RecordType};

use super::entries::Word;
use crate::zone::label::MAX_LABEL;

/// Longest name on the wire, octets with the length octets (RFC 1035 section 2.3.4: "names: 255 octets or less").
const MAX_NAME: usize = 255;

/// Longest character string, octets: its length is one octet (RFC 1035 section 3.3).
const MAX_STRING: usize = 255;

/// Most characters of a word that a message repeats.
const SHOWN: usize = 60;

/// A word for messages: in quotes, cut where it is long. What a terminal would obey or hide is spelled out; quotes and
/// backslashes stay as they were written.
pub(super) fn shown(text: &str) -> String {
    let (shown, more) = text.char_indices().nth(SHOWN).map_or((text, ""), |(cut, _)| (&text[..cut], "..."));
    let mut quoted = String::from("\"");
    for c in shown.chars() {
        match c {
            '"' | '\'' | '\\' => quoted.push(c),
            _ => quoted.extend(c.escape_debug()),
        }
    }
    quoted + more + "\""
}

/// A type for messages; hickory prints every type it does not know as "Unknown".
pub(super) fn type_name(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        kind => kind.to_string(),
    }
}

/// A `<character-string>`: at most 255 octets.
pub(super) fn string(word: Word<'_>) -> Result<Vec<u8>, String> {
    let octets = octets(word)?;
    match octets.len() {
        0..=MAX_STRING => Ok(octets),
        long => Err(format!("a string of {long} octets: at most {MAX_STRING} fit, so split it into several")),
    }
}

/// The octets a word stands for.
pub(super) fn octets(word: Word<'_>) -> Result<Vec<u8>, String> {
    Ok(unescape(word)?.into_iter().map(|octet| octet.value).collect())
}

/// A name, relative to `origin` unless it ends in a dot; lower case, fully qualified.
pub(super) fn name(word: Word<'_>, origin: &Name) -> Result<Name, String> {
    read_name(word, origin).map_err(|reason| format!("{} is no name: {reason}", shown(word.text)))
}

fn read_name(word: Word<'_>, origin: &Name) -> Result<Name, String> {
    match word.text {
        "@" if !word.quoted => return Ok(origin.clone()),
        "." => return Ok(Name::root()),
        "" => return Err("it is empty".to_owned()),
        _ => {}
    }
    let octets = unescape(word)?;
    let absolute = octets.last().is_some_and(Octet::is_dot);
    let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
    for octet in &octets[..octets.len() - usize::from(absolute)] {
        match (octet.is_dot(), labels.last_mut()) {
            (false, Some(label)) if octet.escaped || octet.value.is_ascii() => label.push(octet.value),
            (false, _) => return Err("it is not ASCII; an international name is written in its xn-- form".to_owned()),
            (true, _) => labels.push(Vec::new()),
        }
    }
    if labels.iter().any(Vec::is_empty) {
        return Err("a label between dots is empty".to_owned());
    }
    if let Some(label) = labels.iter().find(|label| label.len() > MAX_LABEL) {
        return Err(format!("a label has {} octets, {MAX_LABEL} are allowed", label.len()));
    }
    if !absolute {
        labels.extend(origin.iter().map(<[u8]>::to_vec));
    }
    let length = labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1;
    if length > MAX_NAME {
        return Err(format!("it has {length} octets, {MAX_NAME} are allowed"));
    }
    Name::from_labels(labels).map(|name| name.to_lowercase()).map_err(|error| error.to_string())
}

/// One octet of a word.
struct Octet {
    value: u8,
    /// It was written with a backslash: "its special meaning does not apply".
    escaped: bool,
}

impl Octet {
    /// Whether it separates labels.
    fn is_dot(&self) -> bool {
        self.value == b'.' && !self.escaped
    }
}

/// Resolves `\DDD` (decimal) and `\X`.
fn unescape(word: Word<'_>) -> Result<Vec<Octet>, String> {
    let mut octets = Vec::with_capacity(word.text.len());
    let mut rest = word.text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (value, left) = match (first, tail) {
            (b'\\', [digit, ..]) if digit.is_ascii_digit() => decimal(tail)?,
            (b'\\', [value, left @ ..]) => (*value, left),
            (b'\\', []) => return Err("a backslash with nothing behind it".to_owned()),
            // Let through by the reader of words for the sake of service parameters, which do not come here.
            (b'"', _) if !word.quoted => return Err("quotes begin inside: put the whole of it in quotes".to_owned()),
            _ => (first, tail),
        };
        octets.push(Octet { value, escaped: first == b'\\' });
        rest = left;
    }
    Ok(octets)
}

/// The three digits behind a backslash.
fn decimal(text: &[u8]) -> Result<(u8, &[u8]), String> {
    let octet = text.split_first_chunk::<3>().and_then(|(digits, left)| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|d| d.is_ascii_digit()))?;
        Some((digits.parse().ok()?, left))
    });
    octet.ok_or_else(|| "a backslash and a digit start an octet as three decimal digits, \\000 to \\255".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word<'_> {
        Word { text, quoted: false }
    }

    #[test]
    fn names_are_read_as_rfc_1035_says() {
        let origin = Name::from_ascii("example.test.").unwrap();
        for (text, labels) in [
            ("www", &["www", "example", "test"][..]),
            ("WWW.Example.TEST.", &["www", "example", "test"]),
            ("@", &["example", "test"]),
            (".", &[]),
            ("*", &["*", "example", "test"]),
            ("_tcp.a_b", &["_tcp", "a_b", "example", "test"]),
            ("a\\.b.", &["a.b"]),
            ("\\065\\046b\\@.", &["a.b@"]),
            ("a\\.", &["a.", "example", "test"]),
            ("\\@", &["@", "example", "test"]),
        ] {
            let name = name(word(text), &origin).unwrap();
            assert!(name.is_fqdn(), "{text}");
            assert_eq!(name.iter().collect::<Vec<_>>(), labels.iter().map(|l| l.as_bytes()).collect::<Vec<_>>());
        }
        assert_eq!(name(Word { text: "@", quoted: true }, &origin).unwrap().iter().next(), Some(&b"@"[..]));
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let origin = Name::from_ascii("example.test.").unwrap();
        let (long, many) = ("x".repeat(64), "x.".repeat(122));
        for (text, reason) in [
            ("", "it is empty"),
            ("a..b", "a label between dots is empty"),
            (".a", "a label between dots is empty"),
            ("..", "a label between dots is empty"),
            ("bücher", "it is not ASCII; an international name is written in its xn-- form"),
            ("\\256", "a backslash and a digit start an octet as three decimal digits, \\000 to \\255"),
            ("\\06", "a backslash and a digit start an octet as three decimal digits, \\000 to \\255"),
            ("a\\", "a backslash with nothing behind it"),
            (&long, "a label has 64 octets, 63 are allowed"),
            (&format!("{many}y"), "it has 260 octets, 255 are allowed"),
        ] {
            let expected = format!("{} is no name: {reason}", shown(text));
            assert_eq!(name(word(text), &origin), Err(expected), "{text}");
        }
    }

    #[test]
    fn words_are_shown_on_one_line() {
        assert_eq!(shown("a\\.b'\"é"), "\"a\\.b'\"é\"");
        assert_eq!(shown("\\\u{1b}[31m\u{9b}\t\u{202e}"), "\"\\\\u{1b}[31m\\u{9b}\\t\\u{202e}\"");
        assert_eq!(shown(&"\u{1b}".repeat(SHOWN + 1)), format!("\"{}...\"", "\\u{1b}".repeat(SHOWN)));
    }

    #[test]
    fn strings_hold_any_octet() {
        assert_eq!(string(word("a\\;\\\"\\000\\255é")).unwrap(), b"a;\"\x00\xff\xc3\xa9");
        assert_eq!(string(word("")).unwrap(), b"");
        assert_eq!(string(word("a=\"b c\"")), Err("quotes begin inside: put the whole of it in quotes".to_owned()));
        assert_eq!(string(word(&"x".repeat(255))).unwrap().len(), 255);
        assert!(string(word(&"x".repeat(256))).unwrap_err().starts_with("a string of 256 octets"));
    }
}
