//! `dauer def`: named, versioned templates of jobs.

use crate::context::Context;
use crate::documents;
use crate::failure::{Failure, Outcome};
use crate::render;
use clap::ValueHint;
use dauer_client::Client;
use dauer_core::definition::{self, LATEST};
use dauer_wire::http::{CreateDefinition, DefinitionView};
use std::collections::BTreeMap;

/// Register, list and remove definitions.
///
/// A definition is a template of jobs with a name and a version that never changes once it is registered:
///
///   name = "resize"
///   version = "1.2.0"
///   runtime_type = "gvisor"
///   config = { argv = ["python3", "/srv/resize.py"], memory_bytes = 536870912, timeout = "10m" }
///   retry_policy = { max_retries = 3, retry_delay = "5s" }
///   warm = { snapshot_after = "ready", pool = 2 }
///
/// With warm the first run is frozen when its program says that it is ready, and later jobs begin there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer def apply resize.toml
  dauer def ls resize
  dauer submit resize@1.2.0 --params '{\"width\": 640}'")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Register what is in files: TOML, YAML (also several documents) or JSON
    Apply {
        /// Print them as a JSON array
        #[arg(long)]
        json: bool,
        /// The files; - is standard input
        #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
        files: Vec<String>,
    },
    /// List definitions, the highest version of each first
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
        /// Only this one's versions
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Show a definition as JSON
    Inspect {
        /// The latest version where none is said
        #[arg(value_name = "NAME[@VERSION]")]
        definition: String,
    },
    /// Remove definitions; jobs that were made from them keep everything
    Rm {
        /// Which; the version may be latest
        #[arg(value_name = "NAME@VERSION", required = true)]
        definitions: Vec<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match args.what {
        What::Apply { json, files } => apply(&files, json, context).await,
        What::Ls { json, name } => list(name.as_deref(), json, context).await,
        What::Inspect { definition } => {
            let (name, version) = named(&definition);
            let client = context.client().await?;
            render::print_json(&client.definition(name, version.unwrap_or(LATEST)).await?)?;
            Ok(0)
        }
        What::Rm { definitions } => remove(&definitions, context).await,
    }
}

/// A name, and the version where one is said.
pub(crate) fn named(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    }
}

async fn apply(files: &[String], json: bool, context: &Context) -> Outcome {
    // All are read before the first is registered: a slip in the last file leaves nothing half done.
    let mut definitions: Vec<(String, CreateDefinition)> = Vec::new();
    for file in files {
        let found = documents::read(file)?;
        let several = found.len() > 1;
        for (index, document) in found.into_iter().enumerate() {
            let place = if several {
                format!("{file}, document {}", index + 1)
            } else {
                file.clone()
            };
            let definition = serde_path_to_error::deserialize(document)
                .map_err(Failure::because(place.clone()))?;
            definitions.push((place, definition));
        }
    }
    let client = context.client().await?;
    let mut registered = Vec::new();
    for (place, definition) in &definitions {
        let view = client.define(definition).await.map_err(|error| {
            let field = error.field().map(|field| format!(", {field}"));
            Failure::new(format!("{place}{}: {error}", field.unwrap_or_default()))
        })?;
        if !json {
            render::print(&format!("{}@{}\n", view.name, view.version))?;
        }
        registered.push(view);
    }
    if json {
        render::print_json(&registered)?;
    }
    Ok(0)
}

async fn list(name: Option<&str>, json: bool, context: &Context) -> Outcome {
    let client = context.client().await?;
    let definitions = sorted(all(&client, name).await?);
    if json {
        render::print_json(&definitions)?;
        return Ok(0);
    }
    let mut table = render::table(&["NAME", "VERSION", "DRIVER", "REGISTERED", "COMMAND"]);
    for one in &definitions {
        let argv = one.config["argv"].as_array().into_iter().flatten();
        let argv: Vec<String> = argv
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect();
        table.add_row([
            one.name.clone(),
            one.version.clone(),
            one.runtime_type.clone(),
            render::time(one.created_at),
            render::command(&argv),
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}

async fn all(client: &Client, name: Option<&str>) -> Result<Vec<DefinitionView>, Failure> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.definitions(name, cursor.as_deref()).await?;
        found.extend(page.definitions);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
}

/// By name, and the highest version of each first.
fn sorted(definitions: Vec<DefinitionView>) -> Vec<DefinitionView> {
    let mut by_name: BTreeMap<String, Vec<DefinitionView>> = BTreeMap::new();
    for one in definitions {
        by_name.entry(one.name.clone()).or_default().push(one);
    }
    let mut out = Vec::new();
    for mut versions in by_name.into_values() {
        while let Some(latest) = definition::latest(versions.iter().map(|one| one.version.as_str()))
        {
            let latest = latest.to_owned();
            out.extend(versions.extract_if(.., |one| one.version == latest));
        }
    }
    out
}

async fn remove(definitions: &[String], context: &Context) -> Outcome {
    let client = context.client().await?;
    for text in definitions {
        let (name, Some(version)) = named(text) else {
            return Err(Failure::new(format!(
                "which version of {text}? write for example {text}@1.2.0; `dauer def ls {text}` lists them"
            )));
        };
        client.undefine(name, version).await?;
        render::print(&format!("{text}\n"))?;
    }
    Ok(0)
}
