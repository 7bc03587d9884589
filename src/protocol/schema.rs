//! The schema: how a message's fields map to bytes in each version.
//!
//! `schema!` declares a structure once, field by field, with the versions that carry it; from
//! that come the struct, its default, its decoder and its encoder. `request!` names a request's
//! API, versions and response.
//!
//! Invariant: a field that a version does not carry decodes to its default, and is left out when
//! encoding. Null is written only where the version allows it; elsewhere an empty value goes out
//! instead (a null where a client does not expect one ends that client).

use super::primitives::{DecodeError, Reader, Writer};
use super::sample::Tape;
use super::{ApiKey, ErrorCode, Str};
use crate::types::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, TopicId,
};
use bytes::Bytes;
use std::ops::RangeInclusive;

/// A whole message of the protocol, in any of its versions.
pub trait Message: Sized {
    /// Reads the message in the layout of `version`. Bytes after it are left to the caller; see
    /// [`Reader::finish`].
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message in the layout of `version`. Fields that the version does not carry are
    /// left out.
    fn encode(&self, writer: &mut Writer, version: i16);

    /// Makes up a message of `version`, for tests: see [`super::sample`]. Fields that the version
    /// does not carry have their defaults.
    fn sample(tape: &mut Tape<'_>, version: i16) -> Self;
}

/// A request: which API it belongs to, and what answers it.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// The versions that can be decoded and encoded.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields (KIP-482); `i16::MAX` if none.
    const FLEXIBLE_FROM: i16;
    /// The answer.
    type Response: Message;
}

/// How a field is laid out where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The message's version.
    pub version: i16,
    /// Whether lengths are compact and structures end with tagged fields.
    pub flexible: bool,
    /// Whether the field may be null in this version.
    pub nullable: bool,
}

/// A value with a layout on the wire.
pub trait Wire: Sized {
    /// Fewest bytes that a value takes in this layout.
    fn bytes_min(layout: Layout) -> usize;
    /// Reads one.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError>;
    /// Writes it.
    fn write(&self, writer: &mut Writer, layout: Layout);
    /// What the field is in versions that do not carry it, unless the schema says otherwise.
    fn absent() -> Self;
    /// Makes one up, for tests.
    fn sample(tape: &mut Tape<'_>, layout: Layout) -> Self;
}

/// A value whose layout knows null.
pub trait WireNullable: Wire {
    /// Fewest bytes, null included.
    fn bytes_min_nullable(layout: Layout) -> usize {
        Self::bytes_min(layout)
    }
    /// Reads one, or null.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError>;
    /// Writes it, or null.
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, layout: Layout);
}

impl<T: WireNullable> Wire for Option<T> {
    fn bytes_min(layout: Layout) -> usize {
        T::bytes_min_nullable(layout)
    }

    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        if !layout.nullable {
            return T::read(reader, layout).map(Some);
        }
        T::read_nullable(reader, layout)
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        match self {
            _ if layout.nullable => T::write_nullable(self.as_ref(), writer, layout),
            Some(value) => value.write(writer, layout),
            None => T::absent().write(writer, layout),
        }
    }

    fn absent() -> Self {
        None
    }

    fn sample(tape: &mut Tape<'_>, layout: Layout) -> Self {
        if layout.nullable && tape.is_null() { None } else { Some(T::sample(tape, layout)) }
    }
}

macro_rules! wire_number {
    ($($ty:ty => $inner:ty, $wrap:expr, $unwrap:expr;)*) => {$(
        impl Wire for $ty {
            #[inline]
            fn bytes_min(_: Layout) -> usize {
                size_of::<$inner>()
            }
            #[inline]
            fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
                Ok($wrap(<$inner>::from_be_bytes(reader.array()?)))
            }
            #[inline]
            fn write(&self, writer: &mut Writer, _: Layout) {
                writer.put(&<$inner>::to_be_bytes($unwrap(*self)));
            }
            #[inline]
            fn absent() -> Self {
                $wrap(<$inner>::default())
            }
            fn sample(tape: &mut Tape<'_>, _: Layout) -> Self {
                $wrap(tape.number() as $inner)
            }
        }
    )*};
}

