//! How a command fails: the cause, the next thing to try, the exit code.

use crate::client::Error;
use crate::protocol::ErrorCode;
use crate::{config, node};
use std::io::{self, Write as _};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was used wrongly: exit code 2.
    Usage(String),
    /// It went wrong: exit code 1.
    Failed {
        /// The cause.
        cause: String,
        /// What to try next.
        next: Option<String>,
    },
    /// Whoever read the output has seen enough: no failure at all.
    ClosedPipe,
}

impl Failure {
    /// A failure with a next step.
    pub(super) fn new(cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed { cause: cause.into(), next: Some(next.into()) }
    }

    /// A failure that says all by itself.
    pub(super) fn plain(cause: impl Into<String>) -> Self {
        Self::Failed { cause: cause.into(), next: None }
    }

    /// What a change of the cluster failed with. When its outcome is unknown, it may still be made:
    /// a broker that was asked may hand it on later. `look` is the command that shows it.
    pub(super) fn of_change(error: Error, look: &str) -> Self {
        let unknown = matches!(error, Error::Timeout { .. } | Error::Disconnected { .. })
            || error.code() == Some(ErrorCode::RequestTimedOut);
        if !unknown {
            return error.into();
        }
        Self::new(
            format!(
                "{error}; the change may still be made, now or once the cluster has a controller"
            ),
            format!("{look}, to see whether it was; purlin cluster health, for what is wrong"),
        )
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed { .. } => 1,
            Self::ClosedPipe => 0,
        }
    }

    /// Tells it on stderr. If even that is gone, the exit code has to do.
    pub(super) fn report(&self) {
        let mut out = io::stderr().lock();
        let _ = match self {
            Self::Usage(cause) | Self::Failed { cause, next: None } => {
                writeln!(out, "error: {cause}")
            }
            Self::Failed { cause, next: Some(next) } => {
                writeln!(out, "error: {cause}\n  try: {next}")
            }
            Self::ClosedPipe => Ok(()),
        };
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::plain(error.to_string()),
        }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<node::Error> for Failure {
    fn from(error: node::Error) -> Self {
        match error.exit_code() {
            2 => Self::Usage(error.to_string()),
            _ => Self::plain(error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let next = next_step(&error);
        match error {
            Error::Settings(_) => Self::Usage(error.to_string()),
            Error::UnknownTopic { ref topic, ref known } => {
                let mut cause = error.to_string();
                if let Some(near) = nearest(topic, known.iter().map(String::as_str)) {
                    cause.push_str(&format!("; did you mean '{near}'?"));
                }
                Self::Failed { cause, next }
            }
            _ => Self::Failed { cause: error.to_string(), next },
        }
    }
}

fn next_step(error: &Error) -> Option<String> {
    let text = match error {
        Error::Unreachable { attempts, .. } => {
            let foreign = attempts.iter().any(|one| one.cause.contains("not a Kafka broker"));
            if foreign {
                "check the port: another program answers there; brokers listen on 9092 unless told \
                 otherwise, and --bootstrap (or PURLIN_BOOTSTRAP) names another address"
            } else {
                "purlin node init --data-dir ./data, if no node runs yet; \
                 or name its address with --bootstrap HOST:PORT (or PURLIN_BOOTSTRAP)"
            }
        }
        Error::UnknownTopic { topic, .. } => {
            return Some(format!("purlin topic list; or: purlin topic create {topic}"));
        }
        Error::UnknownPartition { topic, .. } => {
            return Some(format!("purlin topic describe {topic}"));
        }
        Error::OffsetOutOfRange { .. } => {
            "--offset earliest, latest, @TIMESTAMP, or a number in that range"
        }
        Error::Corrupt { .. } => {
            "purlin log dump --deep on the segment in the broker's data directory"
        }
        Error::Protocol { .. } => "check the address: a Kafka broker is expected there",
        Error::Disconnected { .. } | Error::Timeout { .. } | Error::DeliveryTimeout { .. } => {
            "purlin cluster health"
        }
        Error::Refused { code, .. } => return next_step_for(*code).map(str::to_owned),
        _ => return None,
    };
    Some(text.to_owned())
}

fn next_step_for(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TopicAlreadyExists => "purlin topic describe, to see it; or add --if-not-exists",
        ErrorCode::UnknownTopicOrPartition => "purlin topic list",
        ErrorCode::InvalidReplicationFactor => {
            "purlin node list, to see how many brokers there are; or leave --replication-factor out"
        }
        ErrorCode::InvalidPartitions => "purlin topic describe, to see how many it has",
        ErrorCode::InvalidConfig => "purlin topic describe --all, which lists every setting",
        ErrorCode::MessageTooLarge => "purlin topic alter TOPIC --config max.message.bytes=BYTES",
        ErrorCode::RecordListTooLarge => "purlin topic alter TOPIC --config segment.bytes=BYTES",
        ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::BrokerNotAvailable
        | ErrorCode::KafkaStorageError => "purlin cluster health",
        _ => return None,
    })
}

/// The name that a mistyped one most likely meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_unknown_outcome_says_that_it_may_still_be_made() {
        let address = crate::client::Address::new("h", 9092);
        let late = Error::Timeout { address, what: "CreateTopics", waited_ms: 30_000 };
        let refused = |code| Error::refused("creating topic 't'", code, None);
        for error in [late, refused(ErrorCode::RequestTimedOut)] {
            let failure = Failure::of_change(error, "purlin topic describe t");
            let Failure::Failed { cause, next } = failure else { panic!("not usage") };
            assert!(cause.contains("may still be made"), "{cause}");
            assert!(next.is_some_and(|next| next.starts_with("purlin topic describe t")));
        }
        let known = Failure::of_change(refused(ErrorCode::InvalidPartitions), "look");
        let Failure::Failed { cause, .. } = known else { panic!("not usage") };
        assert!(!cause.contains("may still be made"), "{cause}");
    }

    #[test]
    fn a_mistyped_topic_gets_a_suggestion_and_exit_code_one() {
        let known = vec!["payments".to_owned(), "web-logs".to_owned()];
        let failure = Failure::from(Error::UnknownTopic { topic: "weblogs".to_owned(), known });
        assert_eq!(failure.code(), 1);
        let Failure::Failed { cause, next } = failure else { panic!("not usage") };
        assert!(cause.ends_with("did you mean 'web-logs'?"), "{cause}");
        assert!(next.is_some_and(|next| next.contains("purlin topic create weblogs")));
        assert_eq!(nearest("zzz", ["payments"].into_iter()), None);
    }
}
