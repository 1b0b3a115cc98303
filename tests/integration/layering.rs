//! The shape of the source: who may know whom, and how long things may get.
//!
//! Reads `src` itself: every `crate::` and `super::` path, and the names of other crates. What is compiled for tests
//! only is left out, and so are comments and texts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Every module, from the bottom up, and the modules it may know: only ones above it here. `*` knows all.
const LAYERS: &[(&str, &str)] = &[
    ("model", ""),                                                 // plain values
    ("config", "model"),                                           // what operators wrote
    ("zone", "config"),                                            // zone files, labels
    ("plan", "config model"),                                      // who is answered, and in which order
    ("table", "config model plan zone"),                           // everything all zones can answer, compiled
    ("certificate", ""),                                           // certificates and keys in PEM files
    ("http", "certificate config model"),                          // one request to one node
    ("journal", "model"),                                          // the last changes
    ("discovery", "config http journal model"),                    // which nodes there are
    ("health", "config http journal model"),                       // which of them serve
    ("server", "certificate config model table"), // packets in, replies out; knows nothing of where the Table comes from
    ("http_error", ""),                           // a request over HTTP that is not done
    ("explain", "config http_error model plan server table zone"), // how an answer comes about: asks as a query does
    ("handover", "config model server"), // what goes from one process to the next; knows nothing of who takes it
    ("state", "config model"),           // the last topology on disk
    ("reload", "config"),                // who asks for a reload, files, what differs
    // Steering by hand: what operators forced, and whether they have it.
    ("overrides", "config http_error journal model plan reload state table"),
    ("sim", ""),                            // a simulated cluster: must not share the server's mistakes
    ("telemetry", "config"),                // logs, in the format that is configured
    ("query_log", "config server"),         // copies of queries and replies, to a file or a reader
    ("service", "config model plan table"), // the supervisor that started us; giving root up
    ("controller", "*"),                    // compiles what discovery and health find
    ("admin", "*"),                         // what operators see
    ("app", "*"),                           // assembles everything
    ("cli", "*"),                           // commands
    ("main", "*"),
    ("lib", "*"),
];

/// Crates that these places only may use, so that they can be replaced, and their quirks stay there.
const ONLY_IN: &[(&str, &str)] = &[
    ("reqwest", "http/ cli/client.rs"), // towards the nodes, and towards another server of this program
    ("aws_sigv4", "discovery/tables/request.rs"), // signatures of requests to nodes
    ("aws_credential_types", "discovery/tables/request.rs"),
    ("axum", "http_error.rs admin/ explain/routes.rs overrides/api.rs"),
    ("prometheus_client", "admin/metrics/"),
    ("figment", "config/load.rs"),
    ("toml", "config/ overrides/file.rs"),
    ("hickory_server", "server/general.rs"),
    ("mio", "server/tcp/"),
    // System calls, pinning, errors by their names; users.
    ("nix", "server/udp/ server/affinity.rs server/tcp/ service/ query_log/file.rs"),
    ("sd_notify", "service/"),
    ("listenfd", "service/passed.rs"),
    ("caps", "service/user.rs server/privileges.rs"),
    ("quinn", "server/encrypted/quic.rs"),
    ("rustls", "server/encrypted/ certificate/ http/ sim/tls.rs"),
    ("rustls_native_certs", "http/identity.rs"),
    ("tokio_rustls", "server/encrypted/ sim/tls.rs"),
    ("base64", "server/encrypted/query_text.rs admin/token.rs"), // queries in URLs, passwords of browsers
    ("bytes", "server/encrypted/body.rs"),
    ("clap", "cli/"),
    ("wildmatch", "model/target.rs"),
    ("rustix", "cli/ server/udp/ handover/"),
    ("tracing_subscriber", "telemetry.rs"),
    // In http/ for its error, which tells a closed connection from other failures.
    ("hyper", "http/failure.rs sim/ server/encrypted/ admin/listen.rs"),
    ("hyper_util", "sim/ server/encrypted/https.rs admin/listen.rs"), // bounds of connections that axum's own loop lacks
    // Signatures are made with aws-sigv4 and checked by hand, so that a mistake cannot be in both.
    ("hmac", "sim/auth.rs"),
    ("sha2", "sim/auth.rs"),
    ("http_body_util", "sim/ server/encrypted/https.rs"),
];

/// Modules that compute and nothing else: the same input gives the same output, at any time, on any machine.
const PURE: &[&str] = &["model", "plan", "table", "zone", "config"];

/// What they do not use. `fastrand::` here is its global generator; one that is passed in is a value like any other.
const IMPURE: &[&str] = &[
    "tokio::",
    "tokio_util::",
    "futures_util::",
    "reqwest::",
    "hyper::",
    "socket2::",
    "tracing::",
    "thread::",
    "Instant::now",
    "SystemTime::now",
    "fastrand::",
    "TcpStream::",
    "TcpListener::",
    "UdpSocket::",
];

/// Pure modules that read what operators wrote: the only ones that may open files or read variables.
const READERS: &[&str] = &["config", "zone"];

/// Lines a source file may have without its tests; above it has more than one subject.
const LONGEST_FILE: usize = 450;

