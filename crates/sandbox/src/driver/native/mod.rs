//! tmp
use super::*;
#[derive(Debug)]
pub struct Native;
impl Native { pub fn new() -> Self { Self } }
impl Driver for Native {
    fn name(&self) -> &'static str { "native" }
    fn check(&self, _: &SandboxSpec) -> Result<(), Error> { Err(Error::Unsupported("not yet".into())) }
    fn freezable(&self, _: &SandboxSpec) -> Result<(), Error> { Err(Error::Unsupported("not yet".into())) }
    fn prepare(&self, _: &Incarnation) -> Result<(), Error>{ Err(Error::Unsupported("not yet".into())) }
    fn start(&self, _: &Incarnation, _: AgentStdio) -> Result<Running, Error>{ Err(Error::Unsupported("not yet".into())) }
    fn destroy(&self, _: &str, _: &Path) -> Result<(), Error>{ Err(Error::Unsupported("not yet".into())) }
    fn was_out_of_memory(&self, _: &Incarnation) -> bool { false }
    fn memory_bytes(&self, _: &Incarnation) -> u64 { 0 }
    fn uppers(&self, _: &Incarnation) -> Vec<(String, PathBuf)> { Vec::new() }
    fn checkpointer(&self) -> Option<&dyn Checkpointer> { None }
}
