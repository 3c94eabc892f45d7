//! Calls about images.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::files::byte_stream;
use crate::routes::Shared;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dauer_engine::{
    Credentials, DiskKind, Engine, ImagePull, ImageState, ImageWish, PullProgress, Removed,
};
use dauer_wire::http::{
    DiskView, ImageConfigView, ImageLayerView, ImageList, ImageView, MakeDisk, PruneImages,
    PrunedImages, PullEvent, PullImage, RemovedImage,
};
use http::header;
use serde::Deserialize;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use utoipa::IntoParams;

/// A pull says something at least this often, so that a dead connection is noticed at both ends.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Lists images
#[utoipa::path(get, path = "/v1/images", tag = "images",
    responses((status = 200, description = "Those of this node.", body = ImageList)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<ImageList>, Refusal> {
    let images = shared.engine.images().await?;
    let images = images.into_iter().map(view).collect();
    Ok(Json(ImageList { images }))
}

/// Shows an image
#[utoipa::path(get, path = "/v1/images/{image}", tag = "images", params(("image" = String, Path, description = "Its name, its digest, or the beginning of that.")),
    responses((status = 200, description = "The image.", body = ImageView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(image): Path<String>,
) -> Result<Json<ImageView>, Refusal> {
    Ok(Json(view(shared.engine.image(&image).await?)))
}

/// The query of `DELETE /v1/images/{image}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveParams {
    /// The image with all its names, whichever of them is given.
    #[param(required = false)]
    force: bool,
}

/// Removes an image, or one of its names where it has others
///
/// An image that a job or a schedule has is not removed.
#[utoipa::path(delete, path = "/v1/images/{image}", tag = "images", params(("image" = String, Path, description = "Its name, its digest, or the beginning of that."), RemoveParams),
    responses((status = 200, description = "What is gone.", body = RemovedImage)))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(image): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<Json<RemovedImage>, Refusal> {
    let removed = shared.engine.remove_image(&image, params.force).await?;
    Ok(Json(match removed {
        Removed::Name(name) => RemovedImage {
            untagged: vec![name],
            removed: None,
        },
        Removed::Image { digest, names } => RemovedImage {
            untagged: names,
            removed: Some(digest),
        },
    }))
}

/// Removes images that nothing uses
#[utoipa::path(post, path = "/v1/images:prune", tag = "images", request_body = Option<PruneImages>,
    responses((status = 200, description = "What is gone.", body = PrunedImages)))]
pub(crate) async fn prune(
    State(shared): State<Shared>,
    Input(call): Input<PruneImages>,
) -> Result<Json<PrunedImages>, Refusal> {
    let pruned = shared.engine.prune_images(call.all).await?;
    Ok(Json(PrunedImages {
        removed: pruned.images,
        freed_bytes: pruned.bytes,
    }))
}

/// Makes a disk of an image
///
/// One read-only file with its files, for virtual machines. Made once.
#[utoipa::path(post, path = "/v1/images/{image}/disk", tag = "images", params(("image" = String, Path, description = "Its name, its digest, or the beginning of that.")),
    request_body = MakeDisk, responses((status = 200, description = "Where it is.", body = DiskView)))]
pub(crate) async fn disk(
    State(shared): State<Shared>,
    Path(image): Path<String>,
    Input(call): Input<MakeDisk>,
) -> Result<Json<DiskView>, Refusal> {
    let kind = match call.kind.as_deref() {
        None | Some("ext4") => DiskKind::Ext4,
        Some("erofs") => DiskKind::Erofs,
        Some(other) => {
            let text = format!("unknown kind {other:?}: use ext4 or erofs");
            return Err(Refusal::malformed(text).at("kind"));
        }
    };
    let path = shared.engine.image_disk(&image, kind).await?;
    Ok(Json(DiskView {
        path: path.display().to_string(),
        kind: kind.name().to_owned(),
    }))
}

/// The query of `POST /v1/images:import`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ImportParams {
    /// What the image is to be called; an archive's own names where absent.
    #[param(required = false)]
    name: Option<String>,
    /// Which one of an archive for several kinds of machines; that of the node where absent.
    #[param(required = false)]
    platform: Option<String>,
    /// The body is a root file system, whatever is in it.
    #[param(required = false)]
    root: bool,
}

