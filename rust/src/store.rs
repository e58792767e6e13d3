//! The storage provider: reads through to Python, remembers writes until Python has stored them.
//!
//! OpenMLS has no transactions, so this has three layers over the durable rows. `call` holds what
//! the running call wrote; it is dropped if the call is refused. `fresh` holds what finished calls
//! wrote; `take_delta` moves it to `taken`, where it stays readable until Python says that its
//! transaction was committed. Values are secrets: they are wiped when dropped and never printed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};

use openmls::prelude::Member;
use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::chunks::{self, ChunkId};
use crate::secrets::{self, Bytes, Head, PageId, Want};

/// A row by its key: its new value, or None where it was deleted.
pub type Layer = BTreeMap<Vec<u8>, Option<Bytes>>;

/// Why a row could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("a row does not decode")]
    Codec,
    #[error("the fetch callback raised")]
    Fetch,
    #[error("proposals standing alone and pre-shared keys are not used")]
    Unused,
}

/// What OpenMLS hides of a `StoreError`, and Python has to know.
pub enum Trouble {
    Raised(PyErr),
    Damaged,
}

impl serde::ser::Error for StoreError {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Codec
    }
}

type Done<T = ()> = Result<T, StoreError>;

/// The kind of a row: the first part of its key.
mod kind {
    pub const CONFIRMATION_TAG: &str = "confirmation-tag";
    pub const CONTEXT: &str = "context";
    pub const EPOCH_KEYS: &str = "epoch-keys";
    pub const EPOCH_SECRETS: &str = "epoch-secrets";
    pub const INTERIM_HASH: &str = "interim-hash";
    pub const JOIN_CONFIG: &str = "join-config";
    pub const KEY_PACKAGE: &str = "key-package";
    pub const MESSAGE_SECRETS: &str = "message-secrets";
    pub const OWN_LEAF: &str = "own-leaf";
    pub const PAST_ROSTER: &str = "past-roster";
    pub const PAST_SECRETS: &str = "past-secrets";
    pub const PENDING: &str = "pending";
    pub const RATCHETS: &str = "ratchets";
    pub const REJOIN: &str = "rejoin";
    pub const REJOINED: &str = "rejoined";
    pub const ROSTER_CHUNK: &str = "roster-chunk";
    pub const RESUMPTION: &str = "resumption";
    pub const SIGNER: &str = "signer";
    pub const STATE: &str = "state";
    pub const TREE: &str = "tree";
    pub const TREE_CHUNK: &str = "tree-chunk";
}

/// The row of a group's message secrets: its current epoch, and which past ones have rows.
#[derive(Serialize, serde::Deserialize)]
struct Secrets {
    max_epochs: u64,
    past: Vec<u64>,
    current: Head,
}

/// An external Commit of our own (RFC 9420, section 12.4.3.2) that waits for its fate.
///
/// The rows of the group it begins rest aside, under other keys, until it has won. So the state
/// before it, if there is one, is neither touched nor mixed with it.
#[derive(Serialize, serde::Deserialize)]
pub struct Rejoin {
    #[serde(with = "serde_bytes")]
    pub sha256: Vec<u8>,
    /// The epoch it ends.
    pub epoch: u64,
    /// The old leaf of this client, by its index before the Commit.
    pub removed: u32,
    /// The keys of the rows that rest aside.
    rows: Vec<serde_bytes::ByteBuf>,
}

/// Which rows the message secrets of a group have: pages by epoch, the current one last.
#[derive(Default, Clone)]
struct Pages {
    past: BTreeMap<u64, Vec<PageId>>,
    current: Vec<PageId>,
}

impl Pages {
    fn all(&self) -> HashSet<PageId> {
        self.past
            .values()
            .flatten()
            .chain(&self.current)
            .copied()
            .collect()
    }
}

