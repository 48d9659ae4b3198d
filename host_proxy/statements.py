"""What an enclave says of itself to whoever routes to it: its list of keys, and its slots.

Nothing of it is secret and nothing of it is believed: a wrong statement misroutes, and an enclave
opens only what it owns.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

KEYS_PATH: Final = "/.well-known/ohttp-gateway"
CLUSTER_PATH: Final = "/v1/cluster"
READY_PATH: Final = "/ready"
SLOTS: Final = 256  # of a key: the first octet of a digest
MOST_MEMBERS: Final = 64  # of a cluster that is taken for one
KEY_IDENTIFIERS: Final = 256  # one octet: nobody lists more keys
MOST_COUNT: Final = (1 << 53) - 1  # which every reader of metrics keeps
HEAD: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")  # RFC 9112, Section 4
MEMBER: Final = re.compile(r"[0-9a-f]{32}")


class StatementError(ValueError):
    """An answer that is none of what was asked for."""


Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a member of a cluster states; `slots` are ranges of each key, both ends included."""

    member: str
    members: frozenset[str]
    turns: int
    unowned: int
    slots: tuple[tuple[int, Ranges], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What one enclave has said in one round."""

    keys: tuple[int, ...]  # identifiers in the order of the list
    listed: bytes  # the list itself
    ready: bool = True
    cluster: Cluster | None = None


def request(path: str) -> bytes:
    """Return the request for `path` over a connection that ends with its answer."""
    return f"GET {path} HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n".encode()


def answer(data: bytes) -> tuple[int, bytes]:
    """Return status and body of a whole answer with a length, or raise StatementError."""
    head, end, body = data.partition(b"\r\n\r\n")
    status = HEAD.match(head + b"\r")
    length = re.search(rb"(?im)^content-length:[ \t]*([0-9]{1,9})[ \t]*\r?$", head)
    if status is None or not end or length is None or int(length[1]) != len(body):
        raise StatementError("no whole answer")
    return int(status[1]), body


def key_identifiers(listed: bytes) -> tuple[int, ...]:
    """Return the identifiers of an application/ohttp-keys document (RFC 9458, Section 3.2)."""
    identifiers: list[int] = []
    offset = 0
    while offset < len(listed):
        start = offset + 2
        offset = start + int.from_bytes(listed[offset:start], "big")
        if offset > len(listed) or offset <= start:
            raise StatementError("a key's length is not that of the key")
        identifiers.append(listed[start])
    if not 0 < len(identifiers) <= KEY_IDENTIFIERS:
        raise StatementError("no key is listed, or too many")
    return tuple(identifiers)


def cluster(body: bytes) -> Cluster:
    """Return what a member of a cluster states, or raise StatementError."""
    try:
        said = json.loads(body)
        members = frozenset(map(_member, said["members"]))
        slots = tuple((_octet(key), _ranges(each)) for key, each in said["slots"].items())
        counts = _count(said["turns"]), _count(said["unowned"])
        stated = Cluster(_member(said["member"]), members, *counts, slots)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StatementError("no statement of a cluster's member") from error
    if stated.member not in members or len(members) > MOST_MEMBERS:
        raise StatementError("a member that is none of its cluster's")
    return stated


def _member(said: object) -> str:
    if not isinstance(said, str) or not MEMBER.fullmatch(said):
        raise StatementError("no name of a member")
    return said


def _count(said: object) -> int:
    if type(said) is not int or not 0 <= said <= MOST_COUNT:
        raise StatementError("no count")
    return said


def _octet(said: str) -> int:
    # One way to write each, so that none is there twice.
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", said) or int(said) >= KEY_IDENTIFIERS:
        raise StatementError("no key identifier")
    return int(said)


def _ranges(said: object) -> Ranges:
    if not isinstance(said, list):
        raise StatementError("no ranges")
    ranges = tuple((first, last) for first, last in said)
    free = 0
    for first, last in ranges:
        # In order and apart: what is stated again and again would cost a turn of the loop.
        if type(first) is not int or type(last) is not int or not free <= first <= last < SLOTS:
            raise StatementError("no range of slots")
        free = last + 1
    return ranges
