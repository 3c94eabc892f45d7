//! System calls that no job needs and that reach past its container: a short deny list for runc and crun.
//!
//! A list of what is allowed would break programs with each new kernel; what is dangerous is mostly stopped by the dropped
//! capabilities already, and this is the second line. gVisor needs none: its processes have no host kernel to call.

use serde_json::{Value, json};

/// Answered with `EPERM`.
pub(crate) const DENIED: &[&str] = &[
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module", "fanotify_init", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "kexec_file_load",
    "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount", "nfsservctl", "open_by_handle_at", "open_tree",
    "perf_event_open", "pivot_root", "quotactl", "reboot", "request_key", "settimeofday", "setns", "swapoff", "swapon", "umount2",
    "userfaultfd", "vhangup",
];

/// As `linux.seccomp`.
pub(super) fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [ARCHITECTURE],
        "syscalls": [{ "names": DENIED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    })
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";
