//! The headers in front of every request and response, and whole frames of both.

use super::messages::served;
use super::primitives::{DecodeError, Reader, TaggedFields, Writer};
use super::{ApiKey, Message, Request, Str};
use bytes::Bytes;

/// What stands in front of every request.
///
/// Its own version follows from the API and the API's version: 1, or 2 (which ends with tagged
/// fields) where the API's version is flexible. The client id keeps its two-byte length in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// The version that the body is written in.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself. Shares the frame's bytes.
    pub client_id: Option<Str>,
    /// Tagged fields, of which the protocol defines none so far.
    pub unknown_tagged_fields: TaggedFields,
}

impl RequestHeader {
    /// Reads the header and leaves the reader at the body. An unknown version of a known API is
    /// no error here: what to answer is the caller's to decide, and ApiVersions has an answer.
    ///
    /// # Errors
    /// [`DecodeError::UnknownApi`] for a key that does not exist, and whatever is wrong with the
    /// bytes.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let key = i16::from_be_bytes(reader.array()?);
        let api_version = i16::from_be_bytes(reader.array()?);
        let correlation_id = i32::from_be_bytes(reader.array()?);
        let api_key = ApiKey::from_i16(key).ok_or(DecodeError::UnknownApi(key))?;
        let client_id = reader.string(false)?;
        let unknown_tagged_fields = if is_flexible(api_key, api_version) {
            reader.tagged_fields(|_, _| Ok(false))?
        } else {
            TaggedFields::default()
        };
        Ok(Self { api_key, api_version, correlation_id, client_id, unknown_tagged_fields })
    }

    /// Writes the header.
    pub fn encode(&self, writer: &mut Writer) {
        writer.put(&self.api_key.to_i16().to_be_bytes());
        writer.put(&self.api_version.to_be_bytes());
        writer.put(&self.correlation_id.to_be_bytes());
        writer.put_string(self.client_id.as_deref(), false);
        if is_flexible(self.api_key, self.api_version) {
            writer.put_tagged_fields(Vec::new(), &self.unknown_tagged_fields);
        }
    }
}

/// What stands in front of every response.
///
/// Version 1 ends with tagged fields and belongs to flexible versions of an API; but ApiVersions
/// answers with version 0 always, because its client does not know yet what we speak (KIP-511).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    /// The one of the request.
    pub correlation_id: i32,
    /// Tagged fields, of which the protocol defines none so far.
    pub unknown_tagged_fields: TaggedFields,
}

impl ResponseHeader {
    /// A header for the answer to this request.
    #[must_use]
    pub fn new(correlation_id: i32) -> Self {
        Self { correlation_id, unknown_tagged_fields: TaggedFields::default() }
    }

    /// Reads the header of the response to a request of this API and version, and leaves the
    /// reader at the body.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes.
    pub fn decode(
        reader: &mut Reader,
        api_key: ApiKey,
        api_version: i16,
    ) -> Result<Self, DecodeError> {
        let correlation_id = i32::from_be_bytes(reader.array()?);
        let unknown_tagged_fields = if Self::has_tagged_fields(api_key, api_version) {
            reader.tagged_fields(|_, _| Ok(false))?
        } else {
            TaggedFields::default()
        };
        Ok(Self { correlation_id, unknown_tagged_fields })
    }

    /// Writes the header of the response to a request of this API and version.
    pub fn encode(&self, writer: &mut Writer, api_key: ApiKey, api_version: i16) {
        writer.put(&self.correlation_id.to_be_bytes());
        if Self::has_tagged_fields(api_key, api_version) {
            writer.put_tagged_fields(Vec::new(), &self.unknown_tagged_fields);
        }
    }

    fn has_tagged_fields(api_key: ApiKey, api_version: i16) -> bool {
        api_key != ApiKey::ApiVersions && is_flexible(api_key, api_version)
    }
}

/// Whether this version of an API is flexible (KIP-482). APIs that are not served have no layout
/// here, and count as not flexible.
fn is_flexible(api_key: ApiKey, api_version: i16) -> bool {
    served(api_key).is_some_and(|api| api_version >= api.flexible_from)
}

/// A whole request as it goes over a connection: length, header, body.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> Vec<Bytes> {
    let mut writer = Writer::framed();
    let header = RequestHeader {
        api_key: R::KEY,
        api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
        unknown_tagged_fields: TaggedFields::default(),
    };
    header.encode(&mut writer);
    request.encode(&mut writer, version);
    writer.into_chunks()
}

/// A whole response as it goes over a connection: length, header, body.
pub fn encode_response<R: Request>(
    response: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Vec<Bytes> {
    let mut writer = Writer::framed();
    ResponseHeader::new(correlation_id).encode(&mut writer, R::KEY, version);
    response.encode(&mut writer, version);
    writer.into_chunks()
}

/// Reads a request's body, from a reader that stands behind the header. Bytes after the body are
/// ignored, as Kafka's brokers ignore them.
///
/// # Errors
/// [`DecodeError::UnsupportedVersion`], and whatever is wrong with the bytes.
pub fn decode_request<R: Request>(reader: &mut Reader, version: i16) -> Result<R, DecodeError> {
    check_version::<R>(version)?;
    R::decode(reader, version)
}

/// Reads a whole response to a request of this version: the frame without its length. Nothing may
/// follow it.
///
/// # Errors
/// [`DecodeError::UnsupportedVersion`], [`DecodeError::Trailing`], and whatever is wrong with the
/// bytes.
pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
) -> Result<(ResponseHeader, R::Response), DecodeError> {
    check_version::<R>(version)?;
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, R::KEY, version)?;
    let response = R::Response::decode(&mut reader, version)?;
    reader.finish()?;
    Ok((header, response))
}

fn check_version<R: Request>(version: i16) -> Result<(), DecodeError> {
    if R::VERSIONS.contains(&version) {
        Ok(())
    } else {
        Err(DecodeError::UnsupportedVersion { api: R::KEY.to_i16(), version })
    }
}
