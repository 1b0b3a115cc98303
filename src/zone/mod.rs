//! Names: zone files, and the labels made from ScyllaDB's names.
//!
//! | word | meaning |
//! |---|---|
//! | zone file | RFC 1035 master format: the static records of one zone ([`file`](mod@file)) |
//! | [`StaticZone`](file::StaticZone) | what a zone file says, validated |
//! | [`RrSet`](file::RrSet) | all records of one owner name and type |
//! | slug | the DNS label of a datacenter's or rack's name ([`label::slug`]) |
//! | underscore form | its alias that keeps underscores ([`label::underscore_form`]) |
//! | node label | the label of one node's own name ([`label::node_label`]) |

pub mod file;
pub mod label;
