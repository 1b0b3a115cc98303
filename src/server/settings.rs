//! What an operator chose about answering.

/// What an operator chose about answering; shared by the workers of a listener.
#[derive(Debug, Default)]
pub struct Settings {
    /// Which server this is, for whoever asks (RFC 5001, RFC 4892).
    pub identity: Option<Box<str>>,
    /// Which software this is; `None` hides it.
    pub version: Option<Box<str>>,
}
