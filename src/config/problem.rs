//! One thing wrong in a file an operator wrote.

use std::{fmt, path::PathBuf};

/// One thing wrong in a file an operator wrote: where, and what would be right.
///
/// Prints as `FILE:LINE: KEY: MESSAGE`, leaving out what is not known. Sorting puts problems in reading order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file; `None` for environment variables and flags, which the message names.
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Full key, such as `zones."alternator.local".ttl`.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem that is only a message; add the place with the `at_*` methods.
    pub fn new(message: impl Into<String>) -> Self {
        Problem { message: message.into(), ..Problem::default() }
    }

    /// Names the file.
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Names the line, from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// Names the configuration key.
    pub fn at_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, _) => {}
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_it_is() {
        let problem = Problem::new("use a duration such as \"5s\"").in_file("a.toml").at_line(3).at_key("zones.x.ttl");
        assert_eq!(problem.to_string(), "a.toml:3: zones.x.ttl: use a duration such as \"5s\"");
        assert_eq!(Problem::new("no zone").to_string(), "no zone");
    }
}
