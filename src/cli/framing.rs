//! How records follow one another in a stream of bytes, both ways.

use super::failure::Failure;
use super::text::unescape;
use crate::limits;
use bytes::{Buf as _, Bytes, BytesMut};
use std::io::{self, Read, Write};

/// Names of the framings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FramingName {
    /// One record per line
    Lines,
    /// Records end with a NUL byte
    Nul,
    /// Each value after its length: four bytes, big-endian, -1 for null
    Length,
    /// Each key, then each value, both after their length
    KeyedLength,
}

/// How records follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Framing {
    /// This ends each record.
    Delimiter(Vec<u8>),
    /// Value after its length.
    Length,
    /// Key after its length, value after its length.
    KeyedLength,
}

/// The flags.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FramingArgs {
    /// How records follow one another; `length` and `keyed-length` are safe for any bytes
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["delimiter", "nul"])]
    framing: Option<FramingName>,
    /// Text that ends each record; \n \t \0 \xNN are understood [default: \n]
    #[arg(short = 'D', long, value_name = "TEXT", conflicts_with = "nul")]
    delimiter: Option<String>,
    /// Records end with a NUL byte, as find -print0 writes them
    #[arg(short = '0', long)]
    nul: bool,
}

impl FramingArgs {
    pub(super) fn framing(&self) -> Result<Framing, Failure> {
        Ok(match (self.framing, &self.delimiter) {
            (Some(FramingName::Length), _) => Framing::Length,
            (Some(FramingName::KeyedLength), _) => Framing::KeyedLength,
            (Some(FramingName::Nul), _) => Framing::Delimiter(vec![0]),
            (Some(FramingName::Lines), _) => Framing::Delimiter(vec![b'\n']),
            (None, _) if self.nul => Framing::Delimiter(vec![0]),
            (None, None) => Framing::Delimiter(vec![b'\n']),
            (None, Some(text)) => match unescape(text) {
                Ok(delimiter) if delimiter.is_empty() => {
                    return Err(Failure::Usage("--delimiter must not be empty".to_owned()));
                }
                Ok(delimiter) => Framing::Delimiter(delimiter),
                Err(why) => return Err(Failure::Usage(format!("--delimiter: {why}"))),
            },
        })
    }

    /// Whether any of the flags was given.
    pub(super) fn is_given(&self) -> bool {
        self.framing.is_some() || self.delimiter.is_some() || self.nul
    }
}

/// One framed record: the key where the framing has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
}

