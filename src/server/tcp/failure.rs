//! What goes wrong when connections are accepted, and how often that is told.

use std::{
    io,
    time::{Duration, Instant},
};

use nix::errno::Errno;

/// How often the same trouble is told: clients can cause it.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why accept failed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Failure {
    /// Nobody waits.
    Nothing,
    /// Whoever waited is gone; the next may not be.
    Gone,
    /// No descriptor or no memory for another connection: who waits goes on waiting.
    Exhausted,
    /// What no other connection would help against.
    Other,
}

impl Failure {
    pub(in crate::server) fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN) => Failure::Nothing,
            // accept(2): errors of a connection that the network brought about come with its acceptance, too.
            Some(
                Errno::ECONNABORTED
                | Errno::EINTR
                | Errno::EPERM
                | Errno::EPROTO
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH
                | Errno::ETIMEDOUT,
            ) => Failure::Gone,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Failure::Exhausted,
            _ => Failure::Other,
        }
    }
}

/// Tells of the same trouble only so often.
#[derive(Debug, Default)]
pub(in crate::server) struct Seldom {
    told: Option<Instant>,
}

impl Seldom {
    pub(in crate::server) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|told| now >= told + TELL_EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_accept_are_told_apart() {
        let of = |errno: Errno| Failure::of(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(of(Errno::EAGAIN), Failure::Nothing);
        for errno in [Errno::ECONNABORTED, Errno::EINTR, Errno::EPROTO, Errno::ENETUNREACH, Errno::EPERM] {
            assert_eq!(of(errno), Failure::Gone, "{errno}");
        }
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert_eq!(of(errno), Failure::Exhausted, "{errno}");
        }
        assert_eq!(of(Errno::EBADF), Failure::Other);
        assert_eq!(Failure::of(&io::Error::other("of our own")), Failure::Other);
    }

    #[test]
    fn the_same_trouble_is_told_once_a_minute() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        let minutes = [0, 30, 59, 60, 100, 121].map(|second| seldom.is_due(now + Duration::from_secs(second)));
        assert_eq!(minutes, [true, false, false, true, false, true]);
    }
}
