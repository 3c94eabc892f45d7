//! How the program is linked.

fn main() {
    // At a fixed address, as Go links: the command line and each shim are short programs, and a position-independent one has its 50,000
    // pointers moved, and the pages they are in copied, at each start. See docs/decisions/0026-a-fixed-address-and-no-question-first.md.
    println!("cargo:rustc-link-arg-bin=dauer=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
