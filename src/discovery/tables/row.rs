//! The columns of an item that are of use here, each as text.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::model::is_usable_address;

/// The columns that are read, of whichever table. Others are skipped while parsing.
pub(super) const COLUMNS: [&str; 23] = [
    "address",
    "alternator_https_port",
    "alternator_port",
    "broadcast_address",
    "connection_id",
    "data_center",
    "datacenter",
    "dc",
    "draining",
    "excluded",
    "host_id",
    "listen_address",
    "node_state",
    "peer",
    "rack",
    "release_version",
    "rpc_address",
    "shard_count",
    "status",
    "tokens",
    "topology_request",
    "up",
    "version",
];

/// A longer text is no name, address, version or number: it counts as not told. ScyllaDB's names are typed by people,
/// and a DNS label has 63 octets.
const LONGEST_TEXT: usize = 255;

/// An item of a table: what it says in known columns. A column that is missing, null, too long, or of a type that no
/// column here has, is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row(BTreeMap<&'static str, String>);

impl Row {
    /// The text of a column.
    pub(super) fn text(&self, column: &'static str) -> Option<&str> {
        debug_assert!(COLUMNS.contains(&column), "{column}");
        self.0.get(column).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A name such as a datacenter's: nothing that would speak to a terminal or break a line of a log.
    pub(super) fn name(&self, column: &'static str) -> Option<&str> {
        self.text(column).filter(|text| !text.contains(char::is_control))
    }

    /// A word or a version: printable ASCII.
    pub(super) fn word(&self, column: &'static str) -> Option<&str> {
        self.text(column).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    /// An identity, in lower case so that spellings compare.
    pub(super) fn id(&self, column: &'static str) -> Option<String> {
        self.word(column).map(str::to_ascii_lowercase)
    }

    /// Yes or no: `{"BOOL": true}`, and `{"BOOL": "true"}` as ScyllaDB writes it.
    pub(super) fn flag(&self, column: &'static str) -> Option<bool> {
        let text = self.text(column)?;
        [("true", true), ("false", false)]
            .into_iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word))
            .map(|(_, is)| is)
    }

    /// A number, written as such or as text.
    pub(super) fn number<T: std::str::FromStr>(&self, column: &'static str) -> Option<T> {
        self.text(column)?.trim().parse().ok()
    }

    /// An address as the cluster's nodes know it, whether or not clients can use it.
    pub(super) fn any_address(&self, column: &'static str) -> Option<IpAddr> {
        let text = self.text(column)?.trim();
        // A `%scope` means nothing outside the node that wrote it.
        let unscoped = text.split_once('%').map_or(text, |(address, _)| address);
        unscoped.parse().ok().map(|address: IpAddr| address.to_canonical())
    }

    /// An address that clients can connect to.
    pub(super) fn address(&self, column: &'static str) -> Option<IpAddr> {
        self.any_address(column).filter(|address| is_usable_address(*address))
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut columns: A) -> Result<Row, A::Error> {
        let mut row = Row::default();
        while let Some(column) = columns.next_key_seed(ColumnName)? {
            match column {
                None => drop(columns.next_value::<IgnoredAny>()?),
                Some(column) => {
                    if let Some(text) = columns.next_value_seed(Value)? {
                        row.0.insert(column, text);
                    }
                }
            }
        }
        Ok(row)
    }
}

/// A column's name, if it is one that is read.
struct ColumnName;

impl<'de> DeserializeSeed<'de> for ColumnName {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ColumnName {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(COLUMNS.into_iter().find(|column| name.eq_ignore_ascii_case(column)))
    }
}

/// An attribute value as text. ScyllaDB gives whatever has no type of DynamoDB's (addresses, UUIDs, integers) as `S`;
/// numbers may come as `N`, with or without quotes.
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut types: A) -> Result<Self::Value, A::Error> {
        let mut value = None;
        while let Some(kind) = types.next_key_seed(Kind)? {
            if kind {
                value = types.next_value_seed(Value)?;
            } else {
                types.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text.len() <= LONGEST_TEXT).then(|| text.to_owned()))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Self::Value, E> {
        Ok(Some(is.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        // No column that is read holds a fraction.
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Whether a type is one of a single value.
struct Kind;

impl<'de> DeserializeSeed<'de> for Kind {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Kind {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(matches!(name, "S" | "N" | "BOOL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn values_come_as_text_whatever_their_type() {
        let row = row(r#"{"up":{"BOOL":"true"},"draining":{"BOOL":false},"excluded":{"S":"True"},"tokens":{"N":"256"},
            "shard_count":{"S":"8"},"alternator_port":{"N":16},"rack":{"NULL":true},"DC":{"S":"dc1"},"owns":{"S":"0.5"}}"#);
        assert_eq!([row.flag("up"), row.flag("draining"), row.flag("excluded")], [Some(true), Some(false), Some(true)]);
        assert_eq!(
            [row.number::<u32>("tokens"), row.number("shard_count"), row.number("alternator_port")],
            [Some(256), Some(8), Some(16)]
        );
        assert_eq!((row.text("rack"), row.text("dc"), row.flag("peer")), (None, Some("dc1"), None));
        assert_eq!(row.0.len(), 7, "nothing of what is not read");
    }

    #[test]
    fn what_does_not_fit_is_not_there() {
        let long = "x".repeat(LONGEST_TEXT + 1);
        let row = row(&format!(
            r#"{{"dc":{{"S":"{long}"}},"rack":{{"SS":["a"]}},"up":{{"L":[{{"BOOL":true}}]}},"peer":["10.0.0.1"],"tokens":{{}},
            "status":null,"draining":{{"M":{{"S":"true"}}}},"shard_count":{{"N":-3}},"alternator_port":{{"N":1.5}},"host_id":{{"S":""}}}}"#
        ));
        for column in ["dc", "rack", "up", "peer", "tokens", "status", "draining", "alternator_port", "host_id"] {
            assert_eq!(row.text(column), None, "{column}");
        }
        assert_eq!(row.number::<u32>("shard_count"), None);
    }

    #[test]
    fn nothing_speaks_to_a_terminal() {
        let row = row(
            r#"{"dc":{"S":"dc\u001b[2J1"},"rack":{"S":"räck 1"},"status":{"S":"NORM AL"},"release_version":{"S":"6.1"}}"#,
        );
        assert_eq!((row.name("dc"), row.name("rack")), (None, Some("räck 1")));
        assert_eq!((row.word("status"), row.word("release_version")), (None, Some("6.1")));
    }

    #[test]
    fn addresses_for_clients_are_usable_ones() {
        let row = row(r#"{"rpc_address":{"S":"0.0.0.0"},"peer":{"S":"::ffff:10.0.0.1"},"address":{"S":"fe80::1%eth0"},
            "listen_address":{"S":"nodes.example"}}"#);
        assert_eq!(row.address("rpc_address"), None);
        assert_eq!(row.any_address("rpc_address"), Some([0, 0, 0, 0].into()));
        assert_eq!(row.address("peer"), Some([10, 0, 0, 1].into()));
        assert_eq!(row.address("address"), Some("fe80::1".parse().unwrap()));
        assert_eq!(row.any_address("listen_address"), None);
    }

    #[test]
    fn columns_are_named_once_and_in_order() {
        assert!(COLUMNS.is_sorted_by(|a, b| a < b));
    }
}
