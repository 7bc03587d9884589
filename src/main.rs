//! The `purlin` binary: parses the command line and runs the command.

fn main() -> std::process::ExitCode {
    purlin::cli::run()
}
