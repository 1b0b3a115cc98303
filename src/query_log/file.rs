//! The file of lines.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::libc::O_NONBLOCK;

use super::outbox::Outbox;

/// Owner reads and writes, the group reads: lines tell who asks for what.
const MODE: u32 = 0o640;

/// Pause after the file could not be opened or written.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The file, opened when there is something to write.
pub(super) struct FileOutput {
    path: PathBuf,
    file: Option<File>,
    outbox: Outbox,
    try_at: Instant,
    is_failing: bool,
    /// The last line in the file has no end.
    is_cut: bool,
}

impl FileOutput {
    pub(super) fn new(path: PathBuf) -> Self {
        let (file, outbox, try_at) = (None, Outbox::default(), Instant::now());
        FileOutput { path, file, outbox, try_at, is_failing: false, is_cut: false }
    }

    /// Takes a line, its end included; whether there was room.
    pub(super) fn push(&mut self, line: &[u8]) -> bool {
        self.outbox.push(line)
    }

    /// Opens the file anew with the next line.
    pub(super) fn reopen(&mut self) {
        (self.file, self.try_at, self.is_cut) = (None, Instant::now(), false);
    }

    /// Writes what it can without waiting: lines written, and lines dropped.
    pub(super) fn flush(&mut self) -> (u64, u64) {
        if self.outbox.is_empty() || (self.file.is_none() && Instant::now() < self.try_at) {
            return (0, 0);
        }
        match self.write() {
            Ok(written) => {
                if written > 0 && std::mem::take(&mut self.is_failing) {
                    tracing::info!(file = %self.path.display(), "the query log can be written again");
                }
                (written, 0)
            }
            Err((written, error)) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let file = self.path.display();
                    tracing::warn!(%file, %error, "cannot write the query log: its lines are dropped until it can be");
                }
                let (dropped, is_cut) = self.outbox.clear();
                self.is_cut |= is_cut;
                (self.file, self.try_at) = (None, Instant::now() + TRY_AGAIN);
                (written, dropped)
            }
        }
    }

    fn write(&mut self) -> Result<u64, (u64, io::Error)> {
        if self.file.is_none() {
            self.file = Some(self.open().map_err(|error| (0, error))?);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        if self.is_cut {
            io::Write::write_all(file, b"\n").map_err(|error| (0, error))?;
            self.is_cut = false;
        }
        let (written, result) = self.outbox.write_to(file);
        result.map_or_else(|error| Err((written, error)), |()| Ok(written))
    }

    /// Never waits for a reader, where the file is a pipe.
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(O_NONBLOCK).open(&self.path)
    }
}
