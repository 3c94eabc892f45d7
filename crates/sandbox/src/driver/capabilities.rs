//! What root inside a sandbox may do: docker's default set.

/// Name for OCI bundles and number for the kernel.
pub(super) const KEPT: [(&str, u32); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// The names.
pub(super) fn names() -> [&'static str; KEPT.len()] {
    KEPT.map(|(name, _)| name)
}

/// Those of an agent that has to name its own host. No other process gets more than [`names`]: an exec is bound by them.
pub(super) fn names_of_a_naming_agent() -> Vec<&'static str> {
    let names = names();
    names.into_iter().chain(["CAP_SYS_ADMIN"]).collect()
}

/// A bit for each.
pub(super) fn mask() -> u64 {
    KEPT.iter().fold(0, |mask, (_, number)| mask | 1 << number)
}
