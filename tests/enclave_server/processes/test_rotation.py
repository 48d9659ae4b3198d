"""Tests of rotation with keys that live for seconds, under traffic, in several workers."""

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from enclave_server.keys.ring import MECHANISMS
from protocol.binary_http import encode_request
from protocol.encapsulation import encapsulate_request
from protocol.key_config import KeyConfig, decode_key_configs
from tests.support.at_once import Outcome, at_once
from tests.support.enclave import (
    DEADLINE,
    Enclave,
    models_request,
    opened_again,
    running_enclave,
    stand_in_config,
    verified,
)

# Each is longer than anything that a test does within it, on a machine that is busy.
LIFETIME, ANNOUNCE, GRACE = 8.0, 4.0, 5.0
CONFIG = (
    stand_in_config("unix:/nonexistent")
    + f"[keys]\nlifetime_seconds={LIFETIME}\nannounce_seconds={ANNOUNCE}\ngrace_seconds={GRACE}\n"
    + "[evidence]\nrefresh_seconds=1\nnonce_per_second=1000\n"
)
PAUSE = 0.03
"""Seconds between two rounds of a client, which take as long: they need not fill a processor."""

KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key"


@dataclass
class Client(threading.Thread):
    """Fetches evidence, verifies it, and asks with its newest key at once."""

    enclave: Enclave
    ended: threading.Event
    seen: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answered: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.ended.wait(PAUSE):
            try:
                self._once()
            except Exception as error:  # collected, and looked at by the test
                self.wrong.append(repr(error))

    @property
    def has_seen_enough(self) -> bool:
        return self.answered > 20 and len(self.seen) >= 3

    def _once(self) -> None:
        # The verification fails if a worker serves a document for other keys than it lists.
        nonce = secrets.token_bytes(16)
        answer = self.enclave.request("GET", f"/v1/attestation?nonce={nonce.hex()}")
        verified(answer, nonce)
        evidence = self.enclave.evidence()
        if evidence.key_configs[0].key_id not in self.seen:
            self.seen.append(evidence.key_configs[0].key_id)
        for config in evidence.key_configs:
            assert self.enclave.ask(models_request(), config).status == 200
            self.answered += 1


def wait_for_new_key(enclave: Enclave, old: KeyConfig) -> list[KeyConfig]:
    deadline = time.monotonic() + DEADLINE
    while (configs := enclave.key_configs())[0] == old:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return configs


def wait_for_refusal(enclave: Enclave, config: KeyConfig) -> None:
    """Return when requests to `config` are refused, with the answer that a client retries on."""
    deadline = time.monotonic() + DEADLINE
    while True:
        sealed, _ = encapsulate_request(config, encode_request(models_request()))
        answer = enclave.send(sealed)
        if answer.status != 200:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == KEY_PROBLEM


def under_traffic_documents_always_match_keys_and_nobody_is_refused() -> None:
    ended = threading.Event()
    with running_enclave(CONFIG, workers=3) as enclave:
        clients = [Client(enclave, ended) for _ in range(2)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + DEADLINE
        while not all(client.has_seen_enough for client in clients):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        ended.set()
        for client in clients:
            client.join(DEADLINE)
        for client in clients:
            assert client.wrong == []
            assert client.has_seen_enough
            steps = {(b - a) % 256 for a, b in zip(client.seen, client.seen[1:], strict=False)}
            assert steps == {len(MECHANISMS)}
        assert not enclave.events("worker_ended")


def one_key_from_announcement_to_its_end() -> None:
    with running_enclave(CONFIG, workers=2) as enclave:
        old = enclave.key_configs()
        listed = wait_for_new_key(enclave, old[0])
        assert listed[len(old) :] == old
        assert [config.kem_id for config in listed] == 2 * [kem.code for kem in MECHANISMS]
        assert listed[0].key_id == (old[0].key_id + len(old)) % 256
        deadline = time.monotonic() + DEADLINE
        while any(config in old for config in enclave.key_configs()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # They have retired, and open what was sealed to cached lists.
        assert [enclave.ask(models_request(), config).status for config in old] == [200, 200]
        for config in old:
            wait_for_refusal(enclave, config)
        for config in 5 * old:  # whatever the worker
            sealed, _ = encapsulate_request(config, encode_request(models_request()))
            assert enclave.send(sealed).status == 422


def a_replay_is_refused_across_a_rotation() -> None:
    with running_enclave(CONFIG, workers=2) as enclave:
        old = enclave.key_configs()[0]
        sealed, context = encapsulate_request(old, encode_request(models_request()))

        def send() -> int:
            answer = enclave.send(sealed)
            if answer.status != 200:
                return answer.status
            return opened_again(context, answer.body).status

        assert send() == 200
        assert send() == 409
        wait_for_new_key(enclave, old)
        assert send() == 409
        wait_for_refusal(enclave, old)
        assert send() == 422


def test_nothing_may_be_cached_for_longer_than_it_is_true() -> None:
    with running_enclave(CONFIG) as enclave:
        for target in ("/.well-known/ohttp-gateway", "/v1/attestation"):
            control = enclave.request("GET", target).headers["cache-control"]
            ages = [
                int(part.partition("=")[2])
                for part in control.replace(" ", "").split(",")
                if part.startswith("max-age=")
            ]
            assert all(age <= LIFETIME for age in ages), control
        listed = decode_key_configs(enclave.request("GET", "/v1/ohttp/config").body)
        assert listed[-1] in enclave.key_configs()


def a_new_worker_serves_with_the_keys_of_the_moment() -> None:
    with running_enclave(CONFIG, workers=1) as enclave:
        wait_for_new_key(enclave, enclave.key_configs()[0])
        (pid,) = enclave.worker_pids

        os.kill(pid, signal.SIGKILL)
        enclave.wait_for("worker_started", 2)
        assert enclave.ask(models_request(), enclave.key_configs()[0]).status == 200


ROTATIONS = (
    under_traffic_documents_always_match_keys_and_nobody_is_refused,
    one_key_from_announcement_to_its_end,
    a_replay_is_refused_across_a_rotation,
    a_new_worker_serves_with_the_keys_of_the_moment,
)


@pytest.fixture(scope="module")
def outcome() -> Iterator[Outcome]:
    """Have all four wait for their rotations at once, each with a server of its own."""
    with at_once({scenario: scenario for scenario in ROTATIONS}) as outcome:
        yield outcome


def test_under_traffic_documents_always_match_keys_and_nobody_is_refused(
    outcome: Outcome,
) -> None:
    outcome(under_traffic_documents_always_match_keys_and_nobody_is_refused)


def test_one_key_from_announcement_to_its_end(
    outcome: Outcome,
) -> None:
    outcome(one_key_from_announcement_to_its_end)


def test_a_replay_is_refused_across_a_rotation(
    outcome: Outcome,
) -> None:
    outcome(a_replay_is_refused_across_a_rotation)


def test_a_new_worker_serves_with_the_keys_of_the_moment(
    outcome: Outcome,
) -> None:
    outcome(a_new_worker_serves_with_the_keys_of_the_moment)
