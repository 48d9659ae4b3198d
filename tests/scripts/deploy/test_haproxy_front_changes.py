"""The front while enclaves come and go: a kill, a drain, an upgrade, keys that meet."""

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from host_proxy.places import Alarm
from oblivious_client import ClientError, ObliviousClient, Policy, Simulated
from protocol.binary_http import encode_request
from protocol.encapsulation import encapsulate_request
from tests.host_proxy.test_metrics import scrape
from tests.support.enclave import models_request, running_upstream, stand_in_config
from tests.support.front import Front, Member, fronted, measurements, members
from tests.support.haproxy import needs_haproxy
from tests.support.host_proxy_process import DEADLINE, accept, in_background, listen_tcp, until
from tests.support.upstream import Exchange

TRIAL = Policy(simulated=Simulated.ALLOWED)
KEYS = "/.well-known/ohttp-gateway"

pytestmark = needs_haproxy


def piece(word: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % word.encode()


END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Tap:
    """An upstream whose streams begin at once and end when they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await exchange.chunk(piece("first "))
        self.begun.release()
        await asyncio.to_thread(self.open.wait, DEADLINE)
        await exchange.chunk(piece("last"))
        await exchange.chunk(END)
        await exchange.chunk(b"")


class Recorder:
    """Plays an enclave with the key 7: it tells what has come of a body, as it comes."""

    LISTED = b"\x00\x29\x07\x00\x20" + bytes(32) + b"\x00\x04\x00\x01\x00\x03"

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.body = b""
        self.news = threading.Condition()

    def serve(self) -> None:
        """Answer each connection in a thread of its own, until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                sock = accept(self._listener)
                in_background(lambda sock=sock: self._answer(sock))  # type: ignore[misc]

    def has(self, body: bytes) -> None:
        """Wait until this and no more has come of the body."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.body) >= len(body), DEADLINE)
            assert self.body == body

    def _answer(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(1 << 16)
                if not piece:
                    return
                head += piece
            head, _, body = head.partition(b"\r\n\r\n")
            if head.startswith(b"POST"):
                self._take(sock, body, int(head.lower().split(b"content-length:")[1].split()[0]))
            content = self.LISTED if b"ohttp-gateway" in head.partition(b"\r\n")[0] else b""
            status = b"404" if b"/v1/cluster" in head else b"200"
            sock.sendall(
                b"HTTP/1.1 %b X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(content), content)
            )

    def _take(self, sock: socket.socket, piece: bytes, length: int) -> None:
        while piece:
            with self.news:
                self.body += piece
                self.news.notify_all()
            piece = sock.recv(1 << 16) if len(self.body) < length else b""


@contextlib.contextmanager
def asked(front: Front, policy: Policy = TRIAL) -> Iterator[ObliviousClient]:
    with ObliviousClient(gateway=front.url, policy=policy) as client:
        yield client


def test_a_body_is_passed_on_as_it_comes() -> None:
    """The enclave has each piece before the next is sent."""
    body = b"\x07" + bytes(range(199))
    with listen_tcp() as listener:
        recorder = Recorder(listener)
        in_background(recorder.serve)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with fronted(place) as front, contextlib.closing(front.connect()) as connection:
            connection.putrequest("POST", "/v1/ohttp")
            connection.putheader("Content-Type", "message/ohttp-req")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            connection.send(body[:20])
            assert recorder.body == b""  # too short to know whose it is
            for end in (39, 100, 101, 200):
                connection.send(body[max(20, len(recorder.body)) : end])
                recorder.has(body[:end])
            assert connection.getresponse().status == 200
        listener.shutdown(socket.SHUT_RDWR)


def test_a_stream_ends_whole_while_its_enclave_is_drained_and_taken_out() -> None:
    tap = Tap()
    with running_upstream(tap) as upstream, members(2, stand_in_config(upstream.address)) as both:
        places = [member.place for member in both]
        with fronted(*places) as front, asked(front) as client:
            stream = client.stream("question", model="stand-in")
            texts = iter(stream)
            first = next(texts)
            assert tap.begun.acquire(timeout=DEADLINE)
            listed = [member.request("GET", KEYS).body for member in both]
            assert front.request("GET", KEYS).body == listed[0]
            front.set_state(1, "drain")
            until(lambda: front.request("GET", KEYS).body == listed[1])
            # Those who hold the old key are answered by it still.
            for member in both:
                config = member.configs()[0]
                sealed, _ = encapsulate_request(config, encode_request(models_request()))
                assert front.send(sealed).status == 200
            front.set_state(1, "maint")
            until(lambda: set(front.places().values()) == {"enclave2", "all"})
            sealed, _ = encapsulate_request(both[0].configs()[0], encode_request(models_request()))
            assert front.send(sealed).status == 422
            tap.open.set()
            assert first + "".join(texts) == "first last"
            assert client.models() == ["stand-in"]  # by a fetch of the other's keys


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_enclave_costs_nobody_more_than_one_retry(number: int) -> None:
    """Under load: clients that hold its key fetch the other's and ask once more by themselves."""
    outcomes: Counter[str] = Counter()
    stop = threading.Event()
    with members(2) as both, fronted(*(member.place for member in both)) as front:
        if number:  # clients hold the keys of the second
            front.set_state(1, "drain")
            front.round(3)
            front.set_state(1, "ready")
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(ask_on, front, stop, outcomes) for _ in range(8)]
            until(lambda: outcomes["answered"] >= 80)
            both[number].kill()
            before = outcomes["answered"]
            until(lambda: outcomes["answered"] >= before + 300)
            both[number].start()
            before = outcomes["answered"]
            until(lambda: outcomes["answered"] >= before + 100)
            stop.set()
            for job in jobs:
                job.result(DEADLINE)
        front.round()
        print(f"kill of enclave {number + 1}: {dict(outcomes)}", front.agent.lines[-1])
        # In flight at the kill: at most one for each who asks.
        assert outcomes["failed"] <= 8
        assert front.agent.events("member_lost")[0]["member"] == f"enclave{number + 1}"


