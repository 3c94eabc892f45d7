//! A POST that creates a job, and a GET that runs it and streams what it emits.
//!
//! ```text
//! cargo run --release -p dauer --example stream -- 127.0.0.1:8080
//! curl -X POST -H 'content-type: application/json' -d '"one two three"' http://127.0.0.1:8080/jobs
//! curl -N http://127.0.0.1:8080/jobs/<id>
//! ```

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dauer::{Engine, JobId, Spec, WhenAbandoned};
use futures_util::StreamExt;
use std::convert::Infallible;

async fn create(State(engine): State<Engine>, Json(text): Json<String>) -> Result<String, Refused> {
    let job = engine
        .submit(Spec::new("words").params(&text)?.held())
        .await?;
    Ok(job.id.0)
}

async fn stream(State(engine): State<Engine>, Path(id): Path<String>) -> Result<Body, Refused> {
    let tokens = engine
        .execute_and_stream(&JobId(id), WhenAbandoned::Cancel)
        .await?;
    Ok(Body::from_stream(
        tokens.map(|item| Ok::<_, Infallible>(format!("{item}\n"))),
    ))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder()
        .handler("words", |ctx, text: String| async move {
            for word in text.split_whitespace() {
                match word {
                    "stop" => return Err(dauer::fatal("it was told to stop")),
                    "wait" => ctx.cancelled().cancelled().await,
                    word => ctx.emit(word).await,
                }
            }
            Ok(())
        })
        .start()
        .await?;
    let routes = Router::new()
        .route("/jobs", post(create))
        .route("/jobs/{id}", get(stream))
        .route(
            "/streams",
            get(|State(engine): State<Engine>| async move { engine.streams().to_string() }),
        )
        .with_state(engine.clone());
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

/// What an engine refuses, as HTTP has it.
struct Refused(dauer::Error);

impl From<dauer::Error> for Refused {
    fn from(error: dauer::Error) -> Self {
        Self(error)
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> axum::response::Response {
        let status = match self.0 {
            dauer::Error::NotFound(_) => StatusCode::NOT_FOUND,
            dauer::Error::Conflict(_) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, self.0.to_string()).into_response()
    }
}
