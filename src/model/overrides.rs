//! What an operator forced: nodes drained, nodes held up, and until when.
//!
//! Of several overrides that mean a node, the one with the most specific [`Target`] decides; of equal targets, the one
//! for this zone alone; of equals, the one set last. So "drain dc1" and "force-up 10.0.0.1" is a datacenter drained but
//! for one node.

use std::{cmp::Reverse, collections::BTreeMap, fmt, net::IpAddr, str::FromStr, sync::Arc, time::SystemTime};

use super::{Node, Target, moment::rfc3339_seconds, target::Matcher};

/// One decision of an operator about some nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The nodes meant.
    pub target: Target,
    /// What becomes of them.
    pub action: Action,
    /// The zone meant, in lower case without trailing dot; `None` = every zone.
    pub zone: Option<String>,
    /// When it begins.
    pub from: SystemTime,
    /// When it ends; `None` = when somebody ends it.
    pub until: Option<SystemTime>,
    /// When it was decided.
    pub set_at: SystemTime,
    /// Who decided.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// How it came here.
    pub origin: Origin,
}

impl Override {
    /// Whether it has begun and not ended.
    pub fn is_in_force(&self, now: SystemTime) -> bool {
        self.from <= now && !self.is_over(now)
    }

    /// Whether it has ended.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it is of this zone.
    pub fn is_for(&self, zone: &str) -> bool {
        self.zone.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(zone))
    }
}

/// Who, since when, until when and why: `drained by ops since 2026-11-21 12:01Z until 14:01Z: kernel upgrade`.
impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.action {
            Action::Drain => "drained",
            Action::ForceUp => "forced up",
        };
        let from = minute(self.from);
        write!(f, "{what} by {} since {from}", self.by)?;
        if let Some(until) = self.until.map(minute) {
            let day = from.find(' ').map_or(0, |space| space + 1);
            let same_day = until.get(..day) == from.get(..day);
            write!(f, " until {}", if same_day { &until[day..] } else { &until })?;
        }
        match self.reason.as_str() {
            "" => Ok(()),
            reason => write!(f, ": {reason}"),
        }
    }
}

/// `2026-11-21 12:01Z`. Moments outside of 1970 to 9999 are told as the nearest one within.
fn minute(at: SystemTime) -> String {
    let text = rfc3339_seconds(at);
    format!("{}Z", text.get(..16).unwrap_or(&text).replacen('T', " ", 1))
}

/// What becomes of the nodes of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Not answered, however well they serve.
    Drain,
    /// Answered, whatever our probes say; not where the cluster lists them no longer.
    ForceUp,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Drain => "drain",
            Action::ForceUp => "force-up",
        })
    }
}

/// A text is no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no action: write \"drain\" or \"force-up\"")]
pub struct ActionError(String);

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        match text {
            "drain" => Ok(Action::Drain),
            "force-up" | "force_up" => Ok(Action::ForceUp),
            _ => Err(ActionError(text.chars().take(60).collect())),
        }
    }
}

/// How an override came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// By command or over HTTP; kept over restarts.
    Api,
    /// From the file of overrides; gone when the file no longer has it.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Api => "api",
            Origin::File => "file",
        })
    }
}

/// Every override there is, of all zones. Immutable once published; a change is a new value.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Those that decide before others first.
    all: Vec<Arc<Override>>,
    /// Of single nodes: indices into `all`, in its order.
    of_nodes: BTreeMap<IpAddr, Vec<usize>>,
    /// The others, in the order of `all`.
    others: Vec<(Matcher, usize)>,
}

impl PartialEq for Overrides {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Overrides {}

impl Overrides {
    /// These overrides.
    pub fn new(overrides: Vec<Override>) -> Self {
        let mut all: Vec<Arc<Override>> = overrides.into_iter().map(Arc::new).collect();
        // Down to what makes no difference to anybody, so that the order they come in makes none either.
        all.sort_by_cached_key(|known| {
            let told = (known.target.to_string(), known.zone.clone(), known.from, known.until);
            (
                Reverse((known.target.specificity(), known.zone.is_some(), known.set_at)),
                known.action,
                known.origin,
                told,
            )
        });
        let (mut of_nodes, mut others) = (BTreeMap::<IpAddr, Vec<usize>>::new(), Vec::new());
        for (index, known) in all.iter().enumerate() {
            match Matcher::new(&known.target) {
                Matcher::Node(address) => of_nodes.entry(address).or_default().push(index),
                matcher => others.push((matcher, index)),
            }
        }
        Overrides { all, of_nodes, others }
    }

    /// All of them, in force or not, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Override>> {
        self.all.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The override that decides about a node now.
    pub fn in_force(&self, zone: &str, node: &Node, now: SystemTime) -> Option<&Arc<Override>> {
        self.about(zone, node).find(|known| known.is_in_force(now))
    }

    /// The drain of a node that begins next, unless another override decides about the node by then.
    pub fn pending_drain(&self, zone: &str, node: &Node, now: SystemTime) -> Option<&Arc<Override>> {
        let pending =
            |known: &Override| known.action == Action::Drain && known.from > now && !known.is_over(known.from);
        // Asked of every node whenever a zone is compiled, when hardly ever anything is pending.
        if !self.all.iter().any(|known| pending(known)) {
            return None;
        }
        let decides = |known: &&Arc<Override>| {
            self.in_force(zone, node, known.from).is_some_and(|deciding| Arc::ptr_eq(deciding, known))
        };
        self.about(zone, node).filter(|known| pending(known)).filter(decides).min_by_key(|known| known.from)
    }

    /// When the next of them begins or ends.
    pub fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let moments = self.iter().flat_map(|known| [Some(known.from), known.until]).flatten();
        moments.filter(|moment| *moment > now).min()
    }

    /// Those that mean a node in a zone, whatever their time; those that decide before others first.
    fn about(&self, zone: &str, node: &Node) -> impl Iterator<Item = &Arc<Override>> {
        // A node is the most specific target there is.
        let own = self.of_nodes.get(&node.address).into_iter().flatten().copied();
        let others = self.others.iter().filter(|(matcher, _)| matcher.matches(node)).map(|(_, index)| *index);
        own.chain(others).map(|index| &self.all[index]).filter(move |known| known.is_for(zone))
    }
}

#[cfg(test)]
mod tests;
