//! `dauer usage`: what jobs have used.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_client::UsageFilter;
use dauer_core::parse;
use dauer_wire::http::{UsageReport, UsageRow};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// Show what jobs have used.
///
/// CPUs and memory while their sandboxes ran, disk while a checkpoint was kept: a job that sleeps costs only its image. What still
/// runs counts up to now; what removed jobs have used stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer usage --since 30d --by tag:team
  dauer usage --since 2026-01-01 --until 2026-02-01 --by day --csv
  dauer usage crunch

CPU-H and MEM-GIB-H are what jobs were allotted (1 CPU and 0.5 GiB where they have no limit) × hours; CPU-USED-H is CPU time as the
kernel counted it, once a sandbox has ended; DISK-GIB-D is GiB × days. Days are those of UTC.")]
pub(crate) struct Args {
    /// Only this job; one that was removed by its whole id
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// One row for each: total, job, day, definition, queue, tag:KEY
    #[arg(long, value_name = "GROUP")]
    by: Option<String>,
    /// Only what was used from then on: 30d (ago), 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<i64>,
    /// Only what was used until then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
    /// Only what had this tag while it ran; repeated, all of them
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::command::ps::tag)]
    tag: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// As CSV, with a header
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

fn moment(text: &str) -> Result<i64, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok();
    if let Some(at) = text.parse::<Date>().ok().and_then(midnight) {
        return Ok(at.timestamp().as_millisecond());
    }
    let ago = parse::duration_ms(text).map_err(|_| {
        format!(
            "{text:?} is no time: write 30d for so long ago, 2026-01-31, or 2026-01-31T12:00:00Z"
        )
    })?;
    let ago = i64::try_from(ago).unwrap_or(i64::MAX);
    Ok(Timestamp::now().as_millisecond().saturating_sub(ago))
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let filter = UsageFilter {
        by: args.by,
        since: args.since,
        until: args.until,
        job: args.job,
        tags: args.tag,
    };
    let report = client.usage(&filter).await?;
    if args.json {
        render::print_json(&report)?;
    } else if args.csv {
        render::print(&csv(&report))?;
    } else {
        render::print(&table(&report))?;
    }
    Ok(0)
}

/// The figures of a row with their names as columns.
fn figures(row: &UsageRow) -> [(&'static str, &'static str, f64); 5] {
    [
        ("RUN-H", "run_hours", row.run_hours),
        ("CPU-H", "cpu_hours", row.cpu_hours),
        ("CPU-USED-H", "cpu_used_hours", row.cpu_used_hours),
        ("MEM-GIB-H", "memory_gib_hours", row.memory_gib_hours),
        ("DISK-GIB-D", "storage_gib_days", row.storage_gib_days),
    ]
}

fn table(report: &UsageReport) -> String {
    let group = report.by.to_uppercase();
    let mut header = vec![group.as_str()];
    header.extend(figures(&report.total).map(|(name, ..)| name));
    let mut table = render::table(&header);
    let line = |name: &str, row: &UsageRow| {
        let figures = figures(row).map(|(.., figure)| shown(figure));
        std::iter::once(name.to_owned())
            .chain(figures)
            .collect::<Vec<_>>()
    };
    if report.by != "total" {
        for row in &report.rows {
            table.add_row(line(row.group.as_deref().unwrap_or("-"), row));
        }
    }
    table.add_row(line("total", &report.total));
    render::trimmed(&table)
}

/// With as many digits as say something: four that count for small figures, two behind the point for large ones.
fn shown(figure: f64) -> String {
    if figure == 0.0 {
        return "0".into();
    }
    if figure >= 10.0 {
        return format!("{figure:.2}");
    }
    let digits = (3.0 - figure.log10().floor()).clamp(2.0, 9.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it lies between 2 and 9"
    )]
    let digits = digits as usize;
    format!("{figure:.digits$}")
}

fn csv(report: &UsageReport) -> String {
    let names = figures(&report.total).map(|(_, name, _)| name);
    let mut out = format!("{},{}\n", quoted(&report.by), names.join(","));
    for row in &report.rows {
        out.push_str(&quoted(row.group.as_deref().unwrap_or_default()));
        for (.., figure) in figures(row) {
            // Writing to a string cannot fail.
            let _ = write!(out, ",{figure}");
        }
        out.push('\n');
    }
    out
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> UsageReport {
        let row = UsageRow {
            group: Some("a \"b\", c".into()),
            run_hours: 2.0,
            cpu_hours: 3.0,
            cpu_used_hours: 0.000_123_456,
            memory_gib_hours: 1234.567,
            storage_gib_days: 0.0,
        };
        let none = UsageRow {
            group: None,
            ..UsageRow::default()
        };
        UsageReport {
            by: "tag:team".into(),
            since: None,
            until: None,
            at: 0,
            total: row.clone(),
            rows: vec![none, row],
        }
    }

    #[test]
    fn a_table_has_units_and_a_total() {
        let text = table(&report());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("TAG:TEAM") && lines[0].contains("MEM-GIB-H"));
        assert!(lines[1].starts_with("-  "), "{text}");
        assert!(
            lines[2].contains("1234.57") && lines[2].contains("0.0001235"),
            "{text}"
        );
        assert!(lines[3].starts_with("total"), "{text}");
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        assert_eq!(
            csv(&report()),
            "tag:team,run_hours,cpu_hours,cpu_used_hours,memory_gib_hours,storage_gib_days\n\
             ,0,0,0,0,0\n\
             \"a \"\"b\"\", c\",2,3,0.000123456,1234.567,0\n"
        );
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(1000));
        let ago = Timestamp::now().as_millisecond() - moment("1h").unwrap();
        assert!((3_600_000..3_660_000).contains(&ago), "{ago}");
        assert!(moment("yesterday").unwrap_err().contains("30d"));
    }
}
