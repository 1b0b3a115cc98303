//! Decks: dealt rows of wire bytes.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{Remark, seats::Seats, wire::MAX_BODY};
use crate::{
    config::{Answers, ZoneConfig},
    model::{Meter, Node, Slot},
    plan::{Family, Nodes, Weights, deal, weigh},
};

/// Addresses in one `auto` answer: two failures in a row still leave six addresses to try, eight AAAA with the
/// longest question still fit 512 octets, and the answer is less than five times the question.
const SEVERAL: usize = 8;

/// Where the TTL is in a record: behind owner, type and class.
const TTL: std::ops::Range<usize> = 6..10;

/// The dealt rows of one scope and address family. Each row is a complete answer section: records of equal length,
/// every owner a pointer to the question's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deck {
    nodes: Nodes,
    /// The addresses that clients are given for the nodes, where these are not the nodes' own.
    seen: Option<Arc<[IpAddr]>>,
    /// Where nodes share addresses: which.
    shared: Option<Arc<Seats>>,
    family: Family,
    ttl: u32,
    weights: Weights,
    answers: Answers,
    /// Octets and records of a row, by [`Shape`].
    shapes: [(usize, u16); 2],
    /// The records that rows are cut out of.
    records: Arc<[u8]>,
    /// Where the row of each turn starts in them, and who leads it.
    rows: Arc<[Start]>,
    /// The same where all nodes lead alike; shared with `rows` while they do.
    even: Arc<[Start]>,
    /// The nodes in the order in which they lead the rows of `even`; where they share addresses, the addresses.
    order: Arc<[u32]>,
    /// Holds the numbers of the nodes.
    leaders: Arc<[Option<Arc<Slot>>]>,
    /// The /prefix networks that the IPv4 addresses dealt are in, sorted.
    networks: Arc<[u32]>,
    prefix: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    /// Octets.
    at: u32,
    /// The number of the node whose address comes first.
    leader: u32,
}

/// One row, in one shape.
#[derive(Clone, Copy, Debug)]
pub struct Row<'d> {
    /// The answer section.
    pub octets: &'d [u8],
    /// Records in it.
    pub records: u16,
    /// The number under which its first node is counted; 0 for none.
    pub leader: u32,
}

/// How many records of a row one response takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// The whole row.
    Several,
    /// Its first record only.
    Single,
}

impl Deck {
    /// Deals a deck in which all nodes lead alike. `nodes` are not empty; their addresses, or those that they are `seen`
    /// at, are of one family.
    pub(super) fn new(
        nodes: Nodes,
        seen: Option<Arc<[IpAddr]>>,
        (family, ttl): (Family, u32),
        config: &ZoneConfig,
        meter: &Meter,
        seed: u64,
    ) -> Self {
        let (answers, prefix) = (config.answers, config.subnet_prefix_v4);
        let own = || nodes.iter().map(|node| node.address).collect::<Vec<_>>();
        let seats = seen.as_ref().map_or_else(|| Seats::new(&own()), |seen| Seats::new(seen));
        let record_len = TTL.end + 2 + if family == Family::V4 { 4 } else { 16 };
        let wanted = match answers {
            // Nobody is given more than one AAAA by `auto`; see `shape_for`.
            Answers::Auto if family == Family::V6 => 1,
            Answers::Auto => SEVERAL,
            Answers::Count(count) => usize::from(count.get()),
            Answers::All => seats.addresses.len(),
        };
        let dealt = deal(&seats.domains(&domains(&nodes)), wanted.min(MAX_BODY / record_len), seed);
        let of_seats: Vec<u8> = seats.addresses.iter().flat_map(|address| record(*address, ttl)).collect();
        let mut records = Vec::with_capacity(dealt.seats.len() * record_len);
        for &seat in &dealt.seats {
            records.extend_from_slice(&of_seats[seat as usize * record_len..][..record_len]);
        }
        let leaders: Arc<[_]> = nodes.iter().map(|node| meter.node(node.address)).collect();
        let leader = |start: u32| {
            let node = dealt.seats.get(start as usize).and_then(|seat| seats.node(*seat));
            node.map_or(0, |node| number(&leaders, node))
        };
        let start = |start: &u32| Start { at: start * record_len as u32, leader: leader(*start) };
        let even: Arc<[Start]> = dealt.starts.iter().map(start).collect();
        let deck = Deck {
            networks: networks(&seats.addresses, prefix).into(),
            shapes: [(dealt.per_row * record_len, dealt.per_row as u16), (record_len, 1)],
            records: records.into(),
            rows: even.clone(),
            even,
            order: dealt.leaders.into(),
            leaders,
            shared: seats.are_shared().then(|| Arc::new(seats)),
            nodes,
            seen,
            family,
            ttl,
            weights: Weights::default(),
            answers,
            prefix,
        };
        deck.weighed()
    }

