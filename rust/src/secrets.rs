//! Takes the message secrets of a group apart, so that a message writes only what it changed.
//!
//! OpenMLS writes the whole store of message secrets for every message, with the secrets and the
//! full roster of every past epoch it keeps: megabytes for a large group. A roster never changes,
//! and the secrets of a past epoch change only when a message of that epoch is read. Serde shows
//! us the fields by reference before any byte is made of them, so what does not change is not even
//! serialised. The field names are those of OpenMLS 0.9.2; another name is an error, not a guess.

use serde::ser::{self, Impossible, Serialize};
use zeroize::Zeroizing;

use crate::store::StoreError;

pub type Bytes = Zeroizing<Vec<u8>>;

/// CBOR map and array headers hold lengths up to 23 in their first byte (RFC 8949, section 3).
const CBOR_ARRAY: u8 = 0x80;
const CBOR_MAP: u8 = 0xa0;
const CBOR_SHORT: usize = 23;

/// A past epoch, as far as it had to be serialised.
pub struct PastEpoch {
    pub epoch: u64,
    pub secrets: Option<Bytes>,
    pub roster: Option<Bytes>,
}

/// What of a past epoch is wanted.
#[derive(Clone, Copy, PartialEq)]
pub enum Want {
    Nothing,
    Secrets,
    Everything,
}

/// The message secrets of a group, apart.
pub struct Parts {
    pub max_epochs: u64,
    pub past: Vec<PastEpoch>,
    pub current: Bytes,
}

/// Serialises the parts of `store` that `want` asks for, epoch by epoch.
pub fn split<S: Serialize>(store: &S, want: impl Fn(u64) -> Want) -> Result<Parts, StoreError> {
    let mut visitor = StoreFields {
        want,
        max_epochs: None,
        past: Vec::new(),
        current: None,
    };
    store.serialize(Apart(&mut visitor))?;
    match (visitor.max_epochs, visitor.current) {
        (Some(max_epochs), Some(current)) => Ok(Parts {
            max_epochs,
            past: visitor.past,
            current,
        }),
        _ => Err(StoreError::Codec),
    }
}

/// The bytes `split` would have made of the whole: what a deserialiser of the store expects.
pub fn join(
    max_epochs: u64,
    past: &[(u64, Bytes, Bytes)],
    current: &[u8],
) -> Result<Bytes, StoreError> {
    if past.len() > CBOR_SHORT {
        return Err(StoreError::Codec);
    }
    let size = past
        .iter()
        .map(|(_, secrets, roster)| secrets.len() + roster.len() + 64)
        .sum::<usize>();
    // With room for everything the buffer never moves, and leaves no copy of a secret behind.
    let mut out = Zeroizing::new(Vec::with_capacity(size + current.len() + 128));
    out.push(CBOR_MAP | 3);
    put(&mut out, "max_epochs")?;
    put(&mut out, &max_epochs)?;
    put(&mut out, "past_epoch_trees")?;
    #[allow(clippy::cast_possible_truncation, reason = "at most CBOR_SHORT")]
    out.push(CBOR_ARRAY | past.len() as u8);
    for (epoch, secrets, roster) in past {
        out.push(CBOR_MAP | 3);
        put(&mut out, "epoch")?;
        put(&mut out, epoch)?;
        put(&mut out, "message_secrets")?;
        out.extend_from_slice(secrets);
        put(&mut out, "leaves")?;
        out.extend_from_slice(roster);
    }
    put(&mut out, "message_secrets")?;
    out.extend_from_slice(current);
    Ok(out)
}

