//! What a group, a leaf, a KeyPackage and a Commit of ours must look like, judged alike by everyone.
//!
//! Every rule here is a pure function of bytes all members have. None of them looks at a clock
//! unless the caller passes `now`, and no member can reach another verdict than another member.

use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::{tls_codec::DeserializeBytes, *};
use openmls_rust_crypto::RustCrypto;

use crate::error::{Outcome, code, refuse};

/// X25519 with ML-KEM-768. AES-256 and SHA-384 rather than 0x004F's AES-128 and SHA-256: the
/// suite is there for ciphertext that is kept for decades, and its other half is of category 3.
pub const HYBRID: Ciphersuite = Ciphersuite::MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519;
/// The suite every MLS implementation has (RFC 9420, section 17.1).
pub const CLASSICAL: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// GroupContext extension: the group's policy, opaque here (private use, RFC 9420, section 17.3).
pub const EXT_POLICY: u16 = 0xf0a1;
/// LeafNode extension: what the client says in its leaf, opaque here.
pub const EXT_LEAF: u16 = 0xf0a2;
/// KeyPackage extension: the first second since 1970 at which it is out of date, 8 bytes.
const EXT_NOT_AFTER: u16 = 0xf0a3;

/// How everything begins that a signature key signs beside what MLS has it sign.
pub const OWN_TEXTS: &[u8] = b"amanat ";

/// Bytes. A Commit of 1,000 hybrid Adds has 2.7 MB, a Welcome for them 1.4 MB.
pub const MAX_MESSAGE: usize = 4 << 20;
pub const MAX_WELCOME: usize = 4 << 20;
/// Bytes, of a plaintext with its additional data: the rest of `MAX_MESSAGE` is for the frame.
pub const MAX_PLAINTEXT: usize = MAX_MESSAGE - (4 << 10);
/// Bytes. A hybrid KeyPackage has 2.7 kB; the rest is room for a credential and a leaf extension.
pub const MAX_KEY_PACKAGE: usize = 16 << 10;
/// Bytes. The tree of 1,000 hybrid leaves has about 3 MB when every parent is filled.
pub const MAX_TREE: usize = 8 << 20;
/// Bytes. Longer ones cannot be needed, and HKDF-Expand ends at 255 blocks.
pub const MAX_EXPORT: usize = 1024;
/// Bytes, of a group id.
pub const MAX_GID: usize = 255;
/// Seconds: 84 days, the usual life of a KeyPackage: one found later lets nobody in.
pub const MAX_LIFETIME: u64 = 84 * 24 * 3600;
/// Seconds that the clocks of two honest clients may differ.
const CLOCK_SKEW: u64 = 3600;

/// Epochs whose messages still decrypt after the group has moved on: what is on its way when
/// three Commits follow each other closely. Every one kept is forward secrecy given up.
const MAX_PAST_EPOCHS: usize = 3;
/// Messages of one sender that may arrive late, by their number: as many as a pair chain has labels
/// open (`protocol.labels.WINDOW`), or what its cells still open would be too old here.
pub const OUT_OF_ORDER_TOLERANCE: u32 = 128;
/// Messages of one sender that may be missing: what a busy member sends in two weeks offline.
const MAX_FORWARD_DISTANCE: u32 = 2000;
/// Bytes: none, because the cell around a message pads.
const PADDING: usize = 0;

/// The leaf's own lifetime: without end. OpenMLS compares it with the machine's clock on every
/// Add it reads, so a real one would let two members judge one Commit differently (by their
/// clocks, or because one was offline), which is a fork. KeyPackages go out of date by
/// `EXT_NOT_AFTER`, which only `check_key_package` looks at, with the caller's `now`.
const LEAF_LIFETIME: (u64, u64) = (0, u64::MAX);

pub fn suite(number: u16) -> Outcome<Ciphersuite> {
    [HYBRID, CLASSICAL]
        .into_iter()
        .find(|suite| *suite as u16 == number)
        .ok_or(refuse(code::BAD_ARGUMENT, "this ciphersuite is not used"))
}

pub fn leaf_lifetime() -> Lifetime {
    Lifetime::init(LEAF_LIFETIME.0, LEAF_LIFETIME.1)
}

