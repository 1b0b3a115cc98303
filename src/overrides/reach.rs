//! The nodes that a target means now, and what to say where it means none.

use std::collections::BTreeSet;

use crate::{
    model::{Node, Target},
    table::{CompiledZone, Table},
};

/// Names told of those there are; a person looks for a typing error, and the status has them all.
const TOLD: usize = 10;

/// Most changes that make a typing error of a name; with more it is another name.
const TYPING_ERROR: usize = 3;

/// A zone's name, as overrides have it.
pub(super) fn name(zone: &CompiledZone) -> String {
    zone.source.config.name()
}

/// The zones meant: the one named, or all.
pub(super) fn zones<'t>(table: &'t Table, zone: Option<&str>) -> Vec<&'t CompiledZone> {
    let is_meant = |known: &&CompiledZone| zone.is_none_or(|zone| name(known).eq_ignore_ascii_case(zone));
    table.zones().map(|zone| &**zone).filter(is_meant).collect()
}

/// What is wrong with the name of a zone; nothing where the Table has it.
pub(super) fn unknown_zone(table: &Table, zone: Option<&str>) -> Option<String> {
    let zone = zone.filter(|_| zones(table, zone).is_empty())?;
    let known: Vec<String> = table.zones().map(|zone| name(zone)).collect();
    Some(format!("no zone \"{zone}\" here; the zones are {}", listed(&known)))
}

/// The nodes that a target means, with their zones.
pub(super) fn nodes<'t>(table: &'t Table, zone: Option<&str>, target: &Target) -> Vec<(&'t CompiledZone, &'t Node)> {
    let of_zone = |zone: &'t CompiledZone| zone.plan.nodes().map(move |node| (zone, node));
    zones(table, zone).into_iter().flat_map(of_zone).filter(|(_, node)| target.matches(node)).collect()
}

/// What to say of a target that means no node: what there is, and which of it is nearest to what was written.
pub(super) fn nothing(table: &Table, zone: Option<&str>, target: &Target) -> String {
    let all = zones(table, zone);
    let nodes = || all.iter().flat_map(|zone| zone.plan.nodes());
    let datacenters = || nodes().filter_map(|node| node.datacenter.as_deref().map(str::to_owned));
    let racks = || nodes().filter(|node| node.rack.is_some()).map(Node::place);
    let known: BTreeSet<String> = match target {
        Target::Node(_) | Target::Network(_) => nodes().map(|node| node.address.to_string()).collect(),
        Target::Rack(..) => racks().collect(),
        Target::Datacenter(_) => datacenters().collect(),
        Target::Glob(_) => datacenters().chain(racks()).collect(),
    };
    let known: Vec<String> = known.into_iter().collect();
    let written = target.to_string();
    let nearest = match target {
        // Somebody may think of a rack by its own name.
        Target::Datacenter(_) => racks().find(|rack| rack.split_once('/').is_some_and(|(_, rack)| rack == written)),
        _ => None,
    };
    let there =
        if known.is_empty() { "no node is known yet".to_owned() } else { format!("there are {}", listed(&known)) };
    match nearest.or_else(|| nearest_to(&written, &known)) {
        Some(nearest) => format!("\"{target}\" means no node known now (did you mean \"{nearest}\"? {there})"),
        None => format!("\"{target}\" means no node known now ({there})"),
    }
}

fn nearest_to(written: &str, known: &[String]) -> Option<String> {
    let written = written.to_lowercase();
    let distance = |name: &String| (strsim::osa_distance(&written, &name.to_lowercase()), name.clone());
    let (distance, nearest) = known.iter().map(distance).min()?;
    (distance <= TYPING_ERROR.min(written.chars().count() / 2)).then_some(nearest)
}

fn listed(names: &[String]) -> String {
    let told = names.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(TOLD) {
        Some(more) if more > 0 => format!("{told} and {more} more"),
        _ => told,
    }
}
