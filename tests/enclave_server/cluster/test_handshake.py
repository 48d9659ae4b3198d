"""Both ends of a join over real sockets, and how each gives up."""

import socket
import time
from pathlib import Path

import pytest

from enclave_server.addresses import UnixAddress, listen_socket
from enclave_server.cluster.handshake import JOIN_SECONDS, Approach, Entrance, Joined, Refused
from enclave_server.cluster.identity import Identity, make_identity
from enclave_server.cluster.stream import Dial, FrameStream
from enclave_server.security_module.nsm import NsmError
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.cluster_join import Leadership, Wait
from protocol.cluster_state import Beat, State
from tests.support.enclaves import REGISTERS, common_root, enclave, generation, state

LEADERSHIP = Leadership(b"L" * 16, b"F" * 16)
STATE = state(generation(1, b"L" * 16), leader=b"L" * 16)


class Meeting:
    """A follower that approaches a leader's door."""

    def __init__(
        self, folder: Path, *, wanted: bool = True, identity: Identity | None = None
    ) -> None:
        address = UnixAddress(str(folder / "door"))
        with listen_socket(address) as listener:
            self.approach = Approach(
                Dial(address), identity or enclave(), lambda leadership: wanted, 0.0
            )
            self.approach.step(0.0, time.time())
            self.entrance = Entrance(FrameStream(listener.accept()[0]), enclave(), 0.0)

    def approach_often(self) -> None:
        for _ in range(4):
            self.approach.step(1.0, time.time())

    def go(self, message: State | Beat | None = STATE, now: float = 1.0) -> object:
        for _ in range(4):
            follower = self.entrance.step(now, time.time(), LEADERSHIP, b"")
            if follower is not None and message is not None:
                follower.link.send(message)
            answer = self.approach.step(now, time.time())
            if answer is not None or follower is not None:
                return answer
        raise AssertionError("neither admitted nor refused")


def test_a_follower_gets_the_state(tmp_path: Path) -> None:
    joined = Meeting(tmp_path).go()
    assert isinstance(joined, Joined)
    assert joined.state == STATE


def test_who_does_not_lead_says_to_wait(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    with pytest.raises(Refused, match="wait"):
        meeting.entrance.step(1.0, time.time(), None, b"w" * 32)
    assert meeting.approach.step(1.0, time.time()) == Wait(b"w" * 32)


def test_an_unwanted_leader_gets_no_join(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="unwanted"):
        Meeting(tmp_path, wanted=False).go()


def test_what_comes_first_has_to_be_a_state(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no state"):
        Meeting(tmp_path).go(Beat(1))


def test_both_are_patient_for_five_seconds(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    for end in (
        lambda: meeting.approach.step(JOIN_SECONDS + 0.1, time.time()),
        lambda: meeting.entrance.step(JOIN_SECONDS + 0.1, time.time(), LEADERSHIP, b""),
    ):
        with pytest.raises(Refused, match="late"):
            end()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_leader_that_goes_away_in_the_middle_is_given_up(tmp_path: Path, steps: int) -> None:
    meeting = Meeting(tmp_path)
    for _ in range(steps):
        meeting.entrance.step(1.0, time.time(), LEADERSHIP, b"")
        if steps == 2:
            meeting.approach.step(1.0, time.time())
    meeting.entrance.close()
    with pytest.raises(Refused, match="gone"):
        meeting.approach_often()


def test_garbage_at_the_door_is_refused() -> None:
    ours, theirs = socket.socketpair()
    entrance = Entrance(FrameStream(ours), enclave(), 0.0)
    theirs.sendall(b"\0\3GET")
    with pytest.raises(Refused, match="MalformedMessage"):
        entrance.step(1.0, time.time(), LEADERSHIP, b"")


def test_five_seconds_are_not_too_long(tmp_path: Path) -> None:
    assert isinstance(Meeting(tmp_path).go(now=JOIN_SECONDS), Joined)


class Failing(SimulatedSecurityModule):
    """A security module that gives no document."""

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        raise NsmError("InternalError", "it is out of order")


def test_a_module_that_fails_refuses_either_side(tmp_path: Path) -> None:
    failing = make_identity(Failing(root=common_root()), REGISTERS)
    meeting = Meeting(tmp_path)
    meeting.entrance = Entrance(meeting.entrance.stream, failing, 0.0)
    with pytest.raises(Refused, match="InternalError"):
        meeting.entrance.step(1.0, time.time(), LEADERSHIP, b"")
    (tmp_path / "door").unlink()
    meeting = Meeting(tmp_path, identity=failing)
    meeting.entrance.step(1.0, time.time(), LEADERSHIP, b"")
    with pytest.raises(Refused, match="InternalError"):
        meeting.approach.step(1.0, time.time())


def test_who_gives_up_hangs_up(tmp_path: Path) -> None:
    meeting = Meeting(tmp_path)
    meeting.approach.close()
    with pytest.raises(Refused, match="gone"):
        meeting.entrance.step(1.0, time.time(), LEADERSHIP, b"")


def test_who_gives_up_before_there_is_a_connection_hangs_up(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "door"))
    with listen_socket(address) as listener:
        Approach(Dial(address), enclave(), lambda leadership: True, 0.0).close()
        with listener.accept()[0] as connection:
            connection.settimeout(30)
            assert connection.recv(1) == b""
