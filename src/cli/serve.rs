//! `alternator-dns serve`.

use std::{io, path::PathBuf};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::timeout,
};

use super::{FAILED, MISCONFIGURED, ServeArgs, StopSignals, load, replace, run_async};
use crate::{
    app::{self, App, Beginning, StartError},
    config::{Config, Flags, Loaded, NO_ZONE, Problem},
    handover::{Event, Predecessor},
    reload::{Files, Outcome, Request},
    service::{self, Passed, Supervisor, user},
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
        Err(problems) => return misconfigured(problems.iter().map(Problem::to_string)),
    };
    telemetry::set_format(loaded.config.server.log.format);
    if loaded.config.zones.is_empty() {
        eprintln!("{NO_ZONE}");
        return MISCONFIGURED;
    }
    warn_of(&loaded, &[]);
    let supervisor = Supervisor::from_environment(args.replace);
    let successor = match user::successor(&loaded.config.server) {
        Ok(successor) => successor,
        Err(error) => return misconfigured([error.to_string()].into_iter()),
    };
    let passed = match service::passed() {
        Ok(passed) => passed,
        Err(error) => {
            eprintln!("alternator-dns: the sockets passed to this process (LISTEN_FDS) cannot be taken: {error}");
            return FAILED;
        }
    };
    let patron = Patron { supervisor, successor, passed, replaces: args.replace };
    run_async(|signals| serve(flags, loaded, signals, patron))
}

fn misconfigured(problems: impl Iterator<Item = String>) -> u8 {
    problems.for_each(|problem| eprintln!("alternator-dns: {problem}"));
    MISCONFIGURED
}

/// What a running server is reloaded from.
struct Origin {
    /// As at the start, but with the file that was found then: a reload reads that one again, and no other.
    flags: Flags,
    files: Files,
    hangup: Signal,
    /// What was warned of when it was loaded last.
    warned: Vec<Problem>,
}

/// What whoever started this process has for it.
struct Patron {
    supervisor: Supervisor,
    /// Whom the process is to become.
    successor: Option<user::Identity>,
    /// Sockets to listen on.
    passed: Vec<Passed>,
    /// The process is to take the place of the one that runs.
    replaces: bool,
}

async fn serve(flags: Flags, loaded: Loaded, mut signals: StopSignals, patron: Patron) -> u8 {
    let supervisor = patron.supervisor.clone();
    let (mut origin, config) = match Origin::begin(flags, loaded).await {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("alternator-dns: cannot start: {error}");
            return FAILED;
        }
    };
    let (mut app, predecessor) = match start(&config, patron).await {
        Ok(started) => started,
        Err(code) => return code,
    };
    let (table, listen) = (app.sight().table.clone(), app.sight().listen.clone());
    let status = move || service::status(&table.load(), listen.load().len());
    supervisor.ready(&status()).await;
    let Ok(mut control) = replace::open_control(&config.server, predecessor, &app, &supervisor).await else {
        app.stop().await;
        return FAILED;
    };
    let attending = tokio::spawn(service::attend(supervisor.clone(), app.pulse(), status.clone()));
    let Some(mut requests) = app.take_requests() else { return FAILED };
    let code = loop {
        let asker = tokio::select! {
            () = signals.received() => break 0,
            event = replace::next(&mut control) => match event {
                Event::Asked(asker) => {
                    replace::offer(&mut app, asker);
                    continue;
                }
                Event::Serving(successor) => {
                    attending.abort();
                    supervisor.leave();
                    app.hand_over(successor).await;
                    return 0;
                }
            },
            ended = app.ended() => {
                tracing::error!("{ended}; the process ends with it");
                break FAILED;
            }
            request = requests.next() => {
                tracing::info!("reload: asked for by a command");
                Some(request)
            }
            asked = origin.asks() => match asked {
                Ok(()) => None,
                Err(ended) => {
                    tracing::error!("{ended} ended unexpectedly; the process ends with it");
                    break FAILED;
                }
            },
        };
        supervisor.reloading().await;
        let outcome = tokio::select! {
            outcome = origin.reload(&mut app) => outcome,
            () = signals.received() => break 0,
        };
        app.tell_reload(&outcome);
        let failed = |problems: &String| format!("reload failed, all is served as before: {problems}");
        supervisor.ready(&outcome.as_ref().map_or_else(failed, |_| status())).await;
        asker.into_iter().for_each(|asker: Request| asker.answer(&outcome));
    };
    tracing::info!(queries = app.counters().total(), "stopping");
    attending.abort();
    supervisor.stopping(app::STOP_WITHIN).await;
    app.stop().await;
    code
}

