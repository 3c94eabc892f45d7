//! The worker that all SDKs have, in Rust: see tests/sdk.rs. What it did stands in a list in its memory, which is its result.

use dauer_client::job::{self, Status, Wait};
use dauer_client::{Error, job::Metadata};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut done: Vec<String> = Vec::new();
    let mut did = |text: String| {
        println!("{text}");
        done.push(text);
    };
    let Metadata { job_id, .. } = job::metadata().await?;
    assert!(job::managed() && job_id == std::env::var("DAUER_JOB_ID").ok());
    let params: Option<Value> = job::params().await?;
    did(format!("params {}", params.unwrap_or_default()["n"]));
    if let Err(Error::LockHeld) = job::with_lock(None, job::checkpoint(None)).await? {
        did("held".into());
    }
    let checkpoint = job::checkpoint(None).await?;
    let taken = checkpoint.status == Status::Taken;
    did(format!(
        "checkpoint {}",
        if taken { "taken" } else { "restored" }
    ));
    let awake = Wait {
        suspend: false,
        ..Wait::default()
    };
    let first: Value = job::wait_signal("first", awake).await?;
    did(format!("first {}", first["n"]));
    // Here it is killed the first time: it goes on behind the checkpoint, and the signal comes again.
    let second: Value = job::wait_signal("second", awake).await?;
    did(format!("second {}", second["n"]));
    println!(
        "restored {} {}",
        job::restored().await?,
        job::restored().await?
    );
    job::sleep(Duration::from_millis(500)).await?;
    did("slept".into());
    let decision: Value = job::wait_signal("decision", Wait::default()).await?;
    did(format!(
        "decision {}",
        decision["by"].as_str().unwrap_or("?")
    ));
    // Here it is killed the second time: it goes on in the middle of that wait.
    let end: String = job::wait_signal("end", awake).await?;
    did(format!("end {end}"));
    job::progress(3.0, Some(3.0), Some("done")).await?;
    job::exit(&json!({ "done": done }), 7).await?;
    Ok(())
}
