//! README, change log, example files: what they show works, by the real program and the real loader.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use alternator_dns::{
    app::load_zones,
    config::{Flags, Loaded, load, reference},
};
use tempfile::TempDir;

/// Options of others stand in this section of the README.
const SDK_SECTION: &str = "Endpoints, SDK by SDK";

/// The file that the README tells people to write.
const CONFIG: &str = "alternator-dns.toml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A fenced block: what stands behind the fence, and what stands in it.
struct Block {
    kind: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, bool) = (Vec::new(), false);
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(kind) => {
                open = !open;
                if open {
                    blocks.push(Block { kind: kind.to_owned(), text: String::new() });
                }
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a fence is not closed");
    blocks
}

fn blocks_of(kind: &str) -> Vec<String> {
    blocks_in("README.md", kind)
}

fn blocks_in(file: &str, kind: &str) -> Vec<String> {
    let found: Vec<_> =
        blocks(&text(file)).into_iter().filter(|block| block.kind == kind).map(|block| block.text).collect();
    assert!(!found.is_empty(), "{file} has no {kind} block");
    found
}

/// The text outside fences, by heading.
fn sections(markdown: &str) -> Vec<(String, String)> {
    let (mut sections, mut fenced) = (vec![(String::new(), String::new())], false);
    for line in markdown.lines() {
        fenced ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix('#').filter(|_| !fenced) {
            sections.push((heading.trim_start_matches('#').trim().to_owned(), String::new()));
        } else if !fenced {
            let text = &mut sections.last_mut().unwrap().1;
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// Everything between single backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A folder as a reader has it who wrote down what the README says: its first configuration, and the zone files that
/// its configurations name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let configs = blocks_of("toml");
    fs::write(folder.path().join(CONFIG), &configs[0]).unwrap();
    let files = configs.iter().flat_map(|config| config.lines()).filter_map(|line| line.strip_prefix("file = "));
    for (file, zone) in files.zip(blocks_of("zone")) {
        fs::write(folder.path().join(file.trim_matches('"')), zone).unwrap();
    }
    folder
}

fn loaded(file: &Path) -> Loaded {
    let flags = Flags { config: Some(file.to_owned()), ..Flags::default() };
    let loaded = load(&flags, [], &[] as &[&Path]).unwrap_or_else(|problems| panic!("{problems:?}"));
    load_zones(&loaded.config).unwrap_or_else(|problems| panic!("{problems:?}"));
    loaded
}

/// Runs the program with none of this process's own settings.
fn run(arguments: &[&str], folder: &Path, variables: &[(String, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alternator-dns"));
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().contains("ALTERNATOR"));
    ours.for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments).envs(variables.iter().cloned()).current_dir(folder).output().unwrap()
}

fn succeeds(arguments: &[&str], folder: &Path, variables: &[(String, String)]) -> String {
    let output = run(arguments, folder, variables);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// `NAME=VALUE` of every variable of ours that a text sets, in shell, unit file, Dockerfile or compose file.
fn variables(text: &str) -> Vec<(String, String)> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '`' | '(' | ')'));
    words
        .filter(|word| word.starts_with("ALTERNATOR_DNS_"))
        .map(|word| {
            let (name, value) = word.split_once(['=', ':']).unwrap_or((word, ""));
            (name.trim_end_matches(['.', ',']).to_owned(), value.trim_end_matches(',').to_owned())
        })
        .collect()
}

#[test]
fn every_configuration_of_the_readme_loads() {
    let folder = folder();
    for (index, config) in blocks_of("toml").iter().enumerate() {
        let file = folder.path().join(format!("{index}.toml"));
        fs::write(&file, config).unwrap();
        let loaded = loaded(&file);
        assert!(!loaded.config.zones.is_empty(), "{config}");
        // A part to be added to a configuration has no seeds; what is whole has nothing to be warned of.
        assert!(loaded.warnings.is_empty() || !config.contains("seeds"), "{:?}", loaded.warnings);
    }
}

#[test]
fn every_configuration_of_the_page_on_hostile_input_loads() {
    let folder = tempfile::tempdir().unwrap();
    for config in blocks_in("docs/hostile.md", "toml") {
        let file = folder.path().join(CONFIG);
        fs::write(&file, &config).unwrap();
        assert!(loaded(&file).warnings.is_empty(), "{config}");
    }
}

#[test]
fn the_example_files_load() {
    for file in ["zones/alternator-dns.toml", "docker/alternator-dns.toml"] {
        let config = loaded(&root().join(file)).config;
        let [zone] = &config.zones[..] else { panic!("{file}: one zone is expected") };
        assert!(!zone.cluster.seeds.is_empty(), "{file}");
    }
}

