//! The engine Python holds: groups in memory, calls that are all or nothing.
//!
//! A call runs without the GIL, under one lock. If it is refused, its writes are dropped, and the
//! group it worked on is forgotten wherever memory could be ahead of the rows (it loads again from
//! them). If it panics, the engine is failed for good: nothing it holds can be trusted any more.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use openmls::prelude::{tls_codec::Serialize as _, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::signatures::Signer as _;
use openmls_traits::storage::StorageProvider as _;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest as _, Sha256};

use crate::error::{Outcome, code, engine_failed, of_processing, refuse};
use crate::lineage::Lineage;
use crate::rules;
use crate::secrets::Bytes;
use crate::store::{Rejoin, Store, Trouble};

/// (leaf index, credential, signature key, leaf extension)
pub type Member = (u32, Vec<u8>, Vec<u8>, Vec<u8>);
/// (credential, signature key, leaf extension)
type Added = (Vec<u8>, Vec<u8>, Vec<u8>);
/// (epoch, suite, own leaf, policy, epoch authenticator, SHA-256 of the pending Commit, active, state)
type GroupView = (
    u64,
    u16,
    u32,
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    bool,
    Vec<u8>,
);
/// (group id, epoch, suite, policy, members, sender's leaf, KeyPackage reference)
type WelcomeView = (Vec<u8>, u64, u16, Vec<u8>, Vec<Member>, u32, Vec<u8>);
/// (epoch before, epoch after, committer, adds, removes, updates, new policy, removes this client,
/// external)
pub type CommitView = (
    u64,
    u64,
    Member,
    Vec<Added>,
    Vec<u32>,
    Vec<Member>,
    Option<Vec<u8>>,
    bool,
    bool,
);
/// (Commit, Welcome, tree after the Commit, epoch before, SHA-256 of the Commit)
type CommitBundle = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, u64, Vec<u8>);
/// (reference, suite, credential, signature key, leaf extension, not after)
type KeyPackageView = (Vec<u8>, u16, Vec<u8>, Vec<u8>, Vec<u8>, u64);

type DeltaRow<'py> = (Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>);

/// What `process` found, with the additional authenticated data.
#[derive(IntoPyObject)]
enum Received {
    /// (epoch, sender's leaf, credential, signature key, aad, plaintext)
    Application(u64, u32, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>),
    /// (handle, view, aad)
    Commit(u64, CommitView, Vec<u8>),
}

/// A Commit of another member that was read but neither accepted nor rejected.
struct Staged {
    gid: Vec<u8>,
    committer: LeafNodeIndex,
    external: bool,
    commit: StagedCommit,
}

struct Provider {
    crypto: RustCrypto,
    store: Store,
}

impl openmls_traits::OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = Store;

    fn storage(&self) -> &Store {
        &self.store
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto
    }
}

struct State {
    provider: Provider,
    /// A group that is not here is read from the rows when a call wants it.
    groups: HashMap<Vec<u8>, MlsGroup>,
    signers: HashMap<Vec<u8>, SignatureKeyPair>,
    staged: HashMap<u64, Staged>,
    last_handle: u64,
    /// Groups in memory for which an own external Commit waits for its fate.
    rejoining: HashSet<Vec<u8>>,
    /// The group the running call works on.
    open: Option<Vec<u8>>,
    failed: bool,
}

impl State {
    /// The group `gid`, this client being a member of it or not any more.
    fn group(&mut self, gid: &[u8]) -> Outcome<(&mut MlsGroup, &Provider)> {
        self.open = Some(gid.to_vec());
        if !self.groups.contains_key(gid) {
            let store = &self.provider.store;
            let mut group = MlsGroup::load(store, &GroupId::from_slice(gid))
                .map_err(engine_failed)?
                .ok_or(refuse(code::NOT_A_MEMBER, "there is no such group"))?;
            let config = rules::join_config();
            if *group.configuration() != config {
                group
                    .set_configuration(store, &config)
                    .map_err(engine_failed)?;
            }
            if store.rejoin(gid).map_err(engine_failed)?.is_some() {
                self.rejoining.insert(gid.to_vec());
            } else {
                self.rejoining.remove(gid);
            }
            self.groups.insert(gid.to_vec(), group);
        }
        let group = self
            .groups
            .get_mut(gid)
            .ok_or(refuse(code::ENGINE_FAILED, ""))?;
        Ok((group, &self.provider))
    }

    /// The group `gid`, of which this client is a member now, with the key it signs with.
    ///
    /// Not while it waits to join again: what it holds is then a state that has gone on without it.
    fn member(&mut self, gid: &[u8]) -> Outcome<(&mut MlsGroup, &Provider, &SignatureKeyPair)> {
        let signer = {
            self.group(gid)?;
            if self.rejoining.contains(gid) {
                return Err(refuse(code::PENDING_COMMIT, ""));
            }
            let (group, _) = self.group(gid)?;
            if !group.is_active() {
                return Err(refuse(code::NOT_A_MEMBER, ""));
            }
            group
                .own_leaf_node()
                .map(|leaf| leaf.signature_key().as_slice().to_vec())
        };
        let signer = signer.ok_or(refuse(code::ENGINE_FAILED, "the own leaf is missing"))?;
        self.signer(&signer)?;
        let signer = self
            .signers
            .get(&signer)
            .ok_or(refuse(code::ENGINE_FAILED, ""))?;
        let group = self
            .groups
            .get_mut(gid)
            .ok_or(refuse(code::ENGINE_FAILED, ""))?;
        Ok((group, &self.provider, signer))
    }

