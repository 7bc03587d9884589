//! Names of topics, and the pair of topic and partition.

use super::PartitionIndex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Why a text is not a topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("topic name is empty")]
    Empty,
    /// The text is `.` or `..`, which mean something else to a file system.
    #[error("topic name cannot be '.' or '..'")]
    Dots,
    /// Longer than [`TopicName::LENGTH_MAX`].
    #[error("topic name is {0} characters long; at most {max} are allowed", max = TopicName::LENGTH_MAX)]
    TooLong(usize),
    /// A character outside ASCII letters, digits, `.`, `_` and `-`.
    #[error(
        "topic name has the character {0:?}; only ASCII letters, digits, '.', '_' and '-' are allowed"
    )]
    BadCharacter(char),
}

/// The checked name of a topic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Kafka's limit: with a partition suffix the name must still be a file name.
    pub const LENGTH_MAX: usize = 249;

    /// Checks a text against Kafka's rules for topic names.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text == "." || text == ".." {
            return Err(NameError::Dots);
        }
        if text.len() > Self::LENGTH_MAX {
            return Err(NameError::TooLong(text.chars().count()));
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
            Some(bad) => Err(NameError::BadCharacter(bad)),
            None => Ok(Self(Arc::from(text))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with `.` turned into `_`: two topics whose forms are equal collide in metrics, so
    /// the second is refused.
    #[must_use]
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl TryFrom<String> for TopicName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A partition by the name of its topic. Prints as `topic-3`, which is also its directory's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Pairs the two.
    #[must_use]
    pub fn new(topic: TopicName, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }

    /// Reads the form that [`fmt::Display`] writes; nothing for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.rsplit_once('-')?;
        let index: i32 = partition.parse().ok()?;
        let canonical = index >= 0 && partition == index.to_string();
        canonical.then_some(())?;
        Some(Self::new(TopicName::new(topic).ok()?, PartitionIndex(index)))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", "__consumer_offsets", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        assert_eq!(TopicName::new(""), Err(NameError::Empty));
        assert_eq!(TopicName::new(".."), Err(NameError::Dots));
        assert_eq!(TopicName::new("a b"), Err(NameError::BadCharacter(' ')));
        assert_eq!(TopicName::new("ünder"), Err(NameError::BadCharacter('ü')));
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(NameError::TooLong(250)));
    }

    #[test]
    fn partitions_print_and_parse_as_directory_names() {
        let name = TopicName::new("web-logs").expect("valid");
        let partition = TopicPartition::new(name, PartitionIndex(12));
        assert_eq!(partition.to_string(), "web-logs-12");
        assert_eq!(TopicPartition::parse("web-logs-12"), Some(partition));
        assert_eq!(TopicPartition::parse("web-logs-012"), None);
        assert_eq!(TopicPartition::parse("web-logs"), None);
    }
}
