//! What `run` and `submit` can say of where a job stands among others: its queue, its key, what it follows and repeats.

use clap::ValueHint;
use dauer_core::parse;
use dauer_wire::http::{AfterView, CreateJob, UniqueView};

/// The options of both commands.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Standing {
    /// The queue it waits in: see `dauer queue` [default: default]
    #[arg(long, value_name = "QUEUE", value_parser = parse::name)]
    queue: Option<String>,
    /// Jobs of a queue with the same key share the limits that it has for a key
    #[arg(long, value_name = "KEY", value_hint = ValueHint::Other)]
    key: Option<String>,
    /// Where a job with this key has not ended, that one stands for it: no other one is made
    #[arg(long, value_name = "KEY", value_hint = ValueHint::Other)]
    unique: Option<String>,
    /// Where another job stands for it: take that (existing) or fail (refuse)
    #[arg(long, value_name = "WHAT", value_parser = ["existing", "refuse"], requires = "unique")]
    on_conflict: Option<String>,
    /// It begins when this job has completed, and fails where that fails; JOB:ended for however it ends; repeatable
    #[arg(long, value_name = "JOB[:ended]", value_parser = after)]
    after: Vec<AfterView>,
}

impl Standing {
    /// Writes them into a request.
    pub(crate) fn add_to(&self, job: &mut CreateJob) {
        job.queue.clone_from(&self.queue);
        job.concurrency_key.clone_from(&self.key);
        job.unique = self.unique.clone().map(|key| UniqueView {
            key,
            states: Vec::new(),
            on_conflict: self.on_conflict.clone(),
        });
        job.after.clone_from(&self.after);
    }
}

fn after(text: &str) -> Result<AfterView, String> {
    let (job, when) = match text.split_once(':') {
        Some((job, when @ ("completed" | "ended"))) => (job, Some(when.to_owned())),
        Some((_, when)) => {
            return Err(format!(
                "{when:?} is no way to end: write for example build, or build:ended"
            ));
        }
        None => (text, None),
    };
    Ok(AfterView {
        job: Some(job.to_owned()),
        index: None,
        when,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_after_one_that_completes_or_ends() {
        let when = |text| after(text).map(|after| (after.job.unwrap(), after.when));
        assert_eq!(when("build"), Ok(("build".into(), None)));
        assert_eq!(when("b:ended"), Ok(("b".into(), Some("ended".into()))));
        assert!(when("b:soon").unwrap_err().contains("build:ended"));
    }
}
