//! Files that say when they are other ones. Blocks; no clock and no runtime.
//!
//! A file is looked at about once a second ([`LOOK_EVERY`]). What is looked at is the file a path leads to, so that the
//! ways in which files are replaced are all seen: written in place, renamed over by an editor, and the swap of a folder
//! that is a symbolic link, by which Kubernetes replaces all files of a volume at once. What counts is the content: a
//! file that was touched, or replaced by an equal one, is no other file.

use std::{
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How often files are looked at: a change is taken after one to two of these, and a look costs a few system calls.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Octets of a file that are compared. No file that is read here is longer; one that is by mistake must not keep a core
/// busy.
const LARGEST: u64 = 64 << 20;

/// Octets read at once.
const CHUNK: usize = 64 << 10;

/// Looks for which files that have come to rest wait for others that are being written: whoever changes several files
/// does so within this time, and a file that is always being written holds nobody up for longer.
const WAIT_FOR_OTHERS: u32 = 10;

/// What tells that a path may lead to other content. A file that is written twice within a tick of the file system's
/// clock looks the same; since it has to rest for a look before it is read, it is read after the second time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    resolved: PathBuf,
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

/// One file.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// When its content was taken last; `None` where there was no file.
    stamp: Option<Stamp>,
    /// Of the content that was taken last.
    content: Option<u64>,
    /// Of the last look.
    seen: Option<Stamp>,
}

/// Files, and what each held when it was taken last.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<Watched>,
    /// Looks for which a change has waited for others.
    waited: u32,
}

impl Watch {
    /// Watches exactly these files from now on. What the new ones hold now is taken; of the others, what is not taken
    /// yet is still to come.
    pub fn follow(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut known = std::mem::take(&mut self.files);
        for path in paths {
            if self.files.iter().any(|file| file.path == path) {
                continue;
            }
            match known.iter().position(|file| file.path == path) {
                Some(at) => self.files.push(known.swap_remove(at)),
                None => self.files.push(Watched::take(path)),
            }
        }
    }

    /// Takes what all files hold now: whoever calls this reads them next.
    pub fn take(&mut self) {
        self.waited = 0;
        for file in &mut self.files {
            *file = Watched::take(std::mem::take(&mut file.path));
        }
    }

    /// Looks at all files once. Returns the paths of those that hold something else than what was taken and that were
    /// not changed since the last look, and takes what they hold.
    pub fn look(&mut self) -> Vec<PathBuf> {
        let (mut resting, mut busy) = (Vec::new(), false);
        for file in &mut self.files {
            let now = Stamp::of(&file.path);
            let rests = now == file.seen;
            file.seen = now;
            if file.seen == file.stamp {
                continue;
            }
            busy |= !rests;
            if rests {
                resting.push(file);
            }
        }
        // Those that are changed together are taken together: the state between is nobody's wish.
        if resting.is_empty() || (busy && self.waited < WAIT_FOR_OTHERS) {
            self.waited = if busy { self.waited + 1 } else { 0 };
            return Vec::new();
        }
        self.waited = 0;
        resting.into_iter().filter_map(Watched::retake).collect()
    }
}

impl Watched {
    fn take(path: PathBuf) -> Self {
        // Before the content: what changes in between is seen as a change.
        let stamp = Stamp::of(&path);
        Watched { content: content(&path), seen: stamp.clone(), stamp, path }
    }

    /// Takes what it holds now; its path where that is something else.
    fn retake(&mut self) -> Option<PathBuf> {
        let before = self.content;
        *self = Watched::take(std::mem::take(&mut self.path));
        (self.content != before).then(|| self.path.clone())
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let resolved = fs::canonicalize(path).ok()?;
        let of = fs::metadata(&resolved).ok()?;
        Some(Stamp { inode: inode(&of), modified: of.modified().ok(), length: of.len(), resolved })
    }
}

