//! Telling every task that the process is to end.

use tokio::sync::watch;

/// The side that decides: created once by the node.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// The side that listens; cheap to clone, handed to every task.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A connected pair.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Begins the shutdown. Doing it twice is harmless.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether the shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the shutdown begins, or until the trigger is gone, which means the same.
    pub async fn wait(&mut self) {
        // An error means that the trigger was dropped: the node is gone, so stop too.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}
