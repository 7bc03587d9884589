//! What clients are told to connect to, and whether that works from here.

use crate::config::{HostPort, NodeConfig};
use crate::env::disk::{Disk as _, OpenMode, RealDisk};
use crate::limits::ADVERTISED_CHECK_MS_MAX;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The address that clients are told: as set, or the bound one; behind a listener on all addresses,
/// the machine's name. A port 0 stands for the bound one.
pub(super) fn advertised(config: &NodeConfig, bound: SocketAddr) -> HostPort {
    match &config.advertise {
        Some(wanted) if wanted.port == 0 => {
            HostPort { host: wanted.host.clone(), port: bound.port() }
        }
        Some(wanted) => wanted.clone(),
        None if bound.ip().is_unspecified() => {
            HostPort { host: machine_name(), port: bound.port() }
        }
        // A name that was given as the listener is what its giver calls this machine.
        None => HostPort { host: config.kafka.host.clone(), port: bound.port() },
    }
}

/// The address that other nodes are told: the bound one; behind a listener on all addresses, the
/// host that clients are told, or the machine's name.
pub(super) fn advertised_rpc(config: &NodeConfig, bound: SocketAddr) -> HostPort {
    let host = match &config.advertise {
        _ if !bound.ip().is_unspecified() => config.rpc.host.clone(),
        Some(wanted) => wanted.host.clone(),
        None => machine_name(),
    };
    HostPort { host, port: bound.port() }
}

fn machine_name() -> String {
    const NAME_BYTES_MAX: usize = 256;
    let read = || -> std::io::Result<String> {
        let file = RealDisk.open(Path::new("/proc/sys/kernel/hostname"), OpenMode::Read)?;
        let mut bytes = vec![0; NAME_BYTES_MAX];
        let filled = file.read_at(&mut bytes, 0)?;
        bytes.truncate(filled);
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// Tries to connect to the advertised address, and warns when that fails: clients get this address
/// with their first answer, and cannot go on without it.
pub(super) async fn check(advertised: HostPort) {
    let patience = Duration::from_millis(ADVERTISED_CHECK_MS_MAX);
    let target = (advertised.host.as_str(), advertised.port);
    let reason = match tokio::time::timeout(patience, tokio::net::TcpStream::connect(target)).await
    {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {ADVERTISED_CHECK_MS_MAX} ms"),
    };
    tracing::warn!(
        "clients are told to connect to {advertised}, which cannot be reached from here ({reason}); \
         if it cannot be reached from the clients' machines either, set --advertise HOST:PORT"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StartMode;

    #[test]
    fn clients_are_told_an_address_that_they_can_use() {
        let mut config = NodeConfig::new(StartMode::Init, "unused".into());
        let bound = |text: &str| text.parse::<SocketAddr>().expect("valid");
        config.kafka = HostPort::parse("localhost:0").expect("valid");
        assert_eq!(advertised(&config, bound("127.0.0.1:5555")).to_string(), "localhost:5555");
        config.kafka = HostPort::parse("0.0.0.0:0").expect("valid");
        let everywhere = advertised(&config, bound("0.0.0.0:5555"));
        assert!(everywhere.host != "0.0.0.0" && everywhere.port == 5555, "{everywhere}");
        config.advertise = HostPort::parse("broker.example.com:0");
        let named = advertised(&config, bound("0.0.0.0:5555"));
        assert_eq!(named.to_string(), "broker.example.com:5555");
        let nodes = advertised_rpc(&config, bound("0.0.0.0:6666"));
        assert_eq!(nodes.to_string(), "broker.example.com:6666");
        config.rpc = HostPort::parse("10.1.2.3:0").expect("valid");
        let nodes = advertised_rpc(&config, bound("10.1.2.3:6666"));
        assert_eq!(nodes.to_string(), "10.1.2.3:6666");
    }
}
