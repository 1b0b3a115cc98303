//! The status page at `/`: static files that ask for everything else.
//!
//! A page that works without anything from outside, and without a build: the files are in the program as they are in
//! this folder. It reads `/status.json`, `/events.json` and `/events` like any other client; nothing of the server is
//! put into it but the version.
//!
//! | file | what it does |
//! |---|---|
//! | `index.html`, `page.css` | the places things go to, and what they look like |
//! | `page.js` | takes what the server sends, and has every part draw it |
//! | `feed.js` | where the data comes from, and how old it is |
//! | `history.js` | rates, from what counters did between two moments |
//! | `alerts.js`, `cluster.js`, `node.js`, `names.js`, `traffic.js`, `changes.js` | the parts |
//! | `demo.js` | the buttons of the demo ([`NodeSwitch`]) |
//! | `dom.js`, `words.js` | elements kept up to date; how values are said |
//!
//! What the server sends becomes text and nothing else: names of racks are free text of others. The browser is told to
//! hold this ([`POLICY`]).

mod demo;

use std::sync::Arc;

use axum::{
    Router,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};

pub use demo::{NodeSwitch, SwitchError};

const INDEX: &str = include_str!("index.html");

/// What the page loads, by path.
const FILES: [(&str, &str, &str); 14] = [
    ("/page/page.css", CSS, include_str!("page.css")),
    ("/page/icon.svg", SVG, include_str!("icon.svg")),
    ("/page/alerts.js", JS, include_str!("alerts.js")),
    ("/page/changes.js", JS, include_str!("changes.js")),
    ("/page/cluster.js", JS, include_str!("cluster.js")),
    ("/page/demo.js", JS, include_str!("demo.js")),
    ("/page/dom.js", JS, include_str!("dom.js")),
    ("/page/feed.js", JS, include_str!("feed.js")),
    ("/page/history.js", JS, include_str!("history.js")),
    ("/page/names.js", JS, include_str!("names.js")),
    ("/page/node.js", JS, include_str!("node.js")),
    ("/page/page.js", JS, include_str!("page.js")),
    ("/page/traffic.js", JS, include_str!("traffic.js")),
    ("/page/words.js", JS, include_str!("words.js")),
];

/// Beside what every reply says: text never becomes markup or code, whatever a script does by mistake.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; trusted-types 'none'; \
                      require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page, and with `demo` what its buttons ask for.
pub(super) fn routes(demo: Option<Arc<dyn NodeSwitch>>) -> Router {
    let index = INDEX
        .replace("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""))
        .replace("\"DEMO\"", if demo.is_some() { "\"true\"" } else { "\"false\"" });
    let index: Arc<str> = index.into();
    let page = move || async move { reply(HTML, String::from(&*index)) };
    let mut routes = Router::new().route("/", get(page));
    for (path, media_type, text) in FILES {
        routes = routes.route(path, get(move || async move { reply(media_type, text) }));
    }
    match demo {
        Some(switch) => routes.merge(demo::routes(switch)),
        None => routes,
    }
}

fn reply(media_type: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    ([(CONTENT_TYPE, media_type), (CONTENT_SECURITY_POLICY, POLICY)], body)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Every file of this folder that is no Rust is served, and whatever one of them names is there.
    #[test]
    fn every_file_is_served_and_every_name_leads_somewhere() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let there: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".rs") && name != "index.html")
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|(path, ..)| path["/page/".len()..].to_owned()).collect();
        assert_eq!(served, there);
        for (path, _, text) in FILES {
            for (_, rest) in text.match_indices("from \"./").map(|(at, found)| (at, &text[at + found.len()..])) {
                let name = rest.split('"').next().unwrap();
                assert!(served.contains(name), "{path} imports {name}");
            }
        }
        for name in INDEX.split("\"page/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(served.contains(name), "index.html names {name}");
        }
    }

    /// What a rack is called must never be taken for markup, and nothing may come from elsewhere.
    #[test]
    fn nothing_makes_markup_of_text_or_asks_elsewhere() {
        let forbidden =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=\"", "onclick="];
        for (path, _, text) in FILES.into_iter().chain([("/", HTML, INDEX)]) {
            for word in forbidden {
                assert!(!text.contains(word), "{path} has {word}");
            }
            // The one address is the name of a language.
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "").contains("://");
            assert!(!elsewhere, "{path} names an address");
        }
    }
}