pub struct Store {
    fetch: Py<PyAny>,
    call: RefCell<Layer>,
    fresh: RefCell<Layer>,
    taken: RefCell<Layer>,
    /// Read before every write of message secrets, so kept, by the key of their row.
    pages: RefCell<HashMap<Vec<u8>, Pages>>,
    /// The past epoch whose message is being read: the only one whose secrets may change.
    reading: Cell<Option<u64>>,
    touched: Cell<bool>,
    trouble: RefCell<Option<Trouble>>,
}

impl Store {
    pub fn new(fetch: Py<PyAny>) -> Self {
        Self {
            fetch,
            call: RefCell::default(),
            fresh: RefCell::default(),
            taken: RefCell::default(),
            pages: RefCell::default(),
            reading: Cell::new(None),
            touched: Cell::new(false),
            trouble: RefCell::new(None),
        }
    }

    /// Forgets whatever an earlier call left behind.
    pub fn begin(&self) {
        self.call.borrow_mut().clear();
        self.reading.set(None);
        self.touched.set(false);
        self.trouble.take();
    }

    /// Keeps what the call wrote.
    pub fn keep(&self) {
        self.fresh.borrow_mut().append(&mut self.call.borrow_mut());
    }

    /// Drops what the call wrote.
    pub fn undo(&self) {
        self.call.borrow_mut().clear();
        if self.touched.get() {
            self.pages.borrow_mut().clear();
        }
    }

    /// Why rows could not be read in this call, if they could not.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// Whether this call tried to write or could not read: memory may be ahead of the rows.
    pub fn touched(&self) -> bool {
        self.touched.get()
    }

    /// Says that a message of the past epoch `epoch` is being read.
    pub fn reading(&self, epoch: u64) {
        self.reading.set(Some(epoch));
    }

    /// Everything not yet committed.
    pub fn delta(&self) -> Layer {
        let mut taken = self.taken.borrow_mut();
        taken.append(&mut self.fresh.borrow_mut());
        taken.clone()
    }

    pub fn committed(&self) {
        self.taken.borrow_mut().clear();
    }

    pub fn abort(&self) {
        self.call.borrow_mut().clear();
        self.pages.borrow_mut().clear();
        self.fresh.borrow_mut().clear();
        self.taken.borrow_mut().clear();
    }

    /// The SHA-256 of the own Commit that waits for its fate.
    pub fn pending(&self, gid: &[u8]) -> Done<Option<Vec<u8>>> {
        match self.rejoin(gid)? {
            Some(rejoin) => Ok(Some(rejoin.sha256)),
            None => self.read(&key(kind::PENDING, gid)?),
        }
    }

    pub fn set_pending(&self, gid: &[u8], sha256: Option<&[u8]>) -> Done {
        let key = key(kind::PENDING, gid)?;
        match sha256 {
            Some(sha256) => self.write(key, sha256),
            None => self.delete(key),
        }
    }

    /// The own external Commit that waits for its fate.
    pub fn rejoin(&self, gid: &[u8]) -> Done<Option<Rejoin>> {
        self.read(&key(kind::REJOIN, gid)?)
    }

    /// Puts aside all rows this call has written: the group that the external Commit begins.
    pub fn put_aside(&self, gid: &[u8], sha256: &[u8], epoch: u64, removed: u32) -> Done {
        let written = self.call.take();
        self.pages.borrow_mut().clear(); // They were of the rows that are no longer there.
        let mut rows = Vec::with_capacity(written.len());
        for (row, value) in written {
            if value.is_some() {
                self.put(aside(gid, &row)?, value);
                rows.push(serde_bytes::ByteBuf::from(row));
            }
        }
        let rejoin = Rejoin {
            sha256: sha256.to_vec(),
            epoch,
            removed,
            rows,
        };
        self.write(key(kind::REJOIN, gid)?, &rejoin)
    }

    /// Puts the rows that rest aside where the group is looked for.
    pub fn take_up(&self, gid: &[u8], rejoin: &Rejoin) -> Done {
        for row in &rejoin.rows {
            let value = self.must(self.row(&aside(gid, row)?)?)?;
            self.put(row.to_vec(), Some(value));
        }
        self.pages.borrow_mut().clear();
        self.forget_rejoin(gid, rejoin)
    }

