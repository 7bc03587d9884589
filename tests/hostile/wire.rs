//! Bytes on the wire, by hand: nothing here uses the code under test.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// A whole frame, without its length.
    Frame(Vec<u8>),
    /// The end of the connection.
    Closed,
    /// Neither, in time.
    Silence,
}

/// Raises this process's limit of open files, as far as it is allowed to.
pub fn allow_descriptors(wanted: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        setrlimit(Resource::Nofile, limit).expect("the limit can be raised up to the hard one");
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(
        now >= 6000,
        "5,000 connections need 6,000 open files; this machine allows {now}: ulimit -Hn"
    );
}

/// A connection.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port answers");
    stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a timeout can be set");
    stream.set_write_timeout(Some(ANSWER_LIMIT)).expect("a timeout can be set");
    stream
}

/// Writes; a connection that was closed meanwhile is found by reading.
pub fn send_all(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// A frame around `bytes`.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut whole = i32::try_from(bytes.len()).expect("small").to_be_bytes().to_vec();
    whole.extend_from_slice(bytes);
    whole
}

/// A framed request with header version 1 and the client id `mallory`.
pub fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(correlation.to_be_bytes());
    put_string(&mut bytes, "mallory");
    bytes.extend_from_slice(body);
    frame(&bytes)
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads one frame, or sees the end.
pub fn read_frame(stream: &mut TcpStream) -> Answer {
    let mut length = [0; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        return ended(error.kind());
    }
    let length = usize::try_from(i32::from_be_bytes(length)).expect("no negative length");
    assert!(length < 64 * 1024 * 1024, "an answer of {length} bytes");
    let mut bytes = vec![0; length];
    match stream.read_exact(&mut bytes) {
        Ok(()) => Answer::Frame(bytes),
        Err(error) => ended(error.kind()),
    }
}

fn ended(kind: ErrorKind) -> Answer {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Answer::Silence,
        _ => Answer::Closed,
    }
}

fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
}

fn batch_of(attributes: i16, records: &[u8]) -> Vec<u8> {
    let now = crate::common::now_ms();
    let mut checked = Vec::new();
    checked.extend(attributes.to_be_bytes());
    checked.extend(0_i32.to_be_bytes()); // last offset delta
    checked.extend(now.to_be_bytes()); // base timestamp
    checked.extend(now.to_be_bytes()); // max timestamp
    checked.extend((-1_i64).to_be_bytes()); // producer id
    checked.extend((-1_i16).to_be_bytes()); // producer epoch
    checked.extend((-1_i32).to_be_bytes()); // base sequence
    checked.extend(1_i32.to_be_bytes()); // record count
    checked.extend_from_slice(records);
    let mut whole = 0_i64.to_be_bytes().to_vec(); // base offset
    whole.extend(i32::try_from(checked.len() + 9).expect("small").to_be_bytes());
    whole.extend((-1_i32).to_be_bytes()); // leader epoch
    whole.push(2);
    whole.extend(crc32c::crc32c(&checked).to_be_bytes());
    whole.extend(checked);
    whole
}

fn record_head(value_bytes: i64) -> Vec<u8> {
    let mut body = vec![0]; // attributes
    put_varint(&mut body, 0); // timestamp delta
    put_varint(&mut body, 0); // offset delta
    put_varint(&mut body, -1); // no key
    put_varint(&mut body, value_bytes);
    let mut head = Vec::new();
    let length = i64::try_from(body.len()).expect("small") + value_bytes + 1;
    put_varint(&mut head, length);
    head.extend(body);
    head
}

/// A record batch with one record.
pub fn batch(value: &[u8]) -> Vec<u8> {
    let mut record = record_head(i64::try_from(value.len()).expect("small"));
    record.extend_from_slice(value);
    record.push(0); // no headers
    batch_of(0, &record)
}

/// A record batch whose one record unpacks to `bytes` zeros.
pub fn gzip_bomb(bytes: usize) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&record_head(i64::try_from(bytes).expect("fits"))).expect("to memory");
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..bytes / zeros.len() {
        packed.write_all(&zeros).expect("to memory");
    }
    packed.write_all(&[0]).expect("to memory");
    batch_of(1, &packed.finish().expect("to memory"))
}

/// Sends a batch by Produce version 7 with acks=all; error code and base offset.
pub fn produce(address: &str, topic: &str, partition: i32, batch: &[u8]) -> (i16, i64) {
    let mut body = (-1_i16).to_be_bytes().to_vec(); // no transactional id
    body.extend((-1_i16).to_be_bytes()); // acks
    body.extend(10_000_i32.to_be_bytes()); // timeout
    body.extend(1_i32.to_be_bytes());
    put_string(&mut body, topic);
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i32::try_from(batch.len()).expect("small").to_be_bytes());
    body.extend_from_slice(batch);
    let mut stream = connect(address);
    send_all(&mut stream, &request(0, 7, 2, &body));
    match read_frame(&mut stream) {
        Answer::Frame(answer) => {
            // Correlation id, one topic with its name, one partition with its index.
            let at = 4 + 4 + 2 + topic.len() + 4 + 4;
            let code = i16::from_be_bytes(answer[at..at + 2].try_into().expect("two bytes"));
            let offset =
                i64::from_be_bytes(answer[at + 2..at + 10].try_into().expect("eight bytes"));
            (code, offset)
        }
        // A closed connection stores nothing; told from error codes by a number that is none.
        Answer::Closed => (i16::MIN, -1),
        Answer::Silence => panic!("a produce request is neither answered nor closed"),
    }
}
