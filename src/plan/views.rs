//! Which addresses of the nodes the clients of each network are given.
//!
//! A client's *view* is picked by the longest prefix that covers its address among all prefixes of all rules: the rules
//! that name this prefix are the view's own, and those without clients, which are for everybody, come after them. A
//! client that no prefix covers has the view for everybody, number 0.
//!
//! In a view a node is *seen* at another address: by the own rules first, then by those for everybody; among either, by
//! the longest `from` that covers it. A route of the cluster's own table counts as long as a whole address, so that it is
//! more exact than any network, and a rule written out for one address has the last word. A node that nothing maps is
//! seen at its own address.
//!
//! What a node is seen at decides nothing but what is written into answers. Whether it is in, which place it has, and
//! the label of its name are its own address's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::Family;
use crate::{
    config::{AddressRule, Mapping, Scheme, client_networks},
    model::{Loan, Prefix, PrefixMap, Route, Seen, Topology, is_usable_address},
};

/// All views of a zone's clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views {
    /// Of clients that have a view of their own.
    numbers: PrefixMap<usize>,
    /// The first is the one for everybody.
    views: Vec<View>,
    scheme: Scheme,
}

/// What some clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whose view it is; none for everybody's.
    pub clients: Vec<Prefix>,
    /// Its own rules; none for everybody's.
    own: Rules,
    /// The rules without clients.
    everybody: Arc<Rules>,
    /// While nodes are borrowed: the number of the view that these clients have of them.
    pub lender: usize,
}

/// Rules of one rank.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    /// The rule for each network, by its place in `networks`.
    longest: PrefixMap<usize>,
    /// From where to where.
    networks: Vec<(Prefix, Prefix)>,
    /// Connection ids, in the order of the rules.
    routes: Vec<Arc<str>>,
}

impl Default for Views {
    fn default() -> Self {
        Views::new(&[], Scheme::Http)
    }
}

impl Views {
    /// The views of these rules; `scheme` decides which port of a route is taken.
    pub fn new(rules: &[AddressRule], scheme: Scheme) -> Self {
        let everybody = Arc::new(Rules::new(rules.iter().filter(|rule| rule.clients.is_none())));
        let networks = client_networks(rules);
        let mut views = vec![View { everybody: everybody.clone(), ..View::default() }];
        // Networks with the same rules have one view.
        let mut known: BTreeMap<&BTreeSet<usize>, usize> = BTreeMap::new();
        let mut numbers = Vec::new();
        for (prefix, own) in &networks {
            let number = *known.entry(own).or_insert(views.len());
            if number == views.len() {
                let own = Rules::new(own.iter().filter_map(|index| rules.get(*index)));
                views.push(View { clients: Vec::new(), own, everybody: everybody.clone(), lender: 0 });
            }
            views[number].clients.push(*prefix);
            numbers.push((*prefix, number));
        }
        Views { numbers: numbers.into_iter().collect(), views, scheme }
    }

    /// These views divided further, so that the clients of each have one view of the nodes lent as well.
    pub fn divided_by(&self, loan: &Loan) -> Self {
        let networks = |clients: &mut dyn Iterator<Item = (usize, &[Prefix])>| -> BTreeMap<Prefix, usize> {
            clients.flat_map(|(number, clients)| clients.iter().map(move |prefix| (*prefix, number))).collect()
        };
        let own = networks(&mut self.views.iter().map(|view| &view.clients[..]).enumerate());
        let lent = networks(&mut loan.views.iter().map(|view| &view.clients[..]).enumerate());
        // A network within has the view of the longest around it.
        let view_of = |networks: &BTreeMap<Prefix, usize>, network: &Prefix| {
            let mut around = (0..=network.len).rev().map(|len| Prefix::around(network.address, len));
            around.find_map(|prefix| networks.get(&prefix).copied()).unwrap_or_default()
        };
        let mut views: Vec<View> = self.views.iter().take(1).cloned().collect();
        let mut known = BTreeMap::from([((0, 0), 0)]);
        let mut numbers = Vec::new();
        for network in own.keys().chain(lent.keys().filter(|network| !own.contains_key(network))) {
            let both @ (of_own, lender) = (view_of(&own, network), view_of(&lent, network));
            let number = *known.entry(both).or_insert(views.len());
            if number == views.len() {
                let Some(view) = self.views.get(of_own) else { continue };
                views.push(View { clients: Vec::new(), lender, ..view.clone() });
            }
            views[number].clients.push(*network);
            numbers.push((*network, number));
        }
        Views { numbers: numbers.into_iter().collect(), views, scheme: self.scheme }
    }

