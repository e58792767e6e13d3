//! Takes the message secrets of a group apart, so that a message writes only what it changed.
//!
//! OpenMLS writes the whole store of message secrets for every message: the ratchets of every
//! sender, and for every past epoch it keeps another set of them and a full roster. In a large
//! group those are megabytes. But a message moves one ratchet; a roster never changes, and neither
//! do the secrets of a past epoch unless a message of that epoch is read. So ratchets are stored in
//! pages under the hash of their bytes, and what cannot have changed is not even serialised: serde
//! shows us the fields by reference before any byte is made of them. The field names are those of
//! OpenMLS 0.9.2; another name is an error, not a guess.

use std::collections::HashMap;

use serde::ser::{self, Impossible, Serialize};
use serde::{Deserialize, Serialize as SerializeRow};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::store::StoreError;

pub type Bytes = Zeroizing<Vec<u8>>;

/// The hash of a page, half of a SHA-256: pages hold secrets, so nobody can aim for a collision.
pub type PageId = [u8; 16];

/// Senders whose ratchets share a page: a page is what a message writes at least, up to 9 kB for
/// each sender of whom as many keys are kept as may be; and every page of the group costs a message
/// 32 bytes more.
const PAGE: usize = 4;
/// The same in vaults written before a sender could have 128 keys kept.
const PAGE_BEFORE: u64 = 8;
/// The id of a page of senders who never sent: there is no row for it.
const SILENT: PageId = [0; 16];

/// CBOR's null: the ratchet of a sender who never sent (RFC 8949, section 3.3).
const CBOR_NULL: u8 = 0xf6;
const CBOR_ARRAY: u8 = 4;
const CBOR_MAP: u8 = 5;

/// Which fields are taken out of which struct.
const TREE: &str = "secret_tree";
const HANDSHAKE: &str = "handshake_sender_ratchets";
const APPLICATION: &str = "application_sender_ratchets";

/// The message secrets of one epoch, without the pages it names.
#[derive(SerializeRow, Deserialize)]
pub struct Head {
    secrets: Pairs,
    tree: Pairs,
    handshake: PageList,
    application: PageList,
}

/// Fields of a struct, encoded one after the other.
#[derive(Default, SerializeRow, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Pairs {
    count: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// A sequence of `len` elements, as the ids of its pages one after the other.
#[derive(Default, SerializeRow, Deserialize)]
struct PageList {
    len: u64,
    #[serde(with = "serde_bytes")]
    ids: Vec<u8>,
}

impl PageList {
    /// Senders to a page of this list.
    fn page(&self) -> u64 {
        let pages = self.ids.as_chunks::<16>().0.len() as u64;
        if pages == self.len.div_ceil(PAGE as u64) {
            PAGE as u64
        } else {
            PAGE_BEFORE
        }
    }

    fn ids(&self) -> impl Iterator<Item = PageId> {
        self.ids
            .as_chunks()
            .0
            .iter()
            .copied()
            .filter(|id| *id != SILENT)
    }
}

impl Head {
    /// The pages this epoch is made of.
    pub fn pages(&self) -> impl Iterator<Item = PageId> {
        self.handshake.ids().chain(self.application.ids())
    }

    /// The bytes a deserialiser of the epoch's secrets expects.
    fn join(&self, pages: &HashMap<PageId, Bytes>, out: &mut Bytes) -> Result<(), StoreError> {
        begin(out, CBOR_MAP, self.secrets.count + 1);
        out.extend_from_slice(&self.secrets.bytes);
        put(out, TREE)?;
        begin(out, CBOR_MAP, self.tree.count + 2);
        out.extend_from_slice(&self.tree.bytes);
        for (name, list) in [
            (HANDSHAKE, &self.handshake),
            (APPLICATION, &self.application),
        ] {
            put(out, name)?;
            begin(out, CBOR_ARRAY, list.len);
            let mut left = list.len;
            for id in list.ids.as_chunks().0 {
                let here = left.min(list.page());
                left -= here;
                if *id == SILENT {
                    out.extend((0..here).map(|_| CBOR_NULL));
                } else {
                    out.extend_from_slice(pages.get(id).ok_or(StoreError::Codec)?);
                }
            }
        }
        Ok(())
    }
}

/// A past epoch, as far as it had to be serialised.
pub struct PastEpoch {
    pub epoch: u64,
    pub head: Option<Head>,
    pub roster: Option<Bytes>,
}

