"""X-Wing in messages and lists: what nobody honest sends gets the one refusal of all that fails."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import chunked
from protocol.encapsulation import (
    HEADER_SIZE,
    GatewayKey,
    decapsulate_request,
    encapsulate_request,
    preferred_config,
)
from protocol.errors import KeyRejected, MalformedMessage, ProtocolError, TruncatedMessage
from protocol.hpke import TAG_SIZE
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from tests.protocol.test_kem_xwing import ML_KEM_PUBLIC, ML_KEM_SENT
from tests.support.x_wing import without_x_wing

__all__ = ["without_x_wing"]

PREFIX = HEADER_SIZE + X_WING.enc_size
LOW_ORDER = [bytes(32), bytes([1]) + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]

KEY = GatewayKey(1, bytes(range(32)), kem=X_WING)
CLASSIC = GatewayKey(2, bytes(range(32)))
OTHER = GatewayKey(1, bytes(range(1, 33)), kem=X_WING)
REQUEST = b"request"


def sealed(config: KeyConfig = KEY.config) -> bytes:
    return encapsulate_request(config, REQUEST)[0]


def sealed_in_chunks(config: KeyConfig = KEY.config) -> bytes:
    sealer, _ = chunked.encapsulate_request(config)
    return sealer.seal(REQUEST) + sealer.finish(b"end")


def open_whole(data: bytes) -> bytes:
    return decapsulate_request([KEY, CLASSIC], data)[0]


def open_chunked(data: bytes) -> bytes:
    opener = chunked.decapsulate_request([KEY, CLASSIC])
    return b"".join(opener.feed(data)) + opener.finish()[0]


WAYS = pytest.mark.parametrize(
    ("seal", "opened"),
    [(sealed, open_whole), (sealed_in_chunks, open_chunked)],
    ids=["whole", "chunked"],
)


def changed(data: bytes, at: int, octets: bytes) -> bytes:
    return data[:at] + octets + data[at + len(octets) :]


def altered(data: bytes, classic: bytes) -> Iterator[bytes]:
    """Yield what can be made of a message to KEY and of one to CLASSIC."""
    for at in (HEADER_SIZE, HEADER_SIZE + ML_KEM_SENT // 2, HEADER_SIZE + ML_KEM_SENT - 1):
        yield changed(data, at, bytes([data[at] ^ 1]))  # ML-KEM's part
    for point in LOW_ORDER:
        yield changed(data, HEADER_SIZE + ML_KEM_SENT, point)
    yield changed(data, PREFIX - 1, bytes([data[PREFIX - 1] ^ 1]))  # another point
    yield changed(data, HEADER_SIZE, bytes(X_WING.enc_size))
    yield changed(data, HEADER_SIZE, sealed(OTHER.config)[HEADER_SIZE:PREFIX])
    for ours, theirs in ((data, classic), (classic + bytes(PREFIX), data)):
        yield changed(ours, 0, theirs[:1])  # another key's identifier
        yield changed(ours, 1, theirs[1:3])  # another mechanism's


@WAYS
def test_altered_messages_get_one_refusal(seal: Any, opened: Any) -> None:
    data = seal()
    wrong = list(altered(data, seal(CLASSIC.config)))
    assert data not in wrong
    for each in wrong:
        with pytest.raises(KeyRejected):
            opened(each)


@WAYS
def test_one_s_length_under_the_other_s_identifiers_does_not_open(seal: Any, opened: Any) -> None:
    data, classic = seal(), seal(CLASSIC.config)
    for wrong in (changed(data, 0, classic[:3]), changed(classic + bytes(PREFIX), 0, data[:3])):
        # In chunks the length of the first is read out of what is none, and can be too long.
        refusals = KeyRejected if opened is open_whole else (KeyRejected, MalformedMessage)
        with pytest.raises(refusals):
            opened(wrong)


@given(st.integers(HEADER_SIZE, len(sealed()) - 1), st.integers(1, 255))
def test_an_octet_altered_anywhere_gets_the_same_refusal(at: int, mask: int) -> None:
    data = sealed()
    with pytest.raises(KeyRejected):
        open_whole(changed(data, at, bytes([data[at] ^ mask])))


def test_a_whole_message_cut_at_every_octet() -> None:
    data = sealed()
    for size in range(len(data)):
        is_too_short = size < PREFIX + TAG_SIZE
        with pytest.raises(MalformedMessage if is_too_short else KeyRejected):
            open_whole(data[:size])
    with pytest.raises(KeyRejected):
        open_whole(data + b"\0")


def test_a_chunked_message_cut_at_every_octet() -> None:
    data = sealed_in_chunks()
    final = data.index(b"\0", len(data) - TAG_SIZE - len(b"end") - 1)
    for size in range(len(data)):
        # Behind the mark of the final chunk its sealed octets end where the message does.
        with pytest.raises(KeyRejected if size > final else TruncatedMessage):
            open_chunked(data[:size])
    with pytest.raises(KeyRejected):
        open_chunked(data + b"\0")


def out_of_range(public_key: bytes) -> bytes:
    """Return a public key whose first coefficient is 3329, one more than there is."""
    first = 3329 | (public_key[1] >> 4) << 12
    return first.to_bytes(2, "little") + public_key[2:]


GOOD = KEY.config.public_key
WRONG_KEYS = {
    "out of range": out_of_range(GOOD),
    "all ones": b"\xff" * ML_KEM_PUBLIC + GOOD[ML_KEM_PUBLIC:],
    **{
        f"low order {number}": GOOD[:ML_KEM_PUBLIC] + point
        for number, point in enumerate(LOW_ORDER)
    },
}
WRONG_SIZES = {
    "none": b"",
    "without its end": GOOD[:-1],
    "ML-KEM's alone": GOOD[:ML_KEM_PUBLIC],
    "X25519's alone": GOOD[ML_KEM_PUBLIC:],
    "one more": GOOD + b"\0",
}


@pytest.mark.parametrize("wrong", (WRONG_KEYS | WRONG_SIZES).values(), ids=WRONG_KEYS | WRONG_SIZES)
def test_what_is_no_public_key_is_not_sealed_to(wrong: bytes) -> None:
    with pytest.raises(KeyRejected):
        X_WING.encapsulate(wrong, None)


@pytest.mark.parametrize("wrong", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_a_configuration_of_such_a_key_is_not_sealed_to(wrong: bytes) -> None:
    config = KeyConfig(1, X_WING.code, wrong, KEY.symmetric_algorithms)
    (read,) = decode_key_configs(encode_key_configs([config]))
    with pytest.raises(KeyRejected):
        encapsulate_request(read, REQUEST)
    with pytest.raises(KeyRejected):
        chunked.encapsulate_request(read)


@pytest.mark.parametrize("size", range(3, 3 + X_WING.public_key_size + 6, 97))
def test_a_configuration_cut_short_is_none(size: int) -> None:
    data = KEY.config.encode()[:size]
    with pytest.raises(MalformedMessage):
        decode_key_configs(len(data).to_bytes(2) + data)


# Lists


UNKNOWN = (1217).to_bytes(2) + b"\x09\x00\x30" + bytes(1214)


def listed(*keys: GatewayKey) -> bytes:
    return encode_key_configs([key.config for key in keys])


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        (listed(KEY, CLASSIC), KEY),
        (listed(CLASSIC, KEY), KEY),
        (listed(KEY), KEY),
        (listed(CLASSIC), CLASSIC),
        (UNKNOWN + listed(CLASSIC, KEY), KEY),
        (UNKNOWN + listed(CLASSIC), CLASSIC),
        (listed(CLASSIC, OTHER, KEY), OTHER),  # the newest of them stands first
    ],
)
def test_x_wing_is_taken_where_it_is_listed(data: bytes, chosen: GatewayKey) -> None:
    config = preferred_config(decode_key_configs(data))
    assert config == chosen.config
    assert encapsulate_request(config, REQUEST)[0][1:3] == chosen.kem.code.to_bytes(2)


def test_a_configuration_without_a_known_suite_is_the_last_choice() -> None:
    strange = KeyConfig(1, X_WING.code, GOOD, [(9, 9)])
    assert preferred_config([strange, CLASSIC.config]) == CLASSIC.config
    assert preferred_config([strange]) == strange
    with pytest.raises(KeyRejected):
        encapsulate_request(strange, REQUEST)
    with pytest.raises(ValueError, match="empty"):
        preferred_config([])


@pytest.mark.usefixtures("without_x_wing")
def test_a_client_without_it_takes_the_next() -> None:
    assert preferred_config(decode_key_configs(listed(KEY, CLASSIC))) == CLASSIC.config
    with pytest.raises(ProtocolError):
        encapsulate_request(KEY.config, REQUEST)


def test_what_the_mechanism_adds_to_a_request() -> None:
    assert len(sealed()) - len(sealed(CLASSIC.config)) == 1088
    assert X_WING.enc_size - X25519_HKDF_SHA256.enc_size == 1088
