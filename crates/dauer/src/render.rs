//! Jobs, events and times as people read them.

use comfy_table::{Cell, Color, Table, presets};
use dauer_wire::http::{EventView, JobView, Marker, ProgressView};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

/// Ids begin with the time in milliseconds: 13 characters tell two jobs apart that did not start in the same one.
const ID_CHARS_MIN: usize = 13;

/// Writes to standard output. Errors: `BrokenPipe` where nobody reads.
pub(crate) fn print(text: &str) -> Result<(), crate::failure::Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(crate::failure::Failure::output)
}

/// Prints a value as JSON for people and programs.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), crate::failure::Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(crate::failure::Failure::because("cannot print"))?;
    print(&format!("{text}\n"))
}

/// Colours only for eyes: on a terminal, and where nobody asked for none.
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table without lines; `header` in capitals.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    if !io::stdout().is_terminal() {
        table.force_no_tty();
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// The table without blanks at the ends of its lines.
pub(crate) fn trimmed(table: &Table) -> String {
    table.lines().fold(String::new(), |mut out, line| {
        out.push_str(line.trim_end());
        out.push('\n');
        out
    })
}

/// `dauer ps`.
pub(crate) fn jobs(jobs: &[JobView], now_ms: i64, coloured: bool) -> String {
    let id_chars = id_chars(jobs);
    let mut table = table(&["ID", "NAME", "STATE", "AGE", "DRIVER", "COMMAND"]);
    for job in jobs {
        let state = Cell::new(state(job, now_ms));
        let state = if coloured {
            state.fg(colour(&job.state))
        } else {
            state
        };
        table.add_row(vec![
            Cell::new(job.id.chars().take(id_chars).collect::<String>()),
            Cell::new(job.name.as_deref().unwrap_or("-")),
            state,
            Cell::new(duration(now_ms - job.created_at)),
            Cell::new(&job.driver),
            Cell::new(command(&job.argv)),
        ]);
    }
    trimmed(&table)
}

/// As many characters as tell these ids apart.
fn id_chars(jobs: &[JobView]) -> usize {
    let mut ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    ids.sort_unstable();
    let shared = ids.windows(2).map(|pair| {
        pair[0]
            .bytes()
            .zip(pair[1].bytes())
            .take_while(|(a, b)| a == b)
            .count()
    });
    shared
        .max()
        .map_or(ID_CHARS_MIN, |shared| ID_CHARS_MIN.max(shared + 1))
}

fn colour(state: &str) -> Color {
    match state {
        "running" => Color::Green,
        "suspended" => Color::Blue,
        "failed" | "error" => Color::Red,
        "pending" | "pending_retry" => Color::Yellow,
        _ => Color::Reset,
    }
}

/// How far a job says it is: `40%`, or `7 done` where it does not know of how much.
fn progress(progress: &ProgressView) -> String {
    match progress.total {
        Some(total) if total > 0.0 => format!("{:.0}%", 100.0 * progress.done / total),
        Some(_) | None => format!("{} done", progress.done),
    }
}

/// The state with what there is to know about it.
pub(crate) fn state(job: &JobView, now_ms: i64) -> String {
    let detail = match (&job.operation, job.state.as_str()) {
        (Some(operation), _) => Some(operation.clone()),
        (None, "suspended") => {
            let wakes = job
                .wake_at
                .map(|at| format!("wakes in {}", duration(at - now_ms)));
            let waits = job
                .waits_for
                .as_ref()
                .map(|name| format!("waits for {name}"));
            match (waits, wakes) {
                (Some(waits), Some(wakes)) => Some(format!("{waits}, {wakes}")),
                (waits, wakes) => waits.or(wakes),
            }
        }
        (None, "running") => job.progress.as_ref().map(progress),
        (None, "pending" | "pending_retry") => job
            .wake_at
            .filter(|at| *at > now_ms)
            .map(|at| format!("in {}", duration(at - now_ms))),
        (None, "failed") => match (job.reason.as_deref(), job.signal) {
            (Some("exit_code"), _) => job.exit_code.map(|code| format!("exit code {code}")),
            (Some("signal"), Some(signal)) => Some(dauer_core::parse::signal_name(signal)),
            (reason, _) => reason.map(|reason| reason.replace('_', " ")),
        },
        (None, _) => None,
    };
    detail.map_or_else(
        || job.state.clone(),
        |detail| format!("{} ({detail})", job.state),
    )
}

/// A command line that a shell would read back, cut where it is long.
pub(crate) fn command(argv: &[String]) -> String {
    const CHARS_MAX: usize = 60;
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || "-_./=:,@%+".contains(c))
    };
    let words: Vec<String> = argv
        .iter()
        .map(|word| {
            if plain(word) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''").escape_debug())
            }
        })
        .collect();
    let line = words.join(" ");
    if line.chars().count() <= CHARS_MAX {
        return line;
    }
    line.chars().take(CHARS_MAX - 1).chain(['…']).collect()
}

/// Milliseconds in one or two units: `850ms`, `4s`, `1h30m`, `3d2h`. What is over is no time.
pub(crate) fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
    ];
    let Some(first) = units.iter().position(|(_, length)| ms >= *length) else {
        return format!("{ms}ms");
    };
    let (unit, length) = units[first];
    let mut text = format!("{}{unit}", ms / length);
    if let Some((next, shorter)) = units.get(first + 1)
        && ms % length / shorter > 0
    {
        let _ = write!(text, "{}{next}", ms % length / shorter);
    }
    text
}

