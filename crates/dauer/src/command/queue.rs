//! `dauer queue`: what holds jobs back that wait.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_core::parse;
use dauer_wire::http::{QueueList, QueueView, RateView, SetQueue, Span};

/// Limits for jobs that wait, by queue and by key.
///
/// A job waits in the queue that it names, or in `default`. A queue need not be made: one for which nothing is set has no limits.
/// Among those that nothing holds back the more urgent begins first; a job of priority low is passed for an hour at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer queue set mail --max-running 4 --rate 100/1m
  dauer queue set build --key-max-running 1      # one at a time for each --key
  dauer submit send --queue mail --key customer-7
  dauer queue pause mail
  dauer queue ls")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List queues, what they hold back, and who waits
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set limits of a queue; those not named stay as they are
    Set(Box<SetArgs>),
    /// Show a queue as JSON
    Inspect {
        /// Its name
        #[arg(value_name = "QUEUE")]
        queue: String,
    },
    /// Let no job of a queue begin; those that began go on
    Pause(Which),
    /// Let jobs of a queue begin again
    Resume(Which),
    /// Forget what is set for queues; their jobs stay
    Rm {
        /// Their names
        #[arg(value_name = "QUEUE", required = true)]
        queues: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Every queue, also after the daemon has paused all of them
    #[arg(long, conflicts_with = "queues", required_unless_present = "queues")]
    all: bool,
    /// Their names
    #[arg(value_name = "QUEUE")]
    queues: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// So many of its jobs have a sandbox at once, or none for any number
    #[arg(long, value_name = "NUMBER|none", value_parser = limit)]
    max_running: Option<Limit<u32>>,
    /// So many of its jobs begin in any span of so long, for example 100/1m, or none
    #[arg(long, value_name = "NUMBER/DURATION|none", value_parser = rate)]
    rate: Option<Limit<RateView>>,
    /// As --max-running, of the jobs that share a --key
    #[arg(long, value_name = "NUMBER|none", value_parser = limit)]
    key_max_running: Option<Limit<u32>>,
    /// As --rate, of the jobs that share a --key
    #[arg(long, value_name = "NUMBER/DURATION|none", value_parser = rate)]
    key_rate: Option<Limit<RateView>>,
    /// A job that is suspended keeps its place
    #[arg(long, value_name = "true|false")]
    hold_while_suspended: Option<bool>,
    /// Print the queue as JSON
    #[arg(long)]
    json: bool,
    /// Its name
    #[arg(value_name = "QUEUE")]
    queue: String,
}

/// Some limit, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Limit<T> {
    Some(T),
    None,
}

impl<T: Clone> Limit<T> {
    fn put(said: Option<&Self>, into: &mut Option<T>) {
        match said {
            Some(Self::Some(limit)) => *into = Some(limit.clone()),
            Some(Self::None) => *into = None,
            None => {}
        }
    }
}

fn limit(text: &str) -> Result<Limit<u32>, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let number = text.parse().map_err(|_| {
        format!("{text:?} is not a number of jobs: write for example 4, or none for any number")
    })?;
    Ok(Limit::Some(number))
}

