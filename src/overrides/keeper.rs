//! The task that is the sole writer of all overrides.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    disk, file,
    order::Told,
    store::{Command, Kept, MAX_OVERRIDES, Options, Reading, Refused, Removed},
};
use crate::{
    config::Problem,
    journal::Journal,
    model::{Action, Origin, Override, Overrides, Target},
    reload::{LOOK_EVERY, Watch},
};

/// Longest sleep until an override begins or ends: the clock may be set meanwhile.
const CLOCK_MAY_BE_SET: Duration = Duration::from_secs(30);

/// Time until writing is tried again after it failed.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// The only writer of all overrides.
#[derive(Debug)]
pub(super) struct Keeper {
    api: Vec<Override>,
    of_file: Vec<Override>,
    file: Option<PathBuf>,
    watch: Watch,
    state_dir: Option<PathBuf>,
    /// Why what is set now is not on disk, and when that is tried again.
    unsaved: Option<(String, Instant)>,
    journal: Journal,
    readings: watch::Sender<Reading>,
    /// Until when beginnings and ends have been told.
    passed: SystemTime,
    publish: watch::Sender<Arc<Overrides>>,
}

impl Keeper {
    /// Opens what was saved and what the file says.
    pub(super) fn open(options: &Options, publish: watch::Sender<Arc<Overrides>>) -> Self {
        let now = SystemTime::now();
        let (file, state_dir) = (options.file.clone(), options.state_dir.clone());
        let mut watch = Watch::default();
        watch.follow(watched(options.watch, file.clone(), state_dir.as_deref()));
        let of_file = file.as_deref().map_or_else(Vec::new, |path| {
            file::read(path, now).unwrap_or_else(|problems| {
                complain(&options.journal, path, &problems, "starting without its overrides");
                let _ = options.readings.send_replace(Err(lines(&problems)));
                Vec::new()
            })
        });
        let mut api = state_dir.as_deref().map_or_else(Vec::new, |dir| {
            disk::load(dir).unwrap_or_else(|error| {
                tracing::error!(%error, "starting without the overrides of earlier runs");
                options.journal.note(None, "override", "overrides.json", &error);
                Vec::new()
            })
        });
        api.retain(|known| !known.is_over(now));
        let (journal, readings, unsaved) = (options.journal.clone(), options.readings.clone(), None);
        let keeper = Keeper { api, of_file, file, watch, state_dir, unsaved, journal, readings, passed: now, publish };
        for known in keeper.all().filter(|known| !known.is_over(now)) {
            tracing::info!(nodes = %known.target, origin = %known.origin, "{}", told(known, now));
        }
        keeper.publish();
        keeper
    }

