//! What `run` and `submit` can say of a job's failures and times.

use clap::builder::PossibleValue;
use dauer_core::parse;
use dauer_core::{Jitter, Reason, RetryFrom};
use dauer_wire::http::{CreateJob, KeepCheckpointsView, RetryOnView, RetryView, Span};

/// The options of both commands.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Policy {
    /// How often it is tried again when it fails
    #[arg(long, value_name = "NUMBER", visible_alias = "retries")]
    max_retries: Option<u32>,
    /// Before the first retry; each further delay is twice as long, or as many times as --retry-factor says
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms, requires = "max_retries")]
    retry_delay: Option<u64>,
    /// By how much each delay is longer than the one before, from 1 to 100
    #[arg(long, value_name = "NUMBER", requires = "max_retries")]
    retry_factor: Option<f64>,
    /// No delay is longer; an hour where absent
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms, requires = "max_retries")]
    retry_max_delay: Option<u64>,
    /// With full a delay is any from none to the computed one, so that jobs that failed together do not come back together
    #[arg(long, value_name = "none|full", value_parser = names([Jitter::None, Jitter::Full].map(Jitter::name)),
        requires = "max_retries")]
    jitter: Option<String>,
    /// Only what failed like this is tried again: reasons and exit codes, for example timeout,lost,75
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',', value_parser = cause, requires = "max_retries")]
    retry_on: Vec<Cause>,
    /// Where a retry begins: at the program's start, or in its newest checkpoint
    #[arg(long, value_name = "start|checkpoint",
        value_parser = names([RetryFrom::Start, RetryFrom::Checkpoint].map(RetryFrom::name)), requires = "max_retries")]
    retry_from: Option<String>,
    /// How long it may take with all its attempts and the waits between them
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    job_timeout: Option<u64>,
    /// How long it may wait for its turn
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    queue_timeout: Option<u64>,
    /// --timeout and --job-timeout go on while it is suspended
    #[arg(long)]
    timeouts_while_suspended: bool,
    /// How many of its checkpoints are kept, and how long at most, so that it can go back to them: 5, or 5,7d
    #[arg(long, value_name = "NUMBER[,DURATION]", value_parser = keep_checkpoints)]
    keep_checkpoints: Option<KeepCheckpointsView>,
    /// The job it belongs to: `dauer cancel --children` ends it with that one
    #[arg(long, value_name = "JOB")]
    parent: Option<String>,
}

/// What a failure is told by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    Reason(Reason),
    ExitCode(i32),
}

fn names<const N: usize>(names: [&'static str; N]) -> [PossibleValue; N] {
    names.map(PossibleValue::new)
}

fn cause(text: &str) -> Result<Cause, String> {
    if let Some(reason) = Reason::from_name(text) {
        return Ok(Cause::Reason(reason));
    }
    text.parse().map(Cause::ExitCode).map_err(|_| {
        let reasons: Vec<&str> = Reason::ALL.into_iter().map(Reason::name).collect();
        format!(
            "{text:?} is neither an exit code nor one of {}",
            reasons.join(", ")
        )
    })
}

fn keep_checkpoints(text: &str) -> Result<KeepCheckpointsView, String> {
    let (last, longest) = match text.split_once(',') {
        Some((last, longest)) => (last, Some(Span::Ms(parse::duration_ms(longest)?))),
        None => (text, None),
    };
    let wrong = || format!("{text:?} is not a number from 1, or one with a duration: 5, or 5,7d");
    let last = last.parse().ok().filter(|last| *last > 0);
    Ok(KeepCheckpointsView {
        last: last.ok_or_else(wrong)?,
        longest,
    })
}

impl Policy {
    /// Writes it into a request.
    pub(crate) fn add_to(&self, job: &mut CreateJob) {
        job.retry = self.max_retries.map(|max_retries| RetryView {
            max_retries,
            retry_delay: self.retry_delay.map(Span::Ms),
            factor: self.retry_factor,
            max_delay: self.retry_max_delay.map(Span::Ms),
            jitter: self.jitter.clone(),
            retry_on: (!self.retry_on.is_empty()).then(|| self.retry_on()),
            from: self.retry_from.clone(),
        });
        job.job_timeout = self.job_timeout.map(Span::Ms);
        job.queue_timeout = self.queue_timeout.map(Span::Ms);
        job.timeouts_while_suspended = self.timeouts_while_suspended;
        job.keep_checkpoints.clone_from(&self.keep_checkpoints);
        job.parent.clone_from(&self.parent);
    }

    fn retry_on(&self) -> RetryOnView {
        let mut on = RetryOnView::default();
        for cause in &self.retry_on {
            match cause {
                Cause::Reason(reason) => on.reasons.push(reason.name().to_owned()),
                Cause::ExitCode(code) => on.exit_codes.push(*code),
            }
        }
        on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_a_reason_or_an_exit_code_and_else_all_are_named() {
        assert_eq!(cause("lost"), Ok(Cause::Reason(Reason::Lost)));
        assert_eq!(cause("75"), Ok(Cause::ExitCode(75)));
        let text = cause("boredom").unwrap_err();
        assert!(
            text.contains("crash_loop") && text.contains("boredom"),
            "{text}"
        );
    }
}