    fn signer(&mut self, public: &[u8]) -> Outcome<(&Provider, &SignatureKeyPair)> {
        if !self.signers.contains_key(public) {
            let scheme = SignatureScheme::ED25519;
            let signer = SignatureKeyPair::read(&self.provider.store, public, scheme)
                .ok_or(refuse(code::BAD_ARGUMENT, "there is no such signature key"))?;
            self.signers.insert(public.to_vec(), signer);
        }
        let signer = self
            .signers
            .get(public)
            .ok_or(refuse(code::ENGINE_FAILED, ""))?;
        Ok((&self.provider, signer))
    }

    /// The own external Commit that waits for its fate.
    fn rejoin(&mut self, gid: &[u8]) -> Outcome<Option<Rejoin>> {
        self.open = Some(gid.to_vec());
        self.provider.store.rejoin(gid).map_err(engine_failed)
    }

    /// Forgets the rows of the group `gid`, whatever is in memory.
    fn delete_rows(&self, gid: &[u8]) -> Outcome<()> {
        let store = &self.provider.store;
        let old = MlsGroup::load(store, &GroupId::from_slice(gid)).map_err(engine_failed)?;
        if let Some(mut old) = old {
            old.delete(store).map_err(engine_failed)?;
        }
        store.set_pending(gid, None).map_err(engine_failed)
    }

    fn forget_rejoin(&mut self, gid: &[u8], rejoin: &Rejoin) -> Outcome<()> {
        self.groups.remove(gid);
        let store = &self.provider.store;
        store.forget_rejoin(gid, rejoin).map_err(engine_failed)
    }

    fn staged(&self, handle: u64) -> Outcome<&Staged> {
        self.staged.get(&handle).ok_or(refuse(
            code::BAD_ARGUMENT,
            "this Commit is not staged any more",
        ))
    }

    /// Joins by a Welcome. The rows of the joined group are all the call has to show for it.
    fn join(
        &mut self,
        welcome: &[u8],
        tree: Option<&[u8]>,
    ) -> Outcome<(MlsGroup, LeafNodeIndex, Vec<u8>)> {
        let invalid = |detail| refuse(code::INVALID_WELCOME, detail);
        let provider = &self.provider;
        let Some(MlsMessageBodyIn::Welcome(welcome)) = rules::message(welcome, rules::MAX_WELCOME)
        else {
            return Err(invalid("it does not decode"));
        };
        rules::suite(welcome.ciphersuite() as u16)
            .map_err(|_| invalid("its ciphersuite is not used"))?;
        let builder = StagedWelcome::build_from_welcome(provider, &rules::join_config(), welcome)
            .map_err(|_| invalid("it does not open"))?;
        let processed = builder.processed_welcome();
        let reference = processed
            .own_key_package()
            .ok_or(invalid("it is for no KeyPackage of this client"))?
            .hash_ref(&provider.crypto)
            .map_err(engine_failed)?;
        let gid = processed.unverified_group_info().group_id().clone();
        if let Some(mut old) = MlsGroup::load(&provider.store, &gid).map_err(engine_failed)? {
            if old.is_active() {
                return Err(invalid("this client is a member of that group"));
            }
            old.delete(&provider.store).map_err(engine_failed)?;
        }
        // The lifetimes of leaves are not looked at: see `rules::LEAF_LIFETIME`.
        let mut builder = builder.skip_lifetime_validation();
        if let Some(tree) = tree {
            if tree.len() > rules::MAX_TREE {
                return Err(invalid("the tree is too large"));
            }
            let tree = RatchetTreeIn::tls_deserialize_exact_bytes(tree)
                .map_err(|_| invalid("the tree does not decode"))?;
            builder = builder.with_ratchet_tree(tree);
        }
        let staged = builder
            .build()
            .map_err(|_| invalid("the group in it is not valid"))?;
        let sender = staged.welcome_sender_index();
        let group = staged.into_group(provider).map_err(engine_failed)?;
        Ok((group, sender, reference.as_slice().to_vec()))
    }

    /// Forgets the staged Commits of a group: they belong to an epoch that has ended.
    fn forget_staged(&mut self, gid: &[u8]) {
        self.staged.retain(|_, staged| staged.gid != gid);
    }

    /// Forgets all that can be read from the rows again.
    fn forget_all(&mut self) {
        self.groups.clear();
        self.signers.clear();
        self.staged.clear();
        self.rejoining.clear();
    }
}

#[pyclass(frozen, module = "amanat._mls")]
pub struct Engine(Mutex<State>);

impl Engine {
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut State) -> Outcome<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            // A panic is caught below, inside the lock, so the lock is never poisoned by one.
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.failed {
                return Err(refuse(code::ENGINE_FAILED, "it failed before").into());
            }
            state.open = None;
            state.provider.store.begin();
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut state)));
            let Ok(outcome) = outcome else {
                state.failed = true;
                state.forget_all();
                return Err(refuse(code::ENGINE_FAILED, "it panicked").into());
            };
            let refusal = match outcome {
                Ok(done) => {
                    state.provider.store.keep();
                    return Ok(done);
                }
                Err(refusal) => refusal,
            };
            state.provider.store.undo();
            if let Some(gid) = state.open.take() {
                if state.provider.store.touched() {
                    state.groups.remove(&gid);
                } else if let Some(group) = state.groups.get_mut(&gid) {
                    group.set_aad(Vec::new()); // It was for a message that was not made.
                }
            }
            Err(match state.provider.store.trouble() {
                Some(Trouble::Raised(error)) => error,
                Some(Trouble::Damaged) => {
                    refuse(code::VAULT_DAMAGED, "a row of the MLS state").into()
                }
                None => refusal.into(),
            })
        })
    }
}

