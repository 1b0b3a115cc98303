//! What every test needs: a server over a simulated cluster, and a way to ask it.

mod authority;
mod ceaseless;
mod dig;
mod http;
mod load;
pub mod packet;
mod program;
mod server;
mod wait;

pub use authority::Authority;
pub use ceaseless::Ceaseless;
pub use dig::{Dig, Reply, framed, read_frame};
pub use http::Http;
pub use load::{Load, Sample};
pub use program::{ADMIN_LISTEN, PROGRAM, Program, address_in, collect};
pub use server::{TestServer, ZONE, asked, cluster, fast, free_port, ip, remembering, set, steady};
pub use wait::{PATIENCE, eventually, within, within_own_time};