/// Cuts a stream into frames. Holds one frame and a read-ahead at most.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    framing: Framing,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no delimiter.
    searched: usize,
    may_read: bool,
    ended: bool,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(from: R, framing: Framing) -> Self {
        Self { from, framing, buffer: BytesMut::new(), searched: 0, may_read: true, ended: false }
    }

    /// The next frame; nothing at the end.
    ///
    /// # Errors
    /// Those of the stream; `InvalidData` for a frame that is cut short or too long.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        self.may_read = true;
        self.take_frame()
    }

    /// The next frame if it was read already; nothing if it takes another read, or at the end.
    ///
    /// # Errors
    /// Those of [`Self::next_frame`].
    pub(super) fn next_buffered(&mut self) -> io::Result<Option<Frame>> {
        self.may_read = false;
        match self.take_frame() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result,
        }
    }

    /// Takes nothing from the buffer before the whole frame is there.
    fn take_frame(&mut self) -> io::Result<Option<Frame>> {
        match self.framing.clone() {
            Framing::Delimiter(delimiter) => self.delimited(&delimiter),
            Framing::Length => {
                if !self.have(1)? {
                    return Ok(None);
                }
                self.counted(0)?;
                Ok(Some(Frame { key: None, value: self.take_counted() }))
            }
            Framing::KeyedLength => {
                if !self.have(1)? {
                    return Ok(None);
                }
                let value_at = self.counted(0)?;
                self.counted(value_at)?;
                Ok(Some(Frame { key: self.take_counted(), value: self.take_counted() }))
            }
        }
    }

    fn delimited(&mut self, delimiter: &[u8]) -> io::Result<Option<Frame>> {
        loop {
            if let Some(at) = find(&self.buffer[self.searched..], delimiter) {
                let value = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(delimiter.len());
                self.searched = 0;
                return Ok(Some(Frame { key: None, value: Some(value) }));
            }
            self.searched = (self.buffer.len() + 1).saturating_sub(delimiter.len());
            if self.buffer.len() > limits::CLIENT_RECORD_BYTES_MAX {
                return Err(too_long(self.buffer.len()));
            }
            if self.fill()? == 0 {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                // The last record need not be ended.
                return Ok((!rest.is_empty()).then_some(Frame { key: None, value: Some(rest) }));
            }
        }
    }

    /// Makes sure that the field whose length stands at `at` is in the buffer; says where it ends.
    fn counted(&mut self, at: usize) -> io::Result<usize> {
        if !self.have(at + 4)? {
            return Err(cut_short());
        }
        let length = (&self.buffer[at..]).get_i32();
        if length == -1 {
            return Ok(at + 4);
        }
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limits::CLIENT_RECORD_BYTES_MAX)
            .ok_or_else(|| too_long(length as u32 as usize))?;
        if !self.have(at + 4 + length)? {
            return Err(cut_short());
        }
        Ok(at + 4 + length)
    }

    /// Takes a field that [`Self::counted`] has seen.
    fn take_counted(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.buffer.get_i32()).ok()?;
        Some(self.buffer.split_to(length).freeze())
    }

    /// Reads until so many bytes are there; false when the stream ends before.
    fn have(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if !self.may_read {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let have = self.buffer.len();
        self.buffer.resize(have + limits::CLI_READ_BYTES, 0);
        let count = loop {
            match self.from.read(&mut self.buffer[have..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(have + count.as_ref().map_or(0, |count| *count));
        let count = count?;
        self.ended = count == 0;
        Ok(count)
    }
}

fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    let (first, rest) = delimiter.split_first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn cut_short() -> io::Error {
    let what = "the input ends inside a record; is it framed as --framing says?";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn too_long(length: usize) -> io::Error {
    let what = format!(
        "a record of {length} bytes or more is above the limit of {}; is the input framed as \
         --framing or --delimiter says?",
        limits::CLIENT_RECORD_BYTES_MAX
    );
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes a field after its length.
pub(super) fn write_counted(out: &mut impl Write, field: Option<&[u8]>) -> io::Result<()> {
    let length = match field {
        None => -1,
        Some(field) => i32::try_from(field.len()).map_err(|_| too_long(field.len()))?,
    };
    out.write_all(&length.to_be_bytes())?;
    out.write_all(field.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time: every cut between reads is met.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn values(bytes: &[u8], framing: Framing) -> Vec<Option<Vec<u8>>> {
        let mut frames = Frames::new(Drip(bytes), framing);
        let mut all = Vec::new();
        loop {
            // What is asked for without a read must leave the stream as it was.
            let buffered = frames.next_buffered().expect("well framed");
            let next = buffered.or_else(|| frames.next_frame().expect("well framed"));
            let Some(frame) = next else { break };
            all.push(frame.value.map(|value| value.to_vec()));
        }
        all
    }

    #[test]
    fn delimiters_of_any_length_are_found_across_reads() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        let lines = Framing::Delimiter(b"\n".to_vec());
        assert_eq!(values(b"a\n\nb", lines.clone()), [some("a"), some(""), some("b")]);
        assert_eq!(values(b"", lines.clone()), []);
        assert_eq!(values(b"\n", lines), [some("")]);
        let long = Framing::Delimiter(b"--|".to_vec());
        assert_eq!(values(b"a---|b-|--|", long), [some("a-"), some("b-|")]);
    }

    #[test]
    fn lengths_carry_any_bytes_and_null() {
        let mut bytes = Vec::new();
        for value in [Some(&b"a\n\0"[..]), None, Some(b"")] {
            write_counted(&mut bytes, Some(b"k")).expect("to memory");
            write_counted(&mut bytes, value).expect("to memory");
        }
        let read = values(&bytes, Framing::KeyedLength);
        assert_eq!(read, [Some(b"a\n\0".to_vec()), None, Some(vec![])]);
        let mut cut = Frames::new(&bytes[..bytes.len() - 2], Framing::KeyedLength);
        assert!(cut.next_frame().is_ok() && cut.next_frame().is_ok());
        assert!(cut.next_frame().is_err(), "the end of a record is missing");
        let mut wrong = Frames::new(&b"GET / HTTP/1.1\r\n"[..], Framing::Length);
        assert!(wrong.next_frame().is_err(), "no length that large is believed");
    }
}
