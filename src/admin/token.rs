//! The token that requests must bring, and the file it is read from.

use std::{
    fmt,
    hint::black_box,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Characters a token must have at least: 16 random letters and digits cannot be guessed.
const SHORTEST: usize = 16;

/// Characters a token may have, and octets that are read of its file: it stands in a header, whose size is bounded.
const LONGEST: usize = 1024;

/// How often the file is looked at. A secret that is rolled over is given to both sides within minutes; this only has to
/// be shorter than whoever does it by hand waits before he wonders.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The secret that a request must bring.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why there is no token in a file.
#[derive(Debug, thiserror::Error)]
#[error("token file {path}: {reason}", path = .path.display())]
pub struct TokenError {
    path: PathBuf,
    reason: String,
}

impl Token {
    /// Reads the token of a file: its first and only line, without the white space around it.
    pub fn read(path: &Path) -> Result<Token, TokenError> {
        let wrong = |reason: String| TokenError { path: path.to_owned(), reason };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        // One octet more than allowed, and the end of its line, tell a file that is too long.
        file.take(LONGEST as u64 + 3).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        Token::new(text.trim()).map_err(|reason| wrong(reason.to_owned()))
    }

    fn new(text: &str) -> Result<Token, &'static str> {
        if text.is_empty() {
            return Err(
                "it is empty; write a token of 16 characters or more, such as that of \"openssl rand -hex 32\"",
            );
        }
        if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("a token is one line of letters, digits and punctuation, without blanks");
        }
        match text.len() {
            ..SHORTEST => Err("a token of fewer than 16 characters can be guessed; try \"openssl rand -hex 32\""),
            SHORTEST..=LONGEST => Ok(Token(text.into())),
            _ => Err("a token has 1,024 characters at most"),
        }
    }

    /// The token, for whoever brings it.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether an `Authorization` header brings it: `Bearer TOKEN`, or HTTP Basic (which browsers can) with it as the
    /// password, whatever the user (RFC 6750 section 2.1, RFC 7617).
    pub(super) fn is_in(&self, header: &HeaderValue) -> bool {
        let Some((scheme, given)) = header.to_str().ok().and_then(|text| text.split_once(' ')) else { return false };
        let given = given.trim_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(given.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(pair) = BASE64_STANDARD.decode(given) else { return false };
        let password = pair.iter().position(|octet| *octet == b':').and_then(|colon| pair.get(colon + 1..));
        password.is_some_and(|password| self.is(password))
    }

    /// Takes as long whatever is the same: how much of a guess is right must not be told by a clock.
    fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut differs = u8::from(own.len() != given.len());
        for (index, octet) in given.iter().enumerate() {
            differs |= black_box(octet ^ own[index % own.len()]);
        }
        black_box(differs) == 0
    }
}

/// A token that follows its file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    token: ArcSwap<Token>,
}

impl TokenFile {
    pub(super) fn read(path: &Path) -> Result<Self, TokenError> {
        Ok(TokenFile { path: path.to_owned(), token: ArcSwap::from_pointee(Token::read(path)?) })
    }

    /// The token of now.
    pub(super) fn token(&self) -> Arc<Token> {
        self.token.load_full()
    }

    /// Looks at the file every now and then, until told to stop. One that cannot be used changes nothing, and is
    /// complained of once.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut complaint = None;
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            let file = self.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || Token::read(&file.path)).await else { return };
            match read {
                Ok(token) => {
                    complaint = None;
                    if token != *self.token() {
                        self.token.store(Arc::new(token));
                        tracing::info!(file = %self.path.display(), "a new token is asked for");
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if complaint.as_ref() != Some(&error) {
                        tracing::warn!("{error}; the token read before is asked for");
                        complaint = Some(error);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef:x";

    fn brings(header: &str) -> bool {
        Token::new(SECRET).unwrap().is_in(&HeaderValue::from_str(header).unwrap())
    }

    #[test]
    fn a_token_is_brought_as_bearer_or_as_password() {
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for good in [
            format!("Bearer {SECRET}"),
            format!("bearer  {SECRET}"),
            basic(&format!("admin:{SECRET}")),
            basic(&format!(":{SECRET}")),
        ] {
            assert!(brings(&good), "{good}");
        }
        let (short, long) = (format!("Bearer {}", &SECRET[..17]), format!("Bearer {SECRET}x"));
        let twice = format!("Bearer {SECRET}{SECRET}");
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            SECRET,
            "Basic x",
            "Basic !!!",
            &short,
            &long,
            &twice,
            &basic(SECRET),
            &basic(&format!("{SECRET}:")),
            &format!("Digest {SECRET}"),
        ] {
            assert!(!brings(bad), "{bad}");
        }
    }

    #[test]
    fn files_without_a_token_are_refused_with_what_would_be_right() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, reason) in [
            ("", "it is empty"),
            ("\n \n", "it is empty"),
            ("short", "16 characters"),
            ("two lines of\nmany characters", "one line"),
            ("0123456789abcdefß", "one line"),
            (&"x".repeat(LONGEST + 1), "at most"),
            (&"x".repeat(LONGEST * 5), "at most"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = Token::read(file.path()).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("token file /"), "{text:.20}: {error}");
        }
        std::fs::write(file.path(), "0123456789abcdef\r\n").unwrap();
        assert_eq!(Token::read(file.path()).unwrap().secret(), "0123456789abcdef");
        assert!(Token::read(Path::new("/nowhere")).unwrap_err().to_string().contains("No such file"));
    }
}