/// What of a past epoch is wanted.
#[derive(Clone, Copy, PartialEq)]
pub enum Want {
    Nothing,
    Secrets,
    Everything,
}

/// The message secrets of a group, apart. Pages may be ones that were there before.
pub struct Parts {
    pub max_epochs: u64,
    pub past: Vec<PastEpoch>,
    pub current: Head,
    pub pages: HashMap<PageId, Bytes>,
}

/// Serialises the current epoch, and of past epochs what `want` asks for.
pub fn split<S: Serialize>(store: &S, want: impl Fn(u64) -> Want) -> Result<Parts, StoreError> {
    let mut pages = HashMap::new();
    let mut fields = StoreFields {
        want,
        pages: &mut pages,
        max_epochs: None,
        past: Vec::new(),
        current: None,
    };
    store.serialize(Apart(&mut fields))?;
    let (max_epochs, past, current) = (fields.max_epochs, fields.past, fields.current);
    match (max_epochs, current) {
        (Some(max_epochs), Some(current)) => Ok(Parts {
            max_epochs,
            past,
            current,
            pages,
        }),
        _ => Err(StoreError::Codec),
    }
}

/// The bytes `split` took apart: what a deserialiser of the store expects.
pub fn join(
    max_epochs: u64,
    past: &[(u64, Head, Bytes)],
    current: &Head,
    pages: &HashMap<PageId, Bytes>,
) -> Result<Bytes, StoreError> {
    let mut out = Zeroizing::new(Vec::new());
    begin(&mut out, CBOR_MAP, 3);
    put(&mut out, "max_epochs")?;
    put(&mut out, &max_epochs)?;
    put(&mut out, "past_epoch_trees")?;
    begin(&mut out, CBOR_ARRAY, past.len() as u64);
    for (epoch, head, roster) in past {
        begin(&mut out, CBOR_MAP, 3);
        put(&mut out, "epoch")?;
        put(&mut out, epoch)?;
        put(&mut out, "message_secrets")?;
        head.join(pages, &mut out)?;
        put(&mut out, "leaves")?;
        out.extend_from_slice(roster);
    }
    put(&mut out, "message_secrets")?;
    current.join(pages, &mut out)?;
    Ok(out)
}

/// Begins a CBOR array or map (RFC 8949, section 3: the long form is right for short ones too).
fn begin(out: &mut Bytes, major: u8, len: u64) {
    out.push(major << 5 | 27);
    out.extend_from_slice(&len.to_be_bytes());
}

fn put<T: Serialize + ?Sized>(out: &mut Bytes, value: &T) -> Result<(), StoreError> {
    ciborium::into_writer(value, &mut **out).map_err(|_| StoreError::Codec)
}

pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, StoreError> {
    let mut out = Zeroizing::new(Vec::new());
    put(&mut out, value)?;
    Ok(out)
}

fn number<T: Serialize + ?Sized>(value: &T) -> Result<u64, StoreError> {
    ciborium::from_reader(encode(value)?.as_slice()).map_err(|_| StoreError::Codec)
}

impl Pairs {
    fn push<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        self.count += 1;
        self.bytes.extend_from_slice(&encode(name)?);
        self.bytes.extend_from_slice(&encode(value)?);
        Ok(())
    }
}

/// Sees the fields of a struct, or the elements of a sequence (under the name "").
trait Visit {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError>;
}

struct StoreFields<'a, W> {
    want: W,
    pages: &'a mut HashMap<PageId, Bytes>,
    max_epochs: Option<u64>,
    past: Vec<PastEpoch>,
    current: Option<Head>,
}

impl<W: Fn(u64) -> Want> Visit for StoreFields<'_, W> {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        match name {
            "max_epochs" => self.max_epochs = Some(number(value)?),
            "past_epoch_trees" => value.serialize(Apart(&mut PastEpochs {
                want: &self.want,
                pages: self.pages,
                past: &mut self.past,
            }))?,
            "message_secrets" => self.current = Some(head_of(value, self.pages)?),
            _ => return Err(StoreError::Codec),
        }
        Ok(())
    }
}

struct PastEpochs<'a, W> {
    want: &'a W,
    pages: &'a mut HashMap<PageId, Bytes>,
    past: &'a mut Vec<PastEpoch>,
}

