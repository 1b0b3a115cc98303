//! Who wants a reload, and how they are told what came of it.

use tokio::sync::{mpsc, oneshot};

/// Requests that wait. Whoever finds it full waits for its turn to be put in, so nothing is lost and nothing grows.
const WAITING: usize = 64;

/// What is said where nobody can load anything again.
const NOBODY: &str = "this server was not started from a configuration: there is nothing to reload";

/// What came of a reload: what it changed, or why it changed nothing.
pub type Outcome = Result<String, String>;

/// Asks for a reload. Clones ask the same server.
#[derive(Clone, Debug)]
pub struct Trigger(mpsc::Sender<oneshot::Sender<Outcome>>);

/// The requests, for whoever reloads.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<oneshot::Sender<Outcome>>);

/// Those who asked before a reload began, and wait for it.
#[derive(Debug)]
#[must_use = "they wait for an answer"]
pub struct Request(Vec<oneshot::Sender<Outcome>>);

/// Both ends.
pub fn requests() -> (Trigger, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Trigger(sender), Requests(receiver))
}

impl Trigger {
    /// Asks for a reload that begins after this moment, and waits for it: what changed, or every reason why nothing
    /// did.
    pub async fn reload(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        match self.0.send(answer).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err("the server is stopping".to_owned())),
            Err(_) => Err(NOBODY.to_owned()),
        }
    }
}

impl Requests {
    /// Waits for somebody to ask; all who did so far get the answer of one reload. Never completes once nobody can ask.
    pub async fn next(&mut self) -> Request {
        let Some(first) = self.0.recv().await else { return std::future::pending().await };
        let mut all = vec![first];
        while let Ok(another) = self.0.try_recv() {
            all.push(another);
        }
        Request(all)
    }
}

impl Request {
    /// Answers all who asked.
    pub fn answer(self, outcome: &Outcome) {
        for asker in self.0 {
            // One that has gone meanwhile misses nothing: what came of it is in the log as well.
            let _ = asker.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_are_answered_by_one_reload() {
        let (trigger, mut requests) = requests();
        let asked = 10 * WAITING;
        let askers = tokio::spawn(join_all((0..asked).map(|_| {
            let trigger = trigger.clone();
            async move { trigger.reload().await }
        })));
        let mut reloads = 0;
        let mut answered = 0;
        while answered < asked {
            let request = requests.next().await;
            tokio::task::yield_now().await;
            (answered, reloads) = (answered + request.0.len(), reloads + 1);
            request.answer(&Ok("done".to_owned()));
        }
        assert!(askers.await.unwrap().iter().all(|outcome| outcome == &Ok("done".to_owned())));
        assert!(reloads <= asked / WAITING + 1, "{reloads}");
    }

    #[tokio::test]
    async fn without_a_server_there_is_an_answer_too() {
        let (trigger, requests) = requests();
        drop(requests);
        assert_eq!(trigger.reload().await, Err(NOBODY.to_owned()));
    }
}
