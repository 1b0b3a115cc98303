//! Queries under way on one socket or connection.

use std::collections::VecDeque;

/// Bits of an id that name the slot; the others tell apart the queries that used it one after the other.
const SLOT_BITS: u32 = 10;

/// Most queries under way on one socket.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// A query under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Which of the questions.
    pub(crate) question: usize,
    /// When it was sent, or should have been: nanoseconds on the run's clock.
    pub(crate) at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    id: u16,
    sent: Option<Sent>,
}

/// A fixed number of slots. The one that has been free for longest is used next, so that a late reply rarely meets its
/// successor's id.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Box<[Slot]>,
    free: VecDeque<u16>,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        let count = count.clamp(1, MAX_SLOTS);
        let free: VecDeque<u16> = (0..).take(count).collect();
        let slots = free.iter().map(|&slot| Slot { id: slot, sent: None }).collect();
        Slots { slots, free }
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The id for a new query; `None` when all slots are taken.
    pub(crate) fn take(&mut self, sent: Sent) -> Option<u16> {
        let slot = &mut self.slots[usize::from(self.free.pop_front()?)];
        slot.id = slot.id.wrapping_add(1 << SLOT_BITS);
        slot.sent = Some(sent);
        Some(slot.id)
    }

    /// The query with this id has its reply; `None` when no such query is under way.
    pub(crate) fn release(&mut self, id: u16) -> Option<Sent> {
        let at = id & (MAX_SLOTS as u16 - 1);
        let slot = self.slots.get_mut(usize::from(at)).filter(|slot| slot.id == id)?;
        let sent = slot.sent.take()?;
        self.free.push_back(at);
        Some(sent)
    }

    /// Gives up every query sent before a moment; returns how many.
    pub(crate) fn expire(&mut self, before: u64) -> u64 {
        let mut lost = 0;
        for (at, slot) in (0..).zip(self.slots.iter_mut()) {
            if slot.sent.is_some_and(|sent| sent.at < before) {
                slot.sent = None;
                self.free.push_back(at);
                lost += 1;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_one_reply() {
        let mut slots = Slots::new(2);
        let sent = |at| Sent { question: 1, at };
        let (a, b) = (slots.take(sent(10)).unwrap(), slots.take(sent(20)).unwrap());
        assert_ne!(a, b);
        assert_eq!(slots.take(sent(30)), None);
        assert_eq!(slots.release(a), Some(sent(10)));
        assert_eq!(slots.release(a), None, "twice");
        let c = slots.take(sent(40)).unwrap();
        assert_ne!(a, c, "the same slot has another id");
        assert_eq!(slots.release(a), None, "late");
        assert_eq!(slots.expire(40), 1);
        assert_eq!(slots.release(b), None, "given up");
        assert_eq!((slots.under_way(), slots.free()), (1, 1));
        assert_eq!(slots.release(1023), None, "no such slot");
    }
}