    /// Fulfils requests, tells beginnings and ends, and follows the file, until told to stop.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let again = self.unsaved.as_ref().map(|(_, again)| *again).filter(|_| self.state_dir.is_some());
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.fulfil(request).await,
                    // Nobody is left who could ask.
                    None => stop.cancelled().await,
                },
                () = sleep_until(self.due()) => self.pass_time().await,
                () = sleep_until(look_at) => {
                    self.look().await;
                    look_at = Instant::now() + LOOK_EVERY;
                }
                () = sleep_until(again.unwrap_or(look_at)), if again.is_some() => drop(self.save().await),
                () = stop.cancelled() => return,
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Override> {
        self.api.iter().chain(&self.of_file)
    }

    /// When the next override begins or ends.
    fn due(&self) -> Instant {
        let next = self.all().flat_map(|known| [Some(known.from), known.until]).flatten();
        let next = next.filter(|moment| *moment > self.passed).min();
        let sleep = next.map(|next| next.duration_since(SystemTime::now()).unwrap_or_default());
        Instant::now() + sleep.unwrap_or(CLOCK_MAY_BE_SET).min(CLOCK_MAY_BE_SET)
    }

    async fn fulfil(&mut self, request: Command) {
        if !matches!(request, Command::Reread { .. }) {
            self.catch_up().await;
        }
        match request {
            Command::Set(wanted, done) => {
                let result = self.set(wanted);
                let result = match result {
                    Ok(replaced) => Ok(Kept { replaced, unsaved: self.save().await }),
                    Err(refused) => Err(refused),
                };
                // Whoever asked may have gone.
                let _ = done.send(result);
            }
            Command::Remove { target, action, zone, by, done } => {
                let result = match self.remove(target, action, zone, &by) {
                    // Where nothing is kept, nothing comes back either.
                    Ok(removed) => {
                        let unsaved = self.save().await.filter(|_| self.state_dir.is_some());
                        Ok(Removed { unsaved, ..removed })
                    }
                    Err(refused) => Err(refused),
                };
                let _ = done.send(result);
            }
            Command::Reread { watch, done } => {
                self.follow(watch).await;
                drop(done.send(self.reread().await));
            }
        }
    }

    fn set(&mut self, wanted: Override) -> Result<Option<Override>, Refused> {
        let wanted = Override { origin: Origin::Api, ..wanted };
        let is_same = |known: &Override| {
            known.target == wanted.target && known.action == wanted.action && known.zone == wanted.zone
        };
        let known = self.api.iter().position(is_same);
        if known.is_none() && self.api.len() >= MAX_OVERRIDES {
            return Err(Refused::Full);
        }
        self.tell(&wanted, told(&wanted, SystemTime::now()));
        let replaced = known.map(|at| std::mem::replace(&mut self.api[at], wanted.clone()));
        if replaced.is_none() {
            self.api.push(wanted);
        }
        self.publish();
        Ok(replaced)
    }

    fn remove(
        &mut self,
        target: Target,
        action: Option<Action>,
        zone: Option<String>,
        by: &str,
    ) -> Result<Removed, Refused> {
        let is_meant = |known: &Override| {
            known.target == target && action.is_none_or(|action| known.action == action) && known.zone == zone
        };
        let stays: Vec<Override> = self.of_file.iter().filter(|known| is_meant(known)).cloned().collect();
        let removed: Vec<Override> = self.api.extract_if(.., |known| is_meant(known)).collect();
        if removed.is_empty() {
            let file = self.file.as_ref().filter(|_| !stays.is_empty());
            return Err(match file {
                Some(file) => Refused::OfFile { target, file: file.display().to_string() },
                None => Refused::Nothing(target, self.instead()),
            });
        }
        for known in &removed {
            self.tell(known, format_args!("taken back by {by}; was {known}"));
        }
        self.publish();
        Ok(Removed { removed, stays, unsaved: None })
    }

    /// What is set, for whoever looked for something else.
    fn instead(&self) -> String {
        /// Targets told.
        const TOLD: usize = 10;
        let told = |known: &Override| match &known.zone {
            Some(zone) => format!("{} {} in zone {zone}", known.action, known.target),
            None => format!("{} {}", known.action, known.target),
        };
        let known: Vec<String> = self.all().take(TOLD).map(told).collect();
        match (known.is_empty(), self.all().count().saturating_sub(TOLD)) {
            (true, _) => "; nothing is set at all".to_owned(),
            (false, 0) => format!("; set are: {}", known.join(", ")),
            (false, more) => format!("; set are: {} and {more} more", known.join(", ")),
        }
    }

    /// Tells what began and ended since it was told last, and forgets what is over.
    async fn pass_time(&mut self) {
        let now = SystemTime::now();
        // Without what is over, before anybody is told so.
        self.publish();
        let is_due = |moment: SystemTime| moment > self.passed && moment <= now;
        for known in self.all() {
            if known.until.is_some_and(is_due) {
                self.tell(known, format_args!("is over; was {known}"));
            } else if is_due(known.from) && known.set_at < known.from {
                self.tell(known, format_args!("begins: {known}"));
            }
        }
        // Never back: what was told is told.
        self.passed = self.passed.max(now);
        if self.api.iter().any(|known| known.is_over(now)) {
            self.catch_up().await;
            self.api.retain(|known| !known.is_over(now));
            self.save().await;
        }
    }

    /// Looks at the file from now on, or no longer.
    async fn follow(&mut self, is_watched: bool) {
        let (mut watch, paths) =
            (std::mem::take(&mut self.watch), watched(is_watched, self.file.clone(), self.state_dir.as_deref()));
        let following = tokio::task::spawn_blocking(move || {
            watch.follow(paths);
            watch
        });
        self.watch = following.await.unwrap_or_default();
    }

    /// Looks at the files; reads each that is another one and has come to rest.
    async fn look(&mut self) {
        let mut watch = std::mem::take(&mut self.watch);
        let looking = tokio::task::spawn_blocking(move || (watch.look(), watch));
        if let Ok((changed, watch)) = looking.await {
            self.watch = watch;
            if changed.iter().any(|path| Some(path) == self.file.as_ref()) {
                let reading = self.reread().await;
                let _ = self.readings.send_replace(reading.map_err(|problems| lines(&problems)));
            }
            if changed.iter().any(|path| Some(path) != self.file.as_ref()) {
                self.catch_up().await;
            }
        }
    }

    /// Takes over what another process saved: the one that this one replaces, or that replaces it, as long as there are
    /// both. Whoever changes something does so on top of it.
    async fn catch_up(&mut self) {
        // What could not be saved is newer than what is.
        let (Some(dir), None) = (self.state_dir.clone(), &self.unsaved) else { return };
        let now = SystemTime::now();
        let looked = tokio::task::spawn_blocking(move || disk::look(&dir, now)).await;
        // A file that is damaged or gone is written anew with the next change.
        let Ok(Ok(Some(saved))) = looked else { return };
        let as_saved = |known: &Override| Told::from(known);
        let known: Vec<Told> = self.api.iter().filter(|known| !known.is_over(now)).map(as_saved).collect();
        let (mut before, now_saved): (Vec<Told>, Vec<Told>) = (known, saved.iter().map(as_saved).collect());
        if before == now_saved {
            return;
        }
        for (known, told_so) in saved.iter().zip(&now_saved) {
            match before.iter().position(|before| before == told_so) {
                Some(at) => drop(before.swap_remove(at)),
                None => self.tell(known, format_args!("{}; taken by another process", told(known, now))),
            }
        }
        for gone in before.iter().filter_map(|gone| gone.read().ok()) {
            self.tell(&gone, format_args!("taken back in another process; was {gone}"));
        }
        self.api = saved;
        self.publish();
    }

    /// Reads the file, and takes what it says in the place of what it said before, or nothing of it.
    async fn reread(&mut self) -> Result<(), Vec<Problem>> {
        let Some(path) = self.file.clone() else { return Ok(()) };
        let now = SystemTime::now();
        let reading = tokio::task::spawn_blocking(move || (file::read(&path, now), path));
        let (read, path) = reading.await.map_err(|error| vec![Problem::new(error.to_string())])?;
        let read = read.inspect_err(|problems| complain(&self.journal, &path, problems, "nothing changes"))?;
        let mut before = std::mem::take(&mut self.of_file);
        for mut new in read {
            let is_same = |old: &Override| says_the_same(old, &new);
            match before.iter().position(is_same) {
                // It was set when it was first read so; that others were added does not make it a later one.
                Some(at) => self.of_file.push(before.swap_remove(at)),
                None => {
                    new.origin = Origin::File;
                    if !new.is_over(now) {
                        self.tell(&new, told(&new, now));
                    }
                    self.of_file.push(new);
                }
            }
        }
        for gone in before.iter().filter(|gone| !gone.is_over(now)) {
            self.tell(gone, format_args!("no longer in {}; was {gone}", path.display()));
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let now = SystemTime::now();
        let overrides = Overrides::new(self.all().filter(|known| !known.is_over(now)).cloned().collect());
        self.publish.send_if_modified(|published| {
            let is_new = **published != overrides;
            if is_new {
                *published = Arc::new(overrides);
            }
            is_new
        });
    }

    /// Saves what the API set. Returns why that failed.
    async fn save(&mut self) -> Option<String> {
        let Some(dir) = self.state_dir.clone() else {
            return Some("server.state_dir is not set, so nothing is kept over a restart".to_owned());
        };
        let api = self.api.clone();
        let saving = tokio::task::spawn_blocking(move || {
            disk::save(&dir, &api, SystemTime::now()).map_err(|error| error.to_string())
        });
        match (saving.await.unwrap_or_else(|error| Err(error.to_string())), &self.unsaved) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                tracing::info!("overrides can be saved again");
                self.unsaved = None;
            }
            (Err(error), known) => {
                if known.is_none() {
                    tracing::error!(error, "cannot save overrides: they hold, but not over a restart; trying on");
                    self.journal.note(None, "override", "overrides.json", format_args!("cannot be saved: {error}"));
                }
                self.unsaved = Some((error, Instant::now() + WRITE_AGAIN));
            }
        }
        self.unsaved.as_ref().map(|(error, _)| format!("overrides.json cannot be written: {error}"))
    }

    fn tell(&self, known: &Override, text: impl std::fmt::Display) {
        let zone = known.zone.as_deref();
        tracing::info!(nodes = %known.target, zone, "{text}");
        self.journal.note(zone, "override", &known.target, text);
    }
}

/// The files that are looked at.
fn watched(is_watched: bool, file: Option<PathBuf>, state_dir: Option<&Path>) -> Vec<PathBuf> {
    file.filter(|_| is_watched).into_iter().chain(state_dir.map(disk::path)).collect()
}

/// Tells log and journal what is wrong with the file, and what becomes of it.
fn complain(journal: &Journal, path: &Path, problems: &[Problem], what: &str) {
    problems.iter().for_each(|problem| tracing::error!("{problem}"));
    tracing::error!("the file of overrides has mistakes, {what}");
    if let Some(first) = problems.first() {
        let more = problems.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        journal.note(None, "override", path.display(), format!("the file has mistakes, {what}: {first}{more}"));
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Whether two entries of a file say the same, whenever they were written.
fn says_the_same(old: &Override, new: &Override) -> bool {
    let begins = |known: &Override| (known.from != known.set_at).then_some(known.from);
    let timeless = |known: &Override| Override { from: new.from, set_at: new.set_at, ..known.clone() };
    begins(old) == begins(new) && timeless(old) == timeless(new)
}

/// An override, and whether it has begun.
fn told(known: &Override, now: SystemTime) -> String {
    if known.from > now { format!("will be {known}") } else { known.to_string() }
}
