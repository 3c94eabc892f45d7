//! The policy of a job as a request has it: what follows a failure, and how long it may take and wait.

use crate::error::Refusal;
use crate::spec::span_ms;
use dauer_core::plan::retention::KeepCheckpoints;
use dauer_core::{Jitter, Reason, RetryFrom, RetryOn, RetryPolicy};
use dauer_wire::http::{CreateJob, KeepCheckpointsView, RetryOnView, RetryView, Span};

/// A retry policy, which stands in this field.
pub(crate) fn retry(
    retry: Option<&RetryView>,
    field: &str,
) -> Result<Option<RetryPolicy>, Refusal> {
    let Some(retry) = retry else { return Ok(None) };
    let plain = RetryPolicy::default();
    let ms = |span: &Option<Span>, name: &str, otherwise: u64| match span {
        Some(span) => span_ms(span, &format!("{field}.{name}")),
        None => Ok(otherwise),
    };
    let retry_delay_ms = ms(&retry.retry_delay, "retry_delay", plain.retry_delay_ms)?;
    let longest = plain.max_delay_ms.max(retry_delay_ms);
    let jitter = retry.jitter.as_deref().map(|name| {
        Jitter::from_name(name).ok_or_else(|| {
            let text = format!("unknown jitter {name:?}: use none or full");
            Refusal::malformed(text).at(format!("{field}.jitter"))
        })
    });
    let from = retry.from.as_deref().map(|name| {
        RetryFrom::from_name(name).ok_or_else(|| {
            let text = format!("a retry cannot begin from {name:?}: use start or checkpoint");
            Refusal::malformed(text).at(format!("{field}.from"))
        })
    });
    Ok(Some(RetryPolicy {
        max_retries: retry.max_retries,
        retry_delay_ms,
        factor: retry.factor.unwrap_or(plain.factor),
        max_delay_ms: ms(&retry.max_delay, "max_delay", longest)?,
        jitter: jitter.transpose()?.unwrap_or(plain.jitter),
        retry_on: retry_on(retry.retry_on.as_ref(), &format!("{field}.retry_on"))?,
        from: from.transpose()?.unwrap_or(plain.from),
    }))
}

fn retry_on(view: Option<&RetryOnView>, field: &str) -> Result<RetryOn, Refusal> {
    let Some(view) = view else {
        return Ok(RetryOn::default());
    };
    let reasons = view.reasons.iter().enumerate().map(|(index, name)| {
        Reason::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Reason::ALL.into_iter().map(Reason::name).collect();
            let text = format!("unknown reason {name:?}: there are {}", names.join(", "));
            Refusal::malformed(text).at(format!("{field}.reasons[{index}]"))
        })
    });
    Ok(RetryOn {
        reasons: reasons.collect::<Result<_, _>>()?,
        exit_codes: view.exit_codes.clone(),
    })
}

/// The policy as clients see it.
pub(crate) fn retry_view(policy: &RetryPolicy) -> RetryView {
    let RetryOn {
        reasons,
        exit_codes,
    } = &policy.retry_on;
    let names = reasons.iter().map(|reason| reason.name().to_owned());
    RetryView {
        max_retries: policy.max_retries,
        retry_delay: Some(Span::Ms(policy.retry_delay_ms)),
        factor: Some(policy.factor),
        max_delay: Some(Span::Ms(policy.max_delay_ms)),
        jitter: Some(policy.jitter.name().to_owned()),
        retry_on: Some(RetryOnView {
            reasons: names.collect(),
            exit_codes: exit_codes.clone(),
        }),
        from: Some(policy.from.name().to_owned()),
    }
}

/// How long the whole job may take, and how long it may wait for its turn, in milliseconds.
pub(crate) fn timeouts(job: &CreateJob) -> Result<(Option<u64>, Option<u64>), Refusal> {
    let ms = |span: &Option<Span>, field: &str| {
        let span = span.as_ref().map(|span| span_ms(span, field));
        span.transpose()
    };
    let whole = ms(&job.job_timeout, "job_timeout")?;
    Ok((whole, ms(&job.queue_timeout, "queue_timeout")?))
}

/// Which checkpoints of a job are kept.
pub(crate) fn keep_checkpoints(
    view: Option<&KeepCheckpointsView>,
) -> Result<Option<KeepCheckpoints>, Refusal> {
    let Some(view) = view else {
        return Ok(None);
    };
    if view.last == 0 {
        let text = "a job keeps at least the checkpoint it would go on from: last is 1 or more";
        return Err(Refusal::malformed(text).at("keep_checkpoints.last"));
    }
    let for_ms = view.longest.as_ref();
    let for_ms = for_ms.map(|span| span_ms(span, "keep_checkpoints.for"));
    Ok(Some(KeepCheckpoints {
        last: view.last,
        for_ms: for_ms.transpose()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(json: serde_json::Value) -> RetryView {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_is_seen_of_a_policy_asks_for_the_same_one() {
        let policy = RetryPolicy {
            max_retries: 3,
            retry_delay_ms: 7,
            factor: 1.5,
            max_delay_ms: 70,
            jitter: Jitter::Full,
            retry_on: RetryOn {
                reasons: vec![Reason::Timeout, Reason::Lost],
                exit_codes: vec![75],
            },
            from: RetryFrom::Checkpoint,
        };
        let again = retry(Some(&retry_view(&policy)), "retry");
        assert_eq!(again.ok().flatten(), Some(policy));
    }

    #[test]
    fn a_wrong_word_is_named_with_its_field() {
        for (json, field, word) in [
            (
                serde_json::json!({"jitter": "half"}),
                "retry.jitter",
                "full",
            ),
            (
                serde_json::json!({"from": "middle"}),
                "retry.from",
                "checkpoint",
            ),
            (
                serde_json::json!({"retry_on": {"reasons": ["lost", "bored"]}}),
                "retry.retry_on.reasons[1]",
                "out_of_memory",
            ),
            (
                serde_json::json!({"max_delay": "soon"}),
                "retry.max_delay",
                "soon",
            ),
        ] {
            let refusal = retry(Some(&view(json)), "retry").unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some(field));
            assert!(refusal.detail.contains(word), "{}", refusal.detail);
        }
    }
}
