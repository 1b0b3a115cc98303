//! One place by one node's list, for an operator who wants to know before starting.

use std::{net::IpAddr, sync::Arc};

use super::localnodes::{self, BODY_LIMIT, List, Question};
use crate::{http::NodeClient, model::Failure};

/// The nodes of a datacenter, or of one of its racks, as a node lists them. One that ignores places lists its own
/// datacenter: [`look_at`](super::look_at) tells which do.
pub async fn list_of(
    client: &NodeClient,
    node: IpAddr,
    dc: &Arc<str>,
    rack: Option<&Arc<str>>,
) -> Result<List, Failure> {
    let question = match rack {
        Some(rack) => Question::Rack(dc.clone(), rack.clone()),
        None => Question::Datacenter(dc.clone()),
    };
    localnodes::read(&client.get(node, &question.path(), BODY_LIMIT).await?)
}