/// Starts to serve, in the place of the running process if so told; where that fails, the exit code.
async fn start(config: &Config, patron: Patron) -> Result<(App, Option<Predecessor>), u8> {
    let failed = |error: &dyn std::fmt::Display| {
        eprintln!("alternator-dns: {error}");
        FAILED
    };
    let before =
        if patron.replaces { replace::predecessor(&config.server, patron.successor.as_ref()).await } else { Ok(None) };
    let (mut predecessor, offer) = before.map_err(|error| failed(&error))?.unzip();
    let mut beginning = match (&mut predecessor, offer) {
        (Some(process), Some(offer)) => Beginning::after(process, offer, patron.passed),
        _ => Beginning { passed: patron.passed, ..Beginning::default() },
    };
    beginning.identity = patron.successor;
    let app = match app::start_from(config, beginning).await {
        Ok(app) => app,
        Err(error @ StartError::Zones(_)) => return Err(misconfigured(error.to_string().lines().map(str::to_owned))),
        Err(error) => return Err(failed(&format!("{error}{}", replace::hint(&config.server, &error).await))),
    };
    tell_addresses(&app);
    for address in app.admin() {
        tracing::info!(%address, "admin: metrics and status over HTTP");
    }
    Ok((app, predecessor))
}

fn tell_addresses(app: &App) {
    for address in app.addresses() {
        tracing::info!(%address, "answering over UDP and TCP");
    }
    for (transport, address) in app.encrypted() {
        tracing::info!(%address, "answering over {transport}");
    }
}

/// Tells the warnings that are new, wherever in the file they stand now.
fn warn_of(loaded: &Loaded, before: &[Problem]) {
    let is_new = |warning: &&Problem| {
        !before.iter().any(|known| (&known.key, &known.message) == (&warning.key, &warning.message))
    };
    loaded.warnings.iter().filter(is_new).for_each(|warning| tracing::warn!("{warning}"));
}

/// The files whose change is a reason to load everything again.
fn watched(config: &Config, file: Option<&PathBuf>) -> Vec<PathBuf> {
    if !config.server.watch_files {
        return Vec::new();
    }
    file.cloned().into_iter().chain(app::files_of(config)).collect()
}

impl Origin {
    /// Watches the files from now on, and catches SIGHUP. Returns the configuration to start with.
    async fn begin(mut flags: Flags, loaded: Loaded) -> io::Result<(Self, Config)> {
        let hangup = signal(SignalKind::hangup())?;
        flags.config = loaded.file.clone().or(flags.config);
        let origin = Origin { flags, files: Files::start(), hangup, warned: loaded.warnings };
        origin.files.follow(watched(&loaded.config, loaded.file.as_ref())).await;
        // What was changed between the first reading and this moment is no change any more.
        let again = load(&origin.flags).ok().filter(|again| !again.config.zones.is_empty());
        Ok((origin, again.map_or(loaded.config, |again| again.config)))
    }

    /// Waits for a reason to load everything again, and tells it; or for the end of a task that never should, by its
    /// name.
    async fn asks(&mut self) -> Result<(), &'static str> {
        tokio::select! {
            _ = self.hangup.recv() => tracing::info!("reload: asked for by SIGHUP"),
            changed = self.files.changed() => {
                let changed = changed.ok_or("the task that looks at files")?;
                let changed: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
                tracing::info!("reload: {} changed", changed.join(", "));
            }
        }
        Ok(())
    }

    /// Loads everything again as at the start, and goes over to it; or says everything that is wrong, and changes
    /// nothing.
    async fn reload(&mut self, app: &mut App) -> Outcome {
        let loaded = timeout(app::LOAD_WITHIN, self.load(app)).await;
        let late = |_| format!("the configuration cannot be read within {} seconds", app::LOAD_WITHIN.as_secs());
        let loaded = loaded.map_err(late)??;
        warn_of(&loaded, &self.warned);
        let before = app.sight().listen.load_full();
        let applied = app.reload(&loaded.config).await.map_err(|error| error.to_string())?;
        self.files.follow(watched(&loaded.config, loaded.file.as_ref())).await;
        self.warned = loaded.warnings;
        if app.sight().listen.load_full() != before {
            tell_addresses(app);
        }
        Ok(applied.to_string())
    }

    async fn load(&mut self, app: &App) -> Result<Loaded, String> {
        // What is read from here on need not be told any more.
        self.files.take().await;
        let flags = self.flags.clone();
        let loaded = spawn_blocking(move || load_again(&flags)).await.map_err(|error| error.to_string())??;
        let file = loaded.file.as_ref();
        // Those in force too, as long as they are: their change may be what mends it.
        let both = watched(&loaded.config, file).into_iter().chain(watched(app.config(), file)).collect();
        self.files.follow(both).await;
        Ok(loaded)
    }
}

/// The configuration, or every problem of it and of the zone files it names, a line each. Blocks.
fn load_again(flags: &Flags) -> Result<Loaded, String> {
    let problems = match load(flags) {
        Ok(loaded) if loaded.config.zones.is_empty() => {
            vec![Problem { file: loaded.file, ..Problem::new("there is no zone to serve any more") }]
        }
        Ok(loaded) => return Ok(loaded),
        Err(mut problems) => {
            problems.extend(flags.config.iter().flat_map(|file| app::problems_of_zone_files(file)));
            problems
        }
    };
    Err(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
}
