//! A process of the cluster: start, lifecycle, reconciliation, admin port.
//!
//! Floor 6.
