//! The replication rules, pure: inputs in, effects out.
//!
//! Floor 2.
