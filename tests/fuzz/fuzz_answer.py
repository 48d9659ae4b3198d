"""Whole answers of upstreams: whatever is taken is written, signed, and verified by the client.

The first octet chooses the kind of the question and what signs; the rest is the upstream's body.
"""

from hashlib import sha256
from typing import Literal

from enclave_server.chat import finishing
from enclave_server.chat.conversation import (
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
from protocol.signature import Algorithm, verify_choices
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.support.attestation_samples import signing_keys

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
    answer = attempt(answers.read_answer, kind, data[1:])
    if isinstance(answer, Refused):
        return
    algorithm = Algorithm.ED25519 if number & 2 else None
    version = 1 if number & 4 else 2
    said = Said(path, NAMES[kind], IDENTITY, version, algorithm, sha256(REQUEST).digest())
    written = finishing.write(KEYS, answer, said)
    body = parse_object(written)
    signed = verify_choices(KEYS.public_keys, REQUEST, choices_of(body), body)
    assert signed.version == (2 if algorithm else version)
    given = answer if signed.version == 2 else without_reasoning(answer)
    again = answers.read_answer(kind, written)
    assert again.usage == given.usage
    assert [choice.output for choice in again.choices] == [each.output for each in given.choices]
