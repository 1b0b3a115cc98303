//! Nodes' lists: any body is a bounded list of usable addresses, or a failure told in a short line.

use alternator_dns::{
    discovery::read_list,
    http::Reply,
    model::{Failure, is_usable_address},
};

/// What became of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Became {
    /// No array of strings.
    NoList,
    /// An array of strings, with too many of them.
    TooLong,
    /// A list, with entries left out.
    Skipping,
    /// A list, each entry an address.
    Clean,
    /// An empty list.
    Empty,
}

/// Most entries of a list, and most characters of an odd one that go to the log.
const MOST_ENTRIES: usize = 10_000;
const LONGEST_EXAMPLE: usize = 60;

/// Most characters of a failure's text; it goes to logs and into answers.
const LONGEST_FAILURE: usize = 250;

/// Checks one body.
pub fn check(body: &[u8]) -> Became {
    let reply = |status| Reply { status, body: body.to_vec() };
    assert_eq!(read_list(&reply(500)), Err(Failure::Status(500)), "whatever is in it");
    // Another reading of the same.
    let entries: Option<Vec<String>> = serde_json::from_slice(body).ok();
    let count = entries.as_ref().map(Vec::len);
    match read_list(&reply(200)) {
        Err(Failure::Protocol(text)) => {
            assert!(text.chars().count() <= LONGEST_FAILURE, "{} octets of {text:.200}", text.len());
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(count.is_none_or(|count| count > MOST_ENTRIES), "{count:?} entries: {text}");
            if count.is_some() { Became::TooLong } else { Became::NoList }
        }
        Err(other) => panic!("{other:?}"),
        Ok(list) => {
            let entries = entries.unwrap();
            assert!(entries.len() <= MOST_ENTRIES);
            assert!(list.addresses.len() + list.skipped <= entries.len());
            assert!(list.skipped == entries.len() || !list.addresses.is_empty());
            assert_eq!(list.example.is_some(), list.skipped > 0);
            if let Some(example) = &list.example {
                assert!(example.chars().count() <= LONGEST_EXAMPLE);
                assert!(entries.iter().any(|entry| entry.starts_with(example.as_str())), "{example:?}");
            }
            for address in &list.addresses {
                assert!(is_usable_address(*address) && *address == address.to_canonical(), "{address}");
            }
            let plain: Vec<String> = list.addresses.iter().map(ToString::to_string).collect();
            let again = Reply { status: 200, body: serde_json::to_vec(&plain).unwrap() };
            let again = read_list(&again).unwrap();
            assert_eq!((again.addresses, again.skipped), (list.addresses, 0), "written out and read again");
            match (entries.len(), list.skipped) {
                (0, _) => Became::Empty,
                (_, 0) => Became::Clean,
                _ => Became::Skipping,
            }
        }
    }
}
