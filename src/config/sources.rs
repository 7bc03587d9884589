//! Reading settings from flags, environment and files, in that order of precedence.

use super::{BrokerConfig, Error, HostPort, KEPT_SETTINGS_FILE, NodeConfig, StartMode};
use crate::env::disk::{Disk as _, OpenMode, RealDisk};
use crate::limits::SETTINGS_FILE_BYTES_MAX;
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The flags of `node init`, `node join` and `node start`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NodeFlags {
    /// Nodes to ask before there is one here, set by `node init` and `node join`
    #[arg(skip)]
    pub seed: Option<String>,
    /// Directory that holds everything of the node [env: PURLIN_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Number of the node within its cluster, Kafka's broker id [default: 1, or the next free one]
    #[arg(long, value_name = "N")]
    pub node_id: Option<String>,
    /// Listener for Kafka clients [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<String>,
    /// Listener for other nodes [default: 127.0.0.1:9192]
    #[arg(long, value_name = "ADDR")]
    pub rpc: Option<String>,
    /// Listener for probes and metrics [default: 127.0.0.1:9644]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Address that clients are told to connect to [default: the Kafka listener's]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Failure domain of this node, for the placement of replicas
    #[arg(long, value_name = "R")]
    pub rack: Option<String>,
    /// Settings file (TOML); flags and environment win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One broker setting under Kafka's name, such as num.partitions=4; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The broker settings that exist, and what their values must look like. The definitions live
/// with the metadata; this floor only gets to see names and a check.
#[derive(Clone, Copy)]
pub struct KnownBrokerKeys<'a> {
    /// Every name.
    pub names: &'a [&'a str],
    /// Says what is wrong with a value.
    pub check: &'a dyn Fn(&str, &str) -> Result<(), String>,
}

/// Settings of our own, as they are named in files; flags and variables derive from these.
const OWN_KEYS: [&str; 9] =
    ["data-dir", "node-id", "kafka", "rpc", "admin", "advertise", "rack", "seed", "config"];

/// Variables of other commands under our prefix.
const OTHER_VARIABLES: [&str; 2] = ["PURLIN_BOOTSTRAP", "PURLIN_LOG"];

/// One value and where it came from.
#[derive(Debug, Clone)]
struct Setting {
    value: String,
    source_name: String,
}

type Layer = BTreeMap<String, Setting>;

impl NodeConfig {
    /// Puts the settings of a node together. `environment` is all of the process's variables;
    /// those without the prefix `PURLIN_` are left alone.
    ///
    /// # Errors
    /// The first key or value that does not fit, and files that cannot be read.
    pub fn load(
        mode: StartMode,
        flags: &NodeFlags,
        environment: impl IntoIterator<Item = (String, String)>,
        known: KnownBrokerKeys<'_>,
    ) -> Result<Self, Error> {
        let mut merged = layer_of_flags(flags, known)?;
        let variables = layer_of_environment(environment, known)?;
        let config_file = merged.get("config").or_else(|| variables.get("config")).cloned();
        add_below(&mut merged, variables);
        if let Some(file) = config_file {
            add_below(&mut merged, layer_of_file(Path::new(&file.value), known)?);
        }
        let data_dir =
            merged.get("data-dir").map(|s| PathBuf::from(&s.value)).ok_or(Error::NoDataDir)?;
        let kept = data_dir.join(KEPT_SETTINGS_FILE);
        if mode != StartMode::Init && RealDisk.exists(&kept).unwrap_or(false) {
            add_below(&mut merged, layer_of_file(&kept, known)?);
        }
        build(mode, data_dir, &merged, known)
    }

    /// The settings file that `node init` and `node join` keep, so that a bare `node start` serves the same
    /// addresses with the same settings.
    #[must_use]
    pub fn kept_settings(&self) -> String {
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: String| {
            table.insert(key.to_owned(), toml::Value::String(value));
        };
        put("kafka", self.kafka.to_string());
        put("rpc", self.rpc.to_string());
        put("admin", self.admin.to_string());
        if let Some(advertise) = &self.advertise {
            put("advertise", advertise.to_string());
        }
        if let Some(rack) = &self.rack {
            put("rack", rack.clone());
        }
        for (name, value) in self.broker.given() {
            put(name, value.clone());
        }
        format!(
            "# Settings of this node, as given to `purlin node init` or `join`. Flags, PURLIN_* variables and\n\
             # a --config file win over them. Edit at will; `purlin node start` reads them.\n{table}"
        )
    }
}

