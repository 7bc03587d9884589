//! Gets the clients of others: from the system's packages when run as root, and from each
//! language's own registry into `target/conformance`. What can't be had fails by name.

use super::shell::{on_path, run_well};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// Where fetched clients live; a second run finds them there.
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("target/tmp is below target")
        .join("conformance")
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(name)
}

/// One installation at a time: apt, mvn, pip and npm each want that.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Makes sure that `program` is there, from Debian's `package` if need be.
///
/// # Errors
/// When it is absent and cannot be installed; the text names it and says what to do.
pub fn program(program: &str, package: &str) -> Result<PathBuf, String> {
    if on_path(program) {
        return Ok(PathBuf::from(program));
    }
    let advice = format!("`{program}` is missing: install it with `apt-get install {package}`");
    let root =
        Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    if !root || !on_path("apt-get") {
        return Err(advice);
    }
    let limit = Duration::from_secs(300);
    let apt = |words: &[&str]| {
        run_well(
            Command::new("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive"),
            limit,
        )
    };
    let install = ["install", "-y", "--no-install-recommends", package];
    let installed = apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install)));
    match installed {
        Ok(_) if on_path(program) => Ok(PathBuf::from(program)),
        Ok(_) => Err(format!("{advice} (the package brought no such program)")),
        Err(error) => Err(format!("{advice}; trying that failed: {error}")),
    }
}

/// Runs `install` unless it ran before with the same `recipe`.
fn once(
    folder: &Path,
    recipe: &str,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|last| last == recipe) {
        return Ok(());
    }
    // What an interrupted or older installation left is no use.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    install()?;
    std::fs::write(&stamp, recipe).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn recipe(name: &str) -> Result<String, String> {
    std::fs::read_to_string(source(name))
        .map_err(|error| format!("tests/conformance/{name}: {error}"))
}

/// kcat, Debian's package.
///
/// # Errors
/// When it can't be had.
pub fn kcat() -> Result<PathBuf, String> {
    let _one = ONE_AT_A_TIME.lock();
    program("kcat", "kcat")
}

/// Apache Kafka's own tools: the class path of the jars.
///
/// # Errors
/// When Java, Maven or the jars can't be had.
pub fn kafka_jars() -> Result<String, String> {
    let _one = ONE_AT_A_TIME.lock();
    program("java", "default-jre-headless")?;
    let folder = home().join("java");
    let pom = recipe("pom.xml")?;
    once(&folder, &pom, || {
        program("mvn", "maven")?;
        std::fs::write(folder.join("pom.xml"), &pom).map_err(|error| error.to_string())?;
        let mut maven = Command::new("mvn");
        maven.current_dir(&folder).args(["-q", "-B", "dependency:copy-dependencies"]);
        maven.arg(format!("-DoutputDirectory={}", folder.join("jars").display()));
        run_well(&mut maven, Duration::from_secs(600)).map(drop).map_err(|error| {
            format!("Apache Kafka's jars can't be had from Maven Central: {error}")
        })
    })?;
    Ok(format!("{}/*", folder.join("jars").display()))
}

/// kafka-python with its codecs: the interpreter of a virtual environment that has them.
///
/// # Errors
/// When Python or the packages can't be had.
pub fn kafka_python() -> Result<PathBuf, String> {
    let _one = ONE_AT_A_TIME.lock();
    program("python3", "python3")?;
    let folder = home().join("python");
    let wanted = recipe("requirements.txt")?;
    let python = folder.join("venv/bin/python");
    once(&folder, &wanted, || {
        let limit = Duration::from_secs(300);
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(folder.join("venv"));
        if run_well(&mut venv, limit).is_err() {
            // Debian splits venv off; its absence shows only now.
            let installed =
                Command::new("apt-get").args(["install", "-y", "python3-venv"]).output();
            drop(installed);
            run_well(&mut venv, limit).map_err(|error| {
                format!("python3-venv is missing: `apt-get install python3-venv`: {error}")
            })?;
        }
        let mut pip = Command::new(folder.join("venv/bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(source("requirements.txt"));
        run_well(&mut pip, limit)
            .map(drop)
            .map_err(|error| format!("kafka-python can't be had: {error}"))
    })?;
    Ok(python)
}

/// kafkajs with its codecs: the folder that holds `node_modules`.
///
/// # Errors
/// When Node or the packages can't be had.
pub fn kafkajs() -> Result<PathBuf, String> {
    let _one = ONE_AT_A_TIME.lock();
    program("node", "nodejs")?;
    let folder = home().join("node");
    let wanted = recipe("package.json")?;
    once(&folder, &wanted, || {
        program("npm", "npm")?;
        std::fs::write(folder.join("package.json"), &wanted).map_err(|error| error.to_string())?;
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ]);
        run_well(&mut npm, Duration::from_secs(300))
            .map(drop)
            .map_err(|error| format!("kafkajs can't be had: {error}"))
    })?;
    Ok(folder)
}
