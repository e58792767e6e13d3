"""A member who lies about where the group is, or how it got there: their words let nobody in, make
nobody an admin, and keep nobody out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from amanat.cli.groups import _unproven_text
from amanat.client import lineage as lineages
from amanat.client.rules import chains
from amanat.client.rules.answers import Ask, Help, decode_ask
from amanat.client.rules.sent import BEATS_MS
from amanat.client.unit import Unit
from amanat.display import shown
from amanat.drill.shelves import Shelf
from amanat.errors import (
    CopiedVault,
    GroupVouched,
    IdentityChanged,
    InvalidCommit,
    InvalidMessage,
    InvalidWelcome,
    NotAdmin,
    OutOfStep,
    RelayDoubted,
    RelayLied,
    UnknownHelp,
)
from amanat.protocol import codec
from amanat.protocol.drops import first_digest, token_hash
from amanat.protocol.messages import (
    MESSAGE_FRAGMENT,
    CellKind,
    CommitInfo,
    Epoch,
    Kind,
    Policy,
    Vote,
    Votes,
)
from test_comeback import agree, all_hear_all
from test_mls import flipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amanat.drill.person import Person
    from amanat.drill.world import World
    from amanat.protocol.drops import Drop

NO_LEAVES = codec.encode(CommitInfo(leaves=[]))
TICK_S = 10.0
"""How often a client looks for what is due in tests where hours have to pass, in seconds."""


def commit_alone(
    world: World,
    liar: Person,
    gid: bytes,
    *,
    policy: Policy | None = None,
    adds: Sequence[bytes] = (),
    removes: Sequence[str] = (),
) -> bytes:
    """A Commit that a member makes and merges alone, so that only they are in its epoch."""
    talk, engine = liar.rules.conversations, liar.rules.engine
    gone = [p.leaf_index for p in talk.roster.group(gid).people if p.leaf.name in removes]
    before = talk.roster.group(gid).view.epoch
    with liar.client._unit() as unit:
        bundle = engine.commit(
            gid,
            adds=list(adds),
            removes=gone,
            policy=codec.encode(policy) if policy else None,
            update=True,
            aad=NO_LEAVES,
        )
        engine.merge_pending(gid, bundle.sha256)
        talk.lineages.goes_on(unit, gid, before, bundle.commit, is_read=True)
        talk.roster._groups.clear()
        with contextlib.suppress(IdentityChanged):  # the liar's own program minds a third in two
            talk.entering.enter_epoch(unit, gid, renewed={liar.rules.me.identity})
    return bundle.commit


def help_of(helper: Person, gid: bytes, since: int | None, **changes: object) -> Help:
    """A helper's answer to a question from an epoch on, with lies."""
    talk, engine = helper.rules.conversations, helper.rules.engine
    here = talk.roster.group(gid).view.epoch
    state = talk.roster.state_of(gid, since) if since is not None else None
    with helper.client._unit() as unit:
        secret = talk.epochs.epoch_secret(unit, gid)
    made = Help(
        Epoch(since, state) if since is not None and state else None,
        (talk.lineages.since(gid, since, upto=here) or []) if since is not None else [],
        engine.group_info(gid),
        engine.export_tree(gid),
        secret,
        talk.roster.clock(gid) + 1,
        0,
        [],
    )
    return structs.replace(made, **changes)


def go_astray(world: World, person: Person, gid: bytes) -> None:
    with person.client._unit() as unit:
        person.rules.conversations.astray.go_astray(unit, gid, CopiedVault.code, is_restart=True)


def doubts(world: World, person: Person, gid: bytes) -> None:
    """Have a person hear that the group is elsewhere, and ask."""
    with person.client._unit() as unit:
        person.rules.conversations.astray.doubt(unit, gid, None)


def empty(drop: Drop) -> Shelf:
    """An empty drop, as a relay shows it."""
    append, read = (token_hash(drop.drop_id, token) for token in drop[1:])
    return Shelf(append, read, 30, [first_digest(drop.drop_id)])


