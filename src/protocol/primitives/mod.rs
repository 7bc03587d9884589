//! The primitive types of the Kafka protocol: a reader over one frame, and a writer that collects
//! the pieces of one.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use bytes::Bytes;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends before the value does.
    #[error("frame ends {missing} bytes too early, at byte {at}")]
    Truncated {
        /// Where the value begins.
        at: usize,
        /// Bytes that are not there.
        missing: usize,
    },
    /// A length or count that is negative (other than -1) or has no meaning.
    #[error("length {0} is not possible here")]
    Length(i64),
    /// More entries than the bytes that are left could hold, or than [`crate::limits`] allows.
    #[error("{count} entries cannot fit in the {left} bytes that are left")]
    Count {
        /// What the frame claims.
        count: usize,
        /// Bytes after the claim.
        left: usize,
    },
    /// The values would take far more memory than the frame.
    #[error("frame of {0} bytes unpacks to too much memory")]
    Memory(usize),
    /// More tagged fields in one structure than [`crate::limits::TAGGED_FIELDS_MAX`].
    #[error("{0} tagged fields in one structure")]
    TaggedFields(usize),
    /// Null where this version knows no null.
    #[error("null where a value must be")]
    Null,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A variable-length number of more than five (or ten) bytes.
    #[error("variable-length number does not end")]
    Varint,
    /// A tagged field that is shorter or longer than it says.
    #[error("tagged field {0} does not fill its length")]
    TaggedField(u32),
    /// The message ended, and bytes are left.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// An API that does not exist.
    #[error("API key {0} does not exist")]
    UnknownApi(i16),
    /// A version that is not served (or, on our client's side, not known).
    #[error("version {version} of API {api} is not supported")]
    UnsupportedVersion {
        /// The API.
        api: i16,
        /// Its version.
        version: i16,
    },
}

/// Tagged fields that this version of the schema does not know: kept, and written back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::box_collection, reason = "8 bytes instead of 24 in every entry of every array")]
pub struct TaggedFields(Option<Box<Vec<(u32, Bytes)>>>);

impl TaggedFields {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Tags and contents, in the order in which they came.
    #[must_use]
    pub fn as_slice(&self) -> &[(u32, Bytes)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Adds a field.
    pub fn push(&mut self, tag: u32, content: Bytes) {
        self.0.get_or_insert_default().push((tag, content));
    }
}
