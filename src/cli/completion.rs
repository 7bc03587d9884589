//! `purlin completion`.

use super::Purlin;
use super::failure::Failure;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::io::Write as _;

/// Which shell.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell, for instance: purlin completion bash > /etc/bash_completion.d/purlin
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Purlin::command(), "purlin", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}
