//! `Scan` and `Query`: which rows and columns are wanted, and the page that answers.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::{Map, Value, json};

use super::{super::api::ApiError, Cell, Key, Row};

/// Octets of rows in a page: ScyllaDB ends a page when it has read so much, before columns are selected.
const PAGE_OCTETS: usize = 1 << 20;

/// Where a page that was ended for its size goes on: behind the row that the key names.
const PAGING_REGION: &str = ":scylla:paging:region";
const PAGING_WEIGHT: &str = ":scylla:paging:weight";

/// A request, read.
#[derive(Debug)]
pub(in crate::sim) struct Scan {
    /// Rows at most.
    limit: usize,
    after: Option<Position>,
    /// The one partition that is wanted.
    partition: Option<String>,
    /// Columns; all where `None`.
    columns: Option<BTreeSet<String>>,
    /// Only the number of rows is wanted.
    count_only: bool,
}

/// Where a row is: in the order of the ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    token: u64,
    partition: String,
    clustering: String,
}

impl Position {
    fn new(partition: &str, clustering: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        partition.hash(&mut hasher);
        Position { token: hasher.finish(), partition: partition.to_owned(), clustering: clustering.to_owned() }
    }

    fn of(row: &Row<'_>, key: &Key) -> Self {
        let text = |column: &str| match row.get(column) {
            Some(Cell::Text(text)) => text.as_ref(),
            _ => "",
        };
        Self::new(text(key.partition), key.clustering.map_or("", text))
    }

    /// As the key of a row in a request or reply.
    fn to_json(&self, key: &Key) -> Map<String, Value> {
        let mut json = Map::from_iter([(key.partition.to_owned(), json!({ "S": self.partition }))]);
        if let Some(column) = key.clustering {
            json.insert(column.to_owned(), json!({ "S": self.clustering }));
        }
        json
    }
}

impl Scan {
    /// Reads a request for a table with this key.
    pub(in crate::sim) fn read(operation: &str, request: &Value, key: &Key) -> Result<Self, ApiError> {
        if let Some(unknown) = ["FilterExpression", "ScanFilter", "QueryFilter", "Segment", "IndexName"]
            .into_iter()
            .find(|parameter| request.get(*parameter).is_some())
        {
            return Err(ApiError::validation(format!("{unknown} is not simulated")));
        }
        let limit = match request.get("Limit") {
            None => usize::MAX,
            Some(limit) => limit
                .as_u64()
                .and_then(|limit| limit.try_into().ok())
                .filter(|limit| *limit > 0)
                .ok_or_else(|| ApiError::validation("Limit must be greater than 0"))?,
        };
        let mut used = Used::default();
        let partition = match operation {
            "Query" => Some(wanted_partition(request, key, &mut used)?),
            _ => None,
        };
        let columns = columns(request, &mut used)?;
        used.verify(request, operation)?;
        Ok(Scan {
            limit,
            after: request.get("ExclusiveStartKey").map(|start| start_key(start, key)).transpose()?,
            partition,
            columns,
            count_only: request["Select"] == "COUNT",
        })
    }

    /// The page that answers, of at most so many rows; booleans as such where wanted.
    pub(in crate::sim) fn page(
        &self,
        key: &Key,
        rows: Vec<Row<'_>>,
        most_rows: Option<usize>,
        json_booleans: bool,
    ) -> Value {
        let mut rows: Vec<(Position, Row<'_>)> = rows.into_iter().map(|row| (Position::of(&row, key), row)).collect();
        rows.sort_by(|(left, _), (right, _)| left.cmp(right));
        rows.retain(|(at, _)| {
            self.after.as_ref().is_none_or(|after| at > after)
                && self.partition.as_ref().is_none_or(|partition| at.partition == *partition)
        });
        let (mut page, mut octets) = (Vec::new(), 0);
        let mut rows = rows.into_iter().peekable();
        while page.len() < self.limit && page.len() < most_rows.unwrap_or(usize::MAX) && octets < PAGE_OCTETS {
            let Some((at, row)) = rows.next() else { break };
            octets += row.iter().map(|(column, cell)| column.len() + cell.len()).sum::<usize>();
            page.push((at, row));
        }
        let last = page.last().map(|(at, _)| at.to_json(key));
        let next = match last {
            // Whether anything is left is not looked at then: the next page may be empty.
            Some(last) if page.len() == self.limit => Some(last),
            Some(mut last) if rows.peek().is_some() => {
                last.insert(PAGING_REGION.to_owned(), json!({ "S": "clustered" }));
                // A number and no text, unlike every other number of DynamoDB.
                last.insert(PAGING_WEIGHT.to_owned(), json!({ "N": 1 }));
                Some(last)
            }
            _ => None,
        };
        let mut reply =
            Map::from_iter([("Count".to_owned(), page.len().into()), ("ScannedCount".to_owned(), page.len().into())]);
        if !self.count_only {
            let items = page.iter().map(|(_, row)| self.item(row, json_booleans)).collect();
            reply.insert("Items".to_owned(), Value::Array(items));
        }
        if let Some(next) = next {
            reply.insert("LastEvaluatedKey".to_owned(), next.into());
        }
        reply.into()
    }

    fn item(&self, row: &Row<'_>, json_booleans: bool) -> Value {
        let wanted = |column: &str| self.columns.as_ref().is_none_or(|columns| columns.contains(column));
        let cells = row.iter().filter(|(column, _)| wanted(column)).map(|(column, cell)| {
            let cell = match cell {
                Cell::Text(text) => json!({ "S": text }),
                Cell::Flag(flag) if json_booleans => json!({ "BOOL": flag }),
                Cell::Flag(flag) => json!({ "BOOL": flag.to_string() }),
            };
            ((*column).to_owned(), cell)
        });
        Value::Object(cells.collect())
    }
}

impl Cell<'_> {
    fn len(&self) -> usize {
        match self {
            Cell::Text(text) => text.len(),
            Cell::Flag(_) => 1,
        }
    }
}

