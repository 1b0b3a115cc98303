//! Records that wait to be written, whole.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
};

/// Octets that wait at most: some thousand records, so that a short pause of the output loses nothing.
const MOST: usize = 1 << 20;

/// Octets that are written before they are forgotten, where others still wait.
const COMPACT: usize = 64 << 10;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    octets: Vec<u8>,
    /// Octets that are written already.
    written: usize,
    /// Where the first record begins that is not written whole.
    begin: usize,
    /// Where each of these ends.
    ends: VecDeque<usize>,
}

impl Outbox {
    /// Takes a record, if there is room.
    pub(super) fn push(&mut self, record: &[u8]) -> bool {
        let fits = self.octets.len() - self.written + record.len() <= MOST;
        if fits {
            self.octets.extend_from_slice(record);
            self.ends.push_back(self.octets.len());
        }
        fits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Writes as much as the output takes without waiting. Returns how many records that made whole, and why it failed
    /// if it did.
    pub(super) fn write_to(&mut self, output: &mut impl Write) -> (u64, io::Result<()>) {
        let mut whole = 0;
        let result = loop {
            if self.is_empty() {
                break Ok(());
            }
            match output.write(self.octets.get(self.written..).unwrap_or_default()) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.written += written;
                    while let Some(end) = self.ends.front().copied().filter(|end| *end <= self.written) {
                        self.ends.pop_front();
                        self.begin = end;
                        whole += 1;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.compact();
        (whole, result)
    }

    fn compact(&mut self) {
        if self.is_empty() {
            self.octets.clear();
            (self.written, self.begin) = (0, 0);
        } else if self.begin >= COMPACT {
            let gone = self.begin;
            self.octets.drain(..gone);
            self.ends.iter_mut().for_each(|end| *end -= gone);
            (self.written, self.begin) = (self.written - gone, 0);
        }
    }

    /// Drops all that waits: how many records that were, and whether one of them is written in part.
    pub(super) fn clear(&mut self) -> (u64, bool) {
        let told = (self.ends.len() as u64, self.written > self.begin);
        *self = Outbox::default();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many octets, then nothing until it is given more room.
    struct Pipe {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let taken = octets.len().min(self.room);
            self.room -= taken;
            self.taken.extend_from_slice(&octets[..taken]);
            if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_at_once_is_written_later_and_whole() {
        let (mut outbox, mut pipe) = (Outbox::default(), Pipe { room: 0, taken: Vec::new() });
        let (mut all, mut whole) = (Vec::new(), 0);
        for number in 0..20_000u32 {
            let record = format!("record {number}\n");
            assert!(outbox.push(record.as_bytes()));
            all.extend(record.into_bytes());
            pipe.room += 11;
            let (more, result) = outbox.write_to(&mut pipe);
            whole += more;
            assert!(result.is_ok());
        }
        pipe.room = usize::MAX;
        whole += outbox.write_to(&mut pipe).0;
        assert!(outbox.is_empty() && whole == 20_000 && pipe.taken == all);
    }

    #[test]
    fn what_has_no_room_is_not_taken_and_what_is_dropped_is_counted() {
        let (mut outbox, record) = (Outbox::default(), [7; 1000]);
        let taken = (0..5000).filter(|_| outbox.push(&record)).count();
        assert_eq!(taken, MOST / 1000);
        let mut pipe = Pipe { room: 2500, taken: Vec::new() };
        assert_eq!(outbox.write_to(&mut pipe).0, 2);
        assert_eq!(outbox.clear(), (taken as u64 - 2, true));
        assert_eq!((outbox.clear(), outbox.push(&record)), ((0, false), true));
    }
}
