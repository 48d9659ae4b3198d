"""What reaches a terminal."""

import io
import sys
import types

import pytest

from oblivious_client.terminal import allow_editing, fit_for, harmless, note, print_json


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb\tc\r\n", "a[2Jb\tc\n"),
        ("\x1b]52;c;QQ==\x07", "]52;c;QQ=="),  # would fill the clipboard
        ("\x9b2J\x90q\x9c", "2Jq"),  # C1: the same in one character
        ("a\u202eb\u2066", "ab"),  # would turn what is read around
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),  # text as it is, no HTML
    ],
)
def test_a_terminal_is_shown_text_alone(text: str, shown: str) -> None:
    assert harmless(text) == fit_for(Terminal(), text) == shown
    assert fit_for(io.StringIO(), text) == text


def test_a_note_goes_beside_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note("said \x1b[2J")
    assert capsys.readouterr() == ("", "said \x1b[2J\n")
    seen = Terminal()
    monkeypatch.setattr("sys.stderr", seen)
    note("said \x1b[2J")
    assert seen.getvalue() == "said [2J\n"


def test_a_system_without_readline_edits_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    allow_editing()


def test_what_was_typed_is_recalled_in_this_program_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    readline = types.ModuleType("readline")
    readline.clear_history = lambda: done.append("cleared")  # type: ignore[attr-defined]
    readline.set_auto_history = done.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "readline", readline)
    allow_editing()
    assert done == ["cleared", True]


def test_programs_read_json_that_people_can_read_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, "\x1b"]})
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    "\\u001b"\n  ]\n}\n'
