//! The reference: every option, as a file to start from.

/// Every option, commented out, with its default and what it is for. As a file it changes nothing.
pub fn reference() -> &'static str {
    include_str!("reference.toml")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use hickory_proto::rr::Name;

    use super::*;
    use crate::config::{
        Config, Flags, ServerConfig, ZoneConfig,
        keys::{KEYS, Kind},
        load,
    };

    fn read(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        fs::write(&file, text).unwrap();
        load(&Flags { config: Some(file), ..Flags::default() }, [], &[] as &[&Path]).unwrap().config
    }

    /// The reference with every option uncommented: prose has a blank behind its `#`, options have none.
    fn uncommented() -> String {
        let line = |line: &'static str| match line.strip_prefix('#') {
            Some(option) if !option.is_empty() && !option.starts_with(' ') => option,
            _ => line,
        };
        reference().lines().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_reference_changes_nothing_and_uncommented_holds_the_defaults() {
        assert_eq!(read(reference()), Config { server: ServerConfig::default(), zones: vec![] });
        let apex = Name::from_ascii("alternator.local.").unwrap();
        let mut defaults = Config { server: ServerConfig::default(), zones: vec![ZoneConfig::new(apex)] };
        // Written is written, whatever it says.
        defaults.server.admin.is_default = false;
        assert_eq!(read(&uncommented()), defaults);
    }

    #[test]
    fn the_reference_knows_every_key_and_every_variable() {
        let options = uncommented();
        // An unknown key in it would be a problem, so only the other direction is left to check.
        for key in KEYS {
            let written = match key.kind {
                Kind::Section(_) | Kind::Zones => {
                    options.contains(&format!("{}]", key.name)) || options.contains("[zones.")
                }
                _ => options
                    .lines()
                    .any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{} = ", key.name))),
            };
            assert!(written, "{} is missing in reference.toml", key.name);
        }
        for line in reference().lines().filter(|line| line.starts_with("#   ALTERNATOR_DNS_")) {
            let name = line.trim_start_matches(['#', ' ']).split('=').next().unwrap();
            let known = KEYS.iter().any(|key| key.variable().as_deref() == Some(name));
            assert!(known || name == "ALTERNATOR_DNS_ZONE", "{name}");
        }
    }
}