    /// The number of a client's view. Takes no memory.
    #[inline]
    pub fn of(&self, client: IpAddr) -> usize {
        self.numbers.get(client).unwrap_or_default()
    }

    /// The longest prefix that a client is covered by; `None` for everybody else.
    pub fn network_of(&self, client: IpAddr) -> Option<Prefix> {
        let number = self.numbers.get(client)?;
        let covering = self.views.get(number)?.clients.iter().filter(|prefix| prefix.contains(client));
        covering.max_by_key(|prefix| prefix.len).copied()
    }

    /// The view of this number.
    pub fn get(&self, number: usize) -> Option<&View> {
        self.views.get(number)
    }

    /// How many there are: at least the one for everybody.
    pub fn count(&self) -> usize {
        self.views.len()
    }

    /// The views, by number.
    pub fn iter(&self) -> impl Iterator<Item = &View> {
        self.views.iter()
    }

    /// Whether some clients have a view, or everybody has rules.
    pub fn has_rules(&self) -> bool {
        self.views.iter().any(View::has_rules)
    }

    /// How the node of this address is seen in the view of this number.
    pub fn seen(&self, number: usize, node: IpAddr, topology: &Topology) -> Seen {
        let own = Seen { address: node, port: None, is_mapped: false };
        let Some(view) = self.views.get(number).filter(|view| view.has_rules()) else { return own };
        let route = |id: &str| topology.members.get(&node)?.told.routes.get(id);
        let seen = view.own.seen(node, &route, self.scheme);
        seen.or_else(|| view.everybody.seen(node, &route, self.scheme)).unwrap_or(own)
    }

    /// Whether a node of the topology is seen in another address family than its own, which only routes can do.
    pub fn changes_family(&self, number: usize, topology: &Topology) -> bool {
        let has_routes = self.views.get(number).is_some_and(View::has_routes);
        let changes =
            |address: &IpAddr| Family::of(self.seen(number, *address, topology).address) != Family::of(*address);
        has_routes && topology.members.keys().any(changes)
    }
}

impl View {
    /// Whether anything is mapped in it.
    pub fn has_rules(&self) -> bool {
        !(self.own.is_empty() && self.everybody.is_empty())
    }

    /// Whose view it is, for people: `clients of 203.0.113.0/24 and 1 more`, `clients without rules of their own`.
    pub fn whose(&self) -> String {
        match &self.clients[..] {
            [] => "clients without rules of their own".to_owned(),
            [one] => format!("clients of {one}"),
            [first, more @ ..] => format!("clients of {first} and {} more", more.len()),
        }
    }

    fn has_routes(&self) -> bool {
        !(self.own.routes.is_empty() && self.everybody.routes.is_empty())
    }
}