#[pymethods]
impl Engine {
    #[new]
    fn new(fetch: Py<PyAny>) -> Self {
        Self(Mutex::new(State {
            provider: Provider {
                crypto: RustCrypto::default(),
                store: Store::new(fetch),
            },
            groups: HashMap::new(),
            signers: HashMap::new(),
            staged: HashMap::new(),
            rejoining: HashSet::new(),
            last_handle: 0,
            open: None,
            failed: false,
        }))
    }

    fn take_delta<'py>(&self, py: Python<'py>) -> PyResult<Vec<DeltaRow<'py>>> {
        let delta = self.call(py, |state| Ok(state.provider.store.delta()))?;
        let row = |(key, value): (&Vec<u8>, &Option<Bytes>)| {
            (
                PyBytes::new(py, key),
                value.as_ref().map(|value| PyBytes::new(py, value)),
            )
        };
        Ok(delta.iter().map(row).collect())
    }

    fn committed(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |state| {
            state.provider.store.committed();
            Ok(())
        })
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |state| {
            state.forget_all();
            state.provider.store.abort();
            Ok(())
        })
    }

    fn new_signer(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            let signer = SignatureKeyPair::new(SignatureScheme::ED25519).map_err(engine_failed)?;
            signer.store(&state.provider.store).map_err(engine_failed)?;
            Ok(signer.to_public_vec())
        })
    }

    fn sign(&self, py: Python<'_>, signer: &[u8], text: &[u8]) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            // What MLS signs begins with the length of "MLS 1.0 " and a label, one byte below 64
            // (RFC 9420, section 5.1.2), and so never with a letter.
            if !text.starts_with(rules::OWN_TEXTS) {
                return Err(refuse(code::BAD_ARGUMENT, "the text could be one of MLS"));
            }
            let (_, signer) = state.signer(signer)?;
            signer.sign(text).map_err(engine_failed)
        })
    }

    #[pyo3(signature = (suite, signer, credential, leaf, *, now, lifetime_s))]
    #[expect(
        clippy::too_many_arguments,
        reason = "a KeyPackage has that many parts"
    )]
    fn new_key_package(
        &self,
        py: Python<'_>,
        suite: u16,
        signer: &[u8],
        credential: Vec<u8>,
        leaf: Vec<u8>,
        now: u64,
        lifetime_s: u64,
    ) -> PyResult<(Vec<u8>, Vec<u8>)> {
        self.call(py, |state| {
            let suite = rules::suite(suite)?;
            if lifetime_s == 0 || lifetime_s > rules::MAX_LIFETIME {
                return Err(refuse(
                    code::BAD_ARGUMENT,
                    "the lifetime is not of 1 second to 84 days",
                ));
            }
            let (provider, signer) = state.signer(signer)?;
            let bundle = KeyPackage::builder()
                .key_package_lifetime(rules::leaf_lifetime())
                .key_package_extensions(rules::key_package_extensions(
                    now.saturating_add(lifetime_s),
                )?)
                .leaf_node_capabilities(rules::capabilities())
                .leaf_node_extensions(rules::leaf_extensions(leaf)?)
                .build(
                    suite,
                    provider,
                    signer,
                    credential_with_key(credential, signer),
                )
                .map_err(engine_failed)?;
            let key_package = bundle.into_key_package();
            let reference = key_package
                .hash_ref(&provider.crypto)
                .map_err(engine_failed)?;
            let bytes = MlsMessageOut::from(key_package)
                .to_bytes()
                .map_err(engine_failed)?;
            if bytes.len() > rules::MAX_KEY_PACKAGE {
                return Err(refuse(
                    code::BAD_ARGUMENT,
                    "the credential or leaf extension is too long",
                ));
            }
            Ok((bytes, reference.as_slice().to_vec()))
        })
    }

    fn delete_key_package(&self, py: Python<'_>, reference: Vec<u8>) -> PyResult<()> {
        self.call(py, |state| {
            let encoded = VLBytes::new(reference)
                .tls_serialize_detached()
                .map_err(engine_failed)?;
            let reference =
                KeyPackageRef::tls_deserialize_exact_bytes(&encoded).map_err(engine_failed)?;
            state
                .provider
                .store
                .delete_key_package(&reference)
                .map_err(engine_failed)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "a group has that many parts")]
    fn create_group(
        &self,
        py: Python<'_>,
        gid: &[u8],
        suite: u16,
        signer: &[u8],
        credential: Vec<u8>,
        leaf: Vec<u8>,
        policy: Vec<u8>,
    ) -> PyResult<()> {
        self.call(py, |state| {
            let suite = rules::suite(suite)?;
            if gid.is_empty() || gid.len() > rules::MAX_GID {
                return Err(refuse(code::BAD_ARGUMENT, "a group id has 1 to 255 bytes"));
            }
            let config = rules::create_config(suite, policy, leaf)?;
            let (provider, signer) = state.signer(signer)?;
            let credential = credential_with_key(credential, signer);
            let id = GroupId::from_slice(gid);
            let group = MlsGroup::new_with_group_id(provider, signer, &config, id, credential)
                .map_err(|error| match error {
                    NewGroupError::GroupAlreadyExists => {
                        refuse(code::BAD_ARGUMENT, "there is a group with this id")
                    }
                    other => engine_failed(other),
                })?;
            state.groups.insert(gid.to_vec(), group);
            Ok(())
        })
    }

    #[pyo3(signature = (gid, *, adds, removes, policy, update, leaf, aad))]
    #[expect(clippy::too_many_arguments, reason = "a Commit has that many parts")]
    fn commit(
        &self,
        py: Python<'_>,
        gid: &[u8],
        adds: Vec<Vec<u8>>,
        removes: Vec<u32>,
        policy: Option<Vec<u8>>,
        update: bool,
        leaf: Option<Vec<u8>>,
        aad: Vec<u8>,
    ) -> PyResult<CommitBundle> {
        self.call(py, |state| {
            let bad = |detail| refuse(code::BAD_ARGUMENT, detail);
            let (group, provider, signer) = state.member(gid)?;
            if group.pending_commit().is_some() {
                return Err(refuse(code::PENDING_COMMIT, ""));
            }
            if adds.is_empty()
                && removes.is_empty()
                && policy.is_none()
                && leaf.is_none()
                && !update
            {
                return Err(bad("the Commit changes nothing"));
            }
            let mut joiners = Vec::with_capacity(adds.len());
            for bytes in &adds {
                let (key_package, _) = rules::key_package(&provider.crypto, bytes, None)?;
                if key_package.ciphersuite() != group.ciphersuite() {
                    return Err(refuse(
                        code::INVALID_KEY_PACKAGE,
                        "it is of another ciphersuite",
                    ));
                }
                joiners.push(key_package);
            }
            for leaf in &removes {
                let leaf = LeafNodeIndex::new(*leaf);
                if leaf == group.own_leaf_index() || group.member_at(leaf).is_none() {
                    return Err(bad("a leaf to remove is this client's own, or blank"));
                }
            }
            let epoch_before = group.epoch().as_u64();
            group.set_aad(aad);
            let mut builder = group
                .commit_builder()
                .consume_proposal_store(false)
                .force_self_update(update)
                .propose_adds(joiners)
                .propose_removals(removes.into_iter().map(LeafNodeIndex::new));
            if let Some(policy) = policy {
                builder = builder
                    .propose_group_context_extensions(rules::group_extensions(policy)?)
                    .map_err(|_| bad("the policy cannot be encoded"))?;
            }
            if let Some(leaf) = leaf {
                let leaf = rules::leaf_extensions(leaf)?;
                builder = builder.leaf_node_parameters(
                    LeafNodeParameters::builder().with_extensions(leaf).build(),
                );
            }
            let built = builder
                .load_psks(&provider.store)
                .map_err(engine_failed)?
                .build(&provider.crypto, &provider.crypto, signer, |_| true)
                .map_err(|error| match error {
                    CreateCommitError::ProposalValidationError(_) => {
                        bad("the changes do not fit together or into the group")
                    }
                    other => engine_failed(other),
                })?;
            let bundle = built.stage_commit(provider).map_err(engine_failed)?;
            let (commit, welcome, _) = bundle.into_messages();
            let commit = commit.to_bytes().map_err(engine_failed)?;
            let welcome = welcome
                .map(|welcome| welcome.to_bytes())
                .transpose()
                .map_err(engine_failed)?;
            if commit.len() > rules::MAX_MESSAGE
                || welcome
                    .as_ref()
                    .is_some_and(|w| w.len() > rules::MAX_WELCOME)
            {
                return Err(bad("the Commit or Welcome would be too large"));
            }
            let tree = match &welcome {
                Some(_) => Some(tree_after(group, provider)?),
                None => None,
            };
            let sha256 = Sha256::digest(&commit).to_vec();
            provider
                .store
                .set_pending(gid, Some(&sha256))
                .map_err(engine_failed)?;
            Ok((commit, welcome, tree, epoch_before, sha256))
        })
    }

    fn export_pending(
        &self,
        py: Python<'_>,
        gid: &[u8],
        label: &str,
        context: &[u8],
        n: usize,
    ) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            check_export(n)?;
            if let Some(rejoin) = state.rejoin(gid)? {
                let store = &state.provider.store;
                store.take_up(gid, &rejoin).map_err(engine_failed)?;
                let group = MlsGroup::load(store, &GroupId::from_slice(gid));
                let group = group.map_err(engine_failed)?;
                let group = group.ok_or(refuse(code::ENGINE_FAILED, ""))?;
                store.undo(); // It rests aside until the Commit has won.
                return group
                    .export_secret(&state.provider.crypto, label, context, n)
                    .map_err(engine_failed);
            }
            let (group, provider) = state.group(gid)?;
            let pending = group
                .pending_commit()
                .ok_or(refuse(code::BAD_ARGUMENT, "there is no pending Commit"))?;
            pending
                .export_secret(&provider.crypto, label, context, n)
                .map_err(engine_failed)
        })
    }

    fn pending(&self, py: Python<'_>, gid: &[u8]) -> PyResult<Option<Vec<u8>>> {
        self.call(py, |state| {
            if let Some(rejoin) = state.rejoin(gid)? {
                return Ok(Some(rejoin.sha256));
            }
            let (_, provider) = state.group(gid)?;
            provider.store.pending(gid).map_err(engine_failed)
        })
    }

    fn merge_pending(&self, py: Python<'_>, gid: &[u8], sha256: &[u8]) -> PyResult<CommitView> {
        self.call(py, |state| {
            let wrong = || refuse(code::BAD_ARGUMENT, "this is not the pending Commit");
            if let Some(rejoin) = state.rejoin(gid)? {
                if rejoin.sha256 != sha256 {
                    return Err(wrong());
                }
                state.delete_rows(gid)?;
                let store = &state.provider.store;
                store.take_up(gid, &rejoin).map_err(engine_failed)?;
                state.groups.remove(gid);
                state.forget_staged(gid);
                return rejoined_view(state.group(gid)?.0, &rejoin);
            }
            let (group, provider) = state.group(gid)?;
            let ours = provider.store.pending(gid).map_err(engine_failed)?;
            let Some(pending) = group
                .pending_commit()
                .filter(|_| ours.as_deref() == Some(sha256))
            else {
                return Err(wrong());
            };
            let own = group.own_leaf_index();
            let view = commit_view(group.public_group(), pending, own, false, false)?;
            group
                .merge_pending_commit(provider)
                .map_err(engine_failed)?;
            provider
                .store
                .set_pending(gid, None)
                .map_err(engine_failed)?;
            state.forget_staged(gid);
            Ok(view)
        })
    }

    fn clear_pending(&self, py: Python<'_>, gid: &[u8]) -> PyResult<()> {
        self.call(py, |state| {
            if let Some(rejoin) = state.rejoin(gid)? {
                return state.forget_rejoin(gid, &rejoin);
            }
            let (group, provider) = state.group(gid)?;
            group
                .clear_pending_commit(&provider.store)
                .map_err(engine_failed)?;
            provider.store.set_pending(gid, None).map_err(engine_failed)
        })
    }

    fn encrypt(
        &self,
        py: Python<'_>,
        gid: &[u8],
        plaintext: &[u8],
        aad: Vec<u8>,
    ) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            if plaintext.len().saturating_add(aad.len()) > rules::MAX_PLAINTEXT {
                return Err(refuse(code::BAD_ARGUMENT, "the message is too long"));
            }
            let (group, provider, signer) = state.member(gid)?;
            group.set_aad(aad);
            let message = group
                .create_message(provider, signer, plaintext)
                .map_err(engine_failed)?;
            message.to_bytes().map_err(engine_failed)
        })
    }

    fn process(&self, py: Python<'_>, gid: &[u8], message: &[u8]) -> PyResult<Received> {
        self.call(py, |state| {
            let invalid = |detail| refuse(code::INVALID_MESSAGE, detail);
            let message = protocol_message(message)?;
            let (group, provider) = state.group(gid)?;
            if !group.is_active() {
                return Err(refuse(code::NOT_A_MEMBER, ""));
            }
            if message.group_id().as_slice() != gid {
                return Err(invalid("it is of another group"));
            }
            let (now, epoch) = (group.epoch(), message.epoch());
            if epoch > now {
                return Err(refuse(code::FUTURE_EPOCH, ""));
            }
            if epoch < now {
                provider.store.reading(epoch.as_u64());
            }
            let processed = group
                .process_message(provider, message)
                .map_err(of_processing)?;
            let sender = processed.sender().clone();
            let aad = processed.aad().to_vec();
            let credential = processed.credential().clone();
            match (processed.into_content(), sender) {
                (ProcessedMessageContent::ApplicationMessage(content), Sender::Member(sender)) => {
                    let signer = signature_key(group, provider, epoch, sender)?;
                    Ok(Received::Application(
                        epoch.as_u64(),
                        sender.u32(),
                        rules::identity(&credential)?,
                        signer,
                        aad,
                        content.into_bytes(),
                    ))
                }
                (ProcessedMessageContent::StagedCommitMessage(commit), sender) => {
                    let (committer, external) = match sender {
                        // Our key has signed it, and it is not the pending Commit.
                        Sender::Member(sender) if sender == group.own_leaf_index() => {
                            return Err(refuse(code::OWN_MESSAGE, ""));
                        }
                        Sender::Member(sender) => (sender, false),
                        Sender::NewMemberCommit => {
                            let public = group.public_group();
                            let index = public.ext_commit_sender_index(&commit);
                            (index.map_err(engine_failed)?, true)
                        }
                        _ => return Err(invalid("its sender is not a member")),
                    };
                    let removed = commit.self_removed();
                    let group = group.public_group();
                    rules::commit(group, &commit, external)?;
                    let view = commit_view(group, &commit, committer, external, removed)?;
                    state.last_handle += 1;
                    let staged = Staged {
                        gid: gid.to_vec(),
                        committer,
                        external,
                        commit: *commit,
                    };
                    state.staged.insert(state.last_handle, staged);
                    Ok(Received::Commit(state.last_handle, view, aad))
                }
                (
                    ProcessedMessageContent::OwnPrivateMessage
                    | ProcessedMessageContent::OwnPendingCommit,
                    _,
                ) => Err(refuse(code::OWN_MESSAGE, "")),
                _ => Err(invalid("it is of a kind that is not used")),
            }
        })
    }

    fn export_staged(
        &self,
        py: Python<'_>,
        handle: u64,
        label: &str,
        context: &[u8],
        n: usize,
    ) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            check_export(n)?;
            let commit = &state.staged(handle)?.commit;
            if commit.self_removed() {
                return Err(refuse(code::NOT_A_MEMBER, "the Commit removes this client"));
            }
            commit
                .export_secret(&state.provider.crypto, label, context, n)
                .map_err(engine_failed)
        })
    }

    fn accept(&self, py: Python<'_>, handle: u64) -> PyResult<CommitView> {
        self.call(py, |state| {
            state.staged(handle)?;
            let Some(Staged {
                gid,
                committer,
                external,
                commit,
            }) = state.staged.remove(&handle)
            else {
                return Err(refuse(code::ENGINE_FAILED, ""));
            };
            let (group, provider) = state.group(&gid)?;
            let (epoch, leaf) = (group.epoch(), group.own_leaf_index().u32());
            let removed = commit.self_removed();
            let view = commit_view(group.public_group(), &commit, committer, external, removed)?;
            group
                .merge_staged_commit(provider, commit)
                .map_err(engine_failed)?;
            if removed {
                // OpenMLS leaves these behind in a group this client is no longer a member of.
                provider
                    .store
                    .delete_encryption_epoch_key_pairs(group.group_id(), &epoch, leaf)
                    .map_err(engine_failed)?;
            }
            provider
                .store
                .set_pending(&gid, None)
                .map_err(engine_failed)?;
            state.forget_staged(&gid);
            if let Some(rejoin) = state.rejoin(&gid)?
                && rejoin.epoch <= epoch.as_u64()
            {
                state.forget_rejoin(&gid, &rejoin)?; // Another won in its place.
            }
            Ok(view)
        })
    }

    fn reject(&self, py: Python<'_>, handle: u64) -> PyResult<()> {
        self.call(py, |state| {
            state.staged(handle)?;
            state.staged.remove(&handle);
            Ok(())
        })
    }

    fn members(&self, py: Python<'_>, gid: &[u8]) -> PyResult<Vec<Member>> {
        self.call(py, |state| members(state.group(gid)?.0))
    }

    fn group(&self, py: Python<'_>, gid: &[u8]) -> PyResult<GroupView> {
        self.call(py, |state| {
            let (group, provider) = state.group(gid)?;
            group_view(group, provider)
        })
    }

    fn export_secret(
        &self,
        py: Python<'_>,
        gid: &[u8],
        label: &str,
        context: &[u8],
        n: usize,
    ) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            check_export(n)?;
            let (group, provider) = state.group(gid)?;
            if !group.is_active() {
                return Err(refuse(code::NOT_A_MEMBER, ""));
            }
            group
                .export_secret(&provider.crypto, label, context, n)
                .map_err(engine_failed)
        })
    }

    fn export_tree(&self, py: Python<'_>, gid: &[u8]) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            let (group, _) = state.group(gid)?;
            group
                .export_ratchet_tree()
                .tls_serialize_detached()
                .map_err(engine_failed)
        })
    }

    fn inspect_welcome(
        &self,
        py: Python<'_>,
        welcome: &[u8],
        tree: Option<&[u8]>,
    ) -> PyResult<WelcomeView> {
        self.call(py, |state| {
            let (group, sender, reference) = state.join(welcome, tree)?;
            // A whole join, so that what is shown is what would be joined; then as if never done.
            state.provider.store.undo();
            Ok((
                group.group_id().to_vec(),
                group.epoch().as_u64(),
                group.ciphersuite() as u16,
                rules::policy(group.extensions())
                    .unwrap_or_default()
                    .to_vec(),
                members(&group)?,
                sender.u32(),
                reference,
            ))
        })
    }

    fn join(
        &self,
        py: Python<'_>,
        welcome: &[u8],
        tree: Option<&[u8]>,
    ) -> PyResult<(Vec<u8>, GroupView)> {
        self.call(py, |state| {
            let (group, ..) = state.join(welcome, tree)?;
            let gid = group.group_id().to_vec();
            if let Some(rejoin) = state.rejoin(&gid)? {
                state.forget_rejoin(&gid, &rejoin)?;
            }
            state
                .provider
                .store
                .set_pending(&gid, None)
                .map_err(engine_failed)?;
            let view = group_view(&group, &state.provider)?;
            state.forget_staged(&gid);
            state.groups.insert(gid.clone(), group);
            Ok((gid, view))
        })
    }

    fn delete_group(&self, py: Python<'_>, gid: &[u8]) -> PyResult<()> {
        self.call(py, |state| {
            if let Some(rejoin) = state.rejoin(gid)? {
                state.forget_rejoin(gid, &rejoin)?;
            } else {
                state.group(gid)?; // There has to be something to forget.
            }
            state.delete_rows(gid)?;
            state.groups.remove(gid);
            state.forget_staged(gid);
            Ok(())
        })
    }

    fn group_info(&self, py: Python<'_>, gid: &[u8]) -> PyResult<Vec<u8>> {
        self.call(py, |state| {
            let (group, provider, signer) = state.member(gid)?;
            group
                .export_group_info(&provider.crypto, signer, false)
                .map_err(engine_failed)?
                .to_bytes()
                .map_err(engine_failed)
        })
    }

    fn lineage(&self, py: Python<'_>, gid: &[u8]) -> PyResult<Lineage> {
        self.call(py, |state| {
            state.group(gid)?;
            PublicGroup::load(&state.provider.store, &GroupId::from_slice(gid))
                .map_err(engine_failed)?
                .map(Lineage::of)
                .ok_or(refuse(
                    code::ENGINE_FAILED,
                    "a part of the group is missing",
                ))
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an external Commit has that many parts"
    )]
    fn join_external(
        &self,
        py: Python<'_>,
        group_info: &[u8],
        tree: &[u8],
        signer: &[u8],
        credential: Vec<u8>,
        leaf: Vec<u8>,
        aad: Vec<u8>,
    ) -> PyResult<CommitBundle> {
        self.call(py, |state| {
            let (info, tree) = rules::group_info(group_info, tree)?;
            let gid = info.group_id().to_vec();
            let epoch = info.epoch().as_u64();
            if state.rejoin(&gid)?.is_some() {
                return Err(refuse(code::PENDING_COMMIT, ""));
            }
            // Only within this call: the old state's rows are not to be mixed with the new one's.
            state.delete_rows(&gid)?;
            let (provider, signer) = state.signer(signer)?;
            let parameters = LeafNodeParameters::builder()
                .with_capabilities(rules::capabilities())
                .with_extensions(rules::leaf_extensions(leaf)?)
                .build();
            let mut removed = None;
            let (mut group, bundle) = MlsGroup::external_commit_builder()
                .with_ratchet_tree(tree)
                .with_config(rules::join_config())
                .with_aad(aad)
                .skip_lifetime_validation()
                .build_group(provider, info, credential_with_key(credential, signer))
                .map_err(|_| refuse(code::INVALID_WELCOME, "the group in it is not valid"))?
                .leaf_node_parameters(parameters)
                .load_psks(&provider.store)
                .map_err(engine_failed)?
                .build(&provider.crypto, &provider.crypto, signer, |queued| {
                    if let Proposal::Remove(remove) = queued.proposal() {
                        removed = Some(remove.removed().u32());
                    }
                    true
                })
                .map_err(|_| refuse(code::INVALID_WELCOME, "it cannot be joined"))?
                .finalize(provider)
                .map_err(engine_failed)?;
            let removed = removed.ok_or(refuse(code::NOT_A_MEMBER, ""))?;
            // OpenMLS keeps an epoch before it under secrets that anybody can derive: drop it.
            group
                .delete_past_epoch_secrets(provider, PastEpochDeletion::delete_all())
                .map_err(engine_failed)?;
            let commit = bundle.commit().to_bytes().map_err(engine_failed)?;
            if commit.len() > rules::MAX_MESSAGE {
                return Err(refuse(code::BAD_ARGUMENT, "the Commit would be too large"));
            }
            let sha256 = Sha256::digest(&commit).to_vec();
            provider
                .store
                .put_aside(&gid, &sha256, epoch, removed)
                .map_err(engine_failed)?;
            state.groups.remove(&gid);
            Ok((commit, None, None, epoch, sha256))
        })
    }
}

