//! What our own probes believe of each node.
