"""A server that takes tokens, as its clients and its host see it; over both stores."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import NULLIFIER_KEY, parse_config
from enclave_server.log import Log
from enclave_server.payment.nullifier import LABEL
from enclave_server.payment.tally import Outcome
from enclave_server.processes import payment
from enclave_server.processes.payment import NoEpoch, Till, make_till, warn_of_end
from protocol.binary_http import Request, Response
from protocol.provisioning import Secrets
from protocol.token_catalogue import Catalogue, Epoch
from tests.enclave_server.payment.test_resp import WRONG
from tests.support.enclave import Enclave, chat_request, running_enclave, running_upstream
from tests.support.hostile_store import nothing, running_hostile_store, saying
from tests.support.minting import Mint, budgets_toml, epochs_around, paying_with
from tests.support.private_tokens import PRICES, WEEK
from tests.support.provisioning import provision_request, public_text, statement
from tests.support.redis_server import RedisServer, redis_server
from tests.support.upstream import StandInUpstream

MINT = Mint(epochs_around(time.time()))
STORES = ("memory", "redis over a Unix socket", "redis over TCP")
AT_ONCE = 20
TOKENS = 200


def config_for(upstream: str, model: str = "", **settings: str) -> str:
    """Return a configuration of one model that is paid for."""
    return (
        f"{MINT.toml(**settings)}"
        f"[[models]]\nname = 'stand-in'\nupstream = 'u'\n{model or budgets_toml()}"
        "[[models]]\nname = 'free'\nupstream = 'u'\nfree = true\n"
        f"[upstreams.u]\naddress = '{upstream}'\n"
    )


def paid(*fields: tuple[bytes, bytes], **changes: Any) -> Request:
    """Return a question with these fields."""
    request = chat_request(**changes)
    return dataclasses.replace(request, headers=(*request.headers, *fields))


@contextlib.contextmanager
def store_settings(
    store: str, folder: Path
) -> Iterator[tuple[Mapping[str, str], RedisServer | None]]:
    """Yield the settings of a store, and its server if it is one."""
    if store == "memory":
        yield {}, None
        return
    with redis_server(folder) as redis:
        address = redis.unix if "Unix" in store else redis.tcp
        yield {"store": "'redis'", "store_address": f"'{address}'"}, redis


@pytest.fixture
def upstream() -> Iterator[StandInUpstream]:
    with running_upstream() as running:
        yield running


def code_of(answer: Response) -> str | None:
    error = json.loads(answer.content).get("error", {})
    code: str | None = error.get("code")
    return code


@pytest.mark.parametrize("store", STORES)
def test_a_token_buys_one_answer(store: str, tmp_path: Path, upstream: StandInUpstream) -> None:
    with store_settings(store, tmp_path) as (settings, redis):
        with running_enclave(config_for(upstream.address, **settings), workers=2) as enclave:
            token = MINT.field()
            assert code_of(enclave.ask(paid())) == "token_required"
            assert enclave.ask(paid(token)).status == 200
            assert code_of(enclave.ask(paid(token))) in ("token_spent", "token_in_use")
            assert enclave.ask(paid(model="free")).status == 200
            assert len(upstream.requests) == 2
            assert enclave.stop() == 0
        if redis is not None:  # the worker has told what is spent when it ended
            assert redis.count() == 1
            with running_enclave(config_for(upstream.address, **settings)) as enclave:
                assert code_of(enclave.ask(paid(token))) == "token_spent"


@pytest.mark.parametrize("store", STORES[:2])
def test_each_of_many_tokens_buys_one_answer_however_often_it_is_sent_at_once(
    store: str, tmp_path: Path, upstream: StandInUpstream
) -> None:
    with (
        store_settings(store, tmp_path) as (settings, _),
        running_enclave(config_for(upstream.address, **settings), workers=4) as enclave,
        concurrent.futures.ThreadPoolExecutor(AT_ONCE) as crowd,
    ):
        key = enclave.key_configs()[0]
        statuses: Counter[int] = Counter()
        for _ in range(TOKENS):
            token = MINT.field()
            asking = [crowd.submit(enclave.ask, paid(token), key) for _ in range(AT_ONCE)]
            statuses.update(each.result().status for each in asking)
    assert statuses[200] == TOKENS == len(upstream.requests)
    assert statuses[409] + statuses[401] == TOKENS * (AT_ONCE - 1)
    assert statuses.total() == TOKENS * AT_ONCE


def test_whatever_a_store_says_is_a_sealed_503_and_ends_nothing(upstream: StandInUpstream) -> None:
    """Also that it is late or hangs up; the same token buys its answer when the store is back."""
    with (
        running_hostile_store(saying(None)) as store,
        running_enclave(
            config_for(upstream.address, store="'redis'", store_address=f"'{store.address}'")
        ) as enclave,
    ):
        workers, key, token = enclave.worker_pids, enclave.key_configs()[0], MINT.field()
        for reply in (saying(None), nothing, *map(saying, WRONG)):
            store.reply = reply
            answer = enclave.ask(paid(token), key)
            assert (answer.status, code_of(answer)) == (503, "token_store_unavailable")
            assert answer.headers[1:] == ((b"retry-after", b"5"),)
        assert enclave.ask(paid(model="free"), key).status == 200
        assert len(upstream.requests) == 1
        store.reply = saying(b"$-1\r\n")
        assert enclave.ask(paid(token), key).status == 200
        assert enclave.worker_pids == workers


def test_the_catalogue_is_attested_and_served(upstream: StandInUpstream) -> None:
    with running_enclave(config_for(upstream.address)) as enclave:
        answer = enclave.request("GET", "/v1/tokens")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"].startswith("max-age=")
        evidence = enclave.evidence()
        assert evidence.evidence.token_catalogue == answer.body
        bound = cbor2.loads(evidence.attestation.user_data or b"")
        assert bound["tokens"] == hashlib.sha256(answer.body).digest()
        assert list(bound) == ["tokens", "ohttp_keys", "signing_key", "signing_key_ed25519"]
        found = Catalogue.decode(answer.body)
        assert found.keys == MINT.keys
        assert found.models["free"].is_free
        assert enclave.request("POST", "/v1/tokens", b"").status == 405


def test_without_tokens_there_is_nothing_of_them(upstream: StandInUpstream) -> None:
    table = config_for(upstream.address, required="false")
    plain = "[[models]]\nname = 'stand-in'\nupstream = 'u'\n[upstreams.u]\naddress = '{}'\n"
    for config in (table, plain.format(upstream.address)):
        with running_enclave(config) as enclave:
            for method in ("GET", "POST"):
                answer = enclave.request(method, "/v1/tokens")
                assert (answer.status, json.loads(answer.body)) == (
                    404,
                    json.loads(enclave.request(method, "/v1/nothing").body),
                )
            evidence = enclave.evidence()
            assert evidence.evidence.token_catalogue is None
            assert "tokens" not in cbor2.loads(evidence.attestation.user_data or b"")
            assert enclave.ask(paid()).headers == ((b"content-type", b"application/json"),)


def test_a_worker_that_is_killed_loses_no_token_for_longer_than_its_lease(
    upstream: StandInUpstream, tmp_path: Path
) -> None:
    with (
        store_settings(STORES[1], tmp_path) as (settings, redis),
        running_enclave(config_for(upstream.address, **settings)) as enclave,
    ):
        assert redis is not None
        token = MINT.field()
        assert enclave.ask(paid(token)).status == 200
        (pid,) = enclave.worker_pids
        os.kill(pid, signal.SIGKILL)
        enclave.wait_for("worker_started", 2)
        assert code_of(enclave.ask(paid(token))) == "token_in_use"
        (key,) = [line for line in redis.command("KEYS", "*").split(b"\r\n") if len(line) == 32]
        left = int(redis.command("TTL", key)[1:])
        assert 0 < left <= 1800 + 60


# What is told.


def lines_of(told: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.getvalue().splitlines()]


def test_a_memory_says_what_a_restart_does() -> None:
    told = io.StringIO()
    till = make_till(parse_config(config_for("unix:/a")), time.time(), Log(told))
    assert till is not None
    assert till.table is not None
    (line,) = lines_of(told)
    assert (line["event"], line["restart"]) == ("tokens_in_memory", "revives-spent-tokens")


def test_nothing_is_said_where_a_store_outside_remembers() -> None:
    told = io.StringIO()
    config = config_for("unix:/a", store="'redis'", store_address="'vsock://3:8002'")
    till = make_till(parse_config(config), time.time(), Log(told))
    assert till is not None
    assert (till.table, told.getvalue()) == (None, "")


@pytest.mark.parametrize(
    ("moment", "serves"),
    [
        (MINT.epochs[0].issue_from - 1, False),
        (MINT.epochs[0].issue_from, True),
        (MINT.epochs[1].redeem_until - 1, True),
        (MINT.epochs[1].redeem_until, False),
    ],
)
def test_a_server_without_a_key_for_now_does_not_start(moment: float, serves: bool) -> None:
    config = parse_config(config_for("unix:/a"))
    if serves:
        assert make_till(config, moment, Log(io.StringIO())) is not None
        return
    with pytest.raises(NoEpoch, match="add the keys"):
        make_till(config, moment, Log(io.StringIO()))


def test_a_server_whose_epochs_are_over_says_so_and_ends() -> None:
    start = int(time.time()) - 20 * WEEK
    mint = Mint([Epoch(start, start + WEEK, start + 2 * WEEK)])
    config = (
        f"{mint.toml()}[[models]]\nname = 'm'\nupstream = 'u'\n{budgets_toml()}"
        "[upstreams.u]\naddress = 'unix:/a'\n"
    )

    def ended(enclave: Enclave) -> None:
        assert enclave.process.wait(120) == 2

    with running_enclave(config, ready=ended) as enclave:
        pass
    assert b"no key of tokens.keys is for this time" in enclave.text


@pytest.mark.parametrize(
    ("before", "days"), [(15 * 86400, None), (14 * 86400 - 1, 13), (3600, 0), (-5, 0)]
)
def test_the_end_of_the_last_epoch_is_told_two_weeks_before(before: int, days: int | None) -> None:
    told = io.StringIO()
    till = Till(MINT.catalogue({}), None)
    end = MINT.epochs[-1].issue_until
    warn_of_end(till, Log(told), lambda: end - before)
    assert [line["days"] for line in lines_of(told)] == ([] if days is None else [days])
    warn_of_end(None, Log(told))
    assert len(lines_of(told)) == (days is not None)


def test_outcomes_are_told_without_prices() -> None:
    told = io.StringIO()
    config = parse_config(config_for("unix:/a"))
    till = make_till(config, time.time(), Log(io.StringIO()))
    assert till is not None
    gate = payment.make_gate(till, config, ProvisionedKeys(), Log(told))
    for _ in range(60):
        gate.tally.count(Outcome.REDEEMED)
    gate.tally.report()
    (line,) = lines_of(told)
    del line["time"]
    assert line == {
        "event": "tokens",
        **{each.value: 60 if each is Outcome.REDEEMED else 0 for each in Outcome},
    }


def test_the_key_of_nullifiers_is_a_label_or_what_is_handed_over() -> None:
    provisioned = ProvisionedKeys()
    plain = parse_config(config_for("unix:/a"))
    assert payment._nullifier_key(plain, provisioned)() == LABEL
    administrator = (
        "[provision]\nadministrator_key = 'XM5LMZ66/BjKOoKg0AXnYkDFKPyvhTCNjzHQjiNDbvQ='\n"
    )
    settings = config_for("unix:/a", nullifier_key_provisioned="true") + administrator
    config = parse_config(settings)
    assert config.wanted_secrets == {NULLIFIER_KEY}
    key = payment._nullifier_key(config, provisioned)
    assert key() is None
    provisioned.put({NULLIFIER_KEY: "k" * 32})
    assert key() == b"k" * 32


def test_a_store_at_each_address() -> None:
    addresses: Sequence[str] = ("vsock://3:8002", "tcp://127.0.0.1:6379", "unix:/run/redis.sock")
    for address in addresses:
        config = parse_config(config_for("unix:/a", store="'redis'", store_address=f"'{address}'"))
        till = make_till(config, time.time(), Log(io.StringIO()))
        assert till is not None


def test_a_larger_price_buys_more(upstream: StandInUpstream) -> None:
    with running_enclave(config_for(upstream.address)) as enclave:
        small, large = (paying_with(MINT.token(price)) for price in (PRICES[0], PRICES[3]))
        question = "x" * 9000
        assert code_of(enclave.ask(paid(small, content=question))) == "token_too_small"
        assert enclave.ask(paid(large, content=question)).status == 200
        assert enclave.ask(paid(small)).status == 200


def test_a_key_of_nullifiers_is_handed_over_before_anything_is_taken(
    upstream: StandInUpstream,
) -> None:
    config = config_for(upstream.address, nullifier_key_provisioned="true")
    config += f"[provision]\nadministrator_key = '{public_text()}'\n"
    with running_enclave(config) as enclave:
        tee_id = enclave.request("GET", "/signing-key").json["tee_id"]
        token = MINT.field()
        assert code_of(enclave.ask(paid(token))) == "token_store_unavailable"
        assert enclave.request("GET", "/ready").status == 503
        for key, status in (("k" * 31, 400), ("k" * 32, 204)):
            secrets = Secrets({NULLIFIER_KEY: key})
            answer = enclave.ask(provision_request(statement(tee_id, secrets)))
            assert answer.status == status
        assert enclave.request("GET", "/ready").status == 200
        assert enclave.ask(paid(token)).status == 200
        assert code_of(enclave.ask(paid(token))) == "token_spent"


def test_a_large_request_is_paid_for_where_it_is_read_elsewhere(upstream: StandInUpstream) -> None:
    with running_enclave(config_for(upstream.address)) as enclave:
        question = "x" * 100_000
        small, large = (paying_with(MINT.token(price)) for price in (PRICES[1], PRICES[2]))
        assert code_of(enclave.ask(paid(small, content=question))) == "token_too_small"
        assert enclave.ask(paid(large, content=question)).status == 200
        assert upstream.requests[-1].json["max_tokens"] == 512 * 16
        answer = enclave.ask(paid(large, content=question * 10))
        assert code_of(answer) == "budget_exceeded"
