//! The four codecs of record batches.
//!
//! What a producer may send: gzip members, snappy raw or in Xerial's framing, LZ4 frames,
//! Zstandard frames. What we send is what Kafka's Java client sends, so that every client reads it.
//!
//! Invariant: unpacking goes in small steps and stops at the caller's limit, whatever the input
//! claims about itself.

use super::{BatchError, Compression};
use crate::limits;
use std::io::{self, Read, Write};

/// First bytes of Xerial's framing. The two version numbers that follow are big-endian.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Bytes of magic and version numbers.
const XERIAL_HEADER_BYTES: usize = 16;
/// Unpacked bytes of one block in Xerial's framing, as Java clients write them.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element gives more than 64 bytes for 3: a claim beyond this ratio is a lie, and is
/// refused before memory is taken for it.
const SNAPPY_RATIO_MAX: usize = 22;

const DAMAGED: BatchError = BatchError::Malformed("compressed records do not unpack");

/// Unpacks all of `packed` at once.
///
/// # Errors
/// [`BatchError::TooLarge`] when the result would be larger than `bytes_max`, and
/// [`BatchError::Malformed`] when `packed` is damaged.
pub fn decompress(
    codec: Compression,
    packed: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, BatchError> {
    let mut reader = Unpacker::new(codec, packed, bytes_max)?;
    let mut out = Vec::with_capacity(packed.len().saturating_mul(2).min(bytes_max));
    reader.read_to_end(&mut out).map_err(|error| unpack_error(&error, bytes_max))?;
    Ok(out)
}

/// Packs all of `plain`.
#[must_use]
pub fn compress(codec: Compression, plain: &[u8]) -> Vec<u8> {
    // Writing to a vector does not fail, so the only errors left would be our own mistakes.
    match codec {
        Compression::None => plain.to_vec(),
        Compression::Gzip => gzip(plain).expect("invariant: gzip into memory does not fail"),
        Compression::Snappy => xerial(plain),
        Compression::Lz4 => lz4(plain).expect("invariant: lz4 into memory does not fail"),
        Compression::Zstd => zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL)
            .expect("invariant: zstd into memory does not fail"),
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let room = Vec::with_capacity(plain.len() / 2);
    let mut encoder = flate2::write::GzEncoder::new(room, flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

fn lz4(plain: &[u8]) -> io::Result<Vec<u8>> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    // Java's reader takes independent blocks only.
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(plain.len() / 2));
    encoder.write_all(plain)?;
    encoder.finish().map_err(io::Error::from)
}

fn xerial(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() / 2 + XERIAL_HEADER_BYTES);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder
            .compress_vec(block)
            .expect("invariant: a block of 32 KiB is within snappy's limit");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

/// Reads unpacked bytes, no more than a limit.
pub(super) struct Unpacker<'a> {
    inner: Codec<'a>,
    left: usize,
}

enum Codec<'a> {
    None(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(Snappy<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

/// What [`Unpacker`] puts into an [`io::Error`] at its limit.
#[derive(Debug, thiserror::Error)]
#[error("unpacked records are larger than the limit")]
struct OverLimit;

/// The error of a batch for an error of an [`Unpacker`].
pub(super) fn unpack_error(error: &io::Error, bytes_max: usize) -> BatchError {
    if error.get_ref().is_some_and(|inner| inner.is::<OverLimit>()) {
        BatchError::TooLarge(bytes_max)
    } else {
        DAMAGED
    }
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(
        codec: Compression,
        packed: &'a [u8],
        bytes_max: usize,
    ) -> Result<Self, BatchError> {
        let inner = match codec {
            Compression::None => Codec::None(packed),
            Compression::Gzip => {
                Codec::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(packed)))
            }
            Compression::Snappy => Codec::Snappy(Snappy::new(packed)),
            Compression::Lz4 => Codec::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(packed))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
                    .map_err(|_| BatchError::Malformed("zstd could not be set up"))?;
                decoder
                    .window_log_max(limits::ZSTD_WINDOW_LOG_MAX)
                    .map_err(|_| BatchError::Malformed("zstd could not be set up"))?;
                Codec::Zstd(decoder)
            }
        };
        Ok(Self { inner, left: bytes_max })
    }
}

impl Read for Unpacker<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // One byte beyond the limit is asked for, to tell "exactly at the limit" from "over it".
        let room = out.len().min(self.left.saturating_add(1));
        let out = &mut out[..room];
        let count = match &mut self.inner {
            Codec::None(rest) => rest.read(out)?,
            Codec::Gzip(decoder) => decoder.read(out)?,
            Codec::Snappy(decoder) => decoder.read(out, self.left)?,
            Codec::Lz4(decoder) => decoder.read(out)?,
            Codec::Zstd(decoder) => decoder.read(out)?,
        };
        self.left = self.left.checked_sub(count).ok_or_else(over_limit)?;
        Ok(count)
    }
}

