//! What every test needs: a server over a simulated cluster, and a way to ask it.

mod dig;
pub mod packet;
mod server;
mod wait;

pub use dig::{Dig, Reply, framed, read_frame};
pub use server::{TestServer, ZONE, asked, cluster, fast, ip, set, steady};
pub use wait::{PATIENCE, eventually, within};
