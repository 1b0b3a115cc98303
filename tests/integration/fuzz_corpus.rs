//! Every input that fuzzing starts from, and every one it found, through the same checks as there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use alternator_dns::server::Outcome;
use fuzz::{config, general, localnodes, packet, seeds, tables, zone};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// What became of every input of a target.
fn replay<B: Ord + std::fmt::Debug>(target: &str, check: impl Fn(&[u8]) -> B) -> BTreeSet<B> {
    let files = fs::read_dir(folder().join(target)).unwrap().map(|entry| entry.unwrap().path());
    let became = files.map(|file| {
        // Told when the test fails, as the last line.
        println!("{}", file.display());
        check(&fs::read(&file).unwrap())
    });
    became.collect()
}

#[test]
fn packets() {
    assert_eq!(replay("packet", packet::check), BTreeSet::from(Outcome::ALL));
}

#[test]
fn questions_for_the_general_path() {
    use Outcome::{Answered, Denied, Dropped, FormErr, NoData, NotImp, NxDomain, Refused, ServFail, Truncated};
    let expected = [Answered, Denied, Dropped, FormErr, NoData, NotImp, NxDomain, Refused, ServFail, Truncated];
    assert_eq!(replay("general", general::check), BTreeSet::from(expected));
}

#[test]
fn zone_files() {
    use zone::Became::{Empty, Loaded, NoText, Refused};
    let example = include_str!("../../zones/alternator.local.zone");
    assert_eq!(zone::check(example.as_bytes()), Loaded);
    assert_eq!(replay("zone", zone::check), BTreeSet::from([NoText, Refused, Empty, Loaded]));
}

#[test]
fn lists_of_nodes() {
    use localnodes::Became::{Clean, Empty, NoList, Skipping, TooLong};
    assert_eq!(replay("localnodes", localnodes::check), BTreeSet::from([NoList, TooLong, Skipping, Clean, Empty]));
}

#[test]
fn system_tables() {
    use tables::Became::{Clean, Leaving, Nobody, Routed, Skipping, Unlisted, Unreadable};
    let expected = [Unreadable, Nobody, Skipping, Leaving, Unlisted, Routed, Clean];
    assert_eq!(replay("tables", tables::check), BTreeSet::from(expected));
}

#[test]
fn configuration_files() {
    use config::Became::{Loaded, NoToml, Refused, Zoneless};
    for example in [include_str!("../../zones/alternator-dns.toml"), include_str!("../../docker/alternator-dns.toml")] {
        assert_eq!(config::check(example.as_bytes()), Loaded);
    }
    assert_eq!(config::check(alternator_dns::config::reference().as_bytes()), Zoneless);
    assert_eq!(replay("config", config::check), BTreeSet::from([NoToml, Refused, Zoneless, Loaded]));
}

/// The files are what the program says they are, so that nobody edits one, or forgets to write one.
#[test]
fn the_seeds_are_written() {
    for seed in seeds::all() {
        let path = folder().join(seed.target).join(&seed.name);
        let written = fs::read(&path).unwrap_or_default();
        let cure = "cargo test --test integration -- --ignored write_the_seeds";
        assert!(path.exists() && written == seed.octets, "{}: {cure}", path.display());
    }
}

#[test]
#[ignore = "writes fuzz/seeds"]
fn write_the_seeds() {
    for seed in seeds::all() {
        let folder = folder().join(seed.target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&seed.name), &seed.octets).unwrap();
    }
}