def take(world: World, person: Person, gid: bytes, help_: Help) -> None:
    with person.client._unit() as unit:
        person.db.execute("UPDATE comeback SET helper = ? WHERE gid = ?", (bytes(32), gid))
        person.rules.conversations.comebacks.take(unit, gid, codec.encode(help_))


def seen_by(person: Person, gid: bytes) -> tuple[str, list[str], list[str]]:
    view = person.client.chat(gid).view()
    return view.name, sorted(view.admins), sorted(view.people)


def seized(liar: Person, gid: bytes) -> Policy:
    """The policy by which a member would rule a group."""
    talk = liar.rules.conversations
    policy = talk.roster.group(gid).policy
    return structs.replace(policy, direct=[], admins=[liar.rules.me.identity], name="mallory's")


def package_of(liar: Person, stranger: Person, gid: bytes) -> bytes:
    talk = liar.rules.conversations
    suite = talk.roster.group(gid).view.suite
    with liar.client._unit() as unit:
        package = talk.key_packages.their_key_package(unit, stranger.rules.me.identity, suite)
    assert package is not None
    return package


@pytest.mark.long
async def test_a_member_s_help_puts_nobody_into_office_and_an_honest_one_s_ends_the_trouble(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", TICK_S)
    alice, bob, mallory, carol = await world.friends("alice", "bob", "mallory", "carol")
    gid = await world.group("g", alice, bob, mallory, carol)
    before = seen_by(alice, gid)
    await carol.sleep()
    for one in (alice, bob):  # so that mallory is the only one who can help
        go_astray(world, one, gid)
    commit_alone(world, mallory, gid, policy=seized(mallory, gid))
    await world.pass_time(1800)
    for one in (alice, bob):
        assert seen_by(one, gid) == before
        with pytest.raises(OutOfStep):
            one.client.chat(gid).rename("mine")
        assert set(one.warnings()) == {CopiedVault.code, InvalidCommit.code}
    carol.wake()
    await world.pass_time(3600)
    honest = [alice, bob, carol]
    agree(honest, gid)
    assert seen_by(alice, gid) == before
    with pytest.raises(NotAdmin):
        carol.client.chat(gid).rename("carol's")
    alice.client.chat(gid).remove("mallory")
    await world.pass_time(600)
    assert seen_by(bob, gid) == ("g", ["alice"], ["alice", "bob", "carol"])
    agree(honest, gid)


@pytest.mark.long
@pytest.mark.parametrize("asks", ["lost", "asks"])
@pytest.mark.parametrize("deed", ["rule", "put out", "let in"])
async def test_no_way_is_gone_on_which_somebody_did_what_they_may_not(
    world: World, deed: str, asks: str
) -> None:
    alice, bob, mallory, eve = await world.friends("alice", "bob", "mallory", "eve")
    gid = await world.group("g", alice, bob, mallory)
    before, epoch = seen_by(alice, gid), alice.client.chat(gid).view().epoch
    await mallory.sleep()
    match deed:
        case "rule":
            commit_alone(world, mallory, gid, policy=seized(mallory, gid))
        case "put out":
            commit_alone(world, mallory, gid, removes=["bob"])
        case _:
            package = package_of(mallory, eve, gid)
            commit_alone(world, mallory, gid, adds=[package])
    commit_alone(world, mallory, gid)  # and one that she may make
    (go_astray if asks == "lost" else doubts)(world, alice, gid)
    take(world, alice, gid, help_of(mallory, gid, epoch))
    assert alice.warnings()[-1] == InvalidCommit.code
    assert alice.rules.engine.pending(gid) is None
    await world.settle()
    assert seen_by(alice, gid) == seen_by(bob, gid) == before
    agree([alice, bob], gid)


@pytest.mark.long
@pytest.mark.parametrize("how", ["third", "group"])
async def test_a_conversation_of_two_stays_one_no_matter_who_helps(world: World, how: str) -> None:
    alice, mallory, eve = await world.friends("alice", "mallory", "eve")
    gid = mallory.gid("alice")
    await mallory.sleep()
    epoch = alice.client.chat(gid).view().epoch
    if how == "third":
        commit_alone(world, mallory, gid, adds=[package_of(mallory, eve, gid)])
    else:
        commit_alone(world, mallory, gid, policy=seized(mallory, gid))
    go_astray(world, alice, gid)
    take(world, alice, gid, help_of(mallory, gid, epoch))
    assert alice.warnings()[-1] == InvalidCommit.code
    view = alice.client.chat(gid).view()
    assert (view.state, view.is_direct, sorted(view.people)) == (
        "astray",
        True,
        ["alice", "mallory"],
    )


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "from an epoch it was not": ({"since": Epoch(1, bytes(8))}, InvalidMessage.code),
    "from an epoch that never was": ({"since": Epoch(99, bytes(8))}, InvalidMessage.code),
    "not to its end": ({"commits": slice(0, -1)}, InvalidMessage.code),
    "not from its beginning": ({"commits": slice(1, None)}, InvalidCommit.code),
    "backwards": ({"commits": slice(None, None, -1)}, InvalidCommit.code),
    "in another's name": ({"group_info": None}, InvalidWelcome.code),
    "with another tree": ({"tree": None}, InvalidWelcome.code),
}


