//! Names: zone files, static records, label slugs.

pub mod file;
