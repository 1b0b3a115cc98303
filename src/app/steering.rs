//! Steering by hand: what of it a server needs from its start on.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::zone::{Tasks, spawn};
use crate::{
    admin::{Reloads, Sight},
    config::{Config, ServerConfig},
    journal::Journal,
    overrides::{self, Api, Departures, Options, Reading, Store},
};

/// Opens the store of overrides, and starts its tasks.
pub(super) fn open(
    config: &ServerConfig,
    journal: &Journal,
    reloads: &Arc<Reloads>,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Store {
    let (readings, of_file) = watch::channel(Ok(()));
    let options = Options {
        state_dir: config.state_dir.clone(),
        file: config.overrides.clone(),
        watch: config.watch_files,
        journal: journal.clone(),
        readings,
        stop: stop.clone(),
    };
    let (store, keeper) = overrides::open(options);
    spawn(tasks, "the store of overrides", stop, keeper);
    spawn(tasks, "the report of overrides", stop, tell_readings(of_file, reloads.clone(), stop.clone()));
    store
}

/// Counts readings of the file as reloads: what is wrong with it is told where other failed reloads are.
async fn tell_readings(mut readings: watch::Receiver<Reading>, reloads: Arc<Reloads>, stop: CancellationToken) {
    // The first may have failed already.
    readings.mark_changed();
    let (mut is_first, mut told) = (true, None);
    loop {
        let changed = stop.run_until_cancelled(readings.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return stop.cancelled().await;
        }
        let reading = readings.borrow_and_update().clone();
        let last = reloads.last().and_then(|(_, result)| result.err());
        // Another reload's failure is not mended by this file.
        let is_mended = last.is_none() || last == told;
        told = reading.clone().err();
        if told.is_some() || (is_mended && !is_first) {
            reloads.note(SystemTime::now(), reading);
        }
        is_first = false;
    }
}

/// What the HTTP side steers with. The store, and a register of who was answered until when.
pub(super) fn api(store: Store, sight: &Sight, config: &Config) -> Api {
    let longest_ttl = config.zones.iter().map(|zone| zone.ttl).max().unwrap_or_default();
    Api { store, table: sight.table.clone(), departures: Departures::new(longest_ttl) }
}
