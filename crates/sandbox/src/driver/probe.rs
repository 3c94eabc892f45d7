//! What each driver can do on this machine.

/// The command that installs what a driver needs.
pub(crate) fn install_command(driver: &str) -> &'static str {
    match driver {
        "gvisor" => {
            "sudo apt-get install runsc (from Debian backports), or sudo scripts/deps gvisor"
        }
        "runc" => "sudo apt-get install runc, and for checkpoints sudo scripts/deps criu",
        "crun" => "sudo apt-get install crun",
        _ => "",
    }
}
