"""What a worker does in its order: from the first snapshot to its end, with stand-ins around it."""

import asyncio
import gc
import io
import json
import socket
import types
from typing import Any

import pytest

from enclave_server.chat.models import ModelTable
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import parse_config
from enclave_server.log import Log
from enclave_server.processes import worker
from enclave_server.processes.pool import SERIAL

CONFIG = parse_config("[server]\ngrace_seconds = 7\n[evidence]\nnonce_per_second = 3\n")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the worker has done, in its order, while `serve` runs."""
    steps: list[str] = []

    class Collector:
        def collect(self) -> None:
            steps.append("collected")

        def freeze(self) -> None:
            steps.append("frozen")

        def set_threshold(self, objects: int) -> None:
            assert objects > 10 * gc.get_threshold()[0]
            steps.append("seldom")

    class Server:
        def __init__(self, *given: object) -> None:
            assert given[:3] == ("listener", "router", CONFIG.limits)
            assert given[5] == "room of 3"

        async def start(self) -> None:
            steps.append("started")

        async def drain(self, seconds: float) -> None:
            steps.append(f"drained {seconds:g}")

    class Chat(worker.ChatService):  # type: ignore[name-defined,misc]
        def close(self) -> None:
            super().close()
            steps.append("closed")

    def listening(*_: object) -> asyncio.Event:
        steps.append("listening")
        ending = asyncio.Event()
        ending.set()
        return ending

    snapshot = types.SimpleNamespace(
        serial=9, keys=types.SimpleNamespace(tee_id="tee"), provisioned=None, standing=None
    )
    monkeypatch.setattr(worker, "gc", Collector())
    monkeypatch.setattr(worker, "decode_snapshot", lambda message, keys: snapshot)
    monkeypatch.setattr(worker, "_make_router", lambda *_: "router")
    monkeypatch.setattr(worker, "Server", Server)
    monkeypatch.setattr(worker, "_listen_to_parent", listening)
    monkeypatch.setattr(worker, "ChatService", Chat)
    return steps


def serve(log: Log | None = None) -> tuple[int, list[int]]:
    """Return what a worker returns that is told to end at once, and what it has told its parent."""
    inheritance: Any = types.SimpleNamespace(
        config=CONFIG,
        signing_keys=None,
        provisioned=ProvisionedKeys(),
        models=ModelTable(()),
        attester=None,
        readiness=True,
        listener="listener",
        rooms=types.SimpleNamespace(of=lambda number: f"room of {number}"),
        till=None,
    )
    told: list[object] = []
    large: Any = types.SimpleNamespace(do=None, when_gone=told.append)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b"snapshot")
        log = log or Log(io.StringIO())
        status = asyncio.run(worker._serve(inheritance, 3, log, theirs, large))
        ours.setblocking(False)
        heard = []
        while True:
            try:
                heard.append(SERIAL.unpack(ours.recv(100))[0])
            except BlockingIOError:
                break
    assert len(told) == 1  # when its readers have gone
    return status, heard


def test_it_says_that_it_serves_when_it_does_and_ends_in_order(done: list[str]) -> None:
    status, heard = serve()
    assert status == 0
    assert heard == [9, 9]  # that it serves, and that its heart beats
    order = ["listening", "collected", "frozen", "seldom", "started", "drained 7", "closed"]
    assert done == order


def state(config: str) -> Any:
    inheritance: Any = types.SimpleNamespace(
        config=parse_config(config), attester=Attester(), readiness=True
    )
    keys = types.SimpleNamespace(ohttp_keys=b"keys", signing_keys="signing", opening=lambda now: ())
    snapshot: Any = types.SimpleNamespace(serial=4, keys=keys, provisioned=None, standing=None)
    desk: Any = types.SimpleNamespace(learn=lambda proposal: None)
    return worker.State(inheritance, snapshot, desk)


class Attester:
    """Says what it was asked."""

    def attest(self, ohttp_keys: bytes, nonce: bytes) -> tuple[bytes, bytes]:
        return ohttp_keys, nonce


@pytest.mark.parametrize(
    ("rate", "at_once"), [("2", 4), ("0.25", 1)], ids=["twice a second's", "one at the least"]
)
def test_documents_for_nonces_are_made_so_many_at_once(rate: str, at_once: int) -> None:
    found = state(f"[evidence]\nnonce_per_second = {rate}\n")
    for number in range(at_once):
        assert found.fresh_document(b"%d" % number) == (b"keys", b"%d" % number)
    with pytest.raises(worker.TooOften):  # type: ignore[attr-defined]
        found.fresh_document(b"one more")


def test_a_state_tells_what_it_has() -> None:
    found = state("")
    assert (found.serial, found.ready(), found.signing_keys()) == (4, True, "signing")
    assert found.opening_keys() == ()
    assert found.keyset().ohttp_keys == b"keys"


@pytest.mark.usefixtures("done")
def test_of_handing_over_secrets_its_outcome_is_counted_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handing_over(gate: Any, desk: Any, otherwise: Any, report: Any) -> Any:
        report(204)
        return otherwise

    monkeypatch.setattr(worker, "make_dispatch", handing_over)
    said = io.StringIO()
    log = Log(said)
    serve(log)
    log.report()
    (line,) = map(json.loads, said.getvalue().splitlines())
    del line["time"], line["event"]
    assert line == {
        "route": "provision",
        "status": 204,
        "count": 1,
        "received_bytes": 0,
        "sent_bytes": 0,
        "mean_ms": 0,
        "longest_ms": 0,
    }
