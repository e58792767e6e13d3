//! Members who speak MLS rightly and Amanat wrongly: what only another program could send us.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what must be by failing"
)]

use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::{tls_codec::Serialize as _, *};
use openmls::schedule::{ExternalPsk, PreSharedKeyId, Psk};
use openmls_rust_crypto::OpenMlsRustCrypto;

use super::*;

const GID: &[u8] = b"a group";
const SUITE: Ciphersuite = rules::CLASSICAL;

/// A member made of plain OpenMLS, free of our rules.
struct Evil {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    group: MlsGroup,
}

fn in_python(test: impl FnOnce(Python<'_>)) {
    Python::initialize();
    Python::attach(test);
}

fn leaf(signer: &SignatureKeyPair) -> CredentialWithKey {
    credential_with_key(b"evil".to_vec(), signer)
}

fn ours(py: Python<'_>) -> (Engine, Vec<u8>) {
    let fetch = py.eval(c"lambda key: None", None, None).unwrap().unbind();
    let engine = Engine::new(fetch);
    let signer = engine.new_signer(py).unwrap();
    let (package, _) = engine
        .new_key_package(py, SUITE as u16, &signer, vec![], vec![], 1, 1)
        .unwrap();
    (engine, package)
}

/// A group of ours in every respect, made by evil, with one of ours in it.
fn group_of_evil(py: Python<'_>) -> (Evil, Engine) {
    let provider = OpenMlsRustCrypto::default();
    let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    let config = rules::create_config(SUITE, vec![1], vec![]).unwrap();
    let gid = GroupId::from_slice(GID);
    let group =
        MlsGroup::new_with_group_id(&provider, &signer, &config, gid, leaf(&signer)).unwrap();
    let mut evil = Evil {
        provider,
        signer,
        group,
    };
    let (engine, package) = ours(py);
    let (package, _) = rules::key_package(evil.provider.crypto(), &package, None).unwrap();
    let (_, welcome, _) = evil
        .group
        .add_members_without_update(&evil.provider, &evil.signer, &[package])
        .unwrap();
    evil.group.merge_pending_commit(&evil.provider).unwrap();
    let tree = evil
        .group
        .export_ratchet_tree()
        .tls_serialize_detached()
        .unwrap();
    engine
        .join(py, &welcome.to_bytes().unwrap(), Some(&tree))
        .unwrap();
    (evil, engine)
}

fn code_of(py: Python<'_>, engine: &Engine, message: &MlsMessageOut) -> String {
    let refused = engine
        .process(py, GID, &message.to_bytes().unwrap())
        .err()
        .unwrap();
    assert!(engine.take_delta(py).unwrap().iter().all(|(key, _)| {
        // What joining wrote, and nothing of what was refused: the epoch is still the first.
        !key.as_bytes().starts_with(b"past-roster")
    }));
    assert_eq!(engine.group(py, GID).unwrap().0, 1);
    let (code, _): (String, String) = refused
        .value(py)
        .getattr("args")
        .unwrap()
        .extract()
        .unwrap();
    code
}

fn commit_of(
    evil: &mut Evil,
    context: Option<Vec<Extension>>,
    adds: Vec<KeyPackage>,
) -> MlsMessageOut {
    let mut builder = evil.group.commit_builder().propose_adds(adds);
    if let Some(context) = context {
        let context = Extensions::from_vec(context).unwrap();
        builder = builder.propose_group_context_extensions(context).unwrap();
    }
    let bundle = builder
        .load_psks(evil.provider.storage())
        .unwrap()
        .build(
            evil.provider.rand(),
            evil.provider.crypto(),
            &evil.signer,
            |_| true,
        )
        .unwrap()
        .stage_commit(&evil.provider)
        .unwrap();
    bundle.into_commit()
}

/// The extensions a group of ours has.
fn right() -> Vec<Extension> {
    rules::group_extensions(vec![2])
        .unwrap()
        .iter()
        .cloned()
        .collect()
}

fn foreign_key_package(lifetime: Lifetime, last_resort: bool) -> KeyPackage {
    let provider = OpenMlsRustCrypto::default();
    let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
    let capabilities = Capabilities::builder()
        .extensions({
            let mut extensions = rules::capabilities().extensions().to_vec();
            extensions.push(ExtensionType::LastResort);
            extensions
        })
        .build();
    let builder = KeyPackage::builder()
        .key_package_lifetime(lifetime)
        .key_package_extensions(rules::key_package_extensions(1).unwrap())
        .leaf_node_capabilities(capabilities)
        .leaf_node_extensions(rules::leaf_extensions(vec![]).unwrap());
    let builder = if last_resort {
        builder.mark_as_last_resort()
    } else {
        builder
    };
    builder
        .build(SUITE, &provider, &signer, leaf(&signer))
        .unwrap()
        .into_key_package()
}

#[test]
fn a_right_commit_of_plain_openmls_is_taken() {
    in_python(|py| {
        let (mut evil, engine) = group_of_evil(py);
        let commit = commit_of(&mut evil, Some(right()), vec![])
            .to_bytes()
            .unwrap();
        let Ok(Received::Commit(handle, view, _)) = engine.process(py, GID, &commit) else {
            unreachable!("a right Commit");
        };
        assert_eq!(view.6, Some(vec![2]));
        engine.accept(py, handle).unwrap();
        assert_eq!(engine.group(py, GID).unwrap().0, 2);
    });
}

#[test]
fn a_commit_that_changes_more_of_the_context_than_the_policy_is_refused() {
    let senders = |evil: &Evil| {
        let sender =
            ExternalSender::new(evil.signer.public().into(), leaf(&evil.signer).credential);
        Extension::ExternalSenders(vec![sender])
    };
    in_python(|py| {
        for wrong in 0..4 {
            let (mut evil, engine) = group_of_evil(py);
            let mut extensions = right();
            match wrong {
                0 => extensions.push(senders(&evil)),
                1 => drop(extensions.remove(1)), // the policy
                2 => {
                    let policy = [ExtensionType::Unknown(rules::EXT_POLICY)];
                    let fewer = RequiredCapabilitiesExtension::new(&policy, &[], &[]);
                    extensions = vec![
                        Extension::RequiredCapabilities(fewer),
                        rules::unknown(rules::EXT_POLICY, vec![2]),
                    ];
                }
                _ => extensions.push(rules::unknown(rules::EXT_LEAF, vec![])),
            }
            let commit = commit_of(&mut evil, Some(extensions), vec![]);
            assert_eq!(code_of(py, &engine, &commit), code::INVALID_COMMIT);
        }
    });
}

#[test]
fn a_commit_that_adds_a_leaf_with_an_end_or_a_last_resort_is_refused() {
    in_python(|py| {
        for (lifetime, last_resort) in
            [(Lifetime::new(3600), false), (rules::leaf_lifetime(), true)]
        {
            let (mut evil, engine) = group_of_evil(py);
            let package = foreign_key_package(lifetime, last_resort);
            let bytes = MlsMessageOut::from(package.clone()).to_bytes().unwrap();
            assert!(rules::key_package(evil.provider.crypto(), &bytes, None).is_err());
            let commit = commit_of(&mut evil, None, vec![package]);
            assert_eq!(code_of(py, &engine, &commit), code::INVALID_COMMIT);
        }
    });
}

#[test]
fn a_proposal_standing_alone_is_refused_and_does_not_freeze_the_group() {
    in_python(|py| {
        let (mut evil, engine) = group_of_evil(py);
        let (proposal, _) = evil
            .group
            .propose_remove_member(&evil.provider, &evil.signer, LeafNodeIndex::new(1))
            .unwrap();
        assert_eq!(code_of(py, &engine, &proposal), code::INVALID_MESSAGE);
        let (commit, ..) = evil
            .group
            .commit_to_pending_proposals(&evil.provider, &evil.signer)
            .unwrap();
        assert_eq!(code_of(py, &engine, &commit), code::INVALID_COMMIT);
        engine.encrypt(py, GID, b"not frozen", vec![]).unwrap();
        engine
            .commit(py, GID, vec![], vec![], None, true, None, vec![])
            .unwrap();
    });
}

/// Where an external Commit into the group starts.
fn group_info(evil: &Evil) -> VerifiableGroupInfo {
    let info = evil
        .group
        .export_group_info(evil.provider.crypto(), &evil.signer, true)
        .unwrap()
        .to_bytes()
        .unwrap();
    let Some(MlsMessageBodyIn::GroupInfo(info)) = rules::message(&info, rules::MAX_MESSAGE) else {
        unreachable!("a GroupInfo");
    };
    info
}

/// A leaf that fits into a group of ours.
fn right_leaf() -> LeafNodeParameters {
    LeafNodeParameters::builder()
        .with_capabilities(rules::capabilities())
        .with_extensions(rules::leaf_extensions(vec![]).unwrap())
        .build()
}

/// An external Commit made by plain OpenMLS, which removes the leaf that `signer` has, if any.
fn external_commit(
    provider: &OpenMlsRustCrypto,
    signer: &SignatureKeyPair,
    info: VerifiableGroupInfo,
    parameters: LeafNodeParameters,
    psk: Option<PreSharedKeyProposal>,
) -> MlsMessageOut {
    let (_, bundle) = MlsGroup::external_commit_builder()
        .build_group(provider, info, leaf(signer))
        .unwrap()
        .leaf_node_parameters(parameters)
        .add_psk_proposals(psk)
        .load_psks(provider.storage())
        .unwrap()
        .build(provider.rand(), provider.crypto(), signer, |_| true)
        .unwrap()
        .finalize(provider)
        .unwrap();
    bundle.into_commit()
}

#[test]
fn a_stranger_cannot_commit_himself_into_a_group() {
    in_python(|py| {
        let (evil, engine) = group_of_evil(py);
        let provider = OpenMlsRustCrypto::default();
        let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
        let commit = external_commit(&provider, &signer, group_info(&evil), right_leaf(), None);
        assert_eq!(code_of(py, &engine, &commit), code::INVALID_COMMIT);
    });
}

#[test]
fn a_member_may_join_again_by_an_external_commit_and_do_nothing_else_in_it() {
    in_python(|py| {
        let (evil, engine) = group_of_evil(py);
        let provider = OpenMlsRustCrypto::default();
        let external = |parameters, psk| {
            external_commit(&provider, &evil.signer, group_info(&evil), parameters, psk)
        };

        let without_leaf = LeafNodeParameters::builder()
            .with_capabilities(rules::capabilities())
            .build();
        let wrong = external(without_leaf, None);
        assert_eq!(code_of(py, &engine, &wrong), code::INVALID_COMMIT);

        let psk = Psk::External(ExternalPsk::new(vec![1]));
        let psk = PreSharedKeyId::new(SUITE, provider.rand(), psk).unwrap();
        psk.store(&provider, &[2; 32]).unwrap();
        let wrong = external(right_leaf(), Some(PreSharedKeyProposal::new(psk)));
        assert_eq!(code_of(py, &engine, &wrong), code::INVALID_COMMIT);

        let right = external(right_leaf(), None).to_bytes().unwrap();
        let Ok(Received::Commit(handle, view, _)) = engine.process(py, GID, &right) else {
            unreachable!("a right Commit");
        };
        assert_eq!((view.2.0, view.4, view.8), (0, vec![0], true));
        engine.accept(py, handle).unwrap();
        assert_eq!(engine.group(py, GID).unwrap().0, 2);
    });
}

#[test]
fn a_private_commit_is_refused_and_every_public_message_that_is_none() {
    in_python(|py| {
        let (mut evil, engine) = group_of_evil(py);
        let (proposal, _) = evil
            .group
            .propose_remove_member(&evil.provider, &evil.signer, LeafNodeIndex::new(1))
            .unwrap();
        assert_eq!(code_of(py, &engine, &proposal), code::INVALID_MESSAGE);
        let hidden = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .build();
        evil.group
            .set_configuration(evil.provider.storage(), &hidden)
            .unwrap();
        // Whose it is could be forged in one: in the sender data of a PrivateMessage any member can
        // name any leaf, and where that is our own nothing shows it.
        let commit = commit_of(&mut evil, Some(right()), vec![]);
        assert_eq!(code_of(py, &engine, &commit), code::INVALID_MESSAGE);

        let provider = OpenMlsRustCrypto::default();
        let signer = SignatureKeyPair::new(SignatureScheme::ED25519).unwrap();
        let package = KeyPackage::builder()
            .build(SUITE, &provider, &signer, leaf(&signer))
            .unwrap()
            .into_key_package();
        let gid = GroupId::from_slice(GID);
        let proposal =
            JoinProposal::new::<Store>(package, gid, evil.group.epoch(), &signer).unwrap();
        assert_eq!(code_of(py, &engine, &proposal), code::INVALID_MESSAGE);
    });
}

#[test]
fn a_panic_fails_the_engine_for_good() {
    in_python(|py| {
        let (_, engine) = group_of_evil(py);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let panicked = engine.call(py, |_| -> Outcome<()> {
            std::panic::panic_any("in the middle")
        });
        std::panic::set_hook(hook);
        for refused in [panicked, engine.abort(py), engine.group(py, GID).map(drop)] {
            let refused = refused.unwrap_err();
            let args = refused.value(py).getattr("args").unwrap();
            assert_eq!(
                args.get_item(0).unwrap().extract::<String>().unwrap(),
                code::ENGINE_FAILED
            );
        }
        assert!(engine.take_delta(py).is_err());
    });
}

/// The bytes of a hexadecimal field of a test vector.
fn field(vector: &serde_json::Value, name: &str) -> Vec<u8> {
    let text = vector[name].as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
#[ignore = "reads passive-client-*.json of the MLS working group from AMANAT_MLS_VECTORS"]
fn the_rfcs_passive_clients_join_by_their_welcomes_and_follow_every_commit() {
    use ciborium::Value;

    let place = std::env::var("AMANAT_MLS_VECTORS").unwrap();
    let (mut joined, mut followed) = (0, 0);
    for name in ["welcome", "handling-commit", "random"] {
        let Ok(text) = std::fs::read(format!("{place}/passive-client-{name}.json")) else {
            continue;
        };
        let vectors: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        for vector in vectors {
            let psks = vector["external_psks"].as_array().unwrap();
            if vector["cipher_suite"] != SUITE as u16 || !psks.is_empty() {
                continue; // Suites and pre-shared keys that are not used here.
            }
            let package = field(&vector, "key_package");
            let Some(MlsMessageBodyIn::KeyPackage(package)) = rules::message(&package, 1 << 20)
            else {
                unreachable!("a KeyPackage");
            };
            // The private keys are given, so the row is made by hand, as OpenMLS would store it.
            let key = |name| {
                Value::Map(vec![(
                    Value::from("vec"),
                    Value::Array(field(&vector, name).into_iter().map(Value::from).collect()),
                )])
            };
            let row = Value::Map(vec![
                (
                    Value::from("key_package"),
                    Value::serialized(&package).unwrap(),
                ),
                (Value::from("private_init_key"), key("init_priv")),
                (
                    Value::from("private_encryption_key"),
                    Value::Map(vec![(Value::from("key"), key("encryption_priv"))]),
                ),
            ]);
            let bundle: KeyPackageBundle = row.deserialized().unwrap();
            in_python(|py| {
                let (engine, _) = ours(py);
                engine
                    .call(py, |state| {
                        let reference = bundle
                            .key_package()
                            .hash_ref(&state.provider.crypto)
                            .unwrap();
                        state
                            .provider
                            .store
                            .write_key_package(&reference, &bundle)
                            .map_err(engine_failed)
                    })
                    .unwrap();
                let tree = vector["ratchet_tree"]
                    .as_str()
                    .map(|_| field(&vector, "ratchet_tree"));
                let (gid, view) = engine
                    .join(py, &field(&vector, "welcome"), tree.as_deref())
                    .unwrap();
                assert_eq!(view.4, field(&vector, "initial_epoch_authenticator"));
                joined += 1;
                for epoch in vector["epochs"].as_array().unwrap() {
                    if !epoch["proposals"].as_array().unwrap().is_empty() {
                        break; // Proposals that stand alone are not used here.
                    }
                    let commit = field(epoch, "commit");
                    let Ok(Received::Commit(handle, ..)) = engine.process(py, &gid, &commit) else {
                        unreachable!("a right Commit");
                    };
                    engine.accept(py, handle).unwrap();
                    let view = engine.group(py, &gid).unwrap();
                    assert_eq!(view.4, field(epoch, "epoch_authenticator"));
                    followed += 1;
                }
            });
        }
    }
    assert!(joined > 0 && followed > 0);
    println!("{joined} joined, {followed} Commits followed");
}
