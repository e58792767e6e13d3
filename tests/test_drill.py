"""The drill: its attacks find planted facts, and its people behave as real clients do."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from amanat.client import rights
from amanat.client.rules import roster
from amanat.client.rules.gaps import Gaps
from amanat.client.surroundings import TICK_S
from amanat.drill import (
    attackers,
    copied,
    drill,
    figures,
    integrity,
    intrusion,
    lines,
    live,
    targets,
)
from amanat.drill.attackers import judge, learn, train
from amanat.drill.attacks import (
    content,
    copied_vault,
    identifiers,
    infiltrator,
    ip,
    metadata,
    plaintext,
    presence,
    replay,
    sizes,
    substitution,
    unsealed,
)
from amanat.drill.designs import (
    DESIGNS,
    HIDDEN,
    covered,
    deposit,
    observe,
    stored_size,
    with_puppets,
)
from amanat.drill.figures import Report, Result, Settings
from amanat.drill.lines import Watched
from amanat.drill.linking import Features, contact_features, group_features
from amanat.drill.queueing import PERIOD_S
from amanat.drill.report import page
from amanat.drill.sample import Sample, draw
from amanat.drill.scores import interval, rank
from amanat.drill.shelves import Relay
from amanat.drill.traces import Said, read_said
from amanat.drill.world import World
from amanat.errors import BadArgument, BrokenControl, ReportExists
from figures import SOAK, rounds, soak_alone

pytestmark = pytest.mark.long

SMALL = Settings(None, "edges", 64, rounds(2, 7), 2, ("contacts", "ip"), ("federated", "amanat"))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return draw(read_said(None, "edges"), people=100, days=10, seed=1)


def chances(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Scores


def test_figures_of_a_ranking_are_those_one_counts_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    truth = np.array([True, False, True, False, False])
    found = rank(score, truth, chances())
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.auc == pytest.approx(5 / 6)
    assert found.precision_at_k == 0.5
    assert found.base == 0.4


def test_scores_that_say_nothing_find_the_base_rate() -> None:
    truth = chances(1).random(20_000) < 0.1
    found = rank(np.zeros(20_000), truth, chances(2))
    assert found.average_precision == pytest.approx(found.base, rel=0.1)
    assert found.auc == pytest.approx(0.5, abs=0.02)


def test_interval_holds_the_mean_and_closes_with_more_seeds() -> None:
    values = chances(3).normal(0.5, 0.1, 400).tolist()
    mean, low, high = interval(values)
    assert low < mean < high
    few = interval(values[:20])
    assert few[2] - few[1] > high - low
    assert interval([0.25]) == (0.25, 0.25, 0.25)


# People


def test_seed_makes_the_sample() -> None:
    said = read_said(None, "edges")
    one, same, other = (draw(said, people=64, days=7, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.at, same.at)
    assert one.talks == same.talks
    assert not np.array_equal(one.contacts, other.contacts)


def test_sample_is_in_order_and_its_truth_is_mutual(sample: Sample) -> None:
    assert (np.diff(sample.at) >= 0).all()
    assert sample.at[0] >= 0
    for truth in (sample.contacts, sample.comembers):
        assert truth.any()
        assert (truth == truth.T).all()
        assert not truth.diagonal().any()
    for talk, sender in zip(sample.talk.tolist(), sample.sender.tolist(), strict=True):
        assert sender in sample.talks[talk]
    for rows in sample.sessions:
        assert (rows[:, 0] < rows[:, 1]).all()
        assert (rows[1:, 0] > rows[:-1, 1]).all()


def test_own_message_is_said_while_the_client_is_open(sample: Sample) -> None:
    for at, sender in zip(sample.at.tolist(), sample.sender.tolist(), strict=True):
        assert sample.opened(sender, at) == at


def test_groups_of_irc_are_dealt_and_a_named_person_is_written_to(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    lines = [
        f"[{h:02}:{m:02}] <p{(h * m) % 80}> p{(h + m) % 80}: hello"
        if m % 2
        else f"[{h:02}:{m:02}] <p{(h * 7 + m) % 80}> to everybody"
        for h, m in itertools.product(range(24), range(60))
    ]
    trace.write_text("\n".join(lines))
    found = draw(read_said(trace, "irc"), people=70, days=1, seed=1)
    assert found.contacts.any()
    assert found.comembers.any()
    sizes_ = {len(members) for members in found.talks if len(members) > 2}
    assert min(sizes_) >= 4


def test_trace_with_too_few_people_is_named() -> None:
    said = [Said(60 * n, f"p{n % 3}", f"p{(n + 1) % 3}") for n in range(50)]
    with pytest.raises(BadArgument, match="people"):
        draw(said, people=64, days=7, seed=0)


# Servers' evidence


def test_only_what_a_design_shows_is_in_its_evidence(sample: Sample) -> None:
    for design, mode in (("sealed", None), ("perqueue", None), ("amanat", "hopped")):
        assert (observe(sample, design, mode, chances()).source == HIDDEN).all()
    direct, hopped = (observe(sample, "amanat", mode, chances()) for mode in ("direct", "hopped"))
    assert ip.measure(direct) == 1
    assert ip.measure(hopped) == 0
    assert np.array_equal(direct.at, hopped.at)
    assert np.array_equal(direct.place, hopped.place)
    for seen in (direct, hopped):
        assert sorted(itertools.chain(*seen.owners)) == list(range(sample.people))
        for place, recipient in zip(seen.place.tolist(), seen.recipient.tolist(), strict=True):
            assert recipient in seen.owners[place]


@pytest.mark.parametrize(
    ("features", "truth"), [(contact_features, "contacts"), (group_features, "comembers")]
)
def test_attack_finds_everything_where_the_server_is_told(
    sample: Sample, features: object, truth: str
) -> None:
    seen = observe(sample, "federated", None, chances())
    (score,) = features(seen, sample.people).values  # type: ignore[operator]
    above = np.triu_indices(sample.people, 1)
    found = rank(score[above], getattr(sample, truth)[above], chances())
    assert found.average_precision == 1


def test_attack_finds_two_who_answer_each_other_among_mailboxes() -> None:
    at = np.sort(chances(4).uniform(0, 864_000, 400))
    sender = np.arange(400) % 2
    day = np.array([[0.0, 864_000.0]])
    noise = chances(5)
    others = noise.integers(2, 40, (2_000, 2))
    others = others[others[:, 0] != others[:, 1]]
    pairs = {(min(a, b), max(a, b)) for a, b in others.tolist()}
    talks = [(0, 1), *sorted(pairs)]
    number = {talk: index for index, talk in enumerate(talks)}
    found = Sample(
        40,
        864_000.0,
        talks,  # type: ignore[arg-type]
        np.concatenate([at, noise.uniform(0, 864_000, len(others))]),
        np.concatenate([sender, others[:, 0]]),
        np.concatenate(
            [
                np.zeros(400, dtype=int),
                np.array([number[min(a, b), max(a, b)] for a, b in others.tolist()]),
            ]
        ),
        [day] * 40,
    )
    seen = observe(found, "sealed", None, chances())
    score = contact_features(seen, 40).values[0]
    above = np.triu_indices(40, 1)
    best = int(np.argmax(score[above]))
    assert (above[0][best], above[1][best]) == (0, 1)


def test_sizes_at_rest_are_those_of_the_design() -> None:
    texts = np.array([0, 50, 300, 900, 4_000])
    assert stored_size(texts, "amanat").tolist() == [1024, 1024, 1024, 16384, 16384]
    assert set(stored_size(texts, "perqueue")) == {16_384}
    assert all(stored_size(texts, "sealed") % 160 == 0)
    assert stored_size(texts, "cloud").tolist() == texts.tolist()


def test_buckets_hold_as_many_people_as_is_asked(sample: Sample) -> None:
    for mode in ("hopped", "covered"):
        seen = observe(sample, "amanat", mode, chances(), per_bucket=8)
        assert len(seen.owners) == -(-sample.people // 8)
        assert max(map(len, seen.owners)) == 8
        half = with_puppets(seen, sample.people, 0.5, chances())
        assert max(map(len, half.owners)) == 4


def test_attacks_on_lines_visits_and_sizes(sample: Sample) -> None:
    hopped = observe(sample, "amanat", "hopped", chances())
    sealed = observe(sample, "sealed", None, chances())
    assert infiltrator.measure(hopped, sample.people, chances()) > 0.9  # type: ignore[operator]
    assert presence.measure(sample, sealed, chances())[0] == 1
    linked, guess = presence.measure(sample, hopped, chances())
    assert guess < linked < 1
    blocks, base = sizes.measure(observe(sample, "perqueue", None, chances()), 16_384, chances())
    assert blocks == pytest.approx(base)


def test_covered_one_cell_of_each_is_seen_at_the_end_of_a_period(sample: Sample) -> None:
    given = covered(sample, chances())
    small = given.size <= 700
    at, author = given.at[small], given.author[small]
    assert not (at % PERIOD_S).any()
    assert len(np.unique(np.stack([at, author]), axis=1).T) == len(at)
    # Nothing is lost, except the last words of all.
    said = [(who, talk) for who, talk in zip(sample.sender, sample.talk, strict=True)]
    texts = given.size > 0
    copies = sum(len(sample.talks[talk]) - 1 for _, talk in said)
    assert 0.98 * copies < texts.sum() <= copies
    seen = observe(sample, "amanat", "covered", chances())
    assert (seen.source == HIDDEN).all()
    assert seen.period_s == PERIOD_S


def test_covered_a_line_is_named_only_where_it_alone_uploads(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observe(sample, "amanat", "covered", chances())
    shares = [infiltrator.measure(seen, sample.people, chances(seed)) for seed in range(5)]
    assert np.mean([share for share in shares if share is not None]) < 0.1
    honest = infiltrator._uploads

    def only_some(*args: object) -> list[np.ndarray]:
        # As if a client sent only when it has something to send.
        every = honest(*args)  # type: ignore[arg-type]
        return [at if who % 50 == 0 else at[:0] for who, at in enumerate(every)]

    monkeypatch.setattr(infiltrator, "_uploads", only_some)
    monkeypatch.setattr(infiltrator, "TARGETS", 1)
    assert max(infiltrator.measure(seen, sample.people, chances(s)) or 0 for s in range(60)) == 1


def test_a_person_always_there_is_left_and_one_who_is_not_is_soon_alone() -> None:
    left = presence.intersect(200, chances())
    for habit in presence.HABITS:
        assert left[habit, 1] >= left[habit, 10] >= left[habit, 50] >= 1
    assert left["phone", 10] == 1
    assert left["always", 10] > 100 > left["16 h a day", 10] > left["phone", 10]


# Attackers


def test_attacker_learns_from_some_seeds_and_is_judged_on_another() -> None:
    def seed(number: int) -> tuple[Features, np.ndarray]:
        rng = chances(number)
        truth = np.triu(rng.random((60, 60)) < 0.1, 1)
        truth |= truth.T
        useless, useful = rng.random((2, 60, 60))
        return Features(["useless", "useful"], [useless, useful + truth]), truth

    lessons = [learn(*seed(number), chances()) for number in range(3)]
    attacker = train(lessons, seed=0)
    assert attacker.best == 1
    found = judge(attacker, *seed(9), chances())
    assert found["count"].average_precision > 0.9
    assert found["trees"].average_precision > 0.9


def test_field_that_never_repeats_names_nobody_and_one_that_is_a_name_names_all() -> None:
    who = chances(6).integers(0, 16, 8_000)
    fields = {"unique": list(range(8_000)), "name": who.tolist(), "half": (who % 4).tolist()}
    for name, low, high in (("unique", -0.1, 0.1), ("name", 3.9, 4.0), ("half", 1.9, 2.0)):
        field, bits = identifiers.measure({name: fields[name]}, {"for": who}, chances())
        assert low <= bits <= high, (field, bits)


def test_two_texts_are_told_apart_where_their_lengths_differ() -> None:
    which = chances(7).random(400) < 0.5
    stored = [b"x" * (10 + int(one)) for one in which]
    assert plaintext.measure(stored, which, chances())[0] == 1


# All of it


@pytest.mark.campaign
def test_drill_goes_on_where_it_was_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attackers, "TREES", rounds(6, 120))

    class EnoughError(Exception):
        pass

    def interrupt(phase: str, done: int, _total: int) -> None:
        if (phase, done) == ("seeds", 1):
            raise EnoughError

    def hear(*told: object) -> None:
        heard.append(told)

    heard: list[tuple[object, ...]] = []
    whole = drill.run(SMALL, tmp_path / "whole", processes=2, progress=hear)
    assert {phase for phase, *_ in heard} == set(drill.PHASES)
    with pytest.raises(EnoughError):
        drill.run(SMALL, tmp_path / "cut", processes=1, progress=interrupt)
    assert (tmp_path / "cut" / "unfinished" / "seed-0.json").exists()
    other = msgspec.structs.replace(SMALL, seeds=3)
    with pytest.raises(ReportExists):
        drill.run(other, tmp_path / "cut", processes=1, progress=hear)
    again = drill.run(SMALL, tmp_path / "cut", processes=1, progress=hear)
    assert again == whole
    assert not (tmp_path / "cut" / "unfinished").exists()
    written = (tmp_path / "cut" / "report.json").read_bytes()
    assert msgspec.json.decode(written, type=Report) == whole
    assert whole.positive_control == 1
    with pytest.raises(ReportExists):
        drill.run(SMALL, tmp_path / "cut", processes=1, progress=hear)
    keys = {(one.design, one.mode, one.attack) for one in whole.results}
    assert ("amanat", "hopped", "contacts") in keys
    assert ("federated", None, "contacts") in keys


@pytest.mark.parametrize(
    "change",
    [
        {"attacks": ("contacts", "mindreading")},
        {"designs": ("pigeon",)},
        {"people": 10},
        {"seeds": 0},
        {"trace": "/nonexistent"},
        {"form": "smoke"},
        {"form": "irc"},
    ],
)
def test_drill_that_cannot_be_is_named_before_it_begins(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(BadArgument):
        drill.run(
            msgspec.structs.replace(SMALL, **change),
            tmp_path / "report",
            processes=1,
            progress=lambda *_: None,
        )


def test_attack_that_misses_what_the_server_is_told_ends_the_drill() -> None:
    def told(value: float) -> Result:
        metric = "average precision"
        return Result(
            "federated", None, "contacts", metric, value, value, value, 0.1, 0.1, "control"
        )

    assert figures.control_of([told(0.96)]) == 0.96
    assert figures.control_of([]) is None
    with pytest.raises(BrokenControl):
        figures.control_of([told(0.94)])


def test_page_says_first_what_is_lost_in_both_languages_and_loads_nothing() -> None:
    def ours(attack: str, verdict: str) -> Result:
        return Result("amanat", "hopped", attack, "<b>", 0.5, 0.4, 0.6, 0.1, 0.1, verdict)

    results = [ours("contacts", "holds"), ours("sizes", "fails")]
    text = page(Report(msgspec.structs.replace(SMALL, trace="<i>"), 1.0, results))
    assert text.index("Who got a known text") < text.index("Who writes to whom")
    assert 'lang="fa" dir="rtl"' in text
    assert "جایی که امانت می‌بازد" in text
    assert not re.search(r"(src|href)=(?!\"#)|url\(|<script|@import", text)
    assert "<i>" not in text
    assert "&lt;b&gt;" in text


# Against real relays and real clients


@pytest.mark.e2e
def test_canaries_are_found_where_they_are_and_nowhere_in_a_seized_relay() -> None:
    found = live.find_content()
    assert found.pop("cloud") == content.CANARIES
    assert set(found) == set(DESIGNS) - {"cloud"}
    assert not any(found.values())


@pytest.mark.e2e
def test_a_column_of_the_relay_names_a_bucket_and_no_person() -> None:
    crowd = draw(read_said(None, "edges"), people=96, days=10, seed=1)
    found = live.name_people(crowd, chances())
    assert found["amanat"][1] < np.log2(3) + targets.BITS_ROUNDING
    assert found["sealed"][1] > 5


@pytest.mark.e2e
def test_texts_that_have_disappeared_are_not_in_the_vault() -> None:
    left, guess_s = live.search_device()
    assert left == 0
    assert guess_s > 0


async def test_model_of_a_client_deposits_as_often_as_real_clients(world: World) -> None:
    people = await world.friends("alice", "bob", "carol", "dora")
    alice, bob, *_ = people
    gid = await world.group("family", *people)
    world.tick_s = 20.0
    await world.pass_time(7_200)  # until everybody has new keys, which is not in the model
    world.tick_s = TICK_S
    real = modelled = 0
    for said in (["alice"], ["alice", "bob"], ["bob", "bob", "alice"], ["alice"] * 3):
        for is_group in (False, True):
            before = world.network.appends
            for name in said:
                person = alice if name == "alice" else bob
                other = bob if person is alice else alice
                person.client.chat(gid if is_group else person.gid(other.name)).send("hello")
                await world.pass_time(2)
            await world.pass_time(400)
            talk = (0, 1, 2, 3) if is_group else (0, 1)
            many = len(said)
            expected = deposit(
                Sample(
                    4,
                    1_000.0,
                    [talk],
                    np.arange(0.0, 2.0 * many, 2.0),
                    np.array([0 if name == "alice" else 1 for name in said]),
                    np.zeros(many, dtype=int),
                    [np.array([[0.0, 1_000.0]])] * 4,
                ),
                chances(),
                receipts="ours",
            )
            if len(said) == 1:  # else it depends on chance when receipts are due
                assert world.network.appends - before == len(expected.at), is_group
            real += world.network.appends - before
            modelled += len(expected.at)
    assert 0.75 < real / modelled < 1.25


# Lies, in the simulated world


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients and the drill look every three minutes in an ordinary run: no figure of a delay
    comes from here."""
    if SOAK <= 1:
        monkeypatch.setattr(integrity, "TICK_S", 180.0)
        monkeypatch.setattr(integrity, "LOOK_S", 180.0)


