"""Every connection that a test of this room makes ends with it."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.cluster.stream import Dial, FrameStream
from tests.support.cluster_world import World


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


@pytest.fixture(name="world")
def a_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
