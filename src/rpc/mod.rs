//! Node-to-node calls over tarpc.
//!
//! Floor 1.