fn extension_types() -> Vec<ExtensionType> {
    [EXT_POLICY, EXT_LEAF, EXT_NOT_AFTER]
        .map(ExtensionType::Unknown)
        .to_vec()
}

pub fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![HYBRID, CLASSICAL])
        .extensions(extension_types())
        .proposals(Vec::new())
        .credentials(vec![CredentialType::Basic])
        .build()
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(&extension_types(), &[], &[CredentialType::Basic])
}

pub fn unknown(kind: u16, bytes: Vec<u8>) -> Extension {
    Extension::Unknown(kind, UnknownExtension(bytes))
}

pub fn group_extensions(policy: Vec<u8>) -> Outcome<Extensions<GroupContext>> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        unknown(EXT_POLICY, policy),
    ])
    .map_err(|_| refuse(code::BAD_ARGUMENT, "the policy cannot be encoded"))
}

pub fn leaf_extensions(leaf: Vec<u8>) -> Outcome<Extensions<LeafNode>> {
    Extensions::single(unknown(EXT_LEAF, leaf))
        .map_err(|_| refuse(code::BAD_ARGUMENT, "the leaf extension cannot be encoded"))
}

pub fn key_package_extensions(not_after: u64) -> Outcome<Extensions<KeyPackage>> {
    Extensions::single(unknown(EXT_NOT_AFTER, not_after.to_be_bytes().to_vec()))
        .map_err(|_| refuse(code::BAD_ARGUMENT, "the lifetime cannot be encoded"))
}

pub fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .padding_size(PADDING)
        .max_past_epochs(MAX_PAST_EPOCHS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(
            OUT_OF_ORDER_TOLERANCE,
            MAX_FORWARD_DISTANCE,
        ))
        .build()
}

pub fn create_config(
    suite: Ciphersuite,
    policy: Vec<u8>,
    leaf: Vec<u8>,
) -> Outcome<MlsGroupCreateConfig> {
    let join = join_config();
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(suite)
        .capabilities(capabilities())
        .lifetime(leaf_lifetime())
        .wire_format_policy(join.wire_format_policy())
        .padding_size(join.padding_size())
        .max_past_epochs(MAX_PAST_EPOCHS)
        .sender_ratchet_configuration(*join.sender_ratchet_configuration())
        .with_group_context_extensions(group_extensions(policy)?)
        .with_leaf_node_extensions(leaf_extensions(leaf)?)
        .map_err(|_| refuse(code::BAD_ARGUMENT, "the leaf extension cannot be encoded"))?;
    Ok(config.build())
}

pub fn policy(extensions: &Extensions<GroupContext>) -> Option<&[u8]> {
    extensions
        .unknown(EXT_POLICY)
        .map(|extension| extension.0.as_slice())
}

/// What the client said in its leaf; nothing where the leaf is not one of ours.
pub fn leaf(node: &LeafNode) -> Vec<u8> {
    node.extensions()
        .unknown(EXT_LEAF)
        .map(|extension| extension.0.clone())
        .unwrap_or_default()
}

/// The identity in a credential. Other kinds than Basic cannot be in a group of ours.
pub fn identity(credential: &Credential) -> Outcome<Vec<u8>> {
    BasicCredential::try_from(credential.clone())
        .map(|basic| basic.identity().to_vec())
        .map_err(|_| refuse(code::INVALID_CREDENTIAL, "it is not a Basic credential"))
}

pub fn message(bytes: &[u8], limit: usize) -> Option<MlsMessageBodyIn> {
    if bytes.len() > limit {
        return None;
    }
    MlsMessageIn::tls_deserialize_exact_bytes(bytes)
        .ok()
        .map(MlsMessageIn::extract)
}

/// A valid KeyPackage of ours and when it goes out of date; without `now`, it may be out of date.
pub fn key_package(
    crypto: &RustCrypto,
    bytes: &[u8],
    now: Option<u64>,
) -> Outcome<(KeyPackage, u64)> {
    let invalid = |detail| refuse(code::INVALID_KEY_PACKAGE, detail);
    let Some(MlsMessageBodyIn::KeyPackage(key_package)) = message(bytes, MAX_KEY_PACKAGE) else {
        return Err(invalid("it does not decode"));
    };
    // OpenMLS compares the leaf's lifetime with the machine's clock here; ours has no end.
    let key_package = key_package
        .validate(crypto, ProtocolVersion::Mls10)
        .map_err(|_| invalid("it is not rightly signed"))?;
    let not_after = shape(&key_package).ok_or(invalid("it is not of this protocol"))?;
    if let Some(now) = now {
        let latest = now.saturating_add(MAX_LIFETIME).saturating_add(CLOCK_SKEW);
        if not_after <= now || not_after > latest {
            return Err(invalid("it is out of date, or lives too long"));
        }
    }
    Ok((key_package, not_after))
}

