//! Where discovery may start.

use std::{io, net::IpAddr};

use tracing::{info, warn};

use crate::{config::Seed, model::is_usable_address};

/// Addresses taken of one name: more contact points than this add nothing but requests.
const MAX_ADDRESSES: usize = 32;

/// The outcome of a look-up.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Which seed, by position.
    pub(super) seed: usize,
    pub(super) result: io::Result<Vec<IpAddr>>,
}

/// The seeds and what their names stood for.
#[derive(Debug)]
pub(super) struct Seeds(Vec<Contact>);

#[derive(Debug)]
struct Contact {
    seed: Seed,
    /// What the seed stands for: itself, or what its name last resolved to.
    addresses: Vec<IpAddr>,
    /// A look-up is under way. There is never a second one for the name: a resolver that hangs would collect them.
    resolving: bool,
    failing: bool,
}

impl Seeds {
    pub(super) fn new(seeds: Vec<Seed>) -> Self {
        let contact = |seed| {
            let addresses = match &seed {
                Seed::Address(address) => vec![address.to_canonical()],
                Seed::Host(_) => Vec::new(),
            };
            Contact { seed, addresses, resolving: false, failing: false }
        };
        Seeds(seeds.into_iter().map(contact).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses last known.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flat_map(|contact| contact.addresses.iter().copied())
    }

    /// Whether a look-up is under way.
    pub(super) fn resolving(&self) -> bool {
        self.0.iter().any(|contact| contact.resolving)
    }

    /// The addresses to ask at once: those given as addresses, and the last known ones of names whose look-up hangs.
    pub(super) fn at_hand(&self) -> Vec<IpAddr> {
        let at_hand = self.0.iter().filter(|contact| contact.resolving || matches!(contact.seed, Seed::Address(_)));
        at_hand.flat_map(|contact| contact.addresses.iter().copied()).collect()
    }

    /// The names to look up now; they count as being looked up from here on.
    pub(super) fn begin_look_ups(&mut self) -> Vec<(usize, String)> {
        let mut names = Vec::new();
        for (index, contact) in self.0.iter_mut().enumerate() {
            if let Seed::Host(name) = &contact.seed
                && !contact.resolving
            {
                contact.resolving = true;
                names.push((index, name.clone()));
            }
        }
        names
    }

    /// Notes a look-up's outcome and says which addresses to ask. After a failure those are the last known ones.
    pub(super) fn resolved(&mut self, resolved: Resolved) -> Vec<IpAddr> {
        let Some(contact) = self.0.get_mut(resolved.seed) else { return Vec::new() };
        contact.resolving = false;
        let problem = match usable(resolved.result, MAX_ADDRESSES) {
            Ok(addresses) => {
                contact.addresses = addresses;
                None
            }
            Err(problem) => Some(problem),
        };
        match &problem {
            Some(problem) if !contact.failing => warn!(seed = %contact.seed, %problem, "a seed does not resolve"),
            None if contact.failing => info!(seed = %contact.seed, "a seed resolves again"),
            _ => {}
        }
        contact.failing = problem.is_some();
        contact.addresses.clone()
    }
}

/// The addresses that a look-up brought and that clients can connect to, at most so many; otherwise what is wrong.
pub(super) fn usable(looked_up: io::Result<Vec<IpAddr>>, most: usize) -> Result<Vec<IpAddr>, String> {
    let addresses = looked_up.map_err(|error| error.to_string())?;
    let mut usable: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    usable.retain(|&address| is_usable_address(address));
    usable.sort_unstable();
    usable.dedup();
    usable.truncate(most);
    if usable.is_empty() { Err("the name has no usable address".to_owned()) } else { Ok(usable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_are_used_as_they_are_and_names_are_looked_up_each_time() {
        let name = || Seed::Host("scylla.example.com".into());
        let mut seeds = Seeds::new(vec![Seed::Address("::ffff:10.0.0.1".parse().unwrap()), name()]);
        assert_eq!(seeds.at_hand(), ips(&["10.0.0.1"]));
        assert_eq!(seeds.begin_look_ups(), [(1, "scylla.example.com".to_owned())]);
        assert!(seeds.resolving() && seeds.begin_look_ups().is_empty(), "one look-up at a time");

        let found = Ok(ips(&["10.0.0.3", "0.0.0.0", "10.0.0.2", "10.0.0.2", "ff02::1", "fd00::1"]));
        assert_eq!(seeds.resolved(Resolved { seed: 1, result: found }), ips(&["10.0.0.2", "10.0.0.3", "fd00::1"]));
        assert_eq!(seeds.at_hand(), ips(&["10.0.0.1"]), "a name is looked up again before it is used");
        assert_eq!(seeds.begin_look_ups().len(), 1);
        assert_eq!(seeds.at_hand().len(), 4, "unless its look-up hangs");

        let failed = Err(io::Error::other("no such name"));
        assert_eq!(seeds.resolved(Resolved { seed: 1, result: failed }).len(), 3, "the last known addresses");
        seeds.begin_look_ups();
        let moved = Ok(ips(&["10.0.0.9"]));
        assert_eq!(seeds.resolved(Resolved { seed: 1, result: moved }), ips(&["10.0.0.9"]));
        assert_eq!(seeds.addresses().collect::<Vec<_>>(), ips(&["10.0.0.1", "10.0.0.9"]));
    }

    #[test]
    fn a_name_with_very_many_addresses_is_cut() {
        let mut seeds = Seeds::new(vec![Seed::Host("many".into())]);
        seeds.begin_look_ups();
        let many = (0..1000u32).map(|n| IpAddr::from((0x0a00_0001 + n).to_be_bytes())).collect();
        assert_eq!(seeds.resolved(Resolved { seed: 0, result: Ok(many) }).len(), MAX_ADDRESSES);
    }
}
