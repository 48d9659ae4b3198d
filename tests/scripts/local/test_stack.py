"""The stack's parts: started in order, ended for certain, and told of when they do not start."""

import signal
import sys
import time
from pathlib import Path

import pytest

from scripts.local import stack
from scripts.local.stack import Child, Stack, StackError, direct, silent

READY = "import json, signal\nprint(json.dumps({'event': 'ready'}), flush=True)\nsignal.pause()"


def child(code: str) -> Child:
    return Child("part", [sys.executable, "-c", code], {"GIVEN": "value"})


def test_a_part_is_waited_for_and_ended() -> None:
    part = child(READY)
    part.wait_ready(silent)
    part.stop()
    assert part.process.returncode == -signal.SIGTERM
    assert not part.reader.is_alive()
    with pytest.raises(StackError, match="did not say where it listens"):
        _ = part.url


def test_where_it_listens_is_what_it_says_first() -> None:
    part = child(
        "import json, os\n"
        "print('no json')\nprint('[]')\nprint(os.environ['GIVEN'])\n"
        "for port in (1, 2): print(json.dumps("
        "{'event': 'listening', 'address': f'tcp://127.0.0.1:{port}'}))\n" + READY
    )
    part.wait_ready(silent)
    assert part.url == "http://127.0.0.1:1"
    assert list(part.lines)[:3] == ["no json", "[]", "value"]
    part.stop()


def test_a_part_that_ends_is_told_of_with_its_last_lines() -> None:
    part = child("print('first')\nfor n in range(20): print(n)\nraise SystemExit(3)")
    with pytest.raises(StackError) as caught:
        part.wait_ready(silent)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "The part ended with status 3; its lines are above."
    assert lines[:-1] == [str(number) for number in range(5, 20)]
    part.stop()


def test_a_part_that_is_never_ready_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "START_SECONDS", 0.2)
    part = child("import signal\nsignal.pause()")
    waited: list[float] = []
    with pytest.raises(StackError, match="was not ready after 0 s"):
        part.wait_ready(lambda name, seconds: waited.append(seconds))
    assert waited == sorted(waited)
    assert waited[0] >= stack.POLL_SECONDS
    part.stop()


def test_who_does_not_end_is_killed_with_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "STOP_SECONDS", 0.2)
    part = child(
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork() or signal.pause()  # one of the two writes, the other holds the pipe\n" + READY
    )
    part.wait_ready(silent)
    part.stop()  # which would wait for the copy, if it held the pipe still
    assert part.process.returncode == -signal.SIGKILL
    assert not part.reader.is_alive()


def test_parts_are_connected_through_what_is_put_between(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def interpose(name: str, address: str) -> str:
        asked.append((name, address))
        return f"{address}.tap"

    commands: dict[str, list[str]] = {}

    class Launched:
        url = "http://127.0.0.1:1"

    def launch(self: Stack, name: str, command: list[object]) -> Launched:
        commands[name] = [str(word) for word in command]
        return Launched()

    monkeypatch.setattr(Stack, "launch", launch)
    made = Stack(interpose=interpose, server_options=["--workers", "2"])
    with made:
        assert list(commands) == ["enclave server", "host proxy", "relay"]
        assert commands["enclave server"][-2:] == ["--workers", "2"]
        assert commands["host proxy"][-1] == f"{made.enclave}.tap"
        assert commands["relay"][-1] == "http://127.0.0.1:1.tap"
        assert made.folder.stat().st_mode & 0o777 == 0o700
    assert asked == [("enclave", made.enclave), ("gateway", "http://127.0.0.1:1")]
    assert not made.folder.exists()
    assert direct("enclave", "unix:/a") == "unix:/a"


def test_a_part_that_fails_takes_the_others_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Stack()
    monkeypatch.setattr(made, "start_server", lambda: made.launch("server", command(READY)))
    monkeypatch.setattr(
        made, "start_proxy", lambda: made.launch("proxy", command("raise Exception"))
    )
    with pytest.raises(StackError, match="The proxy ended"):
        made.__enter__()
    assert made.children == []
    assert not made.folder.exists()


def command(code: str) -> list[str | Path]:
    return [sys.executable, "-c", code]


def test_a_part_that_ended_by_itself_is_found() -> None:
    made = Stack()
    part = made.launch("part", command(READY))
    assert made.broken() is None
    part.process.kill()
    while made.broken() is None:
        time.sleep(0.01)
    assert made.broken() is part
    made.stop()


def test_a_member_that_ended_breaks_nothing_as_long_as_another_is_whole() -> None:
    made = Stack(enclaves=2)
    for number in (1, 2):
        made.carriers[number] = made.launch(f"carrier {number}", command(READY))
        made.members[number] = made.launch(f"member {number}", command(READY))
    assert made.part("member 2") is made.members[2]
    end(made.members[1])
    assert made.broken() is None
    assert made.lost() == [made.members[1]]
    end(made.carriers[2])
    assert made.broken() in (made.members[1], made.carriers[2])
    made.forget(made.members[1])
    made.forget(made.members[1])
    assert made.broken() is made.carriers[2]
    made.stop()


def test_a_part_that_the_others_need_breaks_all() -> None:
    made = Stack(enclaves=1)
    made.carriers[1] = made.launch("carrier", command(READY))
    made.members[1] = made.launch("member", command(READY))
    relay = made.launch("relay", command(READY))
    end(relay)
    assert made.broken() is relay
    assert made.lost() == []
    made.stop()


def end(part: Child) -> None:
    part.process.kill()
    part.process.wait()
