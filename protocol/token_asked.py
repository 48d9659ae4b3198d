"""What of a request decides about its price, read from its JSON as its client has it.

The other end counts the same in what it made of the request. It need not agree on what it refuses
for its form: that costs nothing.
"""

from collections.abc import Iterator
from typing import Any

from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.token_prices import Asked

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
MESSAGES_PATH = "/v1/messages"
RESPONSES_PATH = "/v1/responses"
EMBEDDINGS_PATH = "/v1/embeddings"

PAID_PATHS = frozenset(
    {CHAT_PATH, COMPLETIONS_PATH, MESSAGES_PATH, RESPONSES_PATH, EMBEDDINGS_PATH}
)
"""All others cost nothing, counts of tokens and lists of models among them."""

_LIMITS = {
    CHAT_PATH: ("max_tokens", "max_completion_tokens"),
    COMPLETIONS_PATH: ("max_tokens",),
    MESSAGES_PATH: ("max_tokens",),
    RESPONSES_PATH: ("max_output_tokens",),
}
_SHOWN_TYPES = ("image_url", "input_image", "image", "file", "input_file")
"""Of images and documents, which count alike: the pages of a document are seen."""

Json = Any


def read_asked(path: str, content: bytes) -> tuple[str, Asked]:
    """Return the model that is asked at one of PAID_PATHS, and what decides about the price.

    MalformedMessage for what is no JSON object that names a model.
    """
    members = strict_json.decode_object(content)
    model = members.get("model")
    if not isinstance(model, str):
        raise MalformedMessage("a request that names no model")
    if path == EMBEDDINGS_PATH:  # of which nothing is written
        return model, Asked(len(content), limit=0)
    limits = [amount for name in _LIMITS[path] if (amount := _count(members, name)) is not None]
    return model, Asked(
        len(content),
        limit=max(limits, default=None),
        choices=_choices(path, members),
        images=sum(_is_shown(part) for part in _parts(path, members)),
    )


def _choices(path: str, members: dict[str, Json]) -> int:
    answers = _count(members, "n") or 1
    if path == CHAT_PATH:
        return answers
    if path != COMPLETIONS_PATH:
        return 1
    return _prompts(members.get("prompt")) * max(answers, _count(members, "best_of") or 1)


def _prompts(prompt: Json) -> int:
    """Return how many prompts there are; one is a text, or a list of tokens."""
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _parts(path: str, members: dict[str, Json]) -> Iterator[Json]:
    """Yield the parts of what was said, and those of the results of calls."""
    for said in _listed(members.get("input" if path == RESPONSES_PATH else "messages")):
        if not isinstance(said, dict):
            continue
        yield from _listed(said.get("output"))
        for part in _listed(said.get("content")):
            yield part
            if isinstance(part, dict) and part.get("type") == "tool_result":
                yield from _listed(part.get("content"))


def _is_shown(part: Json) -> bool:
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    if kind == "document":  # of plain text it is text
        source = part.get("source")
        return isinstance(source, dict) and source.get("type") == "base64"
    return kind in _SHOWN_TYPES


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _count(members: dict[str, Json], name: str) -> int | None:
    value = members.get(name)
    return value if type(value) is int and value >= 0 else None
