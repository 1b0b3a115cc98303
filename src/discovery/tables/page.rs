//! One reply to a `Scan`: rows, and where the next page begins.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::row::Row;

/// Rows asked for at once. A server ends a page at a megabyte of its own, whatever is asked for.
pub(super) const PAGE_ROWS: usize = 1000;

/// A longer body is no page: a megabyte of columns, twice that as JSON, and room.
pub(in crate::discovery) const PAGE_OCTETS: usize = 4 << 20;

/// More pages than the rows of a table need where a page ends at a megabyte and a row holds the 256 tokens of its node.
pub(super) const MAX_PAGES: usize = 100;

/// More rows than any cluster has nodes. A longer table fails as a whole: a part of it would be a vote against the rest.
pub(super) const MAX_ROWS: usize = 10_000;

/// The octets of a key that is sent back: keys here are an address, or a name and a UUID.
const LONGEST_KEY: usize = 2048;

/// As much as is told of a body that is no page: what is wrong with it may be told by quoting all of it.
const LONGEST_COMPLAINT: usize = 160;

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    /// `LastEvaluatedKey`: the `ExclusiveStartKey` of the next page, unless this is the last one.
    pub(super) next: Option<Map<String, Value>>,
}

/// The reply as it is written.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "Items")]
    items: Items,
    #[serde(rename = "LastEvaluatedKey", default)]
    last_key: Option<Map<String, Value>>,
}

struct Items(Vec<Row>);

/// The page in a body; otherwise what is wrong with it, in a short line.
pub(super) fn read(body: &[u8]) -> Result<Page, String> {
    let raw: Raw = serde_json::from_slice(body).map_err(|error| short(&error.to_string()))?;
    let next = raw.last_key.filter(|key| !key.is_empty()).map(as_sent);
    if let Some(key) = &next {
        let octets = serde_json::to_vec(key).map_or(usize::MAX, |text| text.len());
        if octets > LONGEST_KEY {
            return Err(format!("LastEvaluatedKey is longer than {LONGEST_KEY} octets"));
        }
    }
    Ok(Page { rows: raw.items.0, next })
}

/// A key as it can be sent back. ScyllaDB tells a position within a partition with a weight that is a bare number,
/// `{"N": 1}`, and takes it only as it takes every number: as text.
fn as_sent(mut key: Map<String, Value>) -> Map<String, Value> {
    for value in key.values_mut() {
        if let Some(number) = value.get_mut("N").filter(|number| number.is_number()) {
            *number = Value::String(number.to_string());
        }
    }
    key
}

/// A text for a line of a log.
pub(super) fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_COMPLAINT).collect()
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = items.next_element()? {
            if rows.len() == MAX_ROWS {
                return Err(A::Error::custom(format_args!("more than {MAX_ROWS} items")));
            }
            rows.push(row);
        }
        Ok(Items(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_rows_and_a_key() {
        let page = read(
            br#"{"Count":1,"ScannedCount":1,"LastEvaluatedKey":{"peer":{"S":"10.0.0.1"}},"Items":[{"dc":{"S":"a"}}]}"#,
        );
        let page = page.unwrap();
        assert_eq!(page.rows[0].text("dc"), Some("a"));
        assert_eq!(Value::from(page.next.unwrap()), serde_json::json!({"peer": {"S": "10.0.0.1"}}));
        let within = br#"{"Items":[],"LastEvaluatedKey":{"key":{"S":"t"},":scylla:paging:weight":{"N":-1}}}"#;
        assert_eq!(read(within).unwrap().next.unwrap()[":scylla:paging:weight"], serde_json::json!({"N": "-1"}));
        for last in
            [r#"{"Items":[]}"#, r#"{"Items":[],"LastEvaluatedKey":{}}"#, r#"{"Items":[],"LastEvaluatedKey":null}"#]
        {
            assert_eq!(read(last.as_bytes()), Ok(Page { rows: vec![], next: None }), "{last}");
        }
    }

    #[test]
    fn anything_else_is_told_in_a_short_line() {
        let deep = format!(r#"{{"Items":{}"#, "[".repeat(10_000));
        let deep_value = format!(r#"{{"Items":[{{"dc":{}"#, r#"{"S":"#.repeat(10_000));
        let many = format!(r#"{{"Items":[{}{{}}]}}"#, "{},".repeat(MAX_ROWS));
        let key = format!(r#"{{"Items":[],"LastEvaluatedKey":{{"k":{{"S":"{}"}}}}}}"#, "k".repeat(LONGEST_KEY));
        let long = format!("{{\"Items\":\"{}\"}}", "x\\u001b".repeat(1000));
        for bad in ["", "<html>", "[]", "{}", r#"{"Items":{}}"#, r#"{"Items":[1]}"#, r#"{"Items":[],"Items":[]}"#]
            .into_iter()
            .chain([&deep, &deep_value, &many, &key, &long].map(String::as_str))
        {
            let complaint = read(bad.as_bytes()).unwrap_err();
            assert!(!complaint.is_empty() && complaint.chars().count() <= LONGEST_COMPLAINT, "{complaint}");
            assert!(!complaint.contains(char::is_control), "{complaint:?}");
        }
        assert!(read(b"{\"Items\":[{\"dc\":{\"S\":\"\xff\"}}]}").is_err(), "no UTF-8");
    }
}
