//! The command line inside a sandbox.

/// `dauer --help`.
pub(super) const USAGE: &str = "\
dauer inside a sandbox: talks to the runtime API of the job it is part of.

Usage:
  dauer checkpoint --self [--suspend DURATION] [--wait-signal NAME] [--token TOKEN] [--json]
  dauer ready
  dauer wait-signal NAME [--suspend] [--timeout DURATION] [--token TOKEN] [--json]
  dauer lock [--ttl DURATION] -- COMMAND...
  dauer progress DONE [TOTAL [MESSAGE]]
  dauer exit [CODE [JSON|@FILE|@-]]
  dauer params | metadata
  dauer self [--json]

checkpoint --self  Take a checkpoint of this job and wait for the outcome: prints `taken`, or `restored` where
                   this copy came out of the checkpoint. Outside Dauer it does nothing and succeeds.
  --suspend DURATION   sleep so long at no cost after the checkpoint: 500ms, 10s, 5m, 3h, 2d
  --wait-signal NAME   sleep at no cost until somebody sends `dauer signal JOB NAME`
  --token TOKEN        idempotency key: the same token never takes a second checkpoint (default: random)
ready              The program is ready for what makes this job different from others of its definition. Where the definition
                   says `warm`, the first one is frozen here and later jobs begin here: prints `taken`, `restored`, or
                   `cold`. What `dauer params` prints from here on is this job's own. Outside Dauer it does nothing.
wait-signal        Wait for a signal that was or will be sent with `dauer signal JOB NAME [JSON]`; prints its JSON.
  --suspend            sleep at no cost until it comes
  --timeout DURATION   wait no longer; then the exit code is 124
  --token TOKEN        idempotency key: the same token gets the same signal (default: random)
lock               Run a command during which no checkpoint is taken; exits with its code.
  --ttl DURATION       no longer than this, however long the command runs
progress           Say how far the job is: dauer progress 3 10 'resizing'
exit               The job is done, with this exit code (default 0) and output, which `dauer result JOB` prints. The
                   program should end now: it is ended after a second. Example: dauer exit 0 '{\"sum\": 42}'
params             Print the parameters of this job as JSON.
metadata           Print who this job is as JSON.
self               Show this job.
  --json               print the answer of the runtime API

Exit codes: 0 done, 1 failed, 2 wrong usage; 124 no signal came in time; lock has that of its command.
";

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Invocation {
    Help,
    Version,
    Checkpoint(Asked),
    Ready,
    WaitSignal(Awaited),
    Lock(Locked),
    Progress(Told),
    Exit(Exit),
    Params,
    Metadata,
    Self_ { json: bool },
}

/// A checkpoint as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) suspend: Option<String>,
    pub(super) wait_signal: Option<String>,
    pub(super) token: Option<String>,
    pub(super) json: bool,
}

/// A signal that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) name: String,
    pub(super) suspend: bool,
    pub(super) timeout: Option<String>,
    pub(super) token: Option<String>,
    pub(super) json: bool,
}

/// A command to run under a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locked {
    pub(super) ttl: Option<String>,
    pub(super) command: Vec<String>,
}

/// How far the job is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) done: f64,
    pub(super) total: Option<f64>,
    pub(super) message: Option<String>,
}

/// The end of the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: i32,
    pub(super) output: Option<String>,
}

/// One line about what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsageError(pub(super) String);

pub(super) fn parse(words: &[String]) -> Result<Invocation, UsageError> {
    let (command, rest) = words
        .split_first()
        .ok_or(UsageError("a command is missing".into()))?;
    let own = rest.iter().take_while(|word| *word != "--");
    if own.into_iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Invocation::Help);
    }
    match command.as_str() {
        "--help" | "-h" | "help" => Ok(Invocation::Help),
        "--version" | "-V" => Ok(Invocation::Version),
        "checkpoint" => parse_checkpoint(Options::of("checkpoint", rest)),
        "ready" => alone("ready", rest).map(|()| Invocation::Ready),
        "wait-signal" => parse_wait(Options::of("wait-signal", rest)),
        "lock" => parse_lock(Options::of("lock", rest)),
        "progress" => parse_progress(rest),
        "exit" => parse_exit(rest),
        "params" => alone("params", rest).map(|()| Invocation::Params),
        "metadata" => alone("metadata", rest).map(|()| Invocation::Metadata),
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

/// The words of a command, one option after the other: `--name value` or `--name=value`.
struct Options<'a> {
    command: &'static str,
    words: std::slice::Iter<'a, String>,
    attached: Option<String>,
}

impl<'a> Options<'a> {
    fn of(command: &'static str, words: &'a [String]) -> Self {
        Self {
            command,
            words: words.iter(),
            attached: None,
        }
    }

    /// The next option, or the next word that is none.
    fn next(&mut self) -> Result<Option<&'a str>, UsageError> {
        if let Some(value) = self.attached.take() {
            return Err(UsageError(format!(
                "{} does not take the value {value} there",
                self.command
            )));
        }
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        match word.split_once('=').filter(|_| word.starts_with("--")) {
            Some((option, value)) => {
                self.attached = Some(value.to_owned());
                Ok(Some(option))
            }
            None => Ok(Some(word)),
        }
    }

    fn value(&mut self, option: &str) -> Result<String, UsageError> {
        let attached = self.attached.take();
        attached
            .or_else(|| self.words.next().cloned())
            .filter(|value| !value.is_empty())
            .ok_or(UsageError(format!("{option} needs a value")))
    }

    fn unknown<T>(&self, word: &str) -> Result<T, UsageError> {
        Err(UsageError(format!("{} does not take {word}", self.command)))
    }
}

