//! The inputs that fuzzing starts from, all made here: what a server meets, and what is known to be hard.
//!
//! Those in `seeds/` that fuzzing made, and that are in no list here, are called `found-...` where something was wrong,
//! and `reached-...` where they reach what no other one does.

mod config;
mod general;
mod localnodes;
mod packet;
mod tables;
mod zone;

/// An input of one target.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The target, which names the folder.
    pub target: &'static str,
    /// The file.
    pub name: String,
    /// What is in it.
    pub octets: Vec<u8>,
}

/// Every input made here.
pub fn all() -> Vec<Seed> {
    let of = |target: &'static str, inputs: Vec<(String, Vec<u8>)>| {
        inputs.into_iter().map(move |(name, octets)| Seed { target, name, octets })
    };
    of("zone", zone::all())
        .chain(of("localnodes", localnodes::all()))
        .chain(of("tables", tables::all()))
        .chain(of("config", config::all()))
        .chain(of("packet", packet::all()))
        .chain(of("general", general::all()))
        .collect()
}

/// Texts with their names, as inputs.
fn texts<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, Vec<u8>)> {
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect()
}
