"""Requests of clients: what leaves the enclave says what was asked, and nothing else.

The first octet chooses the path, and whether a stream may come; the rest is the content.
"""

import json
from collections.abc import Callable

import msgspec

from enclave_server.chat import preparing, states
from enclave_server.chat.conversation import AnyQuestion, Conversation, Message, State
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.members import CHAT_MEMBERS, TEXT_MEMBERS
from enclave_server.chat.elsewhere import decode_prepared, do, encode_job
from enclave_server.chat.errors import ChatError
from enclave_server.chat.preparing import SURFACES, Job
from tests.enclave_server.chat.surfaces.test_chat_shapes import WRONG
from tests.enclave_server.chat.test_preparing import TAKEN
from tests.fuzz.faults import fails, returns
from tests.fuzz.reading import Attempt, Refused, same
from tests.support.chat_service import KEYS, TABLE

ACCOUNT = Account("key", {"project": "p"})
MEMBERS = {*CHAT_MEMBERS, *TEXT_MEMBERS, "stream", "stream_options"}
CHAT, TEXT, RESPONSES = b"/v1/chat/completions", b"/v1/completions", b"/v1/responses"
PATHS = (CHAT, TEXT, RESPONSES, RESPONSES)
JPEG = "data:image/jpg;base64,/9j/4AAQSkZJRgABAQ=="
STATE = states.write(State("openai-chat", b"x"), ("nowhere", "m"))
RICH = {
    "model": "m",
    "user": "somebody",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "name": "x", "content": [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": JPEG, "detail": "low"}},
        ]},
        {"role": "assistant", "refusal": "no", "extra_content": STATE, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ]},
        {"role": "tool", "content": "7", "tool_call_id": "c"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}},
    "logit_bias": {"007": -0.0, "12": 1},
    "stop": ["a"],
    "temperature": -0.0,
    "reasoning_effort": "low",
}  # fmt: skip
attempt = Attempt(ChatError)

FAULTS = (
    fails("enclave_server.chat.surfaces.shapes._explain"),
    returns(
        "enclave_server.chat.dialects.openai_chat.messages._part",
        lambda part: {**part, "text": "x"},
    ),
    returns("enclave_server.chat.preparing.check", lambda nothing: 1 / 0),
)


def seeds() -> list[bytes]:
    """Return requests that are taken and requests that are refused, of both kinds."""
    chats = [json.dumps(body).encode() for _, body in TAKEN.values()]
    wrong = [json.dumps(case[0]).encode() for case in WRONG.values()]
    prompts = [
        b'{"model":"m","prompt":"a","suffix":"b","best_of":2}',
        b'{"model":"m","prompt":[1,2]}',
    ]
    plain = json.dumps({**RICH, "model": "plain"}).encode()
    responses = [
        b'{"model":"m","input":"a","store":false,"instructions":"b"}',
        b'{"model":"m","store":false,"input":[{"role":"user","content":[{"type":"input_text",'
        b'"text":"a"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},'
        b'{"type":"function_call_output","call_id":"c","output":"7"}],"tools":[{"type":"function",'
        b'"name":"f","parameters":{}}],"reasoning":{"effort":"low"}}',
    ]
    return [
        *(b"\0" + each for each in (*chats, *wrong, json.dumps(RICH).encode(), plain)),
        *(b"\1" + each for each in (*chats, *prompts)),
        *(b"\2" + each for each in chats),
        *(b"\4" + each for each in responses),
    ]


def run(data: bytes) -> None:
    """Prepare a request here and as a reader does; read what is sent as a request again."""
    kind, content = data[:1] or b"\0", data[1:]
    path = PATHS[(kind[0] & 1) + (kind[0] & 4) // 2]
    job = Job(path, content, may_stream=not kind[0] & 2)
    here = _outcome(lambda: preparing.prepare(TABLE, job, lambda name: ACCOUNT))
    passed = encode_job(job, {"nowhere": ACCOUNT})
    there = _outcome(lambda: decode_prepared(do(TABLE, KEYS, passed)))
    prepared = same([here, there])
    if not isinstance(prepared, preparing.Prepared):
        return
    asked = attempt(SURFACES[path].read, content)
    assert not isinstance(asked, Refused)
    sent = json.loads(prepared.request.body)
    assert sent.keys() <= MEMBERS
    assert sent["model"] == "there"
    # What is asked in the words of responses is sent in those of a chat.
    again = SURFACES[TEXT if path == TEXT else CHAT].read(prepared.request.body)
    assert path == RESPONSES or _plain(again) == msgspec.structs.replace(
        _plain(asked), model="there"
    )


def _outcome(prepare: Callable[[], preparing.Prepared]) -> object:
    try:
        return prepare()
    except ChatError as error:
        refusal = error.response()
    assert 400 <= refusal.status < 600
    assert json.loads(refusal.content)["error"]["message"]
    return refusal


def _plain(asked: AnyQuestion) -> AnyQuestion:
    """Return a question without what goes back to those alone who made it."""
    if not isinstance(asked, Conversation):
        return asked
    return msgspec.structs.replace(asked, messages=[_said(each) for each in asked.messages])


def _said(message: Message) -> Message:
    calls = message.calls and [msgspec.structs.replace(call, state=None) for call in message.calls]
    return msgspec.structs.replace(message, calls=calls, state=None, reasoning=None)