wire_number! {
    bool => u8, |byte: u8| byte != 0, u8::from;
    i8 => i8, std::convert::identity, std::convert::identity;
    i16 => i16, std::convert::identity, std::convert::identity;
    u16 => u16, std::convert::identity, std::convert::identity;
    i32 => i32, std::convert::identity, std::convert::identity;
    i64 => i64, std::convert::identity, std::convert::identity;
    f64 => f64, std::convert::identity, std::convert::identity;
    ErrorCode => i16, ErrorCode::from_i16, ErrorCode::to_i16;
    NodeId => i32, NodeId, |id: NodeId| id.0;
    PartitionIndex => i32, PartitionIndex, |index: PartitionIndex| index.0;
    Offset => i64, Offset, |offset: Offset| offset.0;
    LeaderEpoch => i32, LeaderEpoch, |epoch: LeaderEpoch| epoch.0;
    BrokerEpoch => i64, BrokerEpoch, |epoch: BrokerEpoch| epoch.0;
    ProducerId => i64, ProducerId, |id: ProducerId| id.0;
    ProducerEpoch => i16, ProducerEpoch, |epoch: ProducerEpoch| epoch.0;
    Sequence => i32, Sequence, |sequence: Sequence| sequence.0;
}

macro_rules! wire_uuid {
    ($($ty:ident),*) => {$(
        impl Wire for $ty {
            fn bytes_min(_: Layout) -> usize {
                16
            }
            fn read(reader: &mut Reader, _: Layout) -> Result<Self, DecodeError> {
                Ok(Self(reader.array()?))
            }
            fn write(&self, writer: &mut Writer, _: Layout) {
                writer.put(&self.0);
            }
            fn absent() -> Self {
                Self::ZERO
            }
            fn sample(tape: &mut Tape<'_>, _: Layout) -> Self {
                Self(std::array::from_fn(|_| tape.byte()))
            }
        }
    )*};
}

wire_uuid!(TopicId, DirectoryId);

impl Wire for Str {
    fn bytes_min(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        reader.string(layout.flexible)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.put_string(Some(self), layout.flexible);
    }

    fn absent() -> Self {
        Self::EMPTY
    }

    fn sample(tape: &mut Tape<'_>, _: Layout) -> Self {
        tape.text()
    }
}

impl WireNullable for Str {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        reader.string(layout.flexible)
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, layout: Layout) {
        writer.put_string(value.map(Str::as_str), layout.flexible);
    }
}

impl Wire for Bytes {
    fn bytes_min(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        reader.bytes(layout.flexible)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.put_bytes(Some(self), layout.flexible);
    }

    fn absent() -> Self {
        Self::new()
    }

    fn sample(tape: &mut Tape<'_>, _: Layout) -> Self {
        tape.bytes()
    }
}

impl WireNullable for Bytes {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        reader.bytes(layout.flexible)
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, layout: Layout) {
        writer.put_bytes(value, layout.flexible);
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn bytes_min(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader, layout: Layout) -> Result<Self, DecodeError> {
        Self::read_nullable(reader, layout)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        Self::write_nullable(Some(self), writer, layout);
    }

    fn absent() -> Self {
        Self::new()
    }

    fn sample(tape: &mut Tape<'_>, layout: Layout) -> Self {
        let layout = Layout { nullable: false, ..layout };
        (0..tape.length()).map(|_| T::sample(tape, layout)).collect()
    }
}

impl<T: Wire> WireNullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, layout: Layout) -> Result<Option<Self>, DecodeError> {
        let layout = Layout { nullable: false, ..layout };
        let count = reader.count(layout.flexible, T::bytes_min(layout), size_of::<T>())?;
        let Some(count) = count else { return Ok(None) };
        let mut entries = Self::with_capacity(count);
        for _ in 0..count {
            entries.push(T::read(reader, layout)?);
        }
        Ok(Some(entries))
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, layout: Layout) {
        let layout = Layout { nullable: false, ..layout };
        writer.put_count(value.map(Self::len), layout.flexible);
        for entry in value.into_iter().flatten() {
            entry.write(writer, layout);
        }
    }
}

