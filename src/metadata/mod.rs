//! The replicated metadata: a Raft group, its state machine, and the image that others read.
//!
//! Floor 3.
