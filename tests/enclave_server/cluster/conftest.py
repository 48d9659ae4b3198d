"""Every connection that a test of this room makes ends with it."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from enclave_server.cluster.stream import Dial, FrameStream


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[Any] = []
    pair = socket.socketpair

    def noting(sound: Any) -> Any:
        def begin(this: Any, given: Any) -> None:
            sound(this, given)
            made.append(this)

        return begin

    def pairs(*given: Any) -> tuple[socket.socket, socket.socket]:
        ends = pair(*given)
        made.extend(ends)
        return ends

    monkeypatch.setattr(FrameStream, "__init__", noting(FrameStream.__init__))
    monkeypatch.setattr(Dial, "__init__", noting(Dial.__init__))
    monkeypatch.setattr(socket, "socketpair", pairs)
    yield
    for each in made:
        each.close()
