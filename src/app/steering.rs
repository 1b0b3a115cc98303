//! Steering by hand: what of it a server needs from its start on.

use tokio_util::sync::CancellationToken;

use super::{
    StartError,
    zone::{Tasks, spawn},
};
use crate::{
    admin::Sight,
    config::{Config, ServerConfig},
    journal::Journal,
    overrides::{self, Api, Departures, Options, Store},
};

/// Opens the store of overrides, and starts its task.
pub(super) fn open(
    config: &ServerConfig,
    journal: &Journal,
    tasks: &mut Tasks,
    stop: &CancellationToken,
) -> Result<Store, StartError> {
    let options = Options {
        state_dir: config.state_dir.clone(),
        file: config.overrides.clone(),
        watch: config.watch_files,
        journal: journal.clone(),
        stop: stop.clone(),
    };
    let (store, keeper) = overrides::open(options).map_err(StartError::Zones)?;
    spawn(tasks, "the store of overrides", stop, keeper);
    Ok(store)
}

/// What the HTTP side steers with. The store, and a register of who was answered until when.
pub(super) fn api(store: Store, sight: &Sight, config: &Config) -> Api {
    let longest_ttl = config.zones.iter().map(|zone| zone.ttl).max().unwrap_or_default();
    Api { store, table: sight.table.clone(), departures: Departures::new(longest_ttl) }
}
