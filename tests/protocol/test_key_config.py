"""Key configurations against the vectors of other implementations."""

from typing import Any

import pytest

from protocol.errors import MalformedMessage, ProtocolError
from protocol.key_config import (
    KeyConfig,
    SymmetricAlgorithm,
    decode_key_configs,
    encode_key_configs,
)
from tests.support.vector_files import load

CASES = load("key-configs.json")["cases"]

# The two cases without a verdict hold a suite with an identifier nobody assigned behind one that
# is fine. RFC 9458 lets a client pick among the suites, so unknown ones do not spoil the rest.
UNDECIDED_ACCEPTED = {"openpcc-invalid-kdf-aead-mix-41", "openpcc-invalid-aead-43"}


def decode(case: dict[str, Any]) -> list[KeyConfig]:
    data = bytes.fromhex(case["hex"])
    if case["form"] == "ohttp-keys":
        return decode_key_configs(data)
    return [KeyConfig.decode(data)]


def expected(case: dict[str, Any]) -> list[KeyConfig]:
    return [
        KeyConfig(
            item["key_id"],
            item["kem_id"],
            bytes.fromhex(item["public_key"]),
            [SymmetricAlgorithm(*pair) for pair in item["symmetric"]],
        )
        for item in case["expected" if case["valid"] else "reason"]
    ]


def accepted(case: dict[str, Any]) -> bool:
    return case["valid"] is True or case["id"] in UNDECIDED_ACCEPTED


VALID = [case for case in CASES if accepted(case)]
INVALID = [case for case in CASES if not accepted(case)]


def test_every_vector_is_run() -> None:
    assert {case["id"] for case in CASES if case["valid"] is None} == UNDECIDED_ACCEPTED
    assert (len(VALID), len(INVALID)) == (15, 29)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_decodes(case: dict[str, Any]) -> None:
    configs = decode(case)
    assert configs == expected(case)
    whole = encode_key_configs(configs) if case["form"] == "ohttp-keys" else configs[0].encode()
    assert whole.hex() == case["hex"]
    for config in configs:
        assert all(isinstance(pair, SymmetricAlgorithm) for pair in config.symmetric_algorithms)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["id"])
def test_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode(case)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_every_cut_is_refused(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    is_list = case["form"] == "ohttp-keys"
    borders = {0} if is_list else set()
    offset = 0
    while is_list and offset < len(data):
        offset += 2 + int.from_bytes(data[offset : offset + 2], "big")
        borders.add(offset)
    for cut in set(range(len(data))) - borders:
        with pytest.raises(MalformedMessage):
            decode({**case, "hex": data[:cut].hex()})


def test_unknown_kems_are_skipped_in_lists() -> None:
    known = KeyConfig(1, 0x0020, bytes(range(32)), [(1, 3)])
    unknown = KeyConfig(2, 0x0010, bytes(65), [(1, 1)])
    strange = b"\x00\x03\x09\xff\xff"  # nothing behind its KEM is known, so nothing is checked
    data = encode_key_configs([unknown, known]) + strange
    assert decode_key_configs(data) == [known]
    with pytest.raises(MalformedMessage):
        KeyConfig.decode(unknown.encode())


def test_lists_and_plain_tuples_are_normalised() -> None:
    config = KeyConfig(1, 0x0020, bytes(32), [(1, 3), (1, 1)])
    assert config.symmetric_algorithms == ((1, 3), (1, 1))
    assert hash(config) == hash(KeyConfig(1, 0x0020, bytes(32), ((1, 3), (1, 1))))


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0x20, bytes(32), [(1, 1)]),
        (256, 0x20, bytes(32), [(1, 1)]),
        (1, 0x10000, bytes(32), [(1, 1)]),
        (1, -1, bytes(32), [(1, 1)]),
        (1, 0x20, bytes(32), [(1, -1)]),
        (1, 0x20, bytes(32), [(0x10000, 1)]),
        (1, 0x20, bytes(31), [(1, 1)]),
        (1, 0x20, bytes(32), []),
        (1, 0x20, bytes(32), [(1, 1)] * 16384),
        (1, 0x20, bytes(32), [(1, 0x10000)]),
        (1, 0x20, bytes(32), [(-1, 1)]),
    ],
)
def test_misuse_is_a_value_error(arguments: tuple[int, int, bytes, list[tuple[int, int]]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        KeyConfig(*arguments)
