//! Who may call what: the scopes of tokens.

/// What a token allows; each scope allows all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Asked of nobody: the route is open.
    Nothing,
    /// Look.
    Read,
    /// Also submit jobs and act on them.
    Submit,
    /// Also what concerns everybody: tokens, definitions, the host.
    Admin,
}

impl Scope {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
        }
    }
}