/// Lines a function may have; above nobody reads it in one go.
const LONGEST_FUNCTION: usize = 70;

/// A source file without comments, texts and tests.
struct Source {
    /// Below `src`.
    path: PathBuf,
    code: String,
    tokens: Vec<String>,
}

impl Source {
    /// The first part of its path: `model`, `app`, ...
    fn module(&self) -> String {
        let first = self.path.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// How many `super::` lead from this file to the crate's root.
    fn depth(&self) -> usize {
        let names = self.path.with_extension("");
        let own = names.file_name().is_none_or(|name| name != "mod");
        names.components().count() - usize::from(!own)
    }

    /// Modules of this crate that it names.
    fn known(&self) -> Vec<String> {
        let mut known = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let mut next = at;
            let mut supers = 0;
            while self.is(next, "super") && self.is(next + 1, "::") {
                (supers, next) = (supers + 1, next + 2);
            }
            if self.is(at, "crate") && self.is(at + 1, "::") {
                known.extend(self.firsts(at + 2));
            } else if supers > 0 && supers == self.depth() {
                known.extend(self.firsts(next));
            }
            at = next.max(at + 1);
        }
        known.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        known
    }

    /// The first names of a path: one, or those of a group.
    fn firsts(&self, at: usize) -> Vec<String> {
        if !self.is(at, "{") {
            return self.tokens.get(at).cloned().into_iter().collect();
        }
        let (mut firsts, mut depth) = (Vec::new(), 0);
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            match token.as_str() {
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                _ if depth == 1 && (self.is(index - 1, "{") || self.is(index - 1, ",")) => firsts.push(token.clone()),
                _ => {}
            }
        }
        firsts
    }

    /// Whether it uses a crate, or a path such as `Instant::now`.
    fn uses(&self, what: &str) -> bool {
        let (name, rest) = what.split_once("::").unwrap_or((what, ""));
        (0..self.tokens.len()).any(|at| {
            let starts = self.is(at, name) && self.is(at + 1, "::") && !(at > 0 && self.is(at - 1, "::"));
            // Of fastrand only the functions are global; `fastrand::Rng` is a type.
            let is_type = |at: usize| self.tokens.get(at).is_some_and(|name| name.starts_with(char::is_uppercase));
            let global = name != "fastrand" || !is_type(at + 2);
            starts && global && (rest.is_empty() || self.is(at + 2, rest))
        })
    }

    fn is(&self, at: usize, token: &str) -> bool {
        self.tokens.get(at).is_some_and(|own| own == token)
    }
}

/// Every source file that is compiled outside tests, read once.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let code = without_comments_and_texts(&fs::read_to_string(&path).unwrap());
                files.insert(path.strip_prefix(&root).unwrap().to_owned(), code);
            }
        }
    }
    let mut for_tests = Vec::new();
    for (path, code) in &mut files {
        let own = path.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib" || stem == "main");
        let folder = if own { path.parent().unwrap().to_owned() } else { path.with_extension("") };
        for module in take_tests(code) {
            for_tests.push(folder.join(module));
        }
    }
    let for_tests_only = |path: &Path| {
        // Those under a `#[path]`, which is a text and blanked by now, are known by their names.
        let is_named_so = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        is_named_so || for_tests.iter().any(|module| path.starts_with(module) || path.with_extension("") == *module)
    };
    let files = files.into_iter().filter(|(path, _)| !for_tests_only(path));
    files.map(|(path, code)| Source { tokens: tokens(&code), path, code }).collect()
}

/// The text with comments and the insides of literals blanked; lines stay where they are.
fn without_comments_and_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    let begins = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    while at < chars.len() {
        let raw = if begins(at, "r") { chars[at + 1..].iter().take_while(|c| **c == '#').count() } else { 0 };
        let is_name = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b';
        let end = if begins(at, "//") {
            at + chars[at..].iter().take_while(|c| **c != '\n').count()
        } else if begins(at, "/*") {
            (at..chars.len()).find(|at| begins(*at, "*/")).map_or(chars.len(), |end| end + 2)
        } else if begins(at, "r") && !is_name && begins(at + 1 + raw, "\"") {
            let close = format!("\"{}", "#".repeat(raw));
            (at + 2 + raw..chars.len()).find(|at| begins(*at, &close)).unwrap() + close.len()
        } else if begins(at, "\"") {
            let mut end = at + 1;
            while chars[end] != '"' {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            end + 1
        } else if begins(at, "'\\") {
            at + 3 + chars[at + 3..].iter().take_while(|c| **c != '\'').count() + 1
        } else if begins(at, "'") && chars.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            at
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Blanks every item under `#[cfg(test)]`, and names the modules among them that are files of their own.
fn take_tests(code: &mut String) -> Vec<String> {
    let mut modules = Vec::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let item = &code[start..];
        let semicolon = item.find(';').unwrap_or(item.len());
        let end = match item.find('{') {
            Some(brace) if brace < semicolon => start + brace + block_len(&item[brace..]),
            _ => {
                let words = item[..semicolon].split_whitespace().rev().take(2).collect::<Vec<_>>();
                if let [name, "mod"] = words[..] {
                    modules.push(name.to_owned());
                }
                start + semicolon
            }
        };
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    modules
}

/// Octets of a block that begins with its brace.
fn block_len(code: &str) -> usize {
    let mut depth = 0;
    let end = code.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    });
    end.map_or(code.len(), |(at, _)| at + 1)
}

