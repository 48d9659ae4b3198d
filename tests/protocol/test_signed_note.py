"""Signed notes: the specification's own example, one form for each note, and nothing else."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.signed_note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    is_key_name,
    is_note_text,
)

# The first example of the specification.
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFS"
    "QU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
LINE = "— a.example AAAAAAE=\n"


def test_the_example_of_the_specification() -> None:
    found = Note.decode(POEM)
    assert found.text.endswith("sole:\n\ned è subito sera.\n")
    (line,) = found.signatures
    assert (line.name, line.key_id.hex()) == ("quasimodo.example/salvatore", "367ba04b")
    assert len(line.signature) == 64
    assert found.encode() == POEM


def test_a_text_may_have_empty_lines_everywhere() -> None:
    for text in ("\n", "\n\n", "a\n\n\n", "\n\na\n"):
        found = Note.decode(f"{text}\n{LINE}")
        assert found.text == text
        assert found.encode() == f"{text}\n{LINE}"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "a",
        "a\n",
        "a\n\n",
        f"a\n{LINE}",
        f"a\n\n{LINE[:-1]}",
        f"a\n\n{LINE}\n",
        f"a\n\n{LINE}b\n",
        f"a\r\n\n{LINE}",
        f"a\t\n\n{LINE}",
        f"a\0\n\n{LINE}",
        f"\ud800\n\n{LINE}",
        "a\n\n- a.example AAAAAAE=\n",
        "a\n\n—a.example AAAAAAE=\n",
        "a\n\n— a.example\n",
        "a\n\n— a.example \n",
        "a\n\n— a.example AAAAAA==\n",
        "a\n\n— a.example AAAAAAE\n",
        "a\n\n— a.example AAAAAAF=\n",
        "a\n\n— a.example AAAAAAE= \n",
        "a\n\n—  AAAAAAE=\n",
        "a\n\n— a+b AAAAAAE=\n",
        "a\n\n— a\u00a0b AAAAAAE=\n",
        f"a\n\n{LINE * (MAX_SIGNATURES + 1)}",
        f"{'a' * MAX_NOTE_BYTES}\n\n{LINE}",
    ],
)
def test_what_is_no_note(note: str) -> None:
    with pytest.raises(MalformedMessage):
        Note.decode(note)


def test_as_many_lines_and_octets_as_may_be() -> None:
    assert len(Note.decode(f"a\n\n{LINE * MAX_SIGNATURES}").signatures) == MAX_SIGNATURES
    room = MAX_NOTE_BYTES - len(f"\n\n{LINE}".encode())
    assert Note.decode(f"{'a' * room}\n\n{LINE}").text == "a" * room + "\n"


def test_lines_are_added_below_and_each_once() -> None:
    first, second = (NoteSignature("a.example", bytes(4), bytes([each])) for each in (1, 2))
    note = Note("a\n", (first,)).signed([second, first])
    assert note.signatures == (first, second)
    assert Note.decode(note.encode()) == note


@pytest.mark.parametrize(
    ("name", "key_id", "signature"),
    [("", bytes(4), b"a"), ("a", bytes(3), b"a"), ("a", bytes(4), b"")],
)
def test_what_is_no_line(name: str, key_id: bytes, signature: bytes) -> None:
    with pytest.raises(ValueError, match="not a name"):
        NoteSignature(name, key_id, signature)


def test_names_and_texts() -> None:
    assert [is_key_name(each) for each in ("a", "é/b", "", "a b", "a\u2003b", "a+b", "a\x7f")] == [
        *(True, True),
        *(False,) * 5,
    ]
    assert [is_note_text(each) for each in ("a\n", "\n", "a", "", "a\x01\n", "\ud800\n")] == [
        *(True, True),
        *(False,) * 4,
    ]


@given(st.text(max_size=20), st.text(min_size=1, max_size=5), st.binary(min_size=5, max_size=9))
def test_what_is_written_reads_as_the_same(text: str, name: str, octets: bytes) -> None:
    if not is_note_text(text + "\n") or not is_key_name(name):
        return
    note = Note(text + "\n", (NoteSignature(name, octets[:4], octets[4:]),))
    assert Note.decode(note.encode()) == note
    assert base64.b64encode(octets).decode() in note.encode()
