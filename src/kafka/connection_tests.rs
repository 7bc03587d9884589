//! Tests of the connection, over real sockets, with a service that does what the request says.

use super::*;
use crate::env::{shutdown, spawn};
use crate::kafka::frame::FrameOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The third byte of a request (after an API key) says what to do with it.
#[derive(Debug, Default)]
struct Script {
    /// Lets the answers that wait go.
    release: Notify,
    /// Requests handled.
    handled: AtomicUsize,
    /// Bytes of each large answer.
    large_bytes: usize,
}

struct Scripted(Arc<Script>);

impl Service for Scripted {
    async fn call(&self, frame: Bytes) -> Outcome {
        let script = Arc::clone(&self.0);
        script.handled.fetch_add(1, Ordering::SeqCst);
        let answer = |bytes: Bytes| Answer { chunks: vec![bytes], lease: None };
        match frame[2] {
            b'a' => Outcome::Answer(answer(frame.slice(3..))),
            b'l' => Outcome::Later(
                async move {
                    script.release.notified().await;
                    answer(frame.slice(3..))
                }
                .boxed(),
            ),
            b'n' => Outcome::Nothing,
            b'b' => Outcome::Answer(answer(Bytes::from(vec![7; script.large_bytes]))),
            b'w' => {
                script.release.notified().await;
                Outcome::Answer(answer(frame.slice(3..)))
            }
            _ => Outcome::Close("as asked".to_owned()),
        }
    }
}

struct Setup {
    client: TcpStream,
    script: Arc<Script>,
    budget: Budget,
    /// Ends when the connection ended.
    ended: tokio::task::JoinHandle<Option<()>>,
    trigger: shutdown::Trigger,
}

async fn setup(script: Script, frames: FrameOptions) -> Setup {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).await.expect("connects");
    let (socket, peer) = listener.accept().await.expect("accepts");
    let script = Arc::new(script);
    let (trigger, shutdown) = shutdown::channel();
    let budget = Budget::new(limits::REQUEST_BYTES_IN_FLIGHT_MAX);
    let options = ConnectionOptions {
        request_budget: budget.clone(),
        frames,
        write_stall_max: Duration::from_millis(300),
    };
    let service = Scripted(Arc::clone(&script));
    let ended = spawn::spawn("test", async move {
        run(socket, peer, &options, &service, shutdown).await;
    });
    Setup { client, script, budget, ended, trigger }
}

fn patient() -> FrameOptions {
    let long = Duration::from_secs(60);
    FrameOptions { bytes_max: limits::REQUEST_BYTES_MAX, idle_max: long, stall_max: long }
}

/// A frame for [`Scripted`], with the API key of Produce.
fn frame(what: u8, payload: &[u8]) -> Vec<u8> {
    let length = i32::try_from(payload.len() + 3).expect("short");
    [&length.to_be_bytes()[..], &[0, 0, what], payload].concat()
}

async fn read_exact(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    client.read_exact(&mut buffer).await.expect("an answer");
    buffer
}

async fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut buffer = Vec::new();
    // A reset is an end too: the peer closed with bytes of ours unread.
    let _ = client.read_to_end(&mut buffer).await;
    buffer
}

#[tokio::test]
async fn trap_1_framing_concurrent_handling_answers_in_request_order() {
    let mut setup = setup(Script::default(), patient()).await;
    let requests =
        [frame(b'l', b"1"), frame(b'a', b"2"), frame(b'l', b"3"), frame(b'a', b"4")].concat();
    setup.client.write_all(&requests).await.expect("sent");
    // All four are handled while the first still waits for its commit.
    while setup.script.handled.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    setup.script.release.notify_one();
    assert_eq!(read_exact(&mut setup.client, 2).await, b"12");
    setup.script.release.notify_one();
    assert_eq!(read_exact(&mut setup.client, 2).await, b"34");
}

#[tokio::test]
async fn trap_1_framing_acks_0_leaves_no_hole() {
    let mut setup = setup(Script::default(), patient()).await;
    let requests = [frame(b'l', b"1"), frame(b'n', b""), frame(b'a', b"2"), frame(b'n', b"")];
    setup.client.write_all(&requests.concat()).await.expect("sent");
    setup.script.release.notify_one();
    assert_eq!(read_exact(&mut setup.client, 2).await, b"12");
}

#[tokio::test]
async fn a_close_still_writes_the_answers_that_are_owed() {
    let mut setup = setup(Script::default(), patient()).await;
    let requests = [frame(b'l', b"1"), frame(b'x', b""), frame(b'a', b"never")].concat();
    setup.client.write_all(&requests).await.expect("sent");
    setup.script.release.notify_one();
    assert_eq!(read_to_end(&mut setup.client).await, b"1");
}

