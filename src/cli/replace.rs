//! `serve --replace`: both sides of it.

use std::{io, path::Path};

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    app::{App, StartError},
    config::ServerConfig,
    handover::{self, Control, Event, Offer, Predecessor, ReplaceError},
    overrides::Departures,
    server::Adopter,
    service::{Supervisor, user::Identity},
};

/// Asks the running process for everything it has; `None` where there is none. The error is a line for the operator.
/// `successor` is whom this process is to become.
pub(super) async fn predecessor(
    config: &ServerConfig,
    successor: Option<&Identity>,
) -> Result<Option<(Predecessor, Offer)>, String> {
    let Some(path) = config.control_path() else {
        return Err("--replace finds the running process by its control socket, but there is none: set control or \
                    state_dir under [server]"
            .to_owned());
    };
    let asked = handover::ask(&path, successor.map(Identity::uid)).await.map_err(|error| error.to_string())?;
    match &asked {
        Some((predecessor, offer)) => tracing::info!(
            process = predecessor.pid(),
            version = predecessor.version(),
            sockets = offer.sockets.len(),
            zones = offer.zones.len(),
            "taking the place of the running process once this one is ready"
        ),
        None => tracing::info!(control = %path.display(), "there is nobody to replace: starting as usual"),
    }
    Ok(asked)
}

/// Goes on with the connections of the process before, until it has ended.
async fn follow(mut predecessor: Predecessor, mut adopter: Adopter, departures: Departures, _ended: DropGuard) {
    while let Some(connections) = predecessor.next().await {
        for connection in connections {
            if let Err(error) = adopter.adopt(connection) {
                // Of an address that this process does not serve.
                tracing::debug!(%error, "a connection of the process before is closed");
            }
        }
    }
    departures.predecessor_ended();
}

/// Has the process before end, and lets others find this one; a server that none finds serves all the same. The error
/// is that the process before goes on serving, which is told here.
pub(super) async fn open_control(
    config: &ServerConfig,
    predecessor: Option<Predecessor>,
    app: &App,
    supervisor: &Supervisor,
) -> Result<Option<Control>, ReplaceError> {
    let process = predecessor.as_ref().map(Predecessor::pid);
    let ended = process.map(|_| CancellationToken::new());
    if let (Some(mut predecessor), Some(ended)) = (predecessor, ended.clone()) {
        let departures = app.departures().clone();
        departures.predecessor_serves();
        if let Err(error) = predecessor.serving(app.claimed()).await {
            tracing::error!("{error}; the process before goes on serving, and this one ends");
            supervisor.give_back(predecessor.pid()).await;
            return Err(error);
        }
        tokio::spawn(follow(predecessor, app.adopter(), departures, ended.drop_guard()));
    }
    let control = match config.control_path() {
        Some(path) => open_at(&path, ended).await,
        None => None,
    };
    if let Some(process) = process {
        tracing::info!(process, "serving in the place of the other process");
        app.sight().journal.note(None, "server", process, "was replaced by this process; counters begin anew");
    }
    Ok(control)
}

async fn open_at(path: &Path, replaced: Option<CancellationToken>) -> Option<Control> {
    match Control::open(path, replaced).await {
        Ok(control) => Some(control),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(control = %path.display(), "another running process has the control socket: serve --replace \
                will find that one; choose another control or state_dir under [server]");
            None
        }
        Err(error) => {
            tracing::warn!(control = %path.display(), %error, "no control socket: serve --replace will not find this process");
            None
        }
    }
}

/// Tells a process that wants to replace this one what there is to have. Without descriptors left there is nothing, which
/// that one is told.
pub(super) fn offer(app: &mut App, asker: oneshot::Sender<Offer>) {
    match app.offer() {
        // One that has gone meanwhile misses nothing.
        Ok(offer) => _ = asker.send(offer),
        Err(error) => tracing::warn!(%error, "cannot hand the sockets to another process"),
    }
}

/// Waits for what happens at the control socket.
pub(super) async fn next(control: &mut Option<Control>) -> Event {
    if let Some(open) = control {
        if let Some(event) = open.next().await {
            return event;
        }
        *control = None;
    }
    std::future::pending().await
}

/// What helps against an error of the start, where a running process may be in the way.
pub(super) async fn hint(config: &ServerConfig, error: &StartError) -> &'static str {
    let is_in_use = match error {
        StartError::Bind(error) => error.is_in_use(),
        StartError::Encrypted(crate::server::encrypted::SetupError::Bind(error)) => error.is_in_use(),
        _ => false,
    };
    match config.control_path() {
        Some(path) if is_in_use && handover::is_alive(&path).await => {
            "; a server with this configuration is running: to take its place without losing a query, serve --replace"
        }
        _ => "",
    }
}
