//! The client against a broker that answers as a script says.

mod fake;
mod fetching;
mod producing;
mod speaking;

use super::{Cluster, ClusterOptions};
use fake::Fake;
use std::sync::Arc;

async fn cluster(fake: &Fake) -> Arc<Cluster> {
    let options = ClusterOptions {
        bootstrap: vec![fake.address.clone()],
        request_timeout_ms: 5_000,
        retry_backoff_ms: 5,
        ..ClusterOptions::default()
    };
    Cluster::connect(options).await.expect("the fake broker is there")
}
