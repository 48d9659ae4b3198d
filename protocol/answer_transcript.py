"""What the second version of a signature covers: a transcript, none of whose octets is ambiguous.

Every part is its length (8 octets, big-endian) and its octets; every number stands in decimal.

    choices = part("oblivious-inference choices 2") count choice*
    choice  = index text reasoning refusal calls finish_reason
    calls   = count (id name arguments)*
    answer  = part("oblivious-inference answer 2") algorithm tee_id request_hash output_hash
              model timestamp

`tee_id` and the hashes are 32 octets, `output_hash` is the SHA-256 of `choices`, and text is UTF-8.
What is absent, null or empty is the empty part. A state of a message or of a call, which says
nothing to anybody but its provider, is not covered.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from protocol.errors import SignatureInvalid

CHOICES_LABEL = b"oblivious-inference choices 2"
ANSWER_LABEL = b"oblivious-inference answer 2"

REASONING = "reasoning_content"
SIGNED_OF_MESSAGE = ("content", "text", REASONING, "refusal", "tool_calls")
SIGNED_OF_CHOICE = ("index", "finish_reason")
SIGNED_BESIDE = ("model", "tee_timestamp", "tee_id", "tee_signature_algorithm")

_TEXTS = ("content", "text")
_CALL = {"id", "type", "function", "index", "extra_content"}
_FUNCTION = {"name", "arguments"}
_STATE = re.compile(r"[A-Za-z0-9_-]+")


def encode_choices(choices: Sequence[Mapping[str, object]]) -> bytes:
    """Return what is hashed of an answer's choices, or raise SignatureInvalid.

    A choice is OpenAI's: of a chat with a `message`, of a completion with its `text`, or flat,
    with the members of the message beside its own.
    """
    parts = [CHOICES_LABEL, number(len(choices))]
    for choice in choices:
        parts += _choice(choice)
    return joined(parts)


def encode_answer(
    algorithm: str,
    tee_id: bytes,
    hashes: tuple[bytes, bytes],
    model: object,
    timestamp: int,
    label: bytes = ANSWER_LABEL,
) -> bytes:
    """Return what is signed; `hashes` are those of the request's body and of the output."""
    named = (algorithm.encode(), tee_id, *hashes, _text(model), number(timestamp))
    return joined([label, *named])


def message_of(choice: Mapping[str, object]) -> Mapping[str, object]:
    """Return the message of a choice, which is the choice itself where it has none."""
    message = choice.get("message", choice)
    if not isinstance(message, Mapping):
        raise SignatureInvalid("a choice holds no message")
    return message


def _choice(choice: Mapping[str, object]) -> Iterator[bytes]:
    message, index = message_of(choice), choice.get("index")
    if type(index) is not int:
        raise SignatureInvalid("a choice is not numbered")
    # Who shows the one of two texts must not find the other signed.
    texts = {(id(each), name) for each in (message, choice) for name in _TEXTS if name in each}
    if len(texts) > 1:
        raise SignatureInvalid("a choice says two texts")
    yield number(index)
    yield _text(message.get("text") if "text" in message else message.get("content"))
    yield _text(message.get(REASONING))
    yield _text(message.get("refusal"))
    yield from _calls(message.get("tool_calls"))
    yield _text(choice.get("finish_reason"))


def _calls(calls: object) -> Iterator[bytes]:
    if not isinstance(calls, list | None):
        raise SignatureInvalid("the tool calls are no list")
    yield number(len(calls or ()))
    for call in calls or ():
        yield from _call(call)


def _call(call: object) -> Iterator[bytes]:
    """Yield the parts of a call; one that says anything else would say it unsigned."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(function, Mapping):
        raise SignatureInvalid("a tool call calls no function")
    if not (call.keys() <= _CALL and function.keys() <= _FUNCTION):
        raise SignatureInvalid("a tool call has a member that nobody signs")
    if "extra_content" in call and not _is_state(call["extra_content"]):
        raise SignatureInvalid("a tool call says more than is signed of it")
    if call.get("type", "function") != "function":
        raise SignatureInvalid("a tool call is of another kind than signed")
    yield _text(call.get("id"))
    yield _text(function.get("name"))
    yield _text(function.get("arguments"))


def _is_state(extra: object) -> bool:
    """Whether it is a state alone, in base64url, in which nothing can be said to a reader."""
    match extra:
        case {"oblivious": {"state": str(text), **others}, **more}:
            return not (others or more) and _STATE.fullmatch(text) is not None
    return False


def _text(value: object) -> bytes:
    if not isinstance(value, str | None):
        raise SignatureInvalid("what is signed as text is none")
    try:
        return (value or "").encode()
    except UnicodeEncodeError:
        raise SignatureInvalid("a lone surrogate has no bytes to sign") from None


def number(value: int) -> bytes:
    """Return a number as it stands in a transcript."""
    return b"%d" % value


def joined(parts: Sequence[bytes]) -> bytes:
    """Return a transcript of these parts, each behind its length."""
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(8, "big"), part))
