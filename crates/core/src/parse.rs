//! What people type: durations, sizes, CPUs, environment, mounts, ports, signals. One clear line when it is wrong.

use crate::{Mount, Publish};

fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit))
}

/// A duration in milliseconds: `500ms`, `4s`, `1h30m`, `3d`.
///
/// # Errors
/// One line that says which forms there are.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a duration: write for example 500ms, 10s, 5m, 1h30m or 3d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = number_and_unit(rest).ok_or_else(wrong)?;
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(end);
        let factor = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            "d" => 86_400e3,
            "w" => 604_800e3,
            _ => return Err(wrong()),
        };
        total += number * factor;
        rest = next;
    }
    // A hundred thousand years; beyond it the sum no longer counts milliseconds exactly.
    if total > 3.2e15 {
        return Err(format!("{text:?} is too long a duration"));
    }
    Ok(total.round() as u64)
}

/// A size in bytes: `1024`, `512k`, `512m`, `2g` (powers of 1024), also `512MiB`.
///
/// # Errors
/// One line that says which forms there are.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write for example 512m or 2g");
    let (number, unit) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let bytes = number * factor;
    if !(1.0..=9e15).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// CPUs in thousandths: `0.5`, `2`.
///
/// # Errors
/// One line that says which forms there are.
pub fn cpus(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is not a number of CPUs: write for example 0.5 or 2");
    let (number, unit) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    if !unit.is_empty() || !(0.01..=4096.0).contains(&number) {
        return Err(wrong());
    }
    Ok((number * 1000.0).round() as u32)
}

/// A variable: `NAME=VALUE`. `DAUER_API` and `DAUER_JOB_ID` are Dauer's own.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn env_pair(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("{text:?} is not a variable: write NAME=VALUE"));
    };
    let first_is_good = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first_is_good
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    {
        return Err(format!(
            "{name:?} is not a name for a variable: letters, digits and _, not beginning with a digit"
        ));
    }
    if matches!(name, "DAUER_API" | "DAUER_JOB_ID") {
        return Err(format!("{name} is set by dauer and cannot be overridden"));
    }
    if value.contains('\0') {
        return Err(format!("the value of {name} contains a NUL byte"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A bind mount: `SRC:DST` or `SRC:DST:ro`, both absolute.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn mount(text: &str) -> Result<Mount, String> {
    let wrong =
        || format!("{text:?} is not a mount: write SRC:DST or SRC:DST:ro with absolute paths");
    let mut parts = text.split(':');
    let (Some(source), Some(target), mode, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(_) => return Err(wrong()),
    };
    if !source.starts_with('/') || !target.starts_with('/') || target == "/" {
        return Err(wrong());
    }
    Ok(Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only,
    })
}

/// A forwarded port: `HOST:GUEST`, or one number for both.
///
/// # Errors
/// One line that says which forms there are.
pub fn publish(text: &str) -> Result<Publish, String> {
    let wrong =
        || format!("{text:?} is not a forwarded port: write HOST:GUEST, for example 8080:80");
    let (host, guest) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)
    };
    Ok(Publish {
        host_port: port(host)?,
        guest_port: port(guest)?,
    })
}

const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A Linux signal by name (`TERM`, `SIGTERM`, any case) or number.
///
/// # Errors
/// One line that says which forms there are.
pub fn signal(text: &str) -> Result<i32, String> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = SIGNALS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number);
    by_name
        .or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
        .ok_or_else(|| {
            format!("{text:?} is not a signal: write a name such as TERM or a number from 1 to 64")
        })
}

/// The name of a signal, as `SIGTERM`.
#[must_use]
pub fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(_, known)| *known == number);
    known.map_or_else(
        || format!("signal {number}"),
        |(name, _)| format!("SIG{name}"),
    )
}

/// A name for a job: 1 to 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit, and not of the form of an id.
///
/// # Errors
/// One line that says what is allowed.
pub fn name(text: &str) -> Result<String, String> {
    let good = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a name: up to 63 letters, digits, '-', '_' and '.', beginning with a letter or digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("4s", 4000),
            ("1h30m", 5_400_000),
            ("3d", 259_200_000),
            ("1.5s", 1500),
            ("0s", 0),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in [
            "",
            "4",
            "s",
            "-4s",
            "4 s",
            "4x",
            "1e9s",
            "99999999999999w",
            "4s5",
            "..s",
        ] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_cpus() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert!(bytes("0").is_err() && bytes("m").is_err() && bytes("-1k").is_err());
        assert_eq!(cpus("0.5"), Ok(500));
        assert!(cpus("0").is_err() && cpus("two").is_err());
    }

    #[test]
    fn the_names_of_dauer_cannot_be_set() {
        assert_eq!(env_pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        for text in [
            "A",
            "=x",
            "1A=x",
            "A B=x",
            "DAUER_API=http://x",
            "DAUER_JOB_ID=1",
        ] {
            assert!(env_pair(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_ports_signals_and_names() {
        assert!(mount("/a:/b:ro").unwrap().read_only);
        for text in ["/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:x", "/a:/"] {
            assert!(mount(text).is_err(), "{text}");
        }
        assert_eq!(
            publish("8080:80"),
            Ok(Publish {
                host_port: 8080,
                guest_port: 80
            })
        );
        assert!(publish("0:80").is_err() && publish("70000").is_err() && publish("a:b").is_err());
        assert_eq!(
            (signal("term"), signal("SIGKILL"), signal("10")),
            (Ok(15), Ok(9), Ok(10))
        );
        assert!(signal("SIGFOO").is_err() && signal("0").is_err() && signal("65").is_err());
        assert_eq!(signal_name(15), "SIGTERM");
        assert!(
            name("web-1").is_ok()
                && name("-x").is_err()
                && name("a b").is_err()
                && name("").is_err()
        );
    }
}
