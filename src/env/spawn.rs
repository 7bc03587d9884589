//! Starting tasks whose panics are caught, counted and logged, never spread.
//!
//! Invariant: a panic in one connection or one partition ends that task alone. The count of
//! caught panics is a metric, and anything above zero is a bug.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use tokio::task::JoinHandle;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics have been caught since the process started.
#[must_use]
pub fn panics_caught() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts a panic that was caught elsewhere, for instance on a flusher thread.
pub fn count_panic(task: &str, panic: &(dyn std::any::Any + Send)) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(task, message, "a task panicked; it was stopped, the node goes on");
}

/// Runs `future` as a task of the current runtime. A panic inside ends the task with `None`.
pub fn spawn<F>(task: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    tokio::spawn(async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(output) => Some(output),
            Err(panic) => {
                count_panic(task, panic.as_ref());
                None
            }
        }
    })
}

/// Runs `work`, which may wait for a disk, on the runtime's pool for such work, so that it holds
/// up no other task. `None` when it panicked (counted), or when the runtime is going down.
pub async fn blocking<T: Send + 'static>(
    task: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let caught = move || match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(output) => Some(output),
        Err(panic) => {
            count_panic(task, panic.as_ref());
            None
        }
    };
    tokio::task::spawn_blocking(caught).await.ok().flatten()
}

/// Does `work` for every item, on up to `threads_max` threads of its own, and returns when all are
/// done. A panic ends the work on its item alone, counted.
pub fn in_parallel<T: Send>(
    task: &'static str,
    threads_max: usize,
    items: Vec<T>,
    work: impl Fn(T) + Sync,
) {
    let threads = threads_max.min(items.len());
    let queue = Mutex::new(items.into_iter());
    let run = || {
        loop {
            // A panic under this lock is a panic of `next` of a vector's iterator: there is none.
            let item = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(item))) {
                count_panic(task, panic.as_ref());
            }
        }
    };
    if threads <= 1 {
        return run();
    }
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
}

/// Runs `work` on its own named thread. A panic inside ends the thread, counted.
///
/// # Errors
/// When the system refuses another thread.
pub fn thread(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            count_panic(name, panic.as_ref());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_task_and_is_counted() {
        let before = panics_caught();
        let outcome = spawn("test", async { panic!("on purpose") }).await.expect("joined");
        assert!(outcome.is_none());
        assert!(panics_caught() > before);
    }

    #[test]
    fn parallel_work_reaches_every_item_whatever_happens_to_one() {
        let sum = AtomicU64::new(0);
        let before = panics_caught();
        in_parallel("test", 3, (1..=100).collect(), |number: u64| {
            assert_ne!(number, 50, "on purpose");
            sum.fetch_add(number, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 5050 - 50);
        assert!(panics_caught() > before);
    }

    #[tokio::test]
    async fn blocking_work_gives_its_result_or_is_counted() {
        assert_eq!(blocking("test", || 7).await, Some(7));
        let before = panics_caught();
        assert_eq!(blocking("test", || panic!("on purpose")).await, None::<()>);
        assert!(panics_caught() > before);
    }
}