@pytest.mark.campaign
@pytest.mark.usefixtures("seldom")
@pytest.mark.parametrize("how", ["some", pytest.param("one", marks=soak_alone), "tail"])
def test_cells_that_a_relay_leaves_out_are_noticed(how: str) -> None:
    found = integrity.deletion(how, 1)
    assert found.lies >= 1
    assert len(found.delays_s) == found.lies


@pytest.mark.campaign
@pytest.mark.usefixtures("seldom")
def test_where_nothing_is_left_out_nobody_is_told_of_a_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    found = integrity.deletion("none", 2)
    assert (found.lies, found.delays_s) == (0, [])
    monkeypatch.setattr(roster, "LOOK_EVERY_MS", 86_400_000)  # nobody makes a Commit meanwhile
    assert integrity.expiry(3).wrong == 0


def test_store_set_back_and_two_faces_are_noticed() -> None:
    found = integrity.rollback(1, 6)
    assert len(found.delays_s) == found.lies == 6


@pytest.mark.parametrize("kinds", [substitution.KINDS, replay.KINDS])
def test_nothing_forged_is_believed(kinds: tuple[str, str]) -> None:
    found = integrity.forgeries(kinds, 1, 20)
    assert found.lies >= 20
    assert found.wrong == 0


@pytest.mark.e2e
def test_pictures_do_not_tell_where_they_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "PICTURES", 10)
    left, told = live.search_pictures()
    assert left == 0
    assert told == 10  # else nothing is found anywhere


