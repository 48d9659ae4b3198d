"""A search goes around all peers, and tells what it found."""

import io
import time
from pathlib import Path

from enclave_server.addresses import UnixAddress, listen_socket
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.handshake import JOIN_SECONDS
from enclave_server.cluster.seeking import SEARCH_SECONDS, Search
from enclave_server.log import Log
from tests.support.enclaves import enclave


def test_nobody_is_anywhere(tmp_path: Path) -> None:
    peers = [UnixAddress(str(tmp_path / name)) for name in "ab"]
    search = Search(peers, enclave(), lambda leadership: True)
    for turn in range(3):
        assert search.step(turn * SEARCH_SECONDS + 0.01, time.time()) is None
    assert search.rounds == 3
    assert search.waiting == []
    assert not search.has_silent


def test_no_peers_are_asked_at_once() -> None:
    assert Search([], enclave(), lambda leadership: True).rounds > 100


def test_one_waits_and_one_says_nothing(tmp_path: Path) -> None:
    peers = [UnixAddress(str(tmp_path / name)) for name in "ab"]
    waits = Doors(listen_socket(peers[0]), enclave(), Log(io.StringIO()), 0.0)
    with listen_socket(peers[1]):
        search = Search(peers, enclave(), lambda leadership: True)
        for now in (1.0, 1.1, 1.2, JOIN_SECONDS + 1.3):
            search.step(now, time.time())
            waits.step(now, time.time(), None, b"w" * 32)
        assert search.has_silent
        assert search.rounds >= 1
        search.close()
    waits.close()
