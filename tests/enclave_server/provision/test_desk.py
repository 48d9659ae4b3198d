"""Attacks on provisioning, against real server processes, and what happens once only."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import ConfigError, parse_config
from enclave_server.provision import desk as provision_module
from enclave_server.provision.desk import Acceptance, Desk
from enclave_server.provision.proposal import Proposal, decode_proposal
from protocol.binary_http import Response, encode_request
from protocol.encapsulation import encapsulate_request
from protocol.provisioning import MAX_CONTENT_BYTES, Secrets
from tests.support.enclave import (
    DEADLINE,
    Enclave,
    chat_request,
    opened_again,
    running_enclave,
    running_upstream,
)
from tests.support.provisioning import (
    KEY,
    SECRETS,
    STRANGER,
    code_of,
    provision_request,
    public_text,
    statement,
    waiting_config,
)
from tests.support.upstream import StandInUpstream

WAITING = waiting_config("unix:/nonexistent")


def tee_id_of(enclave: Enclave) -> str:
    tee_id = enclave.request("GET", "/signing-key").json["tee_id"]
    assert isinstance(tee_id, str)
    return tee_id


def provision(enclave: Enclave, given: Secrets = SECRETS) -> Response:
    return enclave.ask(provision_request(statement(tee_id_of(enclave), given)))


@pytest.fixture(scope="module")
def waiting() -> Iterator[Enclave]:
    """Yield an enclave that nobody has provisioned; no attack may change that."""
    with running_enclave(WAITING) as enclave:
        yield enclave


def altered(content: bytes, old: bytes, new: bytes) -> bytes:
    """Change a statement without signing it anew."""
    members = json.loads(content)
    text = base64.b64decode(members["statement"])
    assert old in text
    members["statement"] = base64.b64encode(text.replace(old, new)).decode()
    return json.dumps(members).encode()


Attack = tuple[Callable[[str], bytes], int, str | None]

ATTACKS: dict[str, Attack] = {
    "another administrator's key": (lambda t: statement(t, key=STRANGER), 403, "not_authorised"),
    "altered secrets": (
        lambda t: altered(statement(t), KEY.encode(), b"sk-the-key-of-somebody-else"),
        403,
        "not_authorised",
    ),
    "altered name of the upstream": (
        lambda t: altered(statement(t), b"provider", b"attacker"),
        403,
        "not_authorised",
    ),
    "signed for another enclave": (lambda _: statement("ab" * 32), 403, "not_authorised"),
    "signed for another, then relabelled": (
        lambda t: altered(statement("ab" * 32), b"ab" * 32, t.encode()),
        403,
        "not_authorised",
    ),
    "signed long ago": (
        lambda t: statement(t, timestamp=time.time() - 302),
        403,
        "not_authorised",
    ),
    "signed for later": (
        lambda t: statement(t, timestamp=time.time() + 302),
        403,
        "not_authorised",
    ),
    "no signature": (lambda _: b'{"keys": {"provider": "sk-attacker"}}', 400, None),
    "garbage": (lambda _: os.urandom(1000), 400, None),
    "nothing": (lambda _: b"", 400, None),
    "the longest": (lambda _: b" " * MAX_CONTENT_BYTES, 400, None),
    "oversize": (lambda _: b" " * (MAX_CONTENT_BYTES + 1), 413, None),
    "a million octets": (lambda _: os.urandom(1_000_000), 413, None),
    "an upstream that is not configured": (
        lambda t: statement(t, Secrets({"provider": KEY, "elsewhere": "sk-x"})),
        400,
        "wrong_upstream",
    ),
    "settings of an upstream that is not configured": (
        lambda t: statement(t, Secrets({"provider": KEY}, {"elsewhere": {"project": "x"}})),
        400,
        "wrong_upstream",
    ),
    "a key that is missing": (lambda t: statement(t, Secrets({})), 400, "wrong_upstream"),
}


@pytest.mark.parametrize(("content", "status", "code"), ATTACKS.values(), ids=ATTACKS)
def test_an_attack_is_refused_and_changes_nothing(
    waiting: Enclave, content: Callable[[str], bytes], status: int, code: str | None
) -> None:
    answer = waiting.ask(provision_request(content(tee_id_of(waiting))))
    assert (answer.status, code_of(answer.content)) == (status, code)
    assert KEY.encode() not in answer.content
    _assert_waits(waiting)


def _assert_waits(enclave: Enclave) -> None:
    answer = enclave.ask(chat_request())
    assert (answer.status, code_of(answer.content)) == (503, "key_not_provisioned")
    assert b"has not been provisioned" in answer.content


def test_only_post_is_answered(waiting: Enclave) -> None:
    answer = waiting.ask(provision_request(statement(tee_id_of(waiting)), b"PUT"))
    assert (answer.status, dict(answer.headers)[b"allow"]) == (405, b"POST")
    _assert_waits(waiting)


def test_there_is_no_provisioning_in_the_clear(waiting: Enclave) -> None:
    content = statement(tee_id_of(waiting))
    headers = {"content-type": "application/json"}
    for method in ("POST", "PUT", "GET"):
        assert waiting.request(method, "/v1/provision", content, headers).status == 404
    _assert_waits(waiting)


def test_a_request_outside_of_the_replay_window_is_refused(waiting: Enclave) -> None:
    request = provision_request(statement(tee_id_of(waiting)))
    undated = dataclasses.replace(request, headers=request.headers[:1])
    assert waiting.ask(undated).status == 400
    _assert_waits(waiting)


def test_nobody_provisions_where_no_administrator_is_configured() -> None:
    with running_enclave() as enclave:
        answer = provision(enclave)
        assert (answer.status, code_of(answer.content)) == (404, "unknown_url")


def test_secrets_are_taken_once_and_used() -> None:
    with (
        running_upstream() as upstream,
        running_enclave(waiting_config(upstream.address)) as enclave,
    ):
        _assert_waits(enclave)
        full = Secrets({"provider": KEY}, {"provider": {"organization": "o", "project": "p"}})
        assert provision(enclave, full) == Response(204)
        assert enclave.ask(chat_request()).status == 200
        other = provision(enclave, Secrets({"provider": "sk-another"}))
        assert (other.status, code_of(other.content)) == (409, "already_provisioned")
        # Who is not the administrator does not even learn that it has happened.
        stranger = enclave.ask(provision_request(statement(tee_id_of(enclave), key=STRANGER)))
        assert stranger.status == 403
        assert enclave.ask(chat_request()).status == 200
        fields = [received.fields for received in upstream.requests]
        assert [each["authorization"] for each in fields] == [f"Bearer {KEY}"] * 2
        assert fields[0]["openai-organization"] == "o"
        assert fields[0]["openai-project"] == "p"
        assert enclave.stop() == 0
        assert len(enclave.events("provisioned")) == 1
        outcomes = {
            line["status"]: line["count"]
            for line in enclave.events("requests")
            if line["route"] == "provision"
        }
        assert outcomes == {204: 1, 403: 1, 409: 1}
        assert KEY.encode() not in enclave.text
        assert b"sk-another" not in enclave.text


def test_a_replay_is_refused_by_the_same_enclave_and_by_the_next_boot() -> None:
    with running_enclave(WAITING) as enclave:
        content = statement(tee_id_of(enclave))
        request = encode_request(provision_request(content))
        sealed, context = encapsulate_request(enclave.key_configs()[0], request)
        for status in (204, 409):
            # The same bytes, as the host or the relay can send them again.
            assert opened_again(context, enclave.send(sealed).body).status == status
    with running_enclave(WAITING) as rebooted:
        assert rebooted.send(sealed).status == 422
        # The same statement, had it ever been known: for the boot before.
        assert rebooted.ask(provision_request(content)).status == 403
        _assert_waits(rebooted)


def test_one_of_many_at_the_same_time_wins_with_every_worker() -> None:
    with (
        running_upstream() as upstream,
        running_enclave(waiting_config(upstream.address), workers=3) as enclave,
    ):
        tee_id, config = tee_id_of(enclave), enclave.key_configs()[0]
        statuses: dict[str, int] = {}
        barrier = threading.Barrier(12)

        def race(key: str) -> None:
            request = provision_request(statement(tee_id, Secrets({"provider": key})))
            barrier.wait(DEADLINE)
            statuses[key] = enclave.ask(request, config).status

        racers = [threading.Thread(target=race, args=(f"sk-{number}",)) for number in range(12)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(DEADLINE)
        assert sorted(statuses.values()) == [204] + 11 * [409]
        winner = next(key for key, status in statuses.items() if status == 204)
        _assert_all_use(enclave, upstream, winner)
        # A worker that replaces another has the key from its start.
        for pid in list(enclave.worker_pids):
            os.kill(pid, signal.SIGKILL)
        enclave.wait_for("worker_started", 6)
        _assert_all_use(enclave, upstream, winner)
        assert provision(enclave).status == 409
        assert len(enclave.events("provisioned")) == 1


def _assert_all_use(enclave: Enclave, upstream: StandInUpstream, key: str) -> None:
    upstream.requests.clear()
    for _ in range(20):
        assert enclave.ask(chat_request()).status == 200
    assert {each.fields["authorization"] for each in upstream.requests} == {f"Bearer {key}"}


def test_secrets_survive_a_change_of_keys() -> None:
    more = "[keys]\nlifetime_seconds = 4\nannounce_seconds = 2\ngrace_seconds = 2"
    with (
        running_upstream() as upstream,
        running_enclave(waiting_config(upstream.address, more)) as enclave,
    ):
        assert provision(enclave).status == 204
        first = enclave.key_configs()
        deadline = time.monotonic() + DEADLINE
        while enclave.key_configs() == first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert enclave.ask(chat_request()).status == 200
        assert upstream.requests[0].fields["authorization"] == f"Bearer {KEY}"


def test_the_longest_secrets_pass_to_every_worker() -> None:
    # Twice base64 of what is signed.
    longest = Secrets({"provider": "k" * (MAX_CONTENT_BYTES * 3 // 4 - 300)})
    with running_enclave(WAITING, workers=2) as enclave:
        content = statement(tee_id_of(enclave), longest)
        assert MAX_CONTENT_BYTES - 256 < len(content) <= MAX_CONTENT_BYTES
        assert enclave.ask(provision_request(content)).status == 204
        assert enclave.events("worker_late") == []


# One process's part.


@contextlib.contextmanager
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        yield ours, theirs


def test_a_supervisor_that_does_not_answer_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provision_module, "DECISION_SECONDS", 0.05)

    async def scenario() -> None:
        with channel() as (ours, theirs):
            desk = Desk(ours, ProvisionedKeys())
            with pytest.raises(ChatError) as caught:
                await desk.propose(SECRETS)
            assert caught.value.status == 503
            proposal = decode_proposal(theirs.recv(MAX_CONTENT_BYTES))
            assert proposal is not None
            assert proposal.keys == SECRETS.keys
            theirs.close()
            with pytest.raises(ChatError) as caught:
                await desk.propose(SECRETS)
            assert caught.value.status == 503

    asyncio.run(scenario())


def test_a_worker_answers_for_its_own_proposal_only() -> None:
    async def scenario() -> None:
        with channel() as (ours, theirs):
            keys = ProvisionedKeys()
            desk = Desk(ours, keys)
            attempts = [asyncio.ensure_future(desk.propose(SECRETS)) for _ in range(3)]
            await asyncio.sleep(0)
            proposals = [theirs.recv(MAX_CONTENT_BYTES) for _ in attempts]
            acceptance = Acceptance()
            assert acceptance.consider(proposals[1:])
            desk.learn(acceptance.accepted)
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert [result is None for result in results] == [False, True, False]
            assert keys.source("provider")() == KEY
            # What another proposal says afterwards is not even looked at.
            desk.learn(Proposal(b"", {"provider": "sk-late"}, {}))
            assert keys.source("provider")() == KEY

    asyncio.run(scenario())


def test_the_supervisor_accepts_one_proposal_and_no_garbage() -> None:
    acceptance = Acceptance()
    assert not acceptance.consider([])
    assert not acceptance.consider([b"", b"\xc1", b"\x80", os.urandom(100)])
    first, second = Proposal.of(SECRETS), Proposal.of(SECRETS)
    assert acceptance.consider([b"garbage", first.encode(), second.encode()])
    assert acceptance.accepted == first
    assert not acceptance.consider([second.encode()])
    assert acceptance.accepted == first
    acceptance.forget()
    assert acceptance.accepted is None


def test_no_secret_is_printed() -> None:
    proposal = Proposal.of(SECRETS)
    keys = ProvisionedKeys()
    keys.put_all(Secrets({"provider": KEY}, {"provider": {"project": "proj-secret"}}))
    shown = repr(proposal) + repr(keys) + repr(keys.source("provider")) + repr(keys.account("p"))
    assert KEY not in shown
    assert "proj-secret" not in shown


# The configuration.


def test_a_key_that_nobody_could_hand_over_is_refused() -> None:
    text = WAITING.replace(f'administrator_key = "{public_text()}"', "")
    with pytest.raises(ConfigError, match="administrator_key"):
        parse_config(text)


@pytest.mark.parametrize("other", ['key_env = "A"', 'key_file = "/a"'])
def test_a_key_comes_from_one_place(other: str) -> None:
    with pytest.raises(ConfigError, match="one of"):
        parse_config(WAITING.replace("key_provisioned", f"{other}\nkey_provisioned"))


def test_a_placeholder_is_no_administrator() -> None:
    zeros = base64.b64encode(bytes(32)).decode()
    with pytest.raises(ConfigError, match="placeholder"):
        parse_config(WAITING.replace(public_text(), zeros))
