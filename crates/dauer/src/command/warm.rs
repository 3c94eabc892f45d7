//! `dauer warm`: the states that jobs of definitions begin from.

use super::def::named;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use clap::Subcommand;

/// List and remove the states that jobs of definitions begin from.
///
/// A definition with `warm = { snapshot_after = "ready" }` is frozen once: its first run, when the program says that it is ready
/// (`dauer ready` in a script, `dauer.ready()` in Python). Later jobs begin there. With `pool = N` so many of them are kept restored.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer warm ls
  dauer warm rm resize@1.2.0        the next job begins with its program, and leaves another one")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List them, and how many sandboxes wait for a job
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove them; jobs that began from them keep what they need
    Rm {
        /// Of which definitions; the version may be latest
        #[arg(value_name = "NAME@VERSION", required = true)]
        definitions: Vec<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args.what {
        What::Ls { json } => list(json, context).await,
        What::Rm { definitions } => remove(&definitions, context).await,
    }
}

async fn list(json: bool, context: &Context) -> Outcome {
    let mut templates = context.client().await?.templates().await?.templates;
    let name = |one: &dauer_wire::http::TemplateView| {
        format!("{}@{}", one.definition.name, one.definition.version)
    };
    templates.sort_by_key(name);
    if json {
        render::print_json(&templates)?;
        return Ok(0);
    }
    let headers = [
        "DEFINITION",
        "SNAPSHOT",
        "DRIVER",
        "TAKEN",
        "MEMORY",
        "DISK",
        "WAITING",
    ];
    let mut table = render::table(&headers);
    for one in &templates {
        table.add_row([
            name(one),
            one.snapshot.clone(),
            one.driver.clone(),
            render::time(one.created_at),
            render::size(one.memory_bytes),
            render::size(one.disk_bytes),
            format!("{}/{}", one.waiting, one.pool),
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}

async fn remove(definitions: &[String], context: &Context) -> Outcome {
    let client = context.client().await?;
    for text in definitions {
        let (name, Some(version)) = named(text) else {
            return Err(Failure::new(format!(
                "which version of {text}? write for example {text}@1.2.0; `dauer warm ls` lists them"
            )));
        };
        client.remove_template(name, version).await?;
        render::print(&format!("{text}\n"))?;
    }
    Ok(0)
}