/// Bytes in the unit that leaves at most four digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at
            .to_zoned(TimeZone::UTC)
            .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
            .to_string(),
        Err(_) => format!("{ms}ms"),
    }
}

/// One line about a place in the log, if the user should know.
pub(crate) fn marker(marker: &Marker) -> Option<String> {
    match marker {
        Marker::Restored {
            checkpoint,
            generation,
            ..
        } => Some(format!(
            "restored from checkpoint {checkpoint} (generation {generation}); output since that checkpoint may follow again"
        )),
        Marker::Forked { .. } | Marker::Woken { .. } => None,
    }
}

/// One line about a job that ended otherwise than by its program.
pub(crate) fn ending(job: &JobView) -> Option<String> {
    let said = |default: &str| job.message.clone().unwrap_or_else(|| default.to_owned());
    match job.reason.as_deref() {
        // What the program itself did needs no words: a shell says nothing either.
        None | Some("exit_code" | "signal" | "killed") => None,
        Some("start_failed") => Some(said("it could not be started")),
        Some("timeout") => Some(format!(
            "job {} ran longer than allowed and was ended",
            job.id
        )),
        Some("out_of_memory") => Some(format!(
            "job {} used more memory than allowed and was killed",
            job.id
        )),
        Some("lost") => Some(format!(
            "job {} is lost: its sandbox vanished, and it had no checkpoint",
            job.id
        )),
        Some(reason) => Some(format!("job {} failed: {}", job.id, said(reason))),
    }
}

/// `dauer events`.
pub(crate) fn event(event: &EventView) -> String {
    let mut line = format!("{}  {}  {:<20} ", time(event.at), event.job, event.event);
    match &event.from {
        Some(from) if *from != event.to => {
            let _ = write!(line, "{from} → {}", event.to);
        }
        _ => line.push_str(&event.to),
    }
    if let Some(operation) = &event.operation {
        let _ = write!(line, "/{operation}");
    }
    if let Some(detail) = &event.detail {
        let _ = write!(line, "  {detail}");
    }
    line.push_str(&asker(event.by.as_deref(), event.why.as_deref()));
    line.push('\n');
    line
}

/// Who asked and what for; nothing where the daemon acted by itself, as in most lines.
pub(crate) fn asker(by: Option<&str>, why: Option<&str>) -> String {
    let by = by.filter(|by| *by != "node");
    let by = by.map_or_else(String::new, |by| format!("  by {by}"));
    let why = why.map_or_else(String::new, |why| format!(" ({why})"));
    by + &why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, state: &str) -> JobView {
        let view = serde_json::json!({
            "id": id, "name": null, "state": state, "operation": null, "argv": ["sh", "-c", "echo 'a b'"],
            "driver": "native", "image": "host", "attempt": 1, "generation": 1, "restores": 0, "created_at": 0,
            "started_at": null, "finished_at": null, "wake_at": null, "checkpoint": null, "exit_code": null,
            "signal": null, "reason": null, "message": null, "last_error": null
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_table_has_no_colours_and_no_blanks_at_the_ends() {
        let text = jobs(
            &[job("0192f3a4-5b6c-7000-8000-000000000000", "running")],
            61_000,
            false,
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "ID              NAME   STATE     AGE    DRIVER   COMMAND"
        );
        assert!(
            lines[1].starts_with("0192f3a4-5b6c   -      running   1m1s   native   sh -c "),
            "{text}"
        );
        assert!(!text.contains('\u{1b}') && lines.iter().all(|line| line.trim_end() == *line));
    }

    #[test]
    fn ids_of_the_same_moment_are_told_apart() {
        let two = [
            job("0192f3a4-5b6c-7aaa-8000-1", "running"),
            job("0192f3a4-5b6c-7aab-8000-2", "running"),
        ];
        assert_eq!(id_chars(&two), 18);
        assert_eq!(id_chars(&two[..1]), ID_CHARS_MIN);
    }

    #[test]
    fn states_say_what_there_is_to_know() {
        let mut suspended = job("a", "suspended");
        suspended.wake_at = Some(7_200_000);
        assert_eq!(state(&suspended, 0), "suspended (wakes in 2h)");
        suspended.waits_for = Some("go".into());
        assert_eq!(
            state(&suspended, 0),
            "suspended (waits for go, wakes in 2h)"
        );
        suspended.wake_at = None;
        assert_eq!(state(&suspended, 0), "suspended (waits for go)");
        let mut failed = job("a", "failed");
        (failed.reason, failed.exit_code) = (Some("exit_code".into()), Some(3));
        assert_eq!(state(&failed, 0), "failed (exit code 3)");
        (failed.reason, failed.signal) = (Some("signal".into()), Some(9));
        assert_eq!(state(&failed, 0), "failed (SIGKILL)");
        failed.reason = Some("out_of_memory".into());
        assert_eq!(state(&failed, 0), "failed (out of memory)");
    }

    #[test]
    fn durations_sizes_and_times() {
        for (ms, text) in [
            (-5, "0ms"),
            (850, "850ms"),
            (4000, "4s"),
            (5_400_000, "1h30m"),
            (266_400_000, "3d2h"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(size(17), "17 B");
        assert_eq!(size(3 << 20), "3.0 MiB");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        assert_eq!(
            command(&["ls".into(), "a b".into(), String::new()]),
            "ls 'a b' ''"
        );
        assert_eq!(command(&["x\ny".into()]), "'x\\ny'");
        assert_eq!(command(&vec!["word".into(); 40]).chars().count(), 60);
    }
}
