"""Programs that ask through the local endpoint where questions cost something."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.wallet import Wallet
from protocol.token_prices import PricePoint, Tariff
from tests.support.enclave import running_enclave, running_upstream
from tests.support.gateway import MODEL, WORDS, StandInGateway
from tests.support.local_endpoint import Setting, running
from tests.support.minting import TARIFF, Mint, budgets_toml, epochs_around
from tests.support.toll import Refusal, Toll
from tests.support.upstream import Exchange, answering, completion, sending
from tests.support.wallets import C1, C4, C16, MINT, Clock, counts, fill

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ANSWER = "".join(WORDS)
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def toll() -> Toll:
    return Toll(MINT.catalogue({MODEL: TARIFF, "free": Tariff({})}))


@pytest.fixture
def gateway(toll: Toll) -> Iterator[StandInGateway]:
    with StandInGateway(toll=toll) as running:
        yield running


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=Clock())


@pytest.fixture
def url(gateway: StandInGateway, wallet: Wallet) -> Iterator[str]:
    with running([gateway.url], Setting(ALLOWED, wallet=wallet)) as (served, _):
        yield served


def sdk_of(url: str, arrived: list[httpx.Request]) -> openai.OpenAI:
    """Return OpenAI's SDK as people use it: it tries again by itself."""
    http: Any = httpx.Client(event_hooks={"request": [arrived.append]})
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=http)


Call = Callable[[openai.OpenAI], object]
CALLS: dict[str, Call] = {
    "chat": lambda sdk: sdk.chat.completions.create(model=MODEL, messages=ASKED),
    "streamed": lambda sdk: list(
        sdk.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    ),
    "completion": lambda sdk: sdk.completions.create(model=MODEL, prompt="The"),
    "embeddings": lambda sdk: sdk.embeddings.create(model=MODEL, input="The"),
    "responses": lambda sdk: sdk.responses.create(model=MODEL, input="The"),
}
ASKING = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@ASKING
def test_out_of_tokens_is_one_exception_and_one_request(
    call: Call, url: str, gateway: StandInGateway
) -> None:
    arrived: list[httpx.Request] = []
    with sdk_of(url, arrived) as sdk, pytest.raises(openai.APIStatusError) as caught:
        call(sdk)
    assert caught.value.status_code == 402
    assert caught.value.code == "no_tokens"
    assert "oblivious-client tokens buy --price c1" in str(caught.value)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(arrived) == 1
    assert gateway.posts() == []


@ASKING
def test_refused_tokens_are_one_exception_and_one_request(
    call: Call, url: str, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 5)
    toll.script = [Refusal(401, "token_spent")] * 5
    arrived: list[httpx.Request] = []
    with sdk_of(url, arrived) as sdk, pytest.raises(openai.APIStatusError) as caught:
        call(sdk)
    assert (caught.value.status_code, caught.value.code) == (402, "token_refused")
    assert len(arrived) == 1
    assert len(gateway.posts()) == 3
    assert counts(wallet) == (2, 0, 0, 0)


def test_an_sdk_never_spends_a_second_token_by_itself(
    url: str, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 5)
    once = ((b"privatetoken-status", b"spent"), (b"x-should-retry", b"false"))
    toll.script = [Refusal(502, "upstream_failed", once)] * 5
    arrived: list[httpx.Request] = []
    with sdk_of(url, arrived) as sdk, pytest.raises(openai.InternalServerError):
        CALLS["chat"](sdk)
    assert len(arrived) == len(gateway.posts()) == 1
    assert counts(wallet) == (4, 0, 0, 0)


def test_a_connection_that_ends_costs_one_token(
    url: str, gateway: StandInGateway, wallet: Wallet
) -> None:
    fill(wallet, 5)
    gateway.faults.cut_after = 1
    arrived: list[httpx.Request] = []
    with sdk_of(url, arrived) as sdk, pytest.raises(openai.InternalServerError):
        CALLS["chat"](sdk)
    assert len(arrived) == len(gateway.posts()) == 1
    assert counts(wallet) == (4, 0, 0, 1)


def test_anthropics_sdk_is_told_in_its_own_shape(
    url: str, gateway: StandInGateway, toll: Toll, wallet: Wallet
) -> None:
    def ask() -> anthropic.APIStatusError:
        with (
            anthropic.Anthropic(base_url=url, api_key="none") as sdk,
            pytest.raises(anthropic.APIStatusError) as caught,
        ):
            sdk.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
        return caught.value

    empty = ask()
    assert empty.status_code == 402
    body: Any = empty.body
    assert body["type"] == "error"
    assert (body["error"]["type"], body["error"]["code"]) == ("billing_error", "no_tokens")
    assert "tokens buy" in body["error"]["message"]
    fill(wallet, 1)
    toll.script = [Refusal(401, "token_invalid")]
    refused: Any = ask().body
    assert (refused["error"]["type"], refused["error"]["code"]) == (
        "billing_error",
        "token_refused",
    )


