"""A sealed chat question from every peer: client, relay, host_proxy, enclave server, model."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.hpke import Aead
from protocol.kem import KEMS, X25519_HKDF_SHA256, Kem
from scripts.local.stack import Stack
from tests.interop.cases import case
from tests.interop.cells import SUITES, Cell, Form, Framing, Role, limit
from tests.interop.conftest import KEYS, Drivers
from tests.interop.peers import PEERS
from tests.interop.report import PASSED, Report
from tests.interop.sealing import fetched, restricted
from tests.support.enclave import running_upstream
from tests.support.upstream import Exchange, answering

QUESTION = "What is the capital of France? Answer with one word."
STAND_IN_TEXT = "Paris, says the stand-in."
THINKING_SECONDS = 1.0  # ten ticks of the clock, filled with informational responses

CONFIG = """
[[models]]
name = "smollm2-135m-instruct"
upstream = "embedded"

[[models]]
name = "stand-in"
upstream = "stand-in"

[upstreams.stand-in]
address = "{address}"
"""

FORMS = {"go": {Framing.WHOLE: Form.KNOWN, Framing.CHUNKED: Form.INDETERMINATE}}
"""Where the framing decides the form; the others write known length in both."""


@dataclass(frozen=True, slots=True)
class Served:
    """A relay's URL and the keys behind it."""

    relay: str
    keys: bytes


async def thinking(exchange: Exchange) -> None:
    """Answer after a while."""
    await asyncio.sleep(THINKING_SECONDS)
    await answering(STAND_IN_TEXT)(exchange)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The stack as it is deployed, with the embedded model and a stand-in upstream."""
    config: Path = tmp_path_factory.mktemp("interop") / "config.toml"
    with running_upstream(thinking) as upstream:
        config.write_text(CONFIG.format(address=upstream.address))
        with Stack(server_options=["--config", config]) as stack:
            yield Served(stack.relay, fetched(stack.relay + KEYS))


def asked(cell: Cell, drivers: Drivers, served: Served, model: str) -> tuple[str, int]:
    """Return what a model answered to a peer, and how many informational responses it saw."""
    client = drivers.client(cell.peer)
    streamed = cell.framing is Framing.CHUNKED
    question = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 24,
        "temperature": 0,
        "stream": streamed,
    }
    keys = restricted(served.keys, cell.suite, cell.kem)
    content = json.dumps(question).encode()
    answer = client.ask(case(cell, served.relay, keys, "/v1/chat/completions", content))
    assert answer.get("status") == 200, answer
    body = bytes.fromhex(answer["content"])
    return (said_in_events(body) if streamed else said(body)), answer["informational"]


def skip_limited(cell: Cell, what: str, report: Report) -> None:
    """Skip a cell that the peer cannot fill."""
    if (found := limit(cell)) is not None:
        report.chats[cell.peer, what] = found.reason
        pytest.skip(f"interop: {cell.peer} as client {found.reason}")


def said(body: bytes) -> str:
    """Return the words of a whole answer."""
    text: str = json.loads(body)["choices"][0]["message"]["content"]
    return text


def said_in_events(body: bytes) -> str:
    """Return the words of a streamed answer, which ends as it should."""
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line[:6] == b"data: "]
    assert lines[-1] == b"[DONE]"
    choices = [choice for line in lines[:-1] for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def cell_for(peer: str, framing: Framing, suite: Aead, kem: Kem = X25519_HKDF_SHA256) -> Cell:
    """Return the cell in which a peer asks."""
    form = FORMS.get(peer, {}).get(framing, Form.KNOWN)
    return Cell(peer, Role.CLIENT, framing, form, suite, kem)


NAMES = [peer.name for peer in PEERS]


@pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
@pytest.mark.parametrize("framing", Framing, ids=lambda framing: framing.value)
@pytest.mark.parametrize("peer", NAMES)
def test_question_to_a_stand_in(
    peer: str, framing: Framing, suite: Aead, drivers: Drivers, served: Served, report: Report
) -> None:
    what = f"stand-in upstream, {framing.value}, {SUITES[suite]}"
    cell = cell_for(peer, framing, suite)
    skip_limited(cell, what, report)
    text, informational = asked(cell, drivers, served, "stand-in")
    assert text.strip() == STAND_IN_TEXT
    if peer == "rust":  # the others do not tell
        assert (informational > 0) is (framing is Framing.CHUNKED)
    report.chats[peer, what] = PASSED


@pytest.mark.parametrize("kem", KEMS.values(), ids=lambda kem: kem.name)
@pytest.mark.parametrize("framing", Framing, ids=lambda framing: framing.value)
@pytest.mark.parametrize("peer", NAMES)
def test_question_to_the_embedded_model(
    peer: str, framing: Framing, kem: Kem, drivers: Drivers, served: Served, report: Report
) -> None:
    cell = cell_for(peer, framing, Aead.AES_128_GCM, kem)
    what = f"embedded model, {framing.value}, AES-128-GCM, {kem.name}"
    skip_limited(cell, what, report)
    text, _ = asked(cell, drivers, served, "smollm2-135m-instruct")
    assert "Paris" in text
    report.chats[peer, what] = PASSED
