//! What the daemon says of itself.

use crate::routes::Shared;
use axum::Json;
use axum::extract::State;
use dauer_wire::http::Info;

/// Answers when the daemon does
///
/// Open to everybody who reaches it.
#[utoipa::path(get, path = "/v1/ping", tag = "daemon", responses((status = 200, description = "It is there.")))]
pub(crate) async fn ping() {}

/// What the daemon is and what its drivers can do here
#[utoipa::path(get, path = "/v1/info", tag = "daemon", responses((status = 200, description = "The daemon and its drivers.", body = Info)))]
pub(crate) async fn info(State(shared): State<Shared>) -> Json<Info> {
    // Without any driver that works, the list below says what is missing.
    let default_driver = shared
        .engine
        .default_driver()
        .await
        .unwrap_or_else(|_| "none".to_owned());
    Json(Info {
        version: shared.about.version.clone(),
        pid: std::process::id(),
        data_dir: shared.about.data_dir.display().to_string(),
        run_dir: shared.about.run_dir.display().to_string(),
        listen: shared.about.listen.clone(),
        store: Some(shared.about.store.clone()),
        node: Some(shared.engine.node_id().0.clone()),
        default_driver,
        drivers: shared.engine.drivers().await,
    })
}
