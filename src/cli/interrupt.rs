//! Interrupts (SIGINT, SIGTERM) as something to wait for: the first asks for an orderly end, the
//! second for any end.

use super::failure::Failure;
use crate::env::spawn;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Counts interrupts.
#[derive(Debug, Clone)]
pub(super) struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    /// Takes interrupts over from the system, which would end the process at the first.
    pub(super) fn listen() -> Result<Self, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(0);
        drop(spawn::spawn("interrupts", async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        }));
        Ok(Self(receiver))
    }

    /// Waits until so many interrupts came; a count that was reached before is there at once.
    pub(super) async fn wait(&mut self, count: u32) {
        if self.0.wait_for(|seen| *seen >= count).await.is_err() {
            // The listener is gone with its runtime: none will come.
            std::future::pending::<()>().await;
        }
    }
}
