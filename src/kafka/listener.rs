//! Accepting connections, within their bounds.
//!
//! Invariant: the number of connections never exceeds the two caps (all, and per address); one
//! that would is closed at once and counted.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::metrics::Metrics;
use crate::env::shutdown::Shutdown;
use crate::env::spawn;

/// Pause after an accept that failed, usually for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionCaps {
    /// Of all addresses together.
    pub(super) total: usize,
    /// Of one address.
    pub(super) per_address: usize,
}

/// Counts connections by address.
#[derive(Debug)]
struct Census {
    caps: ConnectionCaps,
    counts: Mutex<Counts>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One counted connection, until dropped.
#[derive(Debug)]
struct Counted {
    census: Arc<Census>,
    address: IpAddr,
}

impl Census {
    /// Counts one more connection, unless a cap is reached.
    fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<Counted> {
        let address = peer.ip().to_canonical();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.total >= self.caps.total || of_address >= self.caps.per_address {
            Metrics::add(&self.metrics.connections_refused, 1);
            return None;
        }
        counts.total += 1;
        counts.by_address.insert(address, of_address + 1);
        Metrics::set(&self.metrics.connections_open, counts.total as u64);
        Some(Counted { census: Arc::clone(self), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.census.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        match counts.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.by_address.remove(&self.address);
            }
        }
        Metrics::set(&self.census.metrics.connections_open, counts.total as u64);
    }
}

/// Accepts connections and runs `serve` on each as a task of its own, until the shutdown. Returns
/// once the last of them ended.
pub(super) async fn accept_all<F, S>(
    listener: TcpListener,
    caps: ConnectionCaps,
    metrics: Arc<Metrics>,
    mut shutdown: Shutdown,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let census = Arc::new(Census { caps, counts: Mutex::default(), metrics });
    // Closed once every connection dropped its end.
    let (alive, mut all_ended) = tokio::sync::mpsc::channel::<()>(1);
    let refusal_told = AtomicBool::new(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let Some(counted) = census.admit(peer) else {
            // Once per run of refusals: an attacker must not fill the log.
            if !refusal_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(%peer, ?caps, "connection refused: too many are open");
            }
            continue;
        };
        refusal_told.store(false, Ordering::Relaxed);
        // Answers are written whole; waiting for more to fill a segment only adds delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
        }
        let connection = serve(socket, peer);
        let alive = alive.clone();
        spawn::spawn("kafka connection", async move {
            let _held = (counted, alive);
            connection.await;
        });
    }
    drop((listener, alive));
    let _ = all_ended.recv().await;
}

async fn pause_after(error: &io::Error) {
    // A connection that was reset before it was accepted costs nothing and needs no pause.
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "cannot accept a connection; the limit of open files may be too low");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let caps = ConnectionCaps { total: 3, per_address: 2 };
        let metrics = Arc::new(Metrics::default());
        let census =
            Arc::new(Census { caps, counts: Mutex::default(), metrics: Arc::clone(&metrics) });
        let admit = |text: &str| census.admit(text.parse().expect("an address"));

        let a = admit("10.0.0.1:1").expect("room");
        let b = admit("[::ffff:10.0.0.1]:2").expect("room");
        assert!(admit("10.0.0.1:3").is_none(), "the same address, however it is written");
        let _c = admit("10.0.0.2:1").expect("room");
        assert!(admit("10.0.0.3:1").is_none(), "all are in use");
        drop(a);
        assert!(admit("10.0.0.3:1").is_some());
        drop(b);
        assert!(admit("10.0.0.1:4").is_some());
        assert_eq!(Metrics::get(&metrics.connections_refused), 2);
        assert_eq!(Metrics::get(&metrics.connections_open), 1);
    }
}
