//! Explanations as text, a step after the other.

use std::fmt;

use super::{DealStory, Explanation, NameStory, ReplyStory};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = &self.question;
        writeln!(f, "{} {}, asked by {}", asked.name, asked.rtype, asked.client)?;
        if self.access != "allowed" {
            writeln!(f, "  access    {} at this listener (server.access)", self.access)?;
        }
        if let Some(limit) = &self.rate_limit {
            writeln!(f, "  limit     {limit}")?;
        }
        self.names.iter().try_for_each(|name| name.fmt(f))?;
        self.reply.fmt(f)
    }
}

impl fmt::Display for NameStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.name)?;
        if let Some(zone) = &self.zone {
            writeln!(f, "  zone      {zone}")?;
        }
        if let Some(access) = self.access.filter(|access| *access != "allowed") {
            writeln!(f, "  access    {access} in this zone (its access rules)")?;
        }
        writeln!(f, "  name      {}", self.what)?;
        if let Some(scope) = &self.scope {
            let mut lines = scope.lines().into_iter();
            // The first line is for programs that read TXT records; here each part has a line of its own.
            lines.next();
            writeln!(f, "  scope     {}, tried in order: {}", scope.scope, scope.chain.join(", "))?;
            writeln!(f, "  epoch     {}", scope.epoch)?;
            lines.try_for_each(|line| writeln!(f, "            {line}"))?;
        }
        self.deal.iter().try_for_each(|deal| deal.fmt(f))
    }
}

impl fmt::Display for DealStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  ttl       {} s, {}", self.ttl, self.ttl_reason)?;
        let addresses = if self.records == 1 { "address" } else { "addresses" };
        writeln!(f, "  shape     {}, {} {addresses}: {}", self.shape, self.records, self.why)?;
        let weighed = if self.is_weighed { ", some nodes leading more often than others" } else { "" };
        let (rows, nodes) = (counted(self.rows, "row"), counted(self.nodes, "node"));
        writeln!(f, "  deck      {rows} of {nodes}{weighed}; each worker goes on from a place of its own:")?;
        for row in &self.next {
            let addresses: Vec<String> = row.iter().map(ToString::to_string).collect();
            let more = if row.len() < usize::from(self.records) { " ..." } else { "" };
            writeln!(f, "            {}{more}", addresses.join(" "))?;
        }
        Ok(())
    }
}

impl fmt::Display for ReplyStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(rcode) = &self.rcode else { return writeln!(f, "\nno reply ({})", self.outcome) };
        let authoritative = if self.authoritative { ", authoritative" } else { "" };
        let truncated = if self.truncated { " (truncated over UDP)" } else { "" };
        let (transport, octets) = (&self.transport, self.octets);
        writeln!(f, "\nreply over {transport}{truncated}: {rcode}{authoritative}, {octets} octets")?;
        for error in &self.extended_errors {
            writeln!(f, "  error     {error}")?;
        }
        let sections = [("answer", &self.answers), ("authority", &self.authorities), ("additional", &self.additionals)];
        for (section, records) in sections {
            records.iter().try_for_each(|record| writeln!(f, "  {section:<10}{record}"))?;
        }
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
