//! One observer's turn: its questions, one after another.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    localnodes::{self, List, Question},
    network::{Live, Network},
    observers::Capability,
    seeds::Resolved,
    stats::Stats,
    tables::{self, Reader, TableFailure, TableView},
};
use crate::{http::NodeClient, model::Failure};

/// What the poller hears from its tasks.
#[derive(Debug)]
pub(super) enum Event {
    /// An observer answered a question.
    Answer { observer: IpAddr, question: Question, list: List, at: Instant },
    /// An observer's tables were read.
    View { observer: IpAddr, view: TableView, order: Order, took: Duration, at: Instant },
    /// An observer's tables could not be read, though it answers otherwise.
    NoView { observer: IpAddr, failure: TableFailure },
    /// An observer was asked for the impossible; `None` when it gives no list at all, so that nothing can be said.
    Checked { observer: IpAddr, capability: Option<Capability> },
    /// An observer's turn is over.
    Done { observer: IpAddr, failure: Option<Failure> },
    /// A seed's name was looked up.
    Resolved(Resolved),
    /// The name of a node in a list was looked up.
    Host { name: String, result: io::Result<Vec<IpAddr>> },
}

/// What is to be asked of one observer.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// Its own datacenter. A node that ignores `dc` is asked that and nothing else.
    pub(super) plain: bool,
    /// Questions that name a place.
    pub(super) questions: Vec<Question>,
    /// Whatever it knows of datacenters of which nothing is known: it is asked as a seed.
    pub(super) everything: bool,
}

/// When an observer's tables are read in a visit. Lists are asked for where they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Not at all.
    Never,
    /// First, until then.
    First(Instant),
    /// Once the lists are told, until then: where they took too long before, and must not delay the vote.
    Last(Instant),
    /// They only, for as long as any request may take.
    Only,
}

/// The questions for one observer, and the way back. Sequential on purpose: one node never gets more than one
/// connection from us.
#[derive(Debug)]
pub(super) struct Visit<N> {
    pub(super) network: N,
    pub(super) observer: IpAddr,
    /// What is known of the node; `None`: find out first.
    pub(super) capability: Option<Capability>,
    pub(super) order: Order,
    /// When its tables are read.
    pub(super) turn: Turn,
    pub(super) reader: Arc<Reader>,
    pub(super) events: mpsc::Sender<Event>,
    /// Where to count.
    pub(super) stats: Arc<Stats>,
}

impl<N: Network> Visit<N> {
    /// Asks everything and tells when it is over. The first failure ends the visit: the node would most likely fail
    /// the rest as well, and every hung request costs its whole time-out.
    pub(super) async fn run(self) {
        let failure = self.ask_all().await.err();
        self.tell(Event::Done { observer: self.observer, failure }).await;
    }

    async fn ask_all(&self) -> Result<(), Failure> {
        let mut unread = None;
        match self.turn {
            Turn::Never | Turn::Last(_) => {}
            Turn::Only => return self.only_view().await,
            Turn::First(until) => match self.view(Some(until)).await {
                Ok(()) => return Ok(()),
                // Nobody is there to be asked for a list.
                Err(TableFailure::Node(failure @ (Failure::Refused | Failure::Unreachable))) => return Err(failure),
                Err(failure) => unread = Some(failure),
            },
        }
        self.ask_lists().await?;
        if let Turn::Last(until) = self.turn {
            unread = self.view(Some(until)).await.err();
        }
        if let Some(failure) = unread {
            self.tell(Event::NoView { observer: self.observer, failure }).await;
        }
        Ok(())
    }

    /// Reads the tables where they are all that counts.
    async fn only_view(&self) -> Result<(), Failure> {
        let Err(failure) = self.view(None).await else { return Ok(()) };
        if !matches!(failure, TableFailure::Node(_)) {
            self.tell(Event::NoView { observer: self.observer, failure: failure.clone() }).await;
        }
        Err(as_failure(failure))
    }

