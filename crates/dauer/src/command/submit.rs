//! `dauer submit`: a job made from a definition.

use super::def::named;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::foreground::Foreground;
use crate::render;
use crate::signals::Signals;
use crate::wishes::Wishes;
use dauer_core::parse;
use dauer_wire::http::{CreateJob, Moment, Span};

/// Hand over a job made from a definition.
///
/// Prints the job's id and nothing else. What is said here wins over the definition; variables, tags and metadata are added to its.
///
/// Exit code: 0 when the job is durable; with --wait and --follow the program's own, as of `dauer run`; 125 where Dauer failed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer submit resize --params '{\"width\": 640}' --tag team=blue
  dauer submit resize@1.2.0 --params @job.json --priority high --follow
  dauer submit report --at 2027-01-31T09:00:00Z --idempotency-key report-2027-01")]
pub(crate) struct Args {
    #[command(flatten)]
    wishes: Wishes,
    /// A name, unique among the jobs that are kept
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    /// A variable for the program; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::env_pair)]
    env: Vec<(String, String)>,
    /// How long an attempt may run, for example 30s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    timeout: Option<u64>,
    /// From TERM to KILL when it is stopped
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    stop_grace: Option<u64>,
    /// Not before this moment, for example 2027-01-31T09:00:00Z
    #[arg(long, value_name = "MOMENT", conflicts_with = "delay")]
    at: Option<String>,
    /// Not before so long from now
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    delay: Option<u64>,
    /// The same command with the same key gives the same job, however often it is repeated
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Return when it has ended, with its exit code
    #[arg(long, conflicts_with = "follow")]
    wait: bool,
    /// Show its output until it has ended
    #[arg(long)]
    follow: bool,
    /// Print the job as JSON instead of its id; with --follow when it has ended, on standard error
    #[arg(long)]
    json: bool,
    /// The definition; its latest version where none is said
    #[arg(value_name = "DEFINITION[@VERSION]")]
    definition: String,
}

impl Args {
    fn job(&self) -> Result<CreateJob, Failure> {
        let (name, version) = named(&self.definition);
        let mut job = CreateJob {
            definition_name: Some(name.to_owned()),
            definition_version: version.map(str::to_owned),
            name: self.name.clone(),
            env: self.env.iter().cloned().collect(),
            timeout_ms: self.timeout,
            stop_grace_ms: self.stop_grace,
            run_at: self.at.clone().map(Moment::Text),
            delay: self.delay.map(Span::Ms),
            idempotency_key: self.idempotency_key.clone(),
            ..CreateJob::default()
        };
        self.wishes.add_to(&mut job)?;
        Ok(job)
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let mut job = args.job()?;
    // Before the job exists, so that no signal falls between.
    let signals = args.follow.then(Signals::catch).transpose()?;
    // With a key of our own the request may be sent again when the daemon goes away before it answers.
    job.idempotency_key
        .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
    let client = context.client().await?;
    let view = loop {
        match client.create(&job).await {
            Ok(view) => break view,
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    };
    if let Some(signals) = signals {
        let foreground = Foreground {
            context,
            client,
            job: view.id,
            stdin: false,
            tty: false,
            from: 0,
            detachable: false,
            json: args.json,
        };
        return foreground.show(signals).await;
    }
    if args.json && !args.wait {
        render::print_json(&view)?;
    } else if !args.json {
        render::print(&format!("{}\n", view.id))?;
    }
    if args.wait {
        return super::wait::until_ended(&view.id, args.json, context).await;
    }
    Ok(0)
}
