//! The places of a worker's connections: who holds how many, and who gives way.

use std::{cmp::Reverse, collections::HashMap, net::IpAddr, time::Instant};

use super::{Limits, connection::Connection};
use crate::model::Prefix;

/// An IPv6 client is its /56: what a home or a small office gets, so that nobody has more places by taking another
/// address of his own. An IPv4 client is its address.
const CLIENT_V6: u8 = 56;

/// Connections chosen at once to give way, so that finding them costs little for each, however many come.
const CANDIDATES: usize = 64;

/// Where all connections are fresh, this part of the places is for new ones: one in four.
const NEW: usize = 4;

/// Whose connections count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A client by its prefix.
    Known(Prefix),
    /// All clients together whose proxies have not named them yet.
    Unnamed,
}

impl Client {
    /// The client that has this address.
    pub(super) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Client::Known(Prefix::around(address, if address.is_ipv4() { 32 } else { CLIENT_V6 }))
    }
}

struct Place {
    connection: Connection,
    client: Client,
}

/// One that may give way, unless it completes a transaction meanwhile.
#[derive(Clone, Copy)]
struct Candidate {
    index: usize,
    completed: Instant,
    /// How much sooner it gives way than others.
    weight: u128,
}

/// The places of a worker's connections. As many as are open: nothing here grows further.
pub(super) struct Places {
    limits: Limits,
    /// By token; those of closed connections are `free`.
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    /// The places of each client that has any. Clients choose their addresses, so the hash is a keyed one.
    clients: HashMap<Client, Vec<usize>>,
    /// The first to give way last.
    candidates: Vec<Candidate>,
    /// What all connections hold.
    octets: usize,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        let (places, free, candidates) = (Vec::new(), Vec::new(), Vec::new());
        Places { limits, places, free, clients: HashMap::new(), candidates, octets: 0 }
    }

    /// Goes by other limits from now on. Those who have places beyond them keep these until others need them.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Connections open.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limits.connections
    }

    /// Places there were ever: every token is below.
    pub(super) fn end(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Connection> {
        Some(&mut self.places.get_mut(index)?.as_mut()?.connection)
    }

    fn get(&self, index: usize) -> Option<&Connection> {
        Some(&self.places.get(index)?.as_ref()?.connection)
    }

    /// A place for a connection of this client.
    pub(super) fn insert(&mut self, connection: Connection, client: Client) -> usize {
        self.octets += connection.octets();
        let place = Some(Place { connection, client });
        let index = match self.free.pop() {
            Some(index) => {
                self.places[index] = place;
                index
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        self.clients.entry(client).or_default().push(index);
        index
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Connection> {
        let Place { connection, client } = self.places.get_mut(index)?.take()?;
        self.free.push(index);
        self.octets -= connection.octets();
        self.forget(index, client);
        Some(connection)
    }

    /// Counts a connection as one of this client from now on.
    pub(super) fn name(&mut self, index: usize, client: Client) {
        let Some(Some(place)) = self.places.get_mut(index) else { return };
        let before = std::mem::replace(&mut place.client, client);
        self.forget(index, before);
        self.clients.entry(client).or_default().push(index);
    }

    fn forget(&mut self, index: usize, client: Client) {
        let Some(held) = self.clients.get_mut(&client) else { return };
        if let Some(at) = held.iter().position(|own| *own == index) {
            held.swap_remove(at);
        }
        if held.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// A connection holds other octets than before its turn.
    pub(super) fn account(&mut self, before: usize, after: usize) {
        self.octets = self.octets + after - before;
    }

    /// Of a client that has all the places it may have, the connection that gives way to a new one: one that only
    /// lingers, or the one that has gone longest without completing a transaction.
    pub(super) fn in_the_way_of(&self, client: Client) -> Option<usize> {
        let held = self.clients.get(&client).filter(|held| held.len() >= self.limits.per_client)?;
        // Proxies bring many clients, each of which is counted once it is named.
        let named = held.iter().filter(|_| client != Client::Unnamed);
        let order = |index: &usize| {
            let connection = self.get(*index)?;
            Some((!connection.is_lingering(), connection.completed()))
        };
        named.copied().min_by_key(|index| order(index))
    }

    /// What was found out about who is to give way is old.
    pub(super) fn forget_candidates(&mut self) {
        self.candidates.clear();
    }

    /// The connection that gives way to a new one of anybody: one that only lingers, or the one with the longest time
    /// since it completed a transaction, times the connections of its client. So those that hold much give way to those
    /// that hold little, and who asks seldom but holds one place is left alone.
    ///
    /// None where all are fresh, as long as many of them are new: these ask, or give way, in no time. Where all are at
    /// work there is nothing to wait for, and the same order decides.
    pub(super) fn in_the_way(&mut self, now: Instant) -> Option<usize> {
        if let Some(index) = self.next_candidate() {
            return Some(index);
        }
        self.find_candidates(CANDIDATES, now, |connection| !connection.is_fresh(now));
        if self.candidates.is_empty() {
            let is_new = |place: &&Place| place.connection.is_new();
            let new = self.places.iter().flatten().filter(is_new).count();
            let more = (self.limits.connections / NEW).max(1).saturating_sub(new);
            self.find_candidates(more.min(CANDIDATES), now, |connection| !connection.is_new());
        }
        self.next_candidate()
    }

    fn next_candidate(&mut self) -> Option<usize> {
        while let Some(Candidate { index, completed, .. }) = self.candidates.pop() {
            if self.get(index).is_some_and(|connection| connection.completed() == completed) {
                return Some(index);
            }
        }
        None
    }

    /// Finds so many that give way first, of those that may.
    fn find_candidates(&mut self, most: usize, now: Instant, may: impl Fn(&Connection) -> bool) {
        let mut found = std::mem::take(&mut self.candidates);
        found.clear();
        for held in self.clients.values().filter(|_| most > 0) {
            for &index in held {
                let Some(connection) = self.get(index).filter(|connection| may(connection)) else { continue };
                let completed = connection.completed();
                let idle = now.saturating_duration_since(completed).as_nanos();
                let weight = if connection.is_lingering() { u128::MAX } else { idle * held.len() as u128 };
                found.push(Candidate { index, completed, weight });
            }
        }
        if found.len() > most {
            found.select_nth_unstable_by_key(most, |candidate| Reverse(candidate.weight));
            found.truncate(most);
        }
        found.sort_unstable_by_key(|candidate| candidate.weight);
        self.candidates = found;
    }

    /// Where all connections together hold more than they may: the one that holds most, the longer it does so the more.
    pub(super) fn too_much(&self, now: Instant) -> Option<usize> {
        if self.octets <= self.limits.held {
            return None;
        }
        let weight = |connection: &Connection| {
            let since = now.saturating_duration_since(connection.completed()).as_millis() + 1;
            since * connection.octets() as u128
        };
        let held = self.places.iter().enumerate().filter_map(|(index, place)| Some((index, place.as_ref()?)));
        held.max_by_key(|(_, place)| weight(&place.connection)).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use mio::net::TcpStream;

    use super::*;
    use crate::config::TcpConfig;

    /// Places, and a clock of their own.
    struct Hall {
        places: Places,
        listener: std::net::TcpListener,
        start: Instant,
    }

    impl Hall {
        fn new(connections: usize, connections_per_client: usize) -> Self {
            let config = TcpConfig { connections, connections_per_client, ..TcpConfig::default() };
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            Hall { places: Places::new(Limits::of_each(1, &config)), listener, start: Instant::now() }
        }

        /// A connection of this client, which completed its last transaction so many seconds after the start.
        fn seat(&mut self, client: &str, second: u64) -> usize {
            let source: SocketAddr = (client.parse::<IpAddr>().unwrap(), 5353).into();
            let stream = std::net::TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let connection = Connection::new(TcpStream::from_std(stream), source, false, self.at(second));
            self.places.insert(connection, Client::of(source.ip()))
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        fn gives_way(&mut self, second: u64) -> Option<usize> {
            self.places.forget_candidates();
            self.places.in_the_way(self.at(second))
        }
    }

    #[test]
    fn a_client_is_an_address_or_a_56() {
        let of = |text: &str| Client::of(text.parse().unwrap());
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:ff:ffff::"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:101::1"));
    }

    #[test]
    fn among_equals_the_longest_idle_gives_way() {
        let mut hall = Hall::new(3, 3);
        let seats = [("192.0.2.1", 5), ("192.0.2.2", 2), ("192.0.2.3", 9)].map(|(client, at)| hall.seat(client, at));
        assert!(hall.places.is_full());
        assert_eq!(hall.gives_way(10), Some(seats[1]));
        // The next in line, without a second look.
        assert_eq!(hall.places.in_the_way(hall.at(10)), Some(seats[0]));
    }

    #[test]
    fn who_holds_much_gives_way_before_who_is_idle_for_longer() {
        let mut hall = Hall::new(8, 8);
        let modest = hall.seat("192.0.2.1", 0);
        let greedy: Vec<usize> = (1..8).map(|second| hall.seat("192.0.2.66", 10 + second)).collect();
        // 20 s once, against 9 s seven times.
        assert_eq!(hall.gives_way(20), Some(greedy[0]));
        // But not for ever.
        assert_eq!(hall.gives_way(12), Some(modest));
    }

    #[test]
    fn nobody_fresh_gives_way_to_somebody_new() {
        let mut hall = Hall::new(8, 8);
        let new: Vec<usize> = (0..7).map(|_| hall.seat("192.0.2.1", 10)).collect();
        // Alone in having asked, and just so: the others are no better for being fresh.
        let asked = hall.seat("192.0.2.2", 0);
        let at = hall.at(10);
        hall.places.get_mut(asked).unwrap().asked(at);
        assert_eq!(hall.gives_way(10), None);
        // Those who do not ask in time give way, and who goes on asking does not.
        let at = hall.at(11);
        hall.places.get_mut(asked).unwrap().asked(at);
        assert!(hall.gives_way(11).is_some_and(|index| new.contains(&index)));
        // Those who only linger are not waited for.
        let idle = hall.at(10);
        hall.places.get_mut(new[3]).unwrap().lingers(idle);
        assert_eq!(hall.gives_way(10), Some(new[3]));
    }

    #[test]
    fn among_connections_that_are_all_at_work_there_are_places_for_new_ones() {
        let mut hall = Hall::new(8, 8);
        let seats: Vec<usize> = (0..8).map(|_| hall.seat("192.0.2.1", 10)).collect();
        for (millis, index) in seats.iter().enumerate() {
            let at = hall.at(10) + Duration::from_millis(millis as u64);
            hall.places.get_mut(*index).unwrap().asked(at);
        }
        // A quarter of them, and no more until these have asked or given way.
        let now = hall.at(10) + Duration::from_millis(20);
        hall.places.forget_candidates();
        for index in &seats[..2] {
            assert_eq!(hall.places.in_the_way(now), Some(*index));
            hall.places.remove(*index);
            hall.seat("192.0.2.1", 10);
        }
        assert_eq!(hall.places.in_the_way(now), None);
    }

    #[test]
    fn a_client_with_all_its_places_gives_way_to_itself() {
        let mut hall = Hall::new(8, 2);
        let client = Client::of("192.0.2.1".parse().unwrap());
        hall.seat("192.0.2.2", 0);
        let first = hall.seat("192.0.2.1", 3);
        assert_eq!(hall.places.in_the_way_of(client), None);
        let second = hall.seat("192.0.2.1", 2);
        assert_eq!(hall.places.in_the_way_of(client), Some(second));
        hall.places.remove(second);
        assert_eq!(hall.places.in_the_way_of(client), None);
        hall.places.remove(first);
        assert_eq!((hall.places.len(), hall.places.clients.len()), (1, 1));
    }

    #[test]
    fn clients_that_are_not_named_yet_have_no_bound_of_their_own() {
        let mut hall = Hall::new(8, 2);
        let named = Client::of("192.0.2.1".parse().unwrap());
        let seats = [0, 1, 2].map(|second| hall.seat("192.0.2.1", second));
        seats.into_iter().for_each(|index| hall.places.name(index, Client::Unnamed));
        assert_eq!(hall.places.in_the_way_of(Client::Unnamed), None);
        assert_eq!(hall.places.in_the_way_of(named), None);
        seats.into_iter().for_each(|index| hall.places.name(index, named));
        assert_eq!(hall.places.in_the_way_of(named), Some(seats[0]));
        assert_eq!(hall.places.clients.len(), 1);
    }

    #[test]
    fn many_candidates_are_found_at_once_and_checked_again() {
        let mut hall = Hall::new(1000, 1000);
        let seats: Vec<usize> = (0..100).map(|second| hall.seat("192.0.2.1", second)).collect();
        assert_eq!(hall.gives_way(200), Some(seats[0]));
        assert_eq!(hall.places.candidates.len(), CANDIDATES - 1);
        // Its place was taken by another meanwhile.
        hall.places.remove(seats[1]);
        assert_eq!(hall.seat("192.0.2.2", 199), seats[1]);
        assert_eq!(hall.places.in_the_way(hall.at(200)), Some(seats[2]));
        let all = std::iter::from_fn(|| hall.places.in_the_way(hall.start + Duration::from_secs(200)));
        assert_eq!(all.take(61).last(), Some(seats[63]));
    }
}
