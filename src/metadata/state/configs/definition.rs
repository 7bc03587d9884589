//! What a config is: type, default, valid values.

/// The definition of one config.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigDef {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigKind,
    /// Its value where nobody set one; `None` for Kafka's null.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub valid: Valid,
    /// For a topic config, the broker configs that give its default, most important first.
    pub synonyms: &'static [Synonym],
    /// For a broker config, whether it can change while the broker runs.
    pub dynamic: Dynamic,
    /// What it does, for people.
    pub doc: &'static str,
}

impl ConfigDef {
    /// Says what is wrong with a value, if anything is.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn check(&self, value: &str) -> Result<(), String> {
        super::value::check(self, value)
    }

    /// Says what is wrong with a broker config among the settings of one process, if anything is:
    /// a wrong value, or a config that a process has no say in.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn check_setting(&self, value: &str) -> Result<(), String> {
        let name = self.name;
        if super::shared::SHARED.contains(&name) {
            return Err(format!(
                "{name} has to be the same on every node, so it is not a setting of one: give it \
                 to topics (`purlin topic alter TOPIC --config {name}={value}`), or to all brokers \
                 at once (`kafka-configs --entity-type brokers --entity-default`)"
            ));
        }
        if name == super::DRAIN {
            return Err(format!("{name} is not a setting: use `purlin node drain`"));
        }
        self.check(value)
    }
}

/// A broker config that stands behind a topic config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker config.
    pub name: &'static str,
    /// Milliseconds per unit of the broker config, where it counts in minutes or hours; else 1.
    pub scale: i64,
}

/// The types of configs, as Kafka has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Texts with commas between.
    List,
    /// A secret: never shown.
    Password,
}

impl ConfigKind {
    /// Kafka's number of the type, as DescribeConfigs reports it.
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Password => 9,
        }
    }
}

/// Which values a config takes, beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Valid {
    /// Every value of the type.
    Any,
    /// Numbers from here up.
    AtLeast(i64),
    /// Numbers in this range, both ends included.
    Between(i64, i64),
    /// Fractions in this range, both ends included.
    BetweenFractions(f64, f64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of at least one of these texts.
    ListOf(&'static [&'static str]),
    /// -1 or a range: the levels of a codec that has a special default.
    DefaultOrBetween(i64, i64, i64),
    /// `*`, nothing, or a list of `partition:broker`.
    ThrottledReplicas,
}

/// When a broker config can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dynamic {
    /// Only in the settings of the process, before it starts.
    ReadOnly,
    /// Per broker, while it runs.
    PerBroker,
    /// Per broker, or for all at once, while they run.
    ClusterWide,
}
