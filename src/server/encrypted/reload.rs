//! A new certificate without a restart: both files are looked at every few seconds.

use std::{
    fs, io,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::mpsc::Sender as Report;

use super::certificate::{Certificate, CertificateError, Files};
use crate::{
    certificate::{is_over, not_after},
    server::listeners::{Guard, Stop},
};

/// How often the files are looked at. Certificates are renewed days before they end; this only has to be shorter than
/// whoever renews by hand waits before he wonders.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What tells that a file is another one, or was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

/// The stamps of certificate and key; `None` = not there.
type Stamps = [Option<Stamp>; 2];

/// The thread that looks at the files, where a slow file system keeps no query waiting. It ends with this value.
#[derive(Debug)]
pub(super) struct Follower {
    others: Sender<Watch>,
    stop: Stop,
}

impl Follower {
    /// Follows these files; an end that is not this value's is reported.
    pub(super) fn start(mut watch: Watch, report: &Report<String>) -> io::Result<Self> {
        let (send, others) = mpsc::channel();
        let (name, stop) = ("certificate".to_owned(), Stop::default());
        let guard = Guard { name: name.clone(), stop: stop.clone(), report: report.clone() };
        let follow = move || {
            let _guard = guard;
            loop {
                match others.recv_timeout(LOOK_EVERY) {
                    Ok(other) => watch = other,
                    Err(RecvTimeoutError::Timeout) => watch.look(SystemTime::now()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name(name).spawn(follow)?;
        Ok(Follower { others: send, stop })
    }

    /// Follows other files from now on.
    pub(super) fn follow(&self, watch: Watch) {
        // Fails only where the thread has ended, which its guard tells.
        let _ = self.others.send(watch);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// Follows the files of a certificate.
#[derive(Debug)]
pub(super) struct Watch {
    files: Files,
    certificate: Arc<Certificate>,
    /// Of what is presented.
    loaded: Stamps,
    /// Of what was seen last.
    seen: Stamps,
    /// What was said of files that cannot be used.
    complaint: Option<String>,
    /// Until when what is presented is valid.
    not_after: Option<String>,
    said_over: bool,
}

impl Watch {
    /// Loads the certificate for the first time.
    pub(super) fn begin(files: Files) -> Result<Self, CertificateError> {
        // Before the files are read: what changes meanwhile is read again.
        let loaded = stamps(&files);
        let certificate = Arc::new(Certificate::new(files.read()?));
        let not_after = certificate.own().and_then(|own| not_after(&own));
        Ok(Watch { files, certificate, loaded, seen: loaded, complaint: None, not_after, said_over: false })
    }

    /// The certificate that follows the files.
    pub(super) fn certificate(&self) -> Arc<Certificate> {
        self.certificate.clone()
    }

    /// Has what it loaded presented in the place of another.
    pub(super) fn present_as(&mut self, certificate: &Arc<Certificate>) {
        if certificate.own() != self.certificate.own() {
            self.tell_new();
        }
        certificate.replace_by(&self.certificate);
        self.certificate = certificate.clone();
    }

    /// Until when the certificate is valid, for people.
    pub(super) fn until(&self) -> &str {
        self.not_after.as_deref().unwrap_or("unknown")
    }

    /// Looks at the files once, and loads them where they changed and are not being written any more. Blocks.
    pub(super) fn look(&mut self, now: SystemTime) {
        let current = stamps(&self.files);
        let settled = current == self.seen;
        self.seen = current;
        if current == self.loaded {
            self.complaint = None;
        } else if settled {
            // One of the two is written after the other, so a pair is only judged once it has rested for a while.
            self.load(current);
        }
        self.warn(now);
    }

    /// Says once that the certificate has expired.
    pub(super) fn warn(&mut self, now: SystemTime) {
        if !self.said_over && self.is_over(now) {
            self.said_over = true;
            tracing::warn!(certificate = %self.files.certificate.display(), not_after = self.until(),
                "the certificate has expired: clients that check it do not connect");
        }
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.not_after.as_deref().is_some_and(|end| is_over(end, now))
    }

    /// What makes clients refuse a certificate that can be used.
    pub(super) fn doubt(&self, now: SystemTime) -> Option<String> {
        let path = self.files.certificate.display();
        let until = self.until();
        self.is_over(now)
            .then(|| format!("the certificate in {path} has expired at {until}: clients that check it do not connect"))
    }

    fn tell_new(&self) {
        let (certificate, not_after) = (self.files.certificate.display(), self.until());
        tracing::info!(%certificate, not_after, "a new certificate is presented");
    }

    fn load(&mut self, current: Stamps) {
        match self.files.read() {
            Ok(certified) => {
                self.not_after = certified.cert.first().and_then(|own| not_after(own));
                self.certificate.replace(certified);
                (self.loaded, self.complaint, self.said_over) = (current, None, false);
                self.tell_new();
            }
            // Tried again at each look, since what is wrong may be mended without changing the files; said once.
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!(%error, "the new certificate cannot be used: the old one is presented");
                    self.complaint = Some(complaint);
                }
            }
        }
    }
}

fn stamps(files: &Files) -> Stamps {
    [&files.certificate, &files.key].map(|path| {
        let of = fs::metadata(path).ok()?;
        Some(Stamp { modified: of.modified().ok(), len: of.len(), inode: inode(&of) })
    })
}

#[cfg(unix)]
fn inode(of: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(of)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write_pair(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn watch(folder: &Path) -> Watch {
        Watch::begin(Files { certificate: folder.join("chain.pem"), key: folder.join("key.pem") }).unwrap()
    }

    #[test]
    fn a_new_pair_is_taken_once_it_rests() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        write_pair(folder.path(), "old.test");
        let mut watch = watch(folder.path());
        let certificate = watch.certificate();
        let old = certificate.own();
        watch.look(now);
        assert_eq!(certificate.own(), old);
        write_pair(folder.path(), "a-new-one.test");
        watch.look(now);
        assert_eq!(certificate.own(), old, "it may be half written");
        watch.look(now);
        assert_ne!(certificate.own(), old);
        assert_eq!(watch.until(), "4096-01-01T00:00:00Z");
    }

    #[test]
    fn a_bad_one_keeps_the_old_until_it_is_mended() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        write_pair(folder.path(), "old.test");
        let mut watch = watch(folder.path());
        let certificate = watch.certificate();
        let old = certificate.own();
        let key = fs::read(folder.path().join("key.pem")).unwrap();
        for bad in [&b""[..], &key[..key.len() / 2]] {
            fs::write(folder.path().join("key.pem"), bad).unwrap();
            (0..3).for_each(|_| watch.look(now));
            assert_eq!(certificate.own(), old);
            assert!(watch.complaint.is_some());
        }
        fs::remove_file(folder.path().join("key.pem")).unwrap();
        (0..2).for_each(|_| watch.look(now));
        assert!(watch.complaint.as_ref().unwrap().starts_with("cannot read"));
        write_pair(folder.path(), "mended.test");
        (0..2).for_each(|_| watch.look(now));
        assert_ne!(certificate.own(), old);
        assert_eq!(watch.complaint, None);
    }

    #[test]
    fn the_end_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path(), "old.test");
        let mut watch = watch(folder.path());
        watch.not_after = Some("2026-01-01T00:00:00Z".to_owned());
        watch.look(SystemTime::UNIX_EPOCH);
        assert!(!watch.said_over);
        watch.look(SystemTime::now());
        assert!(watch.said_over);
    }
}
