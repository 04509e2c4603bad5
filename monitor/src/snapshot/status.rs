//! States of containers, and the scopes in which they are watched.

/// The state of a container. The words are part of the contract with readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Alive.
    #[default]
    Running,
    /// Frozen by the freezer.
    Paused,
    /// Exited, or not watched any more because the agent stops.
    Exited,
}

impl Status {
    /// The word that readers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }

    /// The status of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Running, Self::Paused, Self::Exited].into_iter().find(|status| status.as_str() == word)
    }
}

/// The scope of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The container that the agent runs in.
    #[default]
    SelfContainer,
    /// Every container of the machine, and the machine.
    Host,
}

impl Scope {
    /// The word that readers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfContainer => "self",
            Self::Host => "host",
        }
    }
}

/// The cgroups that a reading covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// All that there are: a cgroup that is missing is gone.
    #[default]
    All,
    /// Those that have exited since the reading before, or have lost their last process. The others are not covered.
    Exited,
}