#[pyfunction]
#[pyo3(signature = (key_package, *, now))]
pub fn check_key_package(py: Python<'_>, key_package: &[u8], now: u64) -> PyResult<KeyPackageView> {
    alone(py, || {
        let crypto = RustCrypto::default();
        let (key_package, not_after) = rules::key_package(&crypto, key_package, Some(now))?;
        let node = key_package.leaf_node();
        Ok((
            key_package
                .hash_ref(&crypto)
                .map_err(engine_failed)?
                .as_slice()
                .to_vec(),
            key_package.ciphersuite() as u16,
            rules::identity(node.credential())?,
            node.signature_key().as_slice().to_vec(),
            rules::leaf(node),
            not_after,
        ))
    })
}

#[pyfunction]
pub fn peek(py: Python<'_>, message: &[u8]) -> PyResult<(Vec<u8>, u64, u8)> {
    alone(py, || {
        let message = protocol_message(message)?;
        let (gid, epoch) = (message.group_id().to_vec(), message.epoch().as_u64());
        Ok((gid, epoch, message.content_type() as u8))
    })
}

/// A call that needs no engine.
pub fn alone<T: Send>(py: Python<'_>, work: impl FnOnce() -> Outcome<T> + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(work)))
        .unwrap_or(Err(refuse(code::ENGINE_FAILED, "it panicked")))
        .map_err(PyErr::from)
}

