"""Client, relay, host proxy, enclave server and embedded model, all real, on one machine."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from oblivious_client.client import AsyncObliviousClient, ObliviousClient
from oblivious_client.errors import ClientError, ServiceError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.sealing import Framing
from oblivious_client.transport import ObliviousTransport
from tests.support.stack import DEADLINE_SECONDS, Stack, TappedStack, needs_nginx, nginx_relay

QUESTION = "What is the capital of France?"
# Nothing else on the way has reason to contain any of these words.
SECRET = ("Quizzaciously", "7391 teapots", "Wladiwostok")
SECRET_QUESTION = f"Repeat this sentence: {SECRET[0]} keeps {SECRET[1]} in {SECRET[2]}."
WRONG: tuple[dict[str, Any], ...] = (
    {"model": SECRET[0]},
    {"temperature": SECRET_QUESTION},
    {"messages": SECRET_QUESTION},
    {"tools": [{"type": "function", "function": {"name": "Quizzaciously"}}]},
)
FEW: dict[str, Any] = {"max_tokens": 24, "temperature": 0}
TRIAL = Policy(simulated=Simulated.ALLOWED)


@pytest.fixture(scope="module")
def stack() -> Iterator[TappedStack]:
    with TappedStack() as running:
        yield running


def spellings(text: str) -> Iterator[bytes]:
    """Yield `text` in the forms in which it might turn up."""
    data = text.encode()
    yield data
    yield urllib.parse.quote(text).encode()
    yield json.dumps(text)[1:-1].encode()
    yield data.hex().encode()
    yield text.encode("utf-16-le")
    for offset in range(3):  # wherever it stands in a longer text, these characters are in it
        coded = base64.b64encode(b"\0" * offset + data)
        yield coded[4 if offset else 0 : len(coded) // 4 * 4 - 4]


def traces(haystack: bytes) -> list[str]:
    """Return the secrets that occur in `haystack`, whatever their case and spelling."""
    lowered = haystack.lower()
    return [s for s in SECRET if any(form.lower() in lowered for form in spellings(s))]


def contents(folder: Path) -> bytes:
    """Return the contents of all files in `folder`."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("framing", list(Framing))
def test_a_sealed_question_gets_a_true_answer(stack: TappedStack, framing: Framing) -> None:
    with ObliviousClient(stack.relay, policy=TRIAL, framing=framing) as client:
        answer = client.chat(QUESTION, temperature=0)
    assert "Paris" in answer.text


def test_an_answer_appears_in_pieces(stack: TappedStack) -> None:
    with ObliviousClient(stack.relay, policy=TRIAL) as client:
        streamed = client.stream(QUESTION, temperature=0)
        pieces = list(streamed)
    assert len(pieces) > 1
    assert "".join(pieces) == streamed.answer.text
    assert "Paris" in streamed.answer.text


def test_many_ask_at_once(stack: TappedStack) -> None:
    async def ask() -> list[str]:
        async with AsyncObliviousClient(stack.relay, policy=TRIAL) as client:
            calls = (client.chat(f"Count to {n}.", **FEW) for n in range(8))
            return [answer.text for answer in await asyncio.gather(*calls)]

    assert all(asyncio.run(ask()))


@pytest.fixture
def openai(stack: TappedStack) -> Iterator[Any]:
    """The real SDK, which has no idea (its own types name another httpx)."""
    http: Any = httpx.Client(transport=ObliviousTransport(stack.relay, policy=TRIAL))
    with OpenAI(api_key="none", base_url="https://sealed.invalid/v1", http_client=http) as client:
        yield client


def test_the_openai_package_works_through_the_whole_path(openai: Any) -> None:
    [model] = openai.models.list()
    messages = [{"role": "user", "content": QUESTION}]
    whole = openai.chat.completions.create(model=model.id, messages=messages, temperature=0)
    assert "Paris" in whole.choices[0].message.content
    chunks = openai.chat.completions.create(
        model=model.id, messages=messages, temperature=0, stream=True
    )
    texts = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "Paris" in "".join(texts)
    assert len(texts) > 1