fn rate(text: &str) -> Result<Limit<RateView>, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let wrong =
        || format!("{text:?} is not a rate: write for example 100/1m, or none for any rate");
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    Ok(Limit::Some(RateView {
        count: count.trim().parse().map_err(|_| wrong())?,
        per: Span::Ms(parse::duration_ms(per).map_err(|_| wrong())?),
    }))
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    match args.what {
        What::Ls { json } => show(&client.queues().await?, json),
        What::Set(args) => {
            let mut settings = client.queue(&args.queue).await?.settings;
            args.add_to(&mut settings);
            let queue = client.set_queue(&args.queue, &settings).await?;
            if args.json {
                render::print_json(&queue)?;
            } else {
                render::print(&format!("{}: {}\n", queue.name, limits(&queue)))?;
            }
            Ok(0)
        }
        What::Inspect { queue } => {
            render::print_json(&client.queue(&queue).await?)?;
            Ok(0)
        }
        What::Pause(Which { all: true, .. }) => show(&client.pause_all_queues().await?, false),
        What::Resume(Which { all: true, .. }) => show(&client.resume_all_queues().await?, false),
        What::Pause(Which { queues, .. }) => {
            for queue in queues {
                client.pause_queue(&queue).await?;
                render::print(&format!("{queue}\n"))?;
            }
            Ok(0)
        }
        What::Resume(Which { queues, .. }) => {
            for queue in queues {
                client.resume_queue(&queue).await?;
                render::print(&format!("{queue}\n"))?;
            }
            if let Some(why) = client.queues().await?.all_paused {
                return Err(Failure::new(format!(
                    "still nothing begins, in no queue: {why}; end that with `dauer queue resume --all`"
                )));
            }
            Ok(0)
        }
        What::Rm { queues } => {
            for queue in queues {
                client.remove_queue(&queue).await?;
                render::print(&format!("{queue}\n"))?;
            }
            Ok(0)
        }
    }
}

impl SetArgs {
    fn add_to(&self, settings: &mut SetQueue) {
        Limit::put(self.max_running.as_ref(), &mut settings.max_running);
        Limit::put(self.rate.as_ref(), &mut settings.rate);
        Limit::put(self.key_max_running.as_ref(), &mut settings.key_max_running);
        Limit::put(self.key_rate.as_ref(), &mut settings.key_rate);
        if let Some(hold) = self.hold_while_suspended {
            settings.hold_while_suspended = hold;
        }
    }
}

fn show(list: &QueueList, json: bool) -> Outcome {
    if json {
        render::print_json(list)?;
        return Ok(0);
    }
    if let Some(why) = &list.all_paused {
        render::print(&format!(
            "All queues are paused: {why}. `dauer queue resume --all` ends it.\n\n"
        ))?;
    }
    let mut table = render::table(&["QUEUE", "RUNNING", "WAITING", "LATER", "LIMITS"]);
    for queue in &list.queues {
        table.add_row([
            queue.name.clone(),
            queue.running.to_string(),
            queue.waiting.to_string(),
            queue.later.to_string(),
            limits(queue),
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}

/// What a queue holds back, in a line.
fn limits(queue: &QueueView) -> String {
    let settings = &queue.settings;
    let rate = |name: &str, rate: &RateView| {
        let per = match &rate.per {
            Span::Ms(ms) => render::duration(i64::try_from(*ms).unwrap_or(i64::MAX)),
            Span::Text(text) => text.clone(),
        };
        format!("{name} {}/{per}", rate.count)
    };
    let all = [
        settings.paused.then(|| "paused".to_owned()),
        settings.max_running.map(|most| format!("running {most}")),
        settings.rate.as_ref().map(|one| rate("rate", one)),
        settings
            .key_max_running
            .map(|most| format!("running {most} a key")),
        settings
            .key_rate
            .as_ref()
            .map(|one| rate("rate", one) + " a key"),
        settings
            .hold_while_suspended
            .then(|| "held while suspended".to_owned()),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(limit("4"), Ok(Limit::Some(4)));
        assert_eq!(limit("none"), Ok(Limit::None));
        assert!(limit("many").unwrap_err().contains("none"));
        let per = Span::Ms(60_000);
        assert_eq!(
            rate("100/1m"),
            Ok(Limit::Some(RateView { count: 100, per }))
        );
        assert_eq!(rate("none"), Ok(Limit::None));
        for wrong in ["100", "100/", "x/1m", "100/soon"] {
            assert!(rate(wrong).unwrap_err().contains("100/1m"), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut present = Some(3);
        Limit::put(None, &mut present);
        assert_eq!(present, Some(3));
        Limit::put(Some(&Limit::Some(5)), &mut present);
        assert_eq!(present, Some(5));
        Limit::put(Some(&Limit::None), &mut present);
        assert_eq!(present, None);
    }
}