/// Imports images
///
/// The body is a tar, plain or packed with gzip or zstd: a root file system, an archive of the OCI's image layout, or what `docker save`
/// writes. Which one it is, is seen from what is in it.
#[utoipa::path(post, path = "/v1/images:import", tag = "images", params(ImportParams),
    request_body(content = [u8], content_type = "application/x-tar"),
    responses((status = 200, description = "The images that were in it.", body = ImageList)))]
pub(crate) async fn import(
    State(shared): State<Shared>,
    Params(params): Params<ImportParams>,
    request: Request,
) -> Result<Json<ImageList>, Refusal> {
    let wish = ImageWish {
        name: params.name,
        platform: params.platform,
        is_root: params.root,
        ..ImageWish::default()
    };
    let images = shared
        .engine
        .import_images(byte_stream(request), wish)
        .await?;
    let images = images.into_iter().map(view).collect();
    Ok(Json(ImageList { images }))
}

/// Pulls an image from a registry
///
/// Answered at once with events, one a line; empty lines keep the connection alive. The pull ends with the connection; what came so far is
/// kept for a day, and the next pull goes on there.
#[utoipa::path(post, path = "/v1/images:pull", tag = "images", request_body = Option<PullImage>,
    responses((status = 200, description = "How far it is, to its end.", content_type = "application/x-ndjson", body = PullEvent)))]
pub(crate) async fn pull(
    State(shared): State<Shared>,
    Input(call): Input<PullImage>,
) -> Result<Response, Refusal> {
    let credentials = match (call.user, call.password) {
        (Some(user), Some(password)) => Credentials::Password { user, password },
        (None, Some(token)) => Credentials::Token(token),
        (None, None) => Credentials::None,
        (Some(_), None) => return Err(Refusal::malformed("user needs a password").at("password")),
    };
    let pull = ImagePull {
        name: call.image,
        platform: call.platform,
        insecure: call.insecure,
        only_missing: call.only_missing,
        credentials,
    };
    let (events, receiver) = mpsc::unbounded_channel();
    tokio::spawn(run_pull(shared.engine, pull, events));
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line = match tokio::time::timeout(KEEPALIVE, receiver.recv()).await {
            Ok(event) => line(&event?),
            Err(_) => Ok(Bytes::from_static(b"\n")),
        };
        Some((line, receiver))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

fn line(event: &PullEvent) -> io::Result<Bytes> {
    let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line.into())
}

/// Ends when the client goes: then nobody waits for the image.
async fn run_pull(engine: Engine, pull: ImagePull, events: mpsc::UnboundedSender<PullEvent>) {
    let told = events.clone();
    let tell = move |progress| {
        // Whoever waited may have gone; this task is about to end then.
        let _ = told.send(event(progress));
    };
    let last = tokio::select! {
        done = engine.pull_image(pull, tell) => match done {
            Ok(image) => PullEvent::Done { image: Box::new(view(image)) },
            Err(error) => PullEvent::Failed { problem: Box::new(Refusal::from(error).problem()) },
        },
        () = events.closed() => return,
    };
    // As above.
    let _ = events.send(last);
}

fn event(progress: PullProgress) -> PullEvent {
    match progress {
        PullProgress::Found { digest, layers } => PullEvent::Found {
            digest,
            layers: layers
                .into_iter()
                .map(|(digest, bytes)| ImageLayerView { digest, bytes })
                .collect(),
        },
        PullProgress::Came { layer, bytes } => PullEvent::Came { layer, bytes },
        PullProgress::Unpacking { layer } => PullEvent::Unpacking { layer },
        PullProgress::Ready { layer, present } => PullEvent::Ready { layer, present },
    }
}

fn view(image: ImageState) -> ImageView {
    let unpacked_bytes = image.record.bytes();
    let config = image.record.config;
    ImageView {
        digest: image.record.digest,
        names: image.names,
        platform: image.record.platform,
        unpacked_bytes,
        layers: image
            .record
            .layers
            .into_iter()
            .map(|layer| ImageLayerView {
                digest: layer.digest,
                bytes: layer.bytes,
            })
            .collect(),
        config: ImageConfigView {
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            workdir: config.workdir,
            user: config.user,
            labels: config.labels,
        },
        created: image.record.created,
        added_at: image.record.added_at.0,
    }
}
