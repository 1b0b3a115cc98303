//! A sighting as text.

use std::fmt::Write;

use super::sighting::{Sighting, Source, counted};
use crate::cli::clean;

/// Heads of the columns of nodes.
const HEADS: [&str; 8] = ["DATACENTER", "RACK", "NODE", "STATE", "UP", "SHARDS", "VERSION", "PORT"];

/// The whole sighting.
pub(super) fn told(seen: &Sighting) -> String {
    let mut text = String::new();
    let by = match seen.source {
        Source::SystemTables => "by its system tables",
        Source::Localnodes => "by /localnodes",
    };
    let racks = seen.datacenters.values().map(std::collections::BTreeSet::len).sum();
    let counts = [
        counted(seen.datacenters.len(), "datacenter", "datacenters"),
        counted(racks, "rack", "racks"),
        counted(seen.nodes.len(), "node", "nodes"),
    ];
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{} sees {}, {by}", seen.seed, counts.join(", "));
    if let Some(reason) = &seen.reason {
        let _ = writeln!(text, "the system tables cannot be read: {}", clean(reason));
        text.push_str("so only what the node lists of its own datacenter and of configured ones is known\n");
    }
    text.push('\n');
    text.push_str(&nodes(seen));
    for note in &seen.notes {
        let _ = writeln!(text, "note: {}", clean(note));
    }
    let _ = writeln!(text, "\nnames of zone {}", seen.zone);
    for line in &seen.names {
        let also = if line.also.is_empty() { String::new() } else { format!("   also {}", line.also.join(", ")) };
        let _ = writeln!(text, "  {:<40} {}{also}", line.name, clean(&line.chain.join(" > ")));
    }
    for refusal in &seen.unnamed {
        let _ = writeln!(text, "  warning: {}", clean(refusal));
    }
    text.push_str("\na certificate needs (discover --sans)\n");
    for name in &seen.sans.names {
        let _ = writeln!(text, "  {name}");
    }
    if !seen.sans.left_out.is_empty() {
        let _ = writeln!(text, "  (not {}: certificates hold no underscores)", seen.sans.left_out.join(", "));
    }
    text
}

/// The nodes, a line each, as wide as they must be.
fn nodes(seen: &Sighting) -> String {
    let unknown = || "-".to_owned();
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    let mut remarks = vec![String::new()];
    for node in &seen.nodes {
        let name = |name: &Option<String>| name.as_deref().map_or_else(unknown, clean);
        rows.push(vec![
            name(&node.datacenter),
            name(&node.rack),
            node.address.to_string(),
            name(&node.state),
            if node.up { "yes" } else { "no" }.to_owned(),
            node.shards.map_or_else(unknown, |shards| shards.to_string()),
            name(&node.version),
            node.answers.as_deref().map_or_else(unknown, clean),
        ]);
        remarks.push(match &node.leaving {
            Some(leaving) => format!("no new clients: {leaving}"),
            None if !node.listed && node.up => "not listed for clients".to_owned(),
            None => String::new(),
        });
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut text = String::new();
    for (row, remark) in rows.iter().zip(&remarks) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = format!("{}  {remark}", cells.collect::<Vec<_>>().join("  "));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
