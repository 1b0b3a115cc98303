use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{model::Origin, overrides::Order};

/// A store at work; ends when dropped.
struct Kept {
    store: Store,
    journal: Journal,
    stop: CancellationToken,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn start(dir: Option<&Path>, file: Option<&Path>) -> Kept {
    let (journal, stop) = (Journal::default(), CancellationToken::new());
    let options = Options {
        state_dir: dir.map(Path::to_owned),
        file: file.map(Path::to_owned),
        watch: true,
        journal: journal.clone(),
        readings: watch::Sender::new(Ok(())),
        stop: stop.clone(),
    };
    let (store, keeper) = open(options);
    tokio::spawn(keeper);
    Kept { store, journal, stop }
}

/// `drain TARGET` or `force-up TARGET`, from now on.
fn order(text: &str) -> Override {
    let (action, target) = text.split_once(' ').unwrap();
    let order = Order { target: target.to_owned(), action: action.to_owned(), ..Order::default() };
    order.judge(Origin::Api, SystemTime::now(), "ops").unwrap()
}

impl Kept {
    /// What is published, in alphabetical order.
    fn known(&self) -> Vec<String> {
        let all = self.store.current();
        let mut known: Vec<String> = all.iter().map(|known| format!("{} {}", known.action, known.target)).collect();
        known.sort();
        known
    }