def test_openais_object_has_all_its_members(url: str) -> None:
    body = {"model": MODEL, "messages": ASKED}
    error = httpx.post(f"{url}/v1/chat/completions", json=body).json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "oblivious_client_error"


def test_programs_spend_tokens_of_the_price_that_they_ask_for(
    url: str, toll: Toll, wallet: Wallet
) -> None:
    fill(wallet, 3)
    fill(wallet, 1, C4)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        create = sdk.chat.completions.create
        assert create(model=MODEL, messages=ASKED).choices[0].message.content == ANSWER
        stream = create(model=MODEL, messages=ASKED, stream=True)
        texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
        assert [text for text in texts if text] == list(WORDS)
        create(model=MODEL, messages=ASKED, n=2, max_tokens=300)
        assert [model.id for model in sdk.models.list()] == [MODEL]
    keys = [toll.catalogue.find(token.token_key_id) for token in toll.spent]
    assert [key.price for key in keys if key] == [C1, C1, C4]
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as other:
        said = other.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
        assert said.content[0].type == "text"
    assert counts(wallet) == (0, 0, 0, 0)


# A real server, which computes the price of what has come, and refuses a token that is too small.

DRAWN = {
    "type": "image_url",
    "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA"},
}
FUNCTION = {"name": "look", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
LONG_TOOL = {"type": "function", "function": {**FUNCTION, "description": "x" * 8192}}
ASKINGS: list[tuple[dict[str, Any], PricePoint, int]] = [
    ({}, C1, 512),
    ({"stream": True}, C1, 512),
    ({"tools": [TOOL]}, C1, 512),
    ({"tools": [LONG_TOOL]}, C4, 2048),
    ({"n": 2}, C1, 256),
    ({"n": 2, "max_tokens": 257}, C4, 257),
    ({"messages": [{"role": "user", "content": [DRAWN]}]}, C1, 512),
    ({"messages": [{"role": "user", "content": [DRAWN, DRAWN]}]}, C4, 2048),
]
"""What is asked, the price of it, and the limit that the enclave passes on."""


async def all_choices(exchange: Exchange) -> None:
    """Answer with as many choices as are asked for."""
    asked = exchange.received.json
    if asked.get("stream"):
        await answering()(exchange)
        return
    (choice,) = completion("Paris.")["choices"]
    choices = [{**choice, "index": index} for index in range(asked.get("n", 1))]
    await sending(200, completion("", choices=choices))(exchange)


def test_a_real_server_takes_the_tokens_that_programs_are_told_to_pay(tmp_path: Path) -> None:
    mint = Mint(epochs_around(time.time()))
    wallet = Wallet(tmp_path / "wallet.sqlite3")
    with contextlib.ExitStack() as opened:
        upstream = opened.enter_context(running_upstream(all_choices))
        config = (
            f"{mint.toml()}[[models]]\nname = '{MODEL}'\nupstream = 'u'\nimages = true\n"
            f"{budgets_toml()}[upstreams.u]\naddress = '{upstream.address}'\n"
        )
        enclave = opened.enter_context(running_enclave(config))
        route = Route(gateway=f"unix:{enclave.path}", policy=ALLOWED, wallet=wallet)
        served, _ = opened.enter_context(running([route], Setting()))
        arrived: list[httpx.Request] = []
        sdk = opened.enter_context(sdk_of(served, arrived))
        for asked, price, limit in ASKINGS:
            for each in (C1, C4, C16):
                fill(wallet, 1, each, mint=mint)
            left = {C1, C4, C16} - {price}
            answer = sdk.chat.completions.create(**{"model": MODEL, "messages": ASKED, **asked})
            if asked.get("stream"):
                list(answer)
            assert {pile.price for pile in wallet.piles() if pile.usable} == left, asked
            assert upstream.requests[-1].json["max_tokens"] == limit
            while wallet.take(mint.catalogue({}), [C1, C4, C16]) is not None:
                pass
        assert len(arrived) == len(upstream.requests) == len(ASKINGS)
        with pytest.raises(openai.APIStatusError) as caught:
            CALLS["chat"](sdk)
        assert (caught.value.status_code, caught.value.code) == (402, "no_tokens")
        assert len(arrived) == len(ASKINGS) + 1
        assert len(upstream.requests) == len(ASKINGS)


def test_the_page_tells_what_is_attested_of_tokens(url: str, toll: Toll) -> None:
    told = httpx.get(f"{url}/evidence").json()["tokens"]
    assert told["issuer"] == toll.catalogue.issuer
    assert json.dumps(told["models"][MODEL]["c1"]) == json.dumps(
        {"input_octets": 8192, "output_tokens": 512, "images": 1}
    )
