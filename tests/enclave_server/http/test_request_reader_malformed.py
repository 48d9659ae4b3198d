"""Every malformed and smuggling request of other projects' tests, whole and octet by octet."""

import asyncio
import contextlib
from typing import Any

import pytest

from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head, Refused
from enclave_server.http.request_reader import RequestReader
from tests.support.sockets import Recorder, run, serving
from tests.support.vector_files import load

CASES: list[dict[str, Any]] = load("http1-malformed.json")["cases"]

# The same octets are expected to be refused in one configuration of gunicorn, and accepted in
# another. Ours refuses names that differ from framing fields by an underscore only.
REFUSED_BY_CHOICE = {"gunicorn-valid-040"}

# gunicorn's limit for one field of this case; its octets are accepted under the usual limits.
LIMITS = {"gunicorn-012": Limits(head_bytes=98)}


def must_accept(case: dict[str, Any]) -> bool:
    return bool(case["expect"] == "accept" and case["id"] not in REFUSED_BY_CHOICE)


def must_refuse(case: dict[str, Any]) -> bool:
    return case["expect"][0] in ("4", "5")


def allowed_statuses(case: dict[str, Any]) -> set[int]:
    """Return the statuses that a case names, and 400, which says the same for less."""
    words = case["expect"].replace(",", " ").split()
    return {400} | {int(word) for word in words if len(word) == 3 and word.isdecimal()}


def read_all(pieces: list[bytes], limits: Limits) -> tuple[int, int | None]:
    """Return how many whole requests were read, and the status of the refusal, if any."""
    reader = RequestReader(limits)
    count = 0
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                count += not isinstance(event, Head)
    except Refused as refusal:
        return count, int(refusal.status)
    return count, None if reader.between_requests else 400


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_reader(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw_hex"])
    limits = LIMITS.get(case["id"], Limits())
    whole = read_all([raw], limits)
    assert read_all([raw[i : i + 1] for i in range(len(raw))], limits) == whole
    count, status = whole
    if must_accept(case):
        assert count >= 1
    if must_refuse(case):
        assert count == 0
        assert status in allowed_statuses(case)


@pytest.mark.parametrize("apart", [False, True], ids=["whole", "apart"])
def test_socket(apart: bool) -> None:
    """What the reader refuses is answered, and no handler ever sees it."""

    async def check(case: dict[str, Any]) -> None:
        recorder = Recorder()
        raw = bytes.fromhex(case["raw_hex"])
        limits = LIMITS.get(case["id"], Limits())
        async with serving(recorder, limits=limits) as server:
            peer = await server.connect()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await (peer.send_apart(raw) if apart else peer.send(raw))
            peer.end()
            answer = await peer.read_to_end()
        context = f"{case['id']}: {answer!r}"
        if must_accept(case):
            assert recorder.requests, context
            assert answer.startswith(b"HTTP/1.1 200 "), context
        elif must_refuse(case):
            assert not recorder.requests, context
            assert int(answer.split()[1]) in allowed_statuses(case), context
        assert answer.count(b"HTTP/1.1 200 ") == len(recorder.requests), context

    async def main() -> None:
        for case in CASES:
            await check(case)
            await asyncio.sleep(0)

    run(main)


def test_counts() -> None:
    """The file is whole, and every case has one of three expectations."""
    accepted = sum(must_accept(case) for case in CASES)
    refused = sum(must_refuse(case) for case in CASES)
    assert (len(CASES), accepted, refused) == (213, 19, 131)
