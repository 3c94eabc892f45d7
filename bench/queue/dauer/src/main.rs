//! No-op jobs through Dauer as a library, raw SQLite beside it, and the latencies: `bench-dauer COMMAND`, see `usage`.

mod engine;
mod latency;
mod raw;

use std::path::PathBuf;

fn usage() -> ! {
    eprintln!(
        "bench-dauer jobs JOBS [full]     no-op jobs, enqueue to done, jobs per second\n\
         bench-dauer raw JOBS [full]      the same rows in the same batches, written by rusqlite alone\n\
         bench-dauer latency [full]       enqueue to start, cancel, a timer, at idle, in milliseconds\n\
         bench-dauer history              claims with 1,000 and with 1,000,000 ended jobs beside them"
    );
    std::process::exit(2)
}

/// A fresh file on the disk that the temporary folder lies on.
pub(crate) fn fresh() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("bench-dauer-{}", std::process::id()));
    // What a run before left, if its process had this number.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join("jobs.db")
}

pub(crate) fn clean(file: &std::path::Path) {
    let folder = file.parent().expect("its folder");
    std::fs::remove_dir_all(folder).expect("its folder goes");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let full = words.iter().any(|word| word == "full");
    let jobs = || match words.get(1).and_then(|word| word.parse().ok()) {
        Some(jobs) => jobs,
        None => usage(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match words.first().map(String::as_str) {
        Some("jobs") => println!("{:.0}", runtime.block_on(engine::jobs(jobs(), full))),
        Some("raw") => println!("{:.0}", raw::jobs(jobs(), full)),
        Some("latency") => runtime.block_on(latency::idle(full)),
        Some("history") => runtime.block_on(latency::history()),
        Some(_) | None => usage(),
    }
}
