//! Every path of the caller API: what answers it, who may call it, how long it may take.

use crate::error::Refusal;
use crate::gate::{self, Gate, Needs};
use crate::{
    about, batches, cache, definitions, document, exec, files, forks, gc, history, images, jobs,
    messages, nodes, queues, schedules, socket, steps, stream, streams, submit, tokens, transfer,
    usage,
};
use axum::Router;
use axum::extract::Request;
use dauer_core::Scope;
use dauer_engine::Engine;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

/// What the daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Its socket folder.
    pub run_dir: PathBuf,
    /// Its address on the network, if it has one.
    pub listen: Option<String>,
    /// Where its jobs are kept, without passwords.
    pub store: String,
}

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) about: Arc<About>,
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It only looks something up or writes it down: a daemon that needs long is overloaded and says so.
    Brief,
    /// It follows or waits for something, or moves much: it takes what it takes.
    Long,
}

/// A path with a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// In lower case.
    pub(crate) method: &'static str,
    /// With its parameters in braces.
    pub(crate) path: &'static str,
    /// What a token must allow.
    pub(crate) needs: Needs,
    /// How long the answer may take.
    pub(crate) pace: Pace,
}

macro_rules! needs {
    (Nothing) => {
        Needs::Nothing
    };
    ($scope:ident) => {
        Needs::Scope(Scope::$scope)
    };
}

/// From one list: the router, the table of what each route asks for, and the document. A handler says in its own `utoipa::path`
/// which path it is for; a test compares.
macro_rules! routes {
    ($($method:ident $path:literal $scope:ident $pace:ident $module:ident::$handler:ident;)*) => {
        /// What each route asks for.
        pub(crate) const ROUTES: &[Route] = &[
            $(Route { method: stringify!($method), path: $path, needs: needs!($scope), pace: Pace::$pace },)*
        ];

        fn routed() -> Router<Shared> {
            Router::new()$(.route($path, axum::routing::$method($module::$handler)))*
        }

        /// The operations, as each handler describes itself.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($module::$handler),*))]
        pub(crate) struct Operations;
    };
}