    pub fn forget_rejoin(&self, gid: &[u8], rejoin: &Rejoin) -> Done {
        for row in &rejoin.rows {
            self.delete(aside(gid, row)?)?;
        }
        self.delete(key(kind::REJOIN, gid)?)
    }

    /// The members of the group in the past epoch `epoch`, if that epoch is kept.
    pub fn past_roster<G: Serialize>(&self, gid: &G, epoch: u64) -> Done<Option<Vec<Member>>> {
        let row = key(kind::PAST_ROSTER, &(gid, epoch))?;
        let Some(bytes) = self.long_row(kind::ROSTER_CHUNK, gid, &row)? else {
            return Ok(None);
        };
        self.decode(&bytes).map(Some)
    }

    fn write<V: Serialize + ?Sized>(&self, key: Vec<u8>, value: &V) -> Done {
        self.touched.set(true);
        let mut bytes = Zeroizing::new(Vec::new());
        ciborium::into_writer(value, &mut *bytes).map_err(|_| StoreError::Codec)?;
        self.put(key, Some(bytes));
        Ok(())
    }

    fn delete(&self, key: Vec<u8>) -> Done {
        self.touched.set(true);
        self.put(key, None);
        Ok(())
    }

    fn put(&self, key: Vec<u8>, value: Option<Bytes>) {
        self.call.borrow_mut().insert(key, value);
    }

    fn read<V: DeserializeOwned>(&self, key: &[u8]) -> Done<Option<V>> {
        let Some(bytes) = self.row(key)? else {
            return Ok(None);
        };
        self.decode(&bytes).map(Some)
    }

    fn decode<V: DeserializeOwned>(&self, bytes: &[u8]) -> Done<V> {
        ciborium::from_reader(bytes).map_err(|_| self.damaged())
    }

    fn row(&self, key: &[u8]) -> Done<Option<Bytes>> {
        for layer in [&self.call, &self.fresh, &self.taken] {
            if let Some(value) = layer.borrow().get(key) {
                return Ok(value.clone());
            }
        }
        Python::attach(|py| {
            let row = self.fetch.call1(py, (PyBytes::new(py, key),))?;
            let row = row.extract::<Option<Bound<'_, PyBytes>>>(py)?;
            Ok(row.map(|row| Zeroizing::new(row.as_bytes().to_vec())))
        })
        .map_err(|error: PyErr| {
            self.touched.set(true);
            self.trouble.replace(Some(Trouble::Raised(error)));
            StoreError::Fetch
        })
    }

    /// The rows the message secrets of a group have; none before they are first written.
    fn pages<G: Serialize>(&self, gid: &G) -> Done<Pages> {
        let key = key(kind::MESSAGE_SECRETS, gid)?;
        if let Some(pages) = self.pages.borrow().get(&key) {
            return Ok(pages.clone());
        }
        let mut pages = Pages::default();
        if let Some(secrets) = self.read::<Secrets>(&key)? {
            pages.current = secrets.current.pages().collect();
            for epoch in secrets.past {
                let head = self.past_head(gid, epoch)?;
                pages.past.insert(epoch, head.pages().collect());
            }
        }
        self.pages.borrow_mut().insert(key, pages.clone());
        Ok(pages)
    }

    fn past_head<G: Serialize>(&self, gid: &G, epoch: u64) -> Done<Head> {
        self.must(self.read(&key(kind::PAST_SECRETS, &(gid, epoch))?)?)
    }

