//! One name, asked every millisecond.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, RecordType},
};

/// Time between two queries: the error of a measured time.
const EVERY: Duration = Duration::from_millis(1);

/// What has no reply after this is lost, which counts as a wrong answer.
const LOST_AFTER: Duration = Duration::from_millis(500);

/// Asks on a thread of its own until dropped.
pub struct Asking {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// What was answered since [`Asking::begin`].
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When it began.
    pub began: Option<Instant>,
    /// Replies, and queries without one.
    pub asked: u64,
    /// Those that were wrong.
    pub wrong: u64,
    /// When the last wrong one came.
    pub last_wrong: Option<Instant>,
}

/// The addresses answered; `None` where there is no reply, or an error.
pub fn ask(socket: &UdpSocket, name: &Name, id: u16) -> Option<Vec<IpAddr>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.clone(), RecordType::A));
    socket.send(&message.to_vec().unwrap()).ok()?;
    let mut buffer = [0; 4096];
    loop {
        let len = socket.recv(&mut buffer).ok()?;
        let reply = Message::from_vec(&buffer[..len]).ok()?;
        if reply.metadata.id != id {
            continue;
        }
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            _ => None,
        };
        let addresses: Vec<IpAddr> = reply.answers.iter().filter_map(|record| address(&record.data)).collect();
        return (!addresses.is_empty()).then_some(addresses);
    }
}

/// A socket that asks a server.
pub fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(LOST_AFTER)).unwrap();
    socket
}

impl Asking {
    pub fn start(server: SocketAddr, name: Name, is_wrong: impl Fn(&[IpAddr]) -> bool + Send + 'static) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (stopped, noted) = (stop.clone(), seen.clone());
        let thread = thread::spawn(move || {
            let socket = socket(server);
            let mut id = 0u16;
            while !stopped.load(Ordering::Relaxed) {
                id = id.wrapping_add(1);
                let sent = Instant::now();
                let answer = ask(&socket, &name, id);
                let came = Instant::now();
                let mut seen = noted.lock().unwrap();
                // A query sent before the event may be answered by what was known before it.
                if seen.began.is_some_and(|began| sent >= began) {
                    seen.asked += 1;
                    if answer.is_none_or(|addresses| is_wrong(&addresses)) {
                        seen.wrong += 1;
                        seen.last_wrong = Some(came);
                    }
                }
                drop(seen);
                thread::sleep(EVERY.saturating_sub(sent.elapsed()));
            }
        });
        Asking { stop, seen, thread: Some(thread) }
    }

    /// From this moment on answers count.
    pub fn begin(&self) -> Instant {
        let now = Instant::now();
        self.seen.lock().unwrap().began = Some(now);
        now
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
