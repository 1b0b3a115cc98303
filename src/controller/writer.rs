//! The task that keeps a zone's state file up to date.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Seed,
    model::{Health, Topology},
    state,
};

/// Least time between two writes of a zone's state file.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Keeps a zone's state file up to date until told to stop.
pub(crate) struct Writer {
    /// The zone.
    pub(crate) zone: String,
    /// Where it begins.
    pub(crate) seeds: Vec<Seed>,
    pub(crate) topology: watch::Receiver<Arc<Topology>>,
    pub(crate) health: watch::Receiver<Arc<Health>>,
    /// Its epochs: what is worth writing comes with a new one.
    pub(crate) epochs: watch::Receiver<u32>,
    /// Folder of the file.
    pub(crate) dir: PathBuf,
    /// Ends the task, which writes once more.
    pub(crate) stop: CancellationToken,
}

impl Writer {
    /// Writes.
    pub(crate) async fn run(self) {
        let Writer { zone, seeds, topology, health, mut epochs, dir, stop } = self;
        epochs.mark_changed();
        let (mut written, mut failing) = (None, false);
        loop {
            let stopping = tokio::select! {
                changed = epochs.changed() => changed.is_err(),
                () = tokio::time::sleep(WRITE_EVERY), if failing => false,
                () = stop.cancelled() => true,
            };
            let epoch = *epochs.borrow_and_update();
            let (topology, health) = (topology.borrow().clone(), health.borrow().clone());
            let content = state::content(&topology, &health);
            // An empty topology is what a start begins with: never a reason to forget the last one.
            if !content.is_empty() && written.as_ref() != Some(&(epoch, content.clone())) {
                let save = {
                    let (dir, zone, seeds) = (dir.clone(), zone.clone(), seeds.clone());
                    move || state::save(&dir, &zone, &seeds, epoch, &topology, &health)
                };
                match tokio::task::spawn_blocking(save).await {
                    Ok(Ok(())) => {
                        if failing {
                            tracing::info!(zone, "the state file can be written again");
                        }
                        failing = false;
                    }
                    Ok(Err(error)) if !failing => {
                        tracing::error!(zone, %error, "cannot write the state file; trying on");
                        failing = true;
                    }
                    _ => {}
                }
                if !failing {
                    written = Some((epoch, content));
                }
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
