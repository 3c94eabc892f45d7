//! `dauer tag`: what a job is found by, set and removed.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_wire::http::DescribeCall;
use serde_json::Value;

/// Set, remove or show a job's tags.
///
/// In any state, also of a job that has ended. What it used so far stays under the tags that it had then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer tag crunch team=blue stage-        set one, remove another
  dauer tag crunch --metadata price=1.5    kept with the job as JSON
  dauer tag crunch                         show them")]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// KEY=VALUE sets a tag, KEY- removes it
    #[arg(value_name = "KEY=VALUE|KEY-", value_parser = change)]
    tags: Vec<(String, Option<String>)>,
    /// The same for metadata, where VALUE is JSON, or else a text; repeatable
    #[arg(long, value_name = "KEY=VALUE|KEY-", value_parser = change)]
    metadata: Vec<(String, Option<String>)>,
    /// The job, as JSON
    #[arg(long)]
    json: bool,
}

/// As `kubectl label` reads them.
fn change(text: &str) -> Result<(String, Option<String>), String> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        (Some(_) | None, _) => Err(format!(
            "{text:?} changes nothing: write team=blue to set, team- to remove"
        )),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let asks = !args.tags.is_empty() || !args.metadata.is_empty();
    let job = if asks {
        let metadata = args.metadata.into_iter().map(|(key, text)| {
            let value = text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            (key, value)
        });
        let call = DescribeCall {
            tags: args.tags.into_iter().collect(),
            metadata: metadata.collect(),
        };
        client.describe(&args.job, &call).await?
    } else {
        client.job(&args.job).await?
    };
    if args.json {
        render::print_json(&job)?;
        return Ok(0);
    }
    let tags = job.tags.iter();
    let lines: String = tags
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    render::print(&lines)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_set_with_an_equals_sign_and_removed_with_a_dash() {
        let is = |text: &str, key: &str, value: Option<&str>| {
            let expected = (key.to_owned(), value.map(str::to_owned));
            assert_eq!(change(text), Ok(expected));
        };
        is("team=blue", "team", Some("blue"));
        is("team=", "team", Some(""));
        is("team=a=b-", "team", Some("a=b-"));
        is("team-", "team", None);
        is("to-do-", "to-do", None);
        for wrong in ["", "team", "-", "=x"] {
            assert!(change(wrong).unwrap_err().contains("team=blue"), "{wrong}");
        }
    }
}
