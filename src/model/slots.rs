//! Small numbers for things that come and go, so that what is counted of them can stand in arrays.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// A number, from 1 up, for as long as somebody holds it; and after that, until it is needed for something else.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    released: Arc<AtomicU64>,
}

impl Slot {
    /// The number. 0 is nobody's.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.released.fetch_add(1, Relaxed);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Slot) -> bool {
        self.number == other.number
    }
}

impl Eq for Slot {}

/// Gives numbers. What comes back has the number that it had, unless there were too many others meanwhile.
pub struct Slots<K> {
    most: u32,
    given: AtomicU32,
    released: Arc<AtomicU64>,
    known: Mutex<Known<K>>,
    counted: Box<dyn Fn(u32) -> Vec<u64> + Send + Sync>,
}

struct Known<K> {
    numbers: HashMap<K, u32>,
    /// By number, from 1.
    places: Vec<Place<K>>,
    turn: u64,
    /// How many had been released when a search for one to be used again last found none.
    searched: Option<u64>,
}

struct Place<K> {
    key: K,
    holder: Weak<Slot>,
    /// When it was last given.
    turn: u64,
    /// What had been counted under its number before it was this one's.
    before: Vec<u64>,
}

impl<K: Clone + Eq + Hash> Slots<K> {
    /// Numbers up to `most`. `counted` tells what has been counted under a number, which is then no part of what its
    /// next owner is shown to have.
    pub fn new(most: u32, counted: impl Fn(u32) -> Vec<u64> + Send + Sync + 'static) -> Self {
        let known = Known { numbers: HashMap::new(), places: Vec::new(), turn: 0, searched: None };
        Slots {
            most,
            given: AtomicU32::new(0),
            released: Arc::default(),
            known: Mutex::new(known),
            counted: Box::new(counted),
        }
    }

    /// The number of `key`: its own, a new one, or the one that nobody has held for longest. `None` where all are held.
    pub fn get(&self, key: K) -> Option<Arc<Slot>> {
        let mut known = self.known();
        let index = match known.numbers.get(&key) {
            Some(number) => *number as usize - 1,
            None => self.place(&mut known, key)?,
        };
        known.turn += 1;
        let turn = known.turn;
        let place = known.places.get_mut(index)?;
        place.turn = turn;
        if let Some(slot) = place.holder.upgrade() {
            return Some(slot);
        }
        let slot = Arc::new(Slot { number: index as u32 + 1, released: self.released.clone() });
        place.holder = Arc::downgrade(&slot);
        Some(slot)
    }

    /// A place for a key that has none: its index.
    fn place(&self, known: &mut Known<K>, key: K) -> Option<usize> {
        let index = known.places.len();
        if index < self.most as usize {
            known.places.push(Place { key: key.clone(), holder: Weak::new(), turn: 0, before: Vec::new() });
            known.numbers.insert(key, index as u32 + 1);
            self.given.store(index as u32 + 1, Relaxed);
            return Some(index);
        }
        let released = self.released.load(Relaxed);
        if known.searched == Some(released) {
            return None;
        }
        let free = known.places.iter().enumerate().filter(|(_, place)| place.holder.strong_count() == 0);
        let Some(index) = free.min_by_key(|(_, place)| place.turn).map(|(index, _)| index) else {
            known.searched = Some(released);
            return None;
        };
        let place = known.places.get_mut(index)?;
        let gone = std::mem::replace(&mut place.key, key.clone());
        place.before = (self.counted)(index as u32 + 1);
        known.numbers.remove(&gone);
        known.numbers.insert(key, index as u32 + 1);
        Some(index)
    }

    /// The largest number given so far.
    pub fn given(&self) -> u32 {
        self.given.load(Relaxed)
    }

    /// Whose number it is.
    pub fn key(&self, number: u32) -> Option<K> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.known().places.get(index).map(|place| place.key.clone())
    }

    /// Every owner of a number, with the number and what had been counted under it before (nothing, where that is
    /// empty).
    pub fn all(&self) -> Vec<(K, u32, Vec<u64>)> {
        let known = self.known();
        let numbered = known.places.iter().zip(1..);
        numbered.map(|(place, number)| (place.key.clone(), number, place.before.clone())).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known<K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Slots<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("given", &self.given).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(slot: &Option<Arc<Slot>>) -> u32 {
        slot.as_ref().unwrap().number()
    }

    #[test]
    fn what_comes_back_has_its_number() {
        let slots = Slots::new(10, |_| Vec::new());
        let (one, two) = (slots.get("one"), slots.get("two"));
        assert_eq!([number(&one), number(&two), slots.given()], [1, 2, 2]);
        assert!(Arc::ptr_eq(&slots.get("one").unwrap(), one.as_ref().unwrap()), "held twice");
        drop(one);
        assert_eq!((number(&slots.get("three")), number(&slots.get("one"))), (3, 1));
        assert_eq!((slots.key(2), slots.key(0), slots.key(4)), (Some("two"), None, None));
    }

    #[test]
    fn beyond_the_most_the_one_gone_for_longest_gives_way_with_what_was_counted() {
        let slots = Slots::new(3, |number| vec![u64::from(number) * 100]);
        let held = slots.get("held");
        drop(slots.get("early"));
        drop(slots.get("late"));
        drop(slots.get("early"));
        let first = slots.get("first");
        assert_eq!(number(&first), 3, "late, which was given before early was given again");
        let second = slots.get("second");
        assert_eq!(number(&second), 2);
        assert_eq!(slots.get("third"), None, "all are held");
        assert_eq!(slots.get("third"), None);
        drop(first);
        assert_eq!(number(&slots.get("third")), 3);
        let all = [("held", 1, vec![]), ("second", 2, vec![200]), ("third", 3, vec![300])];
        assert_eq!(slots.all(), all);
        assert_eq!(number(&held), 1);
    }
}