/// Names, `::` and single marks.
fn tokens(code: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), code);
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(rest[..len].to_owned());
        }
        rest = &rest[len..];
    }
    tokens
}

#[test]
fn modules_know_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module {module} is missing in LAYERS", source.path.display()));
            continue;
        };
        for known in source.known() {
            let is_module = LAYERS.iter().any(|(name, _)| *name == known);
            if is_module && known != module && *allowed != "*" && !allowed.split(' ').any(|name| name == known) {
                wrong.push(format!("{}: {module} must not know {known}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_layers_are_a_downward_order() {
    for (index, (module, allowed)) in LAYERS.iter().enumerate() {
        for known in allowed.split(' ').filter(|known| !known.is_empty() && *known != "*") {
            assert!(
                LAYERS[..index].iter().any(|(name, _)| *name == known),
                "{module} knows {known}, which is not below it"
            );
        }
    }
    let sources = sources();
    for (module, _) in LAYERS {
        assert!(sources.iter().any(|source| source.module() == *module), "{module} is in LAYERS, but not in src");
    }
}

#[test]
fn some_crates_have_one_place() {
    let sources = sources();
    for (crate_name, place) in ONLY_IN {
        let users: Vec<String> = sources
            .iter()
            .filter(|source| source.uses(crate_name))
            .map(|source| source.path.display().to_string())
            .collect();
        assert!(!users.is_empty(), "{crate_name} has no user left: take it out of ONLY_IN");
        assert!(
            users.iter().all(|user| place.split(' ').any(|place| user.starts_with(place))),
            "{crate_name} belongs into {place} only: {users:?}"
        );
    }
}

#[test]
fn pure_modules_have_no_clock_no_dice_and_no_runtime() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module().as_str())) {
        let readers: &[&str] = &["fs::", "env::", "File::"];
        let reads = if READERS.contains(&source.module().as_str()) { &[] } else { readers };
        for what in IMPURE.iter().chain(reads).filter(|what| source.uses(what.trim_end_matches("::"))) {
            wrong.push(format!("{} uses {what}", source.path.display()));
        }
        if source.tokens.iter().any(|token| token == "async") {
            wrong.push(format!("{} is async", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_stay_short_enough_to_read() {
    let (mut files, mut functions) = (Vec::new(), Vec::new());
    for source in sources() {
        let lines = source.code.lines().collect::<Vec<_>>();
        // Tests stand at the end and are blank by now; comments inside count.
        let length = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
        files.push((length, source.path.display().to_string()));
        let mut at = 0;
        for (number, line) in source.code.split_inclusive('\n').enumerate() {
            if let Some(name) = function(line)
                && let Some(brace) = source.code[at..].find(['{', ';'])
                && source.code[at + brace..].starts_with('{')
            {
                let body = &source.code[at..at + brace + block_len(&source.code[at + brace..])];
                functions.push((body.lines().count(), format!("{}:{} {name}", source.path.display(), number + 1)));
            }
            at += line.len();
        }
    }
    files.sort();
    functions.sort();
    assert!(functions.len() > 300, "the reader of functions finds them: {}", functions.len());
    for (what, found, limit) in [("file", &files, LONGEST_FILE), ("function", &functions, LONGEST_FUNCTION)] {
        let longest: Vec<_> = found.iter().rev().take(3).collect();
        println!("longest {what}s: {longest:?}");
        assert!(longest[0].0 <= limit, "a {what} longer than {limit} lines: {:?}", longest[0]);
    }
}

/// The name of the function that a line declares.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = ["pub", "async", "const", "extern", "(crate)", "(super)", "pub(crate)", "pub(super)"];
    let declares = before.split_whitespace().all(|word| qualifiers.contains(&word) || word.starts_with("pub("));
    let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    (declares && end > 0).then(|| &after[..end])
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let mut code = without_comments_and_texts(
        "//! crate::cli\nuse crate::{model::{A, config}, plan};\nuse super::super::health;\nconst T: &str = \"crate::app\";\n\
         const R: &str = r#\"crate::\"app\"#;\nconst C: [char; 2] = ['\"', '\\''];\nfn f<'a>(x: &'a u8) { tokio::spawn(); a.b::<u8>() }\n\
         #[cfg(test)]\nmod tests {\n  use crate::server;\n}\n#[cfg(test)]\nmod other;\n",
    );
    assert_eq!(take_tests(&mut code), ["other"]);
    let source = Source { path: "table/deck.rs".into(), tokens: tokens(&code), code };
    assert_eq!(source.known(), ["model", "plan", "health"]);
    assert_eq!((source.module(), source.depth()), ("table".to_owned(), 2));
    assert!(source.uses("tokio") && !source.uses("spawn") && !source.uses("reqwest"));
}
