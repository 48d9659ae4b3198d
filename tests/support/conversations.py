"""Conversations that tests of dialects ask: one for each thing that can be said."""

import base64
from typing import Any

from enclave_server.chat.conversation import (
    Conversation,
    File,
    Image,
    Message,
    ObjectOf,
    State,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
)
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import Profile
from enclave_server.chat.thoughts import CALL, Hidden, Piece, Thought, encode_pieces
from tests.support.upstream_connection import upstream_at

PNG_DATA = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(9)).decode()
PNG = Image(f"data:image/png;base64,{PNG_DATA}")
PDF_DATA = base64.b64encode(b"%PDF-1.7\n" + bytes(9)).decode()
PDF = File(PDF_DATA)

HELLO = Message("user", "Hello")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
TOOLS = [Tool("rain", "Whether it rains.", SCHEMA, strict=True), Tool("now")]

# The answer of a provider whose thoughts are signed: hidden, shown, text, two calls.
PIECES: list[Piece] = [Hidden("aGlk"), Thought("Two calls.", "c2ln"), 5, CALL, CALL]
CALLS = [ToolCall(0, "rain", '{"a": "Rome"}'), ToolCall(1, "now", "")]
RESULTS = [
    Message("tool", "No", result_of=0),
    Message("tool", [PNG, PDF], result_of=1, failed=True),
]


def asked(*messages: Message, **wishes: Any) -> Conversation:
    """Return a conversation of these messages, by default of one."""
    return Conversation(model="m", messages=list(messages) or [HELLO], **wishes)


def calling(dialect: str) -> Message:
    """Return the assistant's message with two calls and the state that `dialect` gave for it."""
    state = State(dialect, encode_pieces(PIECES))
    return Message("assistant", "Look:", calls=CALLS, state=state)


def model(name: str = "there", address: str = "unix:/x", **changes: Any) -> Model:
    """Return a model of that name there, with a profile of `changes`."""
    upstream = changes.pop("upstream", None) or upstream_at(address, path_prefix="")
    limit = changes.pop("limit", None)
    return Model("m", upstream, name, profile=Profile(**changes), output_limit=limit)


def cases(dialect: str) -> dict[str, Conversation]:
    """Return a conversation for each thing that can be said to a model that thinks."""
    called = [HELLO, calling(dialect), *RESULTS, Message("user", "And now?")]
    return {
        "text": asked(),
        "instructions": asked(
            Message("system", "Be brief."), Message("developer", "Rhyme."), HELLO
        ),
        "later instructions": asked(HELLO, Message("system", "Be brief.")),
        "an image": asked(Message("user", [Text("What?"), PNG])),
        "a document": asked(Message("user", [Text("What?"), PDF, PDF])),
        "tools": asked(tools=TOOLS),
        "one call": asked(tools=TOOLS, parallel_tool_calls=False),
        "some call": asked(tools=TOOLS, tool_choice="required"),
        "a named call": asked(tools=TOOLS, tool_choice=ToolNamed("now")),
        "no call": asked(tools=TOOLS, tool_choice="none"),
        "calls and results": asked(*called, tools=TOOLS),
        "an object": asked(response_format=ObjectOf("s", "An object.", SCHEMA)),
        "effort": asked(reasoning_effort="high", max_tokens=20000),
        "effort and an object": asked(
            reasoning_effort="low", response_format=ObjectOf("s", schema=SCHEMA), max_tokens=2000
        ),
        "no effort": asked(reasoning_effort="none"),
        "sampling": asked(temperature=0.5, top_p=0.9, sampling={"top_k": 3}),
        "stops": asked(stop=["END", "\n\nQ"]),
        "a stop": asked(stop="END"),
        "a limit": asked(max_completion_tokens=9),
    }


# Fields with which nothing is asked for that would not come without them.
HARMLESS: dict[str, Any] = {
    "n": 1,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logprobs": False,
    "top_logprobs": 0,
    "modalities": ["text"],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}

_SAID = Message("assistant", "Hi", calls=CALLS[:1])

# What programs and surfaces say in two ways, and mean alike.
ALIKE: dict[str, tuple[Conversation, Conversation]] = {
    "text and a part": (asked(), asked(Message("user", [Text("Hello")]))),
    "messages and parts": (
        asked(Message("user", "a"), Message("user", "b")),
        asked(Message("user", [Text("a"), Text("b")])),
    ),
    "nothing and an empty text": (
        asked(HELLO, Message("assistant", None, calls=CALLS[:1]), RESULTS[0]),
        asked(HELLO, Message("assistant", "", calls=CALLS[:1]), RESULTS[0]),
    ),
    "one message of the assistant and two": (
        asked(HELLO, _SAID, RESULTS[0]),
        asked(HELLO, Message("assistant", "Hi"), Message("assistant", calls=CALLS[:1]), RESULTS[0]),
    ),
    "results in any order": (
        asked(HELLO, Message("assistant", calls=CALLS), *RESULTS),
        asked(HELLO, Message("assistant", calls=CALLS), *reversed(RESULTS)),
    ),
    "system and developer": (
        asked(Message("system", "s"), HELLO),
        asked(Message("developer", "s"), HELLO),
    ),
    "what asks for nothing": (asked(), asked(**HARMLESS)),
    "one stop": (asked(stop="a"), asked(stop=["a"])),
    "either limit": (asked(max_tokens=5), asked(max_completion_tokens=5)),
    "reasoning that nobody signed": (
        asked(HELLO, Message("assistant", "a"), HELLO),
        asked(HELLO, Message("assistant", "a", reasoning="b"), HELLO),
    ),
}
