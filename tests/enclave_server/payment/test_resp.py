"""RESP: what is sent, and exactly what is taken for a reply."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.payment.resp import (
    MAX_REPLY_BYTES,
    Kind,
    MalformedReply,
    Reply,
    encode,
    take_reply,
)

OWNER = bytes(range(16))
HELD = b"$17\r\nh" + OWNER + b"\r\n"
SPENT = b"$17\r\ns" + b"\r\n" * 8 + b"\r\n"
GOOD = [
    (Kind.PREVIOUS, b"$-1\r\n", None),
    (Kind.PREVIOUS, HELD, b"h" + OWNER),
    (Kind.PREVIOUS, SPENT, b"s" + b"\r\n" * 8),
    (Kind.DONE, b"+OK\r\n", None),
    (Kind.COUNT, b":0\r\n", None),
    (Kind.COUNT, b":1\r\n", None),
]
WRONG = [
    b"$0\r\n\r\n",
    b"$+1\r\n",
    b"$-0\r\n",
    b"$-1\n",
    b"$-2\r\n",
    b"$ 17\r\nh",
    b"$017\r\nh",
    b"$1_7\r\nh",
    b"$16\r\nh",
    b"$18\r\nh",
    b"$17\r\nx" + OWNER + b"\r\n",
    b"$17\r\nH" + OWNER + b"\r\n",
    b"$17\r\nh" + OWNER + b"\n\r",
    b"$17\r\nh" + OWNER + b"!\r\n",
    b"$" + b"9" * 100_000,
    b":2\r\n",
    b":-1\r\n",
    b":00\r\n",
    b"+ok\r\n",
    b"+OK\n",
    b"+QUEUED\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-ERR unknown command\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"_\r\n",
    b"#t\r\n",
    b"%0\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\r\n",
    b"\0",
]


def test_commands_are_written_as_redis_reads_them() -> None:
    assert encode(b"PING") == b"*1\r\n$4\r\nPING\r\n"
    assert encode(b"SET", b"\r\n\0", b"") == b"*3\r\n$3\r\nSET\r\n$3\r\n\r\n\0\r\n$0\r\n\r\n"


@pytest.mark.parametrize(("kind", "data", "value"), GOOD)
def test_each_reply_is_taken_octet_by_octet_and_with_more_behind(
    kind: Kind, data: bytes, value: bytes | None
) -> None:
    for size in range(len(data)):
        assert take_reply(kind, data[:size]) is None
    for more in (b"", b"\r\n", data, b"$"):
        assert take_reply(kind, bytearray(data + more)) == Reply(value, len(data))
    assert len(data) <= MAX_REPLY_BYTES


@pytest.mark.parametrize("kind", Kind)
def test_nothing_else_is_taken(kind: Kind) -> None:
    others = [data for other, data, _ in GOOD if other is not kind]
    for data in [*WRONG, *others]:
        with pytest.raises(MalformedReply):
            take_reply(kind, data)


@given(st.binary(max_size=40), st.sampled_from(Kind))
def test_whatever_comes_is_a_reply_or_may_become_one_or_is_refused(data: bytes, kind: Kind) -> None:
    try:
        reply = take_reply(kind, data)
    except MalformedReply:
        return
    known = [good for other, good, _ in GOOD if other is kind]
    if reply is None:
        assert len(data) < max(map(len, known))
    elif reply.value is None:
        assert data[: reply.size] in known
    else:
        assert data[: reply.size] == b"$17\r\n" + reply.value + b"\r\n"


def test_what_is_refused_is_so_from_its_first_wrong_octet_on() -> None:
    for (kind, good, _), at in itertools.product(GOOD, range(5)):
        if at >= len(good):
            continue
        bent = good[:at] + bytes([good[at] ^ 0x20])
        if not any(known.startswith(bent) for other, known, _ in GOOD if other is kind):
            with pytest.raises(MalformedReply):
                take_reply(kind, bent)
