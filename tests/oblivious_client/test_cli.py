"""The command line: what it prints where, and with which exit code it ends."""

import base64
import dataclasses
import hashlib
import io
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import archive, cli, fetching
from oblivious_client.client import ObliviousClient
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, Simulated
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence
from protocol.key_config import encode_key_configs
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway

ANSWER = "".join(WORDS)
DEADLINE = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a command, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OBLIVIOUS_MODEL", MODEL)
    for name in ("RELAY", "GATEWAY", "PCRS", "PROXY"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)

    def command(*arguments: object, stdin: str | None = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", None if stdin is None else io.StringIO(stdin))
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return command


def chat(run: Run, gateway: StandInGateway, *more: object, stdin: str | None = "") -> Outcome:
    return run("chat", "--relay", gateway.url, "--allow-simulated", *more, stdin=stdin)


def test_chat(run: Run, gateway: StandInGateway) -> None:
    outcome = chat(run, gateway, "What", "is", "the", "capital?")
    assert (outcome.code, outcome.out) == (Exit.OK, ANSWER + "\n")
    assert "simulated" in outcome.err
    assert "SIMULATED" in outcome.err.splitlines()[1]
    body = json.loads(gateway.chat.inner[0].content)
    assert body["messages"] == [{"role": "user", "content": "What is the capital?"}]
    assert body["stream"] is True


def test_chat_reads_standard_input(run: Run, gateway: StandInGateway) -> None:
    for arguments in ([], ["-"]):
        assert chat(run, gateway, *arguments, stdin="Hello?\n").code == Exit.OK
        body = json.loads(gateway.chat.inner[-1].content)
        assert body["messages"][-1]["content"] == "Hello?"
    assert chat(run, gateway, stdin="  \n").code == Exit.USAGE


def test_standard_input_that_is_closed_is_no_question(run: Run, gateway: StandInGateway) -> None:
    outcome = chat(run, gateway, stdin=None)
    assert outcome.code == Exit.USAGE
    assert "there is no question" in outcome.err


def test_options_end_where_a_question_begins(run: Run, gateway: StandInGateway) -> None:
    assert chat(run, gateway, "--", "--help").out == ANSWER + "\n"


def test_an_answer_cut_at_its_limit_is_said_to_be(
    run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "limit" not in chat(run, gateway, "Hi").err
    monkeypatch.setattr("tests.support.gateway.FINISHED", "length")
    assert "stopped at its limit of tokens" in chat(run, gateway, "Hi").err


@pytest.mark.parametrize(
    "arguments", [["\udcff"], ["--system", "\udcff", "Hi"], ["--model", "\udcff", "Hi"]]
)
def test_bytes_that_are_no_text(run: Run, gateway: StandInGateway, arguments: list[str]) -> None:
    outcome = chat(run, gateway, *arguments)
    assert (outcome.code, outcome.out) == (Exit.USAGE, "")
    assert "UTF-8" in outcome.err
    assert gateway.posts() == []


def test_chat_options(run: Run, gateway: StandInGateway) -> None:
    outcome = chat(
        run, gateway, "--system", "Be brief.", "--max-tokens", 5, "--framing", "whole", "Hi"
    )
    assert outcome.out == ANSWER + "\n"
    body = json.loads(gateway.chat.inner[0].content)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["max_tokens"] == 5
    assert "stream" not in body


def test_the_second_question_costs_no_round_trip(run: Run, gateway: StandInGateway) -> None:
    chat(run, gateway, "Hi")
    chat(run, gateway, "Hi")
    assert [arrived.method for arrived in gateway.arrived] == ["GET", "POST", "POST"]
    chat(run, gateway, "--no-cache", "Hi")
    assert [arrived.method for arrived in gateway.arrived][3:] == ["GET", "POST"]


def test_the_environment_is_asked_second(
    run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBLIVIOUS_RELAY", gateway.url)
    assert run("chat", "--allow-simulated", "Hi").code == Exit.OK
    assert run("chat", "--allow-simulated", "--model", "other", "Hi").code == Exit.SERVICE_ERROR
    outcome = run("chat", "--allow-simulated", "--gateway", gateway.url, "Hi")
    assert gateway.posts()[-1].path == "/v1/ohttp"
    assert "sees your address" in outcome.err
    outcome = run("chat", "--relay", "http://127.0.0.1:1", "Hi")
    assert outcome.code == Exit.NO_CONNECTION
    assert "if http://127.0.0.1:1 is right" in outcome.err
    monkeypatch.setenv("OBLIVIOUS_PCRS", "/nowhere")
    assert run("chat", "Hi").code == Exit.USAGE
    monkeypatch.delenv("OBLIVIOUS_RELAY")
    monkeypatch.delenv("OBLIVIOUS_PCRS")
    assert run("chat", "Hi").code == Exit.USAGE
    monkeypatch.setenv("OBLIVIOUS_GATEWAY", gateway.url)
    assert run("chat", "--allow-simulated", "Hi").code == Exit.OK


def test_a_terminal_gets_no_control_sequences(
    run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.gateway.WORDS", ("red \x1b[31m\u202e", "\ttab\n"))
    assert chat(run, gateway, "Hi").out == "red \x1b[31m\u202e\ttab\n"
    monkeypatch.setattr("oblivious_client.terminal.is_terminal", lambda stream: True)
    assert chat(run, gateway, "Hi").out == "red [31m\ttab\n"


# What goes wrong.


def swapped(evidence: Evidence) -> Evidence:
    keys = encode_key_configs([GatewayKey.generate(1).config])
    return dataclasses.replace(evidence, ohttp_keys=keys)


def altered(evidence: Evidence) -> Evidence:
    document = evidence.document[:-1] + bytes([evidence.document[-1] ^ 1])
    return dataclasses.replace(evidence, document=document)


@pytest.mark.parametrize("command", [["verify"], ["keys"], ["chat", "Hi"]])
def test_a_relay_that_says_nothing_is_given_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(fetching, "FETCH_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        outcome = run(*command, "--relay", address, "--allow-simulated")
    assert outcome.code == Exit.NO_CONNECTION
    assert "no answer in time" in outcome.err


def test_a_gateway_that_is_away_is_told_from_a_wrong_address(
    run: Run, gateway: StandInGateway
) -> None:
    for status, advice in ((502, "try again later"), (404, "check the address")):
        gateway.faults.evidence_answers = [Plain(status, PROBLEM, b"{}")]
        outcome = run("verify", "--relay", gateway.url, "--allow-simulated")
        assert outcome.code == Exit.OUTER_REFUSAL
        assert advice in outcome.err


def test_refused_evidence(run: Run, gateway: StandInGateway, tmp_path: Path) -> None:
    assert run("chat", "--relay", gateway.url, "Hi").code == Exit.SIMULATED
    pins = tmp_path / "pcrs.json"
    pins.write_text(json.dumps({"Measurements": {"PCR0": "00" * 48}}))
    assert chat(run, gateway, "--pcrs", pins, "Hi").code == Exit.PCRS
    for change, code in ((swapped, Exit.KEYS_UNBOUND), (altered, Exit.CHAIN)):
        gateway.faults.evidence = change
        outcome = chat(run, gateway, "Hi")
        assert (outcome.code, outcome.out) == (code, "")
        assert outcome.err.startswith("error: ")
        assert len(outcome.err.splitlines()) == 2  # what happened, and what to do
    assert gateway.posts() == []


def test_a_truncated_answer(run: Run, gateway: StandInGateway) -> None:
    gateway.faults.cut_after = 4
    outcome = chat(run, gateway, "Hi")
    assert outcome.code == Exit.TRUNCATED
    assert outcome.out.startswith(WORDS[0])
    assert "broke off" in outcome.err
    assert "complete" not in outcome.err.splitlines()[2]


def test_an_answer_by_another_key(run: Run, gateway: StandInGateway, tmp_path: Path) -> None:
    gateway.faults.signature = lambda fields: {**fields, "tee_id": "00" * 32}
    outcome = chat(run, gateway, "--save", tmp_path / "answer", "Hi")
    assert outcome.code == Exit.ANSWER_SIGNATURE
    assert not (tmp_path / "answer").exists()


@pytest.mark.parametrize(
    ("outer", "code"),
    [
        (Plain(503, PROBLEM, b"{}"), Exit.OUTER_REFUSAL),
        (Plain(200, "message/ohttp-chunked-res", b"garbage" * 10), Exit.TRUNCATED),
        (Plain(200, "message/ohttp-chunked-res", bytes(100)), Exit.UNREADABLE),
    ],
)
def test_other_failures(run: Run, gateway: StandInGateway, outer: Plain, code: Exit) -> None:
    gateway.faults.outer = [outer]
    assert chat(run, gateway, "Hi").code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ["frob"],
        ["chat", "--frob"],
        ["chat", "--relay", "nonsense", "Hi"],
        ["chat", "--relay", "http://a/", "--gateway", "http://b/", "Hi"],
        ["chat", "--relay", "http://a/", "--max-age", "0", "Hi"],
        ["chat", "--relay", "http://a/", "--max-age", "1" + "0" * 400, "Hi"],
        ["chat", "--relay", "http://a/", "--proxy", "nonsense", "Hi"],
        ["chat", "--relay", "http://a/", "--proxy", "socks5://a", "Hi"],
        ["chat", "--relay", "http://a/", "--framing", "x", "Hi"],
        ["chat", "--relay", "http://a/", "--pcrs", "/nowhere", "Hi"],
        ["serve", "--relay", "http://a/", "--listen", "0.0.0.0:1"],
        ["serve", "--relay", "http://a/", "--listen", "localhost"],
        ["serve", "--relay", "http://a/", "--listen", "127.0.0.1:99999"],
        ["chat", "--relay", "http://a:99999/", "Hi"],
        ["chat", "--relay", "http://a..b/", "Hi"],
        ["chat", "--relay", f"http://{'a' * 64}.example/", "Hi"],
        ["verify", "--relay", "http://a/", "--fresh"],
        ["verify", "--gateway", "http://a/", "--fresh-through-relay"],
        ["verify", "/nowhere"],
    ],
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (Exit.USAGE, "")
    assert outcome.err.startswith("error: ")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"], ["chat", "--help"]])
def test_help(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == Exit.OK
    for code in Exit:
        assert f"{int(code):>3}  {code.meaning}" in outcome.out
    for word in ("--relay", "--gateway", "--pcrs", "--save", "--allow-simulated", "--listen"):
        assert word in outcome.out
    assert max(len(line) for line in outcome.out.splitlines()) <= 100


# verify, keys and saved answers.


def test_verify(run: Run, gateway: StandInGateway) -> None:
    outcome = run("verify", "--relay", gateway.url, "--allow-simulated")
    assert outcome.code == Exit.OK
    for words in ("SIMULATED", "ES384, holds", "PCR0", "NOT PINNED", "seal to", "proves nothing"):
        assert words in outcome.out
    assert run("verify", "--relay", gateway.url).code == Exit.SIMULATED


def test_verify_with_pins_and_a_nonce(run: Run, gateway: StandInGateway, tmp_path: Path) -> None:
    pins = tmp_path / "pcrs.json"
    pins.write_text(json.dumps({"PCR0": simulated_pcrs()[0].hex()}))
    outcome = run(
        "verify", "--gateway", gateway.url, "--allow-simulated", "--pcrs", pins, "--fresh"
    )
    assert outcome.code == Exit.OK
    assert "as pinned" in outcome.out
    assert "made for this request" in outcome.out
    assert "nonce=" in gateway.arrived[0].path


def served(gateway: StandInGateway, *fields: tuple[str, str]) -> Plain:
    """Return the evidence as a relay serves it."""
    return Plain(200, "application/json", gateway.evidence(None).encode(), fields)


def test_verify_says_for_how_long_a_relay_has_kept_its_copy(
    run: Run, gateway: StandInGateway
) -> None:
    for fields, words in (
        ([("Age", "312")], "the relay's, kept for 312 s"),
        ([("Age", "0")], "fetched from the gateway now"),
        ([("Date", formatdate(usegmt=True))], "fetched from the gateway now"),
        ([("Date", formatdate(time.time() - 60, usegmt=True))], "the relay's, kept for 6"),
        ([], "the relay does not say for how long"),
    ):
        gateway.faults.evidence_answers = [served(gateway, *fields)]
        outcome = run("verify", "--relay", gateway.url, "--allow-simulated")
        assert (outcome.code, words in outcome.out) == (Exit.OK, True)
    outcome = run("verify", "--gateway", gateway.url, "--allow-simulated")
    assert "copy" not in outcome.out
    assert {arrived.field("cache-control") for arrived in gateway.arrived} == {None}


def test_a_copy_that_is_fetched_through_the_relay_shows_an_outage(
    run: Run, gateway: StandInGateway
) -> None:
    command = ("verify", "--relay", gateway.url, "--allow-simulated", "--fresh-through-relay")
    gateway.faults.evidence_answers = [served(gateway, ("Age", "0"))]
    outcome = run(*command)
    assert (outcome.code, "fetched from the gateway now" in outcome.out) == (Exit.OK, True)
    assert gateway.arrived[-1].field("cache-control") == "no-cache"
    gateway.faults.evidence_answers = [served(gateway, ("Age", "312"))]
    outcome = run(*command)
    assert outcome.code == Exit.STALE
    assert "a copy of 312 s though it was asked to fetch another" in outcome.err
    assert "every check holds" not in outcome.out
    gateway.faults.evidence_answers = [Plain(502, "text/html", b"")]
    outcome = run(*command)
    assert outcome.code == Exit.OUTER_REFUSAL
    assert "the relay answers, but does not reach its gateway" in outcome.err


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (502, "the relay answers, but does not reach its gateway"),
        (503, "the relay answers, but has no way to its gateway"),
        (504, "the relay answers, but its gateway says nothing in time"),
    ],
)
def test_who_does_not_answer_is_said(
    run: Run, gateway: StandInGateway, status: int, words: str
) -> None:
    gateway.faults.outer = [Plain(status, "text/html", b"")]
    outcome = chat(run, gateway, "Hi")
    assert (outcome.code, words in outcome.err) == (Exit.OUTER_REFUSAL, True)


def test_a_nonce_that_nobody_here_sent_is_not_called_ours(
    run: Run, gateway: StandInGateway
) -> None:
    somebody_elses = gateway.evidence(b"n" * 16).encode()
    gateway.faults.evidence_answers = [Plain(200, "application/json", somebody_elses)]
    outcome = run("verify", "--relay", gateway.url, "--allow-simulated")
    assert outcome.code == Exit.OK
    assert "made for somebody else" in outcome.out
    assert "made for this request" not in outcome.out


def test_verify_as_json(run: Run, gateway: StandInGateway) -> None:
    outcome = run("verify", "--relay", gateway.url, "--allow-simulated", "--json")
    report = json.loads(outcome.out)
    assert report["verified"] is True
    assert report["is_simulated"] is True
    assert report["pcrs"]["PCR0"]["pinned"] is False
    outcome = run("verify", "--relay", gateway.url, "--json")
    assert json.loads(outcome.out) == {
        "verified": False,
        "error": "the document is simulated: no hardware vouches for it",
        "exit": 15,
        "name": "SIMULATED",
    }


def test_keys(run: Run, gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run("keys", "--relay", gateway.url, "--allow-simulated")
    assert outcome.code == Exit.OK
    x_wing, x25519 = (key.config.public_key for key in gateway.keys)
    assert f"X-Wing SHA-256 {hashlib.sha256(x_wing).hexdigest()}, 1216 bytes" in outcome.out
    assert f"X25519-HKDF-SHA256 {x25519.hex()}" in outcome.out
    assert max(map(len, outcome.out.splitlines())) < 120
    assert "CHACHA20-POLY1305" in outcome.out
    described = json.loads(run("keys", "--relay", gateway.url, "--allow-simulated", "--json").out)
    assert [key["key_id"] for key in described["keys"]] == [1, 2]
    assert described["keys"][0]["public_key"] == x_wing.hex()
    other = Plain(200, "application/ohttp-keys", b"another list")
    served = Plain(200, "application/json", gateway.evidence().encode())
    gateway.faults.evidence_answers = [served, other]
    assert run("keys", "--relay", gateway.url, "--allow-simulated").code == Exit.KEYS_UNBOUND


@pytest.fixture
def saved(run: Run, gateway: StandInGateway, tmp_path: Path) -> Path:
    path = tmp_path / "answer.json"
    outcome = chat(run, gateway, "--save", path, "What is the capital?")
    assert outcome.code == Exit.OK
    assert f"oblivious-client verify --allow-simulated {path}\n" in outcome.err
    return path


def test_a_saved_answer_proves_itself_offline(run: Run, saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    outcome = run("verify", saved, "--allow-simulated")
    assert outcome.code == Exit.OK
    assert "What is the capital?" in outcome.out
    assert ANSWER in outcome.out
    described = json.loads(run("verify", saved, "--allow-simulated", "--json").out)
    assert described["answer"] == ANSWER
    assert run("verify", saved).code == Exit.SIMULATED


def test_nothing_that_was_asked_is_left_out_of_a_saved_answer(
    run: Run, gateway: StandInGateway, tmp_path: Path
) -> None:
    path = tmp_path / "answer.json"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Always say that it is Paris."},
        {"role": "user", "content": [{"type": "text", "text": "Remember that."}]},
        {"role": "user", "content": "What is the capital of Spain?\nanswer:   Madrid"},
    ]
    with ObliviousClient(gateway.url, policy=Policy(simulated=Simulated.ALLOWED)) as client:
        archive.save(path, client.chat(messages, model=MODEL, logit_bias={"5": 100}))
    lines = run("verify", path, "--allow-simulated").out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("with: "))
    assert json.loads(lines[start].removeprefix("with: ")) == {
        "model": MODEL,
        "logit_bias": {"5": 100},
    }
    assert lines[start + 1] == "system:   Always say that it is Paris."
    assert lines[start + 2] == "user text: Remember that."
    assert lines[start + 3] == "question: What is the capital of Spain?"
    assert lines[start + 4] == "          answer:   Madrid"
    assert lines[start + 5] == f"answer:   {ANSWER}"


def test_an_answer_saved_over_an_open_file_is_for_its_owner_alone(
    run: Run, gateway: StandInGateway, tmp_path: Path
) -> None:
    path = tmp_path / "answer.json"
    path.touch(mode=0o644)
    assert chat(run, gateway, "--save", path, "What is the capital?").code == Exit.OK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_saved_answer_proves_itself_years_later(
    run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert run("verify", saved, "--allow-simulated").code == Exit.OK


def another_answer(stored: dict[str, Any]) -> None:
    stored["answer"]["choices"][0]["message"]["content"] = "Lyon."


def another_question(stored: dict[str, Any]) -> None:
    stored["request"] = "e30="


def another_time(stored: dict[str, Any]) -> None:
    stored["answer"]["tee_timestamp"] += 1


def much_later(stored: dict[str, Any]) -> None:
    stored["answer"]["tee_timestamp"] += 86400


def no_time(stored: dict[str, Any]) -> None:
    stored["answer"]["tee_timestamp"] = (1 << 63) - 1


def other_keys(stored: dict[str, Any]) -> None:
    keys = encode_key_configs([GatewayKey.generate(1).config])
    stored["evidence"]["ohttp_keys"] = base64.b64encode(keys).decode()


def no_signature(stored: dict[str, Any]) -> None:
    del stored["answer"]["tee_signature"]


def another_format(stored: dict[str, Any]) -> None:
    stored["format"] = "x"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (another_answer, Exit.ANSWER_SIGNATURE),
        (another_question, Exit.ANSWER_SIGNATURE),
        (another_time, Exit.ANSWER_SIGNATURE),
        (no_signature, Exit.ANSWER_SIGNATURE),
        (no_time, Exit.ANSWER_SIGNATURE),
        (much_later, Exit.STALE),
        (other_keys, Exit.KEYS_UNBOUND),
        (another_format, Exit.USAGE),
    ],
)
def test_an_altered_saved_answer_is_refused(
    run: Run, saved: Path, change: Callable[[dict[str, Any]], None], code: Exit
) -> None:
    stored = json.loads(saved.read_text())
    change(stored)
    saved.write_text(json.dumps(stored))
    outcome = run("verify", saved, "--allow-simulated")
    assert (outcome.code, outcome.out) == (code, "")
    assert "sent" not in outcome.err
    assert "ask again" not in outcome.err


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format": 1}', b"[" * 200_000])
def test_what_is_no_saved_answer(run: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert run("verify", path).code == Exit.USAGE


def test_a_file_without_an_end_is_no_saved_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oblivious_client.archive.LARGEST_FILE", 1000)
    assert "is not a saved answer" in run("verify", "/dev/zero").err


def test_a_file_that_cannot_be_written(run: Run, gateway: StandInGateway, tmp_path: Path) -> None:
    outcome = chat(run, gateway, "--save", tmp_path / "absent" / "file", "Hi")
    assert outcome.code == Exit.USAGE
    assert gateway.posts() == []  # said before the question is asked


# The process.


def process(
    gateway: StandInGateway, tmp_path: Path, *more: str, stdout: IO[bytes] | int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "oblivious_client", "chat", "--relay", gateway.url]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    return subprocess.Popen(
        [*command, "--allow-simulated", "--model", MODEL, *more],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
    )


def test_words_appear_as_they_come(gateway: StandInGateway, tmp_path: Path) -> None:
    gateway.chat.release.clear()
    gateway.chat.pause_after = 2
    with process(gateway, tmp_path, "Hi") as running:
        assert running.stdout is not None
        assert running.stdout.read(len(WORDS[0])) == WORDS[0].encode()
        assert running.poll() is None
        gateway.chat.release.set()
        rest, _ = running.communicate(timeout=DEADLINE)
    assert WORDS[0] + rest.decode() == ANSWER + "\n"
    assert running.returncode == Exit.OK


def test_interrupting_stops_the_generation(gateway: StandInGateway, tmp_path: Path) -> None:
    gateway.chat.release.clear()
    gateway.chat.pause_after = 2
    with process(gateway, tmp_path, "Hi") as running:
        assert running.stdout is not None
        running.stdout.read(1)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=DEADLINE)
    assert running.returncode == Exit.INTERRUPTED
    assert b"Traceback" not in errors
    assert gateway.chat.abandoned.wait(DEADLINE)


def test_a_reader_that_has_enough(gateway: StandInGateway, tmp_path: Path) -> None:
    gateway.chat.release.clear()
    gateway.chat.pause_after = 2
    with process(gateway, tmp_path, "Hi") as running:
        assert running.stdout is not None
        running.stdout.read(1)
        running.stdout.close()
        gateway.chat.release.set()
        assert running.stderr is not None
        assert b"Traceback" not in running.stderr.read()
        running.wait(DEADLINE)
    assert running.returncode == Exit.FAILURE


def test_an_output_without_room_is_a_sentence(gateway: StandInGateway, tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        process(gateway, tmp_path, "Hi", stdout=full) as running,
    ):
        _, errors = running.communicate(timeout=DEADLINE)
    assert running.returncode == Exit.FAILURE
    assert b"No space left" in errors
    assert b"Traceback" not in errors


def test_an_output_that_lacks_letters_shows_the_others(
    gateway: StandInGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.gateway.WORDS", ("caf\u00e9",))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with process(gateway, tmp_path, "Hi") as running:
        out, _ = running.communicate(timeout=DEADLINE)
    assert (running.returncode, out) == (Exit.OK, b"caf?\n")


def test_streams_that_are_closed_take_nothing(gateway: StandInGateway, tmp_path: Path) -> None:
    python = shlex.quote(sys.executable)
    command = f"{python} -m oblivious_client chat --relay {gateway.url} --allow-simulated"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OBLIVIOUS_MODEL": MODEL}
    for closed, expected in ((">&-", b""), ("2>&-", ANSWER.encode() + b"\n")):
        done = subprocess.run(
            ["sh", "-c", f"{command} Hi {closed}"],
            capture_output=True,
            env=environment,
            timeout=DEADLINE,
            check=False,
        )
        assert (done.returncode, done.stdout) == (Exit.OK, expected)
        assert b"Traceback" not in done.stderr
