//! Names of one zone, by hash.

use std::{collections::HashMap, fmt};

use rustc_hash::FxBuildHasher;

use super::Entry;

/// Every owner name of a zone with what it has, found by one hash.
///
/// Names are lower-case wire format, ending in the root's zero octet. The hash is fast and not keyed: who asks decides
/// what is looked up, but only the zone's own configuration and cluster decide what is stored, so nobody can crowd one
/// bucket.
#[derive(Default)]
pub struct NameIndex(HashMap<Box<[u8]>, Entry, FxBuildHasher>);

impl NameIndex {
    /// What a name has.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        self.0.get(name)
    }

    /// Whether a name exists.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.contains_key(name)
    }

    /// Adds names without data: empty non-terminals.
    pub(super) fn add(&mut self, names: Vec<Box<[u8]>>) {
        self.0.extend(names.into_iter().map(|name| (name, Entry::default())));
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter().map(|(name, entry)| (&**name, entry))
    }
}

impl From<HashMap<Box<[u8]>, Entry, FxBuildHasher>> for NameIndex {
    fn from(names: HashMap<Box<[u8]>, Entry, FxBuildHasher>) -> Self {
        NameIndex(names)
    }
}

impl fmt::Debug for NameIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, entry)| (name.escape_ascii().to_string(), entry))).finish()
    }
}
