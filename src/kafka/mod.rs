//! The client port.
//!
//! Floor 5.
