//! DNS over QUIC (RFC 9250): a stream for each query.
//!
//! On quinn itself: hickory's listener waits for one handshake before it takes the next, so that whoever does not finish
//! his keeps all others out, and it hands out no connection that could be closed with a code. 0-RTT is off, since it
//! would let anybody replay what was asked; sessions are resumed in one round trip.
//!
//! A connection stays with the address that was proved when it was made (RFC 9000 section 9): that one has access, has
//! its share of places and of replies, and is known by its cookies. A client that moves connects again.

use std::{io, net::UdpSocket, rc::Rc, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::{
    Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, Incoming, ReadToEndError, RecvStream,
    SendStream, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicServerConfig},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

use super::{
    counters::Ending,
    crew::Crew,
    desk::{Desk, Limits, MAX_QUERY, Visit},
    message::has_keepalive,
    worker::{GRACE, LAST_LOOK, handshake},
};

/// Error codes (RFC 9250 section 4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);

/// Queries that a client may have open on one connection; as with HTTP.
const MAX_STREAMS: u32 = 100;

/// Octets a client may send on one stream, and on all of a connection's, before they are taken: a longest query fits,
/// a crowd of them waits.
const STREAM_WINDOW: u32 = 8 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;

/// Octets of replies that a client has not acknowledged.
const SEND_WINDOW: u64 = 128 * 1024;

/// Replies of one connection held for a client that does not take them.
const REPLIES: usize = 4;

/// Queries of one connection that are read at once, or wait to be answered: further streams keep what they have in the
/// window above. Usual ones come in one packet, and need this for no time.
const QUERIES: usize = 16;

/// Handshakes of one worker with clients that have not proved their addresses. Further ones, and those for whom others
/// would have to give way, must do so first, which takes a round trip and no memory here (RFC 9000 section 8.1.2). A
/// flood from forged addresses cannot, so that it takes nobody's place.
const UNPROVED: usize = 64;

/// Octets of packets kept for a connection, and for all, before it is accepted. It is so at once.
const EARLY: u64 = 16 * 1024;
const ALL_EARLY: u64 = 1024 * 1024;

/// Connections waiting to be accepted, likewise.
const WAITING: usize = 1024;

/// How a listener's endpoints are set up, alike on each worker.
#[derive(Clone)]
pub(super) struct Config {
    /// With one key for all workers: a client whose packets come to another one, because its address changed, is told
    /// so in a way it can trust, and connects again (RFC 9000 section 10.3). Where they come to the same one they are
    /// not taken.
    endpoint: EndpointConfig,
    server: ServerConfig,
}

impl Config {
    /// QUIC with this TLS configuration.
    pub(super) fn new(tls: Arc<rustls::ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        server.migration(false).max_incoming(WAITING).incoming_buffer_size(EARLY).incoming_buffer_size_total(ALL_EARLY);
        Ok(Config { endpoint: EndpointConfig::default(), server })
    }

    /// An endpoint on a socket; within a runtime.
    pub(super) fn endpoint(&self, socket: UdpSocket, limits: &Limits) -> io::Result<Endpoint> {
        Endpoint::new(self.endpoint.clone(), Some(self.server(limits)), socket, Arc::new(TokioRuntime))
    }

    /// What connections are served with.
    fn server(&self, limits: &Limits) -> ServerConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
            .send_window(SEND_WINDOW)
            // Packets of one length tell nobody what was asked (RFC 9250 section 5.4); a kilobyte each is the price.
            .pad_to_mtu(true)
            // Longer than without a query, which is judged here: at this one's end, nobody is told.
            .max_idle_timeout(IdleTimeout::try_from(limits.idle + limits.handshake).ok());
        let mut server = self.server.clone();
        server.transport_config(Arc::new(transport));
        server
    }
}