/// What an external Commit starts from: a GroupInfo and, beside it, the tree.
pub fn group_info(info: &[u8], tree: &[u8]) -> Outcome<(VerifiableGroupInfo, RatchetTreeIn)> {
    let invalid = |detail| refuse(code::INVALID_WELCOME, detail);
    let Some(MlsMessageBodyIn::GroupInfo(info)) = message(info, MAX_WELCOME) else {
        return Err(invalid("the GroupInfo does not decode"));
    };
    suite(info.ciphersuite() as u16).map_err(|_| invalid("its ciphersuite is not used"))?;
    if tree.len() > MAX_TREE {
        return Err(invalid("the tree is too large"));
    }
    let tree = RatchetTreeIn::tls_deserialize_exact_bytes(tree)
        .map_err(|_| invalid("the tree does not decode"))?;
    Ok((info, tree))
}

/// The leaf that has signed a GroupInfo, which ends in it and an Ed25519 signature (RFC 9420, section
/// 12.4.3): 4 bytes, a length of 2, and 64. OpenMLS does not tell it.
pub fn signer_of(info: &[u8]) -> Option<u32> {
    let (leaf, _) = info.last_chunk::<70>()?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*leaf))
}

/// Whether a leaf has what groups of ours need.
fn fits(node: &LeafNode) -> bool {
    identity(node.credential()).is_ok()
        && node.extensions().unknown(EXT_LEAF).is_some()
        && extension_types()
            .iter()
            .all(|kind| node.capabilities().extensions().contains(kind))
}

/// When a KeyPackage goes out of date, if it has the shape that groups of ours need.
fn shape(key_package: &KeyPackage) -> Option<u64> {
    suite(key_package.ciphersuite() as u16).ok()?;
    let ours = fits(key_package.leaf_node());
    if !ours || *key_package.life_time() != leaf_lifetime() || key_package.last_resort() {
        return None;
    }
    let not_after = key_package.extensions().unknown(EXT_NOT_AFTER)?;
    Some(u64::from_be_bytes(not_after.0.as_slice().try_into().ok()?))
}

/// Refuses what a Commit in a group of ours may not do, though RFC 9420 lets any member do it.
///
/// Whether the committer had the right to do the rest is the client's to judge, from `policy`. An
/// `external` Commit lets a member in again in place of the old leaf, and does nothing else.
pub fn commit(group: &PublicGroup, staged: &StagedCommit, external: bool) -> Outcome<()> {
    if policy(group.group_context().extensions()).is_none() {
        return Ok(()); // Not a group of ours: its members' rules are their own.
    }
    let invalid = |detail| refuse(code::INVALID_COMMIT, detail);
    if external
        && (staged.remove_proposals().count() != 1
            || !staged.update_path_leaf_node().is_some_and(fits))
    {
        return Err(invalid("it lets somebody in who was no member"));
    }
    for queued in staged.queued_proposals() {
        match queued.proposal() {
            Proposal::ExternalInit(_) | Proposal::Remove(_) if external => {}
            _ if external => return Err(invalid("it does more than let a member in again")),
            Proposal::Add(add) if shape(add.key_package()).is_none() => {
                return Err(invalid("it adds a leaf that is not of this protocol"));
            }
            Proposal::Add(_) | Proposal::Remove(_) | Proposal::GroupContextExtensions(_) => {}
            _ => return Err(invalid("it holds a proposal that is not used")),
        }
    }
    let after = staged.group_context().extensions();
    // Exactly two: an ExternalSenders extension, for one, would let strangers propose.
    let ours = after.iter().count() == 2
        && policy(after).is_some()
        && after.required_capabilities() == Some(&required_capabilities());
    if ours {
        Ok(())
    } else {
        Err(invalid("it changes more of the group than its policy"))
    }
}
