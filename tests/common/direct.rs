//! Requests to one node, whoever leads: to ask a paused or cut-off leader what it thinks, and to
//! try to write through it.

use bytes::Bytes;
use purlin::protocol::header::{decode_response, encode_request};
use purlin::protocol::{Request, Str};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to one node.
pub struct Direct {
    stream: TcpStream,
    correlation_id: i32,
}

impl Direct {
    /// Connects; connecting and each answer may take `patience`.
    ///
    /// # Errors
    /// When nobody listens, or not in time.
    pub fn connect(address: &str, patience: Duration) -> io::Result<Self> {
        let address: SocketAddr = address.parse().expect("an address");
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes in time: whether the request took effect is
    /// unknown then, and the connection is of no more use.
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        self.correlation_id += 1;
        let client_id = Str::from_static("direct");
        let chunks = encode_request(request, version, self.correlation_id, Some(&client_id));
        self.stream.write_all(&chunks.concat())?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut frame)?;
        let (header, response) = decode_response::<R>(Bytes::from(frame), version)
            .map_err(|error| io::Error::other(error.to_string()))?;
        assert_eq!(header.correlation_id, self.correlation_id, "answers come in order");
        Ok(response)
    }
}
