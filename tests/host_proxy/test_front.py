"""The process beside HAProxy, with an HAProxy that is played; the real one is in tests/scripts."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.host_proxy.test_haproxy import said
from tests.host_proxy.test_survey import ALONE
from tests.support.host_proxy_process import (
    ProxyProcess,
    accept,
    in_background,
    listen_tcp,
    listen_unix,
    running,
    until,
)


class Played:
    """HAProxy's runtime socket with one server, and the enclave at that server's port."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runtime"
        self.map: dict[str, str] = {}
        self.told: list[str] = []
        self.works = True
        self.alive = True
        self.runtime = listen_unix(self.path)
        self.enclave = listen_tcp()
        port = self.enclave.getsockname()[1]
        self.overview = said((0, 0)).replace(b" 8001 ", b" %d " % port)
        in_background(lambda: self._serve(self.runtime, self._runtime))
        in_background(lambda: self._serve(self.enclave, self._enclave))

    def close(self) -> None:
        for listener in (self.runtime, self.enclave):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket, answer: Callable[[str], bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                with accept(listener) as sock, contextlib.suppress(OSError):
                    sock.sendall(answer(sock.recv(1 << 16).decode()))

    def _runtime(self, line: str) -> bytes:
        if not self.works:
            return b"Permission denied\n"
        if line.startswith("show servers"):
            return self.overview
        if line.startswith("show map"):
            return "".join(f"0x1 {key} {value}\n" for key, value in self.map.items()).encode()
        for command in line.strip().split(";"):
            self.told.append(command)
            words = command.split()
            if words[:2] == ["add", "map"]:
                self.map[words[3]] = words[4]
            elif words[:2] == ["del", "map"]:
                del self.map[words[3]]
        return b"\n"

    def _enclave(self, request: str) -> bytes:
        return ALONE[request.split(" ")[1]] if self.alive else b""


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    haproxy = Played(tmp_path)
    try:
        yield haproxy
    finally:
        haproxy.close()


@contextlib.contextmanager
def agent(played: Played) -> Iterator[ProxyProcess]:
    with running("--front", f"unix:{played.path}", "--front-seconds", "0.02") as process:
        yield process


def test_the_map_is_filled_before_it_is_ready(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        assert played.map == {"07": "enclave1", "told": "all"}
        assert "set server oblivious_members/enclave1 weight 1" in played.told
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_who_is_silent_loses_its_place_and_has_it_again(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        played.alive = False
        assert process.event("member_lost")["member"] == "enclave1"
        until(lambda: "07" not in played.map)
        assert process.event("alarm")["alarm"] == "nobody"
        played.alive = True
        process.event("member_answers", 2)
        until(lambda: played.map.get("07") == "enclave1")
        process.event("alarm_over")


def test_an_haproxy_that_says_something_else_is_an_alarm_and_asked_again(played: Played) -> None:
    played.works = False
    with agent(played) as process:
        assert "no backend" in process.event("haproxy_unreachable")["reason"]
        assert process.event("alarm")["alarm"] == "unreachable"
        played.works = True
        process.event("ready")
        process.event("alarm_over")


def test_counters_are_told(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        process.signal(signal.SIGUSR1)
        counters = process.event("counters")
        assert counters["members"] == {"enclave1": "announced"}
        assert counters["map_changes"] == {"add": 2}
        assert (counters["unknown"], counters["misdirected"]) == (3, 5)