/// What members send each other: an application message as a PrivateMessage, or a Commit as a
/// PublicMessage, which can be checked by who has no keys of its epoch.
pub fn protocol_message(bytes: &[u8]) -> Outcome<ProtocolMessage> {
    let message = match rules::message(bytes, rules::MAX_MESSAGE) {
        Some(MlsMessageBodyIn::PrivateMessage(message)) => ProtocolMessage::from(message),
        Some(MlsMessageBodyIn::PublicMessage(message)) => message.into(),
        _ => return Err(refuse(code::INVALID_MESSAGE, "it is no message of a group")),
    };
    match (message.wire_format(), message.content_type()) {
        (WireFormat::PrivateMessage, ContentType::Application)
        | (WireFormat::PublicMessage, ContentType::Commit) => Ok(message),
        _ => Err(refuse(
            code::INVALID_MESSAGE,
            "it is neither a private application message nor a public Commit",
        )),
    }
}

fn check_export(n: usize) -> Outcome<()> {
    if n == 0 || n > rules::MAX_EXPORT {
        return Err(refuse(
            code::BAD_ARGUMENT,
            "an exported secret has 1 to 1024 bytes",
        ));
    }
    Ok(())
}

fn tree_after(group: &MlsGroup, provider: &Provider) -> Outcome<Vec<u8>> {
    let missing = || refuse(code::ENGINE_FAILED, "the pending Commit is missing");
    let pending = group.pending_commit().ok_or_else(missing)?;
    pending
        .export_ratchet_tree(&provider.crypto, group.export_ratchet_tree())
        .map_err(engine_failed)?
        .ok_or_else(missing)?
        .tls_serialize_detached()
        .map_err(engine_failed)
}

