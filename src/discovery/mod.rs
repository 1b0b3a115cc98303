//! Which nodes exist and where, asked from the nodes themselves.
