//! A few connections for reading, used on blocking threads: a slow disk holds up nobody who does not read.

use super::fault::Fault;
use super::open;
use crate::Error;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Reads that run at once. Each connection costs at most its page cache of 2 MB.
const READERS_MAX: usize = 4;

#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn of(path: PathBuf) -> Self {
        let permits = Arc::new(Semaphore::new(READERS_MAX));
        Self {
            shared: Arc::new(Shared {
                path,
                idle: Mutex::new(Vec::new()),
                permits,
            }),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.shared.path.clone()
    }

    /// Runs a read on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(&shared.permits)
            .acquire_owned()
            .await
            .expect("invariant: the permits are never closed");
        let work = move || {
            let _permit = permit;
            // A read that panics takes its connection with it; the next read opens another.
            let connection = match shared.idle().pop() {
                Some(connection) => connection,
                None => open::reader(&shared.path)?,
            };
            let result = read(&connection);
            shared.idle().push(connection);
            result
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|fault| fault.in_file(&self.shared.path)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down and drops this task too.
                Err(_) => Err(super::fault::failed("the runtime is shutting down", None)),
            },
        }
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A push or pop cannot leave the list half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}
