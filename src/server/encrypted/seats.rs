//! How many connections there may be, and who makes room for whom.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::Notify;

/// Bits of an IPv6 address that are not a client's own: a /56 is what one customer commonly has (RFC 6177 section 2).
const FOREIGN_V6: u32 = 72;

/// The connections of one address, over all its workers. A connection takes a seat before its handshake, so that those
/// who never finish it are bounded too. Locked when a connection begins and ends, never for a query.
#[derive(Debug)]
pub(super) struct Seats {
    /// All that there may be.
    all: usize,
    /// Those of one client.
    per_client: usize,
    began: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: HashMap<u64, Arc<Place>>,
    clients: HashMap<u128, usize>,
}

#[derive(Debug)]
struct Place {
    client: u128,
    /// When its client last did something worth keeping it for, µs since [`Seats::began`].
    progress: AtomicU64,
    evicted: Notify,
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
        Arc::new(Seats { all, per_client, began: Instant::now(), taken: Mutex::default() })
    }

    /// A seat for a new connection. Where its client has all that one may have, the one of them that has been idle
    /// longest is evicted; where all are taken, the one among all. So whoever holds connections without using them is
    /// in nobody's way.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr) -> Seat {
        let client = client_of(source);
        let place = Arc::new(Place { client, progress: AtomicU64::new(self.now()), evicted: Notify::new() });
        let mut taken = self.lock();
        if taken.clients.get(&client).is_some_and(|own| *own >= self.per_client) {
            taken.evict(|place| place.client == client);
        } else if taken.places.len() >= self.all {
            taken.evict(|_| true);
        }
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, place.clone());
        *taken.clients.entry(client).or_default() += 1;
        drop(taken);
        Seat { seats: self.clone(), number, place }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Tells the one of these to go that has been idle longest.
    fn evict(&mut self, among: impl Fn(&Place) -> bool) {
        let places = self.places.iter().filter(|(_, place)| among(place));
        let oldest = places.min_by_key(|(number, place)| (place.progress.load(Relaxed), **number));
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(place) = self.remove(number)
        {
            place.evicted.notify_one();
        }
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Place>> {
        let place = self.places.remove(&number)?;
        if let Some(own) = self.clients.get_mut(&place.client) {
            *own -= 1;
            if *own == 0 {
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