    /// Whether this deck deals these nodes at these addresses, so that it need not be dealt again.
    pub(super) fn deals(&self, nodes: &Nodes, seen: Option<&Arc<[IpAddr]>>) -> bool {
        self.nodes == *nodes && self.seen.as_ref() == seen
    }

    /// Whether this deck, which deals these nodes, is what these inputs would give.
    pub(super) fn is_for(&self, weights: &Weights, ttl: u32) -> bool {
        self.weights == *weights && self.ttl == ttl
    }

    /// The same rows with another TTL, dealt in the same order: readers of the deck go on where they are.
    pub(super) fn with_ttl(self, ttl: u32) -> Self {
        if ttl == self.ttl {
            return self;
        }
        let mut records = self.records.to_vec();
        records.chunks_exact_mut(self.shapes[Shape::Single as usize].0).for_each(|record| {
            record[TTL].copy_from_slice(&ttl.to_be_bytes());
        });
        Deck { ttl, records: records.into(), ..self }
    }

    /// The same rows, each node leading by its weight.
    pub(super) fn with_weights(self, weights: &Weights) -> Self {
        if *weights == self.weights {
            return self;
        }
        Deck { weights: weights.clone(), ..self }.weighed()
    }

    /// The same rows in the order that the weights give.
    fn weighed(self) -> Self {
        let rows: Arc<[Start]> = match (&self.shared, self.weights.get()) {
            (None, None) => self.even.clone(),
            (None, Some(weights)) => weigh(&self.order, &self.even, weights).into(),
            (Some(seats), weights) => {
                let turns = seats.turns(&self.order, self.even.len(), weights).into_iter();
                let start = |(row, node): (u32, u32)| {
                    let at = self.even.get(row as usize).map_or(0, |start| start.at);
                    Start { at, leader: number(&self.leaders, node) }
                };
                turns.map(start).collect()
            }
        };
        Deck { rows, ..self }
    }

    /// Memory the rows take, octets.
    pub fn octets(&self) -> usize {
        let weighed = if Arc::ptr_eq(&self.rows, &self.even) { 0 } else { size_of_val(&*self.rows) };
        self.records.len() + size_of_val(&*self.even) + size_of_val(&*self.order) + weighed
    }

    /// How often each node leads in a period, where not all lead alike: as many numbers as there are nodes.
    pub fn weights(&self) -> Option<&[u32]> {
        self.weights.get()
    }

    /// TTL of its records, seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The nodes dealt, by address.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many addresses they are dealt at; fewer than nodes where some share one.
    pub fn distinct(&self) -> usize {
        self.order.len()
    }

    /// Rows in the deck.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// One row in the given shape. An index beyond the deck stands for the first row.
    #[inline(always)]
    pub fn row(&self, index: usize, shape: Shape) -> Row<'_> {
        let Start { at, leader } = self.rows.get(index).copied().unwrap_or(Start { at: 0, leader: 0 });
        let (len, records) = self.shapes[shape as usize];
        Row { octets: &self.records[at as usize..at as usize + len], records, leader }
    }

    /// Which shape an asker gets. With `auto`: one address for AAAA and for askers in a node's own network, because
    /// their getaddrinfo would re-sort a list the same way every time (RFC 6724 section 5, rule 9) and send every
    /// client to one node; several for everybody else.
    #[inline(always)]
    pub fn shape_for(&self, source: IpAddr) -> Shape {
        match (self.answers, self.family, source.to_canonical()) {
            (Answers::Count(_) | Answers::All, ..) => Shape::Several,
            (Answers::Auto, Family::V6, _) => Shape::Single,
            (Answers::Auto, Family::V4, IpAddr::V4(source)) => {
                let network = network(source, self.prefix);
                if self.networks.binary_search(&network).is_ok() { Shape::Single } else { Shape::Several }
            }
            (Answers::Auto, Family::V4, IpAddr::V6(_)) => Shape::Several,
        }
    }

    /// Why [`Deck::shape_for`] says what it says of an asker.
    pub fn why_shape(&self, source: IpAddr) -> String {
        let all = self.distinct();
        match (self.answers, self.family, self.shape_for(source)) {
            (Answers::Count(count), ..) => format!("answers = {count}"),
            (Answers::All, ..) => "answers = 0: all there are".to_owned(),
            (Answers::Auto, Family::V6, _) => {
                "answers = \"auto\": resolvers sort IPv6 addresses, whatever their order (RFC 6724)".to_owned()
            }
            (Answers::Auto, Family::V4, Shape::Single) => {
                let prefix = self.prefix;
                format!("answers = \"auto\": {source} is in the /{prefix} of a node, where resolvers sort (RFC 6724)")
            }
            (Answers::Auto, Family::V4, Shape::Several) => {
                let told = all.min(SEVERAL);
                let what = if all < self.nodes.len() { "addresses" } else { "nodes" };
                format!("answers = \"auto\": {told} of {all} {what}, none of them in the asker's own network")
            }
        }
    }

    /// The addresses of a row in the given shape, in order.
    pub fn addresses(&self, index: usize, shape: Shape) -> Vec<IpAddr> {
        let row = self.row(index, shape).octets;
        let len = self.shapes[Shape::Single as usize].0;
        let address = |data: &[u8]| match data.len() {
            4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        };
        row.chunks_exact(len).filter_map(|record| address(&record[TTL.end + 2..])).collect()
    }
}