/// Takes connections until the worker stops.
pub(super) async fn accept(socket: UdpSocket, config: Box<Config>, desk: Rc<Desk>, crew: Crew) {
    let mut idle = desk.limits().idle;
    let endpoint = match config.endpoint(socket, &desk.limits()) {
        Ok(endpoint) => endpoint,
        Err(error) => return tracing::error!(%error, "an endpoint of QUIC cannot start"),
    };
    let unproved = Rc::new(());
    loop {
        let incoming = tokio::select! {
            () = crew.stopping().cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            // The socket failed; the worker ends with it.
            return tracing::error!("an endpoint of QUIC closed");
        };
        let source = incoming.remote_address();
        if desk.denies(source.ip()) {
            incoming.ignore();
            continue;
        }
        if idle != desk.limits().idle {
            // Told in the handshake, so it holds for those that come after this one.
            idle = desk.limits().idle;
            endpoint.set_server_config(Some(config.server(&desk.limits())));
        }
        let (visit, mark) = if incoming.remote_address_validated() {
            (Some(desk.admit(source)), None)
        } else if Rc::strong_count(&unproved) <= UNPROVED {
            (desk.admit_unproved(source), Some(unproved.clone()))
        } else {
            (None, None)
        };
        let Some(visit) = visit else {
            desk.connections().retry(desk.transport());
            // Fails only for those who have proved it already.
            let _ = incoming.retry();
            continue;
        };
        let task = crew.clone();
        crew.connection(async move {
            let ending = serve(incoming, mark, &visit, &task).await;
            visit.end(ending);
        });
    }
    // Those who come now had better go elsewhere at once.
    endpoint.set_server_config(None);
}

/// Answers one client's queries until it or the server ends the connection. `mark` is let go with the handshake.
async fn serve(incoming: Incoming, mark: Option<Rc<()>>, visit: &Visit, crew: &Crew) -> Ending {
    let connected = async { incoming.accept()?.await };
    let connection = match handshake(connected, visit, crew).await {
        Ok(connection) => connection,
        Err(ending) => return ending,
    };
    drop(mark);
    let ended = tokio::select! {
        ended = converse(&connection, visit, crew) => ended,
        () = visit.evicted() => End { code: EXCESSIVE_LOAD, ending: Ending::Evicted },
    };
    connection.close(ended.code, b"");
    ended.ending
}

/// How a connection ends, for both sides.
#[derive(Clone, Copy, Debug)]
struct End {
    code: VarInt,
    ending: Ending,
}

/// The client broke the protocol (RFC 9250 section 4.3.3): the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProtocolError;

/// What streams wait for. Never closed.
struct Turns {
    queries: Semaphore,
    replies: Semaphore,
}

async fn converse(connection: &Connection, visit: &Visit, crew: &Crew) -> End {
    let turns = Turns { queries: Semaphore::new(QUERIES), replies: Semaphore::new(REPLIES) };
    let mut streams = FuturesUnordered::new();
    // Once it is to end: why, and until when streams are taken that were opened before.
    let mut last: Option<(Ending, Instant)> = None;
    loop {
        if last.is_none() && visit.is_spent() {
            last = Some((Ending::Queries, Instant::now()));
        }
        let (deadline, ending) = last.map_or_else(|| visit.deadline(), |(ending, at)| (at, ending));
        let is_closed = last.is_some() && Instant::now() >= deadline;
        // Until when that which was begun may take.
        let until = if is_closed { deadline + GRACE } else { deadline };
        if is_closed && (streams.is_empty() || Instant::now() >= until) {
            return End { code: NO_ERROR, ending };
        }
        tokio::select! {
            biased;
            () = crew.stopping().cancelled(), if last.is_none() => {
                last = Some((Ending::Stopped, Instant::now() + LAST_LOOK));
            }
            () = sleep_until(until) => {
                // Queries came meanwhile, or it is time: what was begun is still answered.
                if last.is_none() && visit.deadline().0 <= Instant::now() {
                    last = Some((ending, Instant::now()));
                }
            }
            Some(answered) = streams.next() => {
                if answered == Err(ProtocolError) {
                    return End { code: PROTOCOL_ERROR, ending: Ending::Broken };
                }
            }
            opened = connection.accept_bi(), if !is_closed => match opened {
                Ok((send, receive)) => streams.push(answer(send, receive, visit, crew, &turns)),
                Err(ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_)) => {
                    return End { code: NO_ERROR, ending: Ending::Client };
                }
                Err(ConnectionError::TimedOut) => return End { code: NO_ERROR, ending: Ending::Idle },
                Err(_) => return End { code: NO_ERROR, ending: Ending::Broken },
            },
        }
    }
}

