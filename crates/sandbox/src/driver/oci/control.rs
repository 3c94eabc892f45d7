//! Talks to a gVisor sandbox over its control socket, which spares the 15 ms of starting `runsc` for a pause or a resume.
//!
//! The protocol (gVisor's urpc) is one JSON object each way. Where it cannot be spoken the caller uses the command line.

use serde::Deserialize;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A call that is not answered by then will not be.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    err: String,
}

/// Calls a method that takes nothing. `Err` with the reason, also if there is nobody to ask.
pub(super) fn call(socket: &Path, method: &str) -> Result<(), String> {
    let answer = || -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let request = serde_json::json!({ "method": method, "arg": {} });
        stream.write_all(request.to_string().as_bytes())?;
        let mut values = serde_json::Deserializer::from_reader(stream).into_iter::<Answer>();
        values
            .next()
            .unwrap_or_else(|| Err(serde::de::Error::custom("no answer")))
            .map_err(Into::into)
    };
    match answer() {
        Ok(Answer { success: true, .. }) => Ok(()),
        Ok(Answer {
            success: false,
            err,
        }) => Err(err),
        Err(e) => Err(e.to_string()),
    }
}
