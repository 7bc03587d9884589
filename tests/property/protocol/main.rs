//! The wire against an independent witness, the `kafka-protocol` crate: every message in every
//! version, both directions; record batches; codecs. And golden bytes where the witness ends.
//!
//! A failure of a property prints the shrunken tape that its message was made from.

mod debug_tree;
mod golden;
mod headers;
mod messages;
mod records;
