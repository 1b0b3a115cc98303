//! Zone file text → entries → words: the outer shape of RFC 1035 section 5.1, with the line of every entry.

/// One word of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Word<'a> {
    /// As written, escapes untouched; without the quotes around it.
    pub(super) text: &'a str,
    /// It stood in quotes.
    pub(super) quoted: bool,
}

/// One entry: a directive or a record, over as many lines as its parentheses span.
#[derive(Debug, PartialEq)]
pub(super) struct Entry<'a> {
    /// Its first line, from 1.
    pub(super) line: usize,
    /// RFC 1035 section 5.1: "If an entry for an RR begins with a blank, then the RR is assumed to be owned by the
    /// last stated owner."
    pub(super) starts_blank: bool,
    /// Never empty.
    pub(super) words: Vec<Word<'a>>,
}

/// A text that cannot be split into words.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    /// Where, from 1.
    pub(super) line: usize,
    /// What is wrong and what would be right.
    pub(super) message: String,
}

/// All entries of a text. After a fault it goes on with the next entry, so that one reading finds every problem.
pub(super) struct Entries<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Entries<'a> {
    /// The entries of `text`.
    pub(super) fn of(text: &'a str) -> Self {
        Entries { text, at: 0, line: 1 }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (line, starts_blank) = (self.line, matches!(self.peek()?, b' ' | b'\t'));
            match self.words() {
                Ok(words) if words.is_empty() => {}
                Ok(words) => return Some(Ok(Entry { line, starts_blank, words })),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

impl<'a> Entries<'a> {
    /// The words up to the end of the entry, or the first fault among them. Either way the entry is behind us.
    fn words(&mut self) -> Result<Vec<Word<'a>>, Fault> {
        let mut words = Vec::new();
        let mut fault = None;
        let mut open: Option<(usize, usize)> = None;
        loop {
            let step = match (self.peek(), open) {
                (None | Some(b'('), Some(place)) => return Err(fault.unwrap_or_else(|| self.unclosed(place))),
                (None, None) => break,
                (Some(b'\n'), _) => {
                    self.end_line();
                    if open.is_none() {
                        break;
                    }
                    Ok(())
                }
                (Some(b' ' | b'\t' | b'\r'), _) => self.skip(),
                (Some(b';'), _) => self.skip_to_line_end(),
                (Some(b'('), None) => {
                    open = Some((self.line, self.at));
                    self.skip()
                }
                (Some(b')'), _) => {
                    let stray = open.take().is_none().then(|| self.fault("')' without a '(' before it"));
                    self.at += 1;
                    stray.map_or(Ok(()), Err)
                }
                (Some(b'"'), _) => self.quoted().map(|word| words.push(word)),
                (Some(_), _) => self.plain().map(|word| words.push(word)),
            };
            fault = fault.or(step.err());
        }
        fault.map_or(Ok(words), Err)
    }

    /// A word in quotes; the opening one is next.
    fn quoted(&mut self) -> Result<Word<'a>, Fault> {
        let start = self.at + 1;
        self.skip_quoted()?;
        Ok(Word { text: &self.text[start..self.at - 1], quoted: true })
    }

    /// A word without quotes around it. `key="some value"` is one word, the form of service parameters (RFC 9460
    /// section 2.1).
    fn plain(&mut self) -> Result<Word<'a>, Fault> {
        let start = self.at;
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' => break,
                b'"' if self.text[start..self.at].ends_with('=') => self.skip_quoted()?,
                b'"' => {
                    let fault = self.fault("a quote inside a word: put the whole word in quotes, or write \\\"");
                    self.skip_to_line_end()?;
                    return Err(fault);
                }
                b'\\' => self.skip_escaped(),
                _ if octet.is_ascii_control() => return Err(self.control_character(octet)),
                _ => self.at += 1,
            }
        }
        Ok(Word { text: &self.text[start..self.at], quoted: false })
    }

    /// From an opening quote to behind the closing one. RFC 1035 would allow a line break in between, but then one
    /// forgotten quote swallows the file up to the next, so here, as in BIND, a string ends on its line.
    fn skip_quoted(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                None | Some(b'\n' | b'\r') => {
                    return Err(self.fault("a quoted string does not end on its line: close it with '\"'"));
                }
                Some(b'\\') => self.skip_escaped(),
                Some(octet) if octet.is_ascii_control() && octet != b'\t' => {
                    return Err(self.control_character(octet));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// A `(` that is not closed before the next one or the end. Goes on with the next line that looks like a new
    /// entry: it starts in the first column, and not with what a continued one would.
    fn unclosed(&mut self, (line, at): (usize, usize)) -> Fault {
        let message = match self.peek() {
            Some(_) => format!("'(' is not closed before the next one, on line {}", self.line),
            None => "'(' is never closed".to_owned(),
        };
        (self.line, self.at) = (line, at);
        loop {
            while !matches!(self.peek(), None | Some(b'\n')) {
                self.at += 1;
            }
            if self.peek().is_some() {
                self.end_line();
            }
            if !matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(')) {
                return Fault { line, message };
            }
        }
    }

    fn control_character(&mut self, octet: u8) -> Fault {
        let fault = self.fault(&format!("control character {octet:#04x}: write it as \\{octet:03}"));
        self.at += 1;
        fault
    }

    fn fault(&self, message: &str) -> Fault {
        Fault { line: self.line, message: message.to_owned() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self) -> Result<(), Fault> {
        self.at += 1;
        Ok(())
    }

    /// A backslash and what it escapes, which is never the end of the line.
    fn skip_escaped(&mut self) {
        self.at += 1;
        if !matches!(self.peek(), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn skip_to_line_end(&mut self) -> Result<(), Fault> {
        while !matches!(self.peek(), None | Some(b'\n')) {
            self.at += 1;
        }
        Ok(())
    }

    fn end_line(&mut self) {
        self.at += 1;
        self.line += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry as `LINE: word|"quoted"`, with a leading `~` where it starts with a blank; faults as `LINE! text`.
    fn read(text: &str) -> Vec<String> {
        Entries::of(text)
            .map(|entry| match entry {
                Ok(entry) => {
                    let words: Vec<_> = entry
                        .words
                        .iter()
                        .map(|word| if word.quoted { format!("\"{}\"", word.text) } else { word.text.to_owned() })
                        .collect();
                    format!("{}: {}{}", entry.line, if entry.starts_blank { "~" } else { "" }, words.join("|"))
                }
                Err(fault) => format!("{}! {}", fault.line, fault.message),
            })
            .collect()
    }

    #[test]
    fn entries_know_their_first_line() {
        let text =
            "; a comment\n\na A 1.2.3.4;x\r\n \t\n\tTXT \"a;(\" \"b\\\"\" c\\;d ( ; open\n e \"f\"\n ) g\nlast A 1";
        assert_eq!(read(text), ["3: a|A|1.2.3.4", "5: ~TXT|\"a;(\"|\"b\\\"\"|c\\;d|e|\"f\"|g", "8: last|A|1"]);
        assert_eq!(read("(a\nA\n1)\nb k=\"x y\"z \"p\"\"q\"\n"), ["1: a|A|1", "4: b|k=\"x y\"z|\"p\"|\"q\""]);
        assert_eq!(read(""), Vec::<String>::new());
        assert_eq!(read("\n;\n  \n"), Vec::<String>::new());
        assert_eq!(read("a \\\nb \\"), ["1: a|\\", "2: b|\\"]);
    }

    #[test]
    fn faults_are_all_found_and_reading_goes_on() {
        let unended = "a quoted string does not end on its line: close it with '\"'";
        assert_eq!(read("a \"x\nb\n\"y"), [format!("1! {unended}"), "2: b".into(), format!("3! {unended}")]);
        assert_eq!(read("a ) b\nc"), ["1! ')' without a '(' before it", "2: c"]);
        assert_eq!(read("a (\n \"x\n )\nb"), [format!("2! {unended}"), "4: b".into()]);
        assert_eq!(read("a (\n x\n; y\nb\nc"), ["1! '(' is never closed", "4: b", "5: c"]);
        assert_eq!(
            read("a (\n x\nb ( y\n z )\nc"),
            ["1! '(' is not closed before the next one, on line 3", "3: b|y|z", "5: c"]
        );
        assert_eq!(
            read("a x\"y\" z\nb"),
            ["1! a quote inside a word: put the whole word in quotes, or write \\\"", "2: b"]
        );
        assert_eq!(read("a \x01b\nc \"\x7f\"\nd").len(), 3);
        assert_eq!(read("a \x01\n"), ["1! control character 0x01: write it as \\001"]);
    }
}
