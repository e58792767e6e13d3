"""Ids, tokens, digests, cells, chains, addresses and descriptors. Their bytes are in
docs/protocol.md, which tests/test_docs.py checks."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from amanat.errors import (
    BadArgument,
    BrokenAddress,
    BrokenDescriptor,
    InvalidCell,
    InvalidCredential,
    InvalidMessage,
    MessageTooLarge,
)
from amanat.protocol import cells, codec, drops, labels
from amanat.protocol.descriptor import (
    Descriptor,
    Limits,
    NamedAddress,
    RelayAddress,
    Stay,
    b64,
    open_descriptor,
    parse_address,
    sign_address,
    sign_descriptor,
    unb64,
)
from amanat.protocol.places import MAX_PLACES, Place, one_form
from damage import changed_at

secrets = st.binary(min_size=32, max_size=32)
SECRET = bytes(range(32))
DROP = drops.derive_drop(SECRET, purpose=b"test", region="DE")
ONCE = cells.one_time(SECRET, region="DE", drop_id=DROP.drop_id)


# Drops


@given(secrets)
def test_a_drop_belongs_to_the_region_it_was_made_for(secret: bytes) -> None:
    drop = drops.derive_drop(secret, purpose=b"test", region="IR")
    assert drops.in_region(drop.drop_id, "IR")
    assert not drops.in_region(drop.drop_id, "DE")
    assert not drops.in_region(drop.drop_id[:-1], "IR")


def test_whatever_differs_gives_another_drop() -> None:
    made = [
        drops.derive_drop(secret, purpose=purpose, region=region)
        for secret in (SECRET, bytes(32))
        for purpose in (b"one", b"two")
        for region in ("DE", "FR")
    ]
    made += [drops.derive_bucket(SECRET, index, region="DE") for index in range(3)]
    assert len({drop.append_token for drop in made}) == 4 + 3  # tokens do not know the region
    assert len({drop.drop_id for drop in made}) == 8 + 3
    assert not {drop.append_token for drop in made} & {drop.read_token for drop in made}


@pytest.mark.parametrize("region", ["", "D", "de", "DEU", "D1", "DE\n", "ДЕ"])
def test_a_region_is_two_capital_letters(region: str) -> None:
    with pytest.raises(BadArgument):
        drops.check_region(region)
    assert drops.check_region("EU") == "EU"


def test_a_token_has_another_hash_in_every_drop() -> None:
    assert drops.token_hash(bytes(24), SECRET) != drops.token_hash(b"\x01" * 24, SECRET)


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=2, max_size=5))
def test_the_digest_tells_what_was_appended_in_which_order(history: list[bytes]) -> None:
    def digest(of: list[bytes]) -> bytes:
        state = drops.first_digest(DROP.drop_id)
        for cell in of:
            state = drops.next_digest(state, cell)
        return state

    for other in (history[:-1], history[1:], history[::-1], [*history, b"x"]):
        assert (digest(other) == digest(history)) == (other == history)


# Cells


@settings(max_examples=30)
@given(st.binary(max_size=3000) | st.sampled_from([bytes(16_348), bytes(16_349), bytes(65_500)]))
def test_a_cell_carries_its_payload_in_the_smallest_size(payload: bytes) -> None:
    cell = cells.seal(ONCE, payload, region="DE", drop_id=DROP.drop_id)
    assert cells.open_cell(ONCE, cell, region="DE", drop_id=DROP.drop_id) == payload
    assert len(cell) == min(
        size for size in cells.CELL_SIZES if size >= len(payload) + cells.CELL_OVERHEAD
    )


def test_a_payload_that_fits_no_cell_is_refused() -> None:
    with pytest.raises(MessageTooLarge):
        cells.seal(ONCE, bytes(cells.MAX_PAYLOAD + 1), region="DE", drop_id=DROP.drop_id)


def test_a_cell_does_not_open_elsewhere_or_changed() -> None:
    cell = cells.seal(ONCE, b"payload", region="DE", drop_id=DROP.drop_id)
    other = cells.one_time(bytes(32), region="DE", drop_id=DROP.drop_id)
    wrong = [
        (ONCE, cell, "FR", DROP.drop_id),
        (ONCE, cell, "DE", bytes(24)),
        (other, cell, "DE", DROP.drop_id),
        (cells.OneTime(ONCE.label, other.key), cell, "DE", DROP.drop_id),
        (ONCE, cell[:-1], "DE", DROP.drop_id),
        (ONCE, cell + b"\x00", "DE", DROP.drop_id),
        *((ONCE, changed_at(cell, at), "DE", DROP.drop_id) for at in (0, 15, 16, 500, 1023)),
    ]
    for once, data, region, drop_id in wrong:
        with pytest.raises(InvalidCell):
            cells.open_cell(once, data, region=region, drop_id=drop_id)


@pytest.mark.parametrize(
    "plain", [b"\xff" * 992, (7).to_bytes(4, "big") + b"payload" + b"\x01" * 981]
)
def test_padding_that_is_not_zeros_does_not_open(plain: bytes) -> None:
    associated = b"DE" + DROP.drop_id + ONCE.label
    sealed = ChaCha20Poly1305(ONCE.key).encrypt(bytes(12), plain, associated)
    with pytest.raises(InvalidCell):
        cells.open_cell(ONCE, ONCE.label + sealed, region="DE", drop_id=DROP.drop_id)


# Pair chains


def test_two_people_share_a_secret_and_a_bad_key_is_refused() -> None:
    one, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    assert labels.pair_secret(
        one.private_bytes_raw(), other.public_key().public_bytes_raw()
    ) == labels.pair_secret(other.private_bytes_raw(), one.public_key().public_bytes_raw())
    for bad in (bytes(32), b"\x01" + bytes(31), bytes(31)):
        with pytest.raises(InvalidCredential):
            labels.pair_secret(one.private_bytes_raw(), bad)


def test_every_direction_and_lane_of_every_group_has_its_own_chain() -> None:
    people = [bytes([n]) * 32 for n in range(3)]
    roots = {
        labels.chain_root(pair, epoch, lane, group=group, signer=signer, to=to)
        for pair in people[:2]
        for epoch in people[:2]
        for lane in labels.Lane
        for group in people[:2]
        for signer in people
        for to in people
    }
    assert len(roots) == 2 * 2 * 2 * 2 * 9


@pytest.mark.long
@settings(max_examples=40)
@given(st.lists(st.integers(0, 300), max_size=60))
def test_a_window_takes_each_position_once_in_any_order(wanted: list[int]) -> None:
    chain, secrets = SECRET, {}
    for position in range(600):
        secrets[position], chain = labels.step(chain)
    window = labels.Window(0, SECRET)
    taken: set[int] = set()
    for position in wanted:
        open_now = position in window.open
        assert open_now == (position not in taken and position < window.highest + labels.WINDOW)
        if open_now:
            assert window.open[position] == secrets[position]
            window.take(position)
            window.fill()
            taken.add(position)
        again = labels.Window(window.base, window.chain, window.highest, set(window.received))
        assert again.open == window.open


def test_a_sender_who_skips_cannot_make_a_window_grow() -> None:
    window = labels.Window(0, SECRET)
    for _ in range(30):
        window.take(max(window.open))
        window.fill()
        assert len(window.open) <= labels.MAX_GAP + labels.WINDOW
    assert window.base == window.highest - labels.MAX_GAP


# Addresses and descriptors

KEY = Ed25519PrivateKey.from_private_bytes(SECRET)
PUBLIC = KEY.public_key().public_bytes_raw()
DESCRIPTOR = Descriptor(
    key=PUBLIC,
    region="DE",
    operator="Example e.V.",
    buckets=3,
    people_per_bucket=32,
    access="open",
    issued_at=3600,
    limits=Limits(cells_per_drop=1, bytes_per_drop=2, connections=3, requests_in_flight=4),
    address=sign_address([Stay(Place("relay.example", 8443), 20_000, 20_001)], KEY, issued=7),
)


@pytest.mark.parametrize("host", ["relay.example", "127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("tls", ["pinned", "web", "off"])
def test_an_address_is_read_back(host: str, tls: str) -> None:
    text = f"amanat://{host}:8443/{'' if tls == 'pinned' else f'?tls={tls}'}#{b64(PUBLIC)}"
    if tls == "off" and host == "relay.example":
        with pytest.raises(BrokenAddress):
            parse_address(text)
        return
    address = parse_address(f" {text}\n")
    assert address.key == PUBLIC
    assert address.places == (Place(host.strip("[]"), 8443, tls),)
    assert str(address) == text


ADDRESS = str(NamedAddress.of(PUBLIC, Place("relay.example", 8443)))


def test_an_address_names_all_places_of_a_relay() -> None:
    places = (
        Place("relay.example", 8443),
        Place("192.0.2.1", 443),
        Place("2001:db8::1", 443, "web"),
        Place("::1", 1, "off"),
    )
    address = NamedAddress.of(PUBLIC, *places)
    assert str(address) == (
        "amanat://relay.example:8443/,192.0.2.1:443/,[2001:db8::1]:443/?tls=web,[::1]:1/?tls=off"
        f"#{b64(PUBLIC)}"
    )
    assert parse_address(str(address)).places == places


def test_addresses_of_one_relay_are_equal_wherever_it_is() -> None:
    one = NamedAddress.of(PUBLIC, Place("relay.example", 8443))
    same = sign_address([Stay(Place("elsewhere.example", 1))], KEY, issued=1)
    other = NamedAddress.of(bytes(32), *one.places)
    assert one == same
    assert not one.says_as(same)
    assert {one, same, other} == {same, other}
    assert one != other


@pytest.mark.parametrize(
    ("host", "form"),
    [
        ("Relay.Example", "relay.example"),
        ("relay.example.", "relay.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER。example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("نامه‌ای.example", "xn--mgba3gch31f060k.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("::1", "::1"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
    ],
)
def test_a_host_has_one_form(host: str, form: str) -> None:
    assert one_form(host) == form
    if "." in host or "[" in host:
        text = f"amanat://{host}:1/#{b64(PUBLIC)}"
        assert parse_address(text).places == (Place(form, 1),)
    if host != form:
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode([host, 1, "pinned"]), type=Place)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a_b.example",
        "a b",
        "a,b",
        "user@host",
        "1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "a.1",
        "256.0.0.1",
        "fe80::1%eth0",
        ":::",
        "xn--a",
        "\u200b",
        "a" * 64,
        ".".join(["a" * 60] * 5),
    ],
)
def test_a_word_that_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        one_form(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ADDRESS[:-1],
        ADDRESS + "A",
        ADDRESS[:-1] + "!",
        ADDRESS.replace("amanat:", "https:"),
        ADDRESS.replace("8443", "0"),
        ADDRESS.replace("8443", "65536"),
        ADDRESS.replace("/#", "/?tls=pinned#"),
        ADDRESS.replace("/#", "/?tls=maybe#"),
        ADDRESS.replace("relay.example", "relay example"),
        ADDRESS.replace("relay.example", "user@relay.example"),
        ADDRESS.replace("relay.example", "r" * 400),
        ADDRESS.replace("/#", "/,#"),
        ADDRESS.replace("/#", "/,relay.example:8443/#"),
        ADDRESS.replace("/#", "".join(f"/,a{n}.example:1" for n in range(MAX_PLACES)) + "/#"),
        ADDRESS.replace("/#", f"/,{'a.' * 100}example:1/,{'b.' * 100}example:1/#"),
        ADDRESS.replace("relay.example", "::1"),
        ADDRESS[:-1] + chr(ord(ADDRESS[-1]) + 1),  # the last character carries unused bits
    ],
)
def test_a_broken_address_is_refused(text: str) -> None:
    with pytest.raises(BrokenAddress):
        parse_address(text)


ADDRESSES = codec.decoder_of(RelayAddress)
SIGNED = sign_address(
    [Stay(Place("relay.example", 8443), 0, 20_000), Stay(Place("192.0.2.1", 443, "web"), 20_000)],
    KEY,
    issued=1_800_000_000,
)


def test_a_signed_address_is_read_back_and_only_its_relay_can_have_made_it() -> None:
    data = codec.encode(SIGNED)
    read = codec.decode(ADDRESSES, data, InvalidMessage)
    assert read.says_as(SIGNED)
    assert (read.key, read.issued, read.signature) == (PUBLIC, SIGNED.issued, SIGNED.signature)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    for change in (
        {"key": other},
        {"issued": SIGNED.issued + 1},
        {"stays": SIGNED.stays[:1]},
        {"stays": SIGNED.stays[::-1]},
        {"stays": (Stay(SIGNED.places[0], 0, 20_001), SIGNED.stays[1])},
        {"stays": (Stay(Place("elsewhere.example", 8443), 0, 20_000), SIGNED.stays[1])},
        {"signature": b""},
    ):
        with pytest.raises(ValueError, match="signed"):
            msgspec.structs.replace(SIGNED, **change)
    for place in range(len(data)):
        with pytest.raises(InvalidMessage):
            codec.decode(
                ADDRESSES,
                changed_at(data, place),
                InvalidMessage,
            )


@pytest.mark.parametrize(
    "places",
    [
        (Place("127.0.0.1", 1, "off"),),
        (Place("relay.example", 1), Place("::1", 1, "off")),
        (Place("relay.example", 1), Place("relay.example", 1)),
        tuple(Place(f"relay{number}.example", 1) for number in range(MAX_PLACES + 1)),
        tuple(Place(f"{letter * 60}.{letter * 60}", 1) for letter in "abc"),
    ],
)
def test_a_relay_can_say_nothing_of_no_tls_nor_too_much(places: tuple[Place, ...]) -> None:
    with pytest.raises(ValueError, match=r"TLS|places|hosts"):
        sign_address(map(Stay, places), KEY, issued=1)


def test_places_are_ranked_by_the_day() -> None:
    here, coming, left = (
        Place("here.example", 1),
        Place("coming.example", 1),
        Place("left.example", 1),
    )
    for day, first in ((9, left), (10, left), (11, here), (19, here), (20, coming), (99, coming)):
        stays = [Stay(left, 0, 10), Stay(here, 11, 19), Stay(coming, 20, 0)]
        assert min(stays, key=lambda stay: stay.rank(day)).place == first
    assert Stay(here).rank(0) == Stay(here).rank(2**24 - 1) == 0


def test_a_descriptor_says_where_its_own_relay_is() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    there = sign_address([Stay(Place("relay.example", 8443))], other, issued=7)
    signed = sign_descriptor(msgspec.structs.replace(DESCRIPTOR, address=there), KEY)
    with pytest.raises(BrokenDescriptor):
        open_descriptor(signed, PUBLIC)


@given(st.binary(max_size=40))
def test_base64url_has_one_encoding(data: bytes) -> None:
    assert unb64(b64(data)) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "+/", "A A", "é"])
def test_other_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        unb64(text)


def test_a_descriptor_opens_with_the_key_that_signed_it() -> None:
    signed = sign_descriptor(DESCRIPTOR, KEY)
    assert open_descriptor(signed, PUBLIC) == DESCRIPTOR
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    wrong = [
        (signed, other.public_key().public_bytes_raw()),
        (sign_descriptor(DESCRIPTOR, other), PUBLIC),
        (sign_descriptor(DESCRIPTOR, other), other.public_key().public_bytes_raw()),
        *((signed[:length], PUBLIC) for length in range(0, len(signed), 7)),
        *((signed[:at] + b"\xff" + signed[at + 1 :], PUBLIC) for at in (0, 64, len(signed) - 1)),
    ]
    for data, key in wrong:
        with pytest.raises(BrokenDescriptor):
            open_descriptor(data, key)


def test_a_signed_descriptor_out_of_range_is_refused() -> None:
    for change in ({"region": "de"}, {"buckets": 0}, {"access": "maybe"}, {"issued_at": -1}):
        bad = msgspec.structs.replace(DESCRIPTOR, **change)
        with pytest.raises(BrokenDescriptor):
            open_descriptor(sign_descriptor(bad, KEY), PUBLIC)


def test_fields_of_later_versions_are_ignored() -> None:
    body = msgspec.to_builtins(DESCRIPTOR, builtin_types=(bytes,)) | {"moving_to": "FR"}
    data = msgspec.msgpack.encode(body)
    signature = KEY.sign(b"amanat relay descriptor 1\x00" + data)
    assert open_descriptor(signature + data, PUBLIC) == DESCRIPTOR
