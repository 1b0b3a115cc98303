//! Queries one after the other without a pause, each of which must be answered.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::SockRef;

use super::{PATIENCE, framed};

/// A reply may be late on a busy machine; what is not there after this is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Askers at work: over UDP, over one TCP connection that is kept, and over a new one for each query.
pub struct Ceaseless {
    stop: Arc<AtomicBool>,
    askers: Vec<(Arc<AtomicU64>, JoinHandle<io::Result<()>>)>,
}

impl Ceaseless {
    /// Asks this; each reply must be NOERROR with an answer.
    pub fn start(server: SocketAddr, query: &[u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        type Ask = Box<dyn FnMut() -> io::Result<Vec<u8>> + Send>;
        let asks: [Ask; 3] = [
            Box::new(over_udp(server, query.to_vec())),
            Box::new(over_one_connection(server, framed(query))),
            Box::new(over_new_connections(server, framed(query))),
        ];
        let askers = asks.into_iter().map(|mut ask| {
            let (stop, asked) = (stop.clone(), Arc::new(AtomicU64::new(0)));
            let count = asked.clone();
            let asker = thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let reply = ask()?;
                    assert_eq!((reply[3] & 15, reply[6..8] != [0, 0]), (0, true), "{reply:02x?}");
                    count.fetch_add(1, Relaxed);
                }
                Ok(())
            });
            (asked, asker)
        });
        Ceaseless { askers: askers.collect(), stop }
    }

    /// Queries answered so far: over UDP, over one connection, over new ones.
    pub fn answered(&self) -> Vec<u64> {
        self.askers.iter().map(|(asked, _)| asked.load(Relaxed)).collect()
    }

    /// Waits until each has asked this often more; fails where one has lost a query.
    pub async fn more(&self, times: u64) {
        let before = self.answered();
        let start = std::time::Instant::now();
        loop {
            let now = self.answered();
            let lost = self.askers.iter().position(|(_, asker)| asker.is_finished());
            assert_eq!(lost, None, "the asker has lost a query after {now:?}");
            if now.iter().zip(&before).all(|(now, before)| now - before >= times) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "from {before:?} only to {now:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops; every query was answered. Returns how many there were.
    pub fn stop(self) -> Vec<u64> {
        self.stop.store(true, Relaxed);
        let answered = self.answered();
        for (number, (_, asker)) in self.askers.into_iter().enumerate() {
            let asked = asker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            asked.unwrap_or_else(|error| panic!("asker {number} lost a query after {answered:?}: {error}"));
        }
        answered
    }
}

fn over_udp(server: SocketAddr, mut query: Vec<u8>) -> impl FnMut() -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(LOST_AFTER)).unwrap();
    let mut id = 0_u16;
    move || {
        id = id.wrapping_add(1);
        query[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(&query)?;
        let mut reply = vec![0; 4096];
        let len = socket.recv(&mut reply)?;
        assert_eq!(reply[..2], id.to_be_bytes(), "one reply to each query");
        reply.truncate(len);
        Ok(reply)
    }
}

fn over_one_connection(server: SocketAddr, query: Vec<u8>) -> impl FnMut() -> io::Result<Vec<u8>> {
    let mut stream = connected(server).unwrap();
    move || ask(&mut stream, &query)
}

fn over_new_connections(server: SocketAddr, query: Vec<u8>) -> impl FnMut() -> io::Result<Vec<u8>> {
    move || {
        let mut stream = connected(server)?;
        let reply = ask(&mut stream, &query);
        // No port waits for what may still come, or the machine would have none left.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        reply
    }
}

fn connected(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(LOST_AFTER))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(query)?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