impl<W: Fn(u64) -> Want> Visit for PastEpochs<'_, W> {
    fn visit<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<(), StoreError> {
        let mut fields = EpochFields {
            want: self.want,
            pages: self.pages,
            epoch: None,
            head: None,
            roster: None,
        };
        value.serialize(Apart(&mut fields))?;
        let (epoch, head, roster) = (fields.epoch, fields.head, fields.roster);
        self.past.push(PastEpoch {
            epoch: epoch.ok_or(StoreError::Codec)?,
            head,
            roster,
        });
        Ok(())
    }
}

struct EpochFields<'a, W> {
    want: &'a W,
    pages: &'a mut HashMap<PageId, Bytes>,
    epoch: Option<u64>,
    head: Option<Head>,
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
            "message_secrets" if want != Want::Nothing => {
                self.head = Some(head_of(value, self.pages)?);
            }
            "leaves" if want == Want::Everything => self.roster = Some(encode(value)?),
            "message_secrets" | "leaves" => {}
            _ => return Err(StoreError::Codec),
        }
        Ok(())
    }
}

fn head_of<T: Serialize + ?Sized>(
    secrets: &T,
    pages: &mut HashMap<PageId, Bytes>,
) -> Result<Head, StoreError> {
    let mut fields = SecretFields {
        secrets: Pairs::default(),
        tree: TreeFields::new(pages),
    };
    secrets.serialize(Apart(&mut fields))?;
    let SecretFields { secrets, tree } = fields;
    match (tree.handshake, tree.application) {
        (Some(handshake), Some(application)) => Ok(Head {
            secrets,
            tree: tree.rest,
            handshake,
            application,
        }),
        _ => Err(StoreError::Codec),
    }
}

struct SecretFields<'a> {
    secrets: Pairs,
    tree: TreeFields<'a>,
}

impl Visit for SecretFields<'_> {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        match name {
            TREE => value.serialize(Apart(&mut self.tree)),
            _ => self.secrets.push(name, value),
        }
    }
}

struct TreeFields<'a> {
    pages: &'a mut HashMap<PageId, Bytes>,
    rest: Pairs,
    handshake: Option<PageList>,
    application: Option<PageList>,
}

impl<'a> TreeFields<'a> {
    fn new(pages: &'a mut HashMap<PageId, Bytes>) -> Self {
        Self {
            pages,
            rest: Pairs::default(),
            handshake: None,
            application: None,
        }
    }
}

impl Visit for TreeFields<'_> {
    fn visit<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), StoreError> {
        let list = match name {
            HANDSHAKE => &mut self.handshake,
            APPLICATION => &mut self.application,
            _ => return self.rest.push(name, value),
        };
        let mut pager = Pager {
            pages: self.pages,
            list: PageList::default(),
            page: Bytes::default(),
        };
        value.serialize(Apart(&mut pager))?;
        pager.turn();
        *list = Some(pager.list);
        Ok(())
    }
}

/// Puts the elements of a sequence into pages.
struct Pager<'a> {
    pages: &'a mut HashMap<PageId, Bytes>,
    list: PageList,
    page: Bytes,
}

impl Pager<'_> {
    fn turn(&mut self) {
        if self.page.is_empty() {
            return;
        }
        let page = std::mem::take(&mut self.page);
        let mut id = SILENT;
        if page.iter().any(|byte| *byte != CBOR_NULL) {
            for (to, from) in id.iter_mut().zip(Sha256::digest(&page)) {
                *to = from;
            }
            self.pages.insert(id, page);
        }
        self.list.ids.extend_from_slice(&id);
    }
}

impl Visit for Pager<'_> {
    fn visit<T: Serialize + ?Sized>(&mut self, _: &str, value: &T) -> Result<(), StoreError> {
        put(&mut self.page, value)?;
        self.list.len += 1;
        if self.list.len.is_multiple_of(PAGE as u64) {
            self.turn();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_pages_of_either_size_stand_for_as_many_senders_as_they_did() {
        for size in [PAGE as u64, PAGE_BEFORE] {
            for len in 1..40_u64 {
                let pages = usize::try_from(len.div_ceil(size)).unwrap_or_default();
                let head = Head {
                    secrets: Pairs::default(),
                    tree: Pairs::default(),
                    handshake: PageList {
                        len,
                        ids: SILENT.repeat(pages),
                    },
                    application: PageList::default(),
                };
                let mut out = Bytes::default();
                assert!(head.join(&HashMap::new(), &mut out).is_ok());
                let nulls = out.iter().filter(|byte| **byte == CBOR_NULL).count();
                assert_eq!(nulls as u64, len);
            }
        }
    }
}
