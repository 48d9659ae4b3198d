"""One question of the command line: words, standard input, pictures."""

import io
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from oblivious_client import asking
from oblivious_client.answers import Answer
from oblivious_client.errors import UsageError
from tests.oblivious_client.test_terminal import Terminal


def question(words: list[str], told: list[str] | None = None) -> str:
    lines: list[str] = [] if told is None else told
    return asking.question(Namespace(question=words), lines.append)


@pytest.mark.parametrize(
    ("stream", "words", "typed", "asked"),
    [
        (Terminal, ["What", "is", "it?"], "unread", "What is it?"),
        (Terminal, ["-"], " typed\nin lines \n", "typed\nin lines"),
        (Terminal, [], "typed", "typed"),
        (io.StringIO, [], "typed", "typed"),
        (io.StringIO, ["-"], "typed", "typed"),
        (io.StringIO, ["Explain:"], "a\nb\n", "Explain:\n\na\nb"),
        (io.StringIO, ["Explain"], "", "Explain"),
    ],
)
def test_a_question_is_written_typed_or_both(
    stream: type[io.StringIO],
    words: list[str],
    typed: str,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "stdin", stream(typed))
    assert question(words, told) == asked
    is_told_how = stream is Terminal and asked in typed
    assert any("Ctrl-D" in each for each in told) == is_told_how


@pytest.mark.parametrize("typed", [io.StringIO(" \n"), None])
def test_without_a_question_there_is_nothing_to_ask(
    typed: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", typed)
    with pytest.raises(UsageError, match="no question"):
        question([])


def test_what_is_no_text_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    with pytest.raises(UsageError, match="not UTF-8"):
        question(["Explain"])


def test_who_waits_for_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Slow(io.StringIO):
        def read(self, size: int | None = -1, /) -> str:
            while not told:
                pass
            return ""

    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(sys, "stdin", Slow())
    assert question(["Explain"], told) == "Explain"
    assert "</dev/null" in told[0]


@pytest.mark.parametrize(
    ("stream", "shown"),
    [(io.StringIO, "a\x1b[2Jb\tc\r\n"), (Terminal, "a[2Jb\tc\n")],
)
def test_a_terminal_alone_is_guarded(
    stream: type[io.StringIO], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = stream()
    monkeypatch.setattr(sys, "stdout", output)
    asking.show("a\x1b[2Jb\tc\r\n")
    assert output.getvalue() == shown


def test_pictures_stand_behind_the_words(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"GIF89a")
    (url,) = asking.pictures(Namespace(image=[path]))
    parts = asking.asked("What?", [url])["content"]
    assert parts[0] == {"type": "text", "text": "What?"}
    assert parts[1]["image_url"]["url"].startswith("data:image/gif;base64,")
    assert asking.asked("What?", []) == {"role": "user", "content": "What?"}


def test_a_system_prompt_goes_first() -> None:
    assert asking.opening(Namespace(system=None)) == []
    assert asking.opening(Namespace(system="S")) == [{"role": "system", "content": "S"}]


@pytest.mark.parametrize(
    ("reasons", "stopped"),
    [(["stop"], False), (["length"], True), (["stop", "length"], True), ([None], False)],
)
def test_a_limit_of_tokens_is_noticed(reasons: list[str | None], stopped: bool) -> None:
    body: dict[str, Any] = {"choices": [{"finish_reason": reason} for reason in reasons]}
    answer = Answer(b"", body, None, None)  # type: ignore[arg-type]
    assert asking.stopped_at_a_limit(answer) is stopped
