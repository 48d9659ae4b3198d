"""Reports for people: everything that was asked and answered, and no text taken for a label."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from enclave_server.chat.conversation import Choice
from enclave_server.chat.surfaces.chat_shapes import AnyMessage
from enclave_server.chat.surfaces.completions import TextChoice
from oblivious_client import report
from oblivious_client.answers import outputs_of


@pytest.mark.parametrize(
    ("messages", "lines"),
    [
        ([{"content": "a"}, {"text": "b\rc"}], ["answer:   a", "answer:   b", "          c"]),
        ([{"content": None, "tool_calls": [{"id": "1"}]}], ['answer tool_calls: [{"id": "1"}]']),
        ([{"content": None, "tool_calls": [{"id": "ü"}]}], ['answer tool_calls: [{"id": "ü"}]']),
        ([{"content": "a", "tool_calls": []}, {}], ["answer:   a", "answer:   "]),
        (
            [{"role": "assistant", "content": None, "refusal": "No.\nanswer:   Yes."}],
            ["answer:   ", "answer refusal, unsigned: No.", "          answer:   Yes."],
        ),
        (
            [{"content": '[{"id": "1"}]', "tool_calls": [{"id": "1"}]}],
            ['answer:   [{"id": "1"}]', 'answer tool_calls: [{"id": "1"}]'],
        ),
    ],
)
def test_all_of_an_answer_is_shown(messages: list[dict[str, Any]], lines: list[str]) -> None:
    assert report.answered(messages).split("\n") == lines


def test_what_stands_beside_the_messages_is_shown_as_unsigned() -> None:
    choice = {"index": 0, "message": {"content": "a"}, "finish_reason": "length"}
    said = report.beside({"model": "m", "choices": [choice]})
    assert said == (
        'beside, unsigned: {"model": "m", "choices": [{"index": 0, "finish_reason": "length"}]}'
    )


ODD = {
    "messages": [
        "text",
        {"role": "assistant"},
        {"role": "root:\nanswer", "content": "x"},
        {"role": ["list"], "content": None},
        {"role": "user", "content": 1, "a\u2028b: c": "x"},
        {"role": "user", "content": ["part", {"type": "a b", "a b": "x"}, {"type": "text"}]},
    ],
    "stream": True,
}


def test_what_no_gateway_takes_is_shown_whole_too() -> None:
    assert report.asked(ODD).split("\n") == [
        'with:     {"stream": true}',
        'message:  "text"',
        'assistant: {"role": "assistant"}',
        'message role: root:',
        "          answer",
        "message:  x",
        'message role: ["list"]',
        "message:  ",
        "user:     1",
        'user "a\\u2028b: c": x',
        'question other part: "part"',
        'question other part: {"type": "a b", "a b": "x"}',
        'question other part: {"type": "text"}',
    ]  # fmt: skip
    assert report.asked({"prompt": "x", "messages": "y"}) == (
        'with:     {"prompt": "x", "messages": "y"}'
    )


@given(st.text(), st.sampled_from([None, 40, 80]))
def test_no_line_of_a_text_begins_where_labels_do(text: str, width: int | None) -> None:
    lines = report.answered([{"content": text}], width).split("\n")
    assert lines[0].startswith("answer:   ")
    assert all(line.startswith(" " * 10) for line in lines[1:])
    said = "".join([lines[0].removeprefix("answer:   "), *(line[10:] for line in lines[1:])])
    assert said == "".join(text.splitlines())
    if width is not None and text.isascii() and "\t" not in text:
        assert all(len(line) <= width for line in lines)


def test_a_terminal_breaks_no_line_itself() -> None:
    """What fills a line with spaces must not begin the next with a label of ours."""
    text = "So." + " " * 67 + "answer:   Madrid"
    first, second = report.answered([{"content": text}], 80).split("\n")
    assert (first, second) == ("answer:   So." + " " * 67, " " * 10 + "answer:   Madrid")
    wide = report.answered([{"content": "界" * 70}], 80).split("\n")
    assert [len(line) - 10 for line in wide] == [35, 35]


# From here on: every field that the gateway takes or gives, out of its own schema.


class Filler:
    """Makes values of the schema's types, with another mark in each text."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.marks: list[str] = []

    def text(self) -> str:
        mark = f"mark{next(self._numbers):03}"  # none of them begins another
        self.marks.append(mark)
        return mark

    def value(self, kind: inspect.Type) -> Any:
        match kind:
            case inspect.UnionType(types=types):
                return self.value(max(types, key=_size))  # a list of parts rather than a text
            case inspect.StructType():
                return self.struct(kind)
            case inspect.ListType(item_type=inspect.UnionType(types=types)):
                return [self.value(each) for each in types]
            case inspect.ListType(item_type=item):
                return [self.value(item)]
            case inspect.DictType():
                return {self.text(): self.text()}
            case inspect.Metadata(type=inner):
                return self.value(inner)
        return self.scalar(kind)

    def scalar(self, kind: inspect.Type) -> Any:
        match kind:
            case inspect.StrType(pattern=pattern):
                return ("https://" if pattern and "https?" in pattern else "") + self.text()
            case inspect.LiteralType(values=values):
                return values[0]
            case inspect.BoolType():
                return True
            case inspect.IntType() | inspect.FloatType():
                return 7
            case inspect.NoneType():
                return None
        raise AssertionError(kind)

    def struct(self, kind: inspect.StructType) -> dict[str, Any]:
        members = {field.encode_name: self.value(field.type) for field in kind.fields}
        return {kind.tag_field: kind.tag, **members} if kind.tag_field else members


