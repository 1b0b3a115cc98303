//! How many connections there may be, and who makes room for whom.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::Notify;

/// Bits of an IPv6 address that are not a client's own: a /56 is what one customer commonly has (RFC 6177 section 2).
const FOREIGN_V6: u32 = 72;

/// Seats found at once whose connections give way next, so that all are looked through only once for so many.
const CANDIDATES: usize = 64;

/// The progress of a connection whose client has not proved its address: longer idle than all that have.
const UNPROVED: u64 = 0;

/// The connections of one address, over all its workers. A connection takes a seat before its handshake, so that those
/// who never finish it are bounded too. Locked when a connection begins and ends, never for a query.
#[derive(Debug)]
pub(super) struct Seats {
    /// All that there may be.
    all: AtomicUsize,
    /// Those of one client.
    per_client: AtomicUsize,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: HashMap<u64, Arc<Place>>,
    /// The numbers of each client that has any. Clients choose their addresses, so the hash is a keyed one.
    clients: HashMap<u128, Vec<u64>>,
    /// The first to give way last. Those that made progress meanwhile are passed over; all others are still the longest
    /// idle, since whoever was not among them had made progress later.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Place {
    client: u128,
    /// When its client last did something worth keeping it for, µs since [`Seats::began`], or [`UNPROVED`].
    progress: AtomicU64,
    evicted: Notify,
}

/// Ordered by who gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    progress: u64,
    number: u64,
}

/// One connection's seat, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    place: Arc<Place>,
}

impl Seats {
    pub(super) fn new(all: usize, per_client: usize) -> Arc<Self> {
        let (all, per_client) = (AtomicUsize::new(all), AtomicUsize::new(per_client));
        Arc::new(Seats { all, per_client, began: Instant::now(), taken: Mutex::default() })
    }

    /// Allows so many from now on. Where more are taken, each that is new takes the place of another as long as that is
    /// so.
    pub(super) fn allow(&self, all: usize, per_client: usize) {
        self.all.store(all, Relaxed);
        self.per_client.store(per_client, Relaxed);
    }

    /// A seat for a new connection. Where its client has all that one may have, the one of them that has been idle
    /// longest is evicted; where all are taken, the one among all. So whoever holds connections without using them is
    /// in nobody's way.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr) -> Seat {
        let client = client_of(source);
        let mut taken = self.lock();
        if taken.of(client).len() >= self.per_client.load(Relaxed) {
            taken.evict_one_of(client);
        } else if taken.places.len() >= self.all.load(Relaxed) {
            taken.evict_one();
        }
        self.seat(taken, client, self.now())
    }

    /// A seat for a client that has not proved its address, where nobody has to give way for it: anybody can claim any
    /// address. It is the first to give way, until it makes progress.
    pub(super) fn take_vacant(self: &Arc<Self>, source: IpAddr) -> Option<Seat> {
        let client = client_of(source);
        let taken = self.lock();
        let has_place = taken.of(client).len() < self.per_client.load(Relaxed);
        let is_vacant = has_place && taken.places.len() < self.all.load(Relaxed);
        is_vacant.then(|| self.seat(taken, client, UNPROVED))
    }

    /// Evicts the connection that has been idle longest; whether there was one.
    pub(super) fn make_room(&self) -> bool {
        self.lock().evict_one()
    }

    /// Seats taken.
    pub(super) fn len(&self) -> usize {
        self.lock().places.len()
    }

    fn seat(self: &Arc<Self>, mut taken: MutexGuard<'_, Taken>, client: u128, progress: u64) -> Seat {
        let place = Arc::new(Place { client, progress: AtomicU64::new(progress), evicted: Notify::new() });
        let number = taken.insert(place.clone(), progress);
        Seat { seats: self.clone(), number, place }
    }

    fn now(&self) -> u64 {
        (self.began.elapsed().as_micros() as u64).max(UNPROVED + 1)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listeners whose connections have descriptors.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders(Arc<Mutex<Vec<Weak<Seats>>>>);

impl Holders {
    pub(super) fn add(&self, seats: &Arc<Seats>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(seats));
    }

    /// Sends a connection of the listener away that has most, so that another can be accepted; whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = all.iter().filter_map(Weak::upgrade).max_by_key(|seats| seats.len());
        most.is_some_and(|seats| seats.make_room())
    }
}