@pytest.mark.long
async def test_help_that_does_not_hold_changes_nothing(world: World) -> None:
    people = alice, bob, _ = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    await alice.sleep()
    old = alice.copy()
    alice.wake()
    epoch = alice.client.chat(gid).view().epoch
    for name in ("one", "two", "three"):
        alice.client.chat(gid).rename(name)
        await world.settle()
    right = help_of(bob, gid, epoch)
    assert len(right.commits) == 3
    world.network.copied.add("alice")
    await alice.live_as(old)
    await alice.sleep()
    go_astray(world, alice, gid)
    before = alice.rules.conversations.roster.group(gid)
    for lie, code in LIES.values():
        changes = {
            field: value
            if isinstance(value, Epoch)
            else right.commits[value]
            if isinstance(value, slice)
            else flipped(getattr(right, field), -1 if field == "group_info" else 99)
            for field, value in lie.items()
        }
        take(world, alice, gid, structs.replace(right, **changes))
        assert alice.warnings()[-1] == code, lie
        assert alice.rules.conversations.roster.group(gid) == before
        assert alice.rules.engine.pending(gid) is None
    with alice.client._unit() as unit:
        for junk in (b"", b"\0" * 100, None):
            alice.rules.conversations.comebacks.take(unit, gid, junk)
    assert alice.rules.engine.pending(gid) is None
    take(world, alice, gid, right)
    assert alice.rules.engine.pending(gid) is not None
    alice.wake()
    await world.settle()
    agree(people, gid)
    assert alice.client.chat(gid).view().name == "three"
    await all_hear_all(world, people, gid)


@pytest.mark.long
async def test_a_member_merely_told_that_the_group_went_on_goes_on_by_the_drop_alone(
    world: World,
) -> None:
    people = alice, bob, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    commit_alone(world, mallory, gid)  # rightful, and in no drop
    mallory.client.chat(gid).send("I have gone on")
    await world.pass_time(2)
    assert alice.texts("g") == []
    await world.pass_time(300)  # she hands her Commit to members who ask about her epoch
    await world.settle()
    agree(people, gid)
    assert not any(person.warnings() for person in people)
    assert alice.texts("g") == bob.texts("g") == ["I have gone on"]
    await all_hear_all(world, people, gid)


