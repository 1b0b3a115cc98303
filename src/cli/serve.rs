//! `alternator-dns serve`.

use super::{FAILED, MISCONFIGURED, ServeArgs, StopSignals, load, run_async};
use crate::{
    app::{self, StartError},
    config::{Config, Flags, NO_ZONE},
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
    run_async(|signals| serve(&loaded.config, signals))
}

async fn serve(config: &Config, mut signals: StopSignals) -> u8 {
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
    for address in app.addresses() {
        tracing::info!(%address, "answering over UDP and TCP");
    }
    for (transport, address) in app.encrypted() {
        tracing::info!(%address, "answering over {transport}");
    }
    let code = tokio::select! {
        () = signals.received() => 0,
        ended = app.ended() => {
            tracing::error!("{ended}; the process ends with it");
            FAILED
        }
    };
    tracing::info!(queries = app.counters().total(), "stopping");
    app.stop().await;
    code
}