fn alone(command: &'static str, words: &[String]) -> Result<(), UsageError> {
    match words {
        [] => Ok(()),
        [word, ..] => Err(UsageError(format!("{command} does not take {word}"))),
    }
}

fn parse_checkpoint(mut options: Options<'_>) -> Result<Invocation, UsageError> {
    let mut asked = Asked::default();
    let mut of_self = false;
    while let Some(option) = options.next()? {
        match option {
            "--suspend" => asked.suspend = Some(check_duration(options.value(option)?)?),
            "--wait-signal" => asked.wait_signal = Some(options.value(option)?),
            "--token" => asked.token = Some(options.value(option)?),
            "--self" => of_self = true,
            "--json" => asked.json = true,
            word => return options.unknown(word),
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

fn parse_wait(mut options: Options<'_>) -> Result<Invocation, UsageError> {
    let mut awaited = Awaited::default();
    while let Some(option) = options.next()? {
        match option {
            "--suspend" => awaited.suspend = true,
            "--timeout" => awaited.timeout = Some(check_duration(options.value(option)?)?),
            "--token" => awaited.token = Some(options.value(option)?),
            "--json" => awaited.json = true,
            name if awaited.name.is_empty() && !name.starts_with('-') => awaited.name = name.into(),
            word => return options.unknown(word),
        }
    }
    if awaited.name.is_empty() {
        return Err(UsageError("name the signal: dauer wait-signal NAME".into()));
    }
    Ok(Invocation::WaitSignal(awaited))
}

fn parse_lock(mut options: Options<'_>) -> Result<Invocation, UsageError> {
    let mut locked = Locked::default();
    while let Some(option) = options.next()? {
        match option {
            "--ttl" => locked.ttl = Some(check_duration(options.value(option)?)?),
            "--" => {
                locked.command = options.words.by_ref().cloned().collect();
                break;
            }
            word => return options.unknown(word),
        }
    }
    if locked.command.is_empty() {
        return Err(UsageError(
            "no command: write it after --, for example: dauer lock -- ./commit.sh".into(),
        ));
    }
    Ok(Invocation::Lock(locked))
}

fn parse_progress(words: &[String]) -> Result<Invocation, UsageError> {
    let number = |word: &String| {
        let number: Option<f64> = word.parse().ok();
        number
            .filter(|number| number.is_finite())
            .ok_or(UsageError(format!("{word} is no number")))
    };
    let (done, total, message) = match words {
        [done] => (done, None, None),
        [done, total] => (done, Some(total), None),
        [done, total, message] => (done, Some(total), Some(message.clone())),
        _ => {
            return Err(UsageError(
                "say how far: dauer progress DONE [TOTAL [MESSAGE]]".into(),
            ));
        }
    };
    Ok(Invocation::Progress(Told {
        done: number(done)?,
        total: total.map(number).transpose()?,
        message,
    }))
}

fn parse_exit(words: &[String]) -> Result<Invocation, UsageError> {
    let (code, output) = match words {
        [] => (None, None),
        [code] => (Some(code), None),
        [code, output] => (Some(code), Some(output.clone())),
        [_, _, word, ..] => return Err(UsageError(format!("exit does not take {word}"))),
    };
    let code = match code {
        None => 0,
        Some(code) => code
            .parse::<u8>()
            .map_err(|_| UsageError(format!("{code} is no exit code: they go from 0 to 255")))?,
    };
    Ok(Invocation::Exit(Exit {
        code: code.into(),
        output,
    }))
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
            wait_signal: None,
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
        let awaited = Awaited {
            name: "go".into(),
            suspend: true,
            timeout: Some("5s".into()),
            ..Awaited::default()
        };
        for line in [
            "wait-signal go --suspend --timeout=5s",
            "wait-signal --timeout 5s --suspend go",
        ] {
            assert_eq!(
                parse_line(line),
                Ok(Invocation::WaitSignal(awaited.clone())),
                "{line}"
            );
        }
        let locked = Locked {
            ttl: Some("1m".into()),
            command: vec!["sh".into(), "--help".into(), "--".into()],
        };
        assert_eq!(
            parse_line("lock --ttl 1m -- sh --help --"),
            Ok(Invocation::Lock(locked))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("checkpoint", "--self"),
            ("checkpoint --self=yes", "yes"),
            ("checkpoint --self --suspend", "--suspend needs a value"),
            ("checkpoint --self --suspend 10", "10 is no duration"),
            ("checkpoint --self --suspend 1.5s", "1.5s is no duration"),
            ("checkpoint --self --fast", "--fast"),
            ("self --fast", "--fast"),
            ("run x", "no command run"),
            ("wait-signal", "name the signal"),
            ("wait-signal a b", "does not take b"),
            ("lock make", "does not take make"),
            ("lock --", "after --"),
            ("progress", "how far"),
            ("progress half", "half is no number"),
            ("exit 256", "256 is no exit code"),
            ("exit 0 1 2", "does not take 2"),
            ("params x", "does not take x"),
            ("ready --now", "does not take --now"),
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