/// Adds what `upper` does not have yet.
fn add_below(upper: &mut Layer, lower: Layer) {
    for (key, setting) in lower {
        upper.entry(key).or_insert(setting);
    }
}

fn layer_of_flags(flags: &NodeFlags, known: KnownBrokerKeys<'_>) -> Result<Layer, Error> {
    let mut layer = Layer::new();
    let path = |p: &PathBuf| p.to_string_lossy().into_owned();
    let given = [
        ("data-dir", flags.data_dir.as_ref().map(path)),
        ("node-id", flags.node_id.clone()),
        ("kafka", flags.kafka.clone()),
        ("rpc", flags.rpc.clone()),
        ("admin", flags.admin.clone()),
        ("advertise", flags.advertise.clone()),
        ("rack", flags.rack.clone()),
        ("seed", flags.seed.clone()),
        ("config", flags.config.as_ref().map(path)),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            let source_name = format!("--{key}");
            layer.insert(key.to_owned(), Setting { value, source_name });
        }
    }
    for pair in &flags.set {
        let source_name = "--set".to_owned();
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Error::BadValue {
                key: pair.clone(),
                value: String::new(),
                source_name,
                reason: "write it as KEY=VALUE".to_owned(),
            });
        };
        let key = key.trim();
        if !known.names.contains(&key) {
            return Err(unknown(key, &source_name, known.names.iter().copied()));
        }
        layer.insert(key.to_owned(), Setting { value: value.trim().to_owned(), source_name });
    }
    Ok(layer)
}

/// The variable that stands for a key: `num.partitions` is `PURLIN_NUM_PARTITIONS`.
fn variable_of(key: &str) -> String {
    format!("PURLIN_{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

fn layer_of_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    known: KnownBrokerKeys<'_>,
) -> Result<Layer, Error> {
    let by_variable: BTreeMap<String, &str> =
        OWN_KEYS.iter().chain(known.names.iter()).map(|key| (variable_of(key), *key)).collect();
    let mut layer = Layer::new();
    for (name, value) in environment {
        if !name.starts_with("PURLIN_") || is_foreign_variable(&name) {
            continue;
        }
        let Some(key) = by_variable.get(&name) else {
            let names = by_variable.keys().map(String::as_str);
            return Err(unknown(&name, "the environment", names));
        };
        let source_name = format!("variable {name}");
        layer.insert((*key).to_owned(), Setting { value, source_name });
    }
    Ok(layer)
}

/// Variables under our prefix that are not settings: those of other commands, and those that
/// Kubernetes sets in every pod for a service that is called `purlin` or `purlin-…`.
fn is_foreign_variable(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name)
        || name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.chars().next().is_some_and(|first| first.is_ascii_digit())
        })
}

fn layer_of_file(path: &Path, known: KnownBrokerKeys<'_>) -> Result<Layer, Error> {
    let text =
        read_text(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::Syntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    let source_name = path.display().to_string();
    let mut layer = Layer::new();
    flatten("", &table, &source_name, &mut layer)?;
    for key in layer.keys() {
        let own = OWN_KEYS.contains(&key.as_str()) && key != "config";
        if !own && !known.names.contains(&key.as_str()) {
            let names = OWN_KEYS.iter().chain(known.names.iter()).copied();
            return Err(unknown(key, &source_name, names));
        }
    }
    Ok(layer)
}

/// The whole of a small text file.
fn read_text(path: &Path) -> std::io::Result<String> {
    let file = RealDisk.open(path, OpenMode::Read)?;
    let length = file.len()?.min(SETTINGS_FILE_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let filled = file.read_at(&mut bytes, 0)?;
    bytes.truncate(filled);
    String::from_utf8(bytes)
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Turns nested tables into dotted names: TOML reads an unquoted `num.partitions = 4` as a table.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    source_name: &str,
    layer: &mut Layer,
) -> Result<(), Error> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&key, inner, source_name, layer)?;
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) => {
                let texts: Vec<String> = items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect();
                texts.join(",")
            }
            toml::Value::Datetime(_) => {
                return Err(Error::BadValue {
                    key,
                    value: value.to_string(),
                    source_name: source_name.to_owned(),
                    reason: "a date is not expected here".to_owned(),
                });
            }
        };
        layer.insert(key, Setting { value: text, source_name: source_name.to_owned() });
    }
    Ok(())
}