    /// Reads the tables, and tells what they say.
    async fn view(&self, until: Option<Instant>) -> Result<(), TableFailure> {
        let began = Instant::now();
        let read = tables::read(&self.network, self.observer, &self.reader);
        let view = match until {
            Some(until) => timeout_at(until, read).await.unwrap_or(Err(TableFailure::Node(Failure::TimedOut)))?,
            None => read.await?,
        };
        let (observer, order, took) = (self.observer, self.order.clone(), began.elapsed());
        self.tell(Event::View { observer, view, order, took, at: Instant::now() }).await;
        Ok(())
    }

    async fn ask_lists(&self) -> Result<(), Failure> {
        let mut capability = self.capability;
        let unchecked = capability.is_none();
        if unchecked {
            capability = self.check().await?;
        }
        let placed = capability == Some(Capability::Honours);
        if !unchecked && (self.order.plain || !placed) {
            let list = self.ask(&Question::Plain).await?;
            self.tell_answer(Question::Plain, list).await;
        }
        for question in self.order.questions.iter().filter(|_| placed) {
            let list = self.ask(question).await?;
            self.tell_answer(question.clone(), list).await;
        }
        Ok(())
    }

    /// Asks for the impossible, and for what any node can tell.
    async fn check(&self) -> Result<Option<Capability>, Failure> {
        let impossible = self.ask(&Question::Impossible).await?;
        let plain = self.ask(&Question::Plain).await?;
        let capability = capability(&impossible, &plain);
        self.tell(Event::Checked { observer: self.observer, capability }).await;
        self.tell_answer(Question::Plain, plain).await;
        Ok(capability)
    }

    async fn ask(&self, question: &Question) -> Result<List, Failure> {
        let began = Instant::now();
        let list = ask(&self.network, self.observer, question).await?;
        self.stats.count_success(began.elapsed());
        Ok(list)
    }

    async fn tell_answer(&self, question: Question, list: List) {
        self.tell(Event::Answer { observer: self.observer, question, list, at: Instant::now() }).await;
    }

    async fn tell(&self, event: Event) {
        // Nobody listens any more once the poller has stopped, and then nothing is left to do.
        let _ = self.events.send(event).await;
    }
}

/// Why tables could not be read, as what any request may fail with.
fn as_failure(failure: TableFailure) -> Failure {
    match failure {
        TableFailure::Node(failure) => failure,
        failure => Failure::Protocol(failure.to_string()),
    }
}

/// One question to one node.
async fn ask(network: &impl Network, node: IpAddr, question: &Question) -> Result<List, Failure> {
    localnodes::read(&network.get(node, &question.path()).await?)
}

/// Whether a node looks at `dc`, by its answers to the impossible and the plain question. An empty answer to the
/// first proves it only for a node that lists somebody otherwise.
fn capability(impossible: &List, plain: &List) -> Option<Capability> {
    match (impossible.is_empty(), plain.is_empty()) {
        (false, _) => Some(Capability::Ignores),
        (true, false) => Some(Capability::Honours),
        (true, true) => None,
    }
}

/// What one node tells, for an operator who wants to know before starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The usable addresses in its list: its own datacenter.
    pub addresses: BTreeSet<IpAddr>,
    /// Entries that are no usable address.
    pub skipped: usize,
    /// Whether it ignores `dc` and `rack`; `None` when it lists nobody at all.
    pub ignores_places: Option<bool>,
}

/// Asks one node for its list, and whether it looks at `dc` and `rack`.
pub async fn look_at(client: &NodeClient, node: IpAddr) -> Result<Sight, Failure> {
    let network = Live(client.clone());
    let plain = ask(&network, node, &Question::Plain).await?;
    let impossible = ask(&network, node, &Question::Impossible).await?;
    let ignores_places = capability(&impossible, &plain).map(|capability| capability == Capability::Ignores);
    Ok(Sight { addresses: plain.addresses, skipped: plain.skipped, ignores_places })
}