impl Rules {
    /// Of rules that say the same of different things, the first counts.
    fn new<'r>(rules: impl Iterator<Item = &'r AddressRule>) -> Self {
        let (mut networks, mut routes) = (Vec::new(), Vec::new());
        for rule in rules {
            match &rule.to {
                Mapping::Network { from, to } => networks.push((*from, *to)),
                Mapping::Routes(id) => routes.push(Arc::from(id.as_str())),
            }
        }
        // Of equal prefixes the last one given to the map counts.
        let longest = networks.iter().enumerate().rev().map(|(index, (from, _))| (*from, index)).collect();
        Rules { longest, networks, routes }
    }

    fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.routes.is_empty()
    }

    fn seen<'t>(&self, node: IpAddr, route: &dyn Fn(&str) -> Option<&'t Route>, scheme: Scheme) -> Option<Seen> {
        let network = self.longest.get(node).and_then(|index| self.networks.get(index));
        let exactly = network.filter(|(from, _)| from.is_one());
        // A table of the cluster may hold anything.
        let usable = |route: &&Route| is_usable_address(route.address.to_canonical());
        let routed = || self.routes.iter().find_map(|id| route(id).filter(usable));
        if exactly.is_none()
            && let Some(route) = routed()
        {
            let port = match scheme {
                Scheme::Http => route.port,
                Scheme::Https => route.https_port,
            };
            let port = port.filter(|port| *port != 0);
            return Some(Seen { address: route.address.to_canonical(), port, is_mapped: true });
        }
        let address = network.and_then(|(_, to)| to.place_of(node))?;
        Some(Seen { address, port: None, is_mapped: true })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Member, Node, Told};

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    /// `clients > from > to` or `clients > @connection`; clients separated by spaces, `*` for everybody.
    fn rule(text: &str) -> AddressRule {
        let parts: Vec<&str> = text.split(" > ").collect();
        let clients = (parts[0] != "*").then(|| parts[0].split(' ').map(prefix).collect());
        let to = match parts[1..] {
            [from, to] => Mapping::Network { from: prefix(from), to: prefix(to) },
            [id] => Mapping::Routes(id.trim_start_matches('@').to_owned()),
            _ => panic!("{text}"),
        };
        AddressRule { clients, to }
    }

    fn views(rules: &[&str]) -> Views {
        Views::new(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>(), Scheme::Http)
    }

    /// Nodes, each with the addresses of its routes by connection.
    fn topology(nodes: &[(&str, &[(&str, &str)])]) -> Topology {
        let mut topology = Topology::default();
        for (address, routes) in nodes {
            let address = address.parse().unwrap();
            let route = |to: &str| Route { address: to.parse().unwrap(), port: Some(9001), https_port: None };
            let routes = routes.iter().map(|(id, to)| (Arc::from(*id), route(to))).collect();
            let mut member = Member::new(Node { address, datacenter: None, rack: None });
            member.told = Arc::new(Told { routes, ..Told::default() });
            topology.members.insert(address, member);
        }
        topology
    }

    /// What a client sees: the address, the port behind it where there is one, `own` where nothing maps.
    fn told(views: &Views, client: &str, node: &str, topology: &Topology) -> String {
        let seen = views.seen(views.of(client.parse().unwrap()), node.parse().unwrap(), topology);
        match (seen.is_mapped, seen.port) {
            (false, None) => "own".to_owned(),
            (true, None) => seen.address.to_string(),
            (_, Some(port)) => format!("{}:{port}", seen.address),
        }
    }

    #[test]
    fn the_longest_prefix_of_a_client_picks_its_rules_and_those_for_everybody_come_after() {
        let views = views(&[
            "203.0.113.0/24 > 10.0.0.0/24 > 198.51.100.0/24",
            "203.0.113.64/26 2001:db8::/32 > 10.0.0.7 > 192.0.2.7",
            "* > 10.0.0.0/8 > 11.0.0.0/8",
            "203.0.113.64/26 2001:db8::/32 > 10.0.0.8 > 192.0.2.8",
        ]);
        assert_eq!(views.count(), 3, "two networks with the same rules have one view");
        let none = Topology::default();
        for (client, node, seen) in [
            ("203.0.113.1", "10.0.0.5", "198.51.100.5"),
            ("::ffff:203.0.113.1", "10.0.0.5", "198.51.100.5"),
            ("203.0.113.1", "10.1.0.5", "11.1.0.5"),
            ("203.0.113.1", "172.16.0.5", "own"),
            // The outer network's rules are not the inner one's.
            ("203.0.113.65", "10.0.0.5", "11.0.0.5"),
            ("203.0.113.65", "10.0.0.7", "192.0.2.7"),
            ("2001:db8::1", "10.0.0.8", "192.0.2.8"),
            ("192.0.2.1", "10.0.0.7", "11.0.0.7"),
            ("::1", "10.0.0.7", "11.0.0.7"),
            ("::1", "fd00::1", "own"),
        ] {
            assert_eq!(told(&views, client, node, &none), seen, "{node} for {client}");
        }
        let network = |client: &str| views.network_of(client.parse().unwrap()).map(|found| found.to_string());
        assert_eq!(network("203.0.113.65").as_deref(), Some("203.0.113.64/26"));
        assert_eq!((network("::1"), network("203.0.112.255")), (None, None));
    }

    #[test]
    fn routes_are_more_exact_than_networks_and_less_than_one_address() {
        let topology = topology(&[
            ("10.0.0.1", &[("link", "192.0.2.1"), ("other", "192.0.2.101")]),
            ("10.0.0.2", &[("link", "192.0.2.1")]),
            ("10.0.0.3", &[("other", "2001:db8::3")]),
            ("10.0.0.4", &[("link", "0.0.0.0"), ("other", "::ffff:192.0.2.104")]),
            ("fd00::1", &[("link", "192.0.2.9")]),
        ]);
        let by = views(&[
            "203.0.113.0/24 > 10.0.0.0/24 > 198.51.100.0/24",
            "203.0.113.0/24 > @link",
            "203.0.113.0/24 > 10.0.0.2 > 198.51.100.222",
            "* > @other",
        ]);
        for (client, node, seen) in [
            ("203.0.113.1", "10.0.0.1", "192.0.2.1:9001"),
            ("203.0.113.1", "10.0.0.2", "198.51.100.222"),
            ("203.0.113.1", "10.0.0.3", "198.51.100.3"),
            // Nobody can connect to what the table says.
            ("203.0.113.1", "10.0.0.4", "198.51.100.4"),
            ("203.0.113.1", "fd00::1", "192.0.2.9:9001"),
            ("192.0.2.1", "10.0.0.1", "192.0.2.101:9001"),
            ("192.0.2.1", "10.0.0.2", "own"),
            ("192.0.2.1", "10.0.0.3", "2001:db8::3:9001"),
            ("192.0.2.1", "10.0.0.4", "192.0.2.104:9001"),
        ] {
            assert_eq!(told(&by, client, node, &topology), seen, "{node} for {client}");
        }
        assert!(by.changes_family(0, &topology) && by.changes_family(1, &topology));
        let https = Views::new(&[rule("* > @link")], Scheme::Https);
        assert_eq!(told(&https, "::1", "10.0.0.1", &topology), "192.0.2.1", "no port for this scheme");
    }

    #[test]
    fn of_equal_rules_the_first_counts_and_without_any_all_is_as_it_is() {
        let twice = views(&["* > 10.0.0.0/8 > 11.0.0.0/8", "* > 10.0.0.0/8 > 12.0.0.0/8"]);
        assert_eq!(told(&twice, "::1", "10.0.0.1", &Topology::default()), "11.0.0.1");
        assert!(twice.has_rules() && twice.count() == 1);
        let none = Views::default();
        assert!(!none.has_rules() && none.count() == 1);
        assert_eq!(told(&none, "::1", "10.0.0.1", &Topology::default()), "own");
    }

    fn networks() -> impl Strategy<Value = Prefix> {
        let octet = || proptest::sample::select(vec![0_u8, 1, 128, 255]);
        ((octet(), octet()), 8_u8..=32).prop_map(|((b, d), len)| Prefix::around([10, b, 0, d].into(), len))
    }

    proptest! {
        #[test]
        fn what_is_seen_is_what_reading_the_rules_gives(
            rules in proptest::collection::vec(
                (proptest::option::of(proptest::collection::vec(networks(), 1..3)), networks(), any::<u8>()), 0..8),
            client in networks(),
            node in networks(),
        ) {
            let rules: Vec<AddressRule> = rules.into_iter().map(|(clients, from, to)| {
                let to = Prefix::around([to, 7, 7, 7].into(), from.len);
                AddressRule { clients, to: Mapping::Network { from, to } }
            }).collect();
            let (client, node) = (client.address, node.address);
            let all = Views::new(&rules, Scheme::Http);
            // The longest prefix of any rule; the rules that name it; those for everybody.
            let prefixes = rules.iter().flat_map(|rule| rule.clients.iter().flatten());
            let longest = prefixes.filter(|prefix| prefix.contains(client)).max_by_key(|prefix| prefix.len);
            prop_assert_eq!(all.network_of(client), longest.copied());
            let own = |rule: &&AddressRule| {
                longest.is_some_and(|longest| rule.clients.iter().flatten().any(|prefix| prefix == longest))
            };
            let ranks = [
                rules.iter().filter(own).collect::<Vec<_>>(),
                rules.iter().filter(|rule| rule.clients.is_none()).collect(),
            ];
            let mut expected = None;
            for rank in ranks {
                let networks = rank.into_iter().filter_map(|rule| match &rule.to {
                    Mapping::Network { from, to } if from.contains(node) => Some((from, to)),
                    _ => None,
                });
                // Of several that are the longest, the first.
                let best = networks.rev().max_by_key(|(from, _)| from.len);
                expected = expected.or(best.and_then(|(_, to)| to.place_of(node)));
            }
            let seen = all.seen(all.of(client), node, &Topology::default());
            prop_assert_eq!((seen.address, seen.is_mapped), (expected.unwrap_or(node), expected.is_some()));
        }
    }
}