impl Taken {
    /// The seats of this client.
    fn of(&self, client: u128) -> &[u64] {
        self.clients.get(&client).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, place: Arc<Place>, progress: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.clients.entry(place.client).or_default().push(number);
        self.places.insert(number, place);
        // The one way to become longer idle than the candidates. Left out of a full list it is found with the next.
        if progress == UNPROVED && self.candidates.len() < 2 * CANDIDATES {
            let at = self.candidates.partition_point(|candidate| candidate.progress > progress);
            self.candidates.insert(at, Candidate { progress, number });
        }
        number
    }

    /// Tells the one of this client to go that has been idle longest: looks at its share, and at nobody else's.
    fn evict_one_of(&mut self, client: u128) {
        let candidates = self.of(client).iter().filter_map(|number| self.candidate(*number));
        if let Some(first) = candidates.min() {
            self.evict(first.number);
        }
    }

    /// Tells the one among all to go that has been idle longest; whether there was one.
    fn evict_one(&mut self) -> bool {
        let first = self.next_candidate().or_else(|| {
            self.find_candidates();
            self.next_candidate()
        });
        first.is_some_and(|number| self.evict(number))
    }

    fn candidate(&self, number: u64) -> Option<Candidate> {
        let progress = self.places.get(&number)?.progress.load(Relaxed);
        Some(Candidate { progress, number })
    }

    fn next_candidate(&mut self) -> Option<u64> {
        while let Some(candidate) = self.candidates.pop() {
            if self.candidate(candidate.number) == Some(candidate) {
                return Some(candidate.number);
            }
        }
        None
    }