/// Placeholders that expressions used; a request must not define others.
#[derive(Debug, Default)]
struct Used {
    names: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Used {
    /// The column that a word of an expression means.
    fn column(&mut self, request: &Value, word: &str) -> Result<String, ApiError> {
        if !word.starts_with('#') {
            return Ok(word.to_owned());
        }
        self.names.insert(word.to_owned());
        let name = request["ExpressionAttributeNames"][word].as_str().map(str::to_owned);
        name.ok_or_else(|| {
            ApiError::validation(format!("ExpressionAttributeNames missing entry for '{word}' required by expression"))
        })
    }

    fn verify(&self, request: &Value, operation: &str) -> Result<(), ApiError> {
        for (field, used) in [("ExpressionAttributeNames", &self.names), ("ExpressionAttributeValues", &self.values)] {
            let defined = request[field].as_object().into_iter().flat_map(Map::keys);
            for name in defined {
                if !used.contains(name) {
                    let message = format!("{field} has spurious '{name}', not used in {operation}");
                    return Err(ApiError::validation(message));
                }
            }
        }
        Ok(())
    }
}

/// The columns that a request selects.
fn columns(request: &Value, used: &mut Used) -> Result<Option<BTreeSet<String>>, ApiError> {
    if let Some(attributes) = request["AttributesToGet"].as_array() {
        let columns = attributes.iter().filter_map(|name| name.as_str().map(str::to_owned));
        return Ok(Some(columns.collect()));
    }
    let Some(expression) = request["ProjectionExpression"].as_str() else { return Ok(None) };
    let columns = expression.split(',').map(|word| used.column(request, word.trim()));
    columns.collect::<Result<_, _>>().map(Some)
}

/// The partition that a query is for: an equality, in either way to write one.
fn wanted_partition(request: &Value, key: &Key, used: &mut Used) -> Result<String, ApiError> {
    let value = if let Some(expression) = request["KeyConditionExpression"].as_str() {
        let (column, value) = expression.split_once('=').map_or((expression, ""), |(c, v)| (c.trim(), v.trim()));
        used.values.insert(value.to_owned());
        let is_key = used.column(request, column)? == key.partition;
        request["ExpressionAttributeValues"][value]["S"].as_str().filter(|_| is_key)
    } else {
        request["KeyConditions"][key.partition]["AttributeValueList"][0]["S"].as_str()
    };
    let message = || format!("Query is simulated for an equality of {} only", key.partition);
    value.map(str::to_owned).ok_or_else(|| ApiError::validation(message()))
}

/// Where a scan goes on. What ended the page before it may be told along with the key, and then both its parts, as
/// texts of their types.
fn start_key(start: &Value, key: &Key) -> Result<Position, ApiError> {
    let text = |name: &str, kind: &str, what: &str| -> Result<&str, ApiError> {
        let value = start.get(name).ok_or_else(|| ApiError::validation(format!("Key column {name} not found")))?;
        let object = value.as_object().filter(|object| object.len() == 1);
        let (found, value) = object
            .and_then(|object| object.iter().next())
            .and_then(|(kind, value)| Some((kind, value.as_str()?)))
            .ok_or_else(|| ApiError::validation(format!("Malformed value object for {what} {name}: {value}")))?;
        if found != kind {
            let message = format!("Type mismatch: expected type {kind} for {what} {name}, got type {found}");
            return Err(ApiError::validation(message));
        }
        Ok(value)
    };
    let partition = text(key.partition, "S", "key column")?;
    let clustering = key.clustering.map(|column| text(column, "S", "key column")).transpose()?.unwrap_or("");
    if key.clustering.is_some() {
        match (start.get(PAGING_REGION), start.get(PAGING_WEIGHT)) {
            (None, None) => {}
            (Some(_), Some(_)) => {
                text(PAGING_REGION, "S", "key region")?;
                text(PAGING_WEIGHT, "N", "key weight")?;
            }
            _ => {
                return Err(ApiError::validation(
                    "Malformed value object: region and weight has to be either both missing or both present",
                ));
            }
        }
    }
    Ok(Position::new(partition, clustering))
}
