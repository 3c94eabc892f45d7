//! `POST /v1/jobs/{job}/exec`: another program in the sandbox, over an upgraded connection.

use crate::error::{Code, Refusal};
use crate::extract;
use crate::routes::Shared;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use dauer_engine::ExecSession;
use dauer_wire::frame::{Frame, HEAD_BYTES, parse_head};
use dauer_wire::guest::{Command, WindowSize};
use dauer_wire::http::ExecCall;
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf};

/// The protocol of the upgrade.
const PROTOCOL: &str = "dauer-exec";

/// Runs another program in the sandbox
///
/// The connection is upgraded to `dauer-exec`: after the answer only frames, as in the crate dauer-wire.
#[utoipa::path(post, path = "/v1/jobs/{job}/exec", tag = "exec", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = ExecCall,
    responses((status = 101, description = "Frames follow, both ways.")))]
pub(crate) async fn exec(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let asked = request
        .headers()
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    if asked != Some(PROTOCOL) {
        let detail = format!("exec needs the headers connection: upgrade and upgrade: {PROTOCOL}");
        return Err(Refusal::new(Code::UpgradeRequired, detail)
            .with_header(header::UPGRADE, HeaderValue::from_static(PROTOCOL)));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let call: ExecCall = extract::parse(&extract::whole(request).await?)?;
    check(&call)?;
    let id = shared.engine.find(&job).await?;
    let session = shared.engine.exec(&id, command(call)).await?;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => relay(session, connection).await,
            // The client went before the answer; dropping the session ends the program.
            Err(error) => tracing::debug!(job = %id, %error, "an exec client went early"),
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(Body::empty());
    answer.map_err(|error| Refusal::failed(error.to_string()))
}

/// Errors: there is no command.
pub(crate) fn check(call: &ExecCall) -> Result<(), Refusal> {
    if call.argv.first().is_none_or(String::is_empty) {
        return Err(Refusal::malformed(
            "no command: write it after --, for example: dauer exec JOB -- ls",
        ));
    }
    Ok(())
}

pub(crate) fn command(call: ExecCall) -> Command {
    Command {
        argv: call.argv,
        env: call.env,
        workdir: call.workdir,
        user: call.user,
        tty: call.tty.map(|(rows, columns)| WindowSize { rows, columns }),
        stdin: call.stdin,
    }
}

/// Passes frames both ways until the program has ended or the client is gone, which ends the program.
async fn relay(session: ExecSession, connection: Upgraded) {
    let (reader, mut writer) = tokio::io::split(TokioIo::new(connection));
    let (mut input, mut output) = session.split();
    let to_program = async {
        let mut reader = BufReader::with_capacity(128 << 10, reader);
        while let Ok(Some(frame)) = read_frame(&mut reader).await {
            if input.send(frame).await.is_err() {
                // The program has ended: its end is on the way to the client.
                std::future::pending::<()>().await;
            }
        }
    };
    let to_client = async {
        while let Some(frame) = output.recv().await {
            let mut bytes = Frame::head(frame.kind, frame.id, frame.payload.len()).to_vec();
            bytes.extend_from_slice(&frame.payload);
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The client has the last frame already, or is gone.
        let _ = writer.shutdown().await;
    };
    tokio::select! {
        () = to_program => {}
        () = to_client => {}
    }
}

async fn read_frame(
    reader: &mut BufReader<ReadHalf<TokioIo<Upgraded>>>,
) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD_BYTES];
    match reader.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (length, kind, id) = parse_head(&head)?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok(Some(Frame { kind, id, payload }))
}
