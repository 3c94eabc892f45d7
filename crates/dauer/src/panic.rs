//! What a user sees of a mistake in Dauer: one line and where the details are.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicI32, Ordering};

/// What a command exits with after a panic; zero: it goes on (the daemon, whose other jobs are not concerned).
static EXIT_CODE: AtomicI32 = AtomicI32::new(1);

/// From here on a panic is one line.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|panic| {
        crate::terminal::restore();
        let details = describe(panic);
        let line = match write_details(&details) {
            Some(path) => {
                format!("this is a mistake in dauer, not yours; the details are in {path}")
            }
            None => format!(
                "this is a mistake in dauer, not yours: {}",
                details.lines().next().unwrap_or_default()
            ),
        };
        crate::failure::report(&line);
        let code = EXIT_CODE.load(Ordering::Relaxed);
        if code != 0 {
            std::process::exit(code);
        }
    }));
}

/// Sets what a panic exits with; zero: only the task ends.
pub(crate) fn exit_with(code: i32) {
    EXIT_CODE.store(code, Ordering::Relaxed);
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let mut text = said.unwrap_or("a panic without words").to_owned();
    if let Some(at) = panic.location() {
        let _ = write!(text, " at {at}");
    }
    let _ = write!(
        text,
        "\n\ndauer {}\n{}",
        env!("CARGO_PKG_VERSION"),
        Backtrace::force_capture()
    );
    text
}

/// A new file that nobody can have put a link in place of.
fn write_details(details: &str) -> Option<String> {
    let folder = std::env::temp_dir();
    let at = jiff::Timestamp::now().as_millisecond();
    let path = folder.join(format!("dauer-failure-{}-{at}.txt", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .ok()?;
    file.write_all(details.as_bytes()).ok()?;
    Some(path.display().to_string())
}
