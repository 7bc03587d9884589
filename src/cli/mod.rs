//! The command line: one file per command.
//!
//! Floor 6. Reads flags, calls the rooms below, prints what comes back.
//!
//! Invariants:
//! - Exit codes: 0 done, 1 failed, 2 used wrongly.
//! - Results go to stdout, everything else to stderr; stdout into a closed pipe ends quietly.
//! - An error names its cause and the next thing to try.
//!
//! Must never: decide anything that another command, test or client would have to repeat.

mod cluster;
mod completion;
mod connect;
mod consume;
mod dev;
mod failure;
mod framing;
mod interrupt;
mod json_record;
mod layout;
mod log;
mod node;
mod output;
mod produce;
mod progress;
mod template;
mod text;
mod topic;

use clap::{Parser, Subcommand};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A Kafka-class replicated log in one binary.
#[derive(Debug, Parser)]
#[command(
    name = "purlin",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Try it:         purlin dev\n\
                  Start a node:   purlin node init --data-dir ./data\n\
                  Add a node:     purlin node join --seed HOST:9192 --data-dir ./data\n\
                  Make a topic:   purlin topic create logs\n\
                  Write and read: purlin produce logs < app.log; purlin consume logs --from-beginning\n\n\
                  Exit codes: 0 done, 1 failed, 2 used wrongly. PURLIN_LOG=debug shows more."
)]
struct Purlin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start nodes, list them, drain and remove them
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Run a throw-away cluster on this machine
    Dev(dev::DevArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write records to a topic, from stdin or files
    Produce(Box<produce::ProduceArgs>),
    /// Read records of a topic onto stdout
    Consume(Box<consume::ConsumeArgs>),
    /// Look into the files of a data directory
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Describe the cluster and its health
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

/// Parses the process's arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let parsed = match Purlin::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to stdout and are no failure; a closed pipe is none either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    show_logs(matches!(&parsed.command, Command::Node(command) if command.serves()));
    let result = match parsed.command {
        Command::Node(command) => node::run(command),
        Command::Dev(args) => dev::run(&args),
        Command::Topic(command) => topic::run(command),
        Command::Produce(args) => produce::run(*args),
        Command::Consume(args) => consume::run(*args),
        Command::Log(command) => log::run(command),
        Command::Cluster(command) => cluster::run(command),
        Command::Completion(args) => completion::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.code())
        }
    }
}

/// Sends logs to stderr: a node's from `info` on, a command's only when something is wrong.
fn show_logs(serves: bool) {
    // Of a member that is away openraft tells at every heartbeat, and of each message that comes
    // late; what matters of it, the node says itself.
    const NODE: &str = "info,openraft=error,openraft::replication=off,openraft::raft=off,\
        openraft::core=off,sled=warn,tarpc=off";
    let default = if serves { NODE } else { "warn" };
    let filter = match std::env::var("PURLIN_LOG") {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::try_new(format!("tarpc=off,{wanted}"))
            .unwrap_or_else(|error| {
                let _ = writeln!(std::io::stderr(), "PURLIN_LOG is ignored: {error}");
                EnvFilter::new(default)
            }),
        _ => EnvFilter::new(default),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(serves)
        // A stderr that takes no more (a full disk) must not end the node.
        .log_internal_errors(false)
        .init();
}