/// Declares structures of the protocol. A field is
///
/// ```text
/// name: Type, VERSIONS [, nullable VERSIONS] [, tag NUMBER] [, default VALUE];
/// ```
///
/// with versions as a range (`0..`, `3..=7`). A field with a tag travels among the tagged fields
/// of flexible versions, and only when it differs from its default; tags ascend.
macro_rules! schema {
    ($(
        $(#[$meta:meta])*
        struct $name:ident {$(
            $(#[$field_meta:meta])*
            $field:ident : $ty:ty, $versions:expr
                $(, nullable $nullable:expr)? $(, tag $tag:literal)? $(, default $default:expr)?;
        )*}
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
            /// Tagged fields that came with the structure and that this schema does not know.
            pub unknown_tagged_fields: $crate::protocol::primitives::TaggedFields,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::protocol::schema::or_absent!($ty $(, $default)?),)*
                    unknown_tagged_fields: Default::default(),
                }
            }
        }

        #[allow(unused_variables, unused_mut)]
        impl $crate::protocol::schema::Wire for $name {
            fn bytes_min(layout: $crate::protocol::schema::Layout) -> usize {
                use $crate::protocol::schema::{Layout, Wire};
                let version = layout.version;
                let mut total = usize::from(layout.flexible);
                $({
                    const TAG: Option<u32> = $crate::protocol::schema::tag!($($tag)?);
                    if TAG.is_none() && ($versions).contains(&version) {
                        let nullable = $crate::protocol::schema::holds!(version $(, $nullable)?);
                        total += <$ty as Wire>::bytes_min(Layout { nullable, ..layout });
                    }
                })*
                total
            }

            fn read(
                reader: &mut $crate::protocol::primitives::Reader,
                layout: $crate::protocol::schema::Layout,
            ) -> Result<Self, $crate::protocol::primitives::DecodeError> {
                use $crate::protocol::schema::{Layout, Wire};
                let version = layout.version;
                let mut value = Self::default();
                $({
                    const TAG: Option<u32> = $crate::protocol::schema::tag!($($tag)?);
                    if TAG.is_none() && ($versions).contains(&version) {
                        let nullable = $crate::protocol::schema::holds!(version $(, $nullable)?);
                        value.$field = <$ty as Wire>::read(reader, Layout { nullable, ..layout })?;
                    }
                })*
                if layout.flexible {
                    let unknown = reader.tagged_fields(|tag, reader| {
                        $({
                            const TAG: Option<u32> = $crate::protocol::schema::tag!($($tag)?);
                            if TAG == Some(tag) && ($versions).contains(&version) {
                                let nullable =
                                    $crate::protocol::schema::holds!(version $(, $nullable)?);
                                value.$field =
                                    <$ty as Wire>::read(reader, Layout { nullable, ..layout })?;
                                return Ok(true);
                            }
                        })*
                        Ok(false)
                    })?;
                    value.unknown_tagged_fields = unknown;
                }
                Ok(value)
            }

            fn write(
                &self,
                writer: &mut $crate::protocol::primitives::Writer,
                layout: $crate::protocol::schema::Layout,
            ) {
                use $crate::protocol::schema::Layout;
                let version = layout.version;
                let mut tagged: Vec<(u32, $crate::protocol::primitives::Writer)> = Vec::new();
                $({
                    const TAG: Option<u32> = $crate::protocol::schema::tag!($($tag)?);
                    if ($versions).contains(&version) {
                        let nullable = $crate::protocol::schema::holds!(version $(, $nullable)?);
                        let layout = Layout { nullable, ..layout };
                        match TAG {
                            None => $crate::protocol::schema::Wire::write(
                                &self.$field,
                                writer,
                                layout,
                            ),
                            Some(tag) => {
                                let default: $ty =
                                    $crate::protocol::schema::or_absent!($ty $(, $default)?);
                                if layout.flexible && self.$field != default {
                                    let mut content =
                                        $crate::protocol::primitives::Writer::new();
                                    $crate::protocol::schema::Wire::write(
                                        &self.$field,
                                        &mut content,
                                        layout,
                                    );
                                    tagged.push((tag, content));
                                }
                            }
                        }
                    }
                })*
                if layout.flexible {
                    writer.put_tagged_fields(tagged, &self.unknown_tagged_fields);
                }
            }

            fn absent() -> Self {
                Self::default()
            }

            fn sample(
                tape: &mut $crate::protocol::sample::Tape<'_>,
                layout: $crate::protocol::schema::Layout,
            ) -> Self {
                use $crate::protocol::schema::{Layout, Wire};
                let version = layout.version;
                let mut value = Self::default();
                $(if ($versions).contains(&version) {
                    let nullable = $crate::protocol::schema::holds!(version $(, $nullable)?);
                    value.$field = <$ty as Wire>::sample(tape, Layout { nullable, ..layout });
                })*
                value.unknown_tagged_fields = tape.tagged_fields(layout);
                value
            }
        }

        impl $crate::protocol::schema::WireNullable for $name {
            fn bytes_min_nullable(_: $crate::protocol::schema::Layout) -> usize {
                1
            }

            fn read_nullable(
                reader: &mut $crate::protocol::primitives::Reader,
                layout: $crate::protocol::schema::Layout,
            ) -> Result<Option<Self>, $crate::protocol::primitives::DecodeError> {
                // A structure that may be null has a byte in front that says whether it is.
                match i8::from_be_bytes(reader.array()?) {
                    ..0 => Ok(None),
                    _ => <Self as $crate::protocol::schema::Wire>::read(reader, layout).map(Some),
                }
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut $crate::protocol::primitives::Writer,
                layout: $crate::protocol::schema::Layout,
            ) {
                match value {
                    None => writer.put(&(-1i8).to_be_bytes()),
                    Some(value) => {
                        writer.put(&[1]);
                        $crate::protocol::schema::Wire::write(value, writer, layout);
                    }
                }
            }
        }
    )*};
}

