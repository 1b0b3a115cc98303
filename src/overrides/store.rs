//! All overrides: one task writes them, whoever wants one changed asks it.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use crate::{
    config::Problem,
    journal::Journal,
    model::{Action, Override, Overrides, Target},
};

/// Overrides at most, of the API and of the file each: a person sets a few, and configuration management one per node.
pub(super) const MAX_OVERRIDES: usize = 1000;

/// Requests that wait for their turn; each takes as long as a small file takes to write.
const WAITING: usize = 16;

/// What a store is made of.
#[derive(Debug)]
pub struct Options {
    /// Where overrides of the API are kept over restarts; `None` = they are not.
    pub state_dir: Option<PathBuf>,
    /// The file of overrides.
    pub file: Option<PathBuf>,
    /// Whether the file is looked at while the server runs.
    pub watch: bool,
    /// Where changes are noted.
    pub journal: Journal,
    /// Takes what came of each reading of the file that nobody asked for.
    pub readings: watch::Sender<Reading>,
    /// Ends the store's task.
    pub stop: CancellationToken,
}

/// What came of reading the file: every problem, a line each.
pub type Reading = Result<(), String>;

/// All overrides. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    published: watch::Receiver<Arc<Overrides>>,
}

/// What became of a request to set an override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What the same target had before.
    pub replaced: Option<Override>,
    /// Why it would not survive a restart.
    pub unsaved: Option<String>,
}

/// What became of a request to remove overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What is gone; never empty.
    pub removed: Vec<Override>,
    /// What the file says of the same target, and which only the file can take back.
    pub stays: Vec<Override>,
    /// Why it would come back with a restart.
    pub unsaved: Option<String>,
}

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are as many as may be.
    #[error(
        "{MAX_OVERRIDES} overrides are set already: undrain what is not needed any more, or drain a rack or network"
    )]
    Full,
    /// Nothing of the kind is set.
    #[error("nothing is set for \"{0}\"{1}")]
    Nothing(Target, String),
    /// Only the file can take it back.
    #[error("\"{target}\" is of the file {file}: take it out there")]
    OfFile {
        /// What was to be removed.
        target: Target,
        /// The file of overrides.
        file: String,
    },
    /// The server stops.
    #[error("the server is about to stop")]
    Stopping,
}

/// What the store's task is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Set(Override, oneshot::Sender<Result<Kept, Refused>>),
    Remove {
        target: Target,
        action: Option<Action>,
        zone: Option<String>,
        by: String,
        done: oneshot::Sender<Result<Removed, Refused>>,
    },
    Reread {
        watch: bool,
        done: oneshot::Sender<Result<(), Vec<Problem>>>,
    },
}

/// Opens a store with what was saved and what the file says, and the task that keeps it. A file with mistakes is none
/// until it changes, and what was saved and is damaged is set aside: neither is worth more than that clients are
/// answered. Log and journal tell.
pub fn open(options: Options) -> (Store, impl Future<Output = ()> + use<>) {
    let (commands, requests) = mpsc::channel(WAITING);
    let (publish, published) = watch::channel(Arc::default());
    let keeper = Keeper::open(&options, publish);
    (Store { commands, published }, keeper.run(requests, options.stop))
}

/// What a store would begin with, for whoever only looks. What was saved and is damaged stays where it is, and the text
/// says what is wrong with it.
pub fn look(dir: Option<&Path>, file: Option<&Path>) -> Result<(Overrides, Option<String>), Vec<Problem>> {
    let now = SystemTime::now();
    let of_file = file.map_or_else(|| Ok(Vec::new()), |path| super::file::read(path, now))?;
    let (saved, damaged) = match dir.map_or(Ok(None), |dir| super::disk::look(dir, now)) {
        Ok(saved) => (saved.unwrap_or_default(), None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    Ok((Overrides::new(saved.into_iter().chain(of_file).collect()), damaged))
}

impl Store {
    /// All overrides, in force or pending.
    pub fn current(&self) -> Arc<Overrides> {
        self.published.borrow().clone()
    }

    /// All overrides, and every change of them.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Overrides>> {
        self.published.clone()
    }

    /// Sets an override of the API, in the place of one with the same target, action and zone. It is in force, and
    /// saved, when this returns.
    pub async fn set(&self, wanted: Override) -> Result<Kept, Refused> {
        let (done, reply) = oneshot::channel();
        self.ask(Command::Set(wanted, done), reply).await?
    }

    /// Removes the overrides of the API with exactly this target and zone; with an action, only those.
    pub async fn remove(
        &self,
        target: Target,
        action: Option<Action>,
        zone: Option<String>,
        by: &str,
    ) -> Result<Removed, Refused> {
        let (done, reply) = oneshot::channel();
        self.ask(Command::Remove { target, action, zone, by: by.to_owned(), done }, reply).await?
    }

    /// Reads the file again, whether it changed or not. `watch`: whether it is looked at from now on.
    pub async fn reread(&self, watch: bool) -> Result<(), Vec<Problem>> {
        let (done, reply) = oneshot::channel();
        self.ask(Command::Reread { watch, done }, reply)
            .await
            .unwrap_or_else(|error| Err(vec![Problem::new(error.to_string())]))
    }

    async fn ask<T>(&self, command: Command, reply: oneshot::Receiver<T>) -> Result<T, Refused> {
        self.commands.send(command).await.map_err(|_| Refused::Stopping)?;
        reply.await.map_err(|_| Refused::Stopping)
    }
}

#[cfg(test)]
mod tests;
