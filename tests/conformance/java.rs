//! Apache Kafka's programs, by class name.

use crate::common::shell::{Output, run};
use crate::common::tools::kafka_jars;
use std::process::Command;
use std::time::Duration;

/// How long one of the small tools may take.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// `java … CLASS`, ready for arguments. One small heap and the cheap compiler: starting is most of
/// what the tools do.
///
/// # Errors
/// When Java or the jars can't be had.
pub fn java(class: &str) -> Result<Command, String> {
    let mut command = Command::new("java");
    command.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-cp",
    ]);
    command.args([kafka_jars()?.as_str(), class]);
    Ok(command)
}

/// Runs a tool; what it said, and whether it ended well.
pub fn tool(class: &str, arguments: &[&str]) -> Output {
    let mut command = java(class).unwrap_or_else(|error| panic!("{error}"));
    run(command.args(arguments), TOOL_LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a tool that has to end well, and gives what it said.
pub fn tool_well(class: &str, arguments: &[&str]) -> String {
    let output = tool(class, arguments);
    let said = output.all();
    assert!(output.success, "{class} {arguments:?} ended with {}:\n{said}", output.code);
    for bad in ["Exception", "ERROR", "Error while"] {
        assert!(!said.contains(bad), "{class} {arguments:?} complains:\n{said}");
    }
    said
}
