//! TCP (RFC 7766): one thread per address, several queries per connection, answered in one write when they came in
//! one read.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::LocalSet,
    time::timeout,
};

use super::{Responder, Transport, listeners::Stop};
use crate::table::Table;

/// Connections open at once on one address. Each may hold the buffers below, so this bounds memory to some tens of
/// megabytes; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 1024;

/// Longest query taken. Real ones stay below 300 octets; a longer length prefix is no client of ours.
const MAX_QUERY: usize = 4096;

/// Replies collected before they are written, so that a client that sends much and reads little costs bounded memory.
const MAX_UNSENT: usize = 128 * 1024;

/// How long a connection may take to deliver its next whole query (RFC 7766 section 6.2.3 leaves the number to us;
/// clients reuse connections for seconds, not minutes).
const IDLE: Duration = Duration::from_secs(30);

/// How long a client may take to accept replies.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Pause after accept failed: out of descriptors, most likely, and only closing connections helps.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// How long nothing may happen before a listener or connection that is told to stop ends: the runtime learns within this
/// time what the kernel has received. Far longer than that takes, and not felt by whoever waits for the end.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Connections still taken when told to stop, so that clients who keep coming do not hold up the end: as many as may
/// have waited in the kernel.
const MAX_LATE: i32 = super::listeners::BACKLOG;

/// How long open connections may take to finish when stopping.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// What all connections of a thread share.
struct Worker {
    tables: Arc<ArcSwap<Table>>,
    responder: RefCell<Responder>,
}

type Shared = Rc<Worker>;

/// Serves until told to stop, then answers what was received.
pub(super) fn serve(listener: std::net::TcpListener, tables: Arc<ArcSwap<Table>>, responder: Responder, stop: &Stop) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a TCP worker cannot start"),
    };
    let connections = LocalSet::new();
    let worker = Rc::new(Worker { tables, responder: RefCell::new(responder) });
    connections.block_on(&runtime, accept(listener, worker, stop));
    runtime.block_on(async {
        let _ = timeout(STOP_WITHIN, connections).await;
    });
}

async fn accept(listener: std::net::TcpListener, worker: Shared, stop: &Stop) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a TCP worker cannot start"),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (mut failing, mut late) = (false, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = accept_one(&listener, &places), if late < MAX_LATE => accepted,
            () = last_look(stop) => return,
        };
        late += i32::from(stop.token.is_cancelled());
        match accepted {
            Ok((stream, source, place)) => {
                failing = false;
                let (worker, stop) = (worker.clone(), stop.clone());
                tokio::task::spawn_local(async move {
                    // A connection that breaks is the client's business, and the next one's turn.
                    let _ = serve_connection(stream, source, &worker, &stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept TCP connections; trying on");
                }
                failing = true;
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Completes when told to stop and nothing has happened since for a moment: what had been received by then counts.
async fn last_look(stop: &Stop) {
    stop.token.cancelled().await;
    tokio::time::sleep(LAST_LOOK).await;
}

async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, source) = listener.accept().await?;
    // Fails only for a connection that is broken already, which the first read finds out.
    let _ = stream.set_nodelay(true);
    Ok((stream, source, place))
}

/// Answers queries in the order they come, until the client closes, breaks the framing or idles.
async fn serve_connection(mut stream: TcpStream, source: SocketAddr, worker: &Worker, stop: &Stop) -> io::Result<()> {
    let mut received = Vec::with_capacity(512);
    let mut replies = Vec::new();
    let mut idle_at = tokio::time::Instant::now() + IDLE;
    loop {
        let end = tokio::select! {
            biased;
            read = stream.read_buf(&mut received) => read? == 0,
            () = last_look(stop) => true,
            () = tokio::time::sleep_until(idle_at) => return Ok(()),
        };
        let mut start = 0;
        let mut framing = Ok(());
        while let Some(query) = next_query(&received[start..]).unwrap_or_else(|error| {
            framing = Err(error);
            None
        }) {
            start += 2 + query.len();
            worker.answer(query, source, &mut replies);
            if replies.len() > MAX_UNSENT {
                send(&mut stream, &mut replies).await?;
            }
        }
        if start > 0 {
            received.drain(..start);
            idle_at = tokio::time::Instant::now() + IDLE;
            send(&mut stream, &mut replies).await?;
        }
        // Not before the answers to what came whole are sent.
        framing?;
        if end {
            return stream.shutdown().await;
        }
    }
}

impl Worker {
    /// Appends the reply, if there is one, with its length in front (RFC 1035 section 4.2.2).
    fn answer(&self, query: &[u8], source: SocketAddr, replies: &mut Vec<u8>) {
        let start = replies.len();
        replies.extend_from_slice(&[0, 0]);
        self.responder.borrow_mut().respond(&self.tables.load(), query, source, Transport::Tcp, replies);
        match replies.len() - start - 2 {
            0 => replies.truncate(start),
            // Replies are below 65,536 octets by construction.
            len => replies[start..start + 2].copy_from_slice(&(len as u16).to_be_bytes()),
        }
    }
}

/// The next whole query in the buffer; an error where the framing says it can never become one.
fn next_query(received: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((len, rest)) = received.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if len == 0 || len > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(rest.get(..len))
}

async fn send(stream: &mut TcpStream, replies: &mut Vec<u8>) -> io::Result<()> {
    if !replies.is_empty() {
        timeout(WRITE_WITHIN, stream.write_all(replies)).await??;
        replies.clear();
    }
    Ok(())
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
}