@pytest.mark.long
async def test_a_commit_that_is_handed_over_does_not_overtake_what_is_in_the_drop(
    world: World,
) -> None:
    people = alice, bob, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    epoch = alice.client.chat(gid).view().epoch
    for one in (bob, mallory):
        await one.sleep()
    alice.client.chat(gid).rename("alice's")
    await world.settle()
    commit_alone(world, mallory, gid)
    mallory.client.chat(gid).send("I have gone elsewhere")
    doubts(world, bob, gid)
    take(world, bob, gid, help_of(mallory, gid, epoch))
    assert bob.client.chat(gid).view().epoch == epoch
    for one in (bob, mallory):
        one.wake()
    await world.settle()
    assert bob.client.chat(gid).view().name == "alice's"
    agree(people, gid)  # mallory's program is honest again, and has lost
    await world.pass_time(BEATS_MS[0] / 1000 + 60)  # members ask for her words from there
    await all_hear_all(world, people, gid)


@pytest.mark.long
async def test_a_claim_to_be_elsewhere_costs_a_question_and_accuses_nobody(world: World) -> None:
    people = alice, _, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    await world.pass_time(100)
    talk = mallory.rules.conversations
    view = talk.roster.group(gid).view
    to = next(
        p
        for p in talk.roster.others(talk.roster.group(gid))
        if p.identity == alice.rules.me.identity
    )
    before = alice.rules.conversations.roster.group(gid)
    for number in range(4):
        claimed = Epoch(view.epoch, bytes([number] * 8))
        with mallory.client._unit() as unit:
            mallory.rules.conversations.posting.post(
                unit, gid, to, CellKind.NOTICE, b"", epoch=claimed
            )
        await world.pass_time(30)
    await world.settle()
    assert alice.rules.conversations.roster.group(gid) == before
    assert not alice.warnings()
    alice.client.chat(gid).send("I can speak")
    await world.settle()
    await all_hear_all(world, people, gid)
    asked = alice.one("SELECT count(*) FROM outbox WHERE purpose = 'ask'")
    assert asked == 0


@pytest.mark.long
async def test_votes_of_one_liar_move_nobody(world: World) -> None:
    people = alice, bob, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    epoch = alice.client.chat(gid).view().epoch
    await mallory.sleep()
    alice.client.chat(gid).rename("alice's")
    await world.settle()
    commit_alone(world, mallory, gid)
    with mallory.client._unit() as unit:
        mallory.rules.conversations.branches.vote(unit, gid, epoch)
    lie = help_of(mallory, gid, epoch)
    own = mallory.rules.conversations.branches.votes(gid, epoch)
    junk = [Vote(epoch, bob.rules.me.signer, own[0].commit, own[0].signature)]
    for one in (alice, bob):
        doubts(world, one, gid)
        take(world, one, gid, structs.replace(lie, votes=[*own, *junk]))
        assert one.rules.conversations.branches.siblings(gid)
        assert one.rules.engine.pending(gid) is None
        assert set(one.warnings()) == {RelayDoubted.code}
    await world.pass_time(2 * 3600)
    assert seen_by(alice, gid) == seen_by(bob, gid)
    assert alice.client.chat(gid).view().name == "alice's"
    agree([alice, bob], gid)


@pytest.mark.long
async def test_after_a_long_absence_an_admin_vouches_and_the_person_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineages, "KEPT_COMMITS", 1)
    people = alice, bob, _ = await world.friends("alice", "bob", "carol")
    dave = await world.person("dave")
    await world.meet(alice, dave)
    gid = await world.group("g", *people)
    await bob.sleep()
    old = bob.copy()
    alice.client.chat(gid).add(["dave"])
    await world.settle()
    for name in ("one", "two", "three", "four"):
        alice.client.chat(gid).rename(name)
        await world.settle()
    world.network.copied.add("bob")
    await bob.live_as(old)
    go_astray(world, bob, gid)
    await world.settle()
    agree([*people, dave], gid)
    assert bob.client.chat(gid).view().name == "four"
    (told,) = [w.detail for w in bob.client.status().warnings if w.code == GroupVouched.code]
    assert "dave" in told
    assert "its name is four" in told
    await all_hear_all(world, [*people, dave], gid)


