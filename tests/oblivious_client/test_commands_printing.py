"""What the commands print, and where: for programs JSON alone, for people all of it."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oblivious_client import cli
from oblivious_client.local.listening import Place
from oblivious_client.report import describe_key
from oblivious_client.transport import AsyncObliviousTransport
from protocol.kem import X25519_HKDF_SHA256, X_WING
from tests.support.gateway import MODEL, WORDS, StandInGateway

ANSWER = "".join(WORDS)
QUESTION = "What is the capital?"


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for name in ("RELAY", "GATEWAY", "PCRS"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)

    def command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


def test_attested_keys_are_listed_for_people_and_for_programs(
    run: Run, gateway: StandInGateway
) -> None:
    place = ("--relay", gateway.url, "--allow-simulated")
    code, out, err = run("keys", *place)
    assert code == 0
    assert [key.config.kem_id for key in gateway.keys] == [X_WING.code, X25519_HKDF_SHA256.code]
    kinds = ("X-Wing", "X25519-HKDF-SHA256")
    for line, key, kind in zip(out.splitlines()[::2], gateway.keys, kinds, strict=True):
        public = key.config.public_key
        digest = f"SHA-256 {hashlib.sha256(public).hexdigest()}, 1216 bytes"
        assert line == f"key {key.key_id}: {kind} {digest if kind == 'X-Wing' else public.hex()}"
    assert "attested, and served alike" in err
    code, out, err = run("keys", *place, "--json")
    assert code == 0
    assert json.loads(out) == {"keys": [describe_key(key.config) for key in gateway.keys]}
    assert "attested, and served alike" in err


def test_evidence_is_shown_whole_and_then_judged(run: Run, gateway: StandInGateway) -> None:
    code, out, _ = run("verify", "--relay", gateway.url, "--allow-simulated")
    assert code == 0
    lines = out.splitlines()
    assert any(gateway.url in line for line in lines)
    assert any(line.startswith("platform") and line.endswith("simulated") for line in lines)
    assert lines[-1] == "every check holds, but a simulated enclave proves nothing"
    code, out, _ = run("verify", "--relay", gateway.url, "--allow-simulated", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["verified"], told["platform"]) == (True, "simulated")


@pytest.fixture
def saved(run: Run, gateway: StandInGateway, tmp_path: Path) -> Path:
    path = tmp_path / "answer.json"
    place = ("--relay", gateway.url, "--allow-simulated", "--model", MODEL)
    code, out, err = run("chat", *place, "--save", path, QUESTION)
    assert (code, out) == (0, ANSWER + "\n")
    lines = err.splitlines()
    assert lines[0].startswith("verified: simulated document")
    assert lines[-2] == "complete, and signed by the attested key"
    assert lines[-1] == (
        f"saved; check it any time with: oblivious-client verify --allow-simulated {path}"
    )
    return path


def test_a_saved_answer_is_shown_whole_and_then_judged(run: Run, saved: Path) -> None:
    code, out, _ = run("verify", "--allow-simulated", saved)
    assert code == 0
    lines = out.splitlines()
    assert any(line.startswith("answered      20") and line.endswith(" UTC") for line in lines)
    assert f"question: {QUESTION}" in lines
    assert f"answer:   {ANSWER}" in lines
    assert any(line.startswith("beside, signed: ") for line in lines)
    assert lines[-1] == "every check holds, but a simulated enclave proves nothing"
    assert lines[0] == "platform      simulated"  # it came from no address


def test_a_saved_answer_as_json(run: Run, saved: Path) -> None:
    code, out, _ = run("verify", "--allow-simulated", saved, "--json")
    assert code == 0
    told: dict[str, Any] = json.loads(out)
    stored = json.loads(saved.read_text())
    assert told["verified"] is True
    assert told["address"] is None
    assert told["answer"] == ANSWER
    assert told["answered"] == stored["answer"]["tee_timestamp"]
    assert told["choices"] == stored["answer"]["choices"]
    assert told["request"]["messages"] == [{"role": "user", "content": QUESTION}]


def test_a_whole_answer_is_printed_like_one_in_pieces(run: Run, gateway: StandInGateway) -> None:
    place = ("--relay", gateway.url, "--allow-simulated", "--model", MODEL)
    code, out, _ = run("chat", *place, "--framing", "whole", QUESTION)
    assert (code, out) == (0, ANSWER + "\n")
    body = json.loads(gateway.chat.inner[-1].content)
    assert "stream" not in body
    assert "max_tokens" not in body


def test_instructions_and_a_limit_reach_the_model(run: Run, gateway: StandInGateway) -> None:
    place = ("--relay", gateway.url, "--allow-simulated", "--model", MODEL)
    assert run("chat", *place, "--system", "Be brief.", "--max-tokens", "7", QUESTION)[0] == 0
    body = json.loads(gateway.chat.inner[-1].content)
    assert body["max_tokens"] == 7
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]


def test_an_endpoint_says_what_it_has_verified_before_it_serves(
    run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    closed: list[object] = []

    async def serve(endpoint: object, place: Place, key: str, tell: object) -> None:
        served.append((type(endpoint).__name__, place, key))

    close_truly = AsyncObliviousTransport.aclose

    async def close(transport: AsyncObliviousTransport) -> None:
        closed.append(transport)
        await close_truly(transport)

    monkeypatch.setattr("oblivious_client.local.running._serve_until_stopped", serve)
    monkeypatch.setattr(AsyncObliviousTransport, "aclose", close)
    place = ("--gateway", gateway.url, "--allow-simulated", "--listen", "[::1]:8")
    code, out, err = run("serve", *place)
    assert (code, out) == (0, "")
    lines = err.splitlines()
    assert lines[0].startswith("note: no relay")
    assert lines[1].startswith("verified: simulated document")
    assert served == [("LocalEndpoint", Place(("::1",), 8), "any OPENAI_API_KEY")]
    assert len(closed) == 1


@pytest.mark.parametrize(
    "listen", ["8080", ":8080", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x"]
)
def test_where_nothing_can_be_served_is_said(run: Run, listen: str) -> None:
    code, _, err = run("serve", "--relay", "https://relay.example", "--listen", listen)
    assert code == 2
    assert f"not HOST:PORT: {listen}" in err


def test_others_machines_are_not_served(run: Run) -> None:
    code, _, err = run("serve", "--relay", "https://relay.example", "--listen", "192.0.2.1:65535")
    assert code == 2
    assert "192.0.2.1 is not an address of this machine alone" in err
