//! The names a certificate needs, so that clients of every spelling find theirs in it.

use std::collections::BTreeSet;

use hickory_proto::rr::Name;
use serde::Serialize;

/// Names for `subjectAltName`, without the dot at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sans {
    /// The zone first, then in order.
    pub(super) names: Vec<String>,
    /// What should be there and cannot: authorities refuse an underscore in a name (RFC 5280 section 4.2.1.6 wants the
    /// syntax of host names). Another spelling of the same scope is in `names`.
    pub(super) left_out: Vec<String>,
}

impl Sans {
    /// One `*` for each set of names with the same parent: it stands for exactly one label, so
    /// `*.zone` covers `dc1.zone`, `dc1--rack1.zone` and every node, and not `dc1.rack1.zone`.
    pub(super) fn with_wildcards<'a>(apex: &Name, names: impl IntoIterator<Item = &'a Name>) -> Self {
        let parents = names.into_iter().filter(|name| *name != apex).map(Name::base_name);
        // Even a zone without any scope has its nodes.
        let parents: BTreeSet<Name> = parents.chain([apex.clone()]).collect();
        Self::of(apex, parents.into_iter().map(|parent| format!("*.{}", text(&parent))))
    }

    /// Every name by itself, for authorities that give no wildcards.
    pub(super) fn written_out<'a>(apex: &Name, names: impl IntoIterator<Item = &'a Name>) -> Self {
        let names: BTreeSet<&Name> = names.into_iter().filter(|name| *name != apex).collect();
        Self::of(apex, names.into_iter().map(text))
    }

    fn of(apex: &Name, others: impl Iterator<Item = String>) -> Self {
        let (left_out, names): (Vec<_>, Vec<_>) = others.partition(|name| name.contains('_'));
        Sans { names: [text(apex)].into_iter().chain(names).collect(), left_out }
    }
}

/// A name as certificates and people have it.
pub(super) fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| Name::from_ascii(text).unwrap()).collect()
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let apex = Name::from_ascii("db.example.com.").unwrap();
        let all = names(&[
            "db.example.com.",
            "dc1.db.example.com.",
            "dc1--r1.db.example.com.",
            "dc1.r1.db.example.com.",
            "dc2.r1.db.example.com.",
            "r1.dc1.db.example.com.",
            "dc1.r_1.db.example.com.",
        ]);
        let sans = Sans::with_wildcards(&apex, &all);
        let expected = ["db.example.com", "*.db.example.com", "*.dc1.db.example.com", "*.r1.db.example.com"];
        assert_eq!(sans.names, expected);
        assert_eq!(sans.left_out, ["*.r_1.db.example.com"]);
        assert_eq!(Sans::with_wildcards(&apex, &[]).names, ["db.example.com", "*.db.example.com"]);
    }

    #[test]
    fn written_out_each_name_is_there_once() {
        let apex = Name::from_ascii("db.example.").unwrap();
        let all = names(&["db.example.", "dc1.db.example.", "dc1.db.example.", "a_b.db.example."]);
        let sans = Sans::written_out(&apex, &all);
        assert_eq!(
            (sans.names, sans.left_out),
            (vec!["db.example".into(), "dc1.db.example".into()], vec!["a_b.db.example".into()])
        );
    }
}
