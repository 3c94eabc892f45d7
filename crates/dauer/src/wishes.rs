//! What `run` and `submit` can say of a job beside its program: parameters, labels, priority, policy.

use crate::failure::Failure;
use crate::policy::Policy;
use crate::standing::Standing;
use clap::ValueHint;
use dauer_wire::http::CreateJob;
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

/// The options of both commands.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Wishes {
    /// What the program asks for with `dauer params` or GET /v1/self/params: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE", value_hint = ValueHint::FilePath)]
    params: Option<String>,
    /// What it can be found by: `dauer ps --tag`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    /// Kept with the job: JSON, or else a text; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Which of the jobs that wait begins first
    #[arg(long, value_name = "PRIORITY", value_parser = ["low", "normal", "high", "critical"])]
    priority: Option<String>,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    standing: Standing,
}

impl Wishes {
    /// Writes them into a request.
    pub(crate) fn add_to(&self, job: &mut CreateJob) -> Result<(), Failure> {
        job.params = self.params.as_deref().map(params).transpose()?;
        job.tags = self.tag.iter().cloned().collect();
        job.metadata = self
            .metadata
            .iter()
            .map(|(key, text)| {
                let value = serde_json::from_str(text).unwrap_or(Value::String(text.clone()));
                (key.clone(), value)
            })
            .collect();
        job.priority.clone_from(&self.priority);
        self.policy.add_to(job);
        self.standing.add_to(job);
        Ok(())
    }
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!(
            "{text:?} is not KEY=VALUE: write for example team=blue"
        )),
    }
}

/// JSON, or the file that holds it.
pub(crate) fn params(text: &str) -> Result<Value, Failure> {
    let (json, whose) = match text.strip_prefix('@') {
        Some(file) => (read(file)?, format!("the parameters in {file}")),
        None => (text.to_owned(), "--params".to_owned()),
    };
    serde_json::from_str(&json).map_err(|error| {
        Failure::new(format!(
            "{whose}: not JSON ({error}); write for example '{{\"width\": 640}}' or @params.json"
        ))
    })
}

/// A whole file; `-` is standard input.
pub(crate) fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let result = if file == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(Path::new(file)).map(|read| text = read)
    };
    result.map_err(Failure::because(format!("cannot read {file}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_from_the_command_line_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("params.json");
        std::fs::write(&file, "[1, 2]\n").unwrap();
        assert_eq!(
            params("{\"a\": null}").ok(),
            Some(serde_json::json!({"a": null}))
        );
        let from_file = params(&format!("@{}", file.display())).ok();
        assert_eq!(from_file, Some(serde_json::json!([1, 2])));
        for wrong in ["{a: 1}", "@/nowhere/params.json"] {
            let Err(Failure::Message(message)) = params(wrong) else {
                panic!("{wrong} is accepted")
            };
            assert!(message.contains("params"), "{message}");
        }
    }

    #[test]
    fn metadata_is_json_where_it_can_be() {
        let wishes = Wishes {
            metadata: vec![("n".into(), "7".into()), ("t".into(), "seven".into())],
            ..Wishes::default()
        };
        let mut job = CreateJob::default();
        assert!(wishes.add_to(&mut job).is_ok());
        assert_eq!(job.metadata["n"], 7);
        assert_eq!(job.metadata["t"], "seven");
        assert!(pair("team").unwrap_err().contains("team=blue"));
    }
}
