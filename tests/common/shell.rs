//! Running other programs, with a limit on their time and with errors that say what was run.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a finished program left behind.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// Its exit code, or -1 after a signal.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Both outputs as text, for a report.
    pub fn all(&self) -> String {
        format!("{}{}", self.text(), String::from_utf8_lossy(&self.stderr))
    }
}

/// Ends its child when dropped, so that no failing test leaves a program behind.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end, or kills it after `limit`.
///
/// # Errors
/// When it cannot be started or does not end in time; the text says what was run.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output, String> {
    let shown = format!("{command:?}");
    let short: String = shown.chars().take(600).collect();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("cannot start {short}: {error}"))?;
    let mut guard = Guard(child);
    let mut stdout = guard.0.stdout.take().ok_or("stdout is not piped")?;
    let mut stderr = guard.0.stderr.take().ok_or("stderr is not piped")?;
    let out = std::thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).map(|_| all)
    });
    let err = std::thread::spawn(move || {
        let mut all = Vec::new();
        stderr.read_to_end(&mut all).map(|_| all)
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = guard.0.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if started.elapsed() > limit {
            let _ = guard.0.kill();
            let _ = guard.0.wait();
            let tail = err.join().ok().and_then(Result::ok).unwrap_or_default();
            let tail = String::from_utf8_lossy(&tail).into_owned();
            return Err(format!("not done within {} s: {short}\n{tail}", limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let stdout = out.join().ok().and_then(Result::ok).unwrap_or_default();
    let stderr = err.join().ok().and_then(Result::ok).unwrap_or_default();
    Ok(Output { success: status.success(), code: status.code().unwrap_or(-1), stdout, stderr })
}

/// As [`run`], and an exit code other than 0 is an error that shows what the program said.
///
/// # Errors
/// As [`run`], and when the program fails.
pub fn run_well(command: &mut Command, limit: Duration) -> Result<Output, String> {
    let output = run(command, limit)?;
    if output.success {
        return Ok(output);
    }
    let shown: String = format!("{command:?}").chars().take(600).collect();
    let said = output.all();
    let tail: String = said.chars().skip(said.chars().count().saturating_sub(3000)).collect();
    Err(format!("exit {} from {shown}\n{tail}", output.code))
}

/// Whether a program of this name is on the path.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| is_program(&folder.join(program)))
    })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
