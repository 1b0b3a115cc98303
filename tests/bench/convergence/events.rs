//! What happens, and which answers are wrong after it.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use alternator_dns::sim::{Cluster, ClusterSpec, Fault, NodeSpec, SeenByOthers};
use hickory_proto::rr::Name;

use super::{
    asking::Asking,
    server::{Server, ZONE},
};

/// Time without a wrong answer after which no more is expected: several rounds of probes and polls.
const QUIET: Duration = Duration::from_millis(3_500);

/// Time after which a run is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Nodes of a cluster at the start.
const NODES: usize = 6;

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A node's process ends: its port refuses.
    Death,
    /// A node's host is gone: nothing answers there.
    Silence,
    /// Both nodes of a rack end; the rack's name falls back to its datacenter.
    RackDeath,
    /// A node joins.
    Add,
    /// An operator drains a node by POST /overrides.
    Drain,
    /// A node and its links: the others list it, we do not reach it, and it sees nobody.
    CutOff,
    /// A node sees only itself and serves; all others see it.
    SeesItself,
}

impl Event {
    pub const ALL: [Self; 7] =
        [Event::Death, Event::Silence, Event::RackDeath, Event::Add, Event::Drain, Event::CutOff, Event::SeesItself];

    /// On the command line.
    pub fn name(self) -> &'static str {
        match self {
            Event::Death => "death",
            Event::Silence => "silence",
            Event::RackDeath => "rack-death",
            Event::Add => "add",
            Event::Drain => "drain",
            Event::CutOff => "cut-off",
            Event::SeesItself => "sees-itself",
        }
    }

    pub fn told(self) -> &'static str {
        match self {
            Event::Death => "a node dies, its port refuses",
            Event::Silence => "a node's host dies, silently",
            Event::RackDeath => "a rack of two nodes dies",
            Event::Add => "a node joins",
            Event::Drain => "a node is drained (POST /overrides)",
            Event::CutOff => "a node is cut off from us and from the cluster, which lists it",
            Event::SeesItself => "a node sees only itself, all see it",
        }
    }

    pub fn wrong(self) -> &'static str {
        match self {
            Event::Death | Event::Silence | Event::CutOff => "it has the node",
            Event::RackDeath => "the rack's name has one of them",
            Event::Add => "it lacks the node",
            Event::Drain => "it has the node",
            Event::SeesItself => "it lacks any node",
        }
    }

    /// What 99 of 100 are to stay below.
    pub fn goal(self) -> Option<Duration> {
        match self {
            Event::Death | Event::Silence | Event::RackDeath | Event::CutOff => Some(Duration::from_millis(2_500)),
            Event::Drain => Some(Duration::from_millis(200)),
            Event::Add => Some(Duration::from_secs(3)),
            // Nothing may go wrong at all.
            Event::SeesItself => Some(Duration::ZERO),
        }
    }
}

/// What came of one run.
#[derive(Debug)]
pub struct Measured {
    /// From the event to the last wrong answer; zero where none was, `None` where they never ended.
    pub took: Option<Duration>,
    pub asked: u64,
    pub wrong: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.took {
            Some(took) => write!(f, "{took:.3?}, {} of {} answers wrong", self.wrong, self.asked),
            None => write!(f, "no result, {} of {} answers wrong", self.wrong, self.asked),
        }
    }
}

/// One run. Lanes have networks of their own, and so has each of several runs in a lane: a kernel remembers for a while
/// what was refused.
pub async fn run(event: Event, lane: usize, run: usize) -> Measured {
    let net = |third: u8, host: u8| IpAddr::from([127, 70 + lane as u8, third, host]);
    let third = 1 + (run % 250) as u8;
    let nodes: Vec<IpAddr> = [11, 12, 21, 22, 31, 32].map(|host| net(third, host)).to_vec();
    let spec = |address: &IpAddr, rack: usize| NodeSpec::new(*address, "dc1", format!("rack{rack}"));
    let members = nodes.iter().enumerate().map(|(at, address)| spec(address, 1 + at / 2)).collect();
    let cluster = Cluster::start(ClusterSpec::new(members)).await.unwrap();
    let server = Server::start(net(0, 1), nodes[5], cluster.port());
    let apex = Name::from_ascii(format!("{ZONE}.")).unwrap();
    let rack = Name::from_ascii(format!("dc1.rack1.{ZONE}.")).unwrap();
    server.settle(&apex, NODES).await;
    server.settle(&rack, NODES / 3).await;
    // The start is over, and the event comes at any point of any interval.
    tokio::time::sleep(Duration::from_secs(1) + Duration::from_millis(fastrand::u64(0..1000))).await;

    let (first, second, new) = (nodes[0], nodes[1], net(third, 13));
    let all = nodes.clone();
    let name = if event == Event::RackDeath { rack } else { apex };
    let is_wrong = move |answer: &[IpAddr]| match event {
        Event::Death | Event::Silence | Event::CutOff | Event::Drain => answer.contains(&first),
        Event::RackDeath => answer.contains(&first) || answer.contains(&second),
        Event::Add => !answer.contains(&new),
        Event::SeesItself => !all.iter().all(|node| answer.contains(node)),
    };
    let asking = Asking::start(server.address, name, is_wrong);
    // Discovery polls often while there are queries: let it have noticed these.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = asking.begin();
    match event {
        Event::Death => cluster.stop(first).await.unwrap(),
        Event::Silence => cluster.inject(first, Fault::Silent).await.unwrap(),
        Event::RackDeath => {
            cluster.stop(first).await.unwrap();
            cluster.stop(second).await.unwrap();
        }
        Event::Add => cluster.add_node(&spec(&new, 1)).await.unwrap(),
        Event::Drain => {
            if !server.drain(first) {
                return Measured { took: None, asked: 0, wrong: 0 };
            }
        }
        Event::CutOff => {
            cluster.partition(&[first], SeenByOthers::Listed).unwrap();
            cluster.inject(first, Fault::Silent).await.unwrap();
        }
        Event::SeesItself => cluster.partition(&[first], SeenByOthers::Listed).unwrap(),
    }
    watch(&asking, began).await
}

/// Waits until no wrong answer comes any more.
async fn watch(asking: &Asking, began: Instant) -> Measured {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seen = asking.seen();
        let measured = |took| Measured { took, asked: seen.asked, wrong: seen.wrong };
        if seen.last_wrong.unwrap_or(began).elapsed() > QUIET {
            return measured(Some(seen.last_wrong.map_or(Duration::ZERO, |last| last - began)));
        }
        if began.elapsed() > GIVE_UP {
            return measured(None);
        }
    }
}
