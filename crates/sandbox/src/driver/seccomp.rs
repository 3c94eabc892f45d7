//! System calls that no job needs and that reach past its sandbox: a short deny list for runc, crun and native.
//!
//! A list of what is allowed would break programs with each new kernel; what is dangerous is mostly stopped by the dropped
//! capabilities already, and this is the second line. gVisor needs none: its processes have no host kernel to call.

use crate::Error;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde_json::{Value, json};

macro_rules! calls {
    ($($name:ident => $number:ident),* $(,)?) => { &[$((stringify!($name), libc::$number)),*] };
}

/// Answered with `EPERM`.
const DENIED: &[(&str, libc::c_long)] = calls! {
    acct => SYS_acct,
    add_key => SYS_add_key,
    bpf => SYS_bpf,
    clock_adjtime => SYS_clock_adjtime,
    clock_settime => SYS_clock_settime,
    delete_module => SYS_delete_module,
    fanotify_init => SYS_fanotify_init,
    finit_module => SYS_finit_module,
    fsconfig => SYS_fsconfig,
    fsmount => SYS_fsmount,
    fsopen => SYS_fsopen,
    fspick => SYS_fspick,
    init_module => SYS_init_module,
    io_uring_enter => SYS_io_uring_enter,
    io_uring_register => SYS_io_uring_register,
    io_uring_setup => SYS_io_uring_setup,
    kexec_load => SYS_kexec_load,
    keyctl => SYS_keyctl,
    mount => SYS_mount,
    mount_setattr => SYS_mount_setattr,
    move_mount => SYS_move_mount,
    open_by_handle_at => SYS_open_by_handle_at,
    open_tree => SYS_open_tree,
    perf_event_open => SYS_perf_event_open,
    pivot_root => SYS_pivot_root,
    quotactl => SYS_quotactl,
    reboot => SYS_reboot,
    request_key => SYS_request_key,
    setns => SYS_setns,
    settimeofday => SYS_settimeofday,
    swapoff => SYS_swapoff,
    swapon => SYS_swapon,
    umount2 => SYS_umount2,
    userfaultfd => SYS_userfaultfd,
    vhangup => SYS_vhangup,
};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (&str, TargetArch) = ("SCMP_ARCH_X86_64", TargetArch::x86_64);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (&str, TargetArch) = ("SCMP_ARCH_AARCH64", TargetArch::aarch64);

/// As `linux.seccomp` of an OCI bundle.
pub(super) fn oci() -> Value {
    let names: Vec<_> = DENIED.iter().map(|(name, _)| name).collect();
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [ARCHITECTURE.0],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM }],
    })
}

/// As a program for the kernel.
pub(super) fn program() -> Result<BpfProgram, Error> {
    let rules = DENIED
        .iter()
        .map(|(_, number)| (*number, Vec::new()))
        .collect();
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, ARCHITECTURE.1)
        .and_then(BpfProgram::try_from)
        .map_err(|e| {
            Error::Unsupported(format!(
                "the system call filter cannot be built for this machine: {e}"
            ))
        })
}
