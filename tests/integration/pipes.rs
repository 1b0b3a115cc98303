//! What the program prints for people, and a reader that has seen enough of it.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/alternator-dns.toml");
    let check = ["check", "--config", example.to_str().unwrap()];
    for arguments in [&["config"][..], &check] {
        // As in `alternator-dns config | head -1`, but sure to be gone before the first line.
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_alternator-dns"));
        let output = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !error.contains("panicked"), "{arguments:?}: {}\n{error}", output.status);
    }
}
