"""What an enclave is asked in a round, and what its answers come to."""

import json
import socket

import pytest

from host_proxy.addresses import Tcp
from host_proxy.loop import Loop
from host_proxy.resolver import Resolver
from host_proxy.statements import CLUSTER_PATH, KEYS_PATH, READY_PATH, Statement
from host_proxy.survey import Answers, Survey
from tests.host_proxy.test_statements import ME, SAID
from tests.support.host_proxy_process import accept, in_background, listen_tcp

LISTED = b"\0\3\7\0\x20"


def http(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


ALONE = {KEYS_PATH: http(200, LISTED), CLUSTER_PATH: http(404), READY_PATH: http(200)}


def test_an_enclave_that_is_alone() -> None:
    assert Answers(dict(ALONE)).statement() == Statement((7,), LISTED, True, None)


def test_one_that_is_not_ready() -> None:
    said = Answers({**ALONE, READY_PATH: http(503)}).statement()
    assert said is not None
    assert not said.ready


def test_a_member_of_a_cluster() -> None:
    body = json.dumps(SAID).encode()
    said = Answers({**ALONE, CLUSTER_PATH: http(200, body)}).statement()
    assert said is not None
    assert said.cluster is not None
    assert said.cluster.member == ME


@pytest.mark.parametrize("path", [KEYS_PATH, CLUSTER_PATH, READY_PATH])
@pytest.mark.parametrize("answer", [None, b"", b"SSH-2.0", http(200, b"x")[:-1]])
def test_one_answer_that_is_none_makes_it_silent(path: str, answer: bytes | None) -> None:
    assert Answers({**ALONE, path: answer}).statement() is None


@pytest.mark.parametrize(
    ("path", "answer"),
    [(KEYS_PATH, http(503)), (KEYS_PATH, http(200)), (CLUSTER_PATH, http(200, b"{}"))],
)
def test_one_that_says_something_else_is_silent(path: str, answer: bytes) -> None:
    assert Answers({**ALONE, path: answer}).statement() is None


def test_all_three_are_asked_and_it_is_told_once() -> None:
    loop = Loop()
    told: list[Statement | None] = []

    def done(said: Statement | None) -> None:
        told.append(said)
        loop.later(0.05, loop.stop)

    def serve(listener: socket.socket) -> None:
        for _ in range(3):
            with accept(listener) as sock:
                path = sock.recv(1000).split(b" ")[1].decode()
                sock.sendall(ALONE[path])

    with listen_tcp() as listener:
        in_background(lambda: serve(listener))
        address = Tcp("127.0.0.1", listener.getsockname()[1])
        survey = Survey(loop, Resolver(loop), address, done)
        loop.later(0, survey.start)
        loop.run()
    loop.shut_down()
    assert told == [Statement((7,), LISTED, True, None)]