fn put<T: Serialize + ?Sized>(out: &mut Bytes, value: &T) -> Result<(), StoreError> {
    ciborium::into_writer(value, &mut **out).map_err(|_| StoreError::Codec)
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, StoreError> {
    let mut out = Zeroizing::new(Vec::new());
    put(&mut out, value)?;
    Ok(out)
}

fn number<T: Serialize + ?Sized>(value: &T) -> Result<u64, StoreError> {
    ciborium::from_reader(encode(value)?.as_slice()).map_err(|_| StoreError::Codec)
}

/// Sees the fields of a struct, or the elements of a sequence (under the name "").
trait Visit {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError>;
}

struct StoreFields<W> {
    want: W,
    max_epochs: Option<u64>,
    past: Vec<PastEpoch>,
    current: Option<Bytes>,
}

impl<W: Fn(u64) -> Want> Visit for StoreFields<W> {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        match name {
            "max_epochs" => self.max_epochs = Some(number(value)?),
            "past_epoch_trees" => {
                value.serialize(Apart(&mut PastEpochs {
                    want: &self.want,
                    past: &mut self.past,
                }))?;
            }
            "message_secrets" => self.current = Some(encode(value)?),
            _ => return Err(StoreError::Codec),
        }
        Ok(())
    }
}

struct PastEpochs<'a, W> {
    want: &'a W,
    past: &'a mut Vec<PastEpoch>,
}

impl<W: Fn(u64) -> Want> Visit for PastEpochs<'_, W> {
    fn visit<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<(), StoreError> {
        let mut fields = EpochFields {
            want: self.want,
            epoch: None,
            secrets: None,
            roster: None,
        };
        value.serialize(Apart(&mut fields))?;
        let (secrets, roster) = (fields.secrets, fields.roster);
        let epoch = fields.epoch.ok_or(StoreError::Codec)?;
        self.past.push(PastEpoch {
            epoch,
            secrets,
            roster,
        });
        Ok(())
    }
}

struct EpochFields<'a, W> {
    want: &'a W,
    epoch: Option<u64>,
    secrets: Option<Bytes>,
    roster: Option<Bytes>,
}

impl<W: Fn(u64) -> Want> Visit for EpochFields<'_, W> {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        if name == "epoch" {
            self.epoch = Some(number(value)?);
            return Ok(());
        }
        // `epoch` is the first field, and has to be: it says what is wanted of the others.
        let want = (self.want)(self.epoch.ok_or(StoreError::Codec)?);
        match name {
            "message_secrets" if want != Want::Nothing => self.secrets = Some(encode(value)?),
            "leaves" if want == Want::Everything => self.roster = Some(encode(value)?),
            "message_secrets" | "leaves" => {}
            _ => return Err(StoreError::Codec),
        }
        Ok(())
    }
}

/// A serialiser that hands fields and elements to a visitor and knows nothing else.
struct Apart<'a, V>(&'a mut V);

macro_rules! refuse_scalars {
    ($($method:ident: $type:ty,)+) => {
        $(fn $method(self, _: $type) -> Result<(), StoreError> {
            Err(StoreError::Codec)
        })+
    };
}

impl<'a, V: Visit> ser::Serializer for Apart<'a, V> {
    type Ok = ();
    type Error = StoreError;
    type SerializeSeq = Apart<'a, V>;
    type SerializeStruct = Apart<'a, V>;
    type SerializeTuple = Impossible<(), StoreError>;
    type SerializeTupleStruct = Impossible<(), StoreError>;
    type SerializeTupleVariant = Impossible<(), StoreError>;
    type SerializeMap = Impossible<(), StoreError>;
    type SerializeStructVariant = Impossible<(), StoreError>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, StoreError> {
        Ok(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, StoreError> {
        Ok(self)
    }

    refuse_scalars! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_unit(self) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, StoreError> {
        Err(StoreError::Codec)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, StoreError> {
        Err(StoreError::Codec)
    }
}

impl<V: Visit> ser::SerializeStruct for Apart<'_, V> {
    type Ok = ();
    type Error = StoreError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        self.0.visit(name, value)
    }

    fn end(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<V: Visit> ser::SerializeSeq for Apart<'_, V> {
    type Ok = ();
    type Error = StoreError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), StoreError> {
        self.0.visit("", value)
    }

    fn end(self) -> Result<(), StoreError> {
        Ok(())
    }
}
