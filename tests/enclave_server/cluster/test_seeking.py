"""A search goes around all peers, and tells what it found."""

import io
import time
from pathlib import Path

from enclave_server.addresses import UnixAddress, listen_socket
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.handshake import JOIN_SECONDS
from enclave_server.cluster.seeking import SEARCH_SECONDS, Search
from enclave_server.log import Log
from tests.enclave_server.cluster.test_handshake import LEADERSHIP, STATE
from tests.support.enclaves import enclave

HANGING_SECONDS = 30.0
"""After which a test fails that waits for a peer in vain."""


def test_nobody_is_anywhere(tmp_path: Path) -> None:
    peers = [UnixAddress(str(tmp_path / name)) for name in "ab"]
    search = Search(peers, enclave(), lambda leadership: True)
    assert not search.has_silent
    for turn in range(3):
        assert search.step(turn * SEARCH_SECONDS + 0.01, time.time()) is None
    assert search.has_asked(3)
    assert not search.has_asked(4)
    assert search.waiting == []
    assert not search.has_silent


def test_no_peers_are_asked_at_once() -> None:
    assert Search([], enclave(), lambda leadership: True).has_asked(100)


def test_one_waits_and_one_says_nothing(tmp_path: Path) -> None:
    peers = [UnixAddress(str(tmp_path / name)) for name in "ab"]
    waits = Doors(listen_socket(peers[0]), enclave(), Log(io.StringIO()), 0.0)
    with listen_socket(peers[1]):
        search = Search(peers, enclave(), lambda leadership: True)
        for now in (1.0, 1.1, 1.2, JOIN_SECONDS + 1.3):
            search.step(now, time.time())
            waits.step(now, time.time(), None, b"w" * 32)
        assert search.has_silent
        assert search.has_asked(1)
        assert search.waiting == [b"w" * 32]
        search.close()
    waits.close()


def test_a_peer_is_asked_again_when_its_pause_is_over(tmp_path: Path) -> None:
    search = Search([UnixAddress(str(tmp_path / "a"))], enclave(), lambda leadership: True, 0.5)
    for now, rounds in ((1.0, 1), (1.25, 1), (1.5, 2), (1.5, 2), (2.0, 3)):
        search.step(now, time.time())
        assert search.has_asked(rounds)
        assert not search.has_asked(rounds + 1)


def test_who_says_nothing_is_hung_up_on(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a"))
    with listen_socket(address) as listener:
        search = Search([address], enclave(), lambda leadership: True)
        search.step(1.0, time.time())
        assert len(search.sockets) == 1
        with listener.accept()[0] as peer:
            peer.settimeout(HANGING_SECONDS)
            search.step(JOIN_SECONDS + 1.1, time.time())
            assert search.sockets == []
            assert len(peer.recv(1000)) > 32  # the hello
            assert peer.recv(1000) == b""


def test_what_goes_on_elsewhere_ends_with_the_search(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a"))
    with listen_socket(address) as listener:
        search = Search([address], enclave(), lambda leadership: True)
        search.step(1.0, time.time())
        with listener.accept()[0] as peer:
            peer.settimeout(HANGING_SECONDS)
            search.close()
            assert search.sockets == []
            assert len(peer.recv(1000)) > 32
            assert peer.recv(1000) == b""


def test_who_has_found_a_leader_hangs_up_on_all_others(tmp_path: Path) -> None:
    silent, leads = (UnixAddress(str(tmp_path / name)) for name in "ab")
    doors = Doors(listen_socket(leads), enclave(), Log(io.StringIO()), 0.0)
    with listen_socket(silent) as listener:
        search = Search([silent, leads], enclave(), lambda leadership: True)
        joined = None
        for _ in range(6):
            joined = joined or search.step(1.0, time.time())
            for follower in doors.step(1.0, time.time(), LEADERSHIP, b""):
                follower.link.send(STATE)
        assert joined is not None
        assert search.sockets == []
        with listener.accept()[0] as peer:
            peer.settimeout(HANGING_SECONDS)
            assert len(peer.recv(1000)) > 32
            assert peer.recv(1000) == b""
        joined.link.close()
    doors.close()