@pytest.mark.long
async def test_where_nobody_vouches_the_person_looks_and_decides(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineages, "KEPT_COMMITS", 1)
    alice, bob, carol = people = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    await bob.sleep()
    old = bob.copy()
    alice.client.chat(gid).set_admin("carol")
    await world.settle()
    for name in ("one", "two", "three", "four"):
        carol.client.chat(gid).rename(name)
        await world.settle()
    await alice.sleep()  # the only admin whom bob knows
    world.network.copied.add("bob")
    await bob.live_as(old)
    go_astray(world, bob, gid)
    await world.pass_time(300)
    assert bob.client.chat(gid).view().state == "astray"
    (one,) = bob.client.chat(gid).rejoinable()
    assert (one.helper, one.signer, one.name) == ("carol", "carol", "four")
    assert (one.came, one.went, one.admins) == ([], [], ["carol"])
    carol_shown, name = shown("carol"), shown("four")
    told = f"admins now: {carol_shown}; its name: {name}"
    assert _unproven_text(one) == f"{carol_shown} helps, signed by {carol_shown}: {told}"
    with pytest.raises(UnknownHelp):
        bob.client.chat(gid).rejoin("alice")
    bob.client.chat(gid).rejoin("carol")
    await world.settle()
    alice.wake()
    await world.settle()
    agree(people, gid)
    assert GroupVouched.code in bob.warnings()
    await all_hear_all(world, people, gid)


async def put_down(world: World, *, ahead: int) -> tuple[bytes, list[Person]]:
    """A group in which Bob has lost count. Mallory, who was an admin when he was last here and no
    longer is, helps him to a group of her own, so many epochs ahead, without a lineage."""
    people = alice, bob, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    alice.client.chat(gid).set_admin("mallory")
    await world.settle()
    await bob.sleep()
    await mallory.sleep()
    alice.client.chat(gid).set_admin("mallory", is_admin=False)
    await world.settle()
    for _ in range(ahead):
        commit_alone(world, mallory, gid, policy=seized(mallory, gid))
    go_astray(world, bob, gid)
    take(world, bob, gid, help_of(mallory, gid, None))
    return gid, people


@pytest.mark.long
async def test_an_admin_who_was_put_down_vouches_for_nothing_while_others_can_be_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineages, "KEPT_COMMITS", 4)
    gid, (alice, bob, _) = await put_down(world, ahead=5)
    bob.wake()
    await world.pass_time(300)
    agree([alice, bob], gid)
    assert seen_by(bob, gid) == seen_by(alice, gid)
    assert GroupVouched.code not in bob.warnings()
    await all_hear_all(world, [alice, bob], gid)


@pytest.mark.long
async def test_an_admin_who_was_put_down_is_not_believed_about_what_others_could_show(
    world: World,
) -> None:
    gid, (alice, bob, mallory) = await put_down(world, ahead=2)
    await alice.sleep()
    bob.wake()
    await world.pass_time(300)
    assert bob.client.chat(gid).view().state == "astray"
    assert [one.signer for one in bob.client.chat(gid).rejoinable()] == ["mallory"]
    alice.wake()
    await world.pass_time(1200)
    agree([alice, bob], gid)
    assert seen_by(bob, gid) == seen_by(alice, gid)
    assert mallory.client.chat(gid).view().name != alice.client.chat(gid).view().name


@pytest.mark.long
async def test_a_lineage_reaches_back_so_far_and_no_more_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineages, "KEPT_COMMITS", 4)
    people = alice, _ = await world.friends("alice", "bob")
    gid = await world.group("g", *people)
    talk = alice.rules.conversations
    for number in range(12):
        alice.client.chat(gid).rename(f"name {number}")
        await world.settle()
        epoch = talk.roster.group(gid).view.epoch
        assert alice.one("SELECT count(*) FROM base WHERE gid = ?", gid) <= 2
        assert alice.one("SELECT count(*) FROM step WHERE gid = ?", gid) <= 2 * 4
        for past in range(talk.lineages.oldest(gid), epoch + 1):
            made = talk.lineages.at(gid, past)
            assert made is not None
            assert made.view().state[:8] == talk.roster.state_of(gid, past)
    assert epoch - talk.lineages.oldest(gid) >= 4
    assert talk.lineages.at(gid, 0) is None


