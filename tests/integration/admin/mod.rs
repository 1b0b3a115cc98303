//! The HTTP side, asked as Prometheus, a browser, a supervisor and an attacker ask.

mod bounds;
mod command;
mod events;
mod guard;
mod metrics;
mod status;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use alternator_dns::{
    admin::{self, Hands, Reload},
    config::{AdminConfig, ZoneConfig},
    sim::Cluster,
};
use async_trait::async_trait;
use axum::{Router, body::Bytes, routing::post};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Http, TestServer};

/// A server over a cluster, and its HTTP side on a free port.
async fn serve(cluster: &Cluster, change: impl FnOnce(&mut ZoneConfig)) -> (TestServer, Http) {
    let mut config = TestServer::config(&TestServer::zone(cluster, change));
    config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let server = TestServer::start(config).await;
    let http = Http::to(server.app.admin()[0]);
    (server, http)
}

/// A server without a cluster, with an HTTP side of its own: its reloads are counted, and told to stop it ends.
struct Site {
    server: TestServer,
    address: SocketAddr,
    reloads: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Counted(Arc<AtomicUsize>);

#[async_trait]
impl Reload for Counted {
    async fn reload(&self) -> Result<String, String> {
        match self.0.fetch_add(1, Relaxed) {
            0 => Ok("nothing changed".to_owned()),
            _ => Err("a.toml:1: no".to_owned()),
        }
    }
}

impl Site {
    async fn start(change: impl FnOnce(&mut AdminConfig)) -> Self {
        let server = TestServer::of_file("@ 60 A 192.0.2.1\n", |_| {}).await;
        let mut config =
            AdminConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], is_default: false, token_file: None };
        change(&mut config);
        let bound = admin::bind(&config).unwrap();
        let (address, stop, reloads) = (bound.addresses()[0], CancellationToken::new(), Arc::default());
        // As others add theirs.
        let routes = Router::new().route("/len", post(async |body: Bytes| body.len().to_string()));
        let hands = Hands { reload: Some(Arc::new(Counted(Arc::clone(&reloads)))), routes, ..Hands::default() };
        let task = tokio::spawn(bound.serve(server.app.sight().clone(), hands, stop.clone()));
        Site { server, address, reloads, stop, task }
    }

    fn http(&self) -> Http {
        Http::to(self.address)
    }

    fn reloads(&self) -> usize {
        self.reloads.load(Relaxed)
    }
}