@pytest.mark.e2e
def test_hop_that_asks_twice_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsealed, "TRIES", 50)
    read, sealed = live.hear_unsealed()
    assert read == 0
    assert sealed >= 10  # else it was told nothing at all


def test_a_thief_of_a_vault_reads_until_its_keys_are_refreshed_and_no_longer() -> None:
    until, after, removed = (copied.words_read(how, 1) for how in copied_vault.HOW)
    assert until.wrong == until.lies == 40  # else the next lines prove nothing
    assert (after.lies, after.wrong) == (40, 0)
    assert (removed.lies, removed.wrong) == (20, 0)


def test_nobody_becomes_a_member_or_an_admin_by_a_commit_without_the_right() -> None:
    assert intrusion.silent_adds(0, 30) == integrity.Noticed(30, [], 0)


@pytest.mark.parametrize("seed", range(3))
def test_commit_that_is_not_judged_is_believed_and_counted(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "judge", lambda *_, **__: None)
    assert intrusion.silent_adds(seed, 1).wrong > 0


def test_an_attacker_in_the_middle_shows_two_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert intrusion.swapped_keys(20).wrong == 0
    monkeypatch.setattr(intrusion, "safety_number", lambda *_: "00000")
    assert intrusion.swapped_keys(20).wrong == 20