#[test]
fn the_program_understands_every_command_of_the_readme() {
    let folder = folder();
    let mut commands = BTreeSet::new();
    for block in blocks_of("sh") {
        let variables = variables(&block);
        for line in block.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let arguments = match &words[..] {
                ["alternator-dns", arguments @ ..] => arguments,
                ["cargo", "run", "--release", "--", arguments @ ..] => arguments,
                _ => continue,
            };
            commands.insert(arguments[0].to_owned());
            // What would serve or ask the network is only parsed: --help comes last, so what precedes it is judged.
            let is_done_for_real = matches!(arguments[0], "check" | "config") && !arguments.contains(&"--probe");
            let help = if is_done_for_real { &[][..] } else { &["--help"] };
            succeeds(&[arguments, help].concat(), folder.path(), &variables);
            if arguments.contains(&"--probe") {
                let offline: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--probe").collect();
                succeeds(&offline, folder.path(), &variables);
            }
        }
    }
    assert_eq!(
        commands.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "check",
            "compare",
            "config",
            "demo",
            "discover",
            "drain",
            "explain",
            "force-up",
            "health",
            "overrides",
            "reload",
            "serve",
            "status",
            "undrain"
        ]
    );
    let nonsense = run(&["serve", "--sed", "10.0.0.1", "--help"], folder.path(), &[]);
    assert_eq!(nonsense.status.code(), Some(2), "a wrong flag is noticed in spite of --help");
}

#[test]
fn the_program_prints_what_the_readme_shows() {
    let folder = folder();
    for block in blocks_of("console") {
        let (command, shown) = block.split_once('\n').unwrap();
        let arguments: Vec<&str> =
            command.strip_prefix("$ alternator-dns ").unwrap_or_else(|| panic!("{command}")).split(' ').collect();
        assert_eq!(succeeds(&arguments, folder.path(), &[]), shown, "{command}");
    }
}

#[test]
fn variables_alone_make_a_configuration_as_the_readme_says() {
    let block = blocks_of("sh").into_iter().find(|block| block.contains("export ALTERNATOR_DNS_ZONE=")).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let told = succeeds(&["check"], empty.path(), &variables(&block));
    assert!(told.contains("zone alternator.internal\n"), "{told}");
    let config = load(&Flags::default(), variables(&block), &[] as &[&Path]).unwrap().config;
    assert_eq!(config.zones[0].cluster.seeds.len(), 2);
}

#[test]
fn every_variable_and_option_that_the_texts_name_exists() {
    let texts = ["README.md", "CHANGELOG.md", KUBERNETES, "docker/Dockerfile", "docker/compose.yaml"];
    for file in texts.into_iter().chain(["docker/alternator-dns.toml"]) {
        let mut named = variables(&text(file));
        named.retain(|(name, _)| name != "ALTERNATOR_DNS_CONFIG");
        // Settings of a zone need one; none of these is judged against a file.
        named.push(("ALTERNATOR_DNS_ZONE".to_owned(), "alternator.internal".to_owned()));
        load(&Flags::default(), named, &[] as &[&Path]).unwrap_or_else(|problems| panic!("{file}: {problems:?}"));
    }

    let exists = |option: &str| {
        let written = |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{option} = "));
        reference().lines().any(written)
    };
    for file in ["README.md", "CHANGELOG.md", "docs/hostile.md"] {
        for (_, section) in sections(&text(file)).into_iter().filter(|(heading, _)| heading != SDK_SECTION) {
            for code in code(&section) {
                let option = code.split_once(" = ").map_or(code, |(option, _)| option);
                let looks_like_one = option.contains('_')
                    && option.starts_with(|c: char| c.is_ascii_lowercase())
                    && option.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                // Of ScyllaDB, and an alias of a datacenter's name.
                let is_foreign = matches!(
                    option,
                    "broadcast_rpc_address"
                        | "aws_us_east_1"
                        | "alternator_enforce_authorization"
                        | "salted_hash"
                        | "require_client_auth"
                );
                if (code.contains(" = ") || looks_like_one) && !is_foreign {
                    assert!(exists(option), "{file}: there is no option {code}");
                }
            }
        }
    }
}

#[test]
fn every_default_that_the_readme_names_is_the_default() {
    let changes = [
        "format = \"json\"",
        "overrides = \"overrides.toml\"",
        "answers = 0",
        "answers = 1",
        "datacenter_failover = true",
        "preferred_datacenter = \"dc1\"",
        "preferred_rack = \"rack1\"",
        "resolve_hostnames = true",
    ];
    let mut checked = 0;
    for (_, section) in sections(&text("README.md")).into_iter().filter(|(heading, _)| heading != SDK_SECTION) {
        for code in code(&section).filter(|code| code.contains(" = ") && !changes.contains(code)) {
            assert!(reference().lines().any(|line| line == format!("#{code}")), "`{code}` is no default");
            checked += 1;
        }
    }
    assert!(checked >= 5, "the README names defaults");
}

#[test]
fn every_link_leads_somewhere() {
    for file in ["README.md", "CHANGELOG.md", PROTOCOL, OPERATE, KUBERNETES] {
        let (markdown, folder) = (text(file), root().join(file));
        let folder = folder.parent().unwrap();
        let anchors: BTreeSet<String> = sections(&markdown)
            .iter()
            .map(|(heading, _)| heading.to_lowercase().replace(' ', "-").replace(|c: char| !is_anchor(c), ""))
            .collect();
        for link in markdown.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            match link.strip_prefix('#') {
                Some(anchor) => assert!(anchors.contains(anchor), "{file}: no heading {anchor}"),
                None if link.starts_with("https://") => {}
                None => assert!(folder.join(link).exists(), "{file}: no file {link}"),
            }
        }
    }
}