#[tokio::test]
async fn a_request_that_comes_in_pieces_is_read_whole() {
    let mut setup = setup(Script::default(), patient()).await;
    let payload: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let bytes = frame(b'a', &payload);
    let (mut reader, mut writer) = setup.client.split();
    let send = async {
        for piece in [&bytes[..1], &bytes[1..5], &bytes[5..7], &bytes[7..40_000], &bytes[40_000..]]
        {
            writer.write_all(piece).await.expect("sent");
            writer.flush().await.expect("sent");
            tokio::task::yield_now().await;
        }
    };
    let mut answer = vec![0; payload.len()];
    let receive = async { reader.read_exact(&mut answer).await.expect("an answer") };
    tokio::join!(send, receive);
    assert!(answer == payload, "the payload came back changed");
}

#[tokio::test]
async fn hostile_lengths_close_the_connection_without_memory() {
    for length in [i32::MAX, -1, i32::MIN, 0, 1, 100 * 1024 * 1024 + 1] {
        let mut setup = setup(Script::default(), patient()).await;
        let start = [&length.to_be_bytes()[..], &[0, 0, b'a', 0]].concat();
        setup.client.write_all(&start).await.expect("sent");
        assert_eq!(read_to_end(&mut setup.client).await, b"", "length {length}");
        assert_eq!(setup.script.handled.load(Ordering::SeqCst), 0);
        assert_eq!(setup.budget.left(), limits::REQUEST_BYTES_IN_FLIGHT_MAX);
    }
}

#[tokio::test]
async fn only_produce_may_be_large() {
    let mut setup = setup(Script::default(), patient()).await;
    let length = i32::try_from(limits::CONTROL_REQUEST_BYTES_MAX + 1).expect("fits");
    // API key 3: Metadata.
    let start = [&length.to_be_bytes()[..], &[0, 3, b'a', 0]].concat();
    setup.client.write_all(&start).await.expect("sent");
    assert_eq!(read_to_end(&mut setup.client).await, b"");
}

#[tokio::test]
async fn an_announced_frame_costs_nothing_until_its_bytes_come() {
    let mut setup = setup(Script::default(), patient()).await;
    let length = i32::try_from(limits::REQUEST_BYTES_MAX).expect("fits");
    let start = [&length.to_be_bytes()[..], &[0, 0, b'a', 0]].concat();
    setup.client.write_all(&start).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(setup.budget.left(), limits::REQUEST_BYTES_IN_FLIGHT_MAX);
    drop(setup.client);
    setup.ended.await.expect("no panic").expect("no panic");
}

#[tokio::test]
async fn half_frames_and_slow_frames_are_given_up() {
    let quick = FrameOptions { stall_max: Duration::from_millis(50), ..patient() };
    for sent in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x10\0\0a", b"\0\0\x80\0\0\0a"] {
        let mut setup = setup(Script::default(), quick).await;
        setup.client.write_all(sent).await.expect("sent");
        assert_eq!(read_to_end(&mut setup.client).await, b"", "{sent:?}");
    }
    // One byte at a time, each well within the stall, does not help.
    let mut setup = setup(Script::default(), quick).await;
    setup.client.set_nodelay(true).expect("set");
    let bytes = frame(b'a', &[1; 1000]);
    for byte in bytes.chunks(1) {
        if setup.client.write_all(byte).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(read_to_end(&mut setup.client).await, b"");
    assert_eq!(setup.script.handled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let quick = FrameOptions { idle_max: Duration::from_millis(50), ..patient() };
    let mut setup = setup(Script::default(), quick).await;
    setup.client.write_all(&frame(b'a', b"1")).await.expect("sent");
    assert_eq!(read_to_end(&mut setup.client).await, b"1");
}

#[tokio::test]
async fn a_slow_reader_is_read_from_no_more_and_then_closed() {
    let script = Script { large_bytes: 8 * 1024 * 1024, ..Script::default() };
    let mut setup = setup(script, patient()).await;
    let requests = frame(b'b', b"").repeat(200);
    setup.client.write_all(&requests).await.expect("sent");
    // It reads nothing: after a few answers no request is taken any more, then it is given up.
    setup.ended.await.expect("no panic").expect("no panic");
    let handled = setup.script.handled.load(Ordering::SeqCst);
    assert!((1..10).contains(&handled), "{handled} requests were handled for a reader that stands");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_wait() {
    let mut setup = setup(Script::default(), patient()).await;
    setup.client.write_all(&frame(b'w', b"1")).await.expect("sent");
    while setup.script.handled.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    drop(setup.client);
    setup.ended.await.expect("no panic").expect("no panic");
}

#[tokio::test]
async fn a_shutdown_writes_what_is_owed_and_ends() {
    let mut setup = setup(Script::default(), patient()).await;
    setup.client.write_all(&frame(b'l', b"1")).await.expect("sent");
    while setup.script.handled.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    setup.trigger.begin();
    setup.script.release.notify_one();
    assert_eq!(read_to_end(&mut setup.client).await, b"1");
    setup.ended.await.expect("no panic").expect("no panic");
}
