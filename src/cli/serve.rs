//! `alternator-dns serve`.

use super::{FAILED, MISCONFIGURED, ServeArgs, StopSignals, load, run_async};
use crate::{
    app::{self, StartError},
    config::{Config, Flags, NO_ZONE},
    service::{self, Supervisor, user},
    telemetry,
};

pub(super) fn run(args: ServeArgs) -> u8 {
    telemetry::start(None);
    let flags = Flags {
        config: args.config.file,
        zone: args.zone,
        seeds: args.seeds,
        port: args.port,
        scheme: args.scheme,
        listen: args.listen,
        answers: args.answers,
        ttl: args.ttl,
    };
    let loaded = match load(&flags) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("alternator-dns: {problem}"));
            return MISCONFIGURED;
        }
    };
    if loaded.config.zones.is_empty() {
        eprintln!("{NO_ZONE}");
        return MISCONFIGURED;
    }
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let supervisor = Supervisor::from_environment(false);
    let successor = match user::successor(&loaded.config.server) {
        Ok(successor) => successor,
        Err(error) => {
            eprintln!("alternator-dns: {error}");
            return MISCONFIGURED;
        }
    };
    run_async(|signals| serve(&loaded.config, signals, supervisor, successor))
}

async fn serve(
    config: &Config,
    mut signals: StopSignals,
    supervisor: Supervisor,
    successor: Option<user::Identity>,
) -> u8 {
    let mut app = match app::start(config).await {
        Ok(app) => app,
        Err(error @ StartError::Zones(_)) => {
            error.to_string().lines().for_each(|line| eprintln!("alternator-dns: {line}"));
            return MISCONFIGURED;
        }
        Err(error) => {
            eprintln!("alternator-dns: {error}");
            return FAILED;
        }
    };
    if let Some(identity) = successor {
        if let Err(error) = identity.assume() {
            eprintln!("alternator-dns: {error}");
            return FAILED;
        }
        tracing::info!(user = identity.name(), "root is given up");
    }
    for address in app.addresses() {
        tracing::info!(%address, "answering over UDP and TCP");
    }
    for (transport, address) in app.encrypted() {
        tracing::info!(%address, "answering over {transport}");
    }
    for address in app.admin() {
        tracing::info!(%address, "admin: metrics and status over HTTP");
    }
    let (table, addresses) = (app.sight().table.clone(), app.addresses().len() + app.encrypted().len());
    let status = move || service::status(&table.load(), addresses);
    supervisor.ready(&status()).await;
    let attending = tokio::spawn(service::attend(supervisor.clone(), app.pulse(), status));
    let code = tokio::select! {
        () = signals.received() => 0,
        ended = app.ended() => {
            tracing::error!("{ended}; the process ends with it");
            FAILED
        }
    };
    tracing::info!(queries = app.counters().total(), "stopping");
    attending.abort();
    supervisor.stopping(app::STOP_WITHIN).await;
    app.stop().await;
    code
}
