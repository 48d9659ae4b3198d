"""What the commands do beneath their options: where they listen, what they show and advise."""

import io
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from oblivious_client import archive, cli, commands
from oblivious_client.commands import COMMANDS
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.fetching import Copy

# What stands behind the public commands has no other door: `test_cli.py` runs those whole.
check: Callable[[Namespace, Path], str] = archive.check_command
nonce: Callable[[Namespace, Endpoint], bytes | None] = commands._nonce
require_fetched: Callable[[Copy], None] = commands._require_fetched
warn: Callable[[Endpoint], None] = commands._warn


def test_each_command_is_there() -> None:
    asking = ["setup", "config", "chat", "models", "serve", "env", "verify", "keys", "tokens"]
    assert list(COMMANDS) == [*asking, "provision", "releases", "completions"]


def test_a_nonce_needs_a_gateway() -> None:
    relay = Endpoint.parse(Role.RELAY, "https://relay.example/")
    gateway = Endpoint.parse(Role.GATEWAY, "https://gateway.example/")
    plain = Namespace(fresh=False, fresh_through_relay=False)
    fresh = Namespace(fresh=True, fresh_through_relay=False)
    through = Namespace(fresh=False, fresh_through_relay=True)
    assert nonce(plain, relay) is nonce(plain, gateway) is nonce(through, relay) is None
    one, two = nonce(fresh, gateway), nonce(fresh, gateway)
    assert one is not None
    assert two is not None
    assert len(one) == commands.NONCE_BYTES == 32
    assert one != two
    with pytest.raises(UsageError, match="forwards no nonce"):
        nonce(fresh, relay)
    with pytest.raises(UsageError, match="is for --relay"):
        nonce(through, gateway)


@pytest.mark.parametrize("kept", [0, 5])
def test_a_young_copy_was_fetched(kept: int) -> None:
    require_fetched(Copy(evidence=None, kept=kept))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "age"),
    [(None, "of unknown age"), (6, "of 6 s")],
)
def test_an_old_copy_was_not(kept: int | None, age: str) -> None:
    with pytest.raises(EvidenceRefused, match=age) as caught:
        require_fetched(Copy(evidence=None, kept=kept))  # type: ignore[arg-type]
    assert caught.value.code is Exit.STALE


@pytest.mark.parametrize(
    ("role", "url", "notes"),
    [
        (Role.RELAY, "https://relay.example/", []),
        (Role.RELAY, "http://relay.example/", ["no TLS"]),
        (Role.GATEWAY, "https://gateway.example/", ["no relay"]),
        (Role.GATEWAY, "http://gateway.example/", ["no relay", "no TLS"]),
    ],
)
def test_who_sees_something_is_said(
    role: Role, url: str, notes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    warn(Endpoint.parse(role, url))
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("note: ").partition(":")[0] for line in lines] == notes


def test_who_sees_a_question_is_said_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    words = ["--gateway", "http://127.0.0.1:1", "--allow-simulated", "--no-cache"]
    assert cli.main(["chat", *words, "Hi"]) == Exit.NO_CONNECTION
    assert capsys.readouterr().err.startswith("note: no relay: ")


def test_a_saved_answer_is_checked_as_strictly_as_it_was_asked_for() -> None:
    lax = Namespace(allow_simulated=False, pcrs=None, root=None, trust=None)
    assert check(lax, Path("a b")) == "oblivious-client verify 'a b'"
    strict = Namespace(
        allow_simulated=True, pcrs="my pins.json", root=Path("root.pem"), trust="trust.json"
    )
    assert shlex.split(check(strict, Path("answer.json"))) == [
        "oblivious-client",
        "verify",
        "--allow-simulated",
        "--pcrs",
        "my pins.json",
        "--trust",
        "trust.json",
        "--root",
        "root.pem",
        "answer.json",
    ]
