//! DNS over TLS (RFC 7858): within the session, the framing of TCP.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    counters::Ending,
    desk::{MAX_QUERY, Visit},
    worker::{LAST_LOOK, Session},
};

/// Received and not answered yet, at most: one query of the longest kind with its length, or some dozens of usual ones.
const INPUT: usize = 2 + MAX_QUERY;

/// Replies collected before they are written. With one more reply of at most 65,537 octets, that is all of its output
/// that a connection ever holds, since nothing is read from a client that does not take its replies.
const MAX_UNSENT: usize = 64 * 1024;

/// Octets kept for the next replies. Few replies are longer, and a connection that idles need not hold the memory.
const KEPT: usize = 4 * 1024;

/// How long saying good-bye may take: it is one small record, which only a client that takes nothing holds up.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// Answers one client's queries, in their order, until it or the server ends the connection.
pub(super) async fn serve(mut stream: Session, visit: &Visit, stopping: &CancellationToken) -> Ending {
    let ending = tokio::select! {
        ending = converse(&mut stream, visit, stopping) => ending,
        () = visit.evicted() => Ending::Evicted,
    };
    // The client learns that nothing was cut off (RFC 8446 section 6.1); one that is gone need not.
    let _ = timeout(GOOD_BYE, stream.shutdown()).await;
    ending
}

async fn converse(stream: &mut Session, visit: &Visit, stopping: &CancellationToken) -> Ending {
    let mut input = Input::default();
    let mut replies = Vec::new();
    // While stopping: when to close unless something comes.
    let mut last_look = None;
    loop {
        let (deadline, ending) = last_look.map_or_else(|| visit.deadline(), |at| (at, Ending::Stopped));
        let read = tokio::select! {
            biased;
            () = stopping.cancelled(), if last_look.is_none() => {
                last_look = Some(Instant::now() + LAST_LOOK);
                continue;
            }
            read = stream.read(input.room()) => read,
            () = sleep_until(deadline) => return ending,
        };
        match read {
            Ok(0) => return Ending::Client,
            Ok(read) => input.len += read,
            // Many clients close without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ending::Client,
            Err(_) => return Ending::Broken,
        }
        if let Err(ending) = answer_all(stream, visit, stopping, &mut input, &mut replies).await {
            return ending;
        }
        // Also where there is always something to read, so that nobody ever waits above.
        let (deadline, ending) = visit.deadline();
        if Instant::now() >= deadline {
            return ending;
        }
        last_look = last_look.map(|_| Instant::now() + LAST_LOOK);
    }
}

/// Answers what came whole, and sends it.
async fn answer_all(
    stream: &mut Session,
    visit: &Visit,
    stopping: &CancellationToken,
    input: &mut Input,
    replies: &mut Vec<u8>,
) -> Result<(), Ending> {
    let mut verdict = Ok(());
    let mut at = 0;
    while verdict.is_ok() {
        match next_query(&input.octets[at..input.len]) {
            Ok(None) => break,
            Err(_) => verdict = Err(Ending::Broken),
            Ok(Some(query)) => {
                at += 2 + query.len();
                answer(visit, query, stopping.is_cancelled(), replies);
                if visit.is_spent() {
                    verdict = Err(Ending::Queries);
                }
                if replies.len() > MAX_UNSENT {
                    send(stream, visit, replies).await?;
                }
            }
        }
    }
    // Not before the answers to what came whole are sent is a connection closed, whatever came after.
    send(stream, visit, replies).await?;
    input.drop_front(at);
    verdict
}

/// Appends the reply to one query, with its length in front (RFC 1035 section 4.2.2).
fn answer(visit: &Visit, query: &[u8], stopping: bool, replies: &mut Vec<u8>) {
    let start = replies.len();
    replies.extend_from_slice(&[0, 0]);
    visit.answer(query, stopping, replies);
    match u16::try_from(replies.len() - start - 2) {
        Ok(len @ 1..) => replies[start..start + 2].copy_from_slice(&len.to_be_bytes()),
        _ => replies.truncate(start),
    }
}

async fn send(stream: &mut Session, visit: &Visit, replies: &mut Vec<u8>) -> Result<(), Ending> {
    if !replies.is_empty() {
        let mut unsent = &replies[..];
        while !unsent.is_empty() {
            // Each part taken gives more time, so that a slow line carries a long reply.
            let written = timeout(visit.limits().stalled, stream.write(unsent)).await;
            match written {
                Ok(Ok(written @ 1..)) => unsent = &unsent[written..],
                _ => return Err(Ending::Broken),
            }
        }
        if !matches!(timeout(visit.limits().stalled, stream.flush()).await, Ok(Ok(()))) {
            return Err(Ending::Broken);
        }
    }
    replies.clear();
    if replies.capacity() > KEPT {
        *replies = Vec::new();
    }
    Ok(())
}

/// What was received and is not answered yet.
struct Input {
    octets: Box<[u8; INPUT]>,
    len: usize,
}

impl Default for Input {
    fn default() -> Self {
        Input { octets: Box::new([0; INPUT]), len: 0 }
    }
}

impl Input {
    /// Where to read to. Never empty: a whole query is answered before the next is read, and every query fits.
    fn room(&mut self) -> &mut [u8] {
        &mut self.octets[self.len..]
    }

    fn drop_front(&mut self, octets: usize) {
        self.octets.copy_within(octets..self.len, 0);
        self.len -= octets;
    }
}

/// The next whole query; an error where the framing says it can never become one.
fn next_query(received: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((len, rest)) = received.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if len == 0 || len > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(rest.get(..len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_absurd_ones_end_the_connection() {
        assert_eq!(next_query(&[0]).unwrap(), None);
        assert_eq!(next_query(&[0, 3, 1, 2]).unwrap(), None);
        assert_eq!(next_query(&[0, 2, 1, 2, 0, 9]).unwrap(), Some(&[1, 2][..]));
        assert!(next_query(&[0, 0]).is_err());
        assert!(next_query(&[0x10, 1]).is_err());
    }

    #[test]
    fn the_longest_query_fits_and_room_is_left_for_its_end() {
        let mut input = Input::default();
        input.octets[..2].copy_from_slice(&(MAX_QUERY as u16).to_be_bytes());
        input.len = INPUT - 1;
        assert_eq!(next_query(&input.octets[..input.len]).unwrap(), None);
        assert_eq!(input.room().len(), 1);
        input.len = INPUT;
        assert_eq!(next_query(&input.octets[..input.len]).unwrap().unwrap().len(), MAX_QUERY);
        input.drop_front(INPUT);
        assert_eq!(input.len, 0);
    }
}