def ask_secretly(stack: TappedStack) -> list[str]:
    """Ask secret questions in every way that there is, wrong ones too; return the answers."""
    answers = []
    for framing in Framing:
        with ObliviousClient(stack.relay, policy=TRIAL, framing=framing) as client:
            answers.append(client.chat(SECRET_QUESTION, max_tokens=60, temperature=0).text)
            for options in WRONG:
                with pytest.raises(ServiceError):
                    client.chat(SECRET_QUESTION, **options)
    with ObliviousClient(stack.relay, policy=TRIAL) as client:
        streamed = client.stream(SECRET_QUESTION, max_tokens=60, temperature=0)
        answers.append("".join(streamed))
        abandoned = client.stream(SECRET_QUESTION, max_tokens=400)
        next(iter(abandoned))
        abandoned.close()
    return answers


def test_a_prompt_is_nowhere_but_in_the_enclave() -> None:
    with TappedStack() as stack:
        answers = ask_secretly(stack)
        # It did arrive, and the model did see it.
        assert any(traces(answer.encode()) for answer in answers), answers
        # The pumps did record, on every stretch.
        for name, tap in stack.taps.items():
            assert b"message/ohttp-req" in tap.captured, name
            assert b"message/ohttp-chunked-res" in tap.captured, name
        left = contents(stack.folder)
        children = list(stack.children)
    written = "\n".join(line for child in children for line in child.lines).encode()
    assert traces(stack.captured) == []
    assert traces(written) == []
    assert traces(left) == []


@needs_nginx
def test_nginx_is_a_relay_for_the_whole_path(stack: TappedStack, tmp_path: Path) -> None:
    before = len(stack.taps["gateway"].captured)
    with nginx_relay(stack.gateway, tmp_path / "nginx") as relay:
        with ObliviousClient(relay, policy=TRIAL) as client:
            assert "Paris" in client.chat(QUESTION, temperature=0).text
            streamed = client.stream(QUESTION, temperature=0)
            assert len(list(streamed)) > 1
            assert "Paris" in streamed.answer.text
        with ObliviousClient(relay, policy=TRIAL, framing=Framing.WHOLE) as client:
            assert "Paris" in client.chat(QUESTION, temperature=0).text
    assert len(stack.taps["gateway"].captured) == before  # it went its own way


def engine_of(stack: Stack) -> int:
    """Return the process of the embedded model."""
    marks = (b"enclave_server.engine", str(stack.folder).encode())
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if all(mark in line for mark in marks):
                return int(entry.name)
    raise AssertionError("there is no engine")


def test_a_model_that_dies_in_mid_answer_comes_back() -> None:
    with Stack() as stack, ObliviousClient(stack.relay, policy=TRIAL) as client:
        streamed = client.stream("Tell me a very long story about a fox.")
        pieces = iter(streamed)
        next(pieces)
        os.kill(engine_of(stack), signal.SIGKILL)
        with pytest.raises(ClientError):
            list(pieces)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                assert "Paris" in client.chat(QUESTION).text
                break
            except ServiceError as error:  # until it is up again
                if error.status not in (502, 503) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def test_several_workers_share_keys_and_evidence() -> None:
    with Stack(server_options=("--workers", "2")) as stack:
        identities = set()
        for _ in range(6):  # a connection each, so that both workers get some
            with ObliviousClient(gateway=stack.gateway, policy=TRIAL) as client:
                identities.add(client.chat(QUESTION, **FEW).signed.tee_id)
        assert len(identities) == 1


def restart(stack: Stack) -> None:
    """Kill the enclave server and start another, with other keys, at the same place."""
    server = next(child for child in stack.children if child.name == "enclave server")
    os.killpg(server.process.pid, signal.SIGKILL)
    server.stop()
    stack.children.remove(server)
    Path(stack.enclave.removeprefix("unix:")).unlink(missing_ok=True)
    stack.start_server()


def test_a_client_goes_on_when_the_enclave_has_been_restarted() -> None:
    with Stack() as stack, ObliviousClient(stack.relay, policy=TRIAL) as client:
        first = client.chat(QUESTION, **FEW)
        restart(stack)
        second = client.chat(QUESTION, **FEW)
        assert first.evidence.signing_key != second.evidence.signing_key
        assert second.text


@needs_nginx
def test_a_client_goes_on_behind_nginx_too(tmp_path: Path) -> None:
    with (
        Stack() as stack,
        nginx_relay(stack.gateway, tmp_path / "nginx") as relay,
        ObliviousClient(relay, policy=TRIAL) as client,
    ):
        assert client.chat(QUESTION, **FEW).text
        restart(stack)
        assert client.chat(QUESTION, **FEW).text
