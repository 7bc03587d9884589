//! Checking one value against its definition.

use super::definition::{ConfigDef, ConfigKind, Valid};

/// Why a value is refused, in words for people: tools show it as it stands.
pub(super) fn check(definition: &ConfigDef, value: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("{} cannot be '{value}': {why}", definition.name));
    match check_kind(definition.kind, value).and_then(|()| check_valid(definition.valid, value)) {
        Ok(()) => Ok(()),
        Err(why) => refuse(why),
    }
}

fn check_kind(kind: ConfigKind, value: &str) -> Result<(), String> {
    let trimmed = value.trim();
    let number = |parses: bool, name: &str| {
        if parses { Ok(()) } else { Err(format!("not a number of type {name}")) }
    };
    match kind {
        ConfigKind::Boolean => {
            let known = ["true", "false"].iter().any(|word| trimmed.eq_ignore_ascii_case(word));
            if known { Ok(()) } else { Err("it is true or false".to_owned()) }
        }
        ConfigKind::Int => number(trimmed.parse::<i32>().is_ok(), "INT"),
        ConfigKind::Short => number(trimmed.parse::<i16>().is_ok(), "SHORT"),
        ConfigKind::Long => number(trimmed.parse::<i64>().is_ok(), "LONG"),
        ConfigKind::Double => number(trimmed.parse::<f64>().is_ok_and(f64::is_finite), "DOUBLE"),
        ConfigKind::String | ConfigKind::List | ConfigKind::Password => Ok(()),
    }
}

fn check_valid(valid: Valid, value: &str) -> Result<(), String> {
    let trimmed = value.trim();
    // The type was checked before.
    let number = || trimmed.parse::<i64>().unwrap_or(0);
    match valid {
        Valid::Any => Ok(()),
        Valid::AtLeast(least) => at_least(number(), least),
        Valid::Between(least, most) => between(number(), least, most),
        Valid::DefaultOrBetween(default, least, most) => {
            if number() == default {
                Ok(())
            } else {
                between(number(), least, most)
            }
        }
        Valid::BetweenFractions(least, most) => {
            let fraction = trimmed.parse::<f64>().unwrap_or(f64::NAN);
            if fraction < least {
                Err(format!("it is at least {least}"))
            } else if fraction > most {
                Err(format!("it is at most {most}"))
            } else {
                Ok(())
            }
        }
        Valid::OneOf(texts) => {
            if texts.contains(&trimmed) {
                Ok(())
            } else {
                Err(format!("it is one of {}", texts.join(", ")))
            }
        }
        Valid::ListOf(texts) => match entries(value).find(|entry| !texts.contains(entry)) {
            None => Ok(()),
            Some(_) => Err(format!("it is one of {}", texts.join(", "))),
        },
        Valid::ThrottledReplicas => {
            let is_number =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let fits = |entry: &str| {
                entry.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b))
            };
            if trimmed == "*" || entries(value).all(fits) {
                Ok(())
            } else {
                Err("it is '*', or a list such as 0:1,2:3 of partitions with their brokers"
                    .to_owned())
            }
        }
    }
}

fn at_least(value: i64, least: i64) -> Result<(), String> {
    if value < least { Err(format!("it is at least {least}")) } else { Ok(()) }
}

fn between(value: i64, least: i64, most: i64) -> Result<(), String> {
    at_least(value, least)?;
    if value > most { Err(format!("it is at most {most}")) } else { Ok(()) }
}

/// The entries of a list, as Kafka splits it.
pub(super) fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::topic::TOPIC_CONFIGS;
    use super::*;

    fn check_topic(name: &str, value: &str) -> Result<(), String> {
        let definition = TOPIC_CONFIGS.iter().find(|d| d.name == name).expect("defined");
        check(definition, value)
    }

    /// Section 9: brokers that refused values which Kafka takes broke clients' test suites.
    #[test]
    fn trap_9_create_full_ranges_of_values_are_taken() {
        for (name, value) in [
            ("flush.messages", "9223372036854775807"),
            ("flush.ms", "9223372036854775807"),
            ("retention.ms", "-1"),
            ("retention.ms", "9223372036854775807"),
            ("retention.bytes", "-1"),
            ("segment.bytes", "2147483647"),
            ("max.message.bytes", "0"),
            ("min.cleanable.dirty.ratio", "1"),
            ("min.cleanable.dirty.ratio", "0.0"),
            ("cleanup.policy", "compact,delete"),
            ("cleanup.policy", "compact, delete"),
            ("compression.type", "zstd"),
            ("compression.gzip.level", "-1"),
            ("compression.zstd.level", "-131072"),
            ("unclean.leader.election.enable", "TRUE"),
            ("retention.ms", " 1000 "),
            ("leader.replication.throttled.replicas", "*"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
        ] {
            assert_eq!(check_topic(name, value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn values_out_of_range_or_of_another_type_are_refused_with_kafkas_words() {
        for (name, value, why) in [
            ("segment.bytes", "2147483648", "not a number of type INT"),
            ("segment.bytes", "13", "it is at least 14"),
            ("retention.ms", "-2", "it is at least -1"),
            ("retention.ms", "a week", "not a number of type LONG"),
            ("retention.ms", "", "not a number of type LONG"),
            ("min.insync.replicas", "0", "it is at least 1"),
            ("min.cleanable.dirty.ratio", "1.1", "it is at most 1"),
            ("min.cleanable.dirty.ratio", "NaN", "not a number of type DOUBLE"),
            ("preallocate", "yes", "it is true or false"),
            ("cleanup.policy", "shred", "it is one of compact, delete"),
            ("compression.type", "brotli", "it is one of"),
            ("compression.gzip.level", "0", "it is at least 1"),
            ("compression.lz4.level", "18", "it is at most 17"),
            ("remote.storage.enable", "true", "it is one of false"),
            ("leader.replication.throttled.replicas", "0-1", "it is '*'"),
        ] {
            let error = check_topic(name, value).expect_err(name);
            let start = format!("{name} cannot be '{value}': ");
            assert!(error.starts_with(&start) && error.contains(why), "{error}");
        }
    }
}
