//! The real program as a service.

mod notify;
mod passed;
mod user;

use std::{fs, process::Command};

use crate::support::PROGRAM;

/// A zone that needs no cluster.
const ZONE_FILE: &str = "\
$TTL 60
@      IN SOA ns1 hostmaster 1 3600 600 604800 5
@      IN NS  ns1
ns1    IN A   127.0.0.1
static IN A   192.0.2.1
";

/// A name of it.
const NAME: &str = "static.z.example";

/// A folder with a configuration that serves it; `server` is the text of its section.
fn configuration(server: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("z.zone"), ZONE_FILE).unwrap();
    let config = dir.path().join("alternator-dns.toml");
    fs::write(&config, format!("[server]\nworkers = 2\n{server}\n[zones.\"z.example\"]\nfile = \"z.zone\"\n")).unwrap();
    let config = config.to_str().unwrap().to_owned();
    (dir, config)
}

/// `serve` in a shell's place, which sets variables first that name the process itself (`$$`).
fn serve(variables: &str, config: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{variables} exec {PROGRAM} serve --config {config}")).env("NO_COLOR", "1");
    command
}
