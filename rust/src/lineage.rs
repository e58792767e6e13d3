//! The public state of a group, followed from Commit to Commit without the secrets of its epochs.
//!
//! Checked are signatures, the tree and the transcript; what only members of an epoch can check, its
//! confirmation tag and path secrets, is not. Whoever comes back reads in this way how the group came
//! from the last state they knew to the one they are to join. It rests in memory alone.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use openmls::prelude::*;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::public_storage::PublicStorageProvider;
use openmls_traits::storage::{CURRENT_VERSION, traits};
use pyo3::prelude::*;

use crate::engine::{CommitView, Member, alone, commit_view, leaves, protocol_message, state};
use crate::error::{code, engine_failed, refuse};
use crate::rules;

/// (group id, epoch, suite, policy, members, state)
type View = (Vec<u8>, u64, u16, Vec<u8>, Vec<Member>, Vec<u8>);

struct Read {
    commit: StagedCommit,
    /// What has been read is accepted once.
    epoch: GroupEpoch,
}

struct State {
    crypto: RustCrypto,
    group: PublicGroup,
    read: Option<Read>,
}

#[pyclass(frozen, module = "amanat._mls")]
pub struct Lineage(Mutex<State>);

impl Lineage {
    pub fn of(group: PublicGroup) -> Self {
        Self(Mutex::new(State {
            crypto: RustCrypto::default(),
            group,
            read: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Lineage {
    /// The state that a signed GroupInfo tells of, and the leaf that has signed it.
    #[staticmethod]
    fn begin(py: Python<'_>, group_info: &[u8], tree: &[u8]) -> PyResult<(Self, u32)> {
        alone(py, || {
            let (info, tree) = rules::group_info(group_info, tree)?;
            let crypto = RustCrypto::default();
            let proposals = ProposalStore::new();
            let (group, _) =
                PublicGroup::from_external(&crypto, &Nowhere, tree, info, proposals)
                    .map_err(|_| refuse(code::INVALID_WELCOME, "the group in it is not valid"))?;
            let signer = rules::signer_of(group_info).ok_or(refuse(
                code::INVALID_WELCOME,
                "it does not end in a signature",
            ))?;
            Ok((Self::of(group), signer))
        })
    }

    fn view(&self, py: Python<'_>) -> PyResult<View> {
        alone(py, || {
            let State { group, .. } = &*self.state();
            let context = group.group_context();
            Ok((
                group.group_id().to_vec(),
                context.epoch().as_u64(),
                group.ciphersuite() as u16,
                rules::policy(context.extensions())
                    .unwrap_or_default()
                    .to_vec(),
                leaves(group.treesync())?,
                state(group)?,
            ))
        })
    }

    /// What a Commit does, with its additional data; it changes nothing until it is accepted.
    fn read(&self, py: Python<'_>, commit: &[u8]) -> PyResult<(CommitView, Vec<u8>)> {
        alone(py, || {
            let invalid = || refuse(code::INVALID_COMMIT, "it does not fit this state");
            let State {
                crypto,
                group,
                read,
            } = &mut *self.state();
            let message = protocol_message(commit)?;
            if message.content_type() != ContentType::Commit {
                return Err(refuse(code::INVALID_MESSAGE, "it is not a Commit"));
            }
            let processed = group
                .process_message(crypto, message)
                .map_err(|_| invalid())?;
            let (sender, aad) = (processed.sender().clone(), processed.aad().to_vec());
            let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content()
            else {
                return Err(invalid());
            };
            let (committer, external) = match sender {
                Sender::Member(sender) => (sender, false),
                Sender::NewMemberCommit => {
                    let index = group.ext_commit_sender_index(&commit);
                    (index.map_err(engine_failed)?, true)
                }
                _ => return Err(invalid()),
            };
            rules::commit(group, &commit, external)?;
            let view = commit_view(group, &commit, committer, external, false)?;
            *read = Some(Read {
                commit: *commit,
                epoch: group.group_context().epoch(),
            });
            Ok((view, aad))
        })
    }

    /// Goes on to the epoch that the Commit which was read last begins.
    fn accept(&self, py: Python<'_>) -> PyResult<()> {
        alone(py, || {
            let State { group, read, .. } = &mut *self.state();
            let read = read
                .take()
                .filter(|read| read.epoch == group.group_context().epoch())
                .ok_or(refuse(code::BAD_ARGUMENT, "no Commit was read"))?;
            group
                .merge_commit(&Nowhere, read.commit)
                .map_err(engine_failed)
        })
    }
}

/// Storage that keeps nothing: a lineage lives in memory.
struct Nowhere;

type Done<T = ()> = Result<T, Infallible>;

macro_rules! nowhere {
    ($($value:ident: $write:ident, $read:ident, $delete:ident;)+) => {$(
        fn $write<GroupId: traits::GroupId<CURRENT_VERSION>, $value: traits::$value<CURRENT_VERSION>>(
            &self,
            _: &GroupId,
            _: &$value,
        ) -> Done {
            Ok(())
        }

        fn $read<GroupId: traits::GroupId<CURRENT_VERSION>, $value: traits::$value<CURRENT_VERSION>>(
            &self,
            _: &GroupId,
        ) -> Done<Option<$value>> {
            Ok(None)
        }

        fn $delete<GroupId: traits::GroupId<CURRENT_VERSION>>(&self, _: &GroupId) -> Done {
            Ok(())
        }
    )+};
}

impl PublicStorageProvider<CURRENT_VERSION> for Nowhere {
    type PublicError = Infallible;

    nowhere! {
        ConfirmationTag: write_confirmation_tag, confirmation_tag, delete_confirmation_tag;
        GroupContext: write_context, group_context, delete_context;
        InterimTranscriptHash: write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash;
        TreeSync: write_tree, tree, delete_tree;
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
        Ok(())
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
}
