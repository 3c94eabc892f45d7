//! Why a job does not begin, for somebody who waits for it in the foreground.

use crate::render;
use dauer_client::Client;
use std::time::Duration;

/// A job that has not begun after so long deserves a word; one that begins at once none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Once it has waited for a while: what it waits for, and what lets it begin. `None` where it has begun, or nobody can say.
pub(crate) async fn for_what(client: &Client, id: &str) -> Option<String> {
    tokio::time::sleep(PATIENCE).await;
    // A daemon that is away is the business of whoever follows the job's output.
    let job = client.job(id).await.ok()?;
    if job.state != "pending" || job.operation.is_some() {
        return None;
    }
    let cancel = format!("`dauer cancel {}` gives it up", job.id);
    if !job.blocked_by.is_empty() {
        let others = job.blocked_by.join(", ");
        return Some(format!("it begins after {others}; {cancel}"));
    }
    let now = jiff::Timestamp::now().as_millisecond();
    if let Some(left) = job.wake_at.map(|at| at - now).filter(|left| *left > 0) {
        return Some(format!("it begins in {}; {cancel}", render::duration(left)));
    }
    if let Some(why) = client.queues().await.ok()?.all_paused {
        return Some(format!(
            "nothing begins, in no queue: {why}; end that with `dauer queue resume --all`"
        ));
    }
    let name = &job.queue;
    let queue = client.queue(name).await.ok()?;
    Some(match queue.settings.paused {
        true => format!(
            "its queue {name} is paused; `dauer queue resume {name}` lets it begin, {cancel}"
        ),
        false => format!(
            "waiting for its turn in queue {name}: {} running, {} waiting; {cancel}",
            queue.running, queue.waiting
        ),
    })
}
