//! Running under a supervisor, such as systemd: sockets it passes, what it is told of us, and whom we become.
//!
//! | word | meaning |
//! |---|---|
//! | [`Supervisor`] | who started us and wants to know how we are, by the protocol of sd_notify(3) |
//! | status | one line on what we do now, as `systemctl status` shows it |
//! | [`Pulse`] | a question to a task: do you still get on? |
//! | watchdog | the supervisor's clock that ends a service which does not say often enough that it lives |
//! | [`heartbeat`] | says so, and only as long as there is a pulse |
//! | [`Passed`] | a socket that was bound before we were started (sd_listen_fds(3)) |
//! | [`user`] | giving root up |

mod passed;
mod pulse;
mod supervisor;
pub mod user;

pub use passed::{Passed, passed};
pub use pulse::{Pulse, Pulsed, heartbeat};
pub use supervisor::{Supervisor, attend, status};