fn member_view(index: LeafNodeIndex, node: &LeafNode) -> Outcome<Member> {
    Ok((
        index.u32(),
        rules::identity(node.credential())?,
        node.signature_key().as_slice().to_vec(),
        rules::leaf(node),
    ))
}

fn members(group: &MlsGroup) -> Outcome<Vec<Member>> {
    leaves(group.treesync())
}

pub fn leaves(tree: &openmls::treesync::TreeSync) -> Outcome<Vec<Member>> {
    tree.full_leaves()
        .map(|(index, node)| member_view(index, node))
        .collect()
}

fn group_view(group: &MlsGroup, provider: &Provider) -> Outcome<GroupView> {
    let pending = provider
        .store
        .pending(group.group_id().as_slice())
        .map_err(engine_failed)?;
    Ok((
        group.epoch().as_u64(),
        group.ciphersuite() as u16,
        group.own_leaf_index().u32(),
        rules::policy(group.extensions())
            .unwrap_or_default()
            .to_vec(),
        group.epoch_authenticator().as_slice().to_vec(),
        pending,
        group.is_active(),
        state(group.public_group())?,
    ))
}

/// A hash over all that whoever joins a group builds upon: its context and confirmation tag.
pub fn state(group: &PublicGroup) -> Outcome<Vec<u8>> {
    let mut all = group
        .group_context()
        .tls_serialize_detached()
        .map_err(engine_failed)?;
    let tag = group.confirmation_tag().tls_serialize_detached();
    all.extend(tag.map_err(engine_failed)?);
    Ok(Sha256::digest(&all).to_vec())
}