/// The error for a key that does not exist, with the nearest one that does.
fn unknown<'a>(key: &str, source_name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    const SIMILARITY_MIN: f64 = 0.8;
    // What these say in Kafka is said by settings of our own.
    let own = match key {
        "advertised.listeners" => Some("advertise"),
        "listeners" => Some("kafka"),
        "log.dir" | "log.dirs" => Some("data-dir"),
        "broker.id" | "node.id" => Some("node-id"),
        "broker.rack" => Some("rack"),
        _ => None,
    };
    let nearest = names
        .map(|name| (strsim::jaro_winkler(key, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name);
    let suggestion = own.or(nearest).map(str::to_owned);
    Error::UnknownKey { key: key.to_owned(), source_name: source_name.to_owned(), suggestion }
}

fn build(
    mode: StartMode,
    data_dir: PathBuf,
    settings: &Layer,
    known: KnownBrokerKeys<'_>,
) -> Result<NodeConfig, Error> {
    let mut config = NodeConfig::new(mode, data_dir);
    for (key, setting) in settings {
        let bad = |reason: &str| Error::BadValue {
            key: key.clone(),
            value: setting.value.clone(),
            source_name: setting.source_name.clone(),
            reason: reason.to_owned(),
        };
        let address = || {
            HostPort::parse(setting.value.trim())
                .ok_or_else(|| bad("write it as HOST:PORT, for instance 127.0.0.1:9092"))
        };
        match key.as_str() {
            "data-dir" | "config" => {}
            "kafka" => config.kafka = address()?,
            "rpc" => config.rpc = address()?,
            "admin" => config.admin = address()?,
            "advertise" => config.advertise = Some(address()?),
            "seed" => {
                config.seeds = seeds(&setting.value).ok_or_else(|| {
                    bad("write it as HOST:PORT[,HOST:PORT], for instance 10.0.0.1:9192")
                })?
            }
            "rack" => config.rack = Some(setting.value.clone()).filter(|rack| !rack.is_empty()),
            "node-id" => {
                let number = setting.value.trim().parse::<i32>().ok().filter(|id| *id >= 0);
                let id = number.ok_or_else(|| bad("a node id is a number from 0 up"))?;
                config.node_id = Some(NodeId(id));
            }
            name => {
                let value = setting.value.trim();
                (known.check)(name, value).map_err(|reason| bad(&reason))?;
                config.broker = {
                    let mut broker = std::mem::take(&mut config.broker);
                    broker.set(name, value);
                    broker
                };
            }
        }
    }
    if mode == StartMode::Join && config.seeds.is_empty() {
        return Err(Error::NoSeed);
    }
    // Kafka's own name for the rack works too.
    if config.rack.is_none() {
        config.rack = config.broker.get("broker.rack").map(str::to_owned);
    }
    Ok(config)
}

/// A list of addresses, separated by commas; nothing when one of them is none.
fn seeds(text: &str) -> Option<Vec<HostPort>> {
    text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(HostPort::parse).collect()
}

impl BrokerConfig {
    /// The settings that differ from their defaults, as one line for the log at start.
    #[must_use]
    pub fn summary(&self) -> String {
        self.given().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["num.partitions", "auto.create.topics.enable", "broker.rack"];

    fn check(name: &str, value: &str) -> Result<(), String> {
        match (name, value.parse::<i32>()) {
            ("num.partitions", Err(_)) => Err("a whole number is expected".to_owned()),
            _ => Ok(()),
        }
    }

    fn load(flags: &NodeFlags, environment: &[(&str, &str)]) -> Result<NodeConfig, Error> {
        let variables = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let known = KnownBrokerKeys { names: &NAMES, check: &check };
        NodeConfig::load(StartMode::Start, flags, variables, known)
    }

    #[test]
    fn flags_win_over_environment_over_file_over_what_init_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("purlin.toml");
        std::fs::write(
            &file,
            "kafka = \"h:1\"\nrpc = \"h:1\"\nadmin = \"h:1\"\nnum.partitions = 7\n",
        )
        .expect("written");
        std::fs::write(
            dir.path().join(KEPT_SETTINGS_FILE),
            "rack = \"kept\"\nkafka = \"h:0\"\n\"auto.create.topics.enable\" = \"false\"\n",
        )
        .expect("written");
        let flags = NodeFlags {
            data_dir: Some(dir.path().to_owned()),
            kafka: Some("h:3".to_owned()),
            config: Some(file),
            ..NodeFlags::default()
        };
        let config = load(&flags, &[("PURLIN_KAFKA", "h:2"), ("PURLIN_RPC", "h:2"), ("HOME", "/")])
            .expect("loads");
        let ports = (config.kafka.port, config.rpc.port, config.admin.port);
        assert_eq!(ports, (3, 2, 1));
        assert_eq!(config.rack.as_deref(), Some("kept"));
        assert_eq!(config.broker.partitions_default(), 7);
        assert!(!config.broker.auto_create_topics());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion_in_every_source() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let data_dir = Some(dir.path().to_owned());
        let file = dir.path().join("purlin.toml");
        std::fs::write(&file, "num.partition = 7\n").expect("written");
        let from_file =
            NodeFlags { data_dir: data_dir.clone(), config: Some(file), ..NodeFlags::default() };
        let from_flag = NodeFlags {
            data_dir: data_dir.clone(),
            set: vec!["num.partitons=3".to_owned()],
            ..NodeFlags::default()
        };
        let plain = NodeFlags { data_dir, ..NodeFlags::default() };
        for error in [
            load(&from_file, &[]).expect_err("refused").to_string(),
            load(&from_flag, &[]).expect_err("refused").to_string(),
        ] {
            assert!(error.contains("did you mean 'num.partitions'?"), "{error}");
        }
        let error = load(&plain, &[("PURLIN_KAFKAA", "h:1")]).expect_err("refused").to_string();
        assert!(error.contains("did you mean 'PURLIN_KAFKA'?"), "{error}");
        load(&plain, &[("PURLIN_NUM_PARTITIONS", "x")]).expect_err("the value is checked");
        load(&plain, &[("PURLIN_SERVICE_HOST", "10.0.0.1"), ("PURLIN_PORT_9092_TCP", "tcp://")])
            .expect("Kubernetes sets these for a service named purlin");
    }

    #[test]
    fn kept_settings_load_again_as_they_were() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut config = NodeConfig::new(StartMode::Init, dir.path().to_owned());
        config.kafka = HostPort::parse("[::1]:19092").expect("valid");
        config.rack = Some("a \"quoted\" rack".to_owned());
        config.broker.set("num.partitions", "5");
        std::fs::write(dir.path().join(KEPT_SETTINGS_FILE), config.kept_settings())
            .expect("written");
        let flags = NodeFlags { data_dir: Some(dir.path().to_owned()), ..NodeFlags::default() };
        let loaded = load(&flags, &[]).expect("loads");
        assert_eq!(loaded.kafka, config.kafka);
        assert_eq!(loaded.rack, config.rack);
        assert_eq!(loaded.broker, config.broker);
    }

    #[test]
    fn addresses_parse_and_print() {
        for text in ["127.0.0.1:9092", "[::1]:1", "broker-1.example.com:0"] {
            assert_eq!(HostPort::parse(text).expect(text).to_string(), text);
        }
        for text in ["9092", ":9092", "a b:1", "::1:9092", "h:99999", "http://h:1"] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }
}
