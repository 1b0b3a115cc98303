//! Steering by hand, from outside: set over HTTP, by command or by file; seen in answers, in the journal and in the log.

mod command;
mod departures;
mod force;
mod life;

use std::net::SocketAddr;

use alternator_dns::config::Config;
use serde_json::{Value, json};

use crate::support::TestServer;

/// A server, and the HTTP side through which it is steered.
struct Steered {
    server: TestServer,
    http: reqwest::Client,
    admin: SocketAddr,
}

impl Steered {
    async fn start(mut config: Config) -> Self {
        config.server.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server = TestServer::start(config).await;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Steered { admin: server.app.admin()[0], http, server }
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method, format!("http://{}{path}", self.admin));
        let request = request.header("content-type", "application/json");
        let request = body.into_iter().fold(request, |request, body| request.body(body.to_string()));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, reply) = self.ask(reqwest::Method::GET, path, None).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    async fn post(&self, body: Value) -> (u16, Value) {
        self.ask(reqwest::Method::POST, "/overrides", Some(body)).await
    }

    async fn delete(&self, query: &str) -> (u16, Value) {
        self.ask(reqwest::Method::DELETE, &format!("/overrides?{query}"), None).await
    }

    /// `drain TARGET` or `force-up TARGET`, for the reason "why". Returns the reply.
    async fn set(&self, text: &str) -> Value {
        let (action, target) = text.split_once(' ').unwrap();
        let order = json!({ "target": target, "action": action, "reason": "why", "by": "ops" });
        let (status, reply) = self.post(order).await;
        assert_eq!(status, 200, "{text}: {reply}");
        reply
    }

    /// Takes back whatever is set for a target.
    async fn unset(&self, target: &str) {
        let encoded = target.replace('/', "%2F").replace('*', "%2A");
        let (status, reply) = self.delete(&format!("target={encoded}&by=ops2")).await;
        assert_eq!(status, 200, "{target}: {reply}");
    }

    /// The journal's texts about a target, the oldest first.
    fn told(&self, subject: &str) -> Vec<String> {
        let changes = self.server.app.sight().journal.since(0);
        let about = changes.into_iter().filter(|change| change.kind == "override" && change.subject == subject);
        about.map(|change| change.text).collect()
    }
}
