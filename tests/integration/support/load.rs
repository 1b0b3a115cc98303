//! Queries without a pause while something happens, and every reply kept.

use std::{
    collections::{BTreeSet, HashMap},
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType},
};

use super::Dig;

/// Sockets, each with a thread and a source port of its own.
const SOCKETS: u32 = 4;

/// Queries without a reply that one socket may have: few enough that neither side's kernel buffer can overflow while
/// a thread waits for its turn on a busy machine.
const OUTSTANDING: usize = 16;

/// How far the pace may lie behind: the kernel wakes a thread some milliseconds late, which costs no query.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A reply may be late, on a busy machine; what is not there after this is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// A load generator at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    sockets: Vec<JoinHandle<Asked>>,
}

/// One query and its reply, which is never an error and never empty.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which of the questions, by position.
    pub question: usize,
    pub sent: Instant,
    pub set: BTreeSet<IpAddr>,
}

/// What one socket asked and got.
#[derive(Default)]
struct Asked {
    samples: Vec<Sample>,
    /// When the queries were sent that got no reply.
    lost: Vec<Instant>,
}

impl Load {
    /// Asks these names for A, in turn, `per_second` times in all. A reply that is an error, empty or not
    /// authoritative fails the test when the load is stopped.
    pub fn start(server: SocketAddr, names: &[&str], per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let questions: Vec<Vec<u8>> = names.iter().map(|name| Dig::new(server, name, RecordType::A).bytes()).collect();
        let sockets = (0..SOCKETS).map(|number| {
            let (stop, questions) = (stop.clone(), questions.clone());
            let period = Duration::from_secs(1) * SOCKETS / per_second;
            thread::spawn(move || Socket::new(server, questions, period, number).run(&stop))
        });
        Load { sockets: sockets.collect(), stop }
    }

    /// Stops asking and waits for what is still to come: every query has had its reply.
    pub async fn stop(self) -> Vec<Sample> {
        let Asked { samples, lost } = self.join().await;
        assert!(lost.is_empty(), "{} of {} queries got no reply", lost.len(), lost.len() + samples.len());
        samples
    }

    /// The same while the server ends: every query sent before this moment has had its reply.
    pub async fn stop_after(self, moment: Instant) -> Vec<Sample> {
        let Asked { samples, lost } = self.join().await;
        let before: Vec<Duration> = lost.iter().filter_map(|sent| moment.checked_duration_since(*sent)).collect();
        assert!(before.is_empty(), "no reply to queries sent {before:?} before");
        samples
    }

    async fn join(self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        let join = move || {
            let mut all = Asked::default();
            for socket in self.sockets {
                let asked = socket.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                all.samples.extend(asked.samples);
                all.lost.extend(asked.lost);
            }
            all.samples.sort_by_key(|sample| sample.sent);
            all
        };
        let joined = tokio::task::spawn_blocking(join).await;
        joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

struct Socket {
    socket: UdpSocket,
    questions: Vec<Vec<u8>>,
    period: Duration,
    id: u16,
    next: usize,
    waiting: HashMap<u16, (usize, Instant)>,
    asked: Asked,
}

impl Socket {
    fn new(server: SocketAddr, questions: Vec<Vec<u8>>, period: Duration, number: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        let next = number as usize % questions.len();
        Socket { socket, questions, period, id: 0, next, waiting: HashMap::new(), asked: Asked::default() }
    }

    fn run(mut self, stop: &AtomicBool) -> Asked {
        let (mut due, mut ended) = (Instant::now(), false);
        loop {
            ended |= stop.load(Ordering::Relaxed);
            let mut now = Instant::now();
            if !ended && due <= now && self.waiting.len() < OUTSTANDING {
                // The pace is open: late replies delay no query, and what a late turn missed is made up for.
                due = (due + self.period).max(now.checked_sub(CATCH_UP).unwrap_or(now));
                ended |= !self.send();
                now = Instant::now();
            }
            if ended && self.waiting.is_empty() {
                return self.asked;
            }
            let free = self.waiting.len() < OUTSTANDING && !ended;
            let wait = if free { due.saturating_duration_since(now) } else { Duration::from_millis(10) };
            match self.receive(wait) {
                Received::Reply => {}
                Received::Nothing => self.give_up(LOST_AFTER),
                Received::NobodyThere => {
                    ended = true;
                    while matches!(self.receive(Duration::ZERO), Received::Reply) {}
                    self.give_up(Duration::ZERO);
                }
            }
        }
    }

    /// Sends the next question; whether somebody is there to get it.
    fn send(&mut self) -> bool {
        self.id = self.id.wrapping_add(1);
        let question = self.next;
        self.next = (self.next + 1) % self.questions.len();
        let bytes = &mut self.questions[question];
        bytes[..2].copy_from_slice(&self.id.to_be_bytes());
        let sent = Instant::now();
        if self.socket.send(bytes).is_err() {
            return false;
        }
        self.waiting.insert(self.id, (question, sent));
        true
    }

    fn receive(&mut self, wait: Duration) -> Received {
        // 0 would mean for ever.
        self.socket.set_read_timeout(Some(wait.max(Duration::from_micros(1)))).unwrap();
        let mut buffer = [0; 4096];
        let len = match self.socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => return Received::Nothing,
                _ => return Received::NobodyThere,
            },
        };
        let reply = Message::from_vec(&buffer[..len]).expect("a reply that decodes");
        let (question, sent) = self.waiting.remove(&reply.metadata.id).expect("one reply to each query");
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{reply:?}");
        assert!(reply.metadata.authoritative && !reply.metadata.truncation, "{reply:?}");
        assert!(!reply.answers.is_empty(), "an empty answer: {reply:?}");
        let address = |data: &RData| match data {
            RData::A(a) => IpAddr::V4(a.0),
            other => panic!("no address: {other:?}"),
        };
        let set: BTreeSet<IpAddr> = reply.answers.iter().map(|record| address(&record.data)).collect();
        assert_eq!(set.len(), reply.answers.len(), "an address twice: {reply:?}");
        self.asked.samples.push(Sample { question, sent, set });
        Received::Reply
    }

    /// Counts queries of at least this age as lost. Called only when nothing is left to be read.
    fn give_up(&mut self, age: Duration) {
        let lost = &mut self.asked.lost;
        self.waiting.retain(|_, (_, sent)| {
            let waits = sent.elapsed() < age;
            if !waits {
                lost.push(*sent);
            }
            waits
        });
    }
}

enum Received {
    Reply,
    Nothing,
    NobodyThere,
}
