"""What of a request decides about its price, as its client counts it."""

import json
from typing import Any

import pytest

from protocol.errors import MalformedMessage
from protocol.token_asked import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    EMBEDDINGS_PATH,
    MESSAGES_PATH,
    PAID_PATHS,
    RESPONSES_PATH,
    read_asked,
)
from protocol.token_prices import Asked

PNG = "data:image/png;base64,AAAA"
SHOWN = {"type": "image_url", "image_url": {"url": PNG}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
BLOCK = {"type": "image", "source": SOURCE}
TEXT = {"type": "text", "text": "a"}
PDF = {"type": "document", "source": {"type": "base64", "data": "AAAA"}}
PLAIN = {"type": "document", "source": {"type": "text", "data": "a"}}


def user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("path", "members", "limit", "choices", "images"),
    [
        (CHAT_PATH, {}, None, 1, 0),
        (CHAT_PATH, {"max_tokens": 7}, 7, 1, 0),
        (CHAT_PATH, {"max_completion_tokens": 7, "n": 3}, 7, 3, 0),
        (CHAT_PATH, {"max_tokens": 7, "max_completion_tokens": 9}, 9, 1, 0),
        (CHAT_PATH, {"max_tokens": None, "n": None}, None, 1, 0),
        (CHAT_PATH, {"messages": [user(TEXT, SHOWN), user(SHOWN), user()]}, None, 1, 2),
        (CHAT_PATH, {"messages": [{"role": "user", "content": "image_url"}]}, None, 1, 0),
        (CHAT_PATH, {"best_of": 9, "prompt": ["a", "b"]}, None, 1, 0),
        (COMPLETIONS_PATH, {"prompt": "a", "max_tokens": 0}, 0, 1, 0),
        (COMPLETIONS_PATH, {"prompt": ["a", "b"], "n": 2}, None, 4, 0),
        (COMPLETIONS_PATH, {"prompt": ["a", "b"], "n": 2, "best_of": 5}, None, 10, 0),
        (COMPLETIONS_PATH, {"prompt": [1, 2, 3]}, None, 1, 0),
        (COMPLETIONS_PATH, {"prompt": [[1, 2], [3]]}, None, 2, 0),
        (MESSAGES_PATH, {"max_tokens": 5, "n": 4, "messages": [user(BLOCK)]}, 5, 1, 1),
        (
            MESSAGES_PATH,
            {"messages": [user({"type": "tool_result", "content": [TEXT, BLOCK]}, BLOCK)]},
            None,
            1,
            2,
        ),
        (CHAT_PATH, {"messages": [user(TEXT, {"type": "file", "file": {}}, SHOWN)]}, None, 1, 2),
        (MESSAGES_PATH, {"messages": [user(PDF, PLAIN, BLOCK)]}, None, 1, 2),
        (RESPONSES_PATH, {"input": [user({"type": "input_file"}, SHOWN)]}, None, 1, 2),
        (RESPONSES_PATH, {"max_output_tokens": 5, "max_tokens": 9, "input": "a"}, 5, 1, 0),
        (
            RESPONSES_PATH,
            {"input": [user({"type": "input_image"}), {"output": [{"type": "input_image"}]}]},
            None,
            1,
            2,
        ),
        (EMBEDDINGS_PATH, {"input": ["a", "b"], "max_tokens": 5}, 0, 1, 0),
    ],
)
def test_what_counts(
    path: str, members: dict[str, Any], limit: int | None, choices: int, images: int
) -> None:
    assert path in PAID_PATHS
    content = json.dumps({"model": "m", **members}, ensure_ascii=False).encode()
    assert read_asked(path, content) == ("m", Asked(len(content), limit, choices, images))


@pytest.mark.parametrize(
    "members",
    [
        {"n": "3", "max_tokens": "4", "messages": "a"},
        {"n": True, "max_tokens": 1.5, "messages": {"content": [SHOWN]}},
        {"n": -1, "max_tokens": -4, "messages": [3, None, {"content": [1, "a", None]}]},
        {"messages": [{"content": [{"type": ["image_url"]}, {"type": "tool_result"}]}]},
        {"messages": [{"content": [{"type": "document"}, {"type": "document", "source": 1}]}]},
    ],
)
def test_what_is_ill_formed_counts_for_nothing(members: dict[str, Any]) -> None:
    content = json.dumps({"model": "m", **members}).encode()
    for path in PAID_PATHS - {EMBEDDINGS_PATH}:
        assert read_asked(path, content) == ("m", Asked(len(content)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"model":1}', b"\xff"])
def test_what_names_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_asked(CHAT_PATH, content)
