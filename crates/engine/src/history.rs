//! What was done, by whom and why: the history as callers ask for it.

use crate::{Engine, Error};
use dauer_store::{HistoryFilter, HistoryPage};

impl Engine {
    /// A page of the history of jobs and of everything else. There may be fewer records than asked for, and more behind them.
    ///
    /// # Errors
    /// `NotFound` where it is that of a job that there is not.
    pub async fn history(&self, filter: HistoryFilter) -> Result<HistoryPage, Error> {
        if let Some(job) = &filter.job {
            self.job(job).await?;
        }
        Ok(self.store().history(filter).await?)
    }
}
