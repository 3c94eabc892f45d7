//! A bar on standard error for what takes long, where somebody looks.

use dauer_store::moving::{Progress, Section};
use indicatif::{ProgressBar, ProgressStyle};

/// How far something got. Where standard error is no terminal nothing is shown.
pub(super) struct Bar {
    bar: ProgressBar,
    step: Option<(bool, Section)>,
}

impl Bar {
    /// Of values of a store.
    pub(super) fn of_values() -> Self {
        Self::with("{msg:24} {bar:30} {human_pos}/{human_len} {per_sec} {eta}")
    }

    /// Of bytes.
    pub(super) fn of_bytes() -> Self {
        Self::with(
            "{msg:24} {bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )
    }

    fn with(template: &str) -> Self {
        let style = ProgressStyle::with_template(template)
            .expect("invariant: the templates above are sound");
        Self {
            bar: ProgressBar::new(0).with_style(style),
            step: None,
        }
    }

    /// Shows this.
    pub(super) fn tell(&mut self, progress: Progress) {
        let step = (progress.comparing, progress.section);
        if self.step.replace(step) != Some(step) {
            self.bar.reset();
            let what = if progress.comparing {
                "reading"
            } else {
                "copying"
            };
            self.bar.set_message(format!("{what} {}", progress.section));
        }
        self.bar.set_length(progress.total.max(progress.done));
        self.bar.set_position(progress.done);
    }

    /// Shows how many bytes are copied.
    pub(super) fn bytes(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