    async fn until(&self, known: &[&str]) {
        let wait = async {
            while self.known() != known {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{:?}, not {known:?}", self.known());
    }

    async fn remove(&self, target: &str) -> Result<Removed, Refused> {
        self.store.remove(target.parse().unwrap(), None, None, "ops2").await
    }

    /// The journal's texts.
    fn told(&self) -> Vec<String> {
        self.journal.since(0).iter().map(|change| format!("{}: {}", change.subject, change.text)).collect()
    }

    async fn until_told(&self, text: &str) {
        let wait = async {
            while !self.told().iter().any(|told| told.contains(text)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "no {text:?} in {:#?}", self.told());
    }
}

#[tokio::test]
async fn what_is_set_holds_and_survives_until_it_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(Some(dir.path()), None);
    assert_eq!(first.store.set(order("drain dc1")).await.unwrap(), super::Kept::default());
    first.store.set(order("force-up 10.0.0.1")).await.unwrap();
    assert_eq!(first.known(), ["drain dc1", "force-up 10.0.0.1"]);
    let again = Override { reason: "why".to_owned(), ..order("drain dc1") };
    let kept = first.store.set(again).await.unwrap();
    assert_eq!(kept.replaced.map(|known| known.reason), Some(String::new()), "the same target again");
    drop(first);

    let second = start(Some(dir.path()), None);
    assert_eq!(second.known(), ["drain dc1", "force-up 10.0.0.1"]);
    assert_eq!(second.store.current().iter().last().unwrap().reason, "why");
    let removed = second.remove("dc1").await.unwrap();
    assert_eq!((removed.removed.len(), removed.unsaved), (1, None));
    assert_eq!(second.known(), ["force-up 10.0.0.1"]);
    assert!(second.told()[0].starts_with("dc1: taken back by ops2; was drained by ops since"), "{:?}", second.told());
    let error = second.remove("dc1").await.unwrap_err().to_string();
    assert_eq!(error, "nothing is set for \"dc1\"; set are: force-up 10.0.0.1");
    drop(second);
    assert_eq!(start(Some(dir.path()), None).known(), ["force-up 10.0.0.1"]);
}

#[tokio::test]
async fn what_ends_is_forgotten_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let kept = start(Some(dir.path()), None);
    let now = SystemTime::now();
    let (soon, later) = (now + Duration::from_millis(200), now + Duration::from_millis(400));
    kept.store.set(Override { from: soon, until: Some(later), ..order("drain dc1") }).await.unwrap();
    kept.store.set(order("drain dc2")).await.unwrap();
    assert!(kept.told()[0].starts_with("dc1: will be drained by ops since"), "{:?}", kept.told());
    kept.until(&["drain dc2"]).await;
    assert!(SystemTime::now() >= later);
    kept.until_told("is over").await;
    kept.store.set(order("drain dc3")).await.unwrap();
    let of_dc1: Vec<String> = kept.told().into_iter().filter(|told| told.starts_with("dc1: ")).collect();
    assert_eq!(of_dc1.len(), 3, "{of_dc1:#?}");
    assert!(of_dc1[1].starts_with("dc1: begins: drained by ops") && of_dc1[2].starts_with("dc1: is over; was drained"));
    let saved = fs::read_to_string(dir.path().join("overrides.json")).unwrap();
    assert!(!saved.contains("dc1") && saved.contains("dc2"), "{saved}");
    // It ended while nobody was there.
    kept.store
        .set(Override { until: Some(SystemTime::now() + Duration::from_millis(1)), ..order("drain dc4") })
        .await
        .unwrap();
    drop(kept);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(start(Some(dir.path()), None).known(), ["drain dc2", "drain dc3"]);
}

#[tokio::test]
async fn the_number_is_bounded() {
    let kept = start(None, None);
    for number in 0..MAX_OVERRIDES {
        kept.store.set(order(&format!("drain dc{number}"))).await.unwrap();
    }
    assert_eq!(kept.store.set(order("drain rack")).await, Err(Refused::Full));
    let replaced = kept.store.set(order("drain dc1")).await.unwrap();
    assert!(replaced.replaced.is_some(), "one in the place of another still fits");
    assert!(replaced.unsaved.unwrap().contains("state_dir is not set"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("state");
    fs::write(&blocked, "a file where the folder should be").unwrap();
    let kept = start(Some(&blocked), None);
    let set = kept.store.set(order("drain dc1")).await.unwrap();
    assert!(set.unsaved.unwrap().contains("cannot be written"));
    assert_eq!(kept.known(), ["drain dc1"], "it holds all the same");
    fs::remove_file(&blocked).unwrap();
    assert_eq!(kept.store.set(order("drain dc2")).await.unwrap().unsaved, None);
    assert!(fs::read_to_string(blocked.join("overrides.json")).unwrap().contains("dc1"));
}

#[tokio::test]
async fn the_file_is_followed_and_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.toml");
    let entry = |target: &str| format!("[[override]]\ntarget = \"{target}\"\naction = \"drain\"\n");
    let kept = start(Some(dir.path()), Some(&path));
    assert_eq!(kept.known(), [""; 0], "there is no file yet");
    kept.store.set(order("drain dc1")).await.unwrap();
    fs::write(&path, [entry("dc2"), entry("dc1")].concat()).unwrap();
    kept.until(&["drain dc1", "drain dc1", "drain dc2"]).await;

    // A mistake changes nothing.
    fs::write(&path, [entry("dc3"), entry("dc1/")].concat()).unwrap();
    kept.until_told("o.toml:5: override[2].target").await;
    assert_eq!(kept.known().len(), 3);
    let removed = kept.remove("dc1").await.unwrap();
    assert_eq!((removed.removed.len(), removed.stays.len()), (1, 1), "the file's stays");
    let refused = kept.remove("dc2").await.unwrap_err();
    assert!(refused.to_string().ends_with("o.toml: take it out there"), "{refused}");

    // What was there before is no newer for a new neighbour.
    let set_at = |target: &str| {
        let all = kept.store.current();
        all.iter().find(|known| known.target.to_string() == target).map(|known| known.set_at)
    };
    let before = set_at("dc2");
    fs::write(&path, [entry("dc4"), entry("dc2")].concat()).unwrap();
    kept.until(&["drain dc2", "drain dc4"]).await;
    assert_eq!(set_at("dc2"), before);
    assert!(set_at("dc4") > before);
    kept.until_told("dc1: no longer in").await;

    // A file that is replaced is missing for a moment; one that stays away says nothing.
    fs::remove_file(&path).unwrap();
    kept.until(&[]).await;
    let saved = fs::read_to_string(dir.path().join("overrides.json")).unwrap();
    assert!(!saved.contains("dc2"), "the file's are not saved: {saved}");
}

#[tokio::test]
async fn a_file_with_mistakes_is_none_at_the_start_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.toml");
    fs::write(&path, "[[override]]\n").unwrap();
    let kept = start(None, Some(&path));
    kept.until_told("starting without its overrides").await;
    fs::write(&path, "[[override]]\ntarget = \"dc1\"\naction = \"drain\"\n").unwrap();
    kept.until(&["drain dc1"]).await;
}

#[tokio::test]
async fn two_processes_beside_each_other_lose_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let old = start(Some(dir.path()), None);
    old.store.set(order("drain dc1")).await.unwrap();
    let new = start(Some(dir.path()), None);
    old.store.set(order("drain dc2")).await.unwrap();
    // What the other saved is there before anything is saved on top of it.
    new.store.set(order("drain dc3")).await.unwrap();
    assert_eq!(new.known(), ["drain dc1", "drain dc2", "drain dc3"]);
    old.until(&["drain dc1", "drain dc2", "drain dc3"]).await;
    assert!(old.told().last().unwrap().ends_with("; taken by another process"), "{:?}", old.told());
    new.remove("dc1").await.unwrap();
    old.until(&["drain dc2", "drain dc3"]).await;
    assert!(old.told().last().unwrap().starts_with("dc1: taken back in another process"), "{:?}", old.told());
    // A file that is lost takes nothing back.
    fs::remove_file(dir.path().join("overrides.json")).unwrap();
    old.store.set(order("drain dc4")).await.unwrap();
    assert_eq!(old.known(), ["drain dc2", "drain dc3", "drain dc4"]);
}
