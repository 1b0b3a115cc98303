//! One observer's turn: its questions, one after another.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use super::{
    localnodes::{self, List, Question},
    network::{Live, Network},
    observers::Capability,
    seeds::Resolved,
    stats::Stats,
};
use crate::{http::NodeClient, model::Failure};

/// What the poller hears from its tasks.
#[derive(Debug)]
pub(super) enum Event {
    /// An observer answered a question.
    Answer { observer: IpAddr, question: Question, list: List, at: Instant },
    /// An observer was asked for the impossible; `None` when it gives no list at all, so that nothing can be said.
    Checked { observer: IpAddr, capability: Option<Capability> },
    /// An observer's turn is over.
    Done { observer: IpAddr, failure: Option<Failure> },
    /// A seed's name was looked up.
    Resolved(Resolved),
}

/// The questions for one observer, and the way back. Sequential on purpose: one node never gets more than one
/// connection from us.
#[derive(Debug)]
pub(super) struct Visit<N> {
    pub(super) network: N,
    pub(super) observer: IpAddr,
    /// What is known of the node; `None`: find out first.
    pub(super) capability: Option<Capability>,
    /// Ask for the node's own datacenter. A node that ignores `dc` is asked that and nothing else.
    pub(super) plain: bool,
    /// Questions that name a place.
    pub(super) questions: Vec<Question>,
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
        let mut capability = self.capability;
        let unchecked = capability.is_none();
        if unchecked {
            capability = self.check().await?;
        }
        let placed = capability == Some(Capability::Honours);
        if !unchecked && (self.plain || !placed) {
            let list = self.ask(&Question::Plain).await?;
            self.tell_answer(Question::Plain, list).await;
        }
        for question in self.questions.iter().filter(|_| placed) {
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
