//! The operators' side: what a running server lets itself be asked, over HTTP.
//!
//! | word | meaning |
//! |---|---|
//! | [`Sight`] | everything the HTTP side may look at; it reads, and changes nothing |
//! | [`Reloads`] | what became of reloads |

mod sight;

pub use sight::{Reloads, Sight, ZoneSight};