/// Answers the one query of a stream. Where there is no reply, the stream is reset.
async fn answer(
    mut send: SendStream,
    mut receive: RecvStream,
    visit: &Visit,
    crew: &Crew,
    turns: &Turns,
) -> Result<(), ProtocolError> {
    let stalled = visit.limits().stalled;
    let Ok(turn) = turns.queries.acquire().await else { return Ok(()) };
    let code = match query_of(&mut receive, stalled).await? {
        Ok(received) => {
            let Ok(permit) = turns.replies.acquire().await else { return Ok(()) };
            let made = reply(framed(&received)?, visit, crew);
            drop((received, turn));
            let sent = match made {
                Ok(reply) => send_all(&mut send, &reply, stalled).await,
                Err(code) => Err(code),
            };
            drop(permit);
            if let Err(code) = sent {
                code
            } else {
                // Until the client has it: a connection that is closed before drops what is on its way.
                let _ = timeout(stalled, send.stopped()).await;
                return Ok(());
            }
        }
        Err(code) => {
            // Fails only where the stream has ended.
            let _ = receive.stop(code);
            code
        }
    };
    let _ = send.reset(code);
    Ok(())
}

/// The query of a stream with its length in front, or why it is given up.
async fn query_of(receive: &mut RecvStream, stalled: Duration) -> Result<Result<Vec<u8>, VarInt>, ProtocolError> {
    // The whole stream: it ends with its query (RFC 9250 section 4.2).
    let received = match timeout(stalled, receive.read_to_end(2 + MAX_QUERY)).await {
        Ok(Ok(received)) => received,
        Ok(Err(ReadToEndError::TooLong)) => return Err(ProtocolError),
        Ok(Err(ReadToEndError::Read(_))) => return Ok(Err(REQUEST_CANCELLED)),
        Err(_) => return Ok(Err(UNSPECIFIED_ERROR)),
    };
    if is_foreign(framed(&received)?) { Err(ProtocolError) } else { Ok(Ok(received)) }
}

/// The reply to a query with its length in front, or why there is none.
fn reply(query: &[u8], visit: &Visit, crew: &Crew) -> Result<Vec<u8>, VarInt> {
    if visit.is_spent() {
        return Err(NO_ERROR);
    }
    let mut reply = vec![0; 2];
    visit.answer(query, crew.stopping().is_cancelled(), &mut reply);
    let Ok(len @ 1..) = u16::try_from(reply.len() - 2) else { return Err(UNSPECIFIED_ERROR) };
    reply[..2].copy_from_slice(&len.to_be_bytes());
    Ok(reply)
}

/// Sends the whole of a stream, to a client that takes it.
async fn send_all(send: &mut SendStream, octets: &[u8], stalled: Duration) -> Result<(), VarInt> {
    let written = timeout(stalled, send.write_all(octets)).await;
    if matches!(written, Ok(Ok(()))) && send.finish().is_ok() { Ok(()) } else { Err(UNSPECIFIED_ERROR) }
}

/// The one message of a stream, behind its length.
fn framed(received: &[u8]) -> Result<&[u8], ProtocolError> {
    let (len, query) = received.split_first_chunk::<2>().ok_or(ProtocolError)?;
    let len = usize::from(u16::from_be_bytes(*len));
    if len == 0 || len != query.len() { Err(ProtocolError) } else { Ok(query) }
}

/// Whether a query has what only belongs on other transports: an id (RFC 9250 section 4.2.1), or the option
/// edns-tcp-keepalive (section 5.5.2).
fn is_foreign(query: &[u8]) -> bool {
    query.first_chunk::<2>().is_some_and(|id| *id != [0, 0]) || has_keepalive(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_one_message_and_nothing_else() {
        assert_eq!(framed(&[0, 2, 8, 9]), Ok(&[8, 9][..]));
        for wrong in [&[][..], &[0], &[0, 0], &[0, 2, 8], &[0, 1, 8, 9], &[0, 1, 8, 0, 1, 9]] {
            assert_eq!(framed(wrong), Err(ProtocolError), "{wrong:?}");
        }
    }
}