/// A deck in a zone, with the cursors that deal it. The shapes have a cursor each, so that askers of one shape do not
/// skip rows for the other.
#[derive(Clone, Debug)]
pub struct Dealt {
    /// The rows.
    pub deck: Arc<Deck>,
    /// Cursor of [`Shape::Several`], within the zone; the one of [`Shape::Single`] follows it.
    pub slot: usize,
    /// What is to be said of these answers.
    pub remark: Option<Arc<Remark>>,
}

/// Failure domains: the rack, or the datacenter where no rack is known.
fn domains(nodes: &[Node]) -> Vec<u32> {
    let mut domains = FxHashMap::default();
    let domain = |node| {
        let next = domains.len() as u32;
        *domains.entry(place(node)).or_insert(next)
    };
    nodes.iter().map(domain).collect()
}

/// The number that is counted for a node.
fn number(leaders: &[Option<Arc<Slot>>], node: u32) -> u32 {
    leaders.get(node as usize).and_then(Option::as_deref).map_or(0, Slot::number)
}

fn place(node: &Node) -> (Option<&str>, Option<&str>) {
    (node.datacenter.as_deref(), node.rack.as_deref())
}

fn record(address: IpAddr, ttl: u32) -> Vec<u8> {
    let (rtype, data): (u16, Vec<u8>) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (28, v6.octets().to_vec()),
    };
    let mut bytes = vec![0xC0, super::QUESTION_OFFSET as u8];
    bytes.extend(rtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(ttl.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn network(address: Ipv4Addr, prefix: u8) -> u32 {
    let shift = 32 - u32::from(prefix.min(32));
    u32::from(address).checked_shr(shift).unwrap_or(0)
}

fn networks(addresses: &[IpAddr], prefix: u8) -> Vec<u32> {
    let of_v4 = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Some(network(*v4, prefix)),
        IpAddr::V6(_) => None,
    };
    let mut networks: Vec<u32> = addresses.iter().filter_map(of_v4).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deck(addresses: &[&str], answers: Answers, prefix: u8) -> Deck {
        let node = |text: &&str| Node { address: text.parse().unwrap(), datacenter: None, rack: None };
        let nodes: Nodes = addresses.iter().map(node).collect();
        let family = Family::of(nodes[0].address);
        let mut config = ZoneConfig::new(hickory_proto::rr::Name::root());
        (config.answers, config.subnet_prefix_v4) = (answers, prefix);
        Deck::new(nodes, None, (family, 5), &config, &Meter::default(), 1)
    }

    #[test]
    fn auto_gives_one_address_where_the_resolver_would_re_sort() {
        let v4 = deck(&["10.0.1.1", "10.0.2.1"], Answers::Auto, 24);
        for (source, shape) in [
            ("10.0.1.77", Shape::Single),
            ("::ffff:10.0.2.9", Shape::Single),
            ("10.0.3.1", Shape::Several),
            ("fd00::1", Shape::Several),
        ] {
            assert_eq!(v4.shape_for(source.parse().unwrap()), shape, "{source}");
        }
        let v6 = deck(&["fd00::1", "fd00::2"], Answers::Auto, 24);
        assert_eq!(v6.shape_for("10.9.9.9".parse().unwrap()), Shape::Single);
        let fixed = deck(&["10.0.1.1", "10.0.2.1"], Answers::All, 24);
        assert_eq!(fixed.shape_for("10.0.1.77".parse().unwrap()), Shape::Several);
    }

    #[test]
    fn prefix_lengths_at_both_ends_hold() {
        let source = "10.0.3.1".parse().unwrap();
        assert_eq!(deck(&["10.0.1.1"], Answers::Auto, 0).shape_for(source), Shape::Single, "/0 holds everybody");
        assert_eq!(deck(&["10.0.1.1"], Answers::Auto, 32).shape_for(source), Shape::Several);
        assert_eq!(deck(&["10.0.3.1"], Answers::Auto, 32).shape_for(source), Shape::Single);
    }

    #[test]
    fn rows_are_complete_answer_sections() {
        let deck = deck(&["10.0.1.1", "10.0.2.1", "10.0.3.1"], Answers::All, 24);
        let row = deck.row(deck.rows() + 1, Shape::Several);
        assert_eq!((row.octets.len(), row.records), (48, 3));
        assert_eq!(row.octets[..12], [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        assert_eq!(deck.row(0, Shape::Single).records, 1);
    }

    #[test]
    fn all_addresses_are_all_up_to_what_a_message_holds_and_take_memory_in_proportion() {
        for (nodes, records) in [(90, 90), (91, 91), (500, 500), (2000, 2000), (6000, MAX_BODY / 16)] {
            let addresses: Vec<String> = (0..nodes).map(|n| Ipv4Addr::from(0x0A00_0000 + n).to_string()).collect();
            let texts: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let deck = deck(&texts, Answers::All, 24);
            for index in [0, 1, nodes as usize - 1, deck.rows() - 1] {
                let row = deck.row(index, Shape::Several);
                let count = row.records;
                let distinct: std::collections::BTreeSet<&[u8]> = row.octets.chunks_exact(16).collect();
                assert_eq!((usize::from(count), distinct.len()), (records, records), "row {index} of {nodes} nodes");
            }
            let most = (nodes as usize * 1024).max(512 << 10);
            assert!(deck.octets() <= most, "{} octets for {nodes} nodes", deck.octets());
        }
    }

    #[test]
    fn another_ttl_changes_nothing_but_the_ttl() {
        for addresses in [&["10.0.1.1", "10.0.2.1", "10.0.3.1"][..], &["fd00::1", "fd00::2"]] {
            let before = deck(addresses, Answers::All, 24);
            let after = before.clone().with_ttl(1);
            assert!(Arc::ptr_eq(&before.rows, &after.rows), "readers go on where they are");
            for index in 0..before.rows() {
                let (old, new) = (before.row(index, Shape::Several).octets, after.row(index, Shape::Several).octets);
                let len = old.len() / addresses.len();
                for (old, new) in old.chunks_exact(len).zip(new.chunks_exact(len)) {
                    assert_eq!((&old[..6], &old[10..]), (&new[..6], &new[10..]));
                    assert_eq!((&old[6..10], &new[6..10]), (&[0, 0, 0, 5][..], &[0, 0, 0, 1][..]));
                }
            }
            assert_eq!(after.with_ttl(5), before);
        }
    }

    #[test]
    fn weights_change_how_often_a_row_is_dealt_and_no_row() {
        let texts: Vec<String> = (0..100).map(|n| Ipv4Addr::from(0x0A00_0000 + n).to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for answers in [Answers::Auto, Answers::All] {
            let even = deck(&texts, answers, 24);
            let mut shares = vec![10; texts.len()];
            shares[7] = 1;
            let weighed = even.clone().with_weights(&Weights::new(shares));
            assert!(Arc::ptr_eq(&even.records, &weighed.records));
            assert_eq!(weighed.rows(), even.rows() / 100 * 991, "as many passes, each with all turns");
            let led = |deck: &Deck| {
                let of = |index| deck.row(index, Shape::Single).octets[12..] == [10, 0, 0, 7];
                (0..deck.rows()).filter(|index| of(*index)).count()
            };
            assert_eq!((led(&even), led(&weighed)), (even.rows() / 100, even.rows() / 100));
            assert!(weighed.octets() < even.octets() * 4, "{} and {} octets", even.octets(), weighed.octets());
            assert_eq!(weighed.with_weights(&Weights::default()), even);
        }
    }
}