def _size(kind: inspect.Type) -> int:
    return isinstance(kind, inspect.ListType | inspect.StructType) * 2 + isinstance(
        kind, inspect.StrType
    )


def kinds_of(union: object) -> Iterator[inspect.StructType]:
    described = inspect.type_info(union)
    types = described.types if isinstance(described, inspect.UnionType) else (described,)
    for kind in types:
        assert isinstance(kind, inspect.StructType)
        yield kind


MESSAGES = list(kinds_of(AnyMessage))


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: str(kind.tag))
def test_every_field_of_every_message_is_shown_under_its_name(kind: inspect.StructType) -> None:
    filler = Filler()
    message = filler.struct(kind)
    last = {"role": "user", "content": "Q"}
    lines = report.asked({"messages": [message, last]}).split("\n")[1:]
    assert all(line.startswith(str(kind.tag)) for line in lines[:-1])
    shown = "\n".join(lines)
    assert all(shown.count(mark) == 1 for mark in filler.marks)
    labels = [line.split(":")[0] for line in lines]
    for field in kind.fields:
        if field.encode_name != "content":
            assert f"{kind.tag} {field.encode_name}" in labels
    # It is what the gateway would have taken.
    msgspec.convert(message, kind.cls)


def test_every_field_of_every_choice_is_shown() -> None:
    for made, version in itertools.product((Choice, TextChoice), (1, 2)):
        (kind,) = kinds_of(made)
        filler = Filler()
        body = {"choices": [filler.struct(kind)]}
        shown = report.answered(outputs_of(body), version=version)
        shown += report.beside(body, version=version)
        missing = [mark for mark in filler.marks if mark not in shown]
        assert not missing
        for name in ("refusal", "finish_reason", "logprobs", "index"):
            if name in json.dumps(body):
                assert name in shown


def test_what_the_second_version_signs_is_not_called_unsigned() -> None:
    message = {"content": "a", "refusal": "no", "reasoning_content": "hm", "note": "x"}
    body = {
        "model": "m",
        "usage": {"total_tokens": 1},
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
    }
    assert report.answered(outputs_of(body), version=2).split("\n") == [
        "answer:   a",
        "answer refusal: no",
        "answer reasoning_content: hm",
        "answer note, unsigned: x",
    ]
    signed, unsigned = report.beside(body, version=2).split("\n")
    label, _, text = signed.partition(": ")
    assert label == "beside, signed"
    assert json.loads(text) == {"model": "m", "choices": [{"index": 0, "finish_reason": "stop"}]}
    label, _, text = unsigned.partition(": ")
    assert label == "beside, unsigned"
    assert json.loads(text) == {"usage": {"total_tokens": 1}, "choices": [{"logprobs": None}]}
    # The first version signs none of it.
    assert "answer refusal, unsigned: no" in report.answered([message])
    (only,) = report.beside(body).split("\n")
    assert only.startswith("beside, unsigned: ")
    assert '"finish_reason": "stop"' in only


def test_the_state_of_a_call_is_called_unsigned() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    state = {"oblivious": {"state": "AA"}}
    message = {"tool_calls": [{**call, "extra_content": state}, call], "extra_content": state}
    assert report.answered([message], version=2).split("\n") == [
        f"answer tool_calls: {json.dumps([call, call])}",
        f"answer tool_calls extra_content, unsigned: {json.dumps([state])}",
        f"answer extra_content, unsigned: {json.dumps(state)}",
    ]


def test_marks_are_made_of_all_that_there_is() -> None:
    assert {str(kind.tag) for kind in MESSAGES} == {
        "system", "developer", "user", "assistant", "tool"
    }  # fmt: skip
    filler = Filler()
    made = [filler.struct(kind) for kind in MESSAGES]
    assert len(filler.marks) > 10
    assert any("tool_calls" in message for message in made)
