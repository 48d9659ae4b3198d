"""Whole answers of upstreams: whatever is taken is written, signed, and verified by the client.

The first octet chooses the kind of the question and what signs; the rest is the upstream's body.
"""

from hashlib import sha256
from itertools import chain
from typing import Literal

from enclave_server.chat import finishing
from enclave_server.chat.conversation import (
    Answer,
    Continuation,
    Conversation,
    Kind,
    without_reasoning,
)
from enclave_server.chat.dialects.openai_chat import answers
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.finishing import Said
from enclave_server.chat.surfaces.surface import Identity
from oblivious_client.answers import choices_of, parse_object
from protocol.signature import Algorithm, SignedAnswer, verify_choices
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.support.attestation_samples import signing_keys
from tests.support.chat_service import TABLE

REQUEST, NOW = b"{}", 1_800_000_000
KEYS = signing_keys("fuzz")
IDENTITY = Identity("x-1", NOW, "m")
KINDS: list[tuple[Kind, bytes]] = [
    (Conversation, b"/v1/chat/completions"),
    (Continuation, b"/v1/completions"),
]
NAMES: dict[Kind, Literal["conversation", "continuation"]] = {
    Conversation: "conversation",
    Continuation: "continuation",
}
attempt = Attempt(UpstreamError)

FAULTS = (
    slips("enclave_server.chat.dialects.openai_chat.answers._tolerate", UpstreamError),
    returns(
        "enclave_server.chat.signing.sign_choices", lambda fields: {**fields, "tee_timestamp": 1}
    ),
    returns("enclave_server.chat.surfaces.completions._choice", lambda choice: None),
)


def seeds() -> list[bytes]:
    """Return answers of all sorts, of both kinds."""
    chats = [
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Paris"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
        b'{"choices":[{"index":1,"message":{"refusal":"No"}},{"index":0,"message":{"tool_calls":'
        b'[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"logprobs":{"content":'
        b'[{"token":"x","logprob":-0.5,"bytes":[1],"top_logprobs":[]}]}}],"usage":null}',
        b'{"choices":[]}',
        b'{"error":{"message":"x"}}',
    ]
    odd = [
        b'{"choices":[{"message":{"reasoning":"hm","content":[{"type":"text","text":"a"},'
        b'{"type":"thinking","thinking":[{"text":"b"}]}],"tool_calls":[{"function":{"name":"f",'
        b'"arguments":{"a":1}},"extra_content":{"google":{"thought_signature":"c"}}}]}}]}',
        b'{"choices":[{"finish_reason":"content_filter"}],"usage":{"total_tokens":true}}',
        b'{"choices":null,"message":"x"}',
    ]
    texts = [b'{"choices":[{"index":0,"text":"a\\u0000b","finish_reason":"length"}]}']
    return [bytes([kind]) + each for kind in (0, 1, 2, 3, 4) for each in (*chats, *texts, *odd)]


def run(data: bytes) -> None:
    """Read an answer, write and sign it, and do what the client does."""
    number = data[0] if data else 0
    kind, path = KINDS[number & 1]
    algorithm = Algorithm.ED25519 if number & 2 else None
    version, body = 1 if number & 4 else 2, data[1:]
    asked = sha256(REQUEST).digest()
    said = Said(path, NAMES[kind], IDENTITY, version, algorithm, asked, body)
    written = attempt(finishing.finish, TABLE, KEYS, said)
    if isinstance(written, Refused):
        return
    shown = parse_object(written)
    signed = verify_choices(KEYS.public_keys, REQUEST, choices_of(shown), shown)
    assert signed.version == (2 if algorithm else version)
    _check(kind, answers.read_answer(kind, body), answers.read_answer(kind, written), signed)


def _check(kind: Kind, answer: Answer, again: Answer, signed: SignedAnswer) -> None:
    """What was read is what the client reads: but for reasoning that is not signed."""
    given = answer if signed.version == 2 else without_reasoning(answer)
    assert again.usage == given.usage
    outputs = [[choice.output for choice in each.choices] for each in (given, again)]
    for output in chain(*outputs):
        for call in output["message"].get("tool_calls", ()):
            call["id"] = ""  # which is made up where there is none
    assert outputs[0] == outputs[1]
