//! Calls about definitions, and what a job takes from one.

use crate::error::Refusal;
use crate::extract::{self, Input, Params};
use crate::routes::Shared;
use crate::{policy, spec};
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{Definition, DefinitionRef, JobSpec, SnapshotAfter, Warm};
use dauer_engine::{DefinitionFilter, TemplateState};
use dauer_wire::http::{
    CreateDefinition, CreateJob, DefinitionPage, DefinitionRefView, DefinitionView, TemplateView,
    Templates, WarmView,
};
use http::StatusCode;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::IntoParams;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// Registers a definition
///
/// It is checked as a job of it would be. What is registered never changes: the same words again are answered as the first
/// time, other words under the same name and version are refused.
#[utoipa::path(post, path = "/v1/definitions", tag = "definitions", request_body = CreateDefinition,
    responses((status = 201, description = "The definition as it is registered.", body = DefinitionView)))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Input(request): Input<CreateDefinition>,
) -> Result<(StatusCode, Json<DefinitionView>), Refusal> {
    let retry = request.retry_policy.as_ref();
    let retry_policy = policy::retry(retry, "retry_policy")?;
    let definition = Definition {
        name: request.name,
        version: request.version,
        runtime_type: request.runtime_type,
        config: request.config,
        retry_policy: retry_policy.unwrap_or_default(),
        metadata: request.metadata,
        warm: request.warm.as_ref().map(warm).transpose()?,
        created_at: spec::now(),
    };
    let sample = merged(CreateJob::default(), &definition)?;
    let sample = spec::from_request(sample).map_err(|refusal| refusal.within("config"))?;
    let registered = shared.engine.define(definition, sample).await?;
    Ok((StatusCode::CREATED, Json(view(registered))))
}

/// The query of `GET /v1/definitions`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only those of this name.
    name: Option<String>,
    /// At most so many; 100 where absent, never more than 1000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Definitions, by name and version, in pages
