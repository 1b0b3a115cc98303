//! Certificates and their keys in PEM files: our own, which DNS clients see, and what nodes are verified by.
//!
//! | word | meaning |
//! |---|---|
//! | chain | a certificate and its issuers, the one that is presented first |
//! | validity | from when until when a certificate may be believed (RFC 5280 section 4.1.2.5) |
//!
//! Files are read with a bound, and what is wrong with one is said by its name.

mod file;
mod validity;

pub use file::{FileError, read_bounded, read_chain, read_pair};
pub use validity::{Validity, is_over, not_after, validity};