def test_lines_of_real_clients_are_named_hopped_and_not_covered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(infiltrator, "LINES", 6)
    monkeypatch.setattr(infiltrator, "POSTS", 10)
    found = {mode: lines.watch(mode, 1) for mode in ("hopped", "covered")}
    assert all(len(words) == 10 for seen in found.values() for words in seen.words.values())
    # One word may wait for fresh keys and come late: five of six are named then.
    assert lines.named(found["hopped"], lines.tune(lines.watch("hopped", 2))) > 0.8
    # Of six lines that send alike one is named by chance, whatever the window.
    shares = [lines.named(found["covered"], before_s) for before_s in infiltrator.WINDOWS_S]
    assert max(shares) < 0.7
    assert sum(shares) / len(shares) < 0.4


def test_line_that_sends_before_each_post_is_named() -> None:
    posts = [100.0, 200.0, 300.0]
    steady = [float(at) for at in range(0, 400, 10)]
    seen = Watched({"a": posts}, {"a": [*steady, 99.5, 199.5, 299.5], "b": steady, "c": steady})
    assert lines.named(seen, 1.0) == 1
    assert lines.named(Watched({"a": posts}, {"a": steady, "b": steady}), 1.0) == 0.5


def test_forgery_that_is_believed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = integrity._forge

    def lose(relay: Relay, drop_id: bytes, after: int, kind: str, rng: random.Random) -> int:
        lies = real(relay, drop_id, after, kind, rng)
        del relay.shelves[drop_id].cells[after:]
        del relay.shelves[drop_id].digests[after + 1 :]
        return lies

    monkeypatch.setattr(integrity, "_forge", lose)
    monkeypatch.setattr(Gaps, "due", lambda *_: iter(()))  # no client asks for repairs
    assert integrity.forgeries(("repeated", "repeated"), 1, 20).wrong == 2
