//! The keys that requests are signed with: as configured, or from a file as the AWS tools have it.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::config::{Credentials, Secret};

/// The part of the file that is read.
const PROFILE: &str = "default";

/// A longer file is something else: a profile takes three lines.
const MAX_FILE: u64 = 64 * 1024;

/// A longer key is a mistake; ScyllaDB's salted hashes have some hundred octets.
const MAX_KEY: usize = 1024;

/// A role and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The role's name.
    pub(super) access_key_id: String,
    /// Its salted hash.
    pub(super) secret: Secret,
}

/// Credentials that cannot be used. Never tells the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsError {
    file: Option<PathBuf>,
    what: String,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(_) => write!(f, "credentials_file {}", self.reason()),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl CredentialsError {
    /// The file and what is wrong with it, for messages that name the key themselves.
    pub fn reason(&self) -> String {
        match &self.file {
            Some(file) => format!("{}: {}", file.display(), self.what),
            None => self.what.clone(),
        }
    }
}

/// The keys of these credentials. Reads the file, where there is one, so it may block.
pub fn read(credentials: &Credentials) -> Result<Keys, CredentialsError> {
    match credentials {
        Credentials::Pair { access_key_id, secret_access_key } => {
            usable(access_key_id, secret_access_key.reveal()).map_err(|what| CredentialsError { file: None, what })
        }
        Credentials::File(path) => {
            let text = text_of(path);
            let keys = text.and_then(|text| profile(&text)).and_then(|(role, secret)| usable(&role, secret.reveal()));
            keys.map_err(|what| CredentialsError { file: Some(path.clone()), what })
        }
    }
}

/// The whole file. A pipe would never end, or wait for a writer, so it must be a file.
fn text_of(path: &Path) -> Result<String, String> {
    let told = |error: io::Error| format!("cannot be read: {error}");
    if !path.metadata().map_err(told)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut octets = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut octets)).map_err(told)?;
    if octets.len() as u64 > MAX_FILE {
        return Err(format!("is longer than {} KiB", MAX_FILE / 1024));
    }
    String::from_utf8(octets).map_err(|_| "is no text (UTF-8)".to_owned())
}

/// The keys under `[default]`. Keys of other profiles, and other keys of this one, are others' business.
fn profile(text: &str) -> Result<(String, Secret), String> {
    let (mut within, mut role, mut secret) = (false, None, None);
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.trim()) {
            within = name == PROFILE;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| within) else { continue };
        match key.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => role = Some(value.trim().to_owned()),
            "aws_secret_access_key" => secret = Some(Secret::new(value.trim())),
            _ => {}
        }
    }
    let missing = |key: &str| {
        format!(
            "has no {key} under [{PROFILE}]: write the lines [{PROFILE}], aws_access_key_id = ROLE and \
             aws_secret_access_key = SALTED_HASH"
        )
    };
    Ok((role.ok_or_else(|| missing("aws_access_key_id"))?, secret.ok_or_else(|| missing("aws_secret_access_key"))?))
}

/// Checks what a header must be able to carry.
fn usable(role: &str, secret: &str) -> Result<Keys, String> {
    // The node splits the Authorization header at these.
    let separates = |c: char| !c.is_ascii_graphic() || "/=,".contains(c);
    if role.is_empty() || role.len() > MAX_KEY || role.contains(separates) {
        return Err(
            "the access key id must be a role's name in printable ASCII, without \"/\", \"=\", \",\" and spaces"
                .to_owned(),
        );
    }
    if secret.is_empty() || secret.len() > MAX_KEY || secret.contains(char::is_control) {
        return Err(format!("the secret access key must have 1 to {MAX_KEY} octets, on one line"));
    }
    Ok(Keys { access_key_id: role.to_owned(), secret: Secret::new(secret) })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const HASH: &str = "$6$kXd7$a+b/c=d.e";

    fn of(text: &[u8]) -> Result<Keys, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        fs::write(&path, text).unwrap();
        read(&Credentials::File(path)).map_err(|error| {
            let text = error.to_string();
            assert!(text.starts_with("credentials_file /") && text.contains("/credentials: "), "{text}");
            text.rsplit("/credentials: ").next().unwrap().to_owned()
        })
    }

    #[test]
    fn the_default_profile_is_taken() {
        let keys = of(format!(
            "\u{feff}# of AWS's tools\r\n[other]\naws_access_key_id = a\naws_secret_access_key = b\n\n[ default ]\r\n\
             AWS_Access_Key_Id=reader\r\nregion = x\naws_secret_access_key =  {HASH} \n; end\n[third]\naws_access_key_id=c\n"
        )
        .as_bytes())
        .unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.secret.reveal()), ("reader", HASH));
        assert!(!format!("{keys:?}").contains("kXd7"), "{keys:?}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_the_secret() {
        let secret = format!("aws_secret_access_key={HASH}");
        for (text, wrong) in [
            (String::new(), "has no aws_access_key_id under [default]"),
            (format!("aws_access_key_id=a\n{secret}"), "has no aws_access_key_id under [default]"),
            ("[default]\naws_access_key_id=a".to_owned(), "has no aws_secret_access_key under [default]"),
            (format!("[default]\naws_access_key_id=a b\n{secret}"), "printable ASCII"),
            (format!("[default]\naws_access_key_id=\n{secret}"), "printable ASCII"),
            ("[default]\naws_access_key_id=a\naws_secret_access_key=".to_owned(), "1 to 1024 octets"),
            ("x".repeat(70_000), "is longer than 64 KiB"),
        ] {
            let told = of(text.as_bytes()).unwrap_err();
            assert!(told.contains(wrong) && !told.contains("kXd7"), "{told}");
        }
        assert_eq!(of(b"[default]\n\xff").unwrap_err(), "is no text (UTF-8)");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: PathBuf| read(&Credentials::File(path)).unwrap_err().to_string();
        assert!(told(folder.path().join("none")).contains("cannot be read: No such file"));
        assert!(told(folder.path().to_owned()).contains("is no file"));
        let link = folder.path().join("link");
        symlink("/dev/zero", &link).unwrap();
        assert!(told(link).contains("is no file"));
    }

    #[test]
    fn configured_keys_are_checked_too() {
        let pair = |role: &str, secret: &str| {
            read(&Credentials::Pair { access_key_id: role.to_owned(), secret_access_key: Secret::new(secret) })
        };
        assert!(pair("reader", HASH).is_ok());
        for (role, secret) in [("a/b", HASH), ("a,b", HASH), ("a\nb", HASH), ("é", HASH), ("a", ""), ("a", "b\nc")] {
            assert!(pair(role, secret).is_err(), "{role} {secret}");
        }
    }
}