fn is_anchor(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

#[test]
fn the_change_log_begins_with_this_version() {
    let log = text("CHANGELOG.md");
    let newest = log.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(newest.split(' ').next(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_license_is_the_one_the_package_names() {
    assert_eq!(env!("CARGO_PKG_LICENSE"), "Apache-2.0");
    assert!(text("LICENSE").trim_start().starts_with("Apache License\n                           Version 2.0"));
}

/// The lines of a text that say something: no comments, no blank lines, no indentation, the name of the zone replaced.
fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().replace("alternator.internal", "alternator.local"));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("//")).collect()
}

#[test]
fn the_recipes_for_resolvers_are_the_ones_the_end_to_end_tests_try() {
    let readme = statements(&blocks_of("text").join("\n"));
    let recipes = root().join("tests/e2e/recipes");
    let files: Vec<PathBuf> = fs::read_dir(recipes).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let recipe = statements(&fs::read_to_string(&file).unwrap());
        let is_shown = readme.windows(recipe.len()).any(|shown| shown == recipe);
        assert!(is_shown, "README.md does not show {}", file.display());
    }
}

/// The table of what the server does with DNS.
const PROTOCOL: &str = "docs/protocol.md";

/// How to run it in Kubernetes.
const KUBERNETES: &str = "deploy/kubernetes/README.md";

/// The table of what operators can do.
const OPERATE: &str = "docs/operate.md";

/// What is between backticks and reads like a test's path.
fn tests_named(text: &str) -> impl Iterator<Item = &str> {
    let is_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':');
    code(text).filter(move |word| word.contains("::") && !word.ends_with(':') && word.chars().all(is_path))
}

/// Whether a test exists, by the path that `cargo test` prints: of these tests, or of the source.
fn is_test(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").unwrap();
    let file = module.replace("::", "/");
    let inline = file.strip_suffix("/tests").unwrap_or(&file);
    let folders = ["tests/integration", "src"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| {
        [&*file, inline]
            .into_iter()
            .flat_map(|file| [format!("{file}.rs"), format!("{file}/mod.rs")])
            .map(|file| folder.join(file))
    });
    let is_there = |file: PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let Some(before) = text.find(&format!("fn {name}(")).map(|at| &text[..at]) else { return false };
        // The lines right above the function, which are its attributes and its comments.
        let above = before.lines().rev().skip(usize::from(!before.ends_with('\n'))).map(str::trim_start);
        let mut attributes = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
    };
    files.into_iter().any(is_there)
}

#[test]
fn every_test_that_the_protocols_tables_name_exists() {
    let (mut named, gdnsd) = (0, text("tests/integration/gdnsd/mod.rs"));
    let table: String = gdnsd.lines().filter_map(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join("\n");
    for (file, text) in [(PROTOCOL, text(PROTOCOL)), (OPERATE, text(OPERATE)), ("gdnsd/mod.rs", table)] {
        for path in tests_named(&text) {
            assert!(is_test(path), "{file}: there is no test {path}");
            named += 1;
        }
    }
    assert!(named > 150, "{named}");
    assert!(!is_test("protocol::there_is_none") && !is_test("edns::cookies::told"), "the check sees what is none");
}

#[test]
fn every_row_of_the_protocols_tables_is_shown_by_a_test() {
    let markdown = text(PROTOCOL);
    let (left_out, shown): (Vec<_>, Vec<_>) =
        sections(&markdown).into_iter().partition(|(heading, _)| heading == "Left out");
    assert_eq!(left_out.len(), 1);
    let mut rows = 0;
    for (heading, section) in shown {
        for row in section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| RFC ")) {
            assert_eq!(row.matches(" | ").count() + row.matches(" | |").count(), 3, "{heading}: {row}");
            assert!(tests_named(row.rsplit(" | ").next().unwrap()).next().is_some(), "{heading}: no test in {row}");
            rows += 1;
        }
    }
    assert!(rows > 80, "{rows}");
}

/// Every RFC that the source names, so that none is forgotten.
#[test]
fn every_rfc_that_the_source_names_is_in_the_protocols_tables() {
    let (mut folders, mut named) = (vec![root().join("src")], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = fs::read_to_string(&entry).unwrap();
            let numbers = text.split("RFC ").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_digit));
            named.extend(numbers.map(String::from_iter).filter(|number| !number.is_empty()));
        }
    }
    let markdown = text(PROTOCOL) + &text(OPERATE);
    let words: BTreeSet<&str> = markdown.split(|c: char| !c.is_ascii_digit()).collect();
    let missing: Vec<&String> = named.iter().filter(|number| !words.contains(number.as_str())).collect();
    assert!(
        missing.is_empty() && named.len() > 30,
        "RFCs of the source that {PROTOCOL} and {OPERATE} leave out: {missing:?}"
    );
}