    /// A row that another row says is there.
    fn must<T>(&self, row: Option<T>) -> Done<T> {
        row.ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> StoreError {
        self.touched.set(true);
        self.trouble.replace(Some(Trouble::Damaged));
        StoreError::Codec
    }

    fn delete_past_epoch<G: Serialize>(&self, gid: &G, epoch: u64) -> Done {
        self.delete(key(kind::PAST_SECRETS, &(gid, epoch))?)?;
        self.delete(key(kind::PAST_ROSTER, &(gid, epoch))?)
    }

    /// Writes a row, in chunks if it is long, but for those in `there`; which chunks it has.
    fn put_long<G: Serialize>(
        &self,
        kind: &str,
        gid: &G,
        row: Vec<u8>,
        value: Bytes,
        there: &HashSet<ChunkId>,
    ) -> Done<HashSet<ChunkId>> {
        let chunks = chunks::cut(&value);
        let ids: Vec<ChunkId> = chunks.iter().map(|(id, _)| *id).collect();
        for (id, chunk) in chunks {
            if !there.contains(&id) {
                self.put(chunk_key(kind, gid, &id)?, Some(chunk.to_vec().into()));
            }
        }
        if ids.is_empty() {
            self.put(row, Some(value));
        } else {
            self.write(row, &chunks::list(&ids))?;
        }
        Ok(ids.into_iter().collect())
    }

    /// A row that `put_long` wrote.
    fn long_row<G: Serialize>(&self, kind: &str, gid: &G, row: &[u8]) -> Done<Option<Bytes>> {
        let Some(value) = self.row(row)? else {
            return Ok(None);
        };
        let Some(ids) = chunks::listed(&value) else {
            return Ok(Some(value));
        };
        let mut whole = Bytes::default();
        for id in ids {
            let chunk = self.must(self.row(&chunk_key(kind, gid, &id)?)?)?;
            if !chunks::is_whole(&chunk, &id) {
                return Err(self.damaged());
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// The chunks of a row that `put_long` wrote; none if it is whole or not there.
    fn chunks_of(&self, row: &[u8]) -> Done<HashSet<ChunkId>> {
        let ids = self.row(row)?.and_then(|value| chunks::listed(&value));
        Ok(ids.unwrap_or_default().into_iter().collect())
    }

    fn chunks_of_rosters<'a, G: Serialize>(
        &self,
        gid: &G,
        epochs: impl Iterator<Item = &'a u64>,
    ) -> Done<HashSet<ChunkId>> {
        let mut ids = HashSet::new();
        for epoch in epochs {
            ids.extend(self.chunks_of(&key(kind::PAST_ROSTER, &(gid, epoch))?)?);
        }
        Ok(ids)
    }

    fn delete_chunks<'a, G: Serialize>(
        &self,
        kind: &str,
        gid: &G,
        ids: impl Iterator<Item = &'a ChunkId>,
    ) -> Done {
        for id in ids {
            self.delete(chunk_key(kind, gid, id)?)?;
        }
        Ok(())
    }

    fn delete_pages<G: Serialize>(&self, gid: &G, ids: impl Iterator<Item = PageId>) -> Done {
        for id in ids {
            self.delete(page_key(gid, id)?)?;
        }
        Ok(())
    }
}

fn chunk_key<G: Serialize>(kind: &str, gid: &G, id: &ChunkId) -> Done<Vec<u8>> {
    key(kind, &(gid, serde_bytes::Bytes::new(id)))
}

fn page_key<G: Serialize>(gid: &G, id: PageId) -> Done<Vec<u8>> {
    key(kind::RATCHETS, &(gid, id))
}

/// The key of a row while it rests aside.
fn aside(gid: &[u8], row: &[u8]) -> Done<Vec<u8>> {
    key(kind::REJOINED, &(gid, serde_bytes::Bytes::new(row)))
}

fn key<K: Serialize + ?Sized>(kind: &str, key: &K) -> Done<Vec<u8>> {
    let mut bytes = Vec::from(kind);
    bytes.push(b'/');
    ciborium::into_writer(key, &mut bytes).map_err(|_| StoreError::Codec)?;
    Ok(bytes)
}

/// The rows that are written, read and deleted whole, one for each group.
macro_rules! group_rows {
    ($($kind:ident: $value:ident, $write:ident, $read:ident, $delete:ident;)+) => {$(
        fn $write<GroupId: traits::GroupId<CURRENT_VERSION>, $value: traits::$value<CURRENT_VERSION>>(
            &self,
            gid: &GroupId,
            value: &$value,
        ) -> Done {
            self.write(key(kind::$kind, gid)?, value)
        }

        fn $read<GroupId: traits::GroupId<CURRENT_VERSION>, $value: traits::$value<CURRENT_VERSION>>(
            &self,
            gid: &GroupId,
        ) -> Done<Option<$value>> {
            self.read(&key(kind::$kind, gid)?)
        }

        fn $delete<GroupId: traits::GroupId<CURRENT_VERSION>>(&self, gid: &GroupId) -> Done {
            self.delete(key(kind::$kind, gid)?)
        }
    )+};
}

impl StorageProvider<CURRENT_VERSION> for Store {
    type Error = StoreError;

    group_rows! {
        CONFIRMATION_TAG: ConfirmationTag, write_confirmation_tag, confirmation_tag, delete_confirmation_tag;
        CONTEXT: GroupContext, write_context, group_context, delete_context;
        EPOCH_SECRETS: GroupEpochSecrets, write_group_epoch_secrets, group_epoch_secrets, delete_group_epoch_secrets;
        INTERIM_HASH: InterimTranscriptHash, write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash;
        JOIN_CONFIG: MlsGroupJoinConfig, write_mls_join_config, mls_group_join_config, delete_group_config;
        OWN_LEAF: LeafNodeIndex, write_own_leaf_index, own_leaf_index, delete_own_leaf_index;
        RESUMPTION: ResumptionPskStore, write_resumption_psk_store, resumption_psk_store, delete_all_resumption_psk_secrets;
    }

    fn write_tree<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        TreeSync: traits::TreeSync<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        tree: &TreeSync,
    ) -> Done {
        self.touched.set(true);
        let row = key(kind::TREE, gid)?;
        let had = self.chunks_of(&row)?;
        let tree = secrets::encode(tree)?;
        let has = self.put_long(kind::TREE_CHUNK, gid, row, tree, &had)?;
        self.delete_chunks(kind::TREE_CHUNK, gid, had.difference(&has))
    }

    fn tree<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        TreeSync: traits::TreeSync<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
    ) -> Done<Option<TreeSync>> {
        let row = key(kind::TREE, gid)?;
        let Some(tree) = self.long_row(kind::TREE_CHUNK, gid, &row)? else {
            return Ok(None);
        };
        self.decode(&tree).map(Some)
    }

