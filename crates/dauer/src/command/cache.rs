//! `dauer cache`: what steps left under their keys.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_client::Client;
use dauer_wire::http::{CacheEntryView, CacheView};

/// List, pin and remove what steps left under their keys.
///
/// The least recently used goes when there is no room for what is new; how much there may be says `dauer serve
/// --cache-max-entries` and `--cache-max-bytes`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer cache ls
  dauer cache pin tools-1
  dauer cache rm nightly-2026-11-22
  dauer cache clean")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List what there is, the most recently used first
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Say how much there is, and may be
    Stat {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove entries with their snapshots, also pinned ones
    Rm {
        /// Which
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Remove every entry that is neither pinned nor worked with
    Clean {
        /// Print what was removed as JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep entries whatever else wants their room
    Pin {
        /// Which
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Let entries go again when others want their room
    Unpin {
        /// Which
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// End runs of steps: what they left without a key goes
    End {
        /// As said with --run
        #[arg(value_name = "RUN", required = true)]
        runs: Vec<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    match args.what {
        What::Ls { json } => list(&client, json).await,
        What::Stat { json } => stat(&client, json).await,
        What::Rm { keys } => {
            for key in keys {
                client.remove_cache(&key).await?;
                render::print(&format!("{key}\n"))?;
            }
            Ok(0)
        }
        What::Clean { json } => {
            let cleaned = client.clean_cache().await?;
            if json {
                render::print_json(&cleaned)?;
                return Ok(0);
            }
            for entry in &cleaned.removed {
                render::print(&format!("{}\n", entry.key))?;
            }
            render::print(&format!(
                "{} entries, {}\n",
                cleaned.removed.len(),
                render::size(cleaned.bytes)
            ))?;
            Ok(0)
        }
        What::Pin { keys } => pin(&client, &keys, true).await,
        What::Unpin { keys } => pin(&client, &keys, false).await,
        What::End { runs } => {
            for run in runs {
                client.end_run(&run).await?;
                render::print(&format!("{run}\n"))?;
            }
            Ok(0)
        }
    }
}

async fn pin(client: &Client, keys: &[String], pinned: bool) -> Outcome {
    for key in keys {
        client.pin_cache(key, pinned).await?;
        render::print(&format!("{key}\n"))?;
    }
    Ok(0)
}

async fn list(client: &Client, json: bool) -> Outcome {
    let mut entries = client.cache(true).await?.entries;
    entries.sort_by(|a, b| (b.last_used_at, &a.key).cmp(&(a.last_used_at, &b.key)));
    if json {
        render::print_json(&entries)?;
        return Ok(0);
    }
    let mut table = render::table(&["KEY", "SNAPSHOT", "SIZE", "HITS", "USED", ""]);
    for entry in &entries {
        table.add_row(row(entry));
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}

fn row(entry: &CacheEntryView) -> [String; 6] {
    [
        entry.key.clone(),
        entry.snapshot.clone(),
        render::size(entry.bytes),
        entry.hits.to_string(),
        render::time(entry.last_used_at),
        if entry.pinned { "pinned" } else { "" }.to_owned(),
    ]
}

async fn stat(client: &Client, json: bool) -> Outcome {
    let cache = client.cache(false).await?;
    if json {
        render::print_json(&cache)?;
        return Ok(0);
    }
    render::print(&amounts(&cache))?;
    Ok(0)
}

fn amounts(cache: &CacheView) -> String {
    let any = || "any number".to_owned();
    let entries_max = cache.entries_max.map_or_else(any, |max| max.to_string());
    let bytes_max = cache
        .bytes_max
        .map_or_else(|| "any size".to_owned(), render::size);
    format!(
        "entries  {} of {entries_max}\nsize     {} of {bytes_max}\n",
        cache.count,
        render::size(cache.bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_say_what_there_may_be() {
        let mut cache = CacheView {
            count: 2,
            bytes: 1024,
            entries_max: Some(10),
            ..CacheView::default()
        };
        assert!(amounts(&cache).contains("2 of 10\n"), "{}", amounts(&cache));
        assert!(amounts(&cache).ends_with("of any size\n"));
        cache.entries_max = None;
        assert!(amounts(&cache).contains("2 of any number\n"));
    }
}
