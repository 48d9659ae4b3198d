"""Chat requests in the neutral form: files, reasoning, states, tools, and fields of sampling."""

import base64
import json
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation, File, Image, State, Text, ToolNamed
from enclave_server.chat.errors import ChatError
from enclave_server.chat.states import GOOGLE, write
from enclave_server.chat.surfaces.chat_completions import ChatCompletions

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n".ljust(30)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n".ljust(30)).decode()
HELLO = {"role": "user", "content": "Hello"}
STATE = State("d", b"v", ("provider", "m"))
EXTRA = write(STATE, ("provider", "m"))


def read(*messages: dict[str, Any], **fields: Any) -> Conversation:
    body = {"model": "m", "messages": messages or [HELLO], **fields}
    return ChatCompletions().read(json.dumps(body).encode())


def refused(*messages: dict[str, Any], **fields: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        read(*messages, **fields)
    assert caught.value.status == 400
    return caught.value


def test_files_and_images_are_parts() -> None:
    said = {
        "role": "user",
        "content": [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "original"}},
            {"type": "file", "file": {"filename": "ada.pdf", "file_data": PDF}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
        ],
    }
    (message,) = read(said).messages
    assert message.content == [Text("a"), Image(PNG, "original"), File(PDF), File(PDF)]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": PNG.replace("png", "gif")}}, "image_url"),
        ({"type": "file", "file": {"file_data": "AAAAAAAAAAAAAAAA"}}, "file"),
        (
            {"type": "file", "file": {"file_data": f"data:text/plain;base64,{PDF}"}},
            "file.file_data",
        ),
        ({"type": "file", "file": {"file_data": PDF, "file_id": "f"}}, "file.file_id"),
    ],
)
def test_what_is_no_file_or_image_is_named(part: dict[str, Any], param: str) -> None:
    error = refused({"role": "user", "content": [{"type": "text", "text": "a"}, part]})
    assert error.param == f"messages[0].content[1].{param}"


def call(**more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"id": "x", "type": "function", "function": function, **more}


def test_reasoning_and_states_come_back() -> None:
    google = {"google": {"thought_signature": "s"}}
    message, *_ = read(
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm",
            "extra_content": EXTRA,
            "tool_calls": [call(extra_content=google), call(id="y", extra_content={"x": 1})],
        }
    ).messages
    assert (message.reasoning, message.state) == ("Hm", STATE)
    assert [given.state for given in message.calls or ()] == [State(GOOGLE, b"s"), None]


def test_a_state_that_is_none_is_named_at_its_place() -> None:
    wrong = {"oblivious": {"state": "nothing"}}
    said = {"role": "assistant", "content": "a"}
    assert refused({**said, "extra_content": wrong}).param == "messages[0].extra_content"
    error = refused({**said, "tool_calls": [call(), call(id="y", extra_content=wrong)]})
    assert error.param == "messages[0].tool_calls[1].extra_content"


TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g", "h")]


def allowed(*names: str, mode: str = "auto") -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def test_tools_that_are_not_allowed_are_left_out() -> None:
    for mode in ("auto", "required"):
        question = read(tools=TOOLS, tool_choice=allowed("h", "f", mode=mode))
        assert [tool.name for tool in question.tools or ()] == ["f", "h"]
        assert question.tool_choice == mode
    named = read(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}})
    assert named.tool_choice == ToolNamed("g")
    assert len(named.tools or ()) == 3


@pytest.mark.parametrize(
    "choice",
    [allowed("f", "x"), {"type": "function", "function": {"name": "x"}}],
)
def test_a_choice_of_no_tool_is_refused(choice: dict[str, Any]) -> None:
    assert refused(tools=TOOLS, tool_choice=choice).param == "tool_choice"
    assert refused(tool_choice=choice).param == "tool_choice"


def test_fields_of_sampling_are_read_apart() -> None:
    assert read(top_k=5, min_p=0.1, seed=1).sampling == {"min_p": 0.1, "top_k": 5}
    assert read(top_k=None).sampling is None
    assert refused(top_k="x").param == "top_k"


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("reasoning", "reasoning_effort"),
        ("functions", "'tools'"),
        ("provider", "configuration"),
        ("unheard_of", None),
    ],
)
def test_an_unknown_field_is_refused_with_what_is_possible(field: str, advice: str | None) -> None:
    error = refused(**{field: {"x": 1}})
    assert (error.param, error.code) == (field, "unknown_parameter")
    assert error.message.startswith(f"Unknown parameter: '{field}'.")
    assert (advice or "") in error.message


def test_every_effort_is_known() -> None:
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        assert read(reasoning_effort=effort).reasoning_effort == effort
    assert refused(reasoning_effort="utmost").param == "reasoning_effort"


def calling(*identifiers: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": each, "type": "function", "function": function} for each in identifiers]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(identifier: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": identifier}


def test_a_result_is_of_the_latest_call_of_its_identifier() -> None:
    said = [HELLO, calling("a", "b"), result("b"), result("a"), calling("a"), result("a")]
    messages = read(*said).messages
    assert [message.result_of for message in messages] == [None, None, 1, 0, None, 2]
    numbers = [call.number for message in messages for call in message.calls or ()]
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("said", [[HELLO, result("a")], [HELLO, calling("a"), result("b")]])
def test_a_result_of_no_call_is_refused(said: list[dict[str, Any]]) -> None:
    place = f"messages[{len(said) - 1}].tool_call_id"
    assert place in (refused(*said).param or refused(*said).message)


def test_two_calls_of_one_identifier_are_refused() -> None:
    assert refused(HELLO, calling("a", "a"), result("a")).code == "invalid_value"