    fn delete_tree<GroupId: traits::GroupId<CURRENT_VERSION>>(&self, gid: &GroupId) -> Done {
        let row = key(kind::TREE, gid)?;
        let had = self.chunks_of(&row)?;
        self.delete_chunks(kind::TREE_CHUNK, gid, had.iter())?;
        self.delete(row)
    }

    // The state's two methods name their types in the other order.

    fn write_group_state<
        GroupState: traits::GroupState<CURRENT_VERSION>,
        GroupId: traits::GroupId<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        state: &GroupState,
    ) -> Done {
        self.write(key(kind::STATE, gid)?, state)
    }

    fn group_state<
        GroupState: traits::GroupState<CURRENT_VERSION>,
        GroupId: traits::GroupId<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
    ) -> Done<Option<GroupState>> {
        self.read(&key(kind::STATE, gid)?)
    }

    fn delete_group_state<GroupId: traits::GroupId<CURRENT_VERSION>>(&self, gid: &GroupId) -> Done {
        self.delete(key(kind::STATE, gid)?)
    }

    fn write_message_secrets<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        MessageSecrets: traits::MessageSecrets<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        value: &MessageSecrets,
    ) -> Done {
        self.touched.set(true);
        let before = self.pages(gid)?;
        let parts = secrets::split(value, |epoch| {
            if !before.past.contains_key(&epoch) {
                Want::Everything
            } else if self.reading.get() == Some(epoch) {
                Want::Secrets
            } else {
                Want::Nothing
            }
        })?;
        // A message changes no roster, so there is nothing to compare then.
        let moved = !parts
            .past
            .iter()
            .map(|past| &past.epoch)
            .eq(before.past.keys());
        let rosters = if moved {
            self.chunks_of_rosters(gid, before.past.keys())?
        } else {
            HashSet::new()
        };
        let mut after = Pages {
            current: parts.current.pages().collect(),
            ..Pages::default()
        };
        for past in parts.past {
            let epoch = past.epoch;
            let pages = match past.head {
                Some(head) => {
                    self.write(key(kind::PAST_SECRETS, &(gid, epoch))?, &head)?;
                    head.pages().collect()
                }
                None => before.past.get(&epoch).cloned().unwrap_or_default(),
            };
            after.past.insert(epoch, pages);
            if let Some(roster) = past.roster {
                let row = key(kind::PAST_ROSTER, &(gid, epoch))?;
                self.put_long(kind::ROSTER_CHUNK, gid, row, roster, &rosters)?;
            }
        }
        for epoch in before
            .past
            .keys()
            .filter(|epoch| !after.past.contains_key(epoch))
        {
            self.delete_past_epoch(gid, *epoch)?;
        }
        if moved {
            let left = self.chunks_of_rosters(gid, after.past.keys())?;
            self.delete_chunks(kind::ROSTER_CHUNK, gid, rosters.difference(&left))?;
        }
        let (had, has) = (before.all(), after.all());
        for (id, page) in parts.pages {
            if !had.contains(&id) {
                self.put(page_key(gid, id)?, Some(page));
            }
        }
        self.delete_pages(gid, had.difference(&has).copied())?;
        let row = key(kind::MESSAGE_SECRETS, gid)?;
        let past = after.past.keys().copied().collect();
        self.write(
            row.clone(),
            &Secrets {
                max_epochs: parts.max_epochs,
                past,
                current: parts.current,
            },
        )?;
        self.pages.borrow_mut().insert(row, after);
        Ok(())
    }

    fn message_secrets<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        MessageSecrets: traits::MessageSecrets<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
    ) -> Done<Option<MessageSecrets>> {
        let Some(secrets) = self.read::<Secrets>(&key(kind::MESSAGE_SECRETS, gid)?)? else {
            return Ok(None);
        };
        let mut past = Vec::with_capacity(secrets.past.len());
        for epoch in secrets.past {
            let roster = key(kind::PAST_ROSTER, &(gid, epoch))?;
            let roster = self.must(self.long_row(kind::ROSTER_CHUNK, gid, &roster)?)?;
            past.push((epoch, self.past_head(gid, epoch)?, roster));
        }
        let mut pages = HashMap::new();
        for id in past
            .iter()
            .flat_map(|(_, head, _)| head.pages())
            .chain(secrets.current.pages())
        {
            pages.insert(id, self.must(self.row(&page_key(gid, id)?)?)?);
        }
        self.decode(&secrets::join(
            secrets.max_epochs,
            &past,
            &secrets.current,
            &pages,
        )?)
        .map(Some)
    }

    fn delete_message_secrets<GroupId: traits::GroupId<CURRENT_VERSION>>(
        &self,
        gid: &GroupId,
    ) -> Done {
        let pages = self.pages(gid)?;
        self.delete_pages(gid, pages.all().into_iter())?;
        let rosters = self.chunks_of_rosters(gid, pages.past.keys())?;
        self.delete_chunks(kind::ROSTER_CHUNK, gid, rosters.iter())?;
        for epoch in pages.past.into_keys() {
            self.delete_past_epoch(gid, epoch)?;
        }
        let row = key(kind::MESSAGE_SECRETS, gid)?;
        self.pages.borrow_mut().remove(&row);
        self.delete(row)
    }

    fn write_encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
        key_pairs: &[HpkeKeyPair],
    ) -> Done {
        self.write(key(kind::EPOCH_KEYS, &(gid, epoch, leaf_index))?, key_pairs)
    }

    fn encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Done<Vec<HpkeKeyPair>> {
        Ok(self
            .read(&key(kind::EPOCH_KEYS, &(gid, epoch, leaf_index))?)?
            .unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
    >(
        &self,
        gid: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Done {
        self.delete(key(kind::EPOCH_KEYS, &(gid, epoch, leaf_index))?)
    }

    fn write_key_package<
        HashReference: traits::HashReference<CURRENT_VERSION>,
        KeyPackage: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        hash_ref: &HashReference,
        key_package: &KeyPackage,
    ) -> Done {
        self.write(key(kind::KEY_PACKAGE, hash_ref)?, key_package)
    }

    fn key_package<
        KeyPackageRef: traits::HashReference<CURRENT_VERSION>,
        KeyPackage: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        hash_ref: &KeyPackageRef,
    ) -> Done<Option<KeyPackage>> {
        self.read(&key(kind::KEY_PACKAGE, hash_ref)?)
    }

    fn delete_key_package<KeyPackageRef: traits::HashReference<CURRENT_VERSION>>(
        &self,
        hash_ref: &KeyPackageRef,
    ) -> Done {
        self.delete(key(kind::KEY_PACKAGE, hash_ref)?)
    }

    fn write_signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
        SignatureKeyPair: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        public_key: &SignaturePublicKey,
        key_pair: &SignatureKeyPair,
    ) -> Done {
        self.write(key(kind::SIGNER, public_key)?, key_pair)
    }

    fn signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
        SignatureKeyPair: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        public_key: &SignaturePublicKey,
    ) -> Done<Option<SignatureKeyPair>> {
        self.read(&key(kind::SIGNER, public_key)?)
    }

    fn delete_signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
    >(
        &self,
        public_key: &SignaturePublicKey,
    ) -> Done {
        self.delete(key(kind::SIGNER, public_key)?)
    }

    // What follows serves proposals standing alone, Update proposals and pre-shared keys. We use
    // none of them (any member could freeze a group with one), so there is never anything stored.

    fn append_own_leaf_node<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        LeafNode: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &LeafNode,
    ) -> Done {
        Err(StoreError::Unused)
    }

    fn own_leaf_nodes<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        LeafNode: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Done<Vec<LeafNode>> {
        Ok(Vec::new())
    }

    fn delete_own_leaf_nodes<GroupId: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &GroupId,
    ) -> Done {
        Ok(())
    }

    fn queue_proposal<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
        QueuedProposal: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &ProposalRef,
        _: &QueuedProposal,
    ) -> Done {
        Err(StoreError::Unused)
    }

    fn queued_proposal_refs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Done<Vec<ProposalRef>> {
        Ok(Vec::new())
    }

    fn queued_proposals<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
        QueuedProposal: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Done<Vec<(ProposalRef, QueuedProposal)>> {
        Ok(Vec::new())
    }

    fn remove_proposal<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &ProposalRef,
    ) -> Done {
        Ok(())
    }

    fn clear_proposal_queue<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Done {
        Ok(())
    }

    fn write_encryption_key_pair<
        EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &EncryptionKey,
        _: &HpkeKeyPair,
    ) -> Done {
        Err(StoreError::Unused)
    }

    fn encryption_key_pair<
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
        EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>,
    >(
        &self,
        _: &EncryptionKey,
    ) -> Done<Option<HpkeKeyPair>> {
        Ok(None)
    }

    fn delete_encryption_key_pair<EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        _: &EncryptionKey,
    ) -> Done {
        Ok(())
    }

    fn write_psk<
        PskId: traits::PskId<CURRENT_VERSION>,
        PskBundle: traits::PskBundle<CURRENT_VERSION>,
    >(
        &self,
        _: &PskId,
        _: &PskBundle,
    ) -> Done {
        Err(StoreError::Unused)
    }

    fn psk<PskBundle: traits::PskBundle<CURRENT_VERSION>, PskId: traits::PskId<CURRENT_VERSION>>(
        &self,
        _: &PskId,
    ) -> Done<Option<PskBundle>> {
        Ok(None)
    }

    fn delete_psk<PskKey: traits::PskId<CURRENT_VERSION>>(&self, _: &PskKey) -> Done {
        Ok(())
    }
}