@pytest.mark.long
async def test_an_old_message_in_the_drop_of_an_epoch_stops_nobody(world: World) -> None:
    people = alice, _, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    talk = mallory.rules.conversations
    with mallory.client._unit():
        old = mallory.rules.engine.encrypt(gid, b"of an epoch that nobody can read any more")
    for number in range(8):
        alice.client.chat(gid).rename(f"name {number}")
        await world.settle()
    with mallory.client._unit() as unit:
        talk.epochs.append_to_epoch(unit, gid, talk.roster.group(gid), MESSAGE_FRAGMENT, old)
    await world.settle()
    alice.client.chat(gid).rename("after it")
    await world.settle()
    assert {person.client.chat(gid).view().name for person in people} == {"after it"}


@pytest.mark.long
async def test_every_asking_arrives_while_a_label_for_it_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("g", alice, bob)
    await bob.sleep()
    go_astray(world, alice, gid)
    asked, read = set(), set()
    comebacks, many = alice.rules.conversations.comebacks, chains.WAYS_BACK * 3 // 4
    for _ in range(many):
        comebacks._asked_at.clear()  # else she waits until Bob would answer
        with alice.client._unit() as unit:
            comebacks._ask(unit, gid)
        asked.add(alice.one("SELECT nonce FROM comeback WHERE gid = ?", gid))
        await world.pass_time(0.5)
    help_them = bob.rules.conversations.helping.help

    def read_it(unit: Unit, identity: bytes, payload: bytes) -> None:
        read.add(decode_ask(payload).nonce)
        help_them(unit, identity, payload)

    monkeypatch.setattr(bob.rules.conversations.helping, "help", read_it)
    bob.wake()
    await world.pass_time(2)
    assert len(asked) == many
    assert asked <= read


async def test_a_contact_is_answered_so_often_and_no_more(world: World) -> None:
    alice, bob = await world.friends("alice", "bob")
    gid = await world.group("g", alice, bob)
    answered = 0
    for number in range(300):
        nonce = number.to_bytes(16, "big")
        asked = Ask(gid, nonce, [], is_lost=True, votes=[])
        before = bob.one("SELECT count(*) FROM helped")
        with bob.vault.unit(now=world.now() + number * 1000) as unit:
            bob.rules.conversations.helping.help(unit, alice.rules.me.identity, codec.encode(asked))
        answered += bob.one("SELECT count(*) FROM helped") - before
    assert 1 < answered <= 12  # each may be a file


@pytest.mark.long
async def test_what_members_are_asked_to_say_they_say_once(world: World) -> None:
    people = alice, bob, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    alice.client.chat(gid).rename("one")
    await world.settle()
    said = bob.one("SELECT sent_seq FROM conversation WHERE gid = ?", gid)
    for epoch in (0, 1, 2, 2, 1, 50):
        with mallory.client._unit() as unit:
            mallory.rules.conversations.saying.say(
                unit, gid, Kind.VOTES, codec.encode(Votes(epoch, []))
            )
    await world.pass_time(2)
    assert bob.one("SELECT sent_seq FROM conversation WHERE gid = ?", gid) <= said + 1
    await world.settle()
    assert not any(person.warnings() for person in people)


@pytest.mark.long
async def test_relay_that_hides_a_commit_from_a_member_holds_them_up_for_minutes(
    world: World,
) -> None:
    people = alice, bob, carol = await world.friends("alice", "bob", "carol")
    gid = await world.group("g", *people)
    alice.client.chat(gid).set_admin("carol")
    await world.settle()
    _, drop = bob.rules.conversations.epochs.epoch_drops(gid)[-1]
    shelf = empty(drop)
    world.relay.faces["bob", drop.drop_id] = shelf
    carol.client.chat(gid).rename("carol's")
    await world.pass_time(1)
    alice.client.chat(gid).send("this is of the next epoch")
    await world.pass_time(30)
    assert bob.client.chat(gid).view().name == "g"
    await world.pass_time(300)
    assert bob.client.chat(gid).view().name == "carol's"
    assert RelayLied.code in bob.warnings()  # it has taken a Commit that it does not show
    agree(people, gid)
    await all_hear_all(world, people, gid)


