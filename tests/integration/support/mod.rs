//! What every test needs: a server over a simulated cluster, and a way to ask it.

mod dig;
mod server;
mod wait;

pub use dig::{Dig, Reply};
pub use server::{TestServer, cluster, fast};
pub use wait::{PATIENCE, eventually, within};
