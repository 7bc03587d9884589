//! Text from the wire: UTF-8 that shares the frame's bytes.

use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// UTF-8 text on top of reference-counted bytes. Cheap to clone; compares, orders and hashes as
/// `str`.
///
/// A `Str` that was decoded keeps its whole frame alive. What is stored for longer than the
/// request lives should be [`Str::detach`]ed first.
#[derive(Clone, Default)]
pub struct Str(Bytes);

impl Str {
    /// The empty text.
    pub const EMPTY: Self = Self(Bytes::new());

    /// Text that lives as long as the program.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes bytes that should be UTF-8.
    ///
    /// # Errors
    /// Gives the bytes back when they are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if std::str::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: every constructor checked that it is UTF-8")
    }

    /// The text's bytes, shared.
    #[must_use]
    pub fn as_shared_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy with bytes of its own, which no longer keeps a frame alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text.into_bytes()))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Str> for String {
    fn from(text: Str) -> Self {
        text.as_str().to_owned()
    }
}

// UTF-8 sorts and compares byte by byte exactly as `str` does.
impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Str {}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

// `Borrow<str>` asks for the hash of `str`.
impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn text_is_found_by_str_and_refuses_what_is_not_utf8() {
        let mut set = HashSet::new();
        set.insert(Str::from("weblog"));
        assert!(set.contains("weblog"));
        assert_eq!(Str::from_static("a"), "a");
        let mut sorted = [Str::from("b"), Str::from("ä"), Str::from("a")];
        sorted.sort();
        assert_eq!(sorted, ["a", "b", "ä"]);
        assert!(Str::from_utf8(Bytes::from_static(&[0xff])).is_err());
    }

    #[test]
    fn detached_text_leaves_its_frame() {
        let frame = Bytes::from(vec![b'x'; 100]);
        let inside = Str::from_utf8(frame.slice(10..20)).expect("ASCII");
        let copy = inside.detach();
        assert_eq!(inside, copy);
        let range = frame.as_ptr_range();
        assert!(range.contains(&inside.as_shared_bytes().as_ptr()));
        assert!(!range.contains(&copy.as_shared_bytes().as_ptr()));
    }
}
