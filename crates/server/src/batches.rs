//! Calls about batches, and what a request says of other jobs.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::routes::Shared;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::When;
use dauer_engine::{BatchState, Follows, Whom};
use dauer_wire::http::{AfterView, BatchView, StopCall};
use serde::Deserialize;
use utoipa::IntoParams;

/// The query of `GET /v1/batches/{batch}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WaitParams {
    /// Answer when all of its jobs have ended.
    #[param(required = false)]
    wait: bool,
    /// With `wait`: also as soon as another number of them has ended.
    seen: Option<u64>,
}

/// How the jobs of a batch stand
///
/// With `wait` it is answered in the moment in which the last of them ends.
#[utoipa::path(get, path = "/v1/batches/{batch}", tag = "jobs", params(("batch" = String, Path, description = "Its handle."), WaitParams),
    responses((status = 200, description = "How many are in each state.", body = BatchView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(batch): Path<String>,
    Params(params): Params<WaitParams>,
) -> Result<Json<BatchView>, Refusal> {
    if params.seen.is_some() && !params.wait {
        return Err(Refusal::malformed("seen belongs to wait").at("seen"));
    }
    let state = if params.wait {
        shared.engine.wait_for_batch(&batch, params.seen).await?
    } else {
        shared.engine.batch(&batch).await?
    };
    Ok(Json(view(batch, state)))
}

/// Ends all jobs of a batch that have not ended: TERM, a grace, KILL
///
/// Answered when all have.
#[utoipa::path(post, path = "/v1/batches/{batch}/cancel", tag = "jobs", params(("batch" = String, Path, description = "Its handle.")),
    request_body = Option<StopCall>, responses((status = 200, description = "All have ended.", body = BatchView)))]
pub(crate) async fn cancel(
    State(shared): State<Shared>,
    Path(batch): Path<String>,
    Input(call): Input<StopCall>,
) -> Result<Json<BatchView>, Refusal> {
    let state = shared.engine.cancel_batch(&batch, call.grace_ms).await?;
    Ok(Json(view(batch, state)))
}

fn view(batch_id: String, state: BatchState) -> BatchView {
    BatchView {
        batch_id,
        total: state.total(),
        ended: state.ended(),
        states: state.states,
    }
}

/// What a request names to come after.
pub(crate) fn follows(after: Vec<AfterView>) -> Result<Vec<Follows>, Refusal> {
    let each = after.into_iter().enumerate().map(|(index, view)| {
        let wrong = |text: &str| Err(Refusal::malformed(text).at(format!("after[{index}]")));
        let whom = match (view.job, view.index) {
            (Some(job), None) => Whom::Job(job),
            (None, Some(place)) => Whom::Place(place),
            (Some(_), Some(_)) | (None, None) => {
                return wrong("give either job, or index: the place of a job in the same request");
            }
        };
        let when = match view.when.as_deref() {
            None | Some("completed") => When::Completed,
            Some("ended") => When::Ended,
            Some(_) => return wrong("when is completed or ended"),
        };
        Ok(Follows { whom, when })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_after_another_by_name_or_by_place() {
        let of = |json: &str| {
            let after = serde_json::from_str(json).unwrap();
            follows(vec![after]).map_err(|refusal| refusal.field.unwrap())
        };
        let named = Follows {
            whom: Whom::Job("build".into()),
            when: When::Completed,
        };
        assert_eq!(of(r#"{"job": "build"}"#), Ok(vec![named]));
        let placed = Follows {
            whom: Whom::Place(3),
            when: When::Ended,
        };
        assert_eq!(of(r#"{"index": 3, "when": "ended"}"#), Ok(vec![placed]));
        for wrong in [
            "{}",
            r#"{"job": "a", "index": 1}"#,
            r#"{"job": "a", "when": "soon"}"#,
        ] {
            assert_eq!(of(wrong), Err("after[0]".to_owned()));
        }
    }
}