#[utoipa::path(get, path = "/v1/definitions", tag = "definitions", params(ListParams),
    responses((status = 200, description = "A page.", body = DefinitionPage)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<DefinitionPage>, Refusal> {
    let after = params.cursor.as_deref().map(cursor).transpose()?;
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let filter = DefinitionFilter {
        name: params.name,
        after,
        // One more than asked for tells whether there is a next page.
        limit: limit + 1,
    };
    let mut definitions = shared.engine.definitions(filter).await?;
    let more = definitions.len() > limit;
    definitions.truncate(limit);
    let last = definitions.last().filter(|_| more);
    let next_cursor = last.map(|last| format!("{}@{}", last.name, last.version));
    Ok(Json(DefinitionPage {
        definitions: definitions.into_iter().map(view).collect(),
        next_cursor,
    }))
}

fn cursor(text: &str) -> Result<DefinitionRef, Refusal> {
    let (name, version) = text
        .split_once('@')
        .ok_or_else(|| Refusal::malformed("the cursor is none of a page before").at("cursor"))?;
    Ok(DefinitionRef {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

/// One definition
#[utoipa::path(get, path = "/v1/definitions/{name}/{version}", tag = "definitions",
    params(("name" = String, Path, description = "Its name."),
        ("version" = String, Path, description = "Its version, or `latest`: the highest by the order of semver.org.")),
    responses((status = 200, description = "The definition.", body = DefinitionView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<DefinitionView>, Refusal> {
    let definition = shared.engine.definition(&name, &version).await?;
    let id = DefinitionRef {
        name: definition.name.clone(),
        version: definition.version.clone(),
    };
    let state = shared.engine.template(&id).await?;
    Ok(Json(DefinitionView {
        template: state.as_ref().map(template_view),
        ..view(definition)
    }))
}

/// Removes a definition
///
/// Jobs that were made from it keep everything.
#[utoipa::path(delete, path = "/v1/definitions/{name}/{version}", tag = "definitions",
    params(("name" = String, Path, description = "Its name."),
        ("version" = String, Path, description = "Its version, or `latest`: the highest by the order of semver.org.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    shared.engine.undefine(&name, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What jobs of definitions begin from
///
/// The states that first runs left when they said that they were ready, on this node.
#[utoipa::path(get, path = "/v1/templates", tag = "definitions",
    responses((status = 200, description = "All of them.", body = Templates)))]
pub(crate) async fn templates(State(shared): State<Shared>) -> Result<Json<Templates>, Refusal> {
    let states = shared.engine.templates().await?;
    let templates = states.iter().map(template_view).collect();
    Ok(Json(Templates { templates }))
}

/// Removes what jobs of a definition begin from
///
/// The next one begins with its program, and leaves another. Jobs that began from it keep what they need.
#[utoipa::path(delete, path = "/v1/definitions/{name}/{version}/template", tag = "definitions",
    params(("name" = String, Path, description = "Its name."),
        ("version" = String, Path, description = "Its version, or `latest`: the highest by the order of semver.org.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn remove_template(
    State(shared): State<Shared>,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    shared.engine.remove_template(&name, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) fn reference(id: &DefinitionRef) -> DefinitionRefView {
    DefinitionRefView {
        name: id.name.clone(),
        version: id.version.clone(),
    }
}

fn template_view(state: &TemplateState) -> TemplateView {
    let snapshot = &state.snapshot;
    TemplateView {
        definition: reference(&state.template.definition),
        snapshot: snapshot.id.0.clone(),
        job: snapshot.job.as_ref().map(|job| job.0.clone()),
        driver: snapshot.driver.clone(),
        created_at: snapshot.created_at.0,
        memory_bytes: snapshot.memory_bytes,
        disk_bytes: snapshot.disk_bytes,
        pool: state.template.pool,
        waiting: state.waiting,
    }
}

fn warm(view: &WarmView) -> Result<Warm, Refusal> {
    if view.snapshot_after != "ready" {
        let text = format!(
            "there is no moment {:?} to freeze the first run at: use ready",
            view.snapshot_after
        );
        return Err(Refusal::malformed(text).at("warm.snapshot_after"));
    }
    Ok(Warm {
        snapshot_after: SnapshotAfter::Ready,
        pool: view.pool,
    })
}

fn warm_view(warm: Warm) -> WarmView {
    WarmView {
        snapshot_after: match warm.snapshot_after {
            SnapshotAfter::Ready => "ready".to_owned(),
        },
        pool: warm.pool,
    }
}

fn view(definition: Definition) -> DefinitionView {
    DefinitionView {
        name: definition.name,
        version: definition.version,
        runtime_type: definition.runtime_type,
        config: definition.config,
        retry_policy: policy::retry_view(&definition.retry_policy),
        metadata: definition.metadata,
        warm: definition.warm.map(warm_view),
        template: None,
        created_at: definition.created_at.0,
    }
}

/// What is asked for in a request over a definition: what the request says wins, maps are joined.
pub(crate) fn merged(job: CreateJob, definition: &Definition) -> Result<CreateJob, Refusal> {
    let template = template(&definition.config)?;
    Ok(CreateJob {
        definition_name: Some(definition.name.clone()),
        definition_version: Some(definition.version.clone()),
        name: job.name,
        argv: filled(job.argv, template.argv),
        env: joined(template.env, job.env),
        workdir: job.workdir.or(template.workdir),
        driver: job.driver.or_else(|| Some(definition.runtime_type.clone())),
        image: job.image.or(template.image),
        entrypoint: job.entrypoint.or(template.entrypoint),
        mounts: filled(job.mounts, template.mounts),
        inject: job.inject.or(template.inject),
        cpu_millis: job.cpu_millis.or(template.cpu_millis),
        memory_bytes: job.memory_bytes.or(template.memory_bytes),
        // Two ways to say one thing: whichever the request used stands alone.
        timeout_ms: job
            .timeout_ms
            .or(template.timeout_ms.filter(|_| job.timeout.is_none())),
        timeout: job
            .timeout
            .or(template.timeout.filter(|_| job.timeout_ms.is_none())),
        network: job.network.or(template.network),
        publish: filled(job.publish, template.publish),
        user: job.user.or(template.user),
        tty: job.tty || template.tty,
        stdin: job.stdin || template.stdin,
        remove_on_exit: job.remove_on_exit || template.remove_on_exit,
        stop_grace_ms: job.stop_grace_ms.or(template.stop_grace_ms),
        params: job.params,
        metadata: joined(definition.metadata.clone(), job.metadata),
        tags: joined(template.tags, job.tags),
        priority: job.priority.or(template.priority),
        retry: job
            .retry
            .or_else(|| Some(policy::retry_view(&definition.retry_policy))),
        run_at: job.run_at,
        delay: job.delay,
        idempotency_key: job.idempotency_key,

        job_timeout: job.job_timeout.or(template.job_timeout),
        queue_timeout: job.queue_timeout.or(template.queue_timeout),
        timeouts_while_suspended: job.timeouts_while_suspended || template.timeouts_while_suspended,
        parent: job.parent,

        queue: job.queue.or(template.queue),
        concurrency_key: job.concurrency_key.or(template.concurrency_key),
        unique: job.unique.or(template.unique),
        after: job.after,
        keep_checkpoints: job.keep_checkpoints.or(template.keep_checkpoints),
        from: job.from,
    })
}

fn filled<T>(own: Vec<T>, template: Vec<T>) -> Vec<T> {
    if own.is_empty() { template } else { own }
}

fn joined<K: Ord, V>(mut template: BTreeMap<K, V>, own: BTreeMap<K, V>) -> BTreeMap<K, V> {
    template.extend(own);
    template
}

/// The config of a definition as the request that it stands for.
fn template(config: &serde_json::Value) -> Result<CreateJob, Refusal> {
    if !config.is_object() {
        return Err(Refusal::malformed("a config is an object of fields").at("config"));
    }
    let template: CreateJob = extract::typed(config).map_err(|refusal| refusal.within("config"))?;
    let foreign = [
        ("name", template.name.is_some()),
        ("definition_name", template.definition_name.is_some()),
        ("definition_version", template.definition_version.is_some()),
        ("driver", template.driver.is_some()),
        ("params", template.params.is_some()),
        ("metadata", !template.metadata.is_empty()),
        ("retry", template.retry.is_some()),
        ("run_at", template.run_at.is_some()),
        ("delay", template.delay.is_some()),
        ("idempotency_key", template.idempotency_key.is_some()),
        ("parent", template.parent.is_some()),
        ("after", !template.after.is_empty()),
    ];
    match foreign.into_iter().find(|(_, is_there)| *is_there) {
        None => Ok(template),
        Some((field, _)) => {
            let instead = match field {
                "driver" => "it is the runtime_type of the definition",
                "metadata" => "it stands beside the config",
                "retry" => "it is the retry_policy beside the config",
                _ => "each job says it for itself",
            };
            let text = format!("{field} does not belong into a config: {instead}");
            Err(Refusal::malformed(text).at(format!("config.{field}")))
        }
    }
}

/// What a request asks for, and how it begins.
pub(crate) struct Resolved {
    pub(crate) job: CreateJob,
    /// What the definition alone asks for, and how many sandboxes it keeps waiting, where its jobs begin warm.
    warm: Option<(CreateJob, u32)>,
}

impl Resolved {
    /// The engine's description of it.
    pub(crate) fn spec(self) -> Result<JobSpec, Refusal> {
        let spec = spec::from_request(self.job)?;
        match self.warm {
            Some((alone, pool)) => Ok(spec.warmed(&spec::from_request(alone)?, pool)),
            None => Ok(spec),
        }
    }
}

/// What a request that names a definition asks for.
pub(crate) async fn resolved(shared: &Shared, job: CreateJob) -> Result<Resolved, Refusal> {
    let Some(name) = &job.definition_name else {
        if job.definition_version.is_some() {
            let text = "a definition_version without a definition_name";
            return Err(Refusal::malformed(text).at("definition_version"));
        }
        return Ok(Resolved { job, warm: None });
    };
    let version = job.definition_version.as_deref();
    let version = version.unwrap_or(dauer_core::definition::LATEST);
    let definition = shared.engine.definition(name, version).await?;
    let warm = match definition.warm {
        Some(warm) => Some((merged(CreateJob::default(), &definition)?, warm.pool)),
        None => None,
    };
    let job = merged(job, &definition)?;
    Ok(Resolved { job, warm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauer_core::RetryPolicy;
    use dauer_core::Timestamp;
    use serde_json::json;

    fn definition(config: serde_json::Value) -> Definition {
        Definition {
            name: "resize".into(),
            version: "1.2.0".into(),
            runtime_type: "native".into(),
            config,
            retry_policy: RetryPolicy {
                max_retries: 2,
                ..RetryPolicy::default()
            },
            metadata: [("a".into(), json!(1)), ("b".into(), json!(1))].into(),
            warm: None,
            created_at: Timestamp(0),
        }
    }

    fn request(value: serde_json::Value) -> CreateJob {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_the_job_says_wins_and_maps_are_joined() {
        let template = definition(json!({
            "argv": ["resize", "--all"], "env": {"A": "1", "B": "1"}, "workdir": "/srv", "timeout": "30s", "tags": {"t": "1"}
        }));
        let job = request(json!({
            "env": {"B": "2"}, "metadata": {"b": 2}, "tags": {"u": "2"}, "timeout_ms": 5, "params": [1]
        }));
        let spec = spec::from_request(merged(job, &template).unwrap()).unwrap();
        assert_eq!(spec.argv, ["resize", "--all"]);
        assert_eq!(
            spec.env,
            [("A".into(), "1".into()), ("B".into(), "2".into())].into()
        );
        assert_eq!(
            spec.metadata,
            [("a".into(), json!(1)), ("b".into(), json!(2))].into()
        );
        assert_eq!(
            spec.tags,
            [("t".into(), "1".into()), ("u".into(), "2".into())].into()
        );
        assert_eq!((spec.timeout_ms, spec.driver.as_str()), (Some(5), "native"));
        assert_eq!(spec.retry.max_retries, 2);
        assert_eq!(spec.definition.unwrap().to_string(), "resize@1.2.0");
        let plain = spec::from_request(merged(CreateJob::default(), &template).unwrap()).unwrap();
        assert_eq!(plain.timeout_ms, Some(30_000));
    }

    #[test]
    fn a_wrong_config_is_refused_at_its_field() {
        for (config, field) in [
            (json!({"argv": ["a"], "colour": 1}), "config.colour"),
            (json!({"argv": "a"}), "config.argv"),
            (json!({"argv": ["a", 2]}), "config.argv[1]"),
            (
                json!({"argv": ["a"], "mounts": [{"source": "/a"}]}),
                "config.mounts[0]",
            ),
            (json!({"argv": ["a"], "driver": "native"}), "config.driver"),
            (json!({"argv": ["a"], "params": {}}), "config.params"),
            (json!([]), "config"),
        ] {
            let refusal = merged(CreateJob::default(), &definition(config)).expect_err(field);
            assert_eq!(refusal.field.as_deref(), Some(field), "{}", refusal.detail);
        }
    }
}