/// Makes messages of two structures, and a request of the first.
macro_rules! request {
    ($request:ident => $response:ident, $key:ident, $versions:expr, flexible $flexible:expr) => {
        $crate::protocol::schema::request!(@message $request, $flexible);
        $crate::protocol::schema::request!(@message $response, $flexible);

        impl $crate::protocol::schema::Request for $request {
            const KEY: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
            const FLEXIBLE_FROM: i16 = $flexible;
            type Response = $response;
        }
    };
    (@message $message:ident, $flexible:expr) => {
        impl $crate::protocol::schema::Message for $message {
            fn decode(
                reader: &mut $crate::protocol::primitives::Reader,
                version: i16,
            ) -> Result<Self, $crate::protocol::primitives::DecodeError> {
                let flexible = version >= $flexible;
                let layout =
                    $crate::protocol::schema::Layout { version, flexible, nullable: false };
                <Self as $crate::protocol::schema::Wire>::read(reader, layout)
            }

            fn encode(&self, writer: &mut $crate::protocol::primitives::Writer, version: i16) {
                let flexible = version >= $flexible;
                let layout =
                    $crate::protocol::schema::Layout { version, flexible, nullable: false };
                $crate::protocol::schema::Wire::write(self, writer, layout);
            }

            fn sample(tape: &mut $crate::protocol::sample::Tape<'_>, version: i16) -> Self {
                let flexible = version >= $flexible;
                let layout =
                    $crate::protocol::schema::Layout { version, flexible, nullable: false };
                <Self as $crate::protocol::schema::Wire>::sample(tape, layout)
            }
        }
    };
}

/// A field's default: the one given, or the absent value of its type.
macro_rules! or_absent {
    ($ty:ty) => {
        <$ty as $crate::protocol::schema::Wire>::absent()
    };
    ($ty:ty, $default:expr) => {
        $default
    };
}

/// A field's tag, if it has one.
macro_rules! tag {
    () => {
        None
    };
    ($tag:literal) => {
        Some($tag)
    };
}

/// Whether a version lies in a range that may not be given.
macro_rules! holds {
    ($version:ident) => {
        false
    };
    ($version:ident, $versions:expr) => {
        ($versions).contains(&$version)
    };
}

pub(crate) use {holds, or_absent, request, schema, tag};
