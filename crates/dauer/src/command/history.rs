//! `dauer history`: what was done, by whom, when and why.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_client::HistoryQuery;
use dauer_core::parse;
use dauer_wire::http::RecordView;

/// What was done, by whom, when and why.
///
/// To a job, or to all jobs, definitions, tokens, queues and schedules; oldest first. `by` says who asked: a user of the daemon's socket
/// (uid:0), a token (token:ci), a job itself, a schedule, or nobody (node). --why TEXT of any command says what for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer history crunch
  dauer history --by token:ci --since 1h
  dauer cancel crunch --why 'the disk is full'; dauer history --event cancelled --json")]
pub(crate) struct Args {
    /// Only from then on: a moment such as 2027-01-31T09:00:00Z, or so long ago, such as 1h
    #[arg(long, value_name = "MOMENT|DURATION", value_parser = moment)]
    since: Option<i64>,
    /// Only before then
    #[arg(long, value_name = "MOMENT|DURATION", value_parser = moment)]
    until: Option<i64>,
    /// Only what this one asked for, for example uid:0; or all of a kind: uid, token, job, schedule
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Only this event, for example cancelled
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
    /// The job; everything where absent
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// A moment, or a duration before now, in milliseconds.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(ms) = parse::duration_ms(text) {
        let now = jiff::Timestamp::now().as_millisecond();
        return Ok(now.saturating_sub_unsigned(ms));
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        format!("{text:?} is not a moment: write for example 2027-01-31T09:00:00Z, or 1h for an hour ago")
    })?;
    Ok(moment.as_millisecond())
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let mut query = HistoryQuery {
        job: args.job,
        since_ms: args.since,
        until_ms: args.until,
        by: args.by,
        event: args.event,
        cursor: None,
    };
    loop {
        let page = client.history(&query).await?;
        for record in &page.records {
            print(record, args.json)?;
        }
        match page.next_cursor {
            Some(next) => query.cursor = Some(next),
            None => return Ok(0),
        }
    }
}

fn print(record: &RecordView, json: bool) -> Result<(), Failure> {
    if !json {
        return render::print(&line(record));
    }
    let line = serde_json::to_string(record).map_err(Failure::because("cannot print"))?;
    render::print(&format!("{line}\n"))
}

fn line(record: &RecordView) -> String {
    let what = record.job.as_deref().or(record.subject.as_deref());
    let mut parts = vec![
        render::time(record.at),
        what.unwrap_or_default().to_owned(),
        format!("{:<20}", record.event),
    ];
    parts.push(match (&record.from, &record.to) {
        (Some(from), Some(to)) if from != to => format!("{from} → {to}"),
        (_, to) => to.clone().unwrap_or_default(),
    });
    parts.push(format!("by {}", record.by.as_deref().unwrap_or("?")));
    parts.extend(record.why.as_ref().map(|why| format!("({why})")));
    parts.extend(record.detail.clone());
    parts.retain(|part| !part.is_empty());
    parts.join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_did_what_to_what_and_why() {
        let record = RecordView {
            event: "cancelled".into(),
            by: Some("uid:0".into()),
            why: Some("the disk is full".into()),
            job: Some("0192".into()),
            from: Some("running".into()),
            to: Some("cancelled".into()),
            ..RecordView::default()
        };
        assert_eq!(
            line(&record),
            "1970-01-01T00:00:00.000Z  0192  cancelled             running → cancelled  by uid:0  (the disk is full)\n"
        );
        let other = RecordView {
            event: "token_added".into(),
            subject: Some("token 0123".into()),
            detail: Some("of scope read".into()),
            ..RecordView::default()
        };
        assert_eq!(
            line(&other),
            "1970-01-01T00:00:00.000Z  token 0123  token_added           by ?  of scope read\n"
        );
    }

    #[test]
    fn a_moment_is_one_or_so_long_ago() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1000));
        let hour_ago = moment("1h").unwrap();
        let now = jiff::Timestamp::now().as_millisecond();
        assert!((3_600_000..3_660_000).contains(&(now - hour_ago)));
        assert!(moment("yesterday").is_err());
    }
}
