//! One partition's bytes: segments, indexes, recovery, retention.
//!
//! Floor 1.