    fn find_candidates(&mut self) {
        let mut found: Vec<Candidate> = self.places.keys().filter_map(|number| self.candidate(*number)).collect();
        if found.len() > CANDIDATES {
            found.select_nth_unstable(CANDIDATES);
            found.truncate(CANDIDATES);
            found.shrink_to_fit();
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        self.candidates = found;
    }

    fn evict(&mut self, number: u64) -> bool {
        let place = self.remove(number);
        place.inspect(|place| place.evicted.notify_one()).is_some()
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Place>> {
        let place = self.places.remove(&number)?;
        if let Some(own) = self.clients.get_mut(&place.client) {
            own.retain(|other| *other != number);
            if own.is_empty() {
                self.clients.remove(&place.client);
            }
        }
        Some(place)
    }
}

impl Seat {
    /// The client did something worth keeping its connection for: it finished the handshake, or sent a whole query.
    pub(super) fn progress(&self) {
        self.place.progress.store(self.seats.now(), Relaxed);
    }

    /// Waits until somebody else needs the seat. One waits at a time.
    pub(super) async fn evicted(&self) {
        self.place.evicted.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Gone already where it was evicted.
        self.seats.lock().remove(self.number);
    }
}

/// What counts as one client: an IPv4 address, an IPv6 /56.
fn client_of(source: IpAddr) -> u128 {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> FOREIGN_V6 << FOREIGN_V6,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn take(seats: &Arc<Seats>, source: &str) -> Seat {
        seats.take(source.parse().unwrap())
    }

    fn is_evicted(seat: &Seat) -> bool {
        seat.evicted().now_or_never().is_some()
    }

    /// Sets when a seat last made progress, µs.
    fn at(seat: &Seat, micros: u64) {
        seat.place.progress.store(micros, Relaxed);
    }

    #[test]
    fn the_longest_idle_makes_room() {
        let seats = Seats::new(3, 3);
        let held: Vec<Seat> = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|source| take(&seats, source)).into();
        held.iter().zip([30, 10, 20]).for_each(|(seat, ms)| at(seat, ms));
        let fourth = take(&seats, "192.0.2.4");
        assert_eq!(held.iter().map(is_evicted).collect::<Vec<_>>(), [false, true, false]);
        at(&fourth, 40);
        held[2].progress();
        at(&held[2], 50);
        let _fifth = take(&seats, "192.0.2.5");
        assert!(is_evicted(&held[0]) && !is_evicted(&held[2]) && !is_evicted(&fourth));
        assert_eq!(seats.lock().places.len(), 3);
        drop(held);
        assert_eq!(seats.lock().places.len(), 2, "an evicted seat is given back once");
    }

    #[test]
    fn a_client_with_its_share_evicts_its_own() {
        let seats = Seats::new(100, 2);
        let other = take(&seats, "192.0.2.9");
        let own = ["2001:db8::1", "2001:db8:0:ff::2"].map(|source| take(&seats, source));
        at(&other, 0);
        at(&own[0], 20);
        at(&own[1], 10);
        let third = take(&seats, "2001:db8::3");
        assert!(is_evicted(&own[1]) && !is_evicted(&own[0]) && !is_evicted(&other));
        let _neighbour = take(&seats, "2001:db8:0:100::1");
        assert!(!is_evicted(&own[0]) && !is_evicted(&third), "another /56 is another client");
    }

    #[test]
    fn whoever_has_not_proved_his_address_takes_no_place_and_gives_way_first() {
        let seats = Seats::new(4, 2);
        let proved = ["192.0.2.1", "192.0.2.2"].map(|source| take(&seats, source));
        let unproved = |source: &str| seats.take_vacant(source.parse().unwrap());
        let own = unproved("192.0.2.1").unwrap();
        assert!(unproved("192.0.2.1").is_none(), "its client has its share");
        let other = unproved("192.0.2.3").unwrap();
        assert!(unproved("192.0.2.4").is_none(), "all are taken");
        let _next = take(&seats, "192.0.2.5");
        assert!(is_evicted(&own) && !is_evicted(&other));
        // It proved its address meanwhile.
        other.progress();
        at(&other, u64::MAX);
        at(&proved[1], 1);
        let _next = take(&seats, "192.0.2.6");
        assert!(is_evicted(&proved[1]) && !is_evicted(&proved[0]) && !is_evicted(&other));
    }

    #[test]
    fn room_is_made_as_long_as_there_is_anybody() {
        let seats = Seats::new(9, 9);
        let held = ["192.0.2.1", "192.0.2.2"].map(|source| take(&seats, source));
        assert!(seats.make_room() && is_evicted(&held[0]) && !is_evicted(&held[1]));
        assert!(seats.make_room() && is_evicted(&held[1]) && seats.len() == 0);
        assert!(!seats.make_room());
    }

    #[test]
    fn candidates_give_way_in_the_order_in_which_all_would() {
        let seats = Seats::new(300, 300);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut held: Vec<Seat> = (0..300).map(|_| take(&seats, "192.0.2.1")).collect();
        held.iter().for_each(|seat| at(seat, rng.u64(1..1000)));
        for now in 1000..3000 {
            // Some ask meanwhile.
            for _ in 0..rng.usize(..3) {
                at(&held[rng.usize(..held.len())], now);
            }
            let order = |seat: &Seat| (seat.place.progress.load(Relaxed), seat.number);
            let expected = (0..held.len()).min_by_key(|index| order(&held[*index])).unwrap();
            let other = seats.take("192.0.2.2".parse().unwrap());
            at(&other, now);
            assert!(is_evicted(&held[expected]));
            held[expected] = other;
        }
    }

    #[test]
    fn given_back_seats_leave_nothing() {
        let seats = Seats::new(2, 2);
        for _ in 0..10 {
            drop((take(&seats, "::ffff:192.0.2.1"), take(&seats, "192.0.2.1")));
        }
        let taken = seats.lock();
        assert!(taken.places.is_empty() && taken.clients.is_empty());
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        assert_eq!(client_of("::ffff:192.0.2.1".parse().unwrap()), client_of("192.0.2.1".parse().unwrap()));
    }
}
