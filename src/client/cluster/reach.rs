//! Finding a broker that answers.

use super::{Backoff, Cluster};
use crate::client::connection::Connection;
use crate::client::error::Attempt;
use crate::client::{Address, Error};
use std::time::Duration;
use tokio::time::Instant;

impl Cluster {
    /// Some connection that works: the last one that did, or the first broker that answers, of
    /// those that are known and of the bootstrap list, over and over until `reach_timeout_ms`.
    pub(crate) async fn any_connection(&self) -> Result<Connection, Error> {
        if let Some(open) = self.lock().any.clone().filter(|open| !open.is_closed()) {
            return Ok(open);
        }
        let begun = Instant::now();
        let limit = Duration::from_millis(self.options.reach_timeout_ms);
        let mut attempts: Vec<Attempt> = Vec::new();
        // Quick at first: a broker that is starting is a matter of milliseconds.
        let mut backoff = Backoff::new(self.options.retry_backoff_ms.min(50));
        loop {
            let mut hopeless = true;
            for address in self.candidates() {
                match self.try_address(&address, limit.saturating_sub(begun.elapsed())).await {
                    Ok(connection) => {
                        self.lock().any = Some(connection.clone());
                        return Ok(connection);
                    }
                    Err(error) => {
                        // Another program listens there; it will not turn into a broker.
                        hopeless &= matches!(error, Error::Protocol { .. });
                        note(&mut attempts, address, &error);
                    }
                }
                if begun.elapsed() >= limit {
                    break;
                }
            }
            if hopeless || begun.elapsed() >= limit {
                let waited_ms = begun.elapsed().as_millis() as u64;
                return Err(Error::Unreachable { attempts, waited_ms });
            }
            let rest = limit.saturating_sub(begun.elapsed());
            tokio::time::sleep(backoff.step().min(rest)).await;
        }
    }

    /// Gives a connection up that failed, so that the next call looks for another.
    pub(crate) fn forget(&self, connection: &Connection) {
        let mut state = self.lock();
        if state.any.as_ref().is_some_and(|any| any.address() == connection.address()) {
            state.any = None;
        }
    }

    /// Whether a broker answers at an address now, on a connection of its own.
    pub(crate) async fn answers(&self, address: &Address) -> bool {
        Connection::open(address, &self.connection_options()).await.is_ok()
    }

    async fn try_address(&self, address: &Address, rest: Duration) -> Result<Connection, Error> {
        let mut options = self.connection_options();
        let rest_ms = rest.as_millis() as u64;
        options.connect_timeout_ms = options.connect_timeout_ms.min(rest_ms.max(1));
        Connection::open(address, &options).await
    }

    /// Brokers that metadata named, then the bootstrap list.
    fn candidates(&self) -> Vec<Address> {
        let mut all: Vec<Address> = {
            let state = self.lock();
            state.snapshot.brokers.values().map(|broker| broker.address.clone()).collect()
        };
        for address in &self.options.bootstrap {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }
}

fn note(attempts: &mut Vec<Attempt>, address: Address, error: &Error) {
    let cause = match error {
        Error::Disconnected { cause, .. } => cause.clone(),
        Error::Timeout { waited_ms, .. } => format!("no answer within {waited_ms} ms"),
        Error::Protocol { cause, .. } => format!("not a Kafka broker ({cause})"),
        other => other.to_string(),
    };
    match attempts.iter_mut().find(|attempt| attempt.address == address) {
        Some(attempt) => {
            // The last try may be cut short by the limit: a time-out says less than what came before.
            if !matches!(error, Error::Timeout { .. }) {
                attempt.cause = cause;
            }
            attempt.times += 1;
        }
        None => attempts.push(Attempt { address, cause, times: 1 }),
    }
}
