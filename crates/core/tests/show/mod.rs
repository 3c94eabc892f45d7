//! Parts of a verdict in one line, and what a scenario begins with.

use dauer_core::{Fork, Kept, Verdict};

/// A job that begins from a template that was taken of the fourth incarnation of another one.
pub(crate) fn of_template() -> Fork {
    Fork {
        source: "source".into(),
        index: 0,
        of: 1,
        known_as: vec![],
        generation: 4,
        token: None,
        numbered_by: None,
        template: true,
    }
}

/// What a verdict writes into the ledger, for `ledger …`: `+kind amount @from by cause`, `-kind @to by cause`.
pub(crate) fn show_ledger(verdict: &Verdict) -> String {
    let Verdict::Move(movement) = verdict else {
        return "-".into();
    };
    let lines = movement.kept.iter().filter_map(|kept| match kept {
        Kept::Opened(opened) => Some(format!(
            "+{} {} @{} {}",
            opened.kind.name(),
            opened.amount,
            opened.from.0,
            opened.cause
        )),
        Kept::Closed(closed) => {
            let used = closed.used.map(|used| format!(" used={used}"));
            Some(format!(
                "-{} @{} {}{}",
                closed.kind.name(),
                closed.to.0,
                closed.closed_by,
                used.unwrap_or_default()
            ))
        }
        Kept::Relabelled(relabelled) => Some(format!("~ @{}", relabelled.at.0)),
        Kept::Output(_)
        | Kept::Signal(_)
        | Kept::SignalTaken { .. }
        | Kept::SignalsSealed
        | Kept::SignalsFreed
        | Kept::Wait(_)
        | Kept::BegunAnew
        | Kept::Unblocked { .. }
        | Kept::Turn { .. }
        | Kept::Described { .. } => None,
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        "-".into()
    } else {
        lines.join("; ")
    }
}