routes! {
    get "/v1/ping" Nothing Brief about::ping;
    get "/v1/openapi.json" Nothing Brief document::show;
    get "/v1/info" Read Brief about::info;
    get "/v1/nodes" Read Brief nodes::list;
    post "/v1/gc" Admin Long gc::collect;
    get "/v1/snapshots/{snapshot}/export" Read Long transfer::export;
    post "/v1/snapshots:import" Submit Long transfer::import;
    post "/v1/tokens" Admin Brief tokens::create;
    get "/v1/tokens" Admin Brief tokens::list;
    delete "/v1/tokens/{id}" Admin Brief tokens::remove;
    get "/v1/events" Read Long streams::events;
    get "/v1/definitions" Read Brief definitions::list;
    post "/v1/definitions" Submit Brief definitions::create;
    get "/v1/definitions/{name}/{version}" Read Brief definitions::show;
    delete "/v1/definitions/{name}/{version}" Submit Brief definitions::remove;
    delete "/v1/definitions/{name}/{version}/template" Submit Brief definitions::remove_template;
    get "/v1/templates" Read Brief definitions::templates;
    get "/v1/queues" Read Brief queues::list;
    post "/v1/queues:pause" Admin Brief queues::pause_all;
    post "/v1/queues:resume" Admin Brief queues::resume_all;
    get "/v1/queues/{name}" Read Brief queues::show;
    put "/v1/queues/{name}" Admin Brief queues::set;
    delete "/v1/queues/{name}" Admin Brief queues::remove;
    post "/v1/queues/{name}/pause" Admin Brief queues::pause;
    post "/v1/queues/{name}/resume" Admin Brief queues::resume;
    get "/v1/batches/{batch}" Read Long batches::show;
    post "/v1/batches/{batch}/cancel" Submit Long batches::cancel;
    get "/v1/schedules" Read Brief schedules::list;
    post "/v1/schedules" Submit Brief schedules::create;
    get "/v1/schedules/{name}" Read Brief schedules::show;
    delete "/v1/schedules/{name}" Submit Brief schedules::remove;
    post "/v1/schedules/{name}/pause" Submit Brief schedules::pause;
    post "/v1/schedules/{name}/resume" Submit Brief schedules::resume;
    post "/v1/schedules/{name}/trigger" Submit Brief schedules::trigger;
    get "/v1/schedules/{name}/next" Read Brief schedules::next;
    get "/v1/snapshots" Read Brief forks::list;
    post "/v1/snapshots" Submit Long forks::save;
    get "/v1/snapshots/{snapshot}" Read Brief forks::show;
    patch "/v1/snapshots/{snapshot}" Submit Brief forks::change;
    delete "/v1/snapshots/{snapshot}" Submit Long forks::remove;
    get "/v1/images" Read Brief images::list;
    post "/v1/images:pull" Submit Long images::pull;
    post "/v1/images:import" Submit Long images::import;
    post "/v1/images:prune" Admin Long images::prune;
    get "/v1/images/{image}" Read Brief images::show;
    delete "/v1/images/{image}" Admin Long images::remove;
    post "/v1/images/{image}/disk" Submit Long images::disk;
    get "/v1/history" Read Brief history::list;
    get "/v1/jobs/{job}/history" Read Brief history::of_job;
    get "/v1/jobs" Read Brief jobs::list;
    post "/v1/jobs" Submit Brief submit::create;
    post "/v1/jobs:batch" Submit Long submit::create_all;
    get "/v1/jobs/{job}" Read Brief jobs::show;
    delete "/v1/jobs/{job}" Submit Long jobs::remove;
    patch "/v1/jobs/{job}" Submit Brief usage::describe;
    get "/v1/usage" Read Brief usage::show;
    post "/v1/jobs/{job}/checkpoint" Submit Long jobs::checkpoint;
    post "/v1/jobs/{job}/suspend" Submit Long jobs::suspend;
    post "/v1/jobs/{job}/resume" Submit Long jobs::resume;
    post "/v1/jobs/{job}/fork" Submit Long forks::create;
    post "/v1/jobs/{job}/rollback" Submit Long forks::rollback;
    post "/v1/jobs/{job}/stop" Submit Long jobs::stop;
    post "/v1/jobs/{job}/cancel" Submit Long jobs::cancel;
    post "/v1/jobs/{job}/retry" Submit Brief jobs::retry;
    post "/v1/jobs/{job}/kill" Submit Long jobs::kill;
    post "/v1/jobs/{job}/resize" Submit Brief jobs::resize;
    get "/v1/jobs/{job}/wait" Read Long jobs::wait;
    get "/v1/jobs/{job}/result" Read Long messages::result;
    post "/v1/jobs/{job}/signal" Submit Brief messages::signal;
    get "/v1/jobs/{job}/checkpoints" Read Brief jobs::checkpoints;
    get "/v1/jobs/{job}/diff" Read Long jobs::diff;
    get "/v1/jobs/{job}/events" Read Long streams::job_events;
    get "/v1/jobs/{job}/stream" Read Long stream::stream;
    get "/v1/jobs/{job}/logs" Read Long streams::logs;
    post "/v1/jobs/{job}/stdin" Submit Long files::stdin;
    get "/v1/jobs/{job}/files" Read Long files::copy_out;
    put "/v1/jobs/{job}/files" Submit Long files::copy_in;
    post "/v1/jobs/{job}/exec" Submit Long exec::exec;
    get "/v1/jobs/{job}/exec/ws" Submit Long socket::exec_ws;
    post "/v1/steps" Submit Long steps::run;
    delete "/v1/steps/{run}" Submit Long steps::end_run;
    get "/v1/cache" Read Brief cache::list;
    delete "/v1/cache" Submit Long cache::clean;
    get "/v1/cache/{key}" Read Brief cache::show;
    delete "/v1/cache/{key}" Submit Long cache::remove;
    post "/v1/cache/{key}/pin" Submit Brief cache::pin;
    post "/v1/cache/{key}/unpin" Submit Brief cache::unpin;
    get "/v1/jobs/{job}/attach" Submit Long socket::attach;
}

/// The caller API over this engine.
pub(crate) fn router(engine: Engine, about: About, rate_per_second: Option<NonZeroU32>) -> Router {
    let gate = Gate::new(engine.clone(), rate_per_second);
    let shared = Shared {
        engine,
        about: Arc::new(about),
    };
    routed()
        .fallback(|request: Request| async move { Refusal::no_path(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move {
            Refusal::wrong_method(request.method().as_str(), request.uri().path())
        })
        .layer(axum::middleware::from_fn_with_state(gate, gate::pass))
        .with_state(shared)
}
