//! The shell around one partition: its log, its replica state, its waiters.
//!
//! Floor 2.
