//! How the answer to one question of one client comes about, step by step, and what the answer is.
//!
//! Nothing here decides anything: a name is found by [`Table::find`], its scope is told by the plan, rows and shapes by
//! the deck, and the answer is what a `Responder` of its own says to the client's query, access rules included. So
//! what is printed is what a query would get, and asking moves nobody's cursor.
//!
//! | word | meaning |
//! |---|---|
//! | [`Question`] | a name, a type, and who asks |
//! | [`Explanation`] | everything, for programs as JSON, for people as text (`text`) |
//! | [`NameStory`] | where one name is and what it has; the name asked for, then the targets of its aliases |
//! | [`DealStory`] | the deck an answer is dealt from: its shape for this client, and the rows that come next |
//! | [`ReplyStory`] | what the query got |
//!
//! [`routes()`] is the same over HTTP.

mod name;
mod reply;
mod routes;
mod text;

use std::{net::IpAddr, sync::Arc};

use hickory_proto::rr::{Name, RecordType};
use serde::Serialize;

use crate::{
    config::ServerConfig,
    model::{Prefix, Verdict},
    server::Settings,
    table::Table,
};

pub use name::{DealStory, NameStory};
pub use reply::ReplyStory;
pub(crate) use reply::rcode;
pub use routes::{Explainer, routes};

/// Names told of: the one asked for and as many targets of aliases as a query would follow.
const NAMES_TOLD: usize = 9;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, fully qualified.
    pub name: Name,
    /// The type.
    pub rtype: RecordType,
    /// Who asks.
    pub client: IpAddr,
}

/// How an answer comes about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub question: Asked,
    /// Who may ask, at the listener.
    pub access: &'static str,
    /// What limits the rate of replies to this client, if anything does.
    pub rate_limit: Option<String>,
    /// The name, then the targets of its aliases.
    pub names: Vec<NameStory>,
    /// What a query would get.
    pub reply: ReplyStory,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Who asks.
    pub client: IpAddr,
}

/// Explains what a table answers. The client asks over UDP at the first plain listener of its own address family, else
/// at the first; `seed` decides which row comes next.
pub fn explain(table: &Table, server: &ServerConfig, question: &Question, seed: u64) -> Explanation {
    let client = question.client.to_canonical();
    let own_family = server.listen.iter().find(|listen| listen.is_ipv4() == client.is_ipv4());
    let listener = own_family.or(server.listen.first()).copied().unwrap_or(([127, 0, 0, 1], 0).into());
    let settings = Arc::new(Settings::new(server, listener, None, &[], &[]));
    let question = Question { client, ..question.clone() };
    Explanation {
        question: Asked { name: question.name.to_string(), rtype: question.rtype.to_string(), client },
        access: permission(settings.access.verdict(client)),
        rate_limit: rate_limit(&settings, client),
        names: names(table, &question, seed),
        reply: reply::ask(table, &settings, &question, seed),
    }
}

/// The name and the targets of its aliases, as far as they are ours.
fn names(table: &Table, question: &Question, seed: u64) -> Vec<NameStory> {
    let mut stories: Vec<NameStory> = Vec::new();
    let mut next = Some(question.name.clone());
    while let Some(name) = next.filter(|_| stories.len() < NAMES_TOLD) {
        let text = name.to_string();
        // A loop is told once around, as it is answered.
        if stories.iter().any(|story| story.name == text) {
            break;
        }
        let (story, target) = name::story(table, name, question, seed);
        stories.push(story);
        next = target;
    }
    stories
}

fn permission(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::Refuse => "refused",
        Verdict::Drop => "dropped",
    }
}

/// What limits the rate of UDP replies to a client. Whether it is limited just now only the worker knows that it asks.
fn rate_limit(settings: &Settings, client: IpAddr) -> Option<String> {
    let limit = &settings.rate_limit;
    if limit.responses_per_second == 0 {
        return None;
    }
    if limit.exempt.contains(client) {
        return Some(format!("{client} is exempt"));
    }
    let bits = if client.is_ipv4() { limit.prefix_v4 } else { limit.prefix_v6 };
    let prefix = Prefix::around(client, bits);
    let dry = if limit.dry_run { ", counted only" } else { "" };
    Some(format!("{} replies of a kind per second to {prefix} over UDP{dry}", limit.responses_per_second))
}