fn over_limit() -> io::Error {
    io::Error::other(OverLimit)
}

/// Snappy, raw (one block) or in Xerial's framing (blocks with lengths).
struct Snappy<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Snappy<'a> {
    fn new(packed: &'a [u8]) -> Self {
        // A raw block of this start would have to begin with a copy from before its first byte.
        let framed = packed.len() >= XERIAL_HEADER_BYTES && packed.starts_with(&XERIAL_MAGIC);
        let rest = if framed { &packed[XERIAL_HEADER_BYTES..] } else { packed };
        Self { rest, framed, block: Vec::new(), at: 0 }
    }

    fn read(&mut self, out: &mut [u8], left: usize) -> io::Result<usize> {
        while self.at == self.block.len() {
            let Some(packed) = self.next_block()? else { return Ok(0) };
            let size = snap::raw::decompress_len(packed)?;
            if size > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if size > left {
                return Err(over_limit());
            }
            self.block.clear();
            self.block.resize(size, 0);
            snap::raw::Decoder::new().decompress(packed, &mut self.block)?;
            self.at = 0;
        }
        let count = out.len().min(self.block.len() - self.at);
        out[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if !self.framed {
            let all = std::mem::take(&mut self.rest);
            return Ok(if all.is_empty() { None } else { Some(all) });
        }
        // Streams may be joined: then a header stands where a block's length should.
        while self.rest.len() >= XERIAL_HEADER_BYTES && self.rest.starts_with(&XERIAL_MAGIC) {
            self.rest = &self.rest[XERIAL_HEADER_BYTES..];
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (length, rest) =
            self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = rest.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.rest = &rest[length..];
        Ok(Some(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn text(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| b"GET /index.html HTTP/1.1 200 "[(i * i / 7) % 29]).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_packed_and_keeps_to_the_limit() {
        for codec in CODECS {
            for size in [0, 1, 100, 40_000, 300_000] {
                let plain = text(size);
                let packed = compress(codec, &plain);
                assert_eq!(decompress(codec, &packed, size).as_ref(), Ok(&plain), "{codec:?}");
                if size > 0 {
                    let refused = decompress(codec, &packed, size - 1);
                    assert_eq!(refused, Err(BatchError::TooLarge(size - 1)), "{codec:?}");
                }
            }
        }
    }

    #[test]
    fn trap_3_codec_snappy_and_lz4_framing() {
        let plain = text(70_000);
        let framed = compress(Compression::Snappy, &plain);
        assert_eq!(framed[..8], XERIAL_MAGIC);
        assert_eq!(framed[8..16], [0, 0, 0, 1, 0, 0, 0, 1], "big-endian versions");
        assert!(u32::from_be_bytes([framed[16], framed[17], framed[18], framed[19]]) < 40_000);
        let raw = snap::raw::Encoder::new().compress_vec(&plain).expect("small");
        assert_eq!(decompress(Compression::Snappy, &raw, 1 << 20), Ok(plain.clone()));
        let twice = [framed.clone(), framed].concat();
        let joined = decompress(Compression::Snappy, &twice, 1 << 20).expect("joined streams");
        assert_eq!(joined, [plain.clone(), plain.clone()].concat());

        let frame = compress(Compression::Lz4, &plain);
        assert_eq!(frame[..4], 0x184D_2204u32.to_le_bytes());
        assert_eq!(frame[4] & 0b1110_0000, 0b0110_0000, "version 1, independent blocks");
        // xxHash32 of descriptor bytes 0x60 0x40, second byte, as the frame format asks.
        assert_eq!((frame[4], frame[5], frame[6]), (0x60, 0x40, 0x82));
    }

    #[test]
    fn gzip_members_may_be_joined() {
        let twice = [compress(Compression::Gzip, b"one "), compress(Compression::Gzip, b"two")];
        let joined = decompress(Compression::Gzip, &twice.concat(), 100);
        assert_eq!(joined.as_deref(), Ok(b"one two".as_slice()));
    }

    #[test]
    fn a_snappy_block_that_lies_about_its_size_takes_no_memory() {
        // A varint length of 2^31 in front of nothing.
        let bomb = [0x80, 0x80, 0x80, 0x80, 0x08, 0x00];
        assert_eq!(decompress(Compression::Snappy, &bomb, usize::MAX), Err(DAMAGED));
    }

    #[test]
    fn damaged_input_is_an_error() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            assert!(decompress(codec, &[0xff; 40], 1 << 20).is_err(), "{codec:?}");
        }
    }
}
