//! The command line inside a sandbox.

/// `dauer --help`.
pub(super) const USAGE: &str = "\
dauer inside a sandbox: talks to the runtime API of the job it is part of.

Usage:
  dauer checkpoint --self [--suspend DURATION] [--token TOKEN] [--json]
  dauer self [--json]

checkpoint --self  Take a checkpoint of this job and wait for the outcome: prints `taken`, or `restored` where
                   this copy came out of the checkpoint. Outside Dauer it does nothing and succeeds.
  --suspend DURATION   sleep so long at no cost after the checkpoint: 500ms, 10s, 5m, 3h, 2d
  --token TOKEN        idempotency key: the same token never takes a second checkpoint (default: random)
self               Show this job.
  --json               print the answer of the runtime API

Exit codes: 0 done, 1 failed, 2 wrong usage.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    Help,
    Version,
    Checkpoint(Asked),
    Self_ { json: bool },
}

/// A checkpoint as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) suspend: Option<String>,
    pub(super) token: Option<String>,
    pub(super) json: bool,
}

/// One line about what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsageError(pub(super) String);

pub(super) fn parse(words: &[String]) -> Result<Invocation, UsageError> {
    let (command, rest) = words
        .split_first()
        .ok_or(UsageError("a command is missing".into()))?;
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Invocation::Help);
    }
    match command.as_str() {
        "--help" | "-h" | "help" => Ok(Invocation::Help),
        "--version" | "-V" => Ok(Invocation::Version),
        "checkpoint" => parse_checkpoint(rest),
        "self" => match rest {
            [] => Ok(Invocation::Self_ { json: false }),
            [word] if word == "--json" => Ok(Invocation::Self_ { json: true }),
            [word, ..] => Err(UsageError(format!("self does not take {word}"))),
        },
        other => Err(UsageError(format!(
            "there is no command {other} inside a sandbox"
        ))),
    }
}

fn parse_checkpoint(words: &[String]) -> Result<Invocation, UsageError> {
    let mut asked = Asked::default();
    let mut of_self = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = || {
            let value = attached.clone().or_else(|| words.next().cloned());
            value
                .filter(|value| !value.is_empty())
                .ok_or(UsageError(format!("{option} needs a value")))
        };
        match option {
            "--suspend" => asked.suspend = Some(check_duration(value()?)?),
            "--token" => asked.token = Some(value()?),
            "--self" if attached.is_none() => of_self = true,
            "--json" if attached.is_none() => asked.json = true,
            _ => return Err(UsageError(format!("checkpoint does not take {word}"))),
        }
    }
    if of_self {
        Ok(Invocation::Checkpoint(asked))
    } else {
        Err(UsageError(
            "inside a sandbox a job can checkpoint only itself: dauer checkpoint --self".into(),
        ))
    }
}

/// A whole number with a unit. Checked here so that a typing error costs no request.
fn check_duration(duration: String) -> Result<String, UsageError> {
    let digits = duration.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = duration.split_at(digits);
    if number.parse::<u64>().is_ok() && ["ms", "s", "m", "h", "d"].contains(&unit) {
        Ok(duration)
    } else {
        Err(UsageError(format!(
            "{duration} is no duration such as 500ms, 10s, 5m, 3h or 2d"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Invocation, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|UsageError(message)| message)
    }

    #[test]
    fn options_are_taken_in_both_forms_and_any_order() {
        let asked = Asked {
            suspend: Some("10s".into()),
            token: Some("t".into()),
            json: true,
        };
        for line in [
            "checkpoint --self --suspend 10s --token t --json",
            "checkpoint --json --token=t --suspend=10s --self",
        ] {
            assert_eq!(
                parse_line(line),
                Ok(Invocation::Checkpoint(asked.clone())),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("checkpoint", "--self"),
            ("checkpoint --self --suspend", "--suspend needs a value"),
            ("checkpoint --self --suspend 10", "10 is no duration"),
            ("checkpoint --self --suspend 1.5s", "1.5s is no duration"),
            ("checkpoint --self --fast", "--fast"),
            ("self --fast", "--fast"),
            ("run x", "no command run"),
        ] {
            let message = parse_line(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }

    #[test]
    fn every_unit_is_a_duration() {
        for duration in ["500ms", "10s", "5m", "3h", "2d", "0s"] {
            assert!(check_duration(duration.into()).is_ok(), "{duration}");
        }
    }
}
