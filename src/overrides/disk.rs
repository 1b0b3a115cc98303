//! The overrides of the API on disk, so that they survive a restart: one file, replaced atomically.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{order::Told, store::MAX_OVERRIDES};
use crate::{
    model::{Origin, Override},
    state::{self, StateError},
};

/// Tells our files from others.
const FORMAT: &str = "alternator-dns overrides";

/// Version of the layout below; a file of another version is set aside.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: String,
    version: u32,
    overrides: Vec<Told>,
}

/// Where overrides are saved.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("overrides.json")
}

/// What was saved; nothing where there is no file. A damaged file is set aside.
pub(super) fn load(dir: &Path) -> Result<Vec<Override>, StateError> {
    state::load_file(&path(dir), parse).map(Option::unwrap_or_default)
}

/// What is saved now and not over; `None` where there is no file. A damaged one stays where it is.
pub(super) fn look(dir: &Path, now: SystemTime) -> Result<Option<Vec<Override>>, String> {
    let saved = state::look_at(&path(dir), parse)?;
    Ok(saved.map(|saved| saved.into_iter().filter(|known| !known.is_over(now)).collect()))
}

fn parse(text: &[u8]) -> Result<Vec<Override>, String> {
    let saved: Saved = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if saved.format != FORMAT || saved.version != VERSION {
        return Err(format!("format \"{}\", version {}", saved.format, saved.version));
    }
    if saved.overrides.len() > MAX_OVERRIDES {
        return Err(format!("{} overrides, of at most {MAX_OVERRIDES}", saved.overrides.len()));
    }
    saved.overrides.iter().map(Told::read).collect()
}

/// Saves those of the API that are not over.
pub(super) fn save(dir: &Path, overrides: &[Override], now: SystemTime) -> io::Result<()> {
    let kept = overrides.iter().filter(|known| known.origin == Origin::Api && !known.is_over(now));
    let saved = Saved { format: FORMAT.to_owned(), version: VERSION, overrides: kept.map(Told::from).collect() };
    state::replace_file(&path(dir), &serde_json::to_vec_pretty(&saved)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn drains() -> Vec<Override> {
        ["dc1", "10.0.0.0/8", "*/10.0.0.*", "dc1/r a c k"]
            .iter()
            .map(|target| Override {
                target: target.parse().unwrap(),
                action: crate::model::Action::Drain,
                zone: None,
                from: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_262_400_123),
                until: None,
                set_at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
                by: "ops@host".to_owned(),
                reason: "\"why\" ß".to_owned(),
                origin: Origin::Api,
            })
            .collect()
    }

    #[test]
    fn what_was_saved_is_read_back_but_for_what_is_over() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), []);
        let mut all = drains();
        save(dir.path(), &all, SystemTime::now()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), all);
        all[0].until = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        all[1].origin = Origin::File;
        save(dir.path(), &all, SystemTime::now()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), all[2..]);
    }

    #[test]
    fn what_is_damaged_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &drains(), SystemTime::now()).unwrap();
        let good = fs::read_to_string(path(dir.path())).unwrap();
        for bad in [
            "",
            "{}",
            &good[..60],
            &good.replace("dc1/r a c k", "dc1/"),
            &good.replace("\"version\": 1", "\"version\": 2"),
        ] {
            fs::write(path(dir.path()), bad).unwrap();
            let error = load(dir.path()).unwrap_err();
            assert!(matches!(error, StateError::Foreign { .. }), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join("overrides.json.damaged")).unwrap(), bad);
            assert_eq!(load(dir.path()).unwrap(), []);
        }
    }
}
