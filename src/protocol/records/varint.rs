//! Variable-length numbers of records: seven bits a byte, low bits first, signed by zigzag.

use super::BatchError;

/// Where single bytes come from.
pub(super) trait ByteSource {
    fn byte(&mut self) -> Result<u8, BatchError>;
}

/// What every source says at its end.
pub(super) const ENDS_EARLY: BatchError = BatchError::Malformed("records end too early");

impl ByteSource for &[u8] {
    #[inline]
    fn byte(&mut self) -> Result<u8, BatchError> {
        let (first, rest) = self.split_first().ok_or(ENDS_EARLY)?;
        *self = rest;
        Ok(*first)
    }
}

/// A number of up to 64 bits.
#[inline]
pub(super) fn read_long(source: &mut impl ByteSource) -> Result<i64, BatchError> {
    let mut value = 0u64;
    for shift in 0..10 {
        let byte = source.byte()?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if shift == 9 && bits > 1 {
            break;
        }
        value |= bits << (shift * 7);
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(BatchError::Malformed("a variable-length number does not end"))
}

/// A number of up to 32 bits.
#[inline]
pub(super) fn read_int(source: &mut impl ByteSource) -> Result<i32, BatchError> {
    i32::try_from(read_long(source)?)
        .map_err(|_| BatchError::Malformed("a variable-length number is too large"))
}

/// A length, or nothing for -1.
#[inline]
pub(super) fn read_length(source: &mut impl ByteSource) -> Result<Option<usize>, BatchError> {
    match read_int(source)? {
        -1 => Ok(None),
        length => usize::try_from(length)
            .map(Some)
            .map_err(|_| BatchError::Malformed("a length is negative")),
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends a number.
#[inline]
pub(super) fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes that [`write_long`] appends.
#[inline]
pub(super) fn long_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_survive() {
        let mut values = vec![0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN];
        values.extend((0..63).flat_map(|bit| [1i64 << bit, -(1i64 << bit), (1i64 << bit) - 1]));
        for value in values {
            let mut bytes = Vec::new();
            write_long(&mut bytes, value);
            assert_eq!(bytes.len(), long_bytes(value), "{value}");
            let mut rest = bytes.as_slice();
            assert_eq!(read_long(&mut rest), Ok(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn what_does_not_end_or_fit_is_refused() {
        assert!(read_long(&mut [0x80u8; 11].as_slice()).is_err());
        assert!(read_long(&mut [0x80u8; 3].as_slice()).is_err());
        let mut too_wide = [0xffu8; 10];
        too_wide[9] = 0x02;
        assert!(read_long(&mut too_wide.as_slice()).is_err());
        let mut bytes = Vec::new();
        write_long(&mut bytes, i64::from(i32::MAX) + 1);
        assert!(read_int(&mut bytes.as_slice()).is_err());
        assert!(read_length(&mut [3u8].as_slice()).is_err(), "-2");
        assert_eq!(read_length(&mut [1u8].as_slice()), Ok(None));
    }
}
