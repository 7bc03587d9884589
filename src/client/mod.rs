//! A native Kafka client: producer, consumer, admin.
//!
//! Floor 5.
