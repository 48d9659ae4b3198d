"""Several turns at a terminal, which is a real one: the child has a pty of its own."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import MODEL, WORDS, StandInGateway

ROOT = Path(__file__).parents[2]
DEADLINE = 120.0
ANSWER = "".join(WORDS)
# Ctrl-C reaches the program that the terminal belongs to.
OWN_TERMINAL = """\
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from oblivious_client.cli import main
sys.exit(main())
"""


class Person:
    """Who sits at the terminal: types, reads, presses keys."""

    def __init__(self, words: list[str], home: Path) -> None:
        self.said = ""
        variables = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "TERM": "dumb",  # no codes of readline's own, so that each one seen is a model's
            "LANG": "C.UTF-8",
            "OBLIVIOUS_MODEL": MODEL,
        }
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=variables,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, what: str) -> str:
        """Return what came up to `what`, which is taken away."""
        deadline = time.monotonic() + DEADLINE
        while what not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self._read(), self.said
        before, _, self.said = self.said.partition(what)
        return before + what

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def interrupt_the_prompt(self) -> None:
        """Press Ctrl-C once the program waits for a key.

        Where it comes between two waits, readline's loop in CPython does not look at it before the
        next key, and a person presses once more.
        """
        state = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + DEADLINE
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)
        self.type("\x03")

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.terminal], [], [], DEADLINE)
        try:
            data = os.read(self.terminal, 65536) if ready else b""
        except OSError:  # the other end is closed
            data = b""
        self.said += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def person(gateway: StandInGateway, tmp_path: Path) -> Iterator[Person]:
    words = ["chat", "--relay", gateway.url, "--allow-simulated", "--system", "S"]
    someone = Person(words, tmp_path)
    someone.wait_for("> ")
    yield someone
    someone.close()


def messages(gateway: StandInGateway) -> list[tuple[str, str]]:
    body = json.loads(gateway.chat.inner[-1].content)
    return [(each["role"], each["content"]) for each in body["messages"]]


def ask(person: Person, text: str) -> None:
    person.type(text + "\n")
    person.wait_for(ANSWER)
    person.wait_for("> ")


def test_a_turn_carries_those_before_it_until_a_new_beginning(
    person: Person, gateway: StandInGateway
) -> None:
    ask(person, "One?")
    ask(person, "Two?")
    first = [("system", "S"), ("user", "One?"), ("assistant", ANSWER)]
    assert messages(gateway) == [*first, ("user", "Two?")]
    person.type("/new\n")
    person.wait_for("forgotten")
    ask(person, "//Three?")
    assert messages(gateway) == [("system", "S"), ("user", "/Three?")]
    person.type("/quit\n")
    assert person.end() == 0


def test_a_line_goes_on_and_the_end_of_input_ends(person: Person, gateway: StandInGateway) -> None:
    person.type("\n")  # no question, and not the end
    person.wait_for("> ")
    person.type("ab\\\nc\\\n")
    ask(person, "d")
    assert messages(gateway)[-1] == ("user", "ab\nc\nd")
    person.type("\x04")
    assert person.end() == 0


def test_another_model_and_an_error_that_loses_nothing(
    person: Person, gateway: StandInGateway
) -> None:
    person.type("/model other\n")
    person.wait_for("asking other")
    person.wait_for("> ")
    person.type("One?\n")
    person.wait_for("error: ")
    person.wait_for("> ")
    person.type(f"/model {MODEL}\n")
    person.wait_for("> ")
    ask(person, "Two?")
    assert messages(gateway) == [("system", "S"), ("user", "Two?")]
    person.type("/nothing\n")
    person.wait_for("no such command: /nothing")


def test_an_answer_is_saved_and_nothing_else(person: Person, tmp_path: Path) -> None:
    person.type("/save\n")
    person.wait_for("no file is named")
    person.type(f"/save {tmp_path / 'a.json'}\n")
    person.wait_for("there is no answer yet")
    ask(person, "One?")
    person.type(f"/save {tmp_path / 'a.json'}\n")
    person.wait_for("saved; check it any time with: oblivious-client verify --allow-simulated ")
    person.type(f"/save {tmp_path / 'a.json'}\n")
    person.wait_for("there already")
    person.type(f"/save {tmp_path / 'absent' / 'a.json'}\n")
    person.wait_for("cannot write")
    person.type("/quit\n")
    assert person.end() == 0
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"a.json", ".cache"}  # no history: what was typed is nobody's


def test_control_codes_of_a_model_do_not_reach_the_terminal(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.gateway.WORDS", ("\x1b[2J", "\x9b31m<b>", "\x07end"))
    person.type("One?\n")
    seen = person.wait_for("end")
    assert not re.search("[\x1b\x9b\x07]", seen)
    assert "[2J31m<b>end" in seen


def test_interrupted_at_the_prompt_goes_on(person: Person, gateway: StandInGateway) -> None:
    person.type("never sent")
    person.wait_for("never sent")
    person.interrupt_the_prompt()
    person.wait_for("nothing was sent")
    ask(person, "One?")
    assert messages(gateway)[-1] == ("user", "One?")


def test_an_interrupted_answer_is_forgotten_and_said_to_be_no_whole_one(
    person: Person, gateway: StandInGateway
) -> None:
    gateway.chat.pause_after = 2
    gateway.chat.release.clear()
    person.type("One?\n")
    person.wait_for(WORDS[0])
    person.type("\x03")
    person.wait_for("interrupted: what came is not the whole answer")
    person.wait_for("> ")
    gateway.chat.release.set()
    ask(person, "Two?")
    assert messages(gateway) == [("system", "S"), ("user", "Two?")]
    assert gateway.chat.abandoned.wait(DEADLINE)


def test_one_question_that_is_interrupted_says_so(gateway: StandInGateway, tmp_path: Path) -> None:
    gateway.chat.pause_after = 2
    gateway.chat.release.clear()
    someone = Person(["chat", "--relay", gateway.url, "--allow-simulated", "Hi"], tmp_path)
    try:
        someone.wait_for(WORDS[0])
        someone.type("\x03")
        someone.wait_for("interrupted: what came is not the whole answer")
        assert someone.end() == 130
    finally:
        gateway.chat.release.set()
        someone.close()


def test_pictures_pipes_and_models_from_the_command_line(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"GIF89a")
    words = ["--relay", gateway.url, "--allow-simulated"]
    one = [*words, "--image", str(tmp_path / "a"), "--temperature", "0.5", "What?"]
    done = subprocess.run(
        [sys.executable, "-m", "oblivious_client", "chat", *one],
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OBLIVIOUS_MODEL": MODEL},
        input="It is:",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ANSWER + "\n"), done.stderr
    body = json.loads(gateway.chat.inner[-1].content)
    text, picture = body["messages"][0]["content"]
    assert body["temperature"] == 0.5
    assert text["text"] == "What?\n\nIt is:"
    assert picture["image_url"]["url"].startswith("data:image/gif;base64,")
    listed = subprocess.run(
        [sys.executable, "-m", "oblivious_client", "models", *words],
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout == f"{MODEL}\n"