/// What `commit` does to `group`, which is still in the epoch before it. The committer of an
/// external Commit is not in the group yet, so the leaf is the one it brings.
pub fn commit_view(
    group: &PublicGroup,
    commit: &StagedCommit,
    committer: LeafNodeIndex,
    external: bool,
    self_removed: bool,
) -> Outcome<CommitView> {
    let node = if external {
        commit.update_path_leaf_node()
    } else {
        group.leaf(committer)
    };
    let node = node.ok_or(refuse(
        code::INVALID_COMMIT,
        "its committer is not a member",
    ))?;
    let adds = commit
        .add_proposals()
        .map(|add| {
            let node = add.add_proposal().key_package().leaf_node();
            let key = node.signature_key().as_slice().to_vec();
            Ok((rules::identity(node.credential())?, key, rules::leaf(node)))
        })
        .collect::<Outcome<_>>()?;
    let removes = commit
        .remove_proposals()
        .map(|remove| remove.remove_proposal().removed().u32())
        .collect();
    // Update proposals only stand alone, so the committer's is the only leaf that can be renewed.
    let updates = commit
        .update_path_leaf_node()
        .map(|node| member_view(committer, node))
        .into_iter()
        .collect::<Outcome<_>>()?;
    let policy = rules::policy(commit.group_context().extensions());
    let before = group.group_context();
    let changed = policy != rules::policy(before.extensions());
    Ok((
        before.epoch().as_u64(),
        commit.epoch().as_u64(),
        member_view(committer, node)?,
        adds,
        removes,
        updates,
        policy.filter(|_| changed).map(<[u8]>::to_vec),
        self_removed,
        external,
    ))
}