@pytest.mark.long
async def test_two_who_hear_nothing_of_each_other_find_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", TICK_S)
    people = alice, bob = await world.friends("alice", "bob")
    gid = await world.group("g", *people)
    alice.client.chat(gid).set_admin("bob")
    await world.settle()
    await bob.sleep()
    alice.client.chat(gid).rename("alice's")
    await world.settle()
    _, drop = bob.rules.conversations.epochs.epoch_drops(gid)[-1]
    shelf = empty(drop)
    world.relay.faces["bob", drop.drop_id] = shelf
    true = world.relay.shelves[drop.drop_id]
    for person in people:
        with (
            person.client._unit() as unit
        ):  # as where both have refreshed their keys in their branches
            person.rules.chains.end_chains(unit, gid)
    bob.client.chat(gid).rename("bob's")
    before = len(true.cells)
    bob.wake()
    while len(true.cells) == before:
        await world.pass_time(0.5)
    shelf.add(true.cells[-1])
    await world.pass_time(30)
    assert {person.client.chat(gid).view().name for person in people} == {"alice's", "bob's"}
    alice.client.chat(gid).send("do you hear me?")
    await world.pass_time(3 * 3600)
    agree(people, gid)
    await all_hear_all(world, people, gid)


@pytest.mark.long
async def test_a_commit_that_nobody_can_apply_is_outrun(world: World) -> None:
    people = alice, _, mallory = await world.friends("alice", "bob", "mallory")
    gid = await world.group("g", *people)
    epoch = alice.client.chat(gid).view().epoch
    with mallory.client._unit():
        bundle = mallory.rules.engine.commit(gid, update=True, aad=NO_LEAVES)
        mallory.rules.engine.clear_pending(gid)
    # The confirmation tag, and after it the membership tag: 48 bytes each, and a length of 1.
    broken = flipped(bundle.commit, 8 * (len(bundle.commit) - 60))
    assert alice.rules.engine.lineage(gid).read(broken)
    drop_id, cell = mallory.seal_for_epoch(gid, mallory.piece(gid, broken))
    with alice.client._unit() as unit:
        alice.rules.conversations.epochs.epoch_secret(unit, gid)
    await world.settle()
    world.relay.shelves[drop_id].add(cell)
    for person in people:
        with person.client._unit() as unit:
            person.rules.conversations.roster.look_soon(unit, gid, at=world.now())
    await world.pass_time(120)
    agree(people, gid)
    assert alice.client.chat(gid).view().epoch == epoch + 1  # one of them has, and not all
    assert not any(person.warnings() for person in people)


@pytest.mark.long
async def test_what_was_gone_on_by_while_the_relay_was_away_gives_way_to_its_drop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "tick_s", TICK_S)
    second = world.add_relay("DE")
    alice = await world.person("alice")
    bob, mallory = [await world.person(name, relay=second) for name in ("bob", "mallory")]
    await world.meet(alice, bob, mallory)
    await world.meet(bob, mallory)
    gid = await world.group("g", alice, bob, mallory)
    await bob.sleep()
    await mallory.sleep()
    alice.client.chat(gid).rename("alice's")
    await world.settle()
    await alice.sleep()
    world.network.cut(world.relay.address)
    commit_alone(world, mallory, gid)
    mallory.client.chat(gid).send("I have gone elsewhere")
    bob.wake()
    mallory.wake()
    await world.pass_time(1200)
    assert bob.texts("g") == ["I have gone elsewhere"]  # bob can know of no other
    alice.wake()
    world.network.away.clear()
    await world.pass_time(1800)
    people = [alice, bob, mallory]
    agree(people, gid)
    assert bob.client.chat(gid).view().name == "alice's"
    await all_hear_all(world, people, gid)
