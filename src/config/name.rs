//! Zone names and labels, as the configuration may spell them.

use hickory_proto::rr::Name;

use super::place::quoted;

/// Longest zone name, in characters without the trailing dot (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
/// Longest label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// A zone name as it is compared: lower case, no trailing dot. Judges nothing.
pub(super) fn canonical(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.strip_suffix('.') {
        Some(stripped) if !stripped.is_empty() => stripped.to_owned(),
        _ => name,
    }
}

/// A canonical name as the apex of a zone, or what is wrong with it.
pub(super) fn apex(name: &str) -> Result<Name, String> {
    if name.is_empty() || name == "." {
        return Err("a zone needs a name of its own, such as \"alternator.local\"; the root is none".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("a name has at most {MAX_NAME} characters, this has {}", name.len()));
    }
    if name.contains("://") {
        return Err(format!("{} is a URL; write only the name, such as \"alternator.local\"", quoted(name)));
    }
    for part in name.split('.') {
        if part.is_empty() {
            return Err(format!("{} has a dot too many", quoted(name)));
        }
        check_label(part)?;
    }
    Name::from_ascii(format!("{name}.")).map_err(|error| format!("{} is no DNS name: {error}", quoted(name)))
}

/// A label of one's own, in lower case, or what is wrong with it.
pub(super) fn label(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a label is not empty; leave it out to change the chain of a scope".to_owned());
    }
    if text.contains('.') {
        return Err(format!("{} is more than one label; write it without dots", quoted(text)));
    }
    if text.starts_with('_') {
        return Err(format!("{}: labels that begin with \"_\" are reserved", quoted(text)));
    }
    let text = text.to_ascii_lowercase();
    check_label(&text)?;
    Ok(text)
}

/// One label in lower case: letters, digits, `-` and `_`. Stricter than DNS, which allows any octet, because names
/// here are host names of URLs in the end.
fn check_label(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if let Some(odd) = text.chars().find(|c| !allowed(*c)) {
        let hint = if odd.is_ascii() { "" } else { " (other letters need their \"xn--\" form)" };
        return Err(format!("{}: a label holds only a-z, 0-9, \"-\" and \"_\", not {odd:?}{hint}", quoted(text)));
    }
    if text.len() > MAX_LABEL {
        return Err(format!("{}: a label has at most {MAX_LABEL} characters, this has {}", quoted(text), text.len()));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(format!("{}: a label neither begins nor ends with \"-\"", quoted(text)));
    }
    Ok(())
}

/// Whether the name lies under `.local`, which RFC 6762 gives to mDNS.
pub(super) fn is_mdns(apex: &Name) -> bool {
    apex.iter().next_back() == Some(b"local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_zones() {
        for (written, expected) in
            [("Alternator.LOCAL.", "alternator.local."), ("db", "db."), ("_x.a-b.c1", "_x.a-b.c1.")]
        {
            assert_eq!(apex(&canonical(written)).unwrap().to_ascii(), expected);
        }
        for bad in ["", ".", "..", "a..b", ".a", "*.a", "a b", "münchen.de", "-a.b", "http://a.b", &"a.".repeat(200)] {
            assert!(apex(&canonical(bad)).is_err(), "{bad}");
        }
        assert!(apex(&"a".repeat(63)).is_ok() && apex(&"a".repeat(64)).is_err());
    }

    #[test]
    fn labels_of_ones_own() {
        assert_eq!(label("Web-1_a").unwrap(), "web-1_a");
        for bad in ["", "a.b", "_web", "w b", "-a", "a-", &"a".repeat(64)] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_under_local_are_known() {
        assert!(is_mdns(&apex("alternator.local").unwrap()) && is_mdns(&apex("local").unwrap()));
        assert!(!is_mdns(&apex("local.example").unwrap()));
    }
}
