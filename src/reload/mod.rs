//! Change without a pause: who asks for a reload, when files ask for it themselves, and what differs.
//!
//! ```text
//! SIGHUP ───────────────────────────────────┐
//! `reload` ──> admin side ──> Trigger ──────┼──> serve: load everything, judge it ──> App::reload: prepare, swap, close
//! files ──> Watch (every second) ──> Files ─┘                                └── a problem: nothing changes at all
//! ```
//!
//! | word | meaning |
//! |---|---|
//! | [`Trigger`], [`Requests`] | who asks for a reload and waits for what comes of it; who carries it out |
//! | [`Watch`] | files, and what each held when it was taken last |
//! | taken | read, or about to be: of what a file holds then nothing more is told |
//! | [`Files`] | the task that looks at a Watch every second |
//! | [`Applied`] | what a reload came to |
//! | in force | what the process does, as opposed to what its configuration says since: some of it takes a restart |

mod difference;
mod files;
mod trigger;
mod watch;

pub use difference::{Applied, in_force, of_server, of_zone};
pub use files::Files;
pub use trigger::{Outcome, Request, Requests, Trigger, requests};
pub use watch::{LOOK_EVERY, Watch};