#[cfg(unix)]
fn inode(of: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(of)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// What stands for a file's content; `None` where it cannot be read.
fn content(path: &Path) -> Option<u64> {
    // To read from a pipe would take what is in it from whoever it is for, and wait for more.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?.take(LARGEST);
    let (mut hasher, mut chunk) = (DefaultHasher::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Some(hasher.finish()),
            Ok(read) => hasher.write(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Watches a file of a new folder.
    fn watched(text: &str) -> (tempfile::TempDir, PathBuf, Watch) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, text).unwrap();
        let mut watch = Watch::default();
        watch.follow([path.clone()]);
        (folder, path, watch)
    }

    #[test]
    fn a_change_is_taken_once_it_rests() {
        let (_folder, path, mut watch) = watched("one");
        assert!(watch.look().is_empty());
        fs::write(&path, "tw").unwrap();
        assert!(watch.look().is_empty(), "it may be half written");
        fs::write(&path, "two and").unwrap();
        assert!(watch.look().is_empty(), "it is being written");
        assert_eq!(watch.look(), [path]);
        assert!(watch.look().is_empty(), "it is told once");
    }

    #[test]
    fn a_file_that_was_touched_or_replaced_by_its_like_is_no_other() {
        let (folder, path, mut watch) = watched("one");
        let touched = File::options().append(true).open(&path).unwrap();
        touched.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        (0..3).for_each(|_| assert!(watch.look().is_empty()));
        let new = folder.path().join("new");
        fs::write(&new, "one").unwrap();
        fs::rename(&new, &path).unwrap();
        (0..3).for_each(|_| assert!(watch.look().is_empty()));
        // As editors do it: the same length, and a modification time that says nothing.
        fs::write(&new, "two").unwrap();
        File::options().append(true).open(&new).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(watch.look().is_empty());
        assert_eq!(watch.look(), [path]);
    }

    #[test]
    fn a_folder_swapped_by_its_link_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("..2026_1", "one"), ("..2026_2", "two"), ("..2026_3", "two")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("zone"), text).unwrap();
        }
        symlink("..2026_1", at("..data")).unwrap();
        symlink("..data/zone", at("zone")).unwrap();
        let mut watch = Watch::default();
        watch.follow([at("zone")]);
        let swap = |to: &str| {
            symlink(to, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            fs::remove_dir_all(at("..2026_1")).ok();
        };
        swap("..2026_2");
        assert!(watch.look().is_empty());
        assert_eq!(watch.look(), [at("zone")]);
        swap("..2026_3");
        (0..3).for_each(|_| assert!(watch.look().is_empty(), "the same text"));
    }

    #[test]
    fn files_that_come_and_go_are_told() {
        let (_folder, path, mut watch) = watched("one");
        fs::remove_file(&path).unwrap();
        let this = std::slice::from_ref(&path);
        assert!(watch.look().is_empty(), "an editor may be about to write it");
        assert_eq!(watch.look(), this);
        fs::write(&path, "one").unwrap();
        assert!(watch.look().is_empty());
        assert_eq!(watch.look(), this);
        // A pipe would never end.
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(watch.look().is_empty());
        assert_eq!(watch.look(), [path]);
        assert!(watch.look().is_empty());
    }

    #[test]
    fn files_changed_together_are_taken_together() {
        let (folder, first, mut watch) = watched("one");
        let second = folder.path().join("second");
        watch.follow([first.clone(), second.clone()]);
        fs::write(&first, "two").unwrap();
        assert!(watch.look().is_empty());
        fs::write(&second, "a").unwrap();
        assert!(watch.look().is_empty(), "the first rests, the second is being written");
        assert_eq!(watch.look(), [first.clone(), second.clone()]);
        // Nobody waits for a file that never rests.
        fs::write(&first, "three").unwrap();
        let mut looks = 0;
        let taken = loop {
            fs::write(&second, "b".repeat(looks)).unwrap();
            let taken = watch.look();
            if !taken.is_empty() {
                break taken;
            }
            looks += 1;
            assert!(looks < 100);
        };
        assert_eq!((taken, looks), (vec![first], WAIT_FOR_OTHERS as usize));
    }

    #[test]
    fn what_somebody_reads_anyway_is_not_told() {
        let (folder, first, mut watch) = watched("one");
        fs::write(&first, "two").unwrap();
        watch.take();
        (0..3).for_each(|_| assert!(watch.look().is_empty()));
        // Following others forgets no change that is under way.
        fs::write(&first, "three").unwrap();
        assert!(watch.look().is_empty());
        watch.follow([folder.path().join("new"), first.clone(), first.clone()]);
        assert_eq!(watch.look(), [first]);
        watch.follow([]);
        assert!(watch.look().is_empty());
    }
}
