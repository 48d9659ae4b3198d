"""What an enclave says of itself: read strictly, and anything else refused."""

import json
from typing import Any

import pytest

from host_proxy import statements
from host_proxy.statements import StatementError
from protocol.encapsulation import GatewayKey
from protocol.key_config import encode_key_configs

ME, OTHER = "5f" * 16, "0a" * 16
SAID: dict[str, Any] = {
    "member": ME,
    "leader": OTHER,
    "members": [OTHER, ME],
    "turns": 4,
    "unowned": 3,
    "slots": {"18": [[86, 170], [200, 200]], "19": []},
}


def test_identifiers_come_in_the_order_of_the_list() -> None:
    listed = encode_key_configs(GatewayKey.generate(octet).config for octet in (7, 0, 255))
    assert statements.key_identifiers(listed) == (7, 0, 255)
    for size in range(1, len(listed)):
        if size % (len(listed) // 3):
            with pytest.raises(StatementError):
                statements.key_identifiers(listed[:size])


@pytest.mark.parametrize("listed", [b"", b"\0", b"\0\0", b"\0\0\1", b"\0\2\1"])
def test_what_is_no_list_is_refused(listed: bytes) -> None:
    with pytest.raises(StatementError):
        statements.key_identifiers(listed)


def test_no_more_keys_are_listed_than_there_are_identifiers() -> None:
    key = b"\0\1\7"
    assert len(statements.key_identifiers(256 * key)) == 256
    with pytest.raises(StatementError):
        statements.key_identifiers(257 * key)


def test_a_statement_of_a_cluster() -> None:
    said = statements.cluster(json.dumps(SAID).encode())
    assert said.member == ME
    assert said.members == {ME, OTHER}
    assert (said.turns, said.unowned) == (4, 3)
    assert said.slots == ((18, ((86, 170), (200, 200))), (19, ()))


@pytest.mark.parametrize(
    "change",
    [
        {"member": 5},
        {"member": "5F" * 16},
        {"members": [OTHER]},
        {"members": [ME, *(f"{n:032x}" for n in range(64))]},
        {"members": None},
        {"unowned": "x"},
        {"unowned": True},
        {"unowned": -1},
        {"turns": None},
        {"turns": 4.0},
        {"slots": []},
        {"slots": {"256": []}},
        {"slots": {"-1": []}},
        {"slots": {"1": 5}},
        {"slots": {"1": [[5]]}},
        {"slots": {"1": [[6, 5]]}},
        {"slots": {"1": [[0, 256]]}},
        {"slots": {"1": [[0, True]]}},
        {"slots": {"1": [[False, 1]]}},
        {"slots": {"1": [[-1, 1]]}},
        {"slots": {"1": [[1, 256]]}},
        {"slots": {"1000": []}},
        {"slots": {"1": [["0", "1"]]}},
        {"slots": {"1": [[0, 9], [9, 12]]}},
        {"slots": {"1": [[5, 9], [0, 2]]}},
        {"slots": {"1": [], "01": []}},
        {"turns": 1 << 53},
    ],
)
def test_what_is_no_statement_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(StatementError):
        statements.cluster(json.dumps({**SAID, **change}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"members": [ME, *(f"{n:032x}" for n in range(63))]},
        {"unowned": 0, "turns": 0},
        {"unowned": (1 << 53) - 1, "turns": (1 << 53) - 1},
        {"slots": {"0": [[0, 255]], "255": []}},
        {"slots": {"1": [[0, 0], [1, 9], [10, 255]]}},
        {"slots": {"100": [[255, 255]]}},
        {"slots": {}},
    ],
)
def test_a_statement_may_be_at_its_ends(change: dict[str, Any]) -> None:
    said = statements.cluster(json.dumps({**SAID, **change}).encode())
    slots = {str(key): [list(each) for each in ranges] for key, ranges in said.slots}
    told = {"unowned": said.unowned, "turns": said.turns, "slots": slots}
    assert {name: told[name] for name in change if name in told} == {
        name: value for name, value in change.items() if name in told
    }
    assert len(said.members) == len({**SAID, **change}["members"])


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(StatementError):
        statements.cluster(body)


def test_an_answer_is_read_whole_or_not_at_all() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\ncontent-length: 4\r\n\r\nbody"
    assert statements.answer(whole) == (200, b"body")
    for size in range(len(whole)):
        with pytest.raises(StatementError):
            statements.answer(whole[:size])
    with pytest.raises(StatementError):
        statements.answer(whole + b"x")


def test_a_request_ends_its_connection() -> None:
    assert statements.request("/ready").startswith(b"GET /ready HTTP/1.1\r\n")
    assert b"\r\nConnection: close\r\n" in statements.request("/ready")
