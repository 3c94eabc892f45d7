//! Accepting jobs, one or many.

use crate::batches;
use crate::definitions::resolved;
use crate::error::Refusal;
use crate::extract::{Input, Large};
use crate::gate::Caller;
use crate::routes::Shared;
use crate::view;
use axum::extract::State;
use axum::{Extension, Json};
use dauer_core::Job;
use dauer_engine::{RequestKey, Submission};
use dauer_wire::http::{CreateJob, CreateJobs, CreatedJob, CreatedJobs, JobView};
use http::{HeaderMap, StatusCode};

/// Jobs in one request.
const BATCH_MAX: usize = 10_000;

/// A key is a word, not a document.
const KEY_BYTES_MAX: usize = 255;

/// Where the key of a request may stand instead of in its body.
const KEY_HEADER: &str = "idempotency-key";

/// Accepts a job
///
/// Described here or by a definition. When this is answered, the job is durable; it begins as soon as it is due and there is
/// room. The same request with the same key is answered with the job it made the first time.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", request_body = CreateJob,
    params(("idempotency-key" = Option<String>, Header, description = "As `idempotency_key` in the body.")),
    responses((status = 201, description = "The job as it was accepted.", body = CreatedJob),
        (status = 200, description = "Another job of the same unique key, which was there before.", body = CreatedJob)))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Input(mut request): Input<CreateJob>,
) -> Result<(StatusCode, Json<CreatedJob>), Refusal> {
    let header = headers.get(KEY_HEADER).map(|value| value.to_str());
    let header = header.transpose().map_err(|_| {
        Refusal::malformed("the header Idempotency-Key is not plain text").at("idempotency_key")
    })?;
    match (&request.idempotency_key, header) {
        (Some(body), Some(header)) if body != header => {
            let text = "the header Idempotency-Key and the body's idempotency_key differ";
            return Err(Refusal::malformed(text).at("idempotency_key"));
        }
        (None, Some(header)) => request.idempotency_key = Some(header.to_owned()),
        (Some(_) | None, _) => {}
    }
    let key = request_key(&mut request)?;
    if let Some(key) = &key
        && let Some(job) = shared.engine.submitted(key).await?
    {
        return Ok((StatusCode::CREATED, Json(created(&shared, &job, false))));
    }
    let mut request = resolved(&shared, request).await?;
    let after = batches::follows(std::mem::take(&mut request.job.after))?;
    let spec = request.spec()?;
    caller.check_spec(&spec)?;
    let submission = Submission { spec, key, after };
    let accepted = shared.engine.submit(submission).await?;
    let status = if accepted.existing {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let body = created(&shared, &accepted.job, accepted.existing);
    Ok((status, Json(body)))
}

/// Accepts many jobs, all or none
///
/// In one transaction. They begin as there is room, the most urgent first.
#[utoipa::path(post, path = "/v1/jobs:batch", tag = "jobs", request_body = CreateJobs,
    responses((status = 201, description = "All of them are durable.", body = CreatedJobs)))]
pub(crate) async fn create_all(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Large(request): Large<CreateJobs>,
) -> Result<(StatusCode, Json<CreatedJobs>), Refusal> {
    if request.jobs.len() > BATCH_MAX {
        let text = format!(
            "{} jobs in one request: at most {BATCH_MAX}; send the rest in another one",
            request.jobs.len()
        );
        return Err(Refusal::too_long(text).at("jobs"));
    }
    let mut submissions = Vec::with_capacity(request.jobs.len());
    for (index, mut job) in request.jobs.into_iter().enumerate() {
        let place = |refusal: Refusal| refusal.within(&format!("jobs[{index}]"));
        let key = request_key(&mut job).map_err(place)?;
        let mut job = resolved(&shared, job).await.map_err(place)?;
        let after = batches::follows(std::mem::take(&mut job.job.after)).map_err(place)?;
        let spec = job.spec().map_err(place)?;
        caller.check_spec(&spec).map_err(place)?;
        submissions.push(Submission { spec, key, after });
    }
    let batch = shared
        .engine
        .submit_all(submissions, request.batch_id)
        .await?;
    let created = CreatedJobs {
        job_ids: batch.jobs.into_iter().map(|id| id.0).collect(),
        batch_id: batch.id,
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Takes the key out of a request; its digest is of all the rest.
fn request_key(request: &mut CreateJob) -> Result<Option<RequestKey>, Refusal> {
    let Some(key) = request.idempotency_key.take() else {
        return Ok(None);
    };
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let text = format!("an idempotency key has 1 to {KEY_BYTES_MAX} bytes");
        return Err(Refusal::malformed(text).at("idempotency_key"));
    }
    // As read and written again: the order of fields and the spaces between them mean nothing.
    let canonical = serde_json::to_vec(request)
        .map_err(|error| Refusal::malformed(format!("the body is not as expected: {error}")))?;
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&canonical));
    Ok(Some(RequestKey { key, digest }))
}

pub(crate) fn created(shared: &Shared, job: &Job, existing: bool) -> CreatedJob {
    CreatedJob {
        job_id: job.id.0.clone(),
        existing,
        job: JobView {
            cannot_freeze: shared.engine.cannot_freeze(&job.spec),
            ..view::job(job)
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> Option<RequestKey> {
        request_key(&mut serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn the_digest_is_of_what_is_asked_for_not_of_how_it_is_written() {
        let one = key(r#"{"argv": ["a"], "env": {"A": "1", "B": "2"}, "idempotency_key": "k"}"#);
        let same =
            key(r#"{ "idempotency_key":"k","env":{"B":"2","A":"1"},"argv":["a"],"tty":false}"#);
        let other = key(r#"{"argv": ["a"], "env": {"A": "1"}, "idempotency_key": "k"}"#);
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_eq!(key(r#"{"argv": ["a"]}"#), None);
    }

    #[test]
    fn a_key_has_a_length() {
        for wrong in [String::new(), "k".repeat(256)] {
            let mut request = CreateJob {
                idempotency_key: Some(wrong),
                ..CreateJob::default()
            };
            let refusal = request_key(&mut request).expect_err("accepted");
            assert_eq!(refusal.field.as_deref(), Some("idempotency_key"));
        }
    }
}