/// What our external Commit did, seen from the group it began.
fn rejoined_view(group: &MlsGroup, rejoin: &Rejoin) -> Outcome<CommitView> {
    let node = group
        .own_leaf_node()
        .ok_or(refuse(code::ENGINE_FAILED, "the own leaf is missing"))?;
    let own = member_view(group.own_leaf_index(), node)?;
    Ok((
        rejoin.epoch,
        group.epoch().as_u64(),
        own.clone(),
        Vec::new(),
        vec![rejoin.removed],
        vec![own],
        None,
        false,
        true,
    ))
}

/// The key that signed a message: its sender's in the message's epoch, never in another (a leaf
/// may have been given to somebody else since).
fn signature_key(
    group: &MlsGroup,
    provider: &Provider,
    epoch: GroupEpoch,
    sender: LeafNodeIndex,
) -> Outcome<Vec<u8>> {
    let member = if epoch == group.epoch() {
        group.member_at(sender)
    } else {
        provider
            .store
            .past_roster(group.group_id(), epoch.as_u64())
            .map_err(engine_failed)?
            .and_then(|roster| roster.into_iter().find(|member| member.index == sender))
    };
    member
        .map(|member| member.signature_key)
        .ok_or(refuse(code::ENGINE_FAILED, "the sender is missing"))
}

fn credential_with_key(credential: Vec<u8>, signer: &SignatureKeyPair) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(credential).into(),
        signature_key: signer.public().into(),
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
