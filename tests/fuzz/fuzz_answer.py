"""Whole answers of upstreams: whatever is taken is written, signed, and verified by the client.

The first octet chooses the kind of the question and what signs; the rest is the upstream's body.
"""

from enclave_server.chat.conversation import Continuation, Conversation, Kind
from enclave_server.chat.dialects.openai_chat import answers
from enclave_server.chat.errors import UpstreamError
from enclave_server.chat.signing import Signer
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.surface import Identity, Surface
from oblivious_client.answers import choices_of, parse_object
from protocol.signature import Algorithm, verify_choices
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.support.attestation_samples import signing_keys

REQUEST, NOW = b"{}", 1_800_000_000
KEYS = signing_keys("fuzz")
SIGNER = Signer(lambda: KEYS, lambda: NOW, version=1)
IDENTITY = Identity("x-1", NOW, "m")
KINDS: list[tuple[Kind, Surface]] = [
    (Conversation, ChatCompletions()),
    (Continuation, Completions()),
]
attempt = Attempt(UpstreamError)

FAULTS = (
    slips("enclave_server.chat.dialects.openai_chat.answers._decode", UpstreamError),
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
    texts = [b'{"choices":[{"index":0,"text":"a\\u0000b","finish_reason":"length"}]}']
    return [bytes([kind]) + each for kind in (0, 1, 2, 4) for each in (*chats, *texts)]


def run(data: bytes) -> None:
    """Read an answer, write and sign it, and do what the client does."""
    number = data[0] if data else 0
    kind, surface = KINDS[number & 1]
    answer = attempt(answers.read_answer, kind, data[1:])
    if isinstance(answer, Refused):
        return
    algorithm = Algorithm.ED25519 if number & 2 or not number & 4 else None
    outputs = [choice.output for choice in answer.choices]
    signature = SIGNER.sign(REQUEST, outputs, IDENTITY.model, algorithm)
    written = surface.write(answer, IDENTITY, signature)
    body = parse_object(written)
    verify_choices(KEYS.public_keys, REQUEST, choices_of(body), body)
    assert answers.read_answer(kind, written) == answer
