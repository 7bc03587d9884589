//! Host and port of a broker, as people write them.

use std::fmt;

/// Where a broker listens. The host is a name or an IP address; it is resolved at each connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an address: {why}; write HOST or HOST:PORT, for instance 127.0.0.1:9092")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl Address {
    /// The port that is meant when none is written.
    pub const PORT_DEFAULT: u16 = 9092;

    /// Pairs the two.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bad = |why| AddressError { text: text.to_owned(), why };
        let text = text.trim();
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(|| bad("']' is missing"))?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(bad("there is text after ']'")),
            }
        } else {
            match text.rsplit_once(':') {
                // More than one colon and no brackets: a bare IPv6 address.
                Some((host, _)) if host.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        if host.contains("//") || host.contains(char::is_whitespace) {
            return Err(bad("the host has characters that no host has"));
        }
        let port = match port {
            None => Self::PORT_DEFAULT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(bad("the port is not a number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        Ok(Self::new(host, port))
    }

    /// Reads a list, separated by commas; empty parts are skipped.
    ///
    /// # Errors
    /// Of the first part that is no address, or when there is none at all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, AddressError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let list = parts.map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(AddressError { text: text.to_owned(), why: "the list is empty" });
        }
        Ok(list)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |text: &str| Address::parse(text).map(|address| address.to_string());
        assert_eq!(read("broker-1:19092").as_deref(), Ok("broker-1:19092"));
        assert_eq!(read(" 10.0.0.1 ").as_deref(), Ok("10.0.0.1:9092"));
        assert_eq!(read("[::1]:9").as_deref(), Ok("[::1]:9"));
        assert_eq!(read("fe80::1").as_deref(), Ok("[fe80::1]:9092"));
        for bad in ["", ":9092", "host:", "host:0", "host:70000", "[::1", "[::1]x", "kafka://h:1"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Address::parse_list("a, b:1,").expect("two").len(), 2);
        assert!(Address::parse_list(" , ").is_err());
    }
}