def ask_on(front: Front, stop: threading.Event, outcomes: "Counter[str]") -> None:
    with asked(front) as client:
        while not stop.is_set():
            try:
                client.models()
                outcomes["answered"] += 1
            except ClientError as error:
                outcomes["failed"] += 1
                outcomes[type(error).__name__] += 1
            time.sleep(0.02)


def test_an_upgrade_to_other_measurements_costs_nobody_an_answer() -> None:
    tap = Tap()
    pins = {index: value for index, value in simulated_pcrs().items() if index < 3}
    both_pins = Policy(simulated=Simulated.ALLOWED, pcrs=pins, also=(measurements("next"),))
    old_pins = Policy(simulated=Simulated.ALLOWED, pcrs=pins)
    with running_upstream(tap) as upstream, contextlib.ExitStack() as ends:
        config = stand_in_config(upstream.address)
        (blue,) = ends.enter_context(members(1, config))
        green = Member(config, release="next")
        green.start()
        ends.callback(green.stop)
        while {k.key_id for k in green.configs()} & {k.key_id for k in blue.configs()}:
            green.stop()
            green.start()
        front = ends.enter_context(fronted(blue.place, green.place))
        client = ends.enter_context(asked(front, both_pins))
        texts = iter(client.stream("question", model="stand-in"))
        first = next(texts)
        front.set_state(1, "drain")
        until(lambda: front.request("GET", KEYS).body == green.request("GET", KEYS).body)
        assert client.models() == ["stand-in"]  # with the old key, which it holds
        with asked(front, both_pins) as newcomer:
            assert newcomer.models() == ["stand-in"]
        with asked(front, old_pins) as behind, pytest.raises(ClientError):
            behind.models()  # who pins the old release alone is told so
        front.set_state(1, "maint")
        front.round()
        assert client.models() == ["stand-in"]  # fetched, verified by the other pin
        tap.open.set()
        assert first + "".join(texts) == "first last"


def test_keys_that_meet_are_an_alarm_and_the_list_stays() -> None:
    # One enclave twice: every key meets.
    with members(1) as (blue,), fronted(blue.place, blue.place) as front:
        front.agent.event("alarm")
        assert front.agent.event("alarm")["alarm"] == Alarm.COLLISION.value
        assert set(front.places().values()) == {"enclave1", "all"}
        port = int(front.agent.event("listening")["address"].rpartition(":")[2])
        scraped = scrape(port, b"GET /metrics HTTP/1.1\r\n\r\n").decode()
        assert 'host_proxy_front_alarm{alarm="collision"} 1' in scraped
        assert 'host_proxy_front_members{standing="colliding"} 1' in scraped
        front.set_state(2, "maint")
        front.agent.event("alarm_over")


def test_an_haproxy_that_starts_anew_is_told_all_again() -> None:
    with members(1) as (only,), fronted(only.place) as front:
        told = front.places()
        front.runtime(f"clear map {front.folder}/oblivious-keys.map")
        config = only.configs()[0]
        sealed, _ = encapsulate_request(config, encode_request(models_request()))
        assert front.send(sealed).status == 200  # by the announced one
        until(lambda: front.places() == told)
