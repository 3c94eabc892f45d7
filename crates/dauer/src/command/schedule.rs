//! `dauer schedule`: jobs at certain moments.

use super::def::named;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::render;
use crate::wishes::Wishes;
use clap::ValueHint;
use dauer_client::Client;
use dauer_core::parse;
use dauer_wire::http::{CreateJob, CreateSchedule, Moment, ScheduleView, Span};

/// Have jobs submitted at certain moments.
///
/// Each moment makes exactly one job, however often the daemon or the machine goes down in between. A cron expression is read on the
/// clocks of a time zone. Where these are changed, a fixed hour is a time of the day: one that does not exist comes at the first moment
/// after the gap, one that there is twice comes once. An hour of * is a rhythm, which goes on through both of two equal hours.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer schedule add nightly --cron '30 2 * * *' --tz Europe/Berlin -- ./backup.sh
  dauer schedule add poll --every 30s --overlap skip -- curl -s http://127.0.0.1:8080/tick
  dauer schedule add report --cron '0 9 * * mon-fri' --definition report@1.2.0 --params '{\"to\": \"team\"}'
  dauer schedule next nightly -n 3")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a schedule; prints its name
    Add(Box<Add>),
    /// List schedules
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show a schedule as JSON
    Inspect {
        /// Which
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Print its next moments, as the clocks of its zone show them
    Next {
        /// How many
        #[arg(short, long, value_name = "NUMBER", default_value_t = 5)]
        number: usize,
        /// As a JSON object
        #[arg(long)]
        json: bool,
        /// Which
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Make its job now, also while it is paused; prints the job's id
    Trigger {
        /// Print the job as JSON
        #[arg(long)]
        json: bool,
        /// Which
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Let no moment count until it is resumed
    Pause {
        /// Which
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Let moments count again, those from now on
    Resume {
        /// Which
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Remove schedules; the jobs they made stay
    Rm {
        /// Which
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("when").required(true).args(["cron", "every", "at"]))]
struct Add {
    /// Minute, hour, day, month, weekday; six fields with seconds before them; or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// On whose clocks the expression is read, for example Europe/Berlin; UTC where nothing is said
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,
    /// Every so often: from --from, or from now
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    every: Option<u64>,
    /// Once, for example 2027-01-31T09:00:00Z
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// While the job of an earlier moment has not ended, a moment is skipped, its job waits for that one (queue), that one is cancelled
    /// (replace), or both run (allow); skip where nothing is said
    #[arg(long, value_name = "skip|queue|replace|allow", value_parser = ["skip", "queue", "replace", "allow"])]
    overlap: Option<String>,
    /// For moments that were missed while the daemon was down: no job, one for all of them, or all; one where nothing is said
    #[arg(long, value_name = "none|one|all", value_parser = ["none", "one", "all"])]
    catch_up: Option<String>,
    /// With --catch-up all: for the newest of them only, at most so many; 100 where nothing is said
    #[arg(long, value_name = "NUMBER", requires = "catch_up")]
    catch_up_max: Option<u32>,
    /// No moment before
    #[arg(long, value_name = "MOMENT")]
    from: Option<String>,
    /// No moment after
    #[arg(long, value_name = "MOMENT")]
    until: Option<String>,
    /// It begins paused
    #[arg(long)]
    paused: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Its jobs are made from this definition, of which it keeps a copy; the latest version there is now where none is said
    #[arg(
        long,
        value_name = "DEFINITION[@VERSION]",
        required_unless_present = "argv",
        conflicts_with = "argv"
    )]
    definition: Option<String>,
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    wishes: Wishes,
    /// What it is called
    #[arg(value_name = "NAME", value_parser = parse::name)]
    name: String,
    /// The program and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    argv: Vec<String>,
}

impl Add {
    fn schedule(&self, context: &Context) -> Result<CreateSchedule, Failure> {
        let mut job = CreateJob {
            argv: self.argv.clone(),
            ..self.program.job()?
        };
        match &self.definition {
            Some(definition) => {
                let (name, version) = named(definition);
                job.definition_name = Some(name.to_owned());
                job.definition_version = version.map(str::to_owned);
            }
            None => {
                let here = || self.program.present_folder(&context.settings);
                job.workdir = job.workdir.or_else(here);
            }
        }
        self.wishes.add_to(&mut job)?;
        let moment = |text: &Option<String>| text.clone().map(Moment::Text);
        Ok(CreateSchedule {
            name: self.name.clone(),
            cron: self.cron.clone(),
            time_zone: self.tz.clone(),
            every: self.every.map(Span::Ms),
            at: moment(&self.at),
            job,
            overlap: self.overlap.clone(),
            catch_up: self.catch_up.clone(),
            catch_up_max: self.catch_up_max,
            start_at: moment(&self.from),
            end_at: moment(&self.until),
            paused: self.paused,
        })
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args.what {
        What::Add(add) => {
            let schedule = add.schedule(context)?;
            let made = context.client().await?.add_schedule(&schedule).await?;
            if add.json {
                render::print_json(&made)?;
            } else {
                render::print(&format!("{}\n", made.name))?;
            }
        }
        What::Ls { json } => list(&context.client().await?, json).await?,
        What::Inspect { name } => {
            render::print_json(&context.client().await?.schedule(&name).await?)?;
        }
        What::Next { number, json, name } => {
            let next = context.client().await?.next_moments(&name, number).await?;
            if json {
                render::print_json(&next)?;
            } else {
                let lines = next.moments.iter();
                let lines: String = lines.map(|moment| moment.local.clone() + "\n").collect();
                render::print(&lines)?;
            }
        }
        What::Trigger { json, name } => {
            let created = context.client().await?.trigger_schedule(&name).await?;
            if json {
                render::print_json(&created)?;
            } else {
                render::print(&format!("{}\n", created.job_id))?;
            }
        }
        What::Pause { names } => {
            let client = context.client().await?;
            for name in &names {
                client.pause_schedule(name).await?;
                render::print(&format!("{name}\n"))?;
            }
        }
        What::Resume { names } => {
            let client = context.client().await?;
            for name in &names {
                client.resume_schedule(name).await?;
                render::print(&format!("{name}\n"))?;
            }
        }
        What::Rm { names } => {
            let client = context.client().await?;
            for name in &names {
                client.remove_schedule(name).await?;
                render::print(&format!("{name}\n"))?;
            }
        }
    }
    Ok(0)
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let (mut schedules, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.schedules(cursor.as_deref()).await?;
        schedules.extend(page.schedules);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if json {
        return render::print_json(&schedules);
    }
    render::print(&table(&schedules, jiff::Timestamp::now().as_millisecond()))
}

fn table(schedules: &[ScheduleView], now_ms: i64) -> String {
    let mut table = render::table(&["NAME", "WHEN", "NEXT", "LAST", "JOBS", "COMMAND"]);
    for one in schedules {
        let next = match (one.paused, one.next_at) {
            (true, _) => "paused".to_owned(),
            (false, None) => "over".to_owned(),
            (false, Some(at)) => format!("in {}", render::duration(at - now_ms)),
        };
        let last = one.last_at.map_or_else(
            || "-".to_owned(),
            |at| format!("{} ago", render::duration(now_ms - at)),
        );
        table.add_row([
            one.name.clone(),
            when(one),
            next,
            last,
            one.fired.to_string(),
            render::command(&one.argv),
        ]);
    }
    render::trimmed(&table)
}

/// As it was asked for.
fn when(schedule: &ScheduleView) -> String {
    match (&schedule.cron, schedule.every_ms, schedule.at) {
        (Some(cron), ..) => {
            let zone = schedule.time_zone.as_deref().unwrap_or("UTC");
            format!("{cron} {zone}")
        }
        (None, Some(ms), _) => {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            format!("every {}", render::duration(ms))
        }
        (None, None, at) => at.map_or_else(String::new, |at| format!("at {}", render::time(at))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_when_each_comes_next() {
        let schedule = |name: &str| ScheduleView {
            name: name.into(),
            argv: vec!["./backup.sh".into()],
            ..ScheduleView::default()
        };
        let schedules = [
            ScheduleView {
                cron: Some("30 2 * * *".into()),
                time_zone: Some("Europe/Berlin".into()),
                next_at: Some(3_605_000),
                last_at: Some(0),
                fired: 7,
                ..schedule("nightly")
            },
            ScheduleView {
                every_ms: Some(30_000),
                paused: true,
                ..schedule("poll")
            },
            ScheduleView {
                at: Some(0),
                ..schedule("once")
            },
        ];
        let text = table(&schedules, 5_000);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("30 2 * * * Europe/Berlin"), "{text}");
        assert!(lines[1].contains("in 1h"), "{text}");
        assert!(
            lines[2].contains("every 30s") && lines[2].contains("paused"),
            "{text}"
        );
        assert!(lines[3].contains("at 1970-01-01T00:00:00.000Z"), "{text}");
        assert!(lines[3].contains("over"), "{text}");
    }
}
